"""Stacks of layers: which axes of a layer's native tensors count layers, where some transform made several at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations

from ..arrays.types import Shape
from .table import LazyShape

__all__ = ["UNTOLD", "Axes", "stack_axes"]

UNTOLD = (
    "it is a stack of layers whose sizes do not tell which axis counts them, so that its tensors keep their own names "
    "and axes"
)

Axes = Mapping[str, tuple[int, ...]]


def stack_axes(declared: Mapping[str, LazyShape], shapes: Mapping[str, Shape]) -> Axes | None:
    """For each tensor which of its axes count layers; nothing for a layer by itself, None where it cannot be told.

    Args:
        declared: the shapes that one layer has, as it tells them; None for an extent that it does not know.
        shapes: those that the tensors of the same names have.

    >>> stack_axes({"kernel": (2, 6), "bias": (6,)}, {"kernel": (5, 2, 6), "bias": (5, 6)})
    {'kernel': (0,), 'bias': (0,)}
    >>> stack_axes({"kernel": (2, 6), "bias": (6,)}, {"kernel": (2, 5, 6), "bias": (6, 5)})
    {'kernel': (1,), 'bias': (1,)}
    >>> stack_axes({"scale": (6,)}, {"scale": (6,)}), stack_axes({"scale": (6,)}, {"scale": (6, 6)})
    ({}, None)
    """
    known = {part: own for part, own in declared.items() if own is not None and part in shapes}
    more = {len(shapes[part]) - len(own) for part, own in known.items()}
    if not more or more == {0}:
        return {}
    if len(more) > 1 or min(more) < 0:
        return None
    found = {tuple(axes.items()): axes for axes in _candidates(known, shapes, more.pop())}
    return found.popitem()[1] if len(found) == 1 else None


def _candidates(
    declared: Mapping[str, tuple[int | None, ...]], shapes: Mapping[str, Shape], count: int
) -> Iterator[Axes]:
    """All ways in which the same axes of all tensors, counted from the front or the back, can be those of a stack."""
    least = min(len(shapes[part]) for part in declared)
    for chosen in (*combinations(range(least), count), *combinations(range(-least, 0), count)):
        axes = {part: tuple(axis % len(shapes[part]) for axis in chosen) for part in declared}
        extents = {tuple(shapes[part][axis] for axis in own) for part, own in axes.items()}
        if len(extents) == 1 and all(_fits(declared[part], shapes[part], own) for part, own in axes.items()):
            yield axes


def _fits(declared: tuple[int | None, ...], shape: Shape, without: tuple[int, ...]) -> bool:
    left = [extent for axis, extent in enumerate(shape) if axis not in without]
    return all(own is None or own == extent for own, extent in zip(declared, left, strict=True))
