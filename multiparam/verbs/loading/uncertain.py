"""Of which tensors it is not known whether they have their axes in the model's order."""

from __future__ import annotations

import re

from ...formats.contents import fits_turned
from ...layer_table.kinds import KINDS, turned_somewhere
from ...model.slot import Slot
from .plan import Plan

__all__ = ["uncertain_axes"]

_KERNEL = "a kernel may have its axes the other way round, and the shape fits both"


def uncertain_axes(plan: Plan) -> dict[str, str]:
    """Why it is not known of some tensors that are written, by the model's names."""
    contents = plan.pairing.contents
    doubts, told = {**contents.unsure, **contents.doubts}, _told(plan)
    found = {}
    for name, write in plan.writes.items():
        entry, slots = write.entry, [slot for slot in write.slots if not slot.is_buffer]
        if not fits_turned(entry.shape) or not all(turned_somewhere(slot.node.kind, slot.role) for slot in slots):
            continue
        settled = entry.name in contents.unsure and not told.isdisjoint(map(_convention, slots))
        why = "" if settled else doubts.get(entry.name, "")
        if not why and _is_kernel(plan, entry.name) and name.endswith("weight"):
            why = f"{_KERNEL}; {entry.name!r} is as in the file"
        if slots and why:
            found[name] = why
    return found


def _is_kernel(plan: Plan, name: str) -> bool:
    """Whether a framework calls it so, which the file's own reader would have turned if it knew its layer."""
    contents = plan.pairing.contents
    return name in contents.own and name not in contents.unsure and "kernel" in re.split(r"[./:]", name)


def _told(plan: Plan) -> set[tuple[str, str]]:
    """The conventions of a file that does not tell them which those of its tensors show that fit in one order only."""
    found: set[tuple[str, str]] = set()
    contents = plan.pairing.contents
    for write in plan.writes.values() if contents.unsure else ():
        entry = write.entry
        if len(entry.shape) > 1 and not fits_turned(entry.shape) and not contents.kind_around(entry.name):
            found.update(map(_convention, write.slots))
    return found


def _convention(slot: Slot) -> tuple[str, str]:
    """What all have in common whose axes a framework has in one order: the kind, or the class and its role."""
    return slot.node.kind, "" if slot.node.kind in KINDS else slot.role
