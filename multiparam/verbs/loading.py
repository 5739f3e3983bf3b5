"""Loading a file into a model: pass one checks and plans everything, pass two writes."""

from __future__ import annotations

import re
import warnings
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..adapter.base import Adapter
from ..adapter.plugin import Capability
from ..adapter.registry import infer_model, plugins
from ..arrays.copying import copy_each
from ..arrays.dtypes import check_converts, converted, rank_of
from ..arrays.types import Array
from ..checkpoint.checkpoint import PART, Checkpoint, grouped
from ..errors import (
    AmbiguousMatchError,
    ArgumentError,
    MismatchError,
    MismatchReport,
    UncertainLayoutWarning,
    UninitializedError,
    as_rename,
)
from ..formats.contents import Model, fits_turned
from ..formats.entry import Entry, verified
from ..gc_pause import uncollected
from ..layer_table.kinds import KINDS, neutral, turned_somewhere
from ..layer_table.layout import Handle
from ..layer_table.settings import EDITION, UNSAID, differing, untold
from ..layer_table.table import LazyShape
from ..matching.by_contents import matched, moved
from ..matching.by_saved_names import placed
from ..matching.wrapping import is_kept_by_wrapper, unwrapping, without, wrappers_told
from ..model.inventory import check_complete, inventory_of, left_out
from ..model.parameter import Parameter
from ..model.parameters import Parameters
from ..model.slot import Slot
from ..model.tree import Tree
from ..names.pattern import join
from ..names.rename import Rename, extended, renamed_layer, renamer, roles_of, suggested
from ..text import listed
from .access import state
from .load_report import LoadReport
from .run import check_numbers, unready
from .tie import check_pair, tie_slots

__all__ = ["LoadReport", "load_into", "suited"]

_UNCERTAIN = "it cannot be told in which order these have their axes, and they are loaded as the report says"


@dataclass
class _Plan:
    """What pass one of a load decided, for pass two."""

    writes: list[tuple[Parameter, tuple[Handle, ...], Entry]] = field(default_factory=list)
    handed: list[tuple[str, Adapter, Any, Entry]] = field(
        default_factory=list
    )  # what layers take by methods of their own
    folded: dict[str, Array] = field(default_factory=dict)  # values that are not the file's own, by parameter
    ties: list[tuple[str, str]] = field(default_factory=list)
    kinds: dict[str, str] = field(default_factory=dict)  # of the file's layers, by the model's names
    doubts: dict[str, str] = field(default_factory=dict)  # why it is not known how axes are ordered, by parameter
    hint: str = ""
    report: LoadReport = field(default_factory=LoadReport)
    problems: dict[str, list[Any]] = field(
        default_factory=lambda: {"misshaped": [], "mistyped": [], "unrepresentable": []}
    )


def load_into(
    model: Any, checkpoint: Checkpoint, strict: bool, rename: Rename, by_contents: bool = False
) -> LoadReport:
    """Loads a file into a model.

    Args:
        model: a native model.
        checkpoint: the open file.
        strict: names must be the same.
        rename: regular expressions and their replacements for the file's names, or a function of a name.
        by_contents: layers whose names differ are paired by what is in them.

    Raises:
        MismatchError: the file does not fit; the model is as it was.
        AmbiguousMatchError: layers could be paired in several ways; the model is as it was.
        UninitializedError: a lazy parameter has no shape yet.
    """
    tree, plan = _planned(model, checkpoint, strict, rename, by_contents)
    if plan.doubts:  # said before anything is written, since a warning may be made an error
        warnings.warn(UncertainLayoutWarning(checkpoint.path, [*plan.doubts], _UNCERTAIN), stacklevel=4)
    # all are sound before the first is written
    deque(verified([*(entry for _, _, entry in plan.writes), *(entry for *_, entry in plan.handed)]), 0)
    _hand_over(checkpoint, plan)
    copied: list[Slot] = []
    copy_each(_written(plan, copied))
    for slot in copied:
        slot.node.adapter.written(slot.node.native)
    if plan.ties:
        plan.report.notes += tie_slots(tree.adapter, model, tree, plan.ties).notes
    return plan.report


