"""What a load is going to do: everything is checked before anything is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ...adapter.base import Adapter
from ...adapter.capabilities import Ties
from ...arrays.dtypes import check_converts, rank_of
from ...errors import MismatchError, MismatchReport
from ...formats.entry import Entry
from ...layer_table.kinds import KINDS, neutral
from ...layer_table.layout import Handle
from ...matching.pairing import Pair, Pairing
from ...matching.wrapping import is_kept_by_wrapper
from ...model.inventory import check_complete, inventory_of, left_out
from ...model.slot import Slot
from ...names.pattern import join
from ..tie import check_pair
from .report import LoadReport

__all__ = ["Plan", "Write", "check_fits", "plan_extras", "plan_left_out", "plan_neutral", "plan_ties", "plan_wrappers"]


@dataclass
class Write:
    """What is written into a tensor of the model.

    Attributes:
        slots: its places, the primary one first.
        handles: its variables.
        entry: the file's tensor, or the sum of two of them.
    """

    slots: list[Slot]
    handles: tuple[Handle, ...]
    entry: Entry

    @property
    def slot(self) -> Slot:
        """The primary place."""
        return self.slots[0]


@dataclass
class Plan:
    """What is going to be done to a model, or why nothing is.

    Attributes:
        source: the file, as it is called in errors.
        pairing: which of its tensors are which of the model.
        report: what will be said.
        writes: what is written, by name.
        handed: what layers take by methods of their own: name, adapter, variable and the file's tensor.
        ties: the names that are tied, and what to.
        misshaped: (name, the model's shape, the file's).
        mistyped: (name, the model's dtype, the file's).
        unrepresentable: (name, why the layer cannot keep it).
    """

    source: str
    pairing: Pairing
    report: LoadReport
    writes: dict[str, Write] = field(default_factory=dict)
    handed: list[tuple[str, Adapter, Any, Entry]] = field(default_factory=list)
    ties: list[tuple[str, str]] = field(default_factory=list)
    misshaped: list[tuple[str, Any, Any]] = field(default_factory=list)
    mistyped: list[tuple[str, Any, Any]] = field(default_factory=list)
    unrepresentable: list[tuple[str, str]] = field(default_factory=list)

    @property
    def cannot(self) -> str:
        """How an error begins about a number that does not fit."""
        return f"{self.source} cannot be loaded into"

    def refuse(self, strict: bool, hint: str) -> None:
        """Raises MismatchError if something does not fit.

        Args:
            strict: names must be the same.
            hint: what can be done.
        """
        report = self.report
        found = MismatchReport(
            missing=report.missing if strict else (),
            unexpected=report.unexpected if strict else (),
            misshaped=self.misshaped,
            mistyped=self.mistyped,
            unrepresentable=self.unrepresentable,
            kinds=[
                (layer, here, str(given), next((KINDS[one].apart for one in (here, str(given)) if _is_apart(one)), ""))
                for layer, setting, given, here in report.differences
                if setting == "kind"
            ],
            suggestion=report.suggestion if strict else {},
            hint=hint,
            about=report.about,
        )
        if found:
            raise MismatchError(f"{self.source} does not fit the model; nothing was written", found)


def _is_apart(kind: str) -> bool:
    return kind in KINDS and bool(KINDS[kind].apart)


def check_fits(plan: Plan) -> None:
    """Finds out of each pair whether the model can take what the file has."""
    report = plan.report
    for slot in plan.pairing.missing:
        if slot.optional:
            report.left_out[slot.name] = "not in the file, and kept as it is"
        else:
            report.missing.append(slot.name)
    report.unexpected = [*plan.pairing.unexpected]
    for pair in plan.pairing.pairs:
        slot, handles = pair.slots[0], pair.slots[0].handles() or ()
        if _fits(slot, handles, pair.entry, plan):
            if slot.any_shape(handles):
                plan.handed.append((slot.name, slot.node.adapter, handles[0].variable, pair.entry))
            else:
                plan.writes[slot.name] = Write(pair.slots, handles, pair.entry)
            report.loaded.append(slot.name)
        _check_same(pair)


def _fits(slot: Slot, handles: tuple[Handle, ...], entry: Entry, plan: Plan) -> bool:
    if entry.refusal:
        plan.unrepresentable.append((slot.name, entry.refusal))
        return False
    if slot.any_shape(handles):
        return True
    dtype, shape = slot.dtype_of(handles), slot.shape_of(handles)
    if entry.shape != shape:
        plan.misshaped.append((slot.name, shape, entry.shape))
    alike = entry.dtype == dtype or rank_of(entry.dtype) == rank_of(dtype)
    if not alike:
        plan.mistyped.append((slot.name, dtype, entry.dtype))
    elif entry.dtype != dtype:
        check_converts(slot.name, entry.value, dtype, plan.cannot)
        plan.report.converted.append((slot.name, entry.dtype, dtype))
    if why := slot.unwritable(handles):
        plan.unrepresentable.append((slot.name, why))
        return False
    fits = alike and entry.shape == shape
    if fits and not slot.keeps_all(handles) and slot.role not in slot.node.folds():
        why = slot.problem(handles, entry.value)
        plan.unrepresentable += [(slot.name, why)] if why else []
    return fits


def _check_same(pair: Pair) -> None:
    """Refuses tensors that differ in the file, and are one in the model."""
    for other in pair.others:
        first, second = pair.entry.value, other.value
        if first.shape != second.shape or first.tobytes() != second.tobytes():
            raise MismatchError(
                f"{pair.entry.name!r} and {other.name!r} differ in the file, and are one tied parameter, "
                f"{pair.slots[0].name!r}, in the model; nothing was written. Untie them first",
                MismatchReport(),
            )


def plan_extras(plan: Plan) -> None:
    """Finds the places of tensors that a layer takes by a method of its own, and has none of now."""
    report = plan.report
    for node in plan.pairing.tree.root.walk():
        for key, variable in node.extras.items():
            name = join(node.name, key)
            if name in report.unexpected:
                plan.handed.append((name, node.adapter, variable, plan.pairing.given[name]))
                report.unexpected.remove(name)
                report.loaded.append(name)


def plan_left_out(plan: Plan) -> None:
    """Says what of the model no file of tensors has, and what the file's model had beside its tensors."""
    pairing, report = plan.pairing, plan.report
    inventory = inventory_of(pairing.tree)
    check_complete(inventory, "loading into this model")
    found, loaded = left_out(pairing.tree, inventory), {*report.loaded}
    there = {pairing.renamed(name): what for name, what in pairing.contents.left_out.items()}
    # a file of training has much that is no model's
    wanted = {*found, *report.missing, *(there if pairing.contents.content == "model" else ())}
    found = {**report.left_out, **found, **{name: what for name, what in there.items() if name in wanted}}
    report.left_out = {name: what for name, what in found.items() if name not in loaded}
    # what a layer saves in a way of its own may be no tensor in the file; a parameter that is none there is missing
    own_way = {slot.name for slot in pairing.missing if slot.any_shape(slot.handles() or ())}
    excused = report.left_out.keys() & own_way
    report.missing = [name for name in report.missing if name not in excused]
    report.notes += inventory.loading


