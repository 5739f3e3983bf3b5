"""What multiparam raises: one type and one wording per mistake, on every backend."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .text import printable, where

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

About = Mapping[str, tuple[Any, str]]  # shape and kind of layer of tensors, by name, as far as they are known

MOST_CANDIDATES = 12  # that a message names
MOST_PAIRS = 40_000  # of names that are compared: on a file of another model the report would take minutes
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
        about: (shape, kind of layer) of what is missing and unexpected, by name, as far as they are known.
    """

    missing: Sequence[str] = ()
    unexpected: Sequence[str] = ()
    misshaped: Sequence[tuple[str, Any, Any]] = ()
    mistyped: Sequence[tuple[str, Any, Any]] = ()
    unrepresentable: Sequence[tuple[str, str]] = ()
    kinds: Sequence[tuple[str, str, str, str]] = ()
    suggestion: Mapping[str, str] = field(default_factory=dict)
    hint: str = ""
    about: About = field(default_factory=dict, repr=False)

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.misshaped or self.mistyped or self.unrepresentable)

    def __str__(self) -> str:
        alike: dict[tuple[str, str, str], list[str]] = {}
        for layer, want, got, why in self.kinds:
            alike.setdefault((want, got, why), []).append(layer)
        lines = [
            f"kind of {where(layers)}: {want} expected, {got} given{f'; {why}' if why else ''}"
            for (want, got, why), layers in alike.items()
        ]
        lines += misfits(self.missing, self.unexpected, self.about, near=not self.hint)  # which may name others
        lines += few([f"shape of {name}: {want} expected, {got} given" for name, want, got in self.misshaped])
        lines += few([f"dtype of {name}: {want} expected, {got} given" for name, want, got in self.mistyped])
        lines += few([f"{name} cannot be represented: {why}" for name, why in self.unrepresentable])
        # what to do stands before the list, which may be long
        return "\n".join(map(printable, [*prefix_hint(self.suggestion), *filter(None, [self.hint]), *lines]))


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

    def __init__(self, message: str, candidates: Sequence[str], lines: Sequence[str] = ()) -> None:
        more = f" and {len(candidates) - MOST_CANDIDATES} more" if len(candidates) > MOST_CANDIDATES else ""
        told = f"{message}: {', '.join(candidates[:MOST_CANDIDATES])}{more}"
        super().__init__("\n".join(map(printable, lines or [told])))
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


def misfits(missing: Sequence[str], unexpected: Sequence[str], about: About, near: bool = True) -> list[str]:
    """A line for each name that is missing or unexpected, with the one on the other side that could be it.

    That is one of the same shape, of the same kind of layer before others, whose name looks most like it.

    Args:
        missing: the names that are missing.
        unexpected: the names that are unexpected.
        about: (shape, kind of layer) of both, by name, as far as they are known.
        near: False leaves out what could be what.
    """
    lines = []
    for what, names, others in (("missing", missing, unexpected), ("unexpected", unexpected, missing)):
        by_shape = _by_shape(others, about)
        fitting = [_fitting(name, others, by_shape, about) for name in names[: MOST_LINES + 1]]
        told = near and sum(map(len, fitting)) <= MOST_PAIRS
        hints = [_near(name, some, about) if told else "" for name, some in zip(names, fitting, strict=False)]
        lines += few([f"{what}: {name}{hint}" for name, hint in itertools.zip_longest(names, hints, fillvalue="")])
    return lines


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
    pairs = ", ".join(f"{literal(pattern)}: {literal(new)}" for pattern, new in rename.items())
    return f"rename={{{pairs}}}"


def literal(text: str) -> str:
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


def _by_shape(names: Sequence[str], about: About) -> dict[Any, list[str]]:
    """The names by the tensors' shapes; those of which none is known under None."""
    found: dict[Any, list[str]] = {}
    for name in names:
        found.setdefault(_shape(name, about), []).append(name)
    return found


def _shape(name: str, about: About) -> Any:
    shape = about[name][0] if name in about else None
    return None if shape is None or None in shape else tuple(shape)


def _fitting(name: str, others: Sequence[str], by_shape: Mapping[Any, list[str]], about: About) -> Sequence[str]:
    """Those of the others that could be a tensor, as far as shapes tell."""
    shape = _shape(name, about)
    return others if shape is None else [*by_shape.get(shape, ()), *by_shape.get(None, ())]


def _near(name: str, others: Sequence[str], about: About) -> str:
    kind = about.get(name, (None, ""))[1]
    of_kind = [other for other in others if kind and about.get(other, (None, ""))[1] == kind]
    close = _closest(name, of_kind) or _closest(name, others)
    return f" (close: {close})" if close else ""


def _closest(name: str, others: Sequence[str]) -> str:
    layer, _, role = name.rpartition(".")
    ends = [other for other in others if f".{name}".endswith(f".{other}") or f".{other}".endswith(f".{name}")]
    # of the same role the layers' names tell, which a long role would drown
    layers = [one for one, _, its in (other.rpartition(".") for other in others) if its == role and one]
    close = ends or [f"{one}.{role}" for one in close_names(layer, layers, 1)]
    if not close:
        close = [one for one in close_names(name, others, 1) if "." in layer or one.rpartition(".")[2] != role]
    return close[0] if close else ""
