"""How what two models or layers give is compared: which tensors belong together, and how close they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...arrays.dtypes import difference, rank_of
from ...arrays.types import Array

__all__ = ["Closeness", "Leaves", "close_inputs", "closeness", "corresponding", "reordered", "shapes"]

Leaves = dict[str, Array]  # the tensors of an output, by their place in it
Pairs = list[tuple[str, str]]

SMALLEST = float(np.finfo(np.float32).tiny)  # what is smaller some frameworks take for 0


@dataclass(frozen=True)
class Closeness:
    """How close some tensors are to others.

    Attributes:
        difference: the largest absolute difference; NaN where one has NaN and the other not.
        scale: the largest number of the tensor that exceeds what it may differ by most; 0 where it has to be exact.
        close: whether no tensor differs by more than the tolerance times its own largest number.
    """

    difference: float = 0.0
    scale: float = 0.0
    close: bool = True


def closeness(first: Sequence[Array], second: Sequence[Array], tolerance: float) -> Closeness:
    """Compares tensors of the same shapes, each by its own scale; whole numbers have to be the same.

    >>> a = np.array([1e-6, 2e-6])
    >>> closeness([a], [a * 1.5], 1e-5).close, closeness([a * 1e9], [a * 1e9 + 1e-3], 1e-5).close
    (False, True)
    """
    found, most, worst, scale, close = [0.0], 0.0, -1.0, 0.0, True
    for a, b in zip(first, second, strict=True):
        one = difference(a, b)
        most = 0.0 if _whole(a) and _whole(b) else max(_largest(a), _largest(b))
        allowed = max(tolerance * most, SMALLEST if tolerance else 0.0)
        # written so that NaN is not close
        within = one <= (tolerance * most if most == 0 else allowed)
        ratio = one / most if most and one == one else np.inf if not within else 0.0
        if ratio > worst:
            worst, scale = ratio, most
        close = close and within
        found.append(one)
    return Closeness(float(np.max(found)), scale, close)  # NaN if one is


def _whole(array: Array) -> bool:
    return rank_of(array.dtype) in (0, 1)


def _largest(array: Array) -> float:
    if not array.size:
        return 0.0
    with np.errstate(all="ignore"):
        sizes = np.abs(array if array.dtype.kind in "fc" else array.astype(np.float64))
        most = sizes.max()
        return float(most if np.isfinite(most) else np.max(sizes, where=np.isfinite(sizes), initial=0))


def shapes(leaves: Leaves) -> dict[str, tuple[int, ...]]:
    """The shapes of tensors, by their place."""
    return {path: one.shape for path, one in leaves.items()}


def corresponding(first: Leaves, second: Leaves, *, whole: bool) -> Pairs:
    """Which tensors of two outputs are compared with which; none where that cannot be told.

    Those at the same place; where the structures differ, those in the same order; where one has more than the other,
    the first tensor, or the only one of the same shape.

    Args:
        first: one model's or layer's.
        second: the other's.
        whole: they are the outputs of whole models, of which nothing may be left out that could be compared.

    >>> one, other = {"[0]": np.ones((2, 3)), "[1]": np.ones(3)}, {"": np.ones((2, 3))}
    >>> corresponding(one, other, whole=True)
    [('[0]', '')]
    """
    if not first or not second:
        return []
    if first.keys() == second.keys():
        fitting = [(path, path) for path in first if first[path].shape == second[path].shape]
        return (
            fitting
            if len(fitting) == len(first) or (not whole and fitting and fitting[0][0] == next(iter(first)))
            else []
        )
    keyed = [any(path.startswith("['") for path in one) for one in (first, second)]
    in_order = list(zip(first, second, strict=False))
    if len(first) == len(second) and not all(keyed) and all(first[a].shape == second[b].shape for a, b in in_order):
        return in_order
    if whole and min(len(first), len(second)) > 1:
        return []
    leading = in_order[0]
    if first[leading[0]].shape == second[leading[1]].shape and not (whole and all(keyed)):
        return [leading]
    fitting = [(a, b) for a in first for b in second if first[a].shape == second[b].shape]
    return fitting if len(fitting) == 1 and not all(keyed) else []


def close_inputs(first: Sequence[Array], second: Sequence[Array], tolerance: float) -> bool | None:
    """Whether two layers are given the same; None where that cannot be told."""
    if len(first) != len(second):
        first, second = first[:1], second[:1]  # a state, a mask or the keys of an attention may be left out
    if not first or not second or any(a.shape != b.shape for a, b in zip(first, second, strict=True)):
        return None
    return closeness(first, second, tolerance).close


def reordered(first: Sequence[Array], second: Sequence[Array], tolerance: float) -> bool:
    """Whether the first tensors have the same numbers in another order.

    >>> reordered([np.arange(4.0).reshape(2, 2)], [np.arange(4.0).reshape(2, 2).T], 1e-5)
    True
    """
    if not first or not second or first[0].size != second[0].size:
        return False
    sorts = [np.sort(one[0].astype(np.float64, copy=False), axis=None) for one in (first, second)]
    return closeness(sorts[:1], sorts[1:], tolerance).close
