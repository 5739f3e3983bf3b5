"""What a rule is, and functions as rules."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..adapter.registry import owner
from ..arrays.random import Sampler, fill, generator
from ..arrays.types import Array, Shape
from ..errors import ArgumentError, MismatchError, MismatchReport

if TYPE_CHECKING:
    from ..model.parameter import Parameter

__all__ = ["BuiltIn", "Custom", "Drawn", "Rule", "RuleLike", "as_rule", "number"]


class Rule(ABC):
    """How a parameter's first numbers are made."""

    @abstractmethod
    def values(self, seed: int, name: str, shape: Shape, parameter: Parameter | None = None) -> Array:
        """The numbers, a fresh array of the given shape.

        Args:
            seed: a non-negative integer.
            name: the canonical name; with the seed it decides the random numbers.
            shape: the canonical shape.
            parameter: the parameter they are for, where there is one.
        """

    def complex_values(self, seed: int, name: str, shape: Shape, parameter: Parameter | None = None) -> Array:
        """The numbers for a parameter of complex dtype; those of `values`, which may be complex, unless redefined."""
        return self.values(seed, name, shape, parameter)

    def sampler(self, shape: Shape, parameter: Parameter | None = None) -> Sampler | None:
        """What draws a block of float32 numbers in place, where that makes the same as `values`; else None."""
        return None

    @property
    def samples(self) -> bool:
        """Whether `sampler` makes what `values` does; not in a subclass that has other values only."""
        order = [[name in vars(base) for base in type(self).__mro__].index(True) for name in ("sampler", "values")]
        return order == sorted(order)

    def check(self, shape: Shape) -> None:
        """Raises ArgumentError if the rule is undefined for a shape; most are defined for all."""
        return

    @property
    def eager(self) -> bool:
        """Whether only trying can tell that the rule works, so that its numbers are made before the first write.

        It costs memory for all of them at once; the rules of this module do without.
        """
        return True

    def __repr__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in vars(self).items())
        return f"{type(self).__name__}({arguments})"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), tuple(vars(self).values())))


class BuiltIn(Rule):
    """A rule of this package, whose numbers can be made one parameter at a time."""

    @property
    def eager(self) -> bool:
        return False


class Drawn(BuiltIn):
    """A rule whose elements are drawn one by one."""

    @abstractmethod
    def sampler(self, shape: Shape, parameter: Parameter | None = None) -> Sampler:
        """What draws a block."""

    def values(self, seed: int, name: str, shape: Shape, parameter: Parameter | None = None) -> Array:
        made = np.empty(shape, np.float32)
        fill(seed, name, made, self.sampler(shape, parameter))
        return made

    def complex_values(self, seed: int, name: str, shape: Shape, parameter: Parameter | None = None) -> Array:
        """Real and imaginary parts, under names of their own, each of half of the variance."""
        made = np.empty(shape, np.complex64)
        made.real = self.part(self.values(seed, f"{name}[real]", shape, parameter))
        made.imag = self.part(self.values(seed, f"{name}[imag]", shape, parameter))
        return made

    def part(self, values: Array) -> Array:
        """Numbers of the rule's variance as those of a real or imaginary part."""
        return values * np.float32(math.sqrt(0.5))


class Custom(Rule):
    """A function of yours as a rule.

    Args:
        function: called by keyword with those of `shape` (the canonical shape), `rng` (a numpy Generator that
            depends on seed and name) and `param` (the `Parameter`) that it has arguments for; a function with other
            argument names is called as `function(shape, rng)`. It returns an array of that shape.

    Raises:
        ArgumentError: the function takes other arguments.
        MismatchError: (when used) it returns another shape, or no numbers.

    >>> Custom(lambda shape, rng: rng.integers(0, 9, shape)).values(0, "w", (3,)).shape
    (3,)
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self._keywords = _keywords(function)

    def values(self, seed: int, name: str, shape: Shape, parameter: Parameter | None = None) -> Array:
        given = {"shape": shape, "rng": generator(seed, name), "param": parameter}
        if self._keywords is None:
            made = self.function(given["shape"], given["rng"])
        else:
            made = self.function(**{key: given[key] for key in self._keywords})
        array = np.asarray(made)
        if array.shape != shape:
            raise MismatchError(
                f"the initializer {_name(self.function)} made another shape",
                MismatchReport(misshaped=[(name, shape, array.shape)]),
            )
        return array

    def __repr__(self) -> str:
        return _name(self.function)


RuleLike = Rule | Callable[..., Any]


def as_rule(given: Any) -> Rule:
    """A rule, or a function as a rule.

    Raises:
        ArgumentError: it is neither; a framework's own initializer takes other arguments and fills other tensors.
    """
    if isinstance(given, Rule):
        return given
    kind: type = type(given)
    whose = owner(kind)
    if whose is not None:
        raise ArgumentError(
            f"{kind.__name__} is an initializer of {whose}'s framework, whose numbers are its own: pass one of "
            f"multiparam.init, or a function of (shape, rng)"
        )
    if isinstance(given, type) and issubclass(given, Rule):
        raise ArgumentError(f"an initializer is a rule, not its class: write {given.__name__}(...)")
    if callable(given):
        return Custom(given)
    raise ArgumentError(
        f"an initializer is a rule of multiparam.init or a function of (shape, rng), not {given!r}"
        + ("; for a number write multiparam.init.Constant(...)" if isinstance(given, (int, float)) else "")
    )


def number(what: str, value: Any, limit: float = float(np.finfo(np.float32).max)) -> float:
    """The value as a finite float of at most a limit, that of the numbers drawn; or ArgumentError."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ArgumentError(f"{what} is a number, not {value!r}") from None
    if not math.isfinite(number):
        raise ArgumentError(f"{what} must be finite, and is {number}")
    if abs(number) > limit:
        raise ArgumentError(f"{what} is beyond float32, in which numbers are drawn: {number}")
    return number


def _keywords(function: Callable[..., Any]) -> list[str] | None:
    """Which of shape, rng and param a function takes by keyword; None: call it with (shape, rng)."""
    known = ("shape", "rng", "param")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None  # a builtin without a signature
    arguments = signature.parameters.values()
    if any(argument.kind is argument.VAR_KEYWORD for argument in arguments):
        return list(known)
    names = [a.name for a in arguments if a.kind in (a.POSITIONAL_OR_KEYWORD, a.KEYWORD_ONLY)]
    required = [a.name for a in arguments if a.default is a.empty and a.kind is not a.VAR_POSITIONAL]
    if set(required) <= set(known) and set(names) & set(known):
        return [name for name in known if name in names]
    try:
        signature.bind(None, None)
    except TypeError:
        raise ArgumentError(
            f"an initializer is called with (shape, rng), and with param= if it asks for it; "
            f"{_name(function)}{signature} cannot be"
        ) from None
    return None


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)
