"""How Keras's layers keep PyTorch's tensors: data that the layer table and the reader of Keras's files share."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from multiparam.adapter import (
    Array,
    At,
    Flatten,
    Insert,
    Merge,
    Reorder,
    Source,
    Take,
    Transpose,
    Transposed,
    attention_sources,
    out_in_first,
)

__all__ = [
    "AFFINE",
    "COUNT",
    "EMBEDDING",
    "LINEAR",
    "PRELU",
    "RMS",
    "STATISTICS",
    "attention",
    "cell",
    "conv",
    "conv_transpose",
    "depthwise",
    "separable",
]

LINEAR: Mapping[str, Source] = {"weight": Transposed("_kernel"), "bias": At("bias")}
EMBEDDING: Mapping[str, Source] = {"weight": At("_embeddings")}
AFFINE: Mapping[str, Source] = {"weight": At("gamma"), "bias": At("beta")}
STATISTICS: Mapping[str, Source] = {"running_mean": At("moving_mean"), "running_var": At("moving_variance")}
RMS: Mapping[str, Source] = {"weight": At("scale")}
PRELU: Mapping[str, Source] = {"weight": At("alpha", Flatten())}
# what PyTorch has in files and Keras does not, with its neutral value
COUNT: Mapping[str, Array] = {"num_batches_tracked": np.zeros((), np.int64)}


def conv(rank: int) -> dict[str, Source]:
    """A convolution's tensors.

    >>> conv(2)["weight"]
    At('_kernel', axes=(3, 2, 0, 1))
    """
    return {"weight": At("_kernel", axes=out_in_first(rank + 2)), "bias": At("bias")}


def conv_transpose(rank: int) -> dict[str, Source]:
    """A transposed convolution's tensors."""
    return {"weight": At("kernel", axes=out_in_first(rank + 2)), "bias": At("bias")}


def depthwise(rank: int, kernel: str = "kernel") -> dict[str, Source]:
    """A depthwise convolution's tensors."""
    spatial_first = (rank, rank + 1, *range(rank))
    return {"weight": At(kernel, Transpose(spatial_first), Merge(0), Insert(1)), "bias": At("bias")}


def separable(rank: int) -> dict[str, Source]:
    """The tensors of a depthwise convolution and the pointwise one behind it."""
    return {
        "depthwise.weight": depthwise(rank, "depthwise_kernel")["weight"],
        "pointwise.weight": At("pointwise_kernel", axes=out_in_first(rank + 2)),
        "pointwise.bias": At("bias"),
    }


def attention(*, packed: bool) -> dict[str, Source]:
    """A MultiHeadAttention's tensors; PyTorch packs the three projections where they are of one shape."""
    return attention_sources(
        ["_query_dense/", "_key_dense/", "_value_dense/"], "_output_dense/", "_kernel", packed=packed
    )


def cell(path: str = "", *, gru: bool = False) -> dict[str, Source]:
    """A recurrent cell's tensors; a GRU's is one with `reset_after`.

    >>> list(cell("cell/")), list(cell(gru=True))
    (['weight_ih', 'weight_hh', 'bias_ih'], ['weight_ih', 'weight_hh', 'bias_ih', 'bias_hh'])
    """
    gates = [Reorder((1, 0, 2))] if gru else []  # z, r, h, where PyTorch has r, z, n
    found: dict[str, Source] = {
        "weight_ih": At(f"{path}kernel", Transpose((1, 0)), *gates),
        "weight_hh": At(f"{path}recurrent_kernel", Transpose((1, 0)), *gates),
        "bias_ih": At(f"{path}bias"),
    }
    if gru:
        found["bias_ih"] = At(f"{path}bias", Take(0), *gates)
        found["bias_hh"] = At(f"{path}bias", Take(1), *gates)
    return found
