"""Builders of layers with several inputs: attention and the bilinear layer."""

from __future__ import annotations

from typing import Any

from ..errors import ArgumentError
from .build import flag, new, number, sizes

__all__ = ["Bilinear", "MultiheadAttention"]


def MultiheadAttention(
    embed_dim: int,
    num_heads: int,
    dropout: float = 0.0,
    bias: bool = True,
    *,
    kdim: int | None = None,
    vdim: int | None = None,
    batch_first: bool = False,
    backend: str | None = None,
) -> Any:
    """Attention of several heads (Vaswani et al., 2017).

    Called with query, key and value, (time, batch, features) each, it gives the output and the heads' mean weights,
    (batch, query's time, key's time).

    Args:
        embed_dim: features of queries and outputs, a multiple of the heads.
        num_heads: how many heads.
        dropout: of the weights, in training.
        bias: whether the projections have biases.
        kdim: features of the keys; None is embed_dim.
        vdim: features of the values; None is embed_dim. Where all three agree, their projections are one tensor,
            in_proj_weight (3 · embed_dim, embed_dim).
        batch_first: sequences are (batch, time, features).
        backend: whose layer; None is the active backend's.

    Raises:
        ArgumentError: embed_dim is no multiple of num_heads.

    >>> import multiparam as mp
    >>> {name: one.shape for name, one in mp.parameters(mp.nn.MultiheadAttention(8, 2, backend="torch")).items()}
    {'in_proj_weight': (24, 8), 'in_proj_bias': (24,), 'out_proj.weight': (8, 8), 'out_proj.bias': (8,)}
    """
    sizes(embed_dim=embed_dim, num_heads=num_heads)
    keys, values = embed_dim if kdim is None else kdim, embed_dim if vdim is None else vdim
    sizes(kdim=keys, vdim=values)
    if embed_dim % num_heads:
        raise ArgumentError(f"embed_dim={embed_dim} is no multiple of num_heads={num_heads}")
    if not 0 <= number("dropout", dropout) < 1:
        raise ArgumentError(f"dropout is a probability in [0, 1), not {dropout}")
    return new(
        "MultiheadAttention",
        backend,
        embed_dim=embed_dim,
        num_heads=num_heads,
        dropout=float(dropout),
        bias=flag("bias", bias),
        kdim=keys,
        vdim=values,
        batch_first=flag("batch_first", batch_first),
    )


def Bilinear(
    in1_features: int, in2_features: int, out_features: int, bias: bool = True, *, backend: str | None = None
) -> Any:
    """Y = x₁ᵀ W x₂ + b of two inputs, with a weight of shape (out_features, in1_features, in2_features).

    Args:
        in1_features: size of the first input's last axis.
        in2_features: size of the second's.
        out_features: size of the output's.
        bias: whether there is a bias.
        backend: whose layer; None is the active backend's.

    Raises:
        UnsupportedError: the framework has no such layer.
    """
    sizes(in1_features=in1_features, in2_features=in2_features, out_features=out_features)
    arguments = {"in1_features": in1_features, "in2_features": in2_features, "out_features": out_features}
    return new("Bilinear", backend, **arguments, bias=flag("bias", bias))
