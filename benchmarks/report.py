"""The tables, as they are printed and as JSON has them."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .sizes import NORM, Sizes
from .targets import CHEAPEST, bound

Row = dict[str, Any]

_HEAD = f"{'':7}{'ours ms':>8}  {'beside':22}{'ms':>8}  {'ratio (min-max)':19} target"
_PEAKS = ("memory-save", "memory-live")


def titles(sizes: Sizes) -> dict[str, str]:
    """What each table is of, in the order of the report."""
    values = f"{sizes.values / 1e6:.0f}M values"
    gigabytes = f"{sizes.nbytes / 1e9:.2g} GB in {2 * sizes.layers} tensors"
    many = f"{sizes.more:,} tensors of {NORM} floats"
    part = f"{4e-6 * sizes.measured * sizes.width * (sizes.width + 1):.0f} MB, largest tensor {megabytes(sizes)} MB"
    return {
        "import": "Import: multiparam, a new process",
        "enumerate-fewer": f"Enumerate {sizes.fewer:,} parameters, their names: list(mp.parameters(net))",
        "enumerate-more": f"Enumerate {sizes.more:,} parameters, their names: list(mp.parameters(net))",
        "enumerate-nested": f"Enumerate a model of {sizes.blocks} blocks: list(mp.parameters(net))",
        "reach-fewer": f"Reach {sizes.fewer:,} parameters: mp.parameters(net).items()",
        "reach-more": f"Reach {sizes.more:,} parameters: mp.parameters(net).items()",
        "reach-nested": f"Reach {6 * sizes.blocks} parameters in blocks: mp.parameters(net).items()",
        "normal": f"Initialize {values}: mp.init.Normal",
        "uniform": f"Initialize {values}: mp.init.Uniform",
        "save": f"Save {gigabytes}: mp.save",
        "live-unchecked": f"Load {gigabytes} into a live model: mp.load, check=False",
        "live-checked": f"Load {gigabytes} into a live model: mp.load",
        "fresh-unchecked": f"Load {gigabytes} as new native tensors: mp.load, check=False",
        "fresh-checked": f"Load {gigabytes} as new native tensors: mp.load",
        "list-big": f"List {2 * sizes.layers} tensors of a file, names and shapes: mp.open",
        "list-many": f"List {sizes.more:,} tensors of a file, names and shapes: mp.open",
        "small-save": f"Save {many}: mp.save",
        "small-live": f"Load {many} into a live model: mp.load",
        "memory-save": f"Peak memory of a save, model of {part}",
        "memory-live": f"Peak memory of a load, model of {part}",
    }


NOTES = {
    "save": """\
multiparam and the first raw write wait for the disk (fsync), the others do not.
Every save makes a new file, and begins with the disk at rest.""",
    "fresh-checked": "Of what numpy, torch and paddle loaded, a number of each page is read.",
    "memory-live": """\
MB above what was resident before. Anonymous is memory of the process's own,
sampled from outside; resident is the kernel's high-water mark, with the pages
of mapped files. Frameworks that keep freed memory for later show less than
they use. 1 MB above the largest tensor is allowed.""",
}


def megabytes(sizes: Sizes) -> str:
    """The largest tensor's size."""
    return f"{sizes.largest / 1e6:.0f}"


def ratios(row: Row) -> list[float]:
    """Of each round in which both took part."""
    return [ours / theirs for ours, theirs in zip(row["ours"], row["theirs"], strict=False)]


def judged(rows: Sequence[Row], sizes: Sizes) -> list[Row]:
    """The rows with medians, targets, and whether these are met."""
    cheapest: dict[tuple[str, str], str] = {}
    for row in sorted((row for row in rows if row["table"] in CHEAPEST), key=_theirs):
        cheapest.setdefault((row["table"], row["backend"]), row["peer"])
    return [_judged(row, cheapest, sizes) for row in rows]


def _judged(row: Row, cheapest: Mapping[tuple[str, str], str], sizes: Sizes) -> Row:
    place = (row["table"], row["backend"])
    if row["table"] in _PEAKS:
        target = sizes.largest / 1e6 + 1 if row["peer"] == "multiparam" else None
        return {**row, "target": target, "met": target and row["anonymous"] <= target}
    target = bound(*place, row["peer"]) if cheapest.get(place, row["peer"]) == row["peer"] else None
    found = ratios(row)
    middle = statistics.median(found)
    return {**row, "ratio": [min(found), middle, max(found)], "target": target, "met": target and middle <= target}


def _theirs(row: Row) -> float:
    return statistics.median(list[float](row["theirs"]))


def lines(rows: Sequence[Row], sizes: Sizes) -> Iterator[str]:
    """The tables of judged rows."""
    for table, title in titles(sizes).items():
        own = [row for row in rows if row["table"] == table]
        if own:
            yield f"\n{title}"
            yield from (_peaks(own) if table in _PEAKS else _times(own))
            if table in NOTES:
                yield NOTES[table]
    promised = [row for row in rows if row["target"]]
    yield f"\n{sum(row['met'] for row in promised)} of {len(promised)} targets met"


def _times(rows: Sequence[Row]) -> Iterator[str]:
    yield _HEAD
    for row in rows:
        ours, theirs = milliseconds(row["ours"]), milliseconds(row["theirs"])
        least, middle, most = (number(one) for one in row["ratio"])
        spread = f"({least}-{most})" if len(ratios(row)) > 1 else "(1 round)"
        ratio = f"{middle} {spread}"
        line = f"{row['backend']:7}{ours:>8}  {row['peer']:22}{theirs:>8}  {ratio:19} {target(row, number)}"
        yield line.rstrip()


def _peaks(rows: Sequence[Row]) -> Iterator[str]:
    yield f"{'':7}{'':22}{'anonymous':>12}{'resident':>12}  target"
    for row in rows:
        anonymous, resident = f"{row['anonymous']:.1f}", f"{row['resident']:.1f}"
        line = f"{row['backend']:7}{row['peer']:22}{anonymous:>12}{resident:>12}  {target(row, '{:.0f}'.format)}"
        yield line.rstrip()


def target(row: Row, shown: Any) -> str:
    """What was promised, and whether it is so."""
    return f"<={shown(row['target'])} {'met' if row['met'] else 'NO'}" if row["target"] else ""


def milliseconds(taken: Sequence[float]) -> str:
    """The median duration."""
    return number(statistics.median(taken) * 1e3)


def number(value: float) -> str:
    """Three digits that count."""
    digits = next((digits for digits, least in enumerate((100, 10, 0.1)) if value >= least), 3)
    return f"{value:.{digits}f}"
