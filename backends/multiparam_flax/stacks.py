"""The shapes that NNX's layers say their variables have, of one layer where `nnx.vmap` made a stack of several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flax import nnx

from multiparam.adapter import LazyShape


def linear(native: nnx.Linear) -> Mapping[str, LazyShape]:
    """A Linear's."""
    return {"kernel": (native.in_features, native.out_features), "bias": (native.out_features,)}


def general(native: nnx.LinearGeneral) -> Mapping[str, LazyShape]:
    """Those of a Linear over several axes."""
    batch = (None,) * len(native.batch_axis)
    outputs = (*batch, *native.out_features)
    return {"kernel": (*batch, *native.in_features, *native.out_features), "bias": outputs}


def einsum(native: nnx.Einsum) -> Mapping[str, LazyShape]:
    """An Einsum's."""
    return {
        "kernel": tuple(native.kernel_shape),
        "bias": None if native.bias_shape is None else tuple(native.bias_shape),
    }


def embedding(native: nnx.Embed) -> Mapping[str, LazyShape]:
    """An Embed's."""
    return {"embedding": (native.num_embeddings, native.features)}


def convolution(native: Any) -> Mapping[str, LazyShape]:
    """Those of a convolution, transposed or not."""
    return {"kernel": tuple(native.kernel_shape), "bias": (native.out_features,)}


def norm(native: Any) -> Mapping[str, LazyShape]:
    """Those of a norm; statistics are of its features too."""
    groups = getattr(native, "num_groups", None)  # a GroupNorm tells its features by them only
    features = native.num_features if groups is None else groups * native.group_size
    shape = (features,) if isinstance(features, int) else tuple(features)
    return dict.fromkeys(("scale", "bias", "mean", "var"), shape)


def scalar(native: nnx.PReLU) -> Mapping[str, LazyShape]:
    """A PReLU's."""
    return {"negative_slope": ()}


def below(native: Any) -> Mapping[str, LazyShape]:
    """Nothing of its own: what it is made of lies in layers below, which tell."""
    return {}
