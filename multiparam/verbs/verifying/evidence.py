"""What it proves that two models agree on a batch: nothing of what does not reach the outputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ...arrays.dtypes import is_float
from ...arrays.types import Array
from ...text import enumerated
from .causes import Pair
from .outputs import Leaves

__all__ = ["varies", "weaknesses"]

LITTLE = 100  # times the tolerance: of what varies less than that, an error of 1 % is within it


def weaknesses(batch: Sequence[Array], outputs: Leaves, pairs: Iterable[Pair], tolerance: float) -> list[str]:
    """Why it proves little that outputs agree; empty where nothing is known against it.

    Args:
        batch: what a model was given.
        outputs: what it gave.
        pairs: the calls of its layers that were compared.
        tolerance: by which share of the largest output the outputs may differ.
    """
    found = [*_of_batch(batch), *_of_outputs(batch, outputs, tolerance)]
    calls = [pair for pair in pairs if not pair.a.node.children]
    zeros = dict.fromkeys(pair.name or "the model" for pair in calls if pair.zeros)
    constant = dict.fromkeys(pair.name or "the model" for pair in calls if pair.constant and not pair.zeros)
    if zeros:
        found.append(f"outputs of {enumerated([*zeros])} are all 0: nothing that is before is seen behind")
    if constant:
        found.append(f"outputs of {enumerated([*constant])} are the same for all samples")
    return found


def _of_batch(batch: Sequence[Array]) -> list[str]:
    given = [one for one in batch if one.size]
    if not given:
        return ["the batch is empty"]
    if not any(one.any() for one in given):
        return ["the batch is all zeros: what is multiplied with it is not seen"]
    found = []
    if all((one == one.reshape(-1)[0]).all() for one in given) and any(one.size > 1 for one in given):
        found.append("all numbers of the batch are the same: an order of axes or of samples is not seen")
    elif all(one.ndim and len(one) > 1 and not varies(one) for one in given):
        found.append("all samples of the batch are the same: whether the outputs depend on it is not seen")
    if all(not one.ndim or len(one) == 1 for one in given):
        found.append("the batch is one sample: whether the outputs depend on it is not seen")
    return found


def _of_outputs(batch: Sequence[Array], outputs: Leaves, tolerance: float) -> list[str]:
    found, numbers = [], [one for one in outputs.values() if one.size]
    finite = [np.isfinite(_plain(one)) for one in numbers]
    if not all(one.all() for one in finite):
        bad = sum(int(one.size - one.sum()) for one in finite)
        return [f"of {sum(one.size for one in finite):,} outputs {bad:,} are no finite numbers"]
    if not any(one.any() for one in numbers):
        return ["the outputs are all 0"]
    real = [one for one in numbers if is_float(one.dtype)]
    if not real and not any(one.dtype.kind == "c" for one in numbers):
        found.append("the outputs are whole numbers, which do not show how close the numbers are that they come from")
    elif real and all(_saturated(one, tolerance) for one in real):
        found.append("the outputs are all 0, 1 or -1: how far beyond the bounds of a sigmoid or softmax is not seen")
    samples = {len(one) for one in batch if one.ndim}
    several = [one for one in numbers if one.ndim and len(one) > 1 and len(one) in samples]
    if several and any(varies(one) for one in batch) and all(_flat(one, tolerance) for one in several):
        found.append("the outputs hardly depend on the batch: they are the same for all samples")
    return found


def _saturated(array: Array, tolerance: float) -> bool:
    sizes = np.abs(_plain(array))
    return bool((np.minimum(sizes, np.abs(sizes - 1)) <= tolerance).all())


def _flat(array: Array, tolerance: float) -> bool:
    plain = _plain(array)
    return bool(np.abs(plain - plain[:1]).max() <= LITTLE * tolerance * np.abs(plain).max())


def varies(array: Array) -> bool:
    """Whether not all samples are the same."""
    return bool(array.ndim and len(array) > 1 and (array != array[:1]).any())


def _plain(array: Array) -> Array:
    return array if array.dtype.kind in "fc" else array.astype(np.float64)
