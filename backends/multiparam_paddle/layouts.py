"""How Paddle's layers keep PyTorch's tensors: data that the layer table and the reader of its files share."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from multiparam.adapter import Array, At, Concat, Merge, Source, Transposed

__all__ = ["BUFFERS", "FAMILIES", "FILE_ONLY", "SOURCES", "attention", "cell"]

_LINEAR: Mapping[str, Source] = {"weight": Transposed("weight"), "bias": At("bias")}


def attention(*, packed: bool = True) -> dict[str, Source]:
    """A MultiHeadAttention's tensors; PyTorch packs the three projections where they are of one shape.

    >>> sorted(attention())
    ['in_proj_bias', 'in_proj_weight', 'out_proj.bias', 'out_proj.weight']
    """
    weights = [Transposed(f"{one}_proj/weight") for one in "qkv"]
    apart: dict[str, Source] = {f"{one}_proj_weight": weight for one, weight in zip("qkv", weights, strict=True)}
    return {
        **({"in_proj_weight": Concat(*weights)} if packed else apart),
        "in_proj_bias": Concat(*(At(f"{one}_proj/bias") for one in "qkv")),
        "out_proj.weight": Transposed("out_proj/weight"),
        "out_proj.bias": At("out_proj/bias"),
    }


def cell(path: str = "", *, projected: bool = False) -> dict[str, Source]:
    """A recurrent cell's tensors.

    >>> cell("0/cell/", projected=True)["weight_hr"]
    At('0/cell/weight_ho', axes=(1, 0))
    """
    plain: dict[str, Source] = {role: At(path + role) for role in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    return {**plain, "weight_hr": Transposed(f"{path}weight_ho")} if projected else plain


SOURCES: Mapping[str, Mapping[str, Source]] = {
    "Linear": _LINEAR,
    "Bilinear": {"weight": At("weight"), "bias": At("bias", Merge(0))},
    "InstanceNorm": {"weight": At("scale"), "bias": At("bias")},
    "PReLU": {"weight": At("_weight")},
    "MultiheadAttention": attention(),
}
BUFFERS: Mapping[str, Mapping[str, Source]] = {
    "BatchNorm": {"running_mean": At("_mean"), "running_var": At("_variance")},
}
# what PyTorch has in files and Paddle does not, with its neutral value
FILE_ONLY: Mapping[str, Mapping[str, Array]] = {"BatchNorm": {"num_batches_tracked": np.zeros((), np.int64)}}

_RANKS = ("1d", "2d", "3d")
# what Paddle calls parameters that are given no name, "linear_0.w_0", without what follows the class
FAMILIES: Mapping[str, str] = {
    **dict.fromkeys(("linear", "fc", "column_parallel_linear", "row_parallel_linear"), "Linear"),
    **dict.fromkeys(("embedding", "vocab_parallel_embedding"), "Embedding"),
    "bilinear": "Bilinear",
    **{f"conv{rank}": f"Conv{rank}" for rank in _RANKS},
    **{f"conv{rank}_transpose": f"ConvTranspose{rank}" for rank in _RANKS},
    **{f"batch_norm{rank}": f"BatchNorm{rank}" for rank in ("", *_RANKS)},
    "sync_batch_norm": "BatchNorm",
    "layer_norm": "LayerNorm",
    "group_norm": "GroupNorm",
    **{f"instance_norm{rank}": f"InstanceNorm{rank}" for rank in ("", *_RANKS)},
    "p_re_lu": "PReLU",
    "simple_rnn_cell": "RNNCell",
    "lstm_cell": "LSTMCell",
    "gru_cell": "GRUCell",
}
