"""Names and sizes as they are printed: escaped, shortened, in columns."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Sequence

__all__ = [
    "columns",
    "counted",
    "enumerated",
    "listed",
    "row_lines",
    "padded",
    "printable",
    "shortened",
    "size",
    "where",
    "wrapped",
]


def printable(text: str) -> str:
    r"""The text with what would not be seen, or would move the cursor, written as in a program.

    >>> printable("a\n\x1b[2J")
    'a\\n\\x1b[2J'
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def columns(text: str) -> int:
    """How many columns of a terminal a printable text takes.

    >>> columns("weight"), columns("重み")
    (6, 4)
    """
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(one: str) -> int:
    return 0 if unicodedata.combining(one) else 1 + (unicodedata.east_asian_width(one) in "WF")


def shortened(text: str, width: int) -> str:
    """The text in so many columns, with an ellipsis in the middle where it has more.

    >>> shortened("encoder.layers.11.attention.weight", 20)
    'encoder.l…ion.weight'
    """
    if columns(text) <= width:
        return text
    head = _fitting(text, (width - 1) // 2)
    return f"{head}…{_fitting(text[::-1], width - 1 - columns(head))[::-1]}"


def _fitting(text: str, width: int) -> str:
    """As much of a text's beginning as fits."""
    used = 0
    for end, one in enumerate(text):
        used += _columns(one)
        if used > width:
            return text[:end]
    return text


def padded(text: str, width: int, *, right: bool = False) -> str:
    """The text, shortened or filled up with spaces to so many columns."""
    short = shortened(text, width)
    space = " " * (width - columns(short))
    return space + short if right else short + space


def row_lines(rows: Sequence[Sequence[str]], most: int, width: int = 80) -> list[str]:
    r"""Indented rows of a name and what is said of it, the first `most` of them and how many more there are.

    >>> print(*row_lines([("weight", "by 2"), ("a longer name", "by 1"), ("bias", "by 1")], 2), sep="\n")
      weight         by 2
      a longer name  by 1
      … and 1 more
    """
    shown = [[printable(cell) for cell in row] for row in rows[:most]]
    said = max((columns(" ".join(row[1:])) for row in shown), default=0)
    # the names get what the rest leaves them, which is not less than half
    room = max(width - 4 - said, width // 2)
    names = min(room, max((columns(row[0]) for row in shown), default=0))
    lines = [f"  {padded(row[0], names)}  {shortened(' '.join(row[1:]), width - 4 - names)}".rstrip() for row in shown]
    return [*lines, f"  … and {len(rows) - most:,} more"] if len(rows) > most else lines


def size(count: int) -> str:
    """A number of bytes.

    >>> size(0), size(999), size(1_234), size(2_500_000_000)
    ('0 B', '999 B', '1.2 kB', '2.5 GB')
    """
    if count < 1000:
        return f"{count} B"
    value, units = count / 1000, iter(("kB", "MB", "GB", "TB", "PB"))
    unit = next(units)
    while value >= 999.95 and unit != "PB":
        value, unit = value / 1000, next(units)
    return f"{value:.1f} {unit}"


def counted(count: int, what: str) -> str:
    """How many there are.

    >>> counted(1, "tensor"), counted(2000, "tensor")
    ('1 tensor', '2,000 tensors')
    """
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def where(layers: Sequence[str], most: int = 4) -> str:
    """Which layers something is said of, and how many where there are several.

    Args:
        layers: their names; the empty one is the model's.
        most: so many are named, of which one is the last.

    >>> where([""]), where(["a", "b"]), where([str(number) for number in range(20)])
    ('the model', '2 layers: a, b', '20 layers: 0, 1, 2, … 19')
    """
    names = [layer or "the model" for layer in layers]
    if len(names) == 1:
        return names[0]
    shown = names if len(names) <= most else [*names[: most - 1], f"… {names[-1]}"]
    return f"{len(names):,} layers: {', '.join(shown)}"


def enumerated(names: Sequence[str], most: int = 12) -> str:
    """The first of some names, and how many more there are.

    >>> enumerated(["a", "b", "c", "d"], 2)
    'a, b, … and 2 more'
    """
    left = len(names) - most
    return ", ".join([*names[:most], f"… and {left:,} more"] if left > 1 else names)


def wrapped(text: str, indent: str = "", width: int = 80) -> list[str]:
    """The text in lines of at most so many characters, where its words allow; those behind the first are indented.

    >>> wrapped("one two three", width=9)
    ['one two', '  three']
    """
    wrapper = textwrap.TextWrapper(width, initial_indent=indent, subsequent_indent=f"{indent}  ")
    wrapper.break_long_words = wrapper.break_on_hyphens = False
    return wrapper.wrap(text)


def listed(names: Sequence[str], between: str = ", ", most: int = 4) -> str:
    """The first of some names, and how many more there are.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    return between.join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
