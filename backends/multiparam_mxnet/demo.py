"""MXNet's part of the demo: its own loss, its own optimizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mxnet as mx
from mxnet import autograd, gluon


def loss(net: Any, x: Any, y: Any) -> Any:
    """The mean cross-entropy of integer classes."""
    return gluon.loss.SoftmaxCrossEntropyLoss()(net(x), y).mean()


def train(net: Any, x: Any, y: Any, epochs: int, each: Callable[[int], None]) -> None:
    """Trains with Adam on batches of 64."""
    mx.random.seed(0)
    batches = gluon.data.DataLoader(gluon.data.ArrayDataset(x, y), batch_size=64, shuffle=True)
    trainer = gluon.Trainer(net.collect_params(), "adam", {"learning_rate": 0.003})
    for epoch in range(1, epochs + 1):
        for batch_x, batch_y in batches:
            with autograd.record():
                value = loss(net, batch_x, batch_y)
            value.backward()
            trainer.step(1)
        each(epoch)
