"""Rows of recurrent layers that hold their cells as objects, one or several, in each direction.

PyTorch has one kind for a layer and one for its cell, and tells layers and directions apart by the tensors' names. An
adapter says which cells a native layer has and what each of them is; what the layer is follows here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .kinds import GATES, KINDS
from .layout import Source
from .table import Fold, LazyShape, Row, Setting

__all__ = ["RecurrentCell", "cell_row", "recurrent_row"]


@dataclass(frozen=True)
class RecurrentCell:
    """One cell as a layer sees it: the layer that holds it, or the cell itself.

    Roles are those of a single cell, `"weight_ih"`; a layer adds what tells its cells apart, `"weight_ih_l0_reverse"`.

    Attributes:
        name: `"RNN"`, `"LSTM"` or `"GRU"`; of a form of them that other frameworks lack with what sets it apart,
            `"GRU(reset_after=False)"`; of any other cell its class's name.
        sources: how its tensors are made, their paths from the layer; empty where other frameworks have no such cell.
        folds: what it adds to its other tensors.
        settings: what decides its function beside its weights.
        lazy: as a `Row` has it; empty for a cell that has its parameters.
        layer: the position in a stack of layers.
        reverse: whether it is the one of two that goes backwards.

    >>> cell = RecurrentCell("GRU", layer=1, reverse=True)
    >>> cell.end
    '_l1_reverse'
    """

    name: str
    sources: Mapping[str, Source] = field(default_factory=dict)
    folds: Mapping[str, Fold] = field(default_factory=dict)
    settings: Mapping[str, Setting] = field(default_factory=dict)
    lazy: Mapping[str, LazyShape] | None = field(default_factory=dict)
    layer: int = 0
    reverse: bool = False

    @property
    def end(self) -> str:
        """What PyTorch appends to the names of the cell's tensors in a layer."""
        return f"_l{self.layer}{'_reverse' if self.reverse else ''}"


def cell_row(
    native: type,
    tell: Callable[[Any], RecurrentCell],
    builds: Mapping[str, Callable[..., Any]] | None = None,
    shapes: Callable[[Any], Mapping[str, LazyShape]] | None = None,
) -> Row:
    """The row of a class that is one cell.

    Args:
        native: the native class.
        tell: what a native cell is.
        builds: what makes native cells, as a `Row` has it.
        shapes: what a native cell tells of its tensors' shapes, as a `Row` has it.

    >>> from multiparam.adapter import At
    >>> row = cell_row(object, lambda native: RecurrentCell("GRU", {"weight_ih": At("kernel", axes=(1, 0))}))
    >>> row.kind_of(object()), row.sources_of(object())
    ('GRUCell', {'weight_ih': At('kernel', axes=(1, 0))})
    """
    return Row(
        lambda one: _kind_of_cell(tell(one)),
        native,
        lambda one: tell(one).sources,
        folds=lambda one: tell(one).folds,
        settings=lambda one: tell(one).settings,
        lazy=lambda one: tell(one).lazy,
        builds=builds or {},
        shapes=shapes,
    )


def recurrent_row(
    native: type,
    cells: Callable[[Any], Iterable[RecurrentCell]],
    way: Callable[[Any], Mapping[str, Setting]],
    builds: Mapping[str, Callable[..., Any]] | None = None,
    shapes: Callable[[Any], Mapping[str, LazyShape]] | None = None,
) -> Row:
    """The row of a class that runs cells over a sequence.

    It has PyTorch's names if its cells are all of one kind that other frameworks have; else they keep their own.

    Args:
        native: the native class.
        cells: all the cells of a native layer, in PyTorch's order.
        way: how it goes through the sequence, `{"reverse": False}`, or puts two directions together,
            `{"merge": "concat"}`.
        builds: what makes native layers, as a `Row` has it.
        shapes: what a native layer tells of its tensors' shapes, as a `Row` has it.

    >>> from multiparam.adapter import At
    >>> class Pair:
    ...     '''Two cells.'''
    >>> def cells(native):
    ...     yield RecurrentCell("GRU", {"weight_ih": At("forward/kernel")})
    ...     yield RecurrentCell("GRU", {"weight_ih": At("backward/kernel")}, reverse=True)
    >>> row = recurrent_row(Pair, cells, lambda native: {"merge": "concat"})
    >>> row.kind_of(Pair()), list(row.sources_of(Pair()))
    ('GRU', ['weight_ih_l0', 'weight_ih_l0_reverse'])
    """

    def told(one: Any) -> list[RecurrentCell]:
        return list(cells(one))

    return Row(
        lambda one: _kind(native, told(one)),
        native,
        lambda one: _sources(told(one)),
        folds=lambda one: _folds(told(one)),
        settings=lambda one: {**_settings(told(one)), **way(one)},
        lazy=lambda one: _lazy(told(one)),
        builds=builds or {},
        shapes=shapes,
    )


def _is_known(cell: RecurrentCell) -> bool:
    """Whether the name is a kind's, and not a class's that happens to be called the same."""
    if cell.name in GATES:
        return bool(cell.sources)
    return cell.name in KINDS and bool(KINDS[cell.name].apart)


def _kind_of_cell(cell: RecurrentCell) -> str:
    name, bracket, apart = cell.name.partition("(")
    return f"{name}Cell{bracket}{apart}" if _is_known(cell) else cell.name


def _shared_kind(cells: Sequence[RecurrentCell]) -> str | None:
    """The kind of a layer of these cells; None if they are unlike each other, or one is of no known kind."""
    names = {cell.name for cell in cells}
    return names.pop() if len(names) == 1 and all(map(_is_known, cells)) else None


def _kind(native: type, cells: Sequence[RecurrentCell]) -> str:
    names = " and ".join(dict.fromkeys(cell.name for cell in cells))
    return _shared_kind(cells) or f"{native.__name__} of {names or 'another cell'}"


def _sources(cells: Sequence[RecurrentCell]) -> dict[str, Source]:
    if _shared_kind(cells) is None:
        return {}
    return {f"{role}{cell.end}": source for cell in cells for role, source in cell.sources.items()}


def _folds(cells: Sequence[RecurrentCell]) -> dict[str, Fold]:
    if _shared_kind(cells) is None:
        return {}
    return {
        f"{role}{cell.end}": replace(fold, into=f"{fold.into}{cell.end}")
        for cell in cells
        for role, fold in cell.folds.items()
    }


def _lazy(cells: Sequence[RecurrentCell]) -> dict[str, LazyShape] | None:
    found: dict[str, LazyShape] = {}
    known = _shared_kind(cells) is not None
    for cell in cells:
        if cell.lazy is None or (cell.lazy and not known):
            return None
        found |= {f"{role}{cell.end}": shape for role, shape in cell.lazy.items()}
    return found


def _settings(cells: Sequence[RecurrentCell]) -> dict[str, Setting]:
    """The settings of all the cells, be they of one kind or not; where they differ, each of them."""
    found: dict[str, Setting] = {}
    for name in dict.fromkeys(name for cell in cells for name in cell.settings):
        values = [cell.settings[name] for cell in cells if name in cell.settings]
        found[name] = values[0] if len(set(map(str, values))) == 1 else ", ".join(map(str, values))
    return found