def _hand_over(checkpoint: Checkpoint, plan: _Plan) -> None:
    """Has layers take what they keep by methods of their own: before all else, since these may fail."""
    restorers: list[Callable[[], None]] = []
    handed = ""
    try:
        for handed, adapter, variable, entry in plan.handed:  # noqa: B007 - the last one is told below
            restorers.append(adapter.restorer(variable))
            adapter.write(variable, entry.read())
    except BaseException as error:
        for restore in reversed(restorers):
            with suppress(Exception):  # what it raised is told
                restore()
        if not isinstance(error, Exception):
            raise
        why = f"its layer does not take it, {type(error).__name__}: {error}"
        found = MismatchReport(unrepresentable=[(handed, why)])
        raise MismatchError(f"{checkpoint.path} does not fit the model; nothing was written", found) from error


def _written(plan: _Plan, copied: list[Slot]) -> Iterator[tuple[Array, Array]]:
    """Writes what only the framework can write, and gives what is left to be copied into which memory.

    Args:
        plan: what is written.
        copied: the slots that are left, added to it.
    """
    for parameter, handles, entry in plan.writes:
        slot, value = parameter.slot, plan.folded.get(parameter.name)
        value = entry.read() if value is None else value
        made = converted(parameter.name, value, slot.dtype_of(handles))
        # what was made for the purpose is not held any longer than it takes
        places = slot.places(handles, value) if made is value else None
        if places is None:
            slot.write(handles, made)
        else:
            yield from places
            copied.append(slot)


@uncollected()
def _planned(model: Any, checkpoint: Checkpoint, strict: bool, rename: Rename, by_contents: bool) -> tuple[Tree, _Plan]:
    """What a load is going to do to a model, which is left as it is."""
    adapter = infer_model(model)
    mapping = state(model)
    tree = mapping.tree
    check_numbers(tree)
    for name in unready(tree):
        raise UninitializedError(
            f"{name!r} has no shape yet: call multiparam.materialize(net, sample) before loading; nothing was written"
        )
    slots = {slot.name: slot for group in tree.groups for slot in group}
    renamed = renamer(rename, slots.keys())
    kinds = {node.name: node.kind for node in tree.root.walk()}
    file, pairs = (checkpoint, {}) if rename else placed(checkpoint, tree)
    notes = [] if file is checkpoint else file.notes
    renamed, said = _unwrapped(file, renamed, tree)
    notes = [*notes, *said]
    checkpoint = suited(file, adapter.name, slots, kinds, renamed)
    if by_contents and (more := _pairs(checkpoint, renamed, tree, slots, kinds)):
        pairs, renamed = {**pairs, **more}, moved(renamed, more)
        checkpoint = suited(file, adapter.name, slots, kinds, renamed)
    given = _given_names(checkpoint, renamed)
    groups = [[renamed(name) for name in group] for group in checkpoint.ties]
    stored: dict[str, str] = {}
    for group in groups:
        kept = [name for name in group if name in given]
        stored.update({alias: alias if alias in kept else kept[0] for alias in group if kept})
    plan = _plan(checkpoint, given, stored, mapping, tree.file_only()[0])
    plan.report.matched = [*pairs.items()]
    _plan_extras(checkpoint, given, tree, plan)
    _plan_left_out(checkpoint, renamed, tree, plan)
    plan.report.renamed = rename
    _leave_out_neutral(checkpoint, given, kinds, plan)
    _plan_folds(
        checkpoint, {**given, **{alias: given[kept] for alias, kept in stored.items()}}, tree, mapping, groups, plan
    )
    _plan_ties(adapter, tree, groups, stored, plan)
    plan.doubts = _doubts(checkpoint, plan)
    plan.report.notes += [*notes, *grouped(plan.doubts), *_leave_to_wrappers(plan.report, slots, kinds)]
    _compare_layers(checkpoint, renamed, tree, plan)
    plan.report.about = {name: (slots[name].shape(), slots[name].node.kind) for name in plan.report.missing} | {
        name: (checkpoint[given[name]].shape, plan.kinds.get(name.rpartition(".")[0], ""))
        for name in plan.report.unexpected
    }
    _suggest(checkpoint, rename, slots, given, stored, plan)
    if strict and plan.report.missing and checkpoint.content == "shard":
        plan.hint = PART
    elif strict and plan.report.missing and not by_contents and not plan.report.suggestion:
        plan.hint = _matchable(plan.report.missing, lambda: _pairs(checkpoint, renamed, tree, slots, kinds))
    elif not strict:
        plan.hint = _left_out(plan.problems["misshaped"], given)
    _refuse(checkpoint, plan, strict)
    return tree, plan


