"""Gluon's own layers for the cases of the parity table that `multiparam.nn` does not build in every framework."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mxnet.gluon import nn, rnn

from multiparam.testing.parity import NativeLayer


def natives() -> dict[str, NativeLayer]:
    """The layers, by case."""
    return {
        "LSTM, native": NativeLayer(lambda: _made(rnn.LSTM(5, layout="NTC", input_size=4))),
        "LSTM, native, both directions": NativeLayer(
            lambda: _made(rnn.LSTM(5, layout="NTC", bidirectional=True, input_size=4))
        ),
        "GRU, native": NativeLayer(lambda: _made(rnn.GRU(5, layout="NTC", input_size=4))),
        "GRU, native, without b_hn": NativeLayer(lambda: _made(rnn.GRU(5, layout="NTC", input_size=4))),
        "GRU, reset before the product": NativeLayer(lambda: _made(rnn.GRU(5, layout="NTC", input_size=4))),
        "RNN, native": NativeLayer(lambda: _made(rnn.RNN(5, activation="tanh", layout="NTC", input_size=4))),
        "Linear over several axes": NativeLayer(lambda: _made(nn.Dense(6, in_units=4, flatten=False))),
        "ConvTranspose2d, native": NativeLayer(lambda: _made(nn.Conv2DTranspose(6, 3, 2, in_channels=4))),
        "Conv2d depthwise, native": NativeLayer(lambda: _made(nn.Conv2D(12, 3, groups=4, in_channels=4))),
    }


def _made(layer: Any) -> Any:
    layer.initialize()
    return layer


def save(layer: Any, path: Path) -> None:
    """Writes a layer's parameters as Gluon does."""
    layer.save_parameters(str(path))
