"""What differs between two models or files, read one tensor of each at a time."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Any

import numpy as np

from ..adapter.registry import infer_model
from ..arrays.dtypes import difference
from ..arrays.types import Array
from ..checkpoint.checkpoint import Checkpoint, grouped
from ..checkpoint.checkpoint import open as open_checkpoint
from ..errors import BackendError, UncertainLayoutWarning, prefix_hint
from ..formats.contents import Contents, fits_turned
from ..formats.entry import Entry
from ..html import report
from ..layer_table.kinds import neutral, turned_somewhere
from ..layer_table.settings import UNSAID, facts
from ..layer_table.table import Fold
from ..matching.pairing import Pairing, pair
from ..matching.settings import differing_settings
from ..matching.source import contents_of
from ..matching.wrapping import unwrapping, without, wrappers_told
from ..model.inventory import told
from ..model.tree import Tree
from ..names.rename import Rename, extended, renamer, suggested
from ..text import counted, row_lines, where

__all__ = ["DiffReport", "diff"]

_Entries = Mapping[str, Entry]

MOST = 12  # lines of each sort that a printed report has
_UNCERTAIN = "it cannot be told in which order these have their axes, and they are compared as the report says"


@dataclass
class DiffReport:
    """What differs between two models or files, `a` and `b`.

    Attributes:
        added: names that only b has.
        removed: names that only a has.
        reshaped: (name, a's shape, b's shape).
        retyped: (name, a's dtype, b's dtype); their values are compared all the same.
        changed: (name, largest absolute difference of the values), the largest first; NaN where one of them has NaN
            and the other not.
        ties: (names, "a" or "b") for names that are one tensor in that one, and several in the other.
        settings: (layer, setting, a's value, b's) for what decides a layer's function beside its weights, `"kind"`
            among them, where both tell it.
        without_settings: "a" or "b", where that one carries no settings, so that none was compared; else empty.
        same: how many tensors are the same in both, each tied one once.
        left_out: what one of them has beside tensors, by its name, and what it is: it was not compared.
        uncertain: (name, why) for what is among the changed, and may have its axes in another order in a file.
        suggestion: what to pass as `rename=` where names are added and removed because of a prefix; else empty.
        notes: what was made of names, where a wrapper around a model put something before them.
    """

    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    reshaped: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)
    retyped: list[tuple[str, Any, Any]] = field(default_factory=list)
    changed: list[tuple[str, float]] = field(default_factory=list)
    ties: list[tuple[tuple[str, ...], str]] = field(default_factory=list)
    settings: list[tuple[str, str, Any, Any]] = field(default_factory=list)
    without_settings: str = ""
    same: int = 0
    left_out: dict[str, str] = field(default_factory=dict)
    uncertain: list[tuple[str, str]] = field(default_factory=list)
    suggestion: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Whether nothing differs in names, shapes, dtypes, values, ties and settings."""
        return not any(rows for _, rows in self._sections())

    def _sections(self) -> list[tuple[str, list[tuple[str, ...]]]]:
        return [
            ("changed", [(name, f"by {most:.3g}") for name, most in self.changed]),
            ("reshaped", [(name, f"{first} to {second}") for name, first, second in self.reshaped]),
            ("retyped", [(name, f"{first} to {second}") for name, first, second in self.retyped]),
            ("removed", [(name,) for name in self.removed]),
            ("added", [(name,) for name in self.added]),
            ("tied otherwise", [(" = ".join(names), f"in {where} only") for names, where in self.ties]),
            (
                "set otherwise",
                [(where(layers), f"{name} {one}, then {two}") for layers, name, one, two in facts(self.settings)],
            ),
        ]

    def __str__(self) -> str:
        lines = [self._title(), f"{counted(self.same, 'tensor')} the same"]
        for title, rows in self._sections():
            lines += [f"{title}:", *row_lines(rows, MOST)] if rows else []
        return "\n".join([*lines, *self._notes()])

    def _repr_html_(self) -> str:
        sections = [(title, ("name", "")[: len(rows[0])], rows) for title, rows in self._sections() if rows]
        return report(self._title(), sections, [f"{counted(self.same, 'tensor')} the same", *self._notes()])

    def _notes(self) -> list[str]:
        unsaid = f"settings: {self.without_settings} carries none, so that none was compared"
        return [
            *([unsaid] if self.without_settings else []),
            *told(self.left_out, "not compared"),
            *grouped(dict(self.uncertain)),
            *self.notes,
            *prefix_hint(self.suggestion),
        ]

    def _title(self) -> str:
        found = [f"{len(rows):,} {title}" for title, rows in self._sections() if rows]
        return f"differ: {', '.join(found)}" if found else "equal"


