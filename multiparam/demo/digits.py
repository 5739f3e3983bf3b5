"""The data: scikit-learn's bundled handwritten digits, 1,797 images of 8 by 8 pixels, ten classes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..errors import MultiparamError
from ..steps import Array

__all__ = ["Digits", "digits"]


class Digits(NamedTuple):
    """The data set, split: images are (n, 64) float32 in [0, 1], labels (n,) int64."""

    train_x: Array
    train_y: Array
    test_x: Array
    test_y: Array


def digits() -> Digits:
    """The digits, shuffled and split in the same way in every framework.

    Raises:
        MultiparamError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MultiparamError('the demo\'s data come with scikit-learn: pip install "multiparam[demo]"') from error
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = (x[order] / 16).astype(np.float32), y[order].astype(np.int64)
    return Digits(x[:1437], y[:1437], x[1437:], y[1437:])
