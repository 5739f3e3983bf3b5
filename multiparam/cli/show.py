"""A file as a tree of layers and tensors, and statistics of its numbers."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..arrays.dtypes import blocks
from ..arrays.types import Array
from ..checkpoint.checkpoint import Checkpoint
from ..errors import ParameterNotFoundError
from ..layer_table.kinds import BUFFERS
from ..names.pattern import matcher
from ..text import columns, counted, padded, printable, shortened, size

__all__ = ["Statistics", "matching", "statistics", "totals", "tree"]

DEEPEST = 12  # levels that are indented; what lies deeper stands below the last of them
SHAPE = 22  # columns of the longest shape that is shown whole


@dataclass(frozen=True)
class Statistics:
    """Statistics of a tensor's numbers; of complex ones, of their absolute values.

    Attributes:
        min: the least number that is not NaN; NaN if there is none.
        mean: the mean of the finite ones.
        std: their standard deviation.
        max: the greatest number that is not NaN.
        zeros: how many are 0.
        nan: how many are NaN.
    """

    min: float
    mean: float
    std: float
    max: float
    zeros: int
    nan: int


def statistics(array: Array) -> Statistics:
    """Statistics of a tensor of any dtype, worked out in doubles, a block at a time.

    >>> statistics(np.array([0, 4, np.nan], np.float32))
    Statistics(min=0.0, mean=2.0, std=2.0, max=4.0, zeros=1, nan=1)
    """
    least, most, zeros, nan = math.inf, -math.inf, 0, 0
    count, mean, squares = 0, 0.0, 0.0
    for (block,) in blocks(array):
        wide = np.abs(block.astype(np.complex128)) if block.dtype.kind == "c" else block.astype(np.float64)
        wide = wide[~np.isnan(wide)]
        nan += block.size - wide.size
        zeros += int((wide == 0).sum())
        least, most = min(least, wide.min(initial=math.inf)), max(most, wide.max(initial=-math.inf))
        finite = wide[np.isfinite(wide)]
        with np.errstate(over="ignore", invalid="ignore"):  # the squares of the largest doubles are infinite
            if finite.size:
                # sums of blocks are put together as Chan, Golub and LeVeque do, which loses no digits
                here, total = finite.mean(), count + finite.size
                apart = here - mean if count else 0.0
                squares += ((finite - here) ** 2).sum() + apart**2 * count * finite.size / total
                mean, count = mean + apart * finite.size / total if count else here, total
    if nan == array.size:
        least = most = math.nan
    if not count:
        mean = squares = math.nan
    return Statistics(float(least), float(mean), math.sqrt(squares / (count or 1)), float(most), zeros, nan)


def matching(checkpoint: Checkpoint, pattern: str | None) -> list[str]:
    """The names of a file's tensors that match a pattern, the other names of tied ones among them.

    Args:
        checkpoint: the open file.
        pattern: a name, or a glob (`*` crosses dots, `?` is one character); None for all.

    Raises:
        ParameterNotFoundError: there is none.
    """
    aliases = _aliases(checkpoint)
    names = [name for entry in checkpoint for name in (entry, *aliases.get(entry, ()))]
    if pattern is None:
        return names
    found = [pattern] if pattern in names else [name for name in names if matcher(pattern).fullmatch(name)]
    if not found:
        raise ParameterNotFoundError("tensor", pattern, names)
    return found


def _aliases(checkpoint: Checkpoint) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for alias in (alias for group in checkpoint.ties for alias in group):
        if alias in checkpoint and checkpoint[alias].name != alias:
            found.setdefault(checkpoint[alias].name, []).append(alias)
    return found


class Totals(NamedTuple):
    """What some tensors come to, each tied one once: how many, how many numbers to train, and bytes."""

    tensors: int
    parameters: int
    bytes: int


def totals(checkpoint: Checkpoint, names: Sequence[str]) -> Totals:
    """What the tensors of these names come to; running statistics are no parameters."""
    entries = {checkpoint[name].name: checkpoint[name] for name in names}
    trained = [math.prod(one.shape) for name, one in entries.items() if name.rpartition(".")[2] not in BUFFERS]
    return Totals(len(entries), sum(trained), sum(entry.size for entry in entries.values()))


@dataclass
class _Branch:
    """A component of names: the tensor of that name, what lies below, or both; and where it comes in the tree."""

    order: tuple[float, ...] = ()
    tensor: str | None = None
    kind: str = ""
    below: dict[str, _Branch] = field(default_factory=dict)


class _Line(NamedTuple):
    title: str  # indented
    tensor: str | None


def tree(
    checkpoint: Checkpoint,
    names: Sequence[str],
    width: int,
    stats: Mapping[str, Statistics] | None = None,
    depth: int | None = None,
) -> list[str]:
    """The lines that show a file.

    Args:
        checkpoint: the open file.
        names: of the tensors that are shown.
        width: columns of the terminal.
        stats: statistics of the tensors, to be shown in the place of their dtypes and sizes.
        depth: how many levels are shown; what lies below them is folded into a line that says how much it is.
    """
    root = _branches(checkpoint, names)
    lines = list(_walk(root, depth, lambda inside: _amount(checkpoint, inside)))
    said = f": {checkpoint.format}{f', {root.kind}' if root.kind else ''}"
    shown = [shortened(printable(str(checkpoint.path)), width - columns(said)) + said]
    shown += (_shapes if stats is None else _statistics)(checkpoint, lines, width, stats or {})
    shown.append(_amount(checkpoint, names))
    notes = [*(f"left out: {name}, {what}" for name, what in checkpoint.left_out.items()), *checkpoint.notes]
    return shown + [line for note in notes for line in textwrap.wrap(printable(note), width, subsequent_indent="  ")]


def _amount(checkpoint: Checkpoint, names: Sequence[str]) -> str:
    count, parameters, bytes_ = totals(checkpoint, names)
    return f"{counted(count, 'tensor')}, {counted(parameters, 'parameter')}, {size(bytes_)}"


def _branches(checkpoint: Checkpoint, names: Sequence[str]) -> _Branch:
    root = _Branch()
    for name in names:
        _at(root, name).tensor = name
    whole = set(names) >= set(checkpoint)
    previous: dict[str, _Branch] = {}  # by layer, the last one below it
    for count, (layer, kind) in enumerate(checkpoint.kinds.items()):
        above, _, key = layer.rpartition(".")
        branch = root if not layer else _found(root, layer)
        if branch is None and whole:
            # a layer without tensors comes behind the one that it follows in the model
            before = previous[above].order[0] if above in previous else -1
            branch = _Branch((before, count))
            (_at(root, above) if above else root).below[key] = branch
        if branch is not None:
            branch.kind = kind
            previous[above] = branch
    return root


def _at(root: _Branch, name: str) -> _Branch:
    branch = root
    for component in name.split("."):
        branch = branch.below.setdefault(component, _Branch((len(branch.below), -1)))
    return branch


def _found(root: _Branch, name: str) -> _Branch | None:
    branch: _Branch | None = root
    for component in name.split("."):
        branch = branch.below.get(component) if branch is not None else None
    return branch


def _walk(root: _Branch, deepest: int | None, amount: Callable[[list[str]], str]) -> Iterator[_Line]:
    # no recursion: a name can have thousands of components
    waiting = [(key, branch, 0) for key, branch in _backwards(root)]
    while waiting:
        label, branch, depth = waiting.pop()
        while branch.tensor is None and not branch.kind and len(branch.below) == 1:
            ((key, branch),) = branch.below.items()
            label = f"{label}.{key}"
        title = "  " * min(depth, DEEPEST) + (printable(label) or "''")
        if branch.tensor is not None:
            yield _Line(title, branch.tensor)
        else:
            title = f"{title}  {branch.kind}" if branch.kind else title
            inside = _tensors(branch) if deepest is not None and depth + 1 >= deepest else []
            yield _Line(f"{title}: {amount(inside)}" if inside else title, None)
        if deepest is not None and depth + 1 >= deepest:
            continue
        waiting += [(key, below, depth + 1) for key, below in _backwards(branch)]


def _tensors(branch: _Branch) -> list[str]:
    """The names of all tensors below."""
    found, waiting = [], [branch]
    while waiting:
        one = waiting.pop()
        found += [one.tensor] if one.tensor is not None else []
        waiting += one.below.values()
    return found


def _backwards(branch: _Branch) -> list[tuple[str, _Branch]]:
    """What lies below, the last first; what is numbered in the order of its numbers, where a tie may have another."""
    if all(key.isascii() and key.isdigit() for key in branch.below):
        return sorted(branch.below.items(), key=lambda one: (len(one[0].lstrip("0")), one[0].lstrip("0")))[::-1]
    return sorted(branch.below.items(), key=lambda one: one[1].order)[::-1]


Cells = Callable[[str], Sequence[str]]


def _shapes(checkpoint: Checkpoint, lines: list[_Line], width: int, stats: Mapping[str, Statistics]) -> list[str]:
    def cells(name: str) -> Sequence[str]:
        entry = checkpoint[name]
        if entry.refusal:
            return (str(entry.shape), f"cannot be read: {printable(entry.refusal)}")
        return (str(entry.shape), str(entry.dtype), size(entry.size), printable(checkpoint.origin(entry)))

    return _rows(checkpoint, lines, width, cells, ("shape", "dtype", "size", ""), (SHAPE, 13, 8, 0))


def _statistics(checkpoint: Checkpoint, lines: list[_Line], width: int, stats: Mapping[str, Statistics]) -> list[str]:
    wide = width >= 100

    def cells(name: str) -> Sequence[str]:
        entry = checkpoint[name]
        shape = (str(entry.shape),) if wide else ()
        if entry.refusal:
            return (*shape, f"cannot be read: {printable(entry.refusal)}")
        one = stats[entry.name]
        numbers = [f"{number:.3g}" for number in (one.min, one.mean, one.std, one.max)]
        return (*shape, *numbers, _share(one.zeros, math.prod(entry.shape)), _short(one.nan))

    heads, most = ("min", "mean", "std", "max", "zeros", "NaN"), (9, 9, 9, 9, 6, 7)
    return _rows(
        checkpoint, lines, width, cells, ("shape", *heads) if wide else heads, (SHAPE, *most) if wide else most
    )


def _share(part: int, whole: int) -> str:
    share = 100 * part / whole if whole else 0
    return "0%" if not part else "<0.1%" if share < 0.1 else f"{share:.1f}%"


def _short(count: int) -> str:
    return f"{count:,}" if count < 100_000 else f"{count:.1e}"


LEFT = ("shape", "dtype", "")


def _rows(
    checkpoint: Checkpoint, lines: list[_Line], width: int, cells: Cells, heads: Sequence[str], most: Sequence[int]
) -> list[str]:
    """Lines in columns: titles get what the cells leave, and a last column without a head what both leave."""
    made = {line.tensor: cells(line.tensor) for line in lines if line.tensor is not None and _own(checkpoint, line)}
    full = [row for row in made.values() if len(row) == len(heads)]
    widths = [
        min(limit, max([len(head), *(columns(row[at]) for row in full)]))
        for at, (head, limit) in enumerate(zip(heads, most, strict=True))
    ]
    room = width - sum(2 + one for one in widths if one)
    title = min(room, max((columns(line.title) for line in lines if line.tensor is not None), default=0))
    if not heads[-1]:
        widths[-1] = max(0, room - title - 2)
    shown = [_row("", title, heads, widths, heads)] if full else []
    for line in lines:
        if line.tensor is None:
            shown.append(shortened(line.title, width))
        elif not _own(checkpoint, line):
            same = f"= {printable(checkpoint[line.tensor].name)}"
            shown.append(f"{padded(line.title, title)}  {shortened(same, width - title - 2)}")
        else:
            row = made[line.tensor]
            if len(row) < len(heads):  # what cannot be read says why across the other columns
                said = "  ".join(row)
                shown.append(f"{padded(line.title, title)}  {shortened(said, width - title - 2)}")
            else:
                shown.append(_row(line.title, title, row, widths, heads))
    return shown


def _own(checkpoint: Checkpoint, line: _Line) -> bool:
    """Whether it is a tensor, and not another name of one."""
    return line.tensor is not None and checkpoint[line.tensor].name == line.tensor


def _row(title: str, room: int, cells: Sequence[str], widths: Sequence[int], heads: Sequence[str]) -> str:
    parts = [padded(title, room)]
    for cell, width, head in zip(cells, widths, heads, strict=True):
        # an ellipsis alone would say nothing
        parts.append(padded(cell if width > 7 or head else "", width, right=head not in LEFT))
    return "  ".join(parts).rstrip()


def as_json(checkpoint: Checkpoint, names: Sequence[str], stats: Mapping[str, Statistics] | None) -> dict[str, Any]:
    """What `tree` shows, for scripts: see `multiparam show --help`."""
    aliases = _aliases(checkpoint)
    entries = {checkpoint[name].name: checkpoint[name] for name in names}
    return {
        "file": str(checkpoint.path),
        "format": checkpoint.format,
        "content": checkpoint.content,
        "tensors": [
            {
                "name": name,
                "shape": list(entry.shape),
                "dtype": str(entry.dtype),
                "bytes": entry.size,
                "kind": checkpoint.kind_around(name),
                "tied": aliases.get(name, []),
                "original": list(entry.original),
                "problem": entry.refusal,
                **({} if stats is None else {"stats": vars(stats[name]) if name in stats else None}),
            }
            for name, entry in entries.items()
        ],
        "layers": {layer: dict(about) for layer, about in checkpoint.layers.items()},
        "total": totals(checkpoint, names)._asdict(),
        "left_out": dict(checkpoint.left_out),
        "notes": list(checkpoint.notes),
    }
