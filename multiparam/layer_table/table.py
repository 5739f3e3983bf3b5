"""The layer table: one row per native layer class, the one place that knows layouts.

An adapter declares its rows; a user adds rows for layers of their own with `register_layer`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..arrays.types import Array
from ..errors import ArgumentError, close_names
from .kinds import KINDS, base_role
from .layout import Source, as_source

__all__ = ["Fold", "LayerTable", "LazyShape", "Row", "Setting", "each_rank", "told_kind"]

Setting = float | int | str | bool | list[int]
LazyShape = tuple[int | None, ...] | None


@dataclass(frozen=True)
class Fold:
    """A tensor of PyTorch's that a layer lacks, because its numbers are only ever added to another's.

    It is written into files with zeros, and added to the other when a file is loaded. That keeps the forward pass, not
    the course of a training.

    Attributes:
        into: the role of the tensor that it is added to.
        blocks: which of the equal blocks along a bias's axis can be added; what the others hold stays the tensor's
            own where the layer keeps it, and must be zero where it does not.
        of: how many blocks there are.
        why: why the other blocks cannot be added.
    """

    into: str
    blocks: tuple[int, ...] = (0,)
    of: int = 1
    why: str = ""

    def split(self, value: Array) -> tuple[Array, Array]:
        """The numbers that are added, and those that cannot be; zeros elsewhere."""
        added, rest = np.zeros_like(value), np.array(value)
        for block in self.blocks:
            extent = value.shape[-1]  # of a bias, which in a stack of layers has others before it
            here = slice(block * extent // self.of, (block + 1) * extent // self.of)
            added[..., here], rest[..., here] = value[..., here], 0
        return added, rest


@dataclass(frozen=True)
class Row:
    """What a native layer class is, canonically.

    Attributes:
        kind: the canonical kind, `"Linear"`, or a function that tells it of a native layer.
        native: the native class; its subclasses share the row.
        sources: how each canonical parameter is made of native ones, by role and in canonical order, or a function
            that tells it of a native layer. Native parameters that no source mentions keep their own names and layouts.
        buffers: the same for running statistics.
        inner: kinds of the canonical sublayers, by name: a role `"out_proj.weight"` is the role `"weight"` of the
            sublayer `"out_proj"`. Native sublayers that the sources claim whole are no layers of their own.
        folds: tensors that PyTorch's `state_dict` has and this layer adds to others, by role.
        file_only: tensors that PyTorch's `state_dict` has and this layer does not, with their neutral values; they are
            written into files and ignored there.
        settings: what decides a layer's function beside its weights (an epsilon, the form of an activation), in
            PyTorch's names and conventions; it is saved with a model and compared when the file is loaded. An inner
            sublayer's has its name before it, `"depthwise.groups"`.
        lazy: for a native layer without its parameters yet, the roles it will have and what is known of their
            shapes (None for an unknown axis, or for an unknown shape); None where not even the roles are known.
        builds: what makes native layers from PyTorch's arguments, by keyword and by the builder's name in
            `multiparam.nn` (`"Linear"` and `"LazyLinear"` may be one native class).
        shapes: the shapes of its native tensors, by name, as a native layer tells them (None for an extent that it
            does not know); where all have axes more than that, the layer is a stack of layers. None where no
            transform makes stacks.
    """

    kind: str | Callable[[Any], str]
    native: type
    sources: Mapping[str, Source] | Callable[[Any], Mapping[str, Source]] = field(default_factory=dict)
    buffers: Mapping[str, Source] = field(default_factory=dict)
    inner: Mapping[str, str] = field(default_factory=dict)
    folds: Mapping[str, Fold] | Callable[[Any], Mapping[str, Fold]] = field(default_factory=dict)
    file_only: Mapping[str, Array] = field(default_factory=dict)
    settings: Callable[[Any], Mapping[str, Setting]] | None = None
    lazy: Callable[[Any], Mapping[str, LazyShape] | None] | None = None
    builds: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    shapes: Callable[[Any], Mapping[str, LazyShape]] | None = None

    @cached_property
    def buffer_parts(self) -> frozenset[str]:
        """Names of the native tensors that running statistics are made of."""
        return frozenset(part for source in self.buffers.values() for part in source.parts)

    def kind_of(self, native: Any) -> str:
        """The canonical kind of a native layer."""
        return self.kind(native) if callable(self.kind) else self.kind

    def sources_of(self, native: Any) -> Mapping[str, Source]:
        """How a native layer's canonical parameters are made of native ones."""
        return self.sources(native) if callable(self.sources) else self.sources

    def folds_of(self, native: Any) -> Mapping[str, Fold]:
        """What a native layer adds to others when a file is loaded."""
        return self.folds(native) if callable(self.folds) else self.folds


