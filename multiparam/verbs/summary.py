"""A model as a table: its tree of layers, and each parameter's shape, dtype, size and state."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from ..adapter.registry import infer_model
from ..html import MOST_VALUES, Markup, details, histogram, link, page, row_id, table, text
from ..model.node import Node
from ..model.parameter import Parameter
from ..model.slot import Slot
from .access import Layer, layers

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Summary", "summary"]


class _Line(NamedTuple):
    depth: int
    name: str
    kind: str
    shape: str
    dtype: str
    size: str
    remark: str


class Summary:
    """What `summary` shows: rich text in a terminal, HTML in a notebook.

    Attributes:
        total: number of elements of all parameters with a shape, each tied one once.
        trainable: how many of them optimizers may change.
    """

    def __init__(self, net: Any) -> None:
        layer = layers(net)
        adapter, mapping = infer_model(layer.native), layer.model_state
        tree = mapping.tree
        self._root = layer.node
        self._primary = {slot.name: group[0].name for group in tree.groups for slot in group}
        self._parameters = {one.name: one for one in mapping.walked()}
        if isinstance(net, Layer):  # which may have been found long ago
            for one in self._parameters.values():
                one.slot.look()
        self._shown = {slot.name for node in self._root.walk() for slot in node.slots}
        self._lines = list(self._walk(self._root, 0))
        shown = dict.fromkeys(self._primary[slot.name] for one in self._root.walk() for slot in one.slots)
        sized = [p for name in shown if _is_counted(p := self._parameters[name])]
        self.total = sum(_count(p.slot.shape()) for p in sized)
        self.trainable = sum(_count(p.slot.shape()) for p in sized if p.is_trainable())
        self._title = f"{self._root.kind} ({adapter.name})"

    def _walk(self, node: Node, depth: int) -> Iterator[_Line]:
        yield _Line(depth, _called(node), node.kind, "", "", "", "at the first batch" if node.opaque else "")
        for slot in node.slots:
            yield self._tensor(slot, depth + 1)
        for child in node.children:
            yield from self._walk(child, depth + 1)

    def _tensor(self, slot: Slot, depth: int) -> _Line:
        primary = self._primary[slot.name]
        parameter = self._parameters[primary]
        remarks = [] if primary == slot.name else [f"= {primary}"]
        if slot.is_buffer:
            remarks.append("buffer")
        elif not parameter.is_trainable():
            remarks.append("frozen")
        shape, handles = parameter.slot.shape(), parameter.slot.ready()
        if handles is None:
            return _Line(depth, slot.role, "", _shape(shape), "", "", "at the first batch")
        count = f"{_count(shape):,}" if primary == slot.name else ""
        dtype = str(parameter.slot.dtype_of(handles))
        return _Line(depth, slot.role, "", _shape(shape), dtype, count, ", ".join(remarks))

    def __rich__(self) -> Table:
        from rich.table import Table  # here, so that importing multiparam stays light
        from rich.text import Text

        table = Table(title=self._title, caption=self._caption(), box=None, header_style="bold", pad_edge=False)
        table.add_column("layer", overflow="fold")
        for column in ("kind", "shape", "dtype"):
            table.add_column(column)
        table.add_column("count", justify="right")
        table.add_column("")
        for line in self._lines:
            name = Text("  " * line.depth + line.name, style="bold" if line.kind else "")
            table.add_row(name, *(Text(cell) for cell in line[2:]))
        return table

    def _caption(self) -> str:
        return f"{self.total:,} parameters, {self.trainable:,} trainable"

    def __str__(self) -> str:
        from rich.console import Console

        out = io.StringIO()
        # plain text, also in a notebook, which rich would show it in, and where colours are forced
        Console(file=out, width=100, force_jupyter=False, force_terminal=False).print(self)
        return "\n".join(line.rstrip() for line in out.getvalue().splitlines())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        title = Markup(f"<p><strong>{text(self._title)}</strong>: {self._caption()}</p>")
        return page(title, self._branch(self._root, row_id()))

    def _branch(self, node: Node, prefix: str) -> Markup:
        title = Markup(f'{text(_called(node))} <span class="kind">{text(node.kind)}</span>')
        remark = [text("its parameters are made at the first batch")] if node.opaque else []
        rows = [self._cells(slot, prefix) for slot in node.slots]
        ids = [prefix + slot.name for slot in node.slots]
        heads = ("tensor", "shape", "dtype", "count", "", "values")
        inside = [table(heads, rows, ids=ids, numbers=frozenset({3}))] if rows else []
        below = [self._branch(child, prefix) for child in node.children]
        parts = [*remark, *inside, *below]
        return details(title, *parts) if parts else Markup(f"<div>{title}</div>")

    def _cells(self, slot: Slot, prefix: str) -> tuple[object, ...]:
        line, primary = self._tensor(slot, 0), self._primary[slot.name]
        if primary != slot.name:
            tie = Markup(f"is {link(prefix, primary) if primary in self._shown else text(primary)}")
            return (line.name, line.shape, line.dtype, line.size, tie, "")
        ready = slot.ready()
        drawn = "" if ready is None or math.prod(slot.extents()) > MOST_VALUES else histogram(slot.read(ready))
        return (line.name, line.shape, line.dtype, line.size, line.remark, drawn)


def summary(net: Any) -> Summary:
    """A model's layers and parameters as a table, to be printed, or shown by a notebook.

    Args:
        net: a native model or layer of any backend, or a `Layer` of `layers`.

    >>> import multiparam as mp
    >>> print(mp.summary(mp.nn.Sequential(mp.nn.Linear(4, 8))))
                   Sequential (numpy)
    layer       kind        shape   dtype    count
    (model)     Sequential
      0         Linear
        weight              (8, 4)  float32     32
        bias                (8,)    float32      8
              40 parameters, 40 trainable
    """
    return Summary(net)


def _called(node: Node) -> str:
    """A layer's name in its parent, and beside it what else it goes by: the framework's own name, or its position."""
    if node.parent is None:
        return node.key or "(model)"
    label = "" if node.is_inner else node.adapter.label(node.native)
    if label == node.key:  # the user's name
        label = next(str(position) for position, one in enumerate(node.parent.children) if one is node)
    return f"{node.key} ({label})" if label and label != node.key else node.key


def _is_counted(parameter: Parameter) -> bool:
    return not parameter.slot.is_buffer and parameter.slot.ready() is not None


def _count(shape: Any) -> int:
    return math.prod(shape)


def _shape(shape: Any) -> str:
    return (
        "?" if shape is None else f"({', '.join('?' if n is None else str(n) for n in shape)}{',' * (len(shape) == 1)})"
    )
