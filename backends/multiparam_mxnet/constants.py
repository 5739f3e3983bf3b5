"""Gluon parameters that are no parameters of the model: what a layer was told not to have, held at 0 or 1."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mxnet.gluon import nn
from mxnet.gluon.nn.basic_layers import _BatchNorm

__all__ = ["constants"]


def constants(native: Any) -> frozenset[str]:
    """Names of the layer's native tensors that only stand in for nothing.

    One that was given other numbers, or is trained, counts as a parameter: the layer computes with it.
    """
    if isinstance(native, _BatchNorm):  # which ignores its gamma then
        ignored = {"gamma"} if native._kwargs["fix_gamma"] else set()
        return frozenset(ignored | _neutral(native, () if native.beta._differentiable else ("beta",)))
    if isinstance(native, (nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm)):
        told = {"gamma": native._kwargs["scale"], "beta": native._kwargs["center"]}
        return frozenset(_neutral(native, [name for name, there in told.items() if not there]))
    if getattr(native, "without_biases", False):
        return frozenset(_neutral(native, [name for name in native._reg_params if name.endswith("bias")]))
    return frozenset()


def _neutral(native: Any, names: Iterable[str]) -> set[str]:
    return {name for name in names if _is_neutral(native._reg_params[name], 1 if name == "gamma" else 0)}


def _is_neutral(parameter: Any, number: int) -> bool:
    if parameter.grad_req != "null":
        return False
    return parameter._data is None or bool((parameter._data[0].asnumpy() == number).all())
