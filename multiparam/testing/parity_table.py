"""Prints the parity table, kind by framework by framework: `python -m multiparam.testing.parity_table`."""

from __future__ import annotations

import sys
import warnings

from rich.console import Console
from rich.table import Table

import multiparam as mp

from .parity import CASES, NATIVE, Case, Cell, NativeLayer, compare, frameworks, layers_of

__all__ = ["show"]

TOLERANCE = 1e-5


def show(console: Console, names: list[str]) -> bool:
    """Prints the table and the reasons of refusals; returns whether all that was not refused agrees.

    Args:
        console: where to.
        names: the frameworks.
    """
    layers = {name: layers_of(name) for name in names}
    table = Table("kind", "from", *(f"to {name}" for name in names), title="Parity: the outputs' largest difference")
    reasons: dict[str, int] = {}
    sound = True
    for case in {**CASES, **NATIVE}.values():
        sources = [name for name in names if case.name in layers[name]]
        for source in sources:
            cells = [_cell(case, source, target, layers) for target in names]
            sound = sound and all(cell.difference is None or _sound(cell) for cell in cells)
            marks = [str(cell) + _mark(cell, reasons) for cell in cells]
            table.add_row(case.name if source == sources[0] else "", source, *marks, end_section=source == sources[-1])
    console.print(table)
    console.print("'folded' tensors were added to others: outputs stay, and the weights do not come back apart.")
    for why, number in reasons.items():
        console.print(f"[{number}] {why}", markup=False)
    return sound


def _cell(case: Case, source: str, target: str, layers: dict[str, dict[str, NativeLayer]]) -> Cell:
    if case.name not in layers[target]:
        return Cell(None, why=_lacking(case, target))
    return compare(case, (source, layers[source][case.name]), (target, layers[target][case.name]))


def _lacking(case: Case, framework: str) -> str:
    if case.build is None:
        return f"{framework} has no layer of its own that computes this"
    try:
        case.build(backend=framework)
    except mp.UnsupportedError as error:
        return str(error)
    raise AssertionError(f"{framework} builds {case.name!r} and was said to lack it")


def _sound(cell: Cell) -> bool:
    return (cell.exact or cell.folded) and cell.difference is not None and cell.difference <= TOLERANCE


def _mark(cell: Cell, reasons: dict[str, int]) -> str:
    if cell.difference is not None:
        return "" if _sound(cell) else " WRONG"
    return f" [{reasons.setdefault(cell.why, len(reasons) + 1)}]"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(not show(Console(), sys.argv[1:] or frameworks()))
