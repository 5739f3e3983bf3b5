"""Linen's own layers for the cases of the parity table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from multiparam.testing.parity import NativeLayer

from .model import Linen


def natives() -> dict[str, NativeLayer]:
    """The layers, by case."""
    flat, sequence = (3, 4), (3, 7, 4)
    attention = ((3, 5, 8), (3, 6, 8), (3, 6, 8))
    return {
        "Linear": _of(nn.Dense(8), flat),
        "Linear, no bias": _of(nn.Dense(8, use_bias=False), flat),
        "Embedding": NativeLayer(lambda: _model(nn.Embed(7, 4), np.zeros((1, 1), np.int32))),
        **dict(_convolutions()),
        **dict(_norms()),
        "MultiheadAttention": NativeLayer(
            lambda: _model(nn.MultiHeadDotProductAttention(2), *map(np.zeros, attention)),
            inputs=lambda *each: tuple(np.swapaxes(one, 0, 1) for one in each),
            output=lambda y: np.swapaxes(y, 0, 1),
        ),
        "LSTM, native": _of(nn.RNN(nn.LSTMCell(5)), sequence),
        "LSTM, native, both directions": _of(
            nn.Bidirectional(nn.RNN(nn.OptimizedLSTMCell(5)), nn.RNN(nn.OptimizedLSTMCell(5))), sequence
        ),
        "GRU, native": _of(nn.RNN(nn.GRUCell(5)), sequence),
        "GRU, native, without b_hn": _of(nn.RNN(nn.GRUCell(5)), sequence),
        "RNN, native": _of(nn.RNN(nn.SimpleCell(5)), sequence),
        "MultiheadAttention, native": NativeLayer(
            lambda: _model(nn.MultiHeadDotProductAttention(2), *map(np.zeros, attention))
        ),
        "Linear over several axes": NativeLayer(
            lambda: _model(nn.DenseGeneral((2, 3)), np.zeros((3, 5, 4))), output=lambda y: y.reshape(*y.shape[:-2], 6)
        ),
        "ConvTranspose2d, native": _of(nn.ConvTranspose(6, (3, 3), (2, 2), padding="VALID"), (2, 5, 6, 4)),
        "Conv2d depthwise, native": _of(nn.Conv(12, (3, 3), padding="VALID", feature_group_count=4), (2, 9, 9, 4)),
    }


def _convolutions() -> Iterator[tuple[str, NativeLayer]]:
    images = {1: (2, 9, 4), 2: (2, 9, 8, 4), 3: (2, 6, 7, 5, 4)}
    for rank, shape in images.items():
        three, kind = (3,) * rank, f"Conv{rank}d"
        yield kind, _of(nn.Conv(8, three, padding=1), shape)
        yield f"{kind}, strided, no bias", _of(nn.Conv(8, three, 2, padding="VALID", use_bias=False), shape)
        yield f"{kind}, dilated", _of(nn.Conv(8, (2,) * rank, padding="VALID", kernel_dilation=2), shape)
        yield f"{kind}, grouped", _of(nn.Conv(8, three, padding="VALID", feature_group_count=2), shape)
        yield f"{kind}, depthwise", _of(nn.Conv(12, three, padding="VALID", feature_group_count=4), shape)
        cut = nn.ConvTranspose(6, three, (2,) * rank, padding=[(1, 2)] * rank, transpose_kernel=True)
        yield f"ConvTranspose{rank}d", _of(cut, shape)


def _norms() -> Iterator[tuple[str, NativeLayer]]:
    images = {1: (3, 9, 4), 2: (3, 9, 8, 4), 3: (3, 6, 7, 5, 4)}
    for rank, shape in images.items():
        norm = nn.BatchNorm(use_running_average=True, epsilon=1e-5, momentum=0.9)
        yield f"BatchNorm{rank}d", _of(norm, shape)
        yield f"InstanceNorm{rank}d", _of(nn.InstanceNorm(epsilon=1e-5), shape)
    yield "GroupNorm", _of(nn.GroupNorm(2, epsilon=1e-5), images[2])
    yield "LayerNorm", _of(nn.LayerNorm(epsilon=1e-5), (3, 5, 8))
    yield "RMSNorm", _of(nn.RMSNorm(epsilon=2.0**-23), (3, 5, 8))
    yield "PReLU", _of(nn.PReLU(), images[2])


def _of(module: Any, *shapes: tuple[int, ...]) -> NativeLayer:
    return NativeLayer(lambda: _model(module, *map(np.zeros, shapes)))


def _model(module: Any, *sample: Any) -> Linen:
    arrays = [np.asarray(one, np.float32) if one.dtype == np.float64 else one for one in sample]
    key = jax.random.key(int(np.random.randint(2**31)))
    return Linen(module, module.init(key, *arrays), *arrays)
