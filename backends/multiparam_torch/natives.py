"""PyTorch's own layers for the cases of the parity table that `multiparam.nn` does not build in every framework."""

from __future__ import annotations

from torch import nn

from multiparam.testing.parity import NativeLayer


def natives() -> dict[str, NativeLayer]:
    """The layers, by case."""
    return {
        "LSTM, native": NativeLayer(lambda: nn.LSTM(4, 5, batch_first=True)),
        "LSTM, native, both directions": NativeLayer(lambda: nn.LSTM(4, 5, batch_first=True, bidirectional=True)),
        "GRU, native": NativeLayer(lambda: nn.GRU(4, 5, batch_first=True)),
        "GRU, native, without b_hn": NativeLayer(lambda: nn.GRU(4, 5, batch_first=True)),
        "RNN, native": NativeLayer(lambda: nn.RNN(4, 5, batch_first=True)),
        "GRU, reset before the product": NativeLayer(lambda: nn.GRU(4, 5, batch_first=True)),
        "MultiheadAttention, native": NativeLayer(lambda: nn.MultiheadAttention(8, 2, batch_first=True)),
        "Linear over several axes": NativeLayer(lambda: nn.Linear(4, 6)),
        "ConvTranspose2d, native": NativeLayer(lambda: nn.ConvTranspose2d(4, 6, 3, 2)),
        "Conv2d depthwise, native": NativeLayer(lambda: nn.Conv2d(4, 12, 3, groups=4)),
    }
