"""What multiparam raises: one type and one wording per mistake, on every backend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .text import printable

__all__ = [
    "AmbiguousMatchError",
    "ArgumentError",
    "BackendError",
    "CheckpointError",
    "MismatchError",
    "MismatchReport",
    "MultiparamError",
    "ParameterNotFoundError",
    "UncertainLayoutWarning",
    "UninitializedError",
    "UnsupportedError",
    "printable",
]

MOST_CANDIDATES = 12  # that a message names
MOST_LINES = 200  # of one sort in a message


class MultiparamError(Exception):
    """The base of every error that multiparam raises on purpose."""


class ArgumentError(MultiparamError, ValueError):
    """An argument has a value or a type that the function does not take."""


class BackendError(MultiparamError):
    """A backend is unknown, not installed, broken, or cannot be told from the object."""


class UnsupportedError(MultiparamError):
    """A backend cannot do what was asked.

    Attributes:
        backend: the backend's name.
        capability: what it lacks.
        why: the reason, in a sentence.
    """

    def __init__(self, backend: str, capability: str, why: str) -> None:
        super().__init__(f"the {backend} backend does not support {capability}: {why}")
        self.backend = backend
        self.capability = capability
        self.why = why


class ParameterNotFoundError(MultiparamError, KeyError):
    """No parameter, layer or tensor has that name or matches that pattern.

    Attributes:
        wanted: the name or pattern that was asked for.
        close: existing names that look like it, best first.
    """

    def __init__(self, what: str, wanted: str, names: Iterable[str]) -> None:
        self.wanted = wanted
        known = list(names)
        self.close = close_names(wanted, known)
        super().__init__(f"no {what} {wanted!r}{_hint(self.close, known)}")

    def __str__(self) -> str:  # KeyError would show the repr of the message
        return str(self.args[0])


@dataclass(frozen=True)
class MismatchReport:
    """Every difference between what is there and what was given.

    Attributes:
        missing: names that should have been given and were not.
        unexpected: names that were given and have no place.
        misshaped: (name, expected shape, given shape).
        mistyped: (name, expected dtype, given dtype).
        unrepresentable: (name, why) for what was given and the model has no way to compute with.
        kinds: (layer, expected kind, given kind, why) where layers of one name are different functions; told beside
            what is wrong, and no fault in itself.
        suggestion: what to pass as `rename=` where names do not fit because of a prefix; else empty.
        hint: what else can be done, a sentence; else empty.
    """

    missing: Sequence[str] = ()
    unexpected: Sequence[str] = ()
    misshaped: Sequence[tuple[str, Any, Any]] = ()
    mistyped: Sequence[tuple[str, Any, Any]] = ()
    unrepresentable: Sequence[tuple[str, str]] = ()
    kinds: Sequence[tuple[str, str, str, str]] = ()
    suggestion: Mapping[str, str] = field(default_factory=dict)
    hint: str = ""

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.misshaped or self.mistyped or self.unrepresentable)

    def __str__(self) -> str:
        lines = [
            f"kind of {layer or 'the model'}: {want} expected, {got} given{f'; {why}' if why else ''}"
            for layer, want, got, why in self.kinds
        ]
        lines += misfits(self.missing, self.unexpected, near=not self.hint)  # which may name others
        lines += few([f"shape of {name}: {want} expected, {got} given" for name, want, got in self.misshaped])
        lines += few([f"dtype of {name}: {want} expected, {got} given" for name, want, got in self.mistyped])
        lines += few([f"{name} cannot be represented: {why}" for name, why in self.unrepresentable])
        return "\n".join(map(printable, [*lines, *prefix_hint(self.suggestion), *filter(None, [self.hint])]))


class MismatchError(MultiparamError, ValueError):
    """Values do not fit the parameters they were meant for; nothing was written.

    Attributes:
        report: a `MismatchReport` with every difference at once.
    """

    def __init__(self, message: str, report: MismatchReport) -> None:
        super().__init__(f"{message}\n{report}" if report else message)
        self.report = report


class UninitializedError(MultiparamError):
    """A lazy parameter has no value yet."""


class CheckpointError(MultiparamError):
    """A file cannot be read or written.

    Attributes:
        path: the file.
        why: what is wrong with it.
    """

    def __init__(self, path: object, why: str) -> None:
        super().__init__(printable(f"{path}: {why}"))
        self.path = path
        self.why = why


class AmbiguousMatchError(MultiparamError):
    """Several things answer to one name.

    Attributes:
        candidates: what they are.
    """

    def __init__(self, message: str, candidates: Sequence[str]) -> None:
        more = f" and {len(candidates) - MOST_CANDIDATES} more" if len(candidates) > MOST_CANDIDATES else ""
        super().__init__(printable(f"{message}: {', '.join(candidates[:MOST_CANDIDATES])}{more}"))
        self.candidates = list(candidates)


class UncertainLayoutWarning(UserWarning):
    """Tensors of a file may have their axes in another order than the model: neither the file nor a shape tells.

    Attributes:
        path: the file.
        names: the model's names of the tensors.
    """

    def __init__(self, path: object, names: Sequence[str], why: str) -> None:
        more = f" and {len(names) - MOST_CANDIDATES} more" if len(names) > MOST_CANDIDATES else ""
        super().__init__(printable(f"{path}: {why}: {', '.join(names[:MOST_CANDIDATES])}{more}"))
        self.path = path
        self.names = list(names)


def close_names(wanted: str, names: Iterable[str], count: int = 3) -> list[str]:
    """The existing names that look most like the wanted one, best first."""
    return difflib.get_close_matches(wanted, list(names), n=count, cutoff=0.5)


def no_attribute(module: str, wanted: str, name: str, names: Iterable[str]) -> str:
    """The message for a name that a module lacks.

    Args:
        module: the module.
        wanted: what was probably meant.
        name: the name.
        names: those that it has.
    """
    close = close_names(wanted, names)
    return f"{module} has no {name!r}{_hint(close, sorted(names))}"


def misfits(missing: Sequence[str], unexpected: Sequence[str], near: bool = True) -> list[str]:
    """A line for each name that is missing or unexpected, with the one on the other side that looks most like it.

    Args:
        missing: the names that are missing.
        unexpected: the names that are unexpected.
        near: False leaves out what they look like.
    """
    # difflib compares each with each: on a file of another model the report would take minutes
    near = near and len(missing) * len(unexpected) <= 40_000
    return [
        *few([f"missing: {name}{_near(name, unexpected if near else ())}" for name in missing]),
        *few([f"unexpected: {name}{_near(name, missing if near else ())}" for name in unexpected]),
    ]


def few(lines: Sequence[str]) -> list[str]:
    """Lines of one sort, as many as one would read; a report has all of them."""
    left = len(lines) - MOST_LINES
    return [*lines] if left <= 1 else [*lines[:MOST_LINES], f"… and {left} more, which the report has"]


def prefix_hint(rename: Mapping[str, str]) -> list[str]:
    r"""A line that says what to pass as `rename=`; none if that is nothing.

    >>> print(*prefix_hint({r"^module\.": ""}))
    a prefix differs: pass rename={r"^module\.": ""}
    """
    return [f"a prefix differs: pass {as_rename(rename)}"] if rename else []


def as_rename(rename: Mapping[str, str]) -> str:
    """A renaming as one would write it in a call."""
    pairs = ", ".join(f"{_literal(pattern)}: {_literal(new)}" for pattern, new in rename.items())
    return f"rename={{{pairs}}}"


def _literal(text: str) -> str:
    """A string as one would write it in a program."""
    if not text.isprintable() or '"' in text or text.endswith("\\"):
        return repr(text)
    return f'r"{text}"' if "\\" in text else f'"{text}"'


def _hint(close: Sequence[str], known: Sequence[str]) -> str:
    if close:
        return f"; did you mean {', '.join(repr(name) for name in close)}?"
    if not known:
        return "; there are none"
    shown = ", ".join(repr(name) for name in known[:5])
    return f"; there are {len(known)}: {shown}{', …' if len(known) > 5 else ''}"


def _near(name: str, others: Sequence[str]) -> str:
    layer, _, role = name.rpartition(".")
    ends = [other for other in others if f".{name}".endswith(f".{other}") or f".{other}".endswith(f".{name}")]
    # of the same role the layers' names tell, which a long role would drown
    layers = [one for one, _, its in (other.rpartition(".") for other in others) if its == role and one]
    close = ends or [f"{one}.{role}" for one in close_names(layer, layers, 1)]
    if not close:
        close = [one for one in close_names(name, others, 1) if "." in layer or one.rpartition(".")[2] != role]
    return f" (close: {close[0]})" if close else ""