def _compare_layers(checkpoint: Checkpoint, renamed: Callable[[str], str], tree: Tree, plan: _Plan) -> None:
    """Compares kinds and settings of the layers."""
    names = {layer: renamed_layer(renamed, layer, role) for layer, role in roles_of(checkpoint).items()}
    names |= {layer: renamed_layer(renamed, layer, None) for layer in checkpoint.layers if layer not in names}
    plan.kinds = {names[layer]: kind for layer, kind in checkpoint.kinds.items()}
    saved = {names[layer]: settings for layer, settings in checkpoint.layers.items()}
    plan.report.differences = _differences(tree, saved, checkpoint)
    _plan_untold(tree, checkpoint, plan)


def _suggest(
    checkpoint: Checkpoint,
    rename: Rename,
    slots: Mapping[str, Slot],
    given: Mapping[str, str],
    stored: Mapping[str, str],
    plan: _Plan,
) -> None:
    """Finds the renaming after which what is missing and unexpected would fit."""
    left = set(plan.report.unexpected)
    fitting = {name for name in (*given, *stored) if stored.get(name, name) not in left}

    def alike(unexpected: str, missing: str) -> bool:
        key = given[unexpected]
        return checkpoint[key].shape == slots[missing].shape() and key != missing  # or it would undo `rename=`

    plan.report.suggestion = extended(rename, suggested(plan.report.missing, plan.report.unexpected, fitting, alike))


def _unwrapped(
    checkpoint: Checkpoint, renamed: Callable[[str], str], tree: Tree
) -> tuple[Callable[[str], str], list[str]]:
    """A renaming after which a wrapped model's file fits, and what is to be said of it."""
    names = [renamed(name) for name in (*checkpoint, *(alias for group in checkpoint.ties for alias in group))]
    wanted = [[slot.name for slot in group] for group in tree.groups if _is_needed(group[0])]
    spare = {*tree.file_only()[0], *(slot.name for group in tree.groups for slot in group)}
    places = unwrapping(dict.fromkeys(names), wanted, spare)
    taken = without(places)
    return (lambda name: taken(renamed(name))) if places else renamed, wrappers_told(places)


def _is_needed(slot: Slot) -> bool:
    return not slot.transient and not slot.node.is_wrapper


def _leave_to_wrappers(report: LoadReport, slots: Mapping[str, Slot], layers: Collection[str]) -> list[str]:
    """Neither misses nor expects elsewhere what wrappers keep for themselves, which is no part of a model."""
    here = [name for name in report.missing if slots[name].node.is_wrapper]
    there = [name for name in report.unexpected if is_kept_by_wrapper(name) and name.rpartition(".")[0] in layers]
    report.missing = [name for name in report.missing if name not in here]
    report.unexpected = [name for name in report.unexpected if name not in there]
    return [
        *(f"left as it is: {name}, which a wrapper keeps for itself and the file does not have" for name in here),
        *(f"not loaded: {name}, which a wrapper around the model kept for itself" for name in there),
    ]


