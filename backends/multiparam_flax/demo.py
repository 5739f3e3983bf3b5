"""Flax's part of the demo: an nnx.Optimizer, compiled steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optax
from flax import nnx


def loss(net: Any, x: Any, y: Any) -> Any:
    """The mean cross-entropy of integer classes."""
    return optax.softmax_cross_entropy_with_integer_labels(net(x), y).mean()


@nnx.jit
def _step(net: Any, optimizer: Any, x: Any, y: Any) -> None:
    optimizer.update(net, nnx.grad(loss)(net, x, y))


def train(net: Any, x: Any, y: Any, epochs: int, each: Callable[[int], None]) -> None:
    """Trains with Adam on batches of 64."""
    optimizer = nnx.Optimizer(net, optax.adam(0.003), wrt=nnx.Param)
    rng = np.random.default_rng(0)
    for epoch in range(1, epochs + 1):
        order = rng.permutation(len(x))
        for start in range(0, len(x), 64):
            batch = order[start : start + 64]
            _step(net, optimizer, x[batch], y[batch].astype(np.int32))
        each(epoch)
