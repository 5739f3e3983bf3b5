"""NNX's attention and its general linear layers: rows, and an attention that is called as PyTorch's is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.nnx.nn.attention import dot_product_attention_weights

from multiparam.adapter import (
    ArgumentError,
    Row,
    Setting,
    Source,
    attention_sources,
    axes_of,
    einsum_sources,
    general_sources,
)

from . import settings, stacks


class Attention(nnx.MultiHeadAttention):
    """Attention called as PyTorch's is: query, key, value to the output and the heads' mean weights.

    Args:
        batch_first: inputs and outputs are (batch, time, features), not (time, batch, features).
        **options: as for `nnx.MultiHeadAttention`.
    """

    def __init__(self, *, batch_first: bool, **options: Any) -> None:
        super().__init__(decode=False, **options)
        self.batch_first = batch_first

    def __call__(self, query: Any, key: Any, value: Any) -> Any:
        if not self.batch_first:
            query, key, value = (jnp.swapaxes(one, 0, 1) for one in (query, key, value))
        heads = self.value(value)
        weights = dot_product_attention_weights(
            *(self.query(query), self.key(key)),
            dropout_rate=self.dropout_rate,
            dropout_rng=None if self.deterministic or not self.dropout_rate else self.rngs(),
            deterministic=bool(self.deterministic),
        )
        out = self.out(jnp.einsum("...hqk,...khd->...qhd", weights, heads))
        return out if self.batch_first else jnp.swapaxes(out, 0, 1), weights.mean(-3)


def rows() -> Iterator[Row]:
    """The rows of attention and of linear layers over several axes."""
    yield Row(
        "MultiheadAttention",
        nnx.MultiHeadAttention,
        _attention,
        inner={"out_proj": "Linear"},
        settings=settings.of_attention,
        shapes=stacks.below,
        builds={"MultiheadAttention": _build_attention},
    )
    yield Row(
        lambda native: "Linear" if _general(native) else "LinearGeneral",
        nnx.LinearGeneral,
        _general,
        settings=_of_general,
        shapes=stacks.general,
    )
    yield Row(lambda native: "Linear" if _einsum(native) else "Einsum", nnx.Einsum, _einsum, shapes=stacks.einsum)


def _attention(native: nnx.MultiHeadAttention) -> dict[str, Source]:
    parts = [native.query, native.key, native.value]
    shapes = [tuple(part.kernel.get_value().shape) for part in parts]
    return attention_sources(["query/", "key/", "value/"], "out/", "kernel", packed=len(set(shapes)) == 1)


def _general(native: nnx.LinearGeneral) -> dict[str, Source]:
    if native.batch_axis:
        return {}
    return general_sources("kernel", len(native.in_features), len(native.out_features))


def _of_general(native: nnx.LinearGeneral) -> dict[str, Setting]:
    last = tuple(range(-len(native.axis), 0))
    return {} if tuple(native.axis) == last else {"input_axes": axes_of(native.axis)}


def _einsum(native: nnx.Einsum) -> dict[str, Source]:
    return einsum_sources(native.einsum_str, "kernel", len(native.bias_shape or ()))


def _build_attention(
    embed_dim: int, num_heads: int, dropout: float, bias: bool, kdim: int, vdim: int, batch_first: bool
) -> Attention:
    if kdim != vdim:
        raise ArgumentError("Flax's MultiHeadAttention has one size for keys and values: kdim and vdim must agree")
    return Attention(
        num_heads=num_heads,
        in_features=embed_dim,
        qkv_features=embed_dim,
        in_kv_features=kdim,
        use_bias=bias,
        dropout_rate=dropout,
        batch_first=batch_first,
        rngs=nnx.Rngs(int(np.random.randint(2**31))),
    )