def suited(
    checkpoint: Checkpoint,
    backend: str,
    slots: Mapping[str, Slot],
    kinds: Mapping[str, str],
    renamed: Callable[[str], str],
) -> Checkpoint:
    """A file, read as it suits a model.

    Args:
        checkpoint: the open file.
        backend: the model's backend.
        slots: the model's tensors, by name.
        kinds: the kinds of its layers, by name.
        renamed: what turns a name of the file into one of the model.
    """
    roles = roles_of(checkpoint)

    def found(name: str) -> Slot | None:
        try:
            return slots.get(renamed(name))
        except ArgumentError:  # of a function that knows the file's own names only
            return None

    return checkpoint.suiting(
        Model(
            names=lambda name: found(name) is not None,
            kind=lambda layer: kinds.get(renamed_layer(renamed, layer, roles.get(layer)), ""),
            native=checkpoint.backend == backend,
            shape=lambda name: None if (slot := found(name)) is None else slot.extents(),
        )
    )


def _pairs(
    checkpoint: Checkpoint,
    renamed: Callable[[str], str],
    tree: Tree,
    slots: Mapping[str, Slot],
    kinds: Mapping[str, str],
) -> dict[str, str]:
    """The model's layers by those of the file that have other names and the same contents."""
    given = {renamed(name): entry.shape for name, entry in checkpoint.items()}
    for group in checkpoint.ties:
        names = [renamed(name) for name in group]
        kept = [given[name] for name in names if name in given]
        given |= dict.fromkeys(names, kept[0]) if kept else {}
    wanted: dict[str, LazyShape] = {name: slot.shape() for name, slot in slots.items() if not slot.transient}
    wanted |= {name: value.shape for name, value in tree.file_only()[0].items()}
    for name in checkpoint.own:  # of which it is not known whether they are turned
        shape = given.get(renamed(name), ())
        if len(shape) == 2 and shape != shape[::-1] and shape[::-1] in wanted.values():
            return {}
    roles = roles_of(checkpoint)
    told = {renamed_layer(renamed, layer, roles.get(layer)): kind for layer, kind in checkpoint.kinds.items()}
    ties = (
        [[renamed(name) for name in group] for group in checkpoint.ties],
        [[slot.name for slot in group] for group in tree.groups if len(group) > 1],
    )
    return matched(given, wanted, (told, kinds), ties)


def _matchable(missing: list[str], pair: Callable[[], dict[str, str]]) -> str:
    """That `match="auto"` pairs layers, if nothing would be missing then."""
    try:
        pairs = pair()
    except AmbiguousMatchError:
        return ""
    if not {name.rpartition(".")[0] for name in missing} <= {*pairs.values()}:
        return ""
    shown = [f"{layer or 'the model'} with {here or 'the model'}" for layer, here in pairs.items()]
    return f"layers that hold the same have other names: match='auto' pairs {listed(shown, most=3)}"


def _left_out(misshaped: list[tuple[str, Any, Any]], given: Mapping[str, str]) -> str:
    """How what does not fit is left out, which `strict=False` alone does not."""
    layers = dict.fromkeys(given[name].rpartition(".")[0] for name, *_ in misshaped if "." in given.get(name, ""))
    away = {f"^{re.escape(layer)}\\.": f"left out.{layer}." for layer in layers}
    return f"to load the rest, rename what does not fit away: {as_rename(away)}" if away else ""