def diff(a: Any, b: Any, *, rename: Rename | None = None) -> DiffReport:
    """Compares two models or files, in any combination: names, shapes, dtypes, values, ties and settings.

    One tensor of each is in memory at a time. A file of another framework is read as it suits the model that it is
    compared with, and what a framework adds up, such as the two biases of an LSTM, is compared as that sum. What one
    of them has nowhere to keep does not count where it is neutral, such as a `num_batches_tracked` of 0.

    Args:
        a: a native model of any backend, a path, or what `multiparam.open` returned.
        b: another.
        rename: regular expressions and their replacements, applied to a's names in turn; or a function of a name.

    Raises:
        CheckpointError: a file cannot be read or is damaged.
        UninitializedError: a lazy parameter has no value yet.
        BackendError: one of them is neither a model nor a path.

    >>> import multiparam as mp
    >>> a, b = (mp.nn.Sequential(mp.nn.Linear(4, 8), mp.nn.ReLU(), mp.nn.Linear(8, 1)) for _ in range(2))
    >>> for net in (a, b):
    ...     report = mp.initialize(net, mp.init.XavierUniform(), seed=0)
    >>> mp.diff(a, b).equal
    True
    >>> mp.parameters(b)["2.bias"][:] = 0.5
    >>> print(mp.diff(a, b))
    differ: 1 changed
    3 tensors the same
    changed:
      2.bias  by 0.5
    """
    a, b = _opened(a), _opened(b)
    first, second, notes = _sides(a, b, rename or {})
    report = DiffReport(notes=notes, settings=differing_settings(first, second))
    tell = [any(about.keys() - UNSAID for about in side.layers.values()) for side in (first, second)]
    report.without_settings = "ab"[tell.index(False)] if any(tell) and not all(tell) else ""
    report.left_out = {**first.left_out, **second.left_out}
    ours, theirs = dict(first.by_name), dict(second.by_name)
    report.ties = [*_ties(first, ours, theirs, "a"), *_ties(second, theirs, ours, "b")]
    for entries in (ours, theirs):
        _fold(entries, {**first.folds, **second.folds})
    compared = set()
    for name in dict.fromkeys((*ours, *theirs)):
        one, other = ours.get(name), theirs.get(name)
        if one is None:
            report.added += [] if _changes_nothing(theirs[name], name, second, first) else [name]
        elif other is None:
            report.removed += [] if _changes_nothing(one, name, first, second) else [name]
        elif (id(one), id(other)) not in compared:  # a tensor that is tied in both is compared once
            compared.add((id(one), id(other)))
            _compare(name, one, other, report, _doubt(name, (first, one), (second, other)))
    if report.uncertain:
        names, sides = [name for name, _ in report.uncertain], zip((a, b), (first, second), strict=True)
        doubted = {file.path: {*side.doubts, *side.unsure} for file, side in sides if isinstance(file, Checkpoint)}
        path = next(path for path, doubts in doubted.items() if names[0] in doubts)
        warnings.warn(UncertainLayoutWarning(path, names, _UNCERTAIN), stacklevel=2)

    def alike(removed: str, added: str) -> bool:
        return ours[removed].shape == theirs[added].shape

    report.suggestion = extended(
        rename or {}, suggested(report.added, report.removed, ours.keys() & theirs.keys(), alike)
    )
    report.changed.sort(key=lambda change: (not math.isnan(change[1]), -change[1]))
    return report


def _opened(thing: Any) -> Checkpoint | Tree:
    if isinstance(thing, Checkpoint):
        return thing
    if isinstance(thing, (str, PathLike)):
        return open_checkpoint(thing)
    try:
        return Tree(infer_model(thing), thing)
    except BackendError as error:
        raise BackendError(f"what is compared is a model, a path or an open file: {error}") from None


