"""Keras's attention and its general linear layer: rows, and an attention that is called as PyTorch's is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras

from multiparam.adapter import Row, Source, einsum_sources

from . import layouts, settings

layers = keras.layers


@keras.saving.register_keras_serializable(package="multiparam")
class Attention(layers.MultiHeadAttention):
    """Attention called as PyTorch's is: query, key, value to the output and the heads' mean weights.

    Args:
        *arguments: as for `keras.layers.MultiHeadAttention`.
        batch_first: inputs and outputs are (batch, time, features), not (time, batch, features).
        **options: as for `keras.layers.MultiHeadAttention`.
    """

    def __init__(self, *arguments: Any, batch_first: bool = False, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.batch_first = batch_first

    def call(self, query: Any, key: Any, value: Any, training: Any = None) -> Any:
        """The output, and the heads' mean weights (batch, query's time, key's time)."""
        if not self.batch_first:
            query, key, value = (keras.ops.swapaxes(one, 0, 1) for one in (query, key, value))
        out, weights = super().call(query, value, key, return_attention_scores=True, training=training)
        weights = keras.ops.mean(weights, 1)
        return (out if self.batch_first else keras.ops.swapaxes(out, 0, 1)), weights

    def compute_output_spec(self, query: Any, key: Any, value: Any, training: Any = None) -> Any:
        """As `call`, for symbolic inputs."""
        batch, queries = query.shape[0 if self.batch_first else 1], query.shape[1 if self.batch_first else 0]
        keys = key.shape[1 if self.batch_first else 0]
        weights = keras.KerasTensor((batch, queries, keys), dtype=self.compute_dtype)
        return keras.KerasTensor(query.shape, dtype=self.compute_dtype), weights

    def get_config(self) -> dict[str, Any]:
        """What makes the same layer again."""
        return {**super().get_config(), "batch_first": self.batch_first}


def rows() -> Iterator[Row]:
    """The rows of attention and of the einsum layer."""
    yield Row(
        lambda native: "MultiheadAttention" if _attention(native) else "MultiHeadAttention over several axes",
        layers.MultiHeadAttention,
        _attention,
        inner={"out_proj": "Linear"},
        settings=settings.of_attention,
        builds={"MultiheadAttention": _build_attention},
    )
    yield Row(
        lambda native: "Linear" if _einsum(native) else "EinsumDense",
        layers.EinsumDense,
        _einsum,
        settings=settings.of_dense,
    )


def _attention(native: Any) -> dict[str, Source]:
    projections = ["_query_dense/", "_key_dense/", "_value_dense/"]
    if native.built and len(native._output_dense.kernel.shape) != 3:
        return {}  # its output has several axes
    shapes = {getattr(native, path[:-1]).kernel.shape for path in projections} if native.built else set()
    return layouts.attention(packed=len(shapes) == 1)


def _einsum(native: Any) -> dict[str, Source]:
    if not native.built:
        return {}
    return einsum_sources(native.equation, "_kernel", 0 if native.bias is None else len(native.bias.shape))


def _build_attention(
    embed_dim: int, num_heads: int, dropout: float, bias: bool, kdim: int, vdim: int, batch_first: bool
) -> Any:
    layer = Attention(
        num_heads,
        embed_dim // num_heads,
        dropout=dropout,
        use_bias=bias,
        output_shape=embed_dim,
        batch_first=batch_first,
    )
    layer.build((None, None, embed_dim), (None, None, vdim), (None, None, kdim))
    return layer