def _given_names(checkpoint: Checkpoint, renamed: Callable[[str], str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for key in checkpoint:
        name = renamed(key)
        if name in given:
            raise ArgumentError(f"rename= turns both {given[name]!r} and {key!r} into {name!r}")
        given[name] = key
    return given


def _plan(
    checkpoint: Checkpoint,
    given: dict[str, str],
    stored: dict[str, str],
    mapping: Parameters,
    neutral: Mapping[str, Array],
) -> _Plan:
    plan = _Plan()
    used: set[str] = set()
    for parameter in mapping.walked():
        if parameter.slot.transient:
            continue
        names = [parameter.name, *parameter.aliases]
        sources = list(dict.fromkeys(stored.get(name, name) for name in names if stored.get(name, name) in given))
        used.update(sources)
        if not sources and parameter.slot.optional:
            plan.report.left_out[parameter.name] = "not in the file, and kept as it is"
            continue
        if not sources:
            plan.report.missing.append(parameter.name)
            continue
        key = given[sources[0]]
        handles = parameter.slot.handles() or ()
        if _fits(parameter, handles, checkpoint[key], plan, checkpoint.path):
            if parameter.slot.any_shape(handles):
                one = (parameter.name, parameter.slot.node.adapter, handles[0].variable, checkpoint[key])
                plan.handed.append(one)
            else:
                plan.writes.append((parameter, handles, checkpoint[key]))
            plan.report.loaded.append(parameter.name)
        for other in sources[1:]:
            _same(checkpoint, key, given[other], parameter)
    plan.report.unexpected = [name for name in given if name not in used and name not in neutral]
    return plan


def _plan_extras(checkpoint: Checkpoint, given: Mapping[str, str], tree: Tree, plan: _Plan) -> None:
    """Finds the places of tensors that a layer takes by a method of its own, and has none of now."""
    for node in tree.root.walk():
        for key, variable in node.extras.items():
            name = join(node.name, key)
            if name in plan.report.unexpected:
                plan.handed.append((name, node.adapter, variable, checkpoint[given[name]]))
                plan.report.unexpected.remove(name)
                plan.report.loaded.append(name)


def _plan_left_out(checkpoint: Checkpoint, renamed: Callable[[str], str], tree: Tree, plan: _Plan) -> None:
    """Says what of the model no file of tensors has, and what the file's model had beside its tensors."""
    inventory = inventory_of(tree)
    check_complete(inventory, "loading into this model")
    found, loaded = left_out(tree, inventory), {*plan.report.loaded}
    there = {renamed(name): what for name, what in checkpoint.left_out.items()}
    # a file of training has much that is no model's
    wanted = {*found, *plan.report.missing, *(there if checkpoint.content == "model" else ())}
    found = {**plan.report.left_out, **found, **{name: what for name, what in there.items() if name in wanted}}
    plan.report.left_out = {name: what for name, what in found.items() if name not in loaded}
    # what a layer saves in a way of its own may be no tensor in the file; a parameter that is none there is missing
    own_way = {slot.name for slot in tree.primary if slot.any_shape(slot.handles() or ())}
    excused = plan.report.left_out.keys() & own_way
    plan.report.missing = [name for name in plan.report.missing if name not in excused]
    plan.report.notes += inventory.loading


def _leave_out_neutral(checkpoint: Checkpoint, given: Mapping[str, str], kinds: Mapping[str, str], plan: _Plan) -> None:
    """Expects nowhere what changes nothing: ones and zeros that some frameworks save for what a layer does not have."""
    left = []
    for name in plan.report.unexpected if not checkpoint.settled else ():
        layer, _, role = name.rpartition(".")
        number, entry = neutral(kinds.get(layer, ""), role), checkpoint[given[name]]
        if number is not None and not entry.refusal and (entry.value == number).all():
            left.append(name)
    plan.report.unexpected = [name for name in plan.report.unexpected if name not in left]
    plan.report.notes += [f"not loaded, since it changes nothing: {name}" for name in left]


def _doubts(checkpoint: Checkpoint, plan: _Plan) -> dict[str, str]:
    """Why it is not known whether what is written has its axes in the model's order, by the model's names."""
    told, doubts = _told(checkpoint, plan), checkpoint.doubts
    found = {}
    for parameter, _, entry in plan.writes:
        slots = [slot for slot in parameter.slots if not slot.is_buffer]
        if not fits_turned(entry.shape) or not all(turned_somewhere(slot.node.kind, slot.role) for slot in slots):
            continue
        settled = entry.name in checkpoint.unsure and not told.isdisjoint(map(_convention, slots))
        why = "" if settled else doubts.get(entry.name, "")
        if not why and _is_kernel(checkpoint, entry.name) and parameter.name.endswith("weight"):
            why = f"{_KERNEL}; {entry.name!r} is as in the file"
        if slots and why:
            found[parameter.name] = why
    return found


_KERNEL = "a kernel may have its axes the other way round, and the shape fits both"


def _is_kernel(checkpoint: Checkpoint, name: str) -> bool:
    """Whether a framework calls it so, which the file's own reader would have turned if it knew its layer."""
    named = name in checkpoint.own and name not in checkpoint.unsure
    return named and "kernel" in re.split(r"[./:]", name)


def _told(checkpoint: Checkpoint, plan: _Plan) -> set[tuple[str, str]]:
    """The conventions of a file that does not tell them which those of its tensors show that fit in one order only."""
    found: set[tuple[str, str]] = set()
    for parameter, _, entry in plan.writes if checkpoint.unsure else ():
        if len(entry.shape) > 1 and not fits_turned(entry.shape) and not checkpoint.kind_around(entry.name):
            found.update(map(_convention, parameter.slots))
    return found


def _convention(slot: Slot) -> tuple[str, str]:
    """What all have in common whose axes a framework has in one order: the kind, or the class and its role."""
    return slot.node.kind, "" if slot.node.kind in KINDS else slot.role


def _plan_folds(
    checkpoint: Checkpoint,
    keys: Mapping[str, str],
    tree: Tree,
    mapping: Parameters,
    groups: list[list[str]],
    plan: _Plan,
) -> None:
    """What is added to other tensors, since the model has no place for it or only for a part of it."""
    written = {parameter.name: (handles, entry) for parameter, handles, entry in plan.writes}
    first = {name: group[0] for group in groups for name in group}
    added: dict[str, tuple[str, Array]] = {}
    for node in tree.root.walk():
        for role, fold in node.folds().items():
            name, target = join(node.name, role), join(node.name, fold.into)
            into = mapping.named(target)
            if into is None or into.name not in written:
                # nothing is there that it could be added to
                part = mapping.named(name)
                if part is not None and part.name in written:
                    handles, entry = written[part.name]
                    why = part.slot.problem(handles, entry.value)
                    plan.problems["unrepresentable"] += [(part.name, why)] if why else []
                continue
            if name in keys and checkpoint[keys[name]].shape != into.shape:
                plan.problems["misshaped"].append((name, into.shape, checkpoint[keys[name]].shape))
                continue
            given = checkpoint[keys[name]].value if name in keys else np.zeros(into.slot.extents())
            summand, rest = fold.split(given)
            # what will be one tensor can have one sum only
            sum_of = mapping.named(first.get(target, target)) or into
            other = added.setdefault(sum_of.name, (name, summand))
            if not np.array_equal(other[1], summand):
                why = f"it would be added to {into.name!r}, and so would {other[0]!r}, which differs: untie them first"
                plan.problems["unrepresentable"].append((name, why))
            elif summand.any():
                _add(checkpoint, written[into.name][1], into, summand, plan)
                plan.report.folded.append((name, into.name))
            if (own := mapping.named(name)) is not None:
                plan.folded[own.name] = rest
            elif rest.any():
                plan.problems["unrepresentable"].append((name, fold.why))


def _add(checkpoint: Checkpoint, entry: Entry, into: Parameter, summand: Array, plan: _Plan) -> None:
    """Plans the sum as the value of a parameter, rounded once."""
    wide = np.result_type(np.float64, into.dtype if into.dtype.kind == "c" else np.float64)
    total = entry.value.astype(wide) + summand.astype(wide)
    plan.folded[into.name] = converted(into.name, total, into.dtype, f"{checkpoint.path} cannot be loaded into")


def _fits(parameter: Parameter, handles: tuple[Handle, ...], entry: Entry, plan: _Plan, path: Path) -> bool:
    if entry.refusal:
        plan.problems["unrepresentable"].append((parameter.name, entry.refusal))
        return False
    slot = parameter.slot
    if slot.any_shape(handles):
        return True
    dtype, shape = slot.dtype_of(handles), slot.shape_of(handles)
    if entry.shape != shape:
        plan.problems["misshaped"].append((parameter.name, shape, entry.shape))
    alike = entry.dtype == dtype or rank_of(entry.dtype) == rank_of(dtype)
    if not alike:
        plan.problems["mistyped"].append((parameter.name, dtype, entry.dtype))
    elif entry.dtype != dtype:
        check_converts(parameter.name, entry.value, dtype, f"{path} cannot be loaded into")
        plan.report.converted.append((parameter.name, entry.dtype, dtype))
    if why := slot.unwritable(handles):
        plan.problems["unrepresentable"].append((parameter.name, why))
        return False
    fits = alike and entry.shape == shape
    if fits and not slot.keeps_all(handles) and not _has_fold(parameter):
        why = slot.problem(handles, entry.value)
        plan.problems["unrepresentable"] += [(parameter.name, why)] if why else []
    return fits


def _has_fold(parameter: Parameter) -> bool:
    return parameter.role in parameter.slot.node.folds()


def _same(checkpoint: Checkpoint, key: str, other: str, parameter: Parameter) -> None:
    first, second = checkpoint[key].value, checkpoint[other].value
    if first.shape != second.shape or first.tobytes() != second.tobytes():
        raise MismatchError(
            f"{key!r} and {other!r} differ in the file, and are one tied parameter, {parameter.name!r}, in the model; "
            f"nothing was written. Untie them first",
            MismatchReport(),
        )


def _plan_ties(adapter: Adapter, tree: Tree, groups: list[list[str]], stored: dict[str, str], plan: _Plan) -> None:
    slots = {slot.name: slot for group in tree.groups for slot in group if not slot.is_buffer}
    tied = {slot.name: [other.name for other in group] for group in tree.groups for slot in group}
    for group in groups:
        there = [name for name in group if name in slots and group[0] in stored]
        # what the model has tied to one of them stays tied to it
        there = list(dict.fromkeys(other for name in there for other in [name, *tied[name]]))
        apart = [name for name in there[1:] if slots[name].storage() != slots[there[0]].storage()]
        if not apart:
            continue
        adapter.require(Capability.TIE)
        misfits = {name for name, *_ in _problems(plan)}
        if misfits.isdisjoint(there):
            for name in apart:
                check_pair(adapter, slots[name], slots[there[0]])
        plan.ties += [(name, there[0]) for name in apart]
        plan.report.tied.append(tuple(there))


def _problems(plan: _Plan) -> Iterable[tuple[Any, ...]]:
    return [*plan.problems["misshaped"], *plan.problems["mistyped"]]


def _differences(
    tree: Tree, saved: Mapping[str, Mapping[str, Any]], checkpoint: Checkpoint
) -> list[tuple[str, str, Any, Any]]:
    found = []
    for node in tree.root.walk():
        given, here = saved.get(node.name), node.described()
        if given and here:
            # a file that tells kinds only leaves no setting at its default
            told = here if checkpoint.settled else {name: here[name] for name in given if name in here}
            found += [(node.name, *one) for one in differing(given, told, (checkpoint.edition, EDITION))]
    return found


def _plan_untold(tree: Tree, checkpoint: Checkpoint, plan: _Plan) -> None:
    """What the model has set in another way than the framework does by itself whose file tells no settings."""
    if any(about.keys() - {"kind"} for about in checkpoint.layers.values()) or (
        checkpoint.settled and checkpoint.layers
    ):
        return
    nodes = [(node.name, node.described()) for node in tree.root.walk()]
    plan.report.carries_settings = not any(about.keys() - UNSAID for _, about in nodes)
    writer = plugins().get(checkpoint.writer)
    if writer is not None and not plan.report.carries_settings:
        plan.report.untold = untold(nodes, writer.settings())


def _refuse(checkpoint: Checkpoint, plan: _Plan, strict: bool) -> None:
    kinds = [(layer, here, str(given)) for layer, setting, given, here in plan.report.differences if setting == "kind"]
    found = MismatchReport(
        missing=plan.report.missing if strict else (),
        unexpected=plan.report.unexpected if strict else (),
        misshaped=plan.problems["misshaped"],
        mistyped=plan.problems["mistyped"],
        unrepresentable=plan.problems["unrepresentable"],
        kinds=[
            (*kind, next((KINDS[one].apart for one in kind[1:] if one in KINDS and KINDS[one].apart), ""))
            for kind in kinds
        ],
        suggestion=plan.report.suggestion if strict else {},
        hint=plan.hint,
        about=plan.report.about,
    )
    if found:
        raise MismatchError(f"{checkpoint.path} does not fit the model; nothing was written", found)