def _sides(a: Checkpoint | Tree, b: Checkpoint | Tree, rename: Rename) -> tuple[Contents, Contents, list[str]]:
    """What is in the two, under the names that are compared, and what is to be said of these."""
    found: Pairing | None = None
    if isinstance(a, Checkpoint) and isinstance(b, Tree):
        found = pair(a.contents, b, rename)
        first, second = found.named, contents_of(b, "compared")
    else:
        second = b.contents if isinstance(b, Checkpoint) else contents_of(b, "compared")
        renamed = renamer(rename, second.by_name.keys())
        if isinstance(a, Tree) and isinstance(b, Checkpoint):
            found = pair(b.contents, a, {}, called=renamed if rename else str)
            second = found.named
        first = (a.contents if isinstance(a, Checkpoint) else contents_of(a, "compared")).renamed(renamed)
    return _unwrapped(first, second, found)


def _unwrapped(first: Contents, second: Contents, found: Pairing | None) -> tuple[Contents, Contents, list[str]]:
    """The two, one of which may be a wrapped model's, without the wrappers' names."""
    one, two = [*first.by_name], [*second.by_name]
    taken = unwrapping(one, _groups(second), two)
    others = [] if taken else unwrapping(two, _groups(first), one)
    first = first.renamed(without(taken)) if taken else first
    second = second.renamed(without(others)) if others else second
    return first, second, wrappers_told([*(found.wrappers if found else ()), *taken, *others])


def _groups(contents: Contents) -> list[list[str]]:
    """The names of each tensor."""
    found: dict[int, list[str]] = {}
    for name, entry in contents.by_name.items():
        found.setdefault(id(entry), []).append(name)
    return [*found.values()]


def _fold(entries: dict[str, Entry], folds: Mapping[str, tuple[str, Fold]]) -> None:
    """Takes as one tensor what one of the two keeps as one."""
    made: dict[tuple[int, int], tuple[Entry, Entry]] = {}
    for name, (into, fold) in folds.items():
        part, whole = entries.get(name), entries.get(into)
        if part is not None and whole is not None and part.shape == whole.shape:
            key = (id(whole), id(part))
            made.setdefault(key, _folded(whole, part, fold))
            entries[into], entries[name] = made[key]


def _folded(whole: Entry, part: Entry, fold: Fold) -> tuple[Entry, Entry]:
    """The sum, rounded once as when a file is loaded, and what of the part is not in it."""

    def total() -> Array:
        wide = np.complex128 if whole.dtype.kind == "c" else np.float64
        with np.errstate(all="ignore"):
            return (whole.value.astype(wide) + fold.split(part.value)[0].astype(wide)).astype(whole.dtype)

    return replace(whole, read=total), replace(part, read=lambda: fold.split(part.value)[1])


def _ties(one: Contents, entries: _Entries, others: _Entries, where: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """What is one tensor in one of them, and several in the other."""
    for group in one.ties:
        both = tuple(name for name in group if name in entries and name in others)
        if len({id(others[name]) for name in both}) > 1:
            yield both, where


def _changes_nothing(entry: Entry, name: str, own: Contents, other: Contents) -> bool:
    """Whether what one of them lacks is lacking for want of a place for what changes nothing."""
    number: Any = other.neutral.get(name)
    if number is None and not own.settled:  # some frameworks save ones and zeros for what a layer does not have
        layer, _, role = name.rpartition(".")
        number = neutral(other.kinds.get(layer, ""), role)
    return number is not None and not entry.refusal and bool((entry.value == number).all())


def _doubt(name: str, *sides: tuple[Contents, Entry]) -> str:
    """Why it is not known whether a tensor has its axes in one order in both; files that tell nothing have one."""
    layer, _, role = name.rpartition(".")
    kinds = [side.kinds[layer] for side, _ in sides if layer in side.kinds]
    one, other = (
        (side.doubts.get(name) or side.unsure.get(name, "")) if fits_turned(entry.shape) else ""
        for side, entry in sides
    )
    return (one or other) if not (one and other) and all(turned_somewhere(kind, role) for kind in kinds) else ""


def _compare(name: str, one: Entry, other: Entry, report: DiffReport, doubt: str) -> None:
    if one.dtype != other.dtype:
        report.retyped.append((name, one.dtype, other.dtype))
    if one.shape != other.shape:
        report.reshaped.append((name, one.shape, other.shape))
        return
    most = difference(one.value, other.value)
    if most != 0:  # NaN too
        report.changed.append((name, most))
        if doubt:
            turned = difference(one.value.transpose(), other.value) == 0
            report.uncertain.append((name, f"{doubt}{'. Turned it would be the same' if turned else ''}"))
    elif one.dtype == other.dtype:
        report.same += 1
