"""What differs between two models or files, read one tensor of each at a time."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..adapter.registry import infer_model
from ..arrays.dtypes import difference
from ..arrays.types import Array
from ..checkpoint.checkpoint import Checkpoint, grouped
from ..checkpoint.checkpoint import open as open_checkpoint
from ..errors import ArgumentError, BackendError, UncertainLayoutWarning, UninitializedError, prefix_hint
from ..formats.contents import fits_turned
from ..formats.entry import Entry
from ..html import report
from ..layer_table.kinds import neutral, turned_somewhere
from ..layer_table.settings import EDITION, UNSAID, differing, facts
from ..layer_table.table import Fold
from ..matching.by_saved_names import placed
from ..matching.wrapping import unwrapping, without, wrappers_told
from ..model.inventory import left_out, told
from ..model.slot import Slot
from ..model.tree import Tree
from ..names.pattern import join
from ..names.rename import Rename, extended, renamed_layer, renamer, roles_of, suggested
from ..text import counted, row_lines, where
from .loading import suited

__all__ = ["DiffReport", "diff"]

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
    first, second, notes = _sides(a, b, rename or {})
    report = DiffReport(ties=[*_ties(first, second, "a"), *_ties(second, first, "b")], notes=notes)
    report.settings = list(_settings(first, second))
    tell = [any(about.keys() - UNSAID for about in side.layers.values()) for side in (first, second)]
    report.without_settings = "ab"[tell.index(False)] if any(tell) and not all(tell) else ""
    report.left_out = {**first.left_out, **second.left_out}
    folds = {**first.folds, **second.folds}
    first.fold(folds)
    second.fold(folds)
    compared = set()
    for name in dict.fromkeys((*first.entries, *second.entries)):
        one, other = first.entries.get(name), second.entries.get(name)
        if one is None or other is None:
            _only(name, first, second, report)
        elif (id(one), id(other)) not in compared:  # a tensor that is tied in both is compared once
            compared.add((id(one), id(other)))
            _compare(name, one, other, report, _doubt(name, first, second))
    if report.uncertain:
        path = next(side.path for side in (first, second) if side.doubts)
        names = [name for name, _ in report.uncertain]
        warnings.warn(UncertainLayoutWarning(path, names, _UNCERTAIN), stacklevel=2)
    fitting = first.entries.keys() & second.entries.keys()

    def alike(removed: str, added: str) -> bool:
        return first.entries[removed].shape == second.entries[added].shape

    report.suggestion = extended(rename or {}, suggested(report.added, report.removed, fitting, alike))
    report.changed.sort(key=lambda change: (not math.isnan(change[1]), -change[1]))
    return report


@dataclass
class _Side:
    """One of the two that are compared.

    Attributes:
        entries: its tensors by all of their names.
        ties: groups of names that are one tensor.
        layers: kinds and settings of its layers.
        settled: whether what `layers` leaves out has its default value.
        edition: of the settings, for which that holds.
        kinds: kinds of its layers, of containers too.
        nowhere: what it has no place for, with neutral values.
        folds: what is a part of another tensor in it: that one's name, and how, by name.
        foreign: it may have ones and zeros for what a layer does not have, as some frameworks save them.
        left_out: what it has beside tensors.
        path: the file.
        doubts: why it is not known in which order its tensors have their axes, where they fit in either.
    """

    entries: dict[str, Entry]
    ties: list[tuple[str, ...]]
    layers: Mapping[str, Mapping[str, Any]]
    settled: bool
    kinds: Mapping[str, str]
    edition: int = EDITION
    nowhere: Mapping[str, Array] = field(default_factory=dict)
    folds: Mapping[str, tuple[str, Fold]] = field(default_factory=dict)
    foreign: bool = False
    left_out: Mapping[str, str] = field(default_factory=dict)
    path: Path | None = None
    doubts: Mapping[str, str] = field(default_factory=dict)

    def fold(self, folds: Mapping[str, tuple[str, Fold]]) -> None:
        """Takes as one tensor what one of the two keeps as one."""
        made: dict[tuple[int, int], tuple[Entry, Entry]] = {}
        for name, (into, fold) in folds.items():
            part, whole = self.entries.get(name), self.entries.get(into)
            if part is not None and whole is not None and part.shape == whole.shape:
                key = (id(whole), id(part))
                made.setdefault(key, _folded(whole, part, fold))
                self.entries[into], self.entries[name] = made[key]


def _sides(a: Any, b: Any, rename: Rename) -> tuple[_Side, _Side, list[str]]:
    first, second = _opened(a), _opened(b)
    renamed, other, notes = _unwrapped(first, second, renamer(rename, set(_names(second))))
    if isinstance(first, Checkpoint) and isinstance(second, Tree):
        first = _suited(first if rename else placed(first, second)[0], renamed, second, other)
    elif isinstance(first, Tree) and isinstance(second, Checkpoint):
        second = _suited(second if rename else placed(second, first)[0], other, first, renamed)
    return _side(first, renamed), _side(second, other), notes


_Renamed = Callable[[str], str]


def _unwrapped(
    first: Checkpoint | Tree, second: Checkpoint | Tree, renamed: _Renamed
) -> tuple[_Renamed, _Renamed, list[str]]:
    """What turns the names of each, one of which may be a wrapped model's, and what is to be said of it."""
    one, two = [renamed(name) for name in _names(first)], [*_names(second)]
    taken = unwrapping(one, _groups(second, str), two)
    others = [] if taken else unwrapping(two, _groups(first, renamed), one)
    strip = without(taken)
    return (
        (lambda name: strip(renamed(name))) if taken else renamed,
        without(others) if others else str,
        wrappers_told([*taken, *others]),
    )


