"""Prints the parity table, kind by framework by framework: `python -m multiparam.testing.parity_table`."""

from __future__ import annotations

import itertools
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

import multiparam as mp

from .parity import CASES, NATIVE, Case, Cell, NativeLayer, compare, frameworks, layers_of

__all__ = ["Parity", "markdown", "show", "tabulated"]

TOLERANCE = 1e-5


@dataclass
class Parity:
    """The table.

    Attributes:
        names: the frameworks, in the order of the columns.
        rows: kind, framework that saved, and what came of it in each framework.
        reasons: why some were refused, with the numbers that the cells have for them.
        sound: whether all that was not refused agrees.
    """

    names: list[str]
    rows: list[tuple[str, str, list[str]]] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)
    sound: bool = True


def tabulated(names: list[str]) -> Parity:
    """Sends every layer kind from each framework into each other.

    Args:
        names: the frameworks.
    """
    found = Parity(names)
    layers = {name: layers_of(name) for name in names}
    for case in {**CASES, **NATIVE}.values():
        for source in (name for name in names if case.name in layers[name]):
            cells = [_cell(case, source, target, layers) for target in names]
            found.sound = found.sound and all(cell.difference is None or _sound(cell) for cell in cells)
            found.rows.append((case.name, source, [str(cell) + _mark(cell, found.reasons) for cell in cells]))
    return found


def show(console: Console, names: list[str]) -> bool:
    """Prints the table and the reasons of refusals; returns whether all that was not refused agrees.

    Args:
        console: where to.
        names: the frameworks.
    """
    found = tabulated(names)
    table = Table("kind", "from", *(f"to {name}" for name in names), title="Parity: the outputs' largest difference")
    for kind, rows in itertools.groupby(found.rows, lambda row: row[0]):
        own = list(rows)
        for at, (_, source, marks) in enumerate(own):
            table.add_row("" if at else kind, source, *marks, end_section=at == len(own) - 1)
    console.print(table)
    console.print("'folded' tensors were added to others: outputs stay, and the weights do not come back apart.")
    for why, number in found.reasons.items():
        console.print(f"[{number}] {why}", markup=False)
    return found.sound


def markdown(found: Parity) -> Iterator[str]:
    """The lines of the same as a table of Markdown.

    Args:
        found: the table.
    """
    yield f"| kind | from | {' | '.join(f'to {name}' for name in found.names)} |"
    yield f"| --- | --- |{' --- |' * len(found.names)}"
    before = ""
    for kind, source, marks in found.rows:
        yield f"| {'' if kind == before else kind} | {source} | {' | '.join(marks)} |"
        before = kind
    yield ""
    yield from (f"{number}. {why}" for why, number in found.reasons.items())


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


def main(arguments: list[str]) -> int:
    """Prints the table; 1 if something that was not refused differs.

    Args:
        arguments: the frameworks, all that are installed if there are none; `--markdown` for Markdown.
    """
    names = [one for one in arguments if one != "--markdown"] or frameworks()
    if "--markdown" not in arguments:
        return not show(Console(), names)
    found = tabulated(names)
    sys.stdout.writelines(f"{line}\n" for line in markdown(found))
    return not found.sound


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(main(sys.argv[1:]))