class LayerTable:
    """The rows of one adapter, found by class.

    Args:
        rows: in no particular order; the nearest class along the MRO wins.
    """

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._by_class: dict[type, Row] = {}
        self._builders: dict[str, Callable[..., Any]] = {}
        self._found: dict[type, Row | None] = {}
        for row in rows:
            self.add(row)

    def add(self, row: Row) -> None:
        """Adds a row; a later row for the same class replaces the earlier one."""
        self._by_class[row.native] = row
        self._builders.update(row.builds)
        self._found.clear()

    def row(self, native: type) -> Row | None:
        """The row of the nearest known class along the MRO, or None."""
        try:
            return self._found[native]
        except KeyError:
            row = next((self._by_class[base] for base in native.__mro__ if base in self._by_class), None)
            self._found[native] = row
            return row

    def builder(self, kind: str) -> Callable[..., Any] | None:
        """What makes a native layer of that kind, or None."""
        return self._builders.get(kind)


def user_row(native: type, kind: str | None, roles: Mapping[str, str | Source], inherited: Row | None) -> Row:
    """The row that `register_layer` adds.

    Raises:
        ArgumentError: a role's layout is neither a name nor a `Source`, or two roles claim one native tensor.
    """
    sources: dict[str, Source] = {}
    claimed: dict[str, str] = {}
    known = KINDS[kind].roles if kind is not None and kind in KINDS else {}
    for role, given in roles.items():
        close = close_names(role, known, 1) if base_role(role) not in known else []
        if close:
            raise ArgumentError(f"a {kind} has no {role!r}; did you mean {close[0]!r}?")
        if not isinstance(given, (str, Source)):
            raise ArgumentError(
                f"{role}= takes the native tensor's name or its layout, mp.At(...) or mp.Concat(...), "
                f"not {type(given).__name__}"
            )
        sources[role] = as_source(given)
        for part in sources[role].parts:
            if part in claimed and not (sources[role].partial and sources[claimed[part]].partial):
                raise ArgumentError(f"{role}= and {claimed[part]}= both claim the native tensor {part!r}")
            claimed[part] = role
    return Row(
        kind=kind or native.__name__,
        native=native,
        sources=sources,
        buffers=inherited.buffers if inherited else {},
    )


def told_kind(name: str) -> Callable[[Any], str]:
    """The kind of a native layer that does not know how many axes it works on: what its builder said, or `name`."""
    return lambda native: getattr(native, "multiparam_kind", name)


def each_rank(name: str, build: Callable[..., Any], *, tell: bool = False) -> dict[str, Callable[..., Any]]:
    """One builder for `name` over one, two and three axes.

    Args:
        name: the kind without its rank, `"BatchNorm"`.
        build: makes a native layer of any of them.
        tell: the native layer has to be told its kind, for `told_kind`.
    """

    def telling(kind: str) -> Callable[..., Any]:
        def make(**arguments: Any) -> Any:
            layer = build(**arguments)
            layer.multiparam_kind = kind
            return layer

        return make

    kinds = [f"{name}{rank}d" for rank in (1, 2, 3)]
    return {kind: telling(kind) if tell else build for kind in kinds}
