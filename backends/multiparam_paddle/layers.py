"""Paddle's layer table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from paddle import nn

from multiparam.adapter import (
    At,
    LayerTable,
    Row,
    Source,
    Split,
)

from . import recurrent, settings
from .additions import Attention, Lambda, LayerNorm, LazyLinear, Reshape, RMSNorm, SeparableConv
from .layouts import BUFFERS, FILE_ONLY, SOURCES, attention

# classes whose names are PyTorch's but for their spelling; those without a rank come as they are
_PLAIN = {
    **{name: getattr(nn, name) for name in ("Identity", "ReLU", "ReLU6", "Mish", "Softsign", "Tanhshrink")},
    **{name: getattr(nn, name) for name in ("Tanh", "Sigmoid", "Hardsigmoid", "Hardswish", "LogSigmoid")},
    "Softmax2d": nn.Softmax2D,
    "SiLU": nn.Silu,
    **{f"Dropout{rank}d": getattr(nn, f"Dropout{rank}D") for rank in (2, 3)},
}
_CONTAINERS = {nn.LayerList: "ModuleList", nn.LayerDict: "ModuleDict"}


def table() -> LayerTable:
    """The rows."""
    return LayerTable([*_dense(), *_spatial(), *_norms(), *_activations(), *recurrent.rows()])


def _dense() -> Iterator[Row]:
    linear = SOURCES["Linear"]
    yield Row("Sequential", nn.Sequential, builds={"Sequential": _sequential})
    for native, kind in _CONTAINERS.items():
        yield Row(kind, native)
    yield Row("Linear", nn.Linear, linear, builds={"Linear": _linear})
    yield Row("Linear", LazyLinear, linear, lazy=_lazy_linear, builds={"LazyLinear": LazyLinear})
    yield Row("Bilinear", nn.Bilinear, SOURCES["Bilinear"], builds={"Bilinear": _bilinear})
    yield Row("Embedding", nn.Embedding, settings=settings.of_embedding, builds={"Embedding": nn.Embedding})
    yield Row(
        "Dropout", nn.Dropout, settings=lambda native: {"dropout_mode": native.mode}, builds={"Dropout": nn.Dropout}
    )
    yield Row(
        "MultiheadAttention",
        nn.MultiHeadAttention,
        _attention,
        inner={"out_proj": "Linear"},
        settings=settings.of_attention,
        builds={"MultiheadAttention": _build_attention},
    )
    yield Row("Lambda", Lambda, builds={"Lambda": Lambda})
    yield Row(
        "Reshape", Reshape, settings=lambda native: {"shape": str(tuple(native.shape))}, builds={"Reshape": Reshape}
    )
    ends = settings.of(start_dim="start_axis", end_dim="stop_axis")
    yield Row("Flatten", nn.Flatten, settings=ends, builds={"Flatten": nn.Flatten})
    yield Row("Unflatten", nn.Unflatten, settings=settings.of(dim="axis", unflattened_size="shape"))


def _spatial() -> Iterator[Row]:
    for rank in (1, 2, 3):
        conv, transpose = getattr(nn, f"Conv{rank}D"), getattr(nn, f"Conv{rank}DTranspose")
        yield Row(f"Conv{rank}d", conv, settings=settings.of_conv, builds={f"Conv{rank}d": _biased(conv)})
        yield Row(
            f"ConvTranspose{rank}d",
            transpose,
            settings=settings.of_transpose,
            builds={f"ConvTranspose{rank}d": _biased(transpose)},
        )
        largest, mean = getattr(nn, f"MaxPool{rank}D"), getattr(nn, f"AvgPool{rank}D")
        yield Row(
            f"MaxPool{rank}d", largest, settings=settings.of_pool(rank), builds={f"MaxPool{rank}d": _pool(largest)}
        )
        yield Row(
            f"AvgPool{rank}d",
            mean,
            settings=settings.of_pool(rank),
            builds={f"AvgPool{rank}d": _pool(mean, exclusive=False)},  # PyTorch counts the padding too
        )
        whole = getattr(nn, f"AdaptiveAvgPool{rank}D")
        kind = f"AdaptiveAvgPool{rank}d"
        yield Row(kind, whole, settings=settings.of_adaptive, builds={kind: whole})
        kind = f"AdaptiveMaxPool{rank}d"
        largest = getattr(nn, f"AdaptiveMaxPool{rank}D")
        yield Row(kind, largest, settings=settings.of_adaptive, builds={kind: largest})
        for name in ("Pad", "ZeroPad", "ConstantPad", "ReflectionPad", "ReplicationPad", "CircularPad"):
            pad, kind = getattr(nn, f"{name}{rank}D"), f"{name}{rank}d"
            builds = {kind: pad} if name == "ZeroPad" else {}
            yield Row(settings.kind_of_pad(rank), pad, settings=settings.of_pad, builds=builds)
    for upsample in (nn.Upsample, nn.UpsamplingBilinear2D, nn.UpsamplingNearest2D):
        yield Row("Upsample", upsample, settings=settings.of_upsample)
    yield Row("PixelShuffle", nn.PixelShuffle, settings=settings.of(upscale_factor="_upscale_factor"))
    yield Row("PixelUnshuffle", nn.PixelUnshuffle, settings=settings.of(downscale_factor="_downscale_factor"))
    yield Row("ChannelShuffle", nn.ChannelShuffle, settings=settings.of(groups="_groups"))
    sizes = settings.of(size="size", alpha="alpha", beta="beta", k="k")
    yield Row("LocalResponseNorm", nn.LocalResponseNorm, settings=sizes)
    yield Row(
        lambda native: f"SeparableConv{len(native['depthwise']._kernel_size)}d",
        SeparableConv,
        builds={f"SeparableConv{rank}d": _separable(getattr(nn, f"Conv{rank}D")) for rank in (1, 2)},
    )


def _norms() -> Iterator[Row]:
    for rank in ("1d", "2d", "3d", ""):
        native = getattr(nn, f"BatchNorm{rank.upper()}")
        builds = {f"BatchNorm{rank}": _batch_norm(native)} if rank else {}
        rows = {native: builds, **({} if rank else {nn.SyncBatchNorm: {}})}
        for layer, made in rows.items():
            yield Row(
                f"BatchNorm{rank}",
                layer,
                buffers=BUFFERS["BatchNorm"],
                file_only=FILE_ONLY["BatchNorm"],
                settings=settings.of_norm,
                builds=made,
            )
        if rank:
            native = getattr(nn, f"InstanceNorm{rank.upper()}")
            builds = {f"InstanceNorm{rank}": _instance_norm(native)}
            yield Row(f"InstanceNorm{rank}", native, SOURCES["InstanceNorm"], settings=settings.of_norm, builds=builds)
    yield Row(
        "LayerNorm",
        nn.LayerNorm,
        _layer_norm,
        settings=settings.of_norm,
        builds={"LayerNorm": _build_layer_norm},
    )
    yield Row("GroupNorm", nn.GroupNorm, settings=settings.of_norm, builds={"GroupNorm": _build_group_norm})
    yield Row("RMSNorm", RMSNorm, settings=lambda native: {"eps": native.eps}, builds={"RMSNorm": RMSNorm})
    yield Row("PReLU", nn.PReLU, SOURCES["PReLU"], builds={"PReLU": nn.PReLU})


def _activations() -> Iterator[Row]:
    for kind, layer in _PLAIN.items():
        yield Row(kind, layer, builds={kind: layer})
    yield Row("SiLU", nn.Swish)
    for name in ("Softmax", "LogSoftmax"):
        layer = getattr(nn, name)
        dim = settings.of(dim="_axis")
        yield Row(name, layer, settings=dim, builds={name: lambda dim, layer=layer: layer(dim)})
    yield Row(
        "GELU", nn.GELU, settings=settings.of_gelu, builds={"GELU": lambda approximate: nn.GELU(approximate == "tanh")}
    )
    yield Row(
        "LeakyReLU",
        nn.LeakyReLU,
        settings=lambda native: {"negative_slope": native._negative_slope},
        builds={"LeakyReLU": nn.LeakyReLU},
    )
    for name in ("ELU", "CELU"):
        layer = getattr(nn, name)
        yield Row(name, layer, settings=lambda native: {"alpha": native._alpha}, builds={name: layer})
    yield Row(
        "Softplus",
        nn.Softplus,
        settings=settings.of(beta="_beta", threshold="_threshold"),
        builds={"Softplus": nn.Softplus},
    )
    yield Row("SELU", nn.SELU, settings=settings.of_selu, builds={"SELU": nn.SELU})
    yield Row(
        "Hardtanh", nn.Hardtanh, settings=settings.of(min_val="_min", max_val="_max"), builds={"Hardtanh": nn.Hardtanh}
    )
    for name in ("Hardshrink", "Softshrink"):
        yield Row(name, getattr(nn, name), settings=settings.of(lambd="_threshold"))
    yield Row("Threshold", nn.ThresholdedReLU, settings=settings.of(threshold="_threshold", value="_value"))
    yield Row("RReLU", nn.RReLU, settings=settings.of(lower="_lower", upper="_upper"))
    yield Row("GLU", nn.GLU, settings=settings.of(dim="_axis"))


# --- sources ------------------------------------------------------------------------------------------------------


def _attention(native: nn.MultiHeadAttention) -> dict[str, Source]:
    return attention(packed=native.kdim == native.vdim == native.embed_dim)


def _layer_norm(native: nn.LayerNorm) -> dict[str, Source]:
    extents = tuple(native._normalized_shape)
    steps = [Split(0, extents)] if len(extents) > 1 else []
    return {role: At(role, *steps) for role in ("weight", "bias")}


def _lazy_linear(native: LazyLinear) -> dict[str, tuple[int | None, ...]]:
    if native.weight is not None:
        return {}
    roles: dict[str, tuple[int | None, ...]] = {"weight": (native.out_features, None)}
    return roles | ({"bias": (native.out_features,)} if native.with_bias else {})


# --- builders ----------------------------------------------------------------------------------------------------


def _sequential(children: Mapping[str, Any], named: bool) -> nn.Sequential:
    return nn.Sequential(*children.items())


def _with(bias: bool) -> bool | None:
    """The bias_attr that stands for a bias or none."""
    return None if bias else False


def _linear(in_features: int, out_features: int, bias: bool) -> nn.Linear:
    return nn.Linear(in_features, out_features, bias_attr=_with(bias))


def _bilinear(in1_features: int, in2_features: int, out_features: int, bias: bool) -> nn.Bilinear:
    return nn.Bilinear(in1_features, in2_features, out_features, bias_attr=_with(bias))


def _biased(layer: type) -> Callable[..., Any]:
    def build(bias: bool, **sizes: Any) -> Any:
        given = {name: list(size) if isinstance(size, tuple) else size for name, size in sizes.items()}
        return layer(**given, bias_attr=_with(bias))

    return build


def _separable(layer: type) -> Callable[..., SeparableConv]:
    conv = _biased(layer)

    def build(in_channels: int, out_channels: int, depth_multiplier: int, bias: bool, **sizes: Any) -> SeparableConv:
        wide = in_channels * depth_multiplier
        depthwise = conv(in_channels=in_channels, out_channels=wide, groups=in_channels, bias=False, **sizes)
        pointwise = conv(in_channels=wide, out_channels=out_channels, kernel_size=1, bias=bias)
        return SeparableConv(("depthwise", depthwise), ("pointwise", pointwise))

    return build


def _pool(layer: type, **options: Any) -> Callable[..., Any]:
    def build(kernel_size: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...]) -> Any:
        return layer(list(kernel_size), list(stride), list(padding), **options)

    return build


def _batch_norm(layer: type) -> Callable[..., Any]:
    return lambda num_features, eps, momentum: layer(num_features, momentum=1 - momentum, epsilon=eps)


def _instance_norm(layer: type) -> Callable[..., Any]:
    def build(num_features: int, eps: float, affine: bool) -> Any:
        return layer(num_features, epsilon=eps, weight_attr=_with(affine), bias_attr=_with(affine))

    return build


def _build_layer_norm(normalized_shape: int, eps: float, bias: bool) -> LayerNorm:
    return LayerNorm(normalized_shape, epsilon=eps, bias_attr=_with(bias))


def _build_group_norm(num_groups: int, num_channels: int, eps: float) -> nn.GroupNorm:
    return nn.GroupNorm(num_groups, num_channels, epsilon=eps)


def _build_attention(
    embed_dim: int, num_heads: int, dropout: float, bias: bool, kdim: int, vdim: int, batch_first: bool
) -> Attention:
    options = {"dropout": dropout, "kdim": kdim, "vdim": vdim, "bias_attr": _with(bias)}
    return Attention(embed_dim=embed_dim, num_heads=num_heads, batch_first=batch_first, **options)