def _groups(thing: Checkpoint | Tree, renamed: _Renamed) -> list[list[str]]:
    """The names of each of its tensors."""
    if isinstance(thing, Tree):
        return [[renamed(slot.name) for slot in group] for group in thing.groups if not group[0].transient]
    tied = {name for group in thing.ties for name in group}
    alone = [[renamed(name)] for name in thing if name not in tied]
    return [*alone, *([renamed(name) for name in group] for group in thing.ties)]


def _opened(thing: Any) -> Checkpoint | Tree:
    if isinstance(thing, Checkpoint):
        return thing
    if isinstance(thing, (str, PathLike)):
        return open_checkpoint(thing)
    try:
        return Tree(infer_model(thing), thing)
    except BackendError as error:
        raise BackendError(f"what is compared is a model, a path or an open file: {error}") from None


def _names(thing: Checkpoint | Tree) -> Iterator[str]:
    if isinstance(thing, Tree):
        return (slot.name for group in thing.groups for slot in group)
    return (name for name in (*thing, *(alias for group in thing.ties for alias in group)) if name in thing)


def _suited(
    checkpoint: Checkpoint, renamed: Callable[[str], str], tree: Tree, models: Callable[[str], str]
) -> Checkpoint:
    """A file as it suits a model; each has a function that turns its names into those that are compared."""
    kinds = {renamed_layer(models, node.name, node.a_role): node.kind for node in tree.root.walk()}
    slots = {models(slot.name): slot for group in tree.groups for slot in group}
    return suited(checkpoint, tree.adapter.name, slots, kinds, renamed)


def _side(thing: Checkpoint | Tree, renamed: Callable[[str], str]) -> _Side:
    side = _of_model(thing, renamed) if isinstance(thing, Tree) else _of_file(thing, renamed)
    named: dict[str, str] = {}
    for name in dict.fromkeys(_names(thing)):
        if renamed(name) in named:
            raise ArgumentError(f"rename= turns both {named[renamed(name)]!r} and {name!r} into {renamed(name)!r}")
        named[renamed(name)] = name
    return side


def _of_file(checkpoint: Checkpoint, renamed: Callable[[str], str]) -> _Side:
    roles = roles_of(_names(checkpoint))

    def layer(name: str) -> str:
        return renamed_layer(renamed, name, roles.get(name))

    return _Side(
        {renamed(name): checkpoint[name] for name in _names(checkpoint)},
        [tuple(renamed(name) for name in group) for group in checkpoint.ties],
        {layer(name): about for name, about in checkpoint.layers.items()},
        checkpoint.settled,
        {layer(name): kind for name, kind in checkpoint.kinds.items()},
        edition=checkpoint.edition,
        foreign=not checkpoint.settled,
        left_out=checkpoint.left_out,
        path=checkpoint.path,
        doubts={renamed(name): why for name, why in checkpoint.doubts.items() if fits_turned(checkpoint[name].shape)},
    )


