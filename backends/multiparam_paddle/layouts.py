"""How Paddle's layers keep PyTorch's tensors: data that the layer table and the reader of its files share."""

from __future__ import annotations

from collections.abc import Mapping

from multiparam.adapter import At, Concat, Merge, Source, Transposed

__all__ = ["BUFFERS", "SOURCES", "attention"]

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
