"""Paddle's part of the demo: its own loss, its own optimizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import paddle
from paddle.nn import functional


def loss(net: Any, x: Any, y: Any) -> Any:
    """The mean cross-entropy of integer classes."""
    return functional.cross_entropy(net(x), y)


def train(net: Any, x: Any, y: Any, epochs: int, each: Callable[[int], None]) -> None:
    """Trains with Adam on batches of 64."""
    paddle.seed(0)
    data = paddle.io.TensorDataset([paddle.to_tensor(x), paddle.to_tensor(y)])
    batches = paddle.io.DataLoader(data, batch_size=64, shuffle=True)
    optimizer = paddle.optimizer.Adam(0.003, parameters=net.parameters())
    for epoch in range(1, epochs + 1):
        for batch_x, batch_y in batches:
            loss(net, batch_x, batch_y).backward()
            optimizer.step()
            optimizer.clear_grad()
        each(epoch)
