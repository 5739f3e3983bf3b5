"""What Gluon's layers call PyTorch's tensors: data that the layer table and the reader of its files share."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from multiparam.adapter import Array, At, Source

__all__ = ["AFFINE", "BUFFERS", "FAMILIES", "FILE_ONLY", "SOURCES", "cell", "recurrent"]

AFFINE: Mapping[str, Source] = {"weight": At("gamma"), "bias": At("beta")}
SOURCES: Mapping[str, Mapping[str, Source]] = {
    **dict.fromkeys(("BatchNorm", "LayerNorm", "GroupNorm", "InstanceNorm"), AFFINE),
    "PReLU": {"weight": At("alpha")},
}
BUFFERS: Mapping[str, Mapping[str, Source]] = {
    "BatchNorm": {"running_mean": At("running_mean"), "running_var": At("running_var")},
}
# what PyTorch has in files and Gluon does not, with its neutral value
FILE_ONLY: Mapping[str, Mapping[str, Array]] = {"BatchNorm": {"num_batches_tracked": np.zeros((), np.int64)}}
# how Gluon names layers that are given no name, without the number
FAMILIES: Mapping[str, str] = {
    "dense": "Linear",
    "embedding": "Embedding",
    "batchnorm": "BatchNorm",
    "syncbatchnorm": "BatchNorm",
    "layernorm": "LayerNorm",
    "groupnorm": "GroupNorm",
    "instancenorm": "InstanceNorm",
    "prelu": "PReLU",
}
_CELL = {
    "weight_ih": "i2h_weight",
    "weight_hh": "h2h_weight",
    "bias_ih": "i2h_bias",
    "bias_hh": "h2h_bias",
    "weight_hr": "h2r_weight",
}


def cell(path: str = "") -> dict[str, Source]:
    """A cell's tensors, a projection's among them.

    >>> cell("l_cell/")["weight_ih"]
    At('l_cell/i2h_weight')
    """
    return {role: At(path + part) for role, part in _CELL.items()}


def recurrent(layers: int, directions: int) -> dict[str, Source]:
    """A fused layer's tensors.

    >>> recurrent(1, 2)["bias_hh_l0_reverse"]
    At('r0_h2h_bias')
    """
    return {
        f"{role}_l{layer}{end}": source
        for layer in range(layers)
        for way, end in (("l", ""), ("r", "_reverse"))[:directions]
        for role, source in cell(f"{way}{layer}_").items()
    }
