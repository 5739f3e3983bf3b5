"""PyTorch's part of the demo: its own loss, its own optimizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional


def loss(net: Any, x: Any, y: Any) -> Any:
    """The mean cross-entropy of integer classes."""
    return functional.cross_entropy(net(x), y)


def train(net: Any, x: Any, y: Any, epochs: int, each: Callable[[int], None]) -> None:
    """Trains with Adam on batches of 64."""
    torch.manual_seed(0)
    data = torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    batches = torch.utils.data.DataLoader(data, batch_size=64, shuffle=True)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.003)
    for epoch in range(1, epochs + 1):
        for batch_x, batch_y in batches:
            optimizer.zero_grad()
            loss(net, batch_x, batch_y).backward()
            optimizer.step()
        each(epoch)
