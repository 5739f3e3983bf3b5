"""Gluon's layer table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from mxnet import gluon, initializer
from mxnet.gluon import nn
from mxnet.gluon.contrib import nn as contrib
from mxnet.gluon.nn.basic_layers import _BatchNorm
from mxnet.gluon.nn.conv_layers import _Conv, _Pooling

from multiparam.adapter import (
    At,
    LayerTable,
    LazyShape,
    Row,
    Setting,
    Source,
    each_rank,
    told_kind,
)

from . import recurrent, settings
from .additions import (
    Attention,
    Bilinear,
    Function,
    GroupNorm,
    Identity,
    InstanceNorm,
    Reshape,
    RMSNorm,
    SeparableConv,
    Softmax,
)
from .constants import constants
from .deferred import lazy_shapes
from .layouts import BUFFERS, FILE_ONLY, SOURCES

_LINEAR: Mapping[str, Source] = {"weight": At("weight"), "bias": At("bias")}
_AFFINE = SOURCES["LayerNorm"]
# what Gluon calls its activations
_ACTIVATIONS = {
    "relu": "ReLU",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "softrelu": "Softplus",
    "softsign": "Softsign",
    "log_sigmoid": "LogSigmoid",
    "mish": "Mish",
}
_FUNCTIONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "ReLU6": lambda F, x: F.clip(x, 0, 6),
    "Mish": lambda F, x: x * F.tanh(F.Activation(x, act_type="softrelu")),
}
_TANH_GELU = "GELU, tanh"


def table() -> LayerTable:
    """The rows."""
    return LayerTable([*_dense(), *_spatial(), *_norms(), *_activations(), *recurrent.rows()])


def _dense() -> Iterator[Row]:
    for native in (contrib.Concurrent, contrib.HybridConcurrent):
        yield Row("Concurrent", native, settings=lambda native: {"concat_axis": int(native.axis)})
    for native in (nn.Sequential, nn.HybridSequential):
        yield Row("Sequential", native, builds={"Sequential": _sequential})
    yield Row(
        "Linear",
        nn.Dense,
        _LINEAR,
        settings=settings.of_dense,
        lazy=_lazy(_LINEAR),
        builds={"Linear": _linear, "LazyLinear": partial(_linear, 0)},
    )
    yield Row("Bilinear", Bilinear, builds={"Bilinear": _begun(Bilinear)})
    for native in (nn.Embedding, contrib.SparseEmbedding):
        yield Row("Embedding", native, builds={"Embedding": _embedding} if native is nn.Embedding else {})
    yield Row(
        "MultiheadAttention",
        Attention,
        settings=lambda native: {"num_heads": native.num_heads, "batch_first": bool(native.batch_first)},
        builds={"MultiheadAttention": _begun(Attention)},
    )
    for native in (nn.Lambda, nn.HybridLambda):
        yield Row("Lambda", native, builds={"Lambda": nn.Lambda} if native is nn.Lambda else {})
    yield Row("Dropout", nn.Dropout, builds={"Dropout": lambda p: nn.Dropout(p)})
    for kind, layer in {"Flatten": nn.Flatten, "Identity": Identity}.items():
        yield Row(kind, layer, builds={kind: layer})
    yield Row("Identity", contrib.Identity)
    yield Row(
        "Reshape", Reshape, settings=lambda native: {"shape": str(tuple(native.shape))}, builds={"Reshape": Reshape}
    )


def _spatial() -> Iterator[Row]:
    builds: dict[str, Callable[..., Any]] = {}
    for rank in (1, 2, 3):
        builds[f"Conv{rank}d"] = _build_conv(getattr(nn, f"Conv{rank}D"))
        builds[f"ConvTranspose{rank}d"] = _build_conv(getattr(nn, f"Conv{rank}DTranspose"))
    yield Row(
        _kind_of_conv, _Conv, _conv, settings=settings.of_conv, lazy=lambda native: lazy_shapes(native, _conv(native))
    )
    pools: dict[str, Callable[..., Any]] = {}
    for rank in (1, 2, 3):
        pools[f"MaxPool{rank}d"] = _build_pool(getattr(nn, f"MaxPool{rank}D"))
        pools[f"AvgPool{rank}d"] = _build_pool(getattr(nn, f"AvgPool{rank}D"))
        pools[f"AdaptiveAvgPool{rank}d"] = _build_global_pool(getattr(nn, f"GlobalAvgPool{rank}D"))
    yield Row(_kind_of_pool, _Pooling, settings=settings.of_pool, builds=pools)
    yield Row("ReflectionPad2d", nn.ReflectionPad2D, settings=settings.of_reflection)
    for rank in (1, 2, 3):
        shuffle = getattr(contrib, f"PixelShuffle{rank}D")
        yield Row("PixelShuffle", shuffle, settings=settings.of_shuffle)
    yield Row(
        lambda native: f"SeparableConv{len(native[0]._kwargs['kernel'])}d",
        SeparableConv,
        builds={f"SeparableConv{rank}d": _separable(builds[f"Conv{rank}d"]) for rank in (1, 2)} | builds,
    )


def _norms() -> Iterator[Row]:
    yield Row(
        _ranked,
        _BatchNorm,
        _AFFINE,
        BUFFERS["BatchNorm"],
        file_only=FILE_ONLY["BatchNorm"],
        settings=settings.of_norm,
        lazy=_lazy(_AFFINE),
        builds=each_rank("BatchNorm", _batch_norm, tell=True),
    )
    yield Row(
        told_kind("InstanceNorm"),
        nn.InstanceNorm,
        _AFFINE,
        settings=settings.of_norm,
        lazy=_lazy(_AFFINE),
        builds=each_rank("InstanceNorm", _instance_norm, tell=True),
    )
    yield Row(
        "LayerNorm",
        nn.LayerNorm,
        _AFFINE,
        settings=settings.of_norm,
        lazy=_lazy(_AFFINE),
        builds={"LayerNorm": _layer_norm},
    )
    yield Row("GroupNorm(per group)", nn.GroupNorm, _AFFINE, settings=settings.of_norm, lazy=_lazy(_AFFINE))
    yield Row("GroupNorm", GroupNorm, _AFFINE, settings=_of_own_norm, builds={"GroupNorm": _begun(GroupNorm)})
    yield Row("RMSNorm", RMSNorm, settings=_of_own_norm, builds={"RMSNorm": _begun(RMSNorm)})
    yield Row("PReLU", nn.PReLU, SOURCES["PReLU"], builds={"PReLU": _prelu})


def _activations() -> Iterator[Row]:
    named = {kind: partial(nn.Activation, name) for name, kind in _ACTIVATIONS.items() if kind not in _FUNCTIONS}
    yield Row(
        lambda native: _ACTIVATIONS.get(native._act_type, native._act_type),
        nn.Activation,
        builds={kind: build for kind, build in named.items() if kind in ("ReLU", "Sigmoid", "Tanh", "Softplus")},
    )
    made = {kind: partial(Function, kind, function) for kind, function in _FUNCTIONS.items()}
    yield Row(
        lambda native: "GELU" if native.kind == _TANH_GELU else native.kind,
        Function,
        settings=lambda native: {"approximate": "tanh"} if native.kind == _TANH_GELU else {},
        builds=made | {"GELU": _gelu},
    )
    yield Row("GELU", nn.GELU, settings=lambda native: {"approximate": "none"})
    for kind in ("Softmax", "LogSoftmax"):
        yield Row(
            lambda native: native.kind,
            Softmax,
            settings=lambda native: {"dim": int(native.dim)},
            builds={kind: partial(Softmax, kind=kind)},
        )
    yield Row("SiLU", nn.Swish, settings=_of_swish, builds={"SiLU": nn.Swish})
    yield Row("SELU", nn.SELU, builds={"SELU": nn.SELU})
    yield Row("ELU", nn.ELU, settings=lambda native: {"alpha": float(native._alpha)}, builds={"ELU": nn.ELU})
    yield Row(
        "LeakyReLU",
        nn.LeakyReLU,
        settings=lambda native: {"negative_slope": float(native._alpha)},
        builds={"LeakyReLU": lambda negative_slope: nn.LeakyReLU(negative_slope)},
    )


# --- sources and settings ----------------------------------------------------------------------------------------


def _lazy(sources: Mapping[str, Source]) -> Callable[[Any], dict[str, LazyShape]]:
    def lazy(native: Any) -> dict[str, LazyShape]:
        absent = constants(native)
        return lazy_shapes(native, {role: one for role, one in sources.items() if one.parts[0] not in absent})

    return lazy


def _kind_of_conv(native: _Conv) -> str:
    name = "ConvTranspose" if "adj" in native._kwargs else "Conv"
    return f"{name}{len(native._kwargs['kernel'])}d"


def _conv(native: _Conv) -> dict[str, Source]:
    if not native._kwargs["layout"].endswith("C"):
        return dict(_LINEAR)
    rank = len(native._kwargs["kernel"])  # (O, *k, I), as the images lie
    return {"weight": At("weight", axes=(0, rank + 1, *range(1, rank + 1))), "bias": At("bias")}


def _kind_of_pool(native: _Pooling) -> str:
    options = native._kwargs
    name = {"max": "MaxPool", "avg": "AvgPool"}.get(options["pool_type"], options["pool_type"])
    return f"{'Adaptive' if options['global_pool'] else ''}{name}{len(options['kernel'])}d"


def _of_own_norm(native: Any) -> dict[str, Setting]:
    return {"eps": native.eps} | ({"num_groups": native.num_groups} if isinstance(native, GroupNorm) else {})


def _ranked(native: _BatchNorm) -> str:
    """The kind with its rank, where a builder or the axis of the channels tells it."""
    axis = native._kwargs.get("axis", 1)
    return told_kind(f"BatchNorm{axis - 1}d" if axis in (2, 3, 4) else "BatchNorm")(native)


def _of_swish(native: nn.Swish) -> dict[str, Setting]:
    return {} if native._beta == 1 else {"swish_beta": float(native._beta)}


# --- builders ----------------------------------------------------------------------------------------------------


def _begun(layer: Callable[..., Any]) -> Callable[..., Any]:
    """A builder whose blocks have their first numbers."""

    def build(*arguments: Any, **options: Any) -> Any:
        made = layer(*arguments, **options)
        made.initialize()
        return made

    return build


def _sequential(children: Mapping[str, Any], named: bool) -> gluon.Block:
    hybrid = all(isinstance(child, gluon.HybridBlock) for child in children.values())
    net = nn.HybridSequential() if hybrid else nn.Sequential()
    for name, child in children.items():
        net.register_child(child, name)
    return net


def _linear(in_features: int, out_features: int, bias: bool) -> nn.Dense:
    return _begun(nn.Dense)(out_features, in_units=in_features, use_bias=bias, flatten=False)


def _embedding(num_embeddings: int, embedding_dim: int) -> nn.Embedding:
    return _begun(nn.Embedding)(num_embeddings, embedding_dim)


def _build_conv(layer: type) -> Callable[..., Any]:
    def build(
        in_channels: int,
        out_channels: int,
        kernel_size: tuple[int, ...],
        stride: tuple[int, ...],
        padding: tuple[int, ...],
        dilation: tuple[int, ...],
        groups: int,
        bias: bool,
        **transposed: Any,
    ) -> Any:
        sizes = {"strides": stride, "padding": padding, "dilation": dilation, "groups": groups}
        return _begun(layer)(out_channels, kernel_size, in_channels=in_channels, use_bias=bias, **sizes, **transposed)

    return build


def _separable(conv: Callable[..., Any]) -> Callable[..., SeparableConv]:
    def build(in_channels: int, out_channels: int, depth_multiplier: int, bias: bool, **options: Any) -> SeparableConv:
        wide, rank = in_channels * depth_multiplier, len(options["kernel_size"])
        ones, zeros = (1,) * rank, (0,) * rank
        net = SeparableConv()
        net.register_child(conv(in_channels, wide, groups=in_channels, bias=False, **options), "depthwise")
        net.register_child(conv(wide, out_channels, ones, ones, zeros, ones, 1, bias), "pointwise")
        return net

    return build


def _build_pool(layer: type) -> Callable[..., Any]:
    return lambda kernel_size, stride, padding: layer(kernel_size, stride, padding)


def _build_global_pool(layer: type) -> Callable[..., Any]:
    return lambda output_size: layer()


def _batch_norm(num_features: int, eps: float, momentum: float) -> nn.BatchNorm:
    return _begun(nn.BatchNorm)(momentum=1 - momentum, epsilon=eps, in_channels=num_features)


def _instance_norm(num_features: int, eps: float, affine: bool) -> InstanceNorm:
    return _begun(InstanceNorm)(epsilon=eps, center=affine, scale=affine, in_channels=num_features)


def _layer_norm(normalized_shape: int, eps: float, bias: bool) -> nn.LayerNorm:
    return _begun(nn.LayerNorm)(epsilon=eps, center=bias, in_channels=normalized_shape)


def _prelu(num_parameters: int, init: float) -> nn.PReLU:
    return _begun(nn.PReLU)(initializer.Constant(init), in_channels=num_parameters)


def _gelu(approximate: str) -> Any:
    return nn.GELU() if approximate == "none" else Function(_TANH_GELU, _tanh_gelu)


def _tanh_gelu(F: Any, x: Any) -> Any:
    return 0.5 * x * (1 + F.tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))
