"""Keras's own layers for the cases of the parity table that `multiparam.nn` makes of others, or not at all."""

from __future__ import annotations

from typing import Any

from keras import layers

from multiparam.testing.parity import NativeLayer


def natives() -> dict[str, NativeLayer]:
    """The layers, by case."""
    sequence = (None, None, 4)
    return {
        "LSTM, native": NativeLayer(lambda: _built(layers.LSTM(5, return_sequences=True), sequence)),
        "LSTM, native, both directions": NativeLayer(
            lambda: _built(layers.Bidirectional(layers.LSTM(5, return_sequences=True)), sequence)
        ),
        "GRU, native": NativeLayer(lambda: _built(layers.GRU(5, return_sequences=True), sequence)),
        "GRU, native, without b_hn": NativeLayer(lambda: _built(layers.GRU(5, return_sequences=True), sequence)),
        "RNN, native": NativeLayer(lambda: _built(layers.SimpleRNN(5, return_sequences=True), sequence)),
        "GRU, reset before the product": NativeLayer(
            lambda: _built(layers.GRU(5, reset_after=False, return_sequences=True), sequence)
        ),
        "MultiheadAttention, native": NativeLayer(
            lambda: _built(layers.MultiHeadAttention(2, 4), (None, None, 8), (None, None, 8)),
            inputs=lambda query, key, value: (query, value, key),
        ),
        "Linear over several axes": NativeLayer(
            lambda: _built(
                layers.EinsumDense("abc,cde->abde", output_shape=(None, 2, 3), bias_axes="de"), (None, None, 4)
            ),
            output=lambda y: y.reshape(*y.shape[:-2], 6),
        ),
        "ConvTranspose2d, native": NativeLayer(lambda: _built(layers.Conv2DTranspose(6, 3, 2), (None, None, None, 4))),
        "Conv2d depthwise, native": NativeLayer(
            lambda: _built(layers.DepthwiseConv2D(3, depth_multiplier=3), (None, None, None, 4))
        ),
    }


def _built(layer: Any, *shapes: Any) -> Any:
    layer.build(*shapes)
    return layer