def plan_neutral(plan: Plan) -> None:
    """Expects nowhere what changes nothing: ones and zeros that some frameworks save for what a layer does not have."""
    left = []
    for name in plan.report.unexpected if not plan.pairing.contents.settled else ():
        layer, _, role = name.rpartition(".")
        number, entry = neutral(plan.pairing.kinds.get(layer, ""), role), plan.pairing.given[name]
        if number is not None and not entry.refusal and (entry.value == number).all():
            left.append(name)
    plan.report.unexpected = [name for name in plan.report.unexpected if name not in left]
    plan.report.notes += [f"not loaded, since it changes nothing: {name}" for name in left]


def plan_wrappers(plan: Plan) -> None:
    """Neither misses nor expects elsewhere what wrappers keep for themselves, which is no part of a model."""
    report, slots, layers = plan.report, plan.pairing.slots, plan.pairing.kinds
    here = [name for name in report.missing if slots[name].node.is_wrapper]
    there = [name for name in report.unexpected if is_kept_by_wrapper(name) and name.rpartition(".")[0] in layers]
    report.missing = [name for name in report.missing if name not in here]
    report.unexpected = [name for name in report.unexpected if name not in there]
    report.notes += [
        *(f"left as it is: {name}, which a wrapper keeps for itself and the file does not have" for name in here),
        *(f"not loaded: {name}, which a wrapper around the model kept for itself" for name in there),
    ]


def plan_ties(plan: Plan) -> None:
    """Ties what is tied in the file and not in the model."""
    tree, pairing = plan.pairing.tree, plan.pairing
    if not pairing.ties:
        return
    slots = {slot.name: slot for group in tree.groups for slot in group if not slot.is_buffer}
    tied = {slot.name: [other.name for other in group] for group in tree.groups for slot in group}
    for group in pairing.ties:
        there = [name for name in group if name in slots and group[0] in pairing.aliases]
        # what the model has tied to one of them stays tied to it
        there = list(dict.fromkeys(other for name in there for other in [name, *tied[name]]))
        apart = [name for name in there[1:] if slots[name].storage() != slots[there[0]].storage()]
        if not apart:
            continue
        adapter = tree.adapter.require(Ties)
        if {name for name, *_ in (*plan.misshaped, *plan.mistyped)}.isdisjoint(there):
            for name in apart:
                check_pair(adapter, slots[name], slots[there[0]])
        plan.ties += [(name, there[0]) for name in apart]
        plan.report.tied.append(tuple(there))
