"""The data: 1,797 handwritten digits of 8 by 8 pixels, ten classes.

`digits.npz` is the test set of E. Alpaydin and C. Kaynak's "Optical Recognition of Handwritten Digits" (1998), in the
order in which scikit-learn has it. It comes from the UCI Machine Learning Repository, https://doi.org/10.24432/C50P49,
under CC BY 4.0; the pixels' numbers, 0 to 16, are unchanged.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..arrays.types import Array

__all__ = ["Digits", "digits"]


class Digits(NamedTuple):
    """The data set, split: images are (n, 64) float32 in [0, 1], labels (n,) int64."""

    train_x: Array
    train_y: Array
    test_x: Array
    test_y: Array


def digits() -> Digits:
    """The digits, shuffled and split in the same way in every framework."""
    with np.load(Path(__file__).with_suffix(".npz")) as file:
        x, y = file["images"], file["labels"]
    order = np.random.default_rng(0).permutation(len(x))
    x, y = (x[order] / 16).astype(np.float32), y[order].astype(np.int64)
    return Digits(x[:1437], y[:1437], x[1437:], y[1437:])
