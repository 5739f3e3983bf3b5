"""What notebooks show: tables, trees and small histograms, as HTML that can be read aloud, and in the dark."""

from __future__ import annotations

import html
import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from .arrays.types import Array
from .text import printable

__all__ = ["Markup", "Section", "details", "histogram", "link", "page", "report", "row_id", "table", "text"]

BINS = 24
MOST_VALUES = 1 << 22  # of a tensor whose histogram is drawn
MOST_ROWS = 200

_STYLE = """
.multiparam { --line: #d0d7de; --soft: #57606a; --bar: #0969da; --mark: #fff8c5; font-size: 13px; }
@media (prefers-color-scheme: dark) {
  .multiparam { --line: #444c56; --soft: #9198a1; --bar: #58a6ff; --mark: #3b2e00; }
}
[data-jp-theme-light="false"] .multiparam, body[data-vscode-theme-kind*="dark"] .multiparam {
  --line: #444c56; --soft: #9198a1; --bar: #58a6ff; --mark: #3b2e00;
}
.multiparam table { border-collapse: collapse; margin: 2px 0 6px; font-size: inherit; }
.multiparam caption { text-align: left; color: var(--soft); }
.multiparam th, .multiparam td { text-align: left; padding: 1px 10px 1px 0; border-bottom: 1px solid var(--line);
  background: none; color: inherit; white-space: nowrap; vertical-align: middle; }
.multiparam thead th { color: var(--soft); }
.multiparam tbody th { font-weight: normal; }
.multiparam td.number { text-align: right; font-variant-numeric: tabular-nums; }
.multiparam details { margin-left: 1.1em; }
.multiparam summary { cursor: pointer; margin-left: -1.1em; }
.multiparam a { color: var(--bar); }
.multiparam .kind { color: var(--soft); }
.multiparam :target { background: var(--mark); }
.multiparam svg { vertical-align: middle; fill: var(--bar); }
""".strip()

Section = tuple[str, Sequence[str], Sequence[Sequence[object]]]

_numbers = itertools.count(1)


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def text(value: object) -> Markup:
    """A value as HTML; what is HTML already as it is.

    >>> text("a < b")
    'a &lt; b'
    """
    return value if isinstance(value, Markup) else Markup(html.escape(printable(str(value))))


def page(*parts: str) -> str:
    """What `_repr_html_` returns, with its style."""
    return f'<div class="multiparam"><style>{_STYLE}</style>{"".join(map(text, parts))}</div>'


def row_id() -> str:
    """A prefix for the ids of one output, so that links lead into the same one."""
    return f"multiparam-{next(_numbers)}-"


def link(prefix: str, name: str) -> Markup:
    """A link to the row of a name."""
    return Markup(f'<a href="#{prefix}{html.escape(name)}">{text(name)}</a>')


def table(
    heads: Sequence[str],
    rows: Iterable[Sequence[object]],
    caption: object = "",
    ids: Sequence[str] = (),
    numbers: frozenset[int] = frozenset(),
) -> Markup:
    """A table.

    Args:
        heads: the columns' names.
        rows: their cells, plain or `Markup`.
        caption: what stands above it.
        ids: of the rows, to be linked to; none if empty.
        numbers: columns that are flush right.
    """
    lines = list(rows)
    head = "".join(f'<th scope="col">{text(one)}</th>' for one in heads)
    body = []
    for row, name in zip(lines[:MOST_ROWS], ids or [""] * len(lines), strict=False):
        cells = (_cell(one, at == 0, at in numbers) for at, one in enumerate(row))
        body.append(f"<tr{f' id={chr(34)}{html.escape(name)}{chr(34)}' if name else ''}>{''.join(cells)}</tr>")
    if len(lines) > MOST_ROWS:
        body.append(f'<tr><td colspan="{len(heads)}">… and {len(lines) - MOST_ROWS:,} more</td></tr>')
    top = f"<caption>{text(caption)}</caption>" if caption else ""
    return Markup(f"<table>{top}<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>")


def _cell(value: object, first: bool, number: bool) -> str:
    if first:
        return f'<th scope="row">{text(value)}</th>'
    return f'<td class="number">{text(value)}</td>' if number else f"<td>{text(value)}</td>"


def details(title: object, *parts: object, closed: bool = False) -> Markup:
    """What can be folded away."""
    inner = "".join(map(text, parts))
    return Markup(f"<details{'' if closed else ' open'}><summary>{text(title)}</summary>{inner}</details>")


def report(title: str, sections: Iterable[Section], notes: Sequence[str]) -> str:
    """A report: what it says at once, its sections as tables that can be folded away, and notes.

    Args:
        title: one line.
        sections: (title, columns, rows); one without rows is left out.
        notes: sentences.
    """
    parts = [Markup(f"<p><strong>{text(title)}</strong></p>")]
    parts += [details(f"{name} ({len(rows):,})", table(heads, rows)) for name, heads, rows in sections if rows]
    if notes:
        parts.append(Markup(f"<ul>{''.join(f'<li>{text(note)}</li>' for note in notes)}</ul>"))
    return page(*parts)


def histogram(values: Array, width: int = 96, height: int = 20) -> Markup:
    """A tensor's numbers as a small drawing, which also says their range, mean and spread in words.

    >>> "from 0 to 3" in histogram(np.arange(4.0))
    True
    """
    if not values.size or values.size > MOST_VALUES:
        return Markup("")
    wide = np.abs(values) if values.dtype.kind == "c" else values.astype(np.float64)
    finite = wide[np.isfinite(wide)]
    if not finite.size:
        return text("no finite number")
    scale = float(np.abs(finite).max()) or 1.0  # or squares and bins of the largest doubles overflow
    scaled = finite / scale
    said = f"{values.size:,} values from {finite.min():.3g} to {finite.max():.3g}, "
    said += f"mean {scaled.mean() * scale:.3g}, standard deviation {scaled.std() * scale:.3g}"
    said += f", {values.size - finite.size:,} not finite" if finite.size < values.size else ""
    counts, _ = np.histogram(scaled, BINS)
    step = width / BINS
    bars = "".join(
        f'<rect x="{at * step:.1f}" y="{height - tall:.1f}" width="{step - 0.5:.1f}" height="{tall:.1f}"/>'
        for at, tall in enumerate(height * counts / counts.max())
        if tall
    )
    return Markup(
        f'<svg role="img" aria-label="{said}" width="{width}" height="{height}"><title>{said}</title>{bars}</svg>'
    )
