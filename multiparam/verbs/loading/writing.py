"""Carrying out the plan of a load."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress

from ...adapter.capabilities import KeepsOwnState, Ties
from ...arrays.copying import copy_each
from ...arrays.dtypes import converted
from ...arrays.types import Array
from ...errors import MismatchError, MismatchReport
from ...formats.entry import verified
from ...model.slot import Slot
from ..tie import tie_slots
from .plan import Plan

__all__ = ["carry_out"]


def carry_out(plan: Plan) -> None:
    """Writes what was planned, once all of it was compared with its digests.

    Raises:
        CheckpointError: the file is damaged; nothing was written.
        MismatchError: a layer does not take what it keeps by a method of its own; nothing was written.
    """
    deque(verified([*(one.entry for one in plan.writes.values()), *(entry for *_, entry in plan.handed)]), 0)
    _hand_over(plan)
    copied: list[Slot] = []
    copy_each(_written(plan, copied))
    for slot in copied:
        slot.node.adapter.written(slot.node.native)
    if plan.ties:
        tree = plan.pairing.tree
        plan.report.notes += tie_slots(tree.adapter.require(Ties), tree.model, tree, plan.ties).notes


def _hand_over(plan: Plan) -> None:
    """Has layers take what they keep by methods of their own: before all else, since these may fail."""
    restorers: list[Callable[[], None]] = []
    handed = ""
    try:
        for handed, adapter, variable, entry in plan.handed:  # noqa: B007 - the last one is told below
            restorers.append(adapter.require(KeepsOwnState).restorer(variable))
            adapter.write(variable, entry.read())
    except BaseException as error:
        for restore in reversed(restorers):
            with suppress(Exception):  # what it raised is told
                restore()
        if not isinstance(error, Exception):
            raise
        why = f"its layer does not take it, {type(error).__name__}: {error}"
        found = MismatchReport(unrepresentable=[(handed, why)])
        raise MismatchError(f"{plan.source} does not fit the model; nothing was written", found) from error


def _written(plan: Plan, copied: list[Slot]) -> Iterator[tuple[Array, Array]]:
    """Writes what only the framework can write, and gives what is left to be copied into which memory.

    Args:
        plan: what is written.
        copied: the slots that are left, added to it.
    """
    for name, write in plan.writes.items():
        slot, value = write.slot, write.entry.read()
        made = converted(name, value, slot.dtype_of(write.handles))
        # what was made for the purpose is not held any longer than it takes
        places = slot.places(write.handles, value) if made is value else None
        if places is None:
            slot.write(write.handles, made)
        else:
            yield from places
            copied.append(slot)