def _of_model(tree: Tree, renamed: Callable[[str], str]) -> _Side:
    for node in tree.opaque():
        raise UninitializedError(
            f"{node.name or 'the model'!r} has no parameters yet: call multiparam.materialize(net, sample) first"
        )
    groups = [group for group in tree.groups if not group[0].transient]
    nodes = list(tree.root.walk())
    layers = {node.name: renamed_layer(renamed, node.name, node.a_role) for node in nodes}
    entries: dict[str, Entry] = {}
    for group in groups:
        entries.update(dict.fromkeys((renamed(slot.name) for slot in group), _entry(group[0])))
    return _Side(
        entries,
        [tuple(renamed(slot.name) for slot in group) for group in groups if len(group) > 1],
        {layers[node.name]: found for node in nodes if (found := node.described())},
        True,
        {layers[node.name]: node.kind for node in nodes},
        nowhere={join(layers[node.name], role): value for node in nodes for role, value in node.file_only().items()},
        folds={
            join(layers[node.name], role): (renamed(join(node.name, fold.into)), fold)
            for node in nodes
            for role, fold in node.folds().items()
        },
        left_out=left_out(tree),
    )


def _entry(slot: Slot) -> Entry:
    handles = slot.ready()
    if handles is None:
        raise UninitializedError(f"{slot.name!r} has no value yet and cannot be compared: {slot.advice()}")
    slot.check_reachable(handles)
    dtype = slot.node.adapter.dtype(handles[0].variable)
    return Entry(slot.name, dtype, slot.extents(), lambda: slot.read(handles))


def _folded(whole: Entry, part: Entry, fold: Fold) -> tuple[Entry, Entry]:
    """The sum, rounded once as when a file is loaded, and what of the part is not in it."""

    def total() -> Array:
        wide = np.complex128 if whole.dtype.kind == "c" else np.float64
        with np.errstate(all="ignore"):
            return (whole.value.astype(wide) + fold.split(part.value)[0].astype(wide)).astype(whole.dtype)

    return replace(whole, read=total), replace(part, read=lambda: fold.split(part.value)[1])


def _ties(one: _Side, other: _Side, where: str) -> Iterator[tuple[tuple[str, ...], str]]:
    for group in one.ties:
        both = tuple(name for name in group if name in one.entries and name in other.entries)
        if len({id(other.entries[name]) for name in both}) > 1:
            yield both, where


def _settings(first: _Side, second: _Side) -> Iterator[tuple[str, str, Any, Any]]:
    for layer, given in first.layers.items():
        told = second.layers.get(layer, {})
        # a file that tells kinds only leaves no setting at its default
        one = given if second.settled else {name: given[name] for name in told if name in given}
        two = told if first.settled else {name: told[name] for name in given if name in told}
        editions = (first.edition, second.edition)
        yield from ((layer, *found) for found in (differing(one, two, editions) if one and two else ()))


def _only(name: str, first: _Side, second: _Side, report: DiffReport) -> None:
    """What one of them lacks, where that is not for want of a place for what changes nothing."""
    one, other, names = (first, second, report.removed) if name in first.entries else (second, first, report.added)
    entry, number = one.entries[name], other.nowhere.get(name)
    if number is None and one.foreign:
        layer, _, role = name.rpartition(".")
        found = neutral(other.kinds.get(layer, ""), role)
        number = None if found is None else np.asarray(found)
    if number is None or entry.refusal or not (entry.value == number).all():
        names.append(name)


def _doubt(name: str, first: _Side, second: _Side) -> str:
    """Why it is not known whether a tensor has its axes in one order in both; files that tell nothing have one."""
    layer, _, role = name.rpartition(".")
    kinds = [side.kinds[layer] for side in (first, second) if layer in side.kinds]
    one, other = first.doubts.get(name, ""), second.doubts.get(name, "")
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
