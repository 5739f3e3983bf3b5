"""NNX's own layers for the cases of the parity table that `multiparam.nn` makes of others, or not at all."""

from __future__ import annotations

import numpy as np
from flax import nnx

from multiparam.testing.parity import NativeLayer


def natives() -> dict[str, NativeLayer]:
    """The layers, by case."""
    return {
        "LSTM, native": NativeLayer(lambda: nnx.RNN(nnx.LSTMCell(4, 5, rngs=_rngs()))),
        "LSTM, native, both directions": NativeLayer(
            lambda: nnx.Bidirectional(*(nnx.RNN(nnx.OptimizedLSTMCell(4, 5, rngs=_rngs())) for _ in range(2)))
        ),
        "GRU, native": NativeLayer(lambda: nnx.RNN(nnx.GRUCell(4, 5, rngs=_rngs()))),
        "GRU, native, without b_hn": NativeLayer(lambda: nnx.RNN(nnx.GRUCell(4, 5, rngs=_rngs()))),
        "RNN, native": NativeLayer(lambda: nnx.RNN(nnx.SimpleCell(4, 5, rngs=_rngs()))),
        "MultiheadAttention, native": NativeLayer(lambda: nnx.MultiHeadAttention(2, 8, decode=False, rngs=_rngs())),
        "Linear over several axes": NativeLayer(
            lambda: nnx.LinearGeneral(4, (2, 3), rngs=_rngs()), output=lambda y: y.reshape(*y.shape[:-2], 6)
        ),
        "ConvTranspose2d, native": NativeLayer(
            lambda: nnx.ConvTranspose(4, 6, (3, 3), (2, 2), padding="VALID", rngs=_rngs())
        ),
        "Conv2d depthwise, native": NativeLayer(
            lambda: nnx.Conv(4, 12, (3, 3), padding="VALID", feature_group_count=4, rngs=_rngs())
        ),
    }


def _rngs() -> nnx.Rngs:
    return nnx.Rngs(int(np.random.randint(2**31)))
