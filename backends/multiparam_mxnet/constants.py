"""Gluon parameters that are no parameters of the model: what a layer was told not to have, held at 0 or 1."""

from __future__ import annotations

from typing import Any

from mxnet.gluon import nn
from mxnet.gluon.nn.basic_layers import _BatchNorm

__all__ = ["constants"]


def constants(native: Any) -> frozenset[str]:
    """Names of the layer's native tensors that only stand in for nothing."""
    if isinstance(native, _BatchNorm):
        scale, center = not native._kwargs["fix_gamma"], native.beta._differentiable
    elif isinstance(native, (nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm)):
        scale, center = native._kwargs["scale"], native._kwargs["center"]
    elif getattr(native, "without_biases", False):
        return frozenset(name for name in native._reg_params if name.endswith("bias"))
    else:
        return frozenset()
    return frozenset(name for name, held in (("gamma", not scale), ("beta", not center)) if held)
