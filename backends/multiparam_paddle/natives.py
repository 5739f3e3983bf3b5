"""Paddle's own layers for the cases of the parity table that `multiparam.nn` does not build in every framework."""

from __future__ import annotations

from pathlib import Path

import paddle
from paddle import nn

from multiparam.testing.parity import NativeLayer


def natives() -> dict[str, NativeLayer]:
    """The layers, by case."""
    return {
        "LSTM, native": NativeLayer(lambda: nn.LSTM(4, 5)),
        "LSTM, native, both directions": NativeLayer(lambda: nn.BiRNN(nn.LSTMCell(4, 5), nn.LSTMCell(4, 5))),
        "GRU, native": NativeLayer(lambda: nn.RNN(nn.GRUCell(4, 5))),
        "GRU, native, without b_hn": NativeLayer(lambda: nn.GRU(4, 5)),
        "RNN, native": NativeLayer(lambda: nn.SimpleRNN(4, 5)),
        "GRU, reset before the product": NativeLayer(lambda: nn.GRU(4, 5)),
        "MultiheadAttention, native": NativeLayer(lambda: nn.MultiHeadAttention(8, 2)),
        "Linear over several axes": NativeLayer(lambda: nn.Linear(4, 6)),
        "ConvTranspose2d, native": NativeLayer(lambda: nn.Conv2DTranspose(4, 6, 3, 2)),
        "Conv2d depthwise, native": NativeLayer(lambda: nn.Conv2D(4, 12, 3, groups=4)),
    }


def save(layer: nn.Layer, path: Path) -> None:
    """Writes a layer's parameters as Paddle does."""
    paddle.save(layer.state_dict(), str(path))
