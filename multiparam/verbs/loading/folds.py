"""What a model adds to other tensors, since it has no place for it or only for a part of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...arrays.dtypes import converted
from ...arrays.types import Array
from ...formats.entry import Entry
from ...layer_table.table import Fold
from .plan import Plan, Write

__all__ = ["plan_folds"]


class _Folding:
    """The folds of one load, of which several may go into one tensor.

    Attributes:
        given: the file's tensors by all of their names.
        first: the first name of what is tied in the file.
        added: what is added to a tensor, by its name: whose numbers, and which.
        summed: the names of what is written as a sum.
    """

    def __init__(self, plan: Plan) -> None:
        pairing = plan.pairing
        self.plan = plan
        self.given = {**pairing.given, **{alias: pairing.given[kept] for alias, kept in pairing.aliases.items()}}
        self.first = {name: group[0] for group in pairing.ties for name in group}
        self.primary = {slot.name: group[0] for group in pairing.tree.groups for slot in group}
        self.added: dict[str, tuple[str, Array]] = {}
        self.summed: set[str] = set()

    def write(self, name: str) -> Write | None:
        """What is written into the model's tensor of a name."""
        slot = self.primary.get(name)
        return None if slot is None else self.plan.writes.get(slot.name)

    def fold(self, name: str, target: str, fold: Fold) -> None:
        """Adds what the file has of one tensor to another."""
        into, part = self.write(target), self.write(name)
        if into is None:  # nothing is there that it could be added to
            why = "" if part is None else part.slot.problem(part.handles, part.entry.value)
            self.plan.unrepresentable += [(part.slot.name, why)] if part is not None and why else []
            return
        shape, entry = into.slot.extents(), self.given.get(name)
        if entry is not None and entry.shape != shape:
            self.plan.misshaped.append((name, shape, entry.shape))
            return
        summand, rest = fold.split(np.zeros(shape) if entry is None else entry.value)
        self._add(name, target, into, summand)
        if (own := self.primary.get(name)) is not None:
            self._keep(own.name, rest)
        elif rest.any():
            self.plan.unrepresentable.append((name, fold.why))

    def _add(self, name: str, target: str, into: Write, summand: Array) -> None:
        # what will be one tensor can have one sum only
        sum_of = self.primary.get(self.first.get(target, target), into.slot)
        other = self.added.setdefault(sum_of.name, (name, summand))
        if not np.array_equal(other[1], summand):
            why = f"it would be added to {into.slot.name!r}, and so would {other[0]!r}, which differs: untie them first"
            self.plan.unrepresentable.append((name, why))
        elif summand.any():
            if into.slot.name not in self.summed:
                self.summed.add(into.slot.name)
                into.entry = _sum(self.plan, into, summand)
            self.plan.report.folded.append((name, into.slot.name))

    def _keep(self, name: str, rest: Array) -> None:
        write = self.plan.writes.get(name)
        if write is not None:
            write.entry = replace(write.entry, dtype=rest.dtype, read=lambda: rest)


def plan_folds(plan: Plan) -> None:
    """Plans the sums as what is written."""
    if folds := plan.pairing.tree.folds():
        folding = _Folding(plan)
        for name, (target, fold) in folds.items():
            folding.fold(name, target, fold)


def _sum(plan: Plan, into: Write, summand: Array) -> Entry:
    """The sum as the value of a parameter, rounded once."""
    dtype = into.slot.dtype_of(into.handles)
    wide = np.result_type(np.float64, dtype if dtype.kind == "c" else np.float64)
    total = into.entry.value.astype(wide) + summand.astype(wide)
    made = converted(into.slot.name, total, dtype, plan.cannot)
    return replace(into.entry, dtype=dtype, read=lambda: made)
