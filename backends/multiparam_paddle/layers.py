"""Paddle's layer table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from paddle import nn

from multiparam.adapter import (
    At,
    LayerTable,
    Row,
    Setting,
    Source,
    Split,
    convolution,
    pooling,
    transposed_convolution,
)

from . import recurrent
from .additions import Attention, Lambda, LayerNorm, LazyLinear, Reshape, RMSNorm, SeparableConv
from .layouts import BUFFERS, FILE_ONLY, SOURCES, attention

# classes whose names are PyTorch's but for their spelling; those without a rank come as they are
_PLAIN = {
    **{name: getattr(nn, name) for name in ("Identity", "ReLU", "ReLU6", "SELU", "Mish", "Softsign")},
    **{name: getattr(nn, name) for name in ("Tanh", "Hardtanh", "Sigmoid", "Hardsigmoid", "Hardswish", "LogSigmoid")},
    "SiLU": nn.Silu,
    **{f"Dropout{rank}d": getattr(nn, f"Dropout{rank}D") for rank in (2, 3)},
    **{f"ZeroPad{rank}d": getattr(nn, f"ZeroPad{rank}D") for rank in (1, 2, 3)},
    **{f"AdaptiveMaxPool{rank}d": getattr(nn, f"AdaptiveMaxPool{rank}D") for rank in (1, 2, 3)},
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
    yield Row("Embedding", nn.Embedding, settings=_of_embedding, builds={"Embedding": nn.Embedding})
    yield Row(
        "Dropout", nn.Dropout, settings=lambda native: {"dropout_mode": native.mode}, builds={"Dropout": nn.Dropout}
    )
    yield Row(
        "MultiheadAttention",
        nn.MultiHeadAttention,
        _attention,
        inner={"out_proj": "Linear"},
        settings=lambda native: {"num_heads": native.num_heads},
        builds={"MultiheadAttention": _build_attention},
    )
    for kind, layer in {"Lambda": Lambda, "Reshape": Reshape, "Flatten": nn.Flatten}.items():
        yield Row(kind, layer, builds={kind: layer})


def _spatial() -> Iterator[Row]:
    for rank in (1, 2, 3):
        conv, transpose = getattr(nn, f"Conv{rank}D"), getattr(nn, f"Conv{rank}DTranspose")
        yield Row(f"Conv{rank}d", conv, settings=_of_conv, builds={f"Conv{rank}d": _biased(conv)})
        yield Row(
            f"ConvTranspose{rank}d",
            transpose,
            settings=_of_transpose,
            builds={f"ConvTranspose{rank}d": _biased(transpose)},
        )
        largest, mean = getattr(nn, f"MaxPool{rank}D"), getattr(nn, f"AvgPool{rank}D")
        yield Row(f"MaxPool{rank}d", largest, settings=_of_pool(rank), builds={f"MaxPool{rank}d": _pool(largest)})
        yield Row(
            f"AvgPool{rank}d",
            mean,
            settings=_of_pool(rank),
            builds={f"AvgPool{rank}d": _pool(mean, exclusive=False)},  # PyTorch counts the padding too
        )
        whole = getattr(nn, f"AdaptiveAvgPool{rank}D")
        kind = f"AdaptiveAvgPool{rank}d"
        yield Row(kind, whole, settings=_of_adaptive, builds={kind: whole})
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
                settings=_of_norm,
                builds=made,
            )
        if rank:
            native = getattr(nn, f"InstanceNorm{rank.upper()}")
            builds = {f"InstanceNorm{rank}": _instance_norm(native)}
            yield Row(f"InstanceNorm{rank}", native, SOURCES["InstanceNorm"], settings=_of_norm, builds=builds)
    yield Row(
        "LayerNorm",
        nn.LayerNorm,
        _layer_norm,
        same_parts=True,
        settings=_of_norm,
        builds={"LayerNorm": _build_layer_norm},
    )
    yield Row("GroupNorm", nn.GroupNorm, settings=_of_norm, builds={"GroupNorm": _build_group_norm})
    yield Row("RMSNorm", RMSNorm, settings=lambda native: {"eps": native.eps}, builds={"RMSNorm": RMSNorm})
    yield Row("PReLU", nn.PReLU, SOURCES["PReLU"], builds={"PReLU": nn.PReLU})


def _activations() -> Iterator[Row]:
    for kind, layer in _PLAIN.items():
        yield Row(kind, layer, builds={kind: layer})
    yield Row("SiLU", nn.Swish)
    for name in ("Softmax", "LogSoftmax"):
        layer = getattr(nn, name)
        yield Row(name, layer, builds={name: lambda dim, layer=layer: layer(dim)})
    yield Row("GELU", nn.GELU, settings=_of_gelu, builds={"GELU": lambda approximate: nn.GELU(approximate == "tanh")})
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
        settings=lambda native: {"beta": float(native._beta)},
        builds={"Softplus": nn.Softplus},
    )


# --- sources and settings ----------------------------------------------------------------------------------------


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


def _of_norm(native: Any) -> dict[str, Setting]:
    found: dict[str, Setting] = {"eps": native._epsilon}
    if "BatchNorm" in type(native).__name__:  # of the old statistics, where PyTorch's is of the new
        found["momentum"] = round(1 - native._momentum, 12)
    if isinstance(native, nn.GroupNorm):
        found["num_groups"] = native._num_groups
    if getattr(native, "_act", None):
        found["fused_activation"] = native._act
    always = getattr(native, "_use_global_stats", None)
    if always is True or getattr(native, "_trainable_statistics", False):
        found["training_statistics"] = "running"
    if always is False and not isinstance(native, nn.BatchNorm):  # whose False is the others' None
        found["statistics"] = "batch"
    return found


def _of_embedding(native: nn.Embedding) -> dict[str, Setting]:
    return {} if native._padding_idx in (None, -1) else {"zero_index": int(native._padding_idx)}


def _of_gelu(native: nn.GELU) -> dict[str, Setting]:
    return {"approximate": "tanh" if native._approximate else "none"}


def _of_conv(native: Any) -> dict[str, Setting]:
    mode: dict[str, Setting] = {} if native._padding_mode == "zeros" else {"padding_mode": native._padding_mode}
    return convolution(native._kernel_size, native._stride, *_spread(native), native._groups) | mode


def _of_transpose(native: Any) -> dict[str, Setting]:
    around, gaps = _spread(native)
    if around == "same" and set(native._stride) != {1}:
        around = "same by the input's extent"  # where others cut by the output's
    return transposed_convolution(
        native._kernel_size, native._stride, around, gaps, native._groups, native.output_padding
    )


def _spread(native: Any) -> tuple[Any, Any]:
    """Padding and dilation of a convolution; with "same" Paddle forgets the dilation."""
    around = _around(native._padding, len(native._kernel_size), native._data_format)
    return (around, native._dilation) if around != "same" else (around, 1)


def _of_pool(rank: int) -> Callable[[Any], dict[str, Setting]]:
    def settings(native: Any) -> dict[str, Setting]:
        window = getattr(native, "ksize", None) or native.kernel_size
        window = [window] * rank if isinstance(window, int) else window
        around = _around(native.padding, rank, getattr(native, "data_format", ""))
        found = pooling(window, native.stride or window, around)
        if getattr(native, "exclusive", False) and found["padding"] != [0] * rank:
            found["count_include_pad"] = False
        if getattr(native, "divisor", None) is not None:
            found["divisor_override"] = int(native.divisor)
        return found | ({"ceil_mode": True} if native.ceil_mode else {})

    return settings


def _of_adaptive(native: Any) -> dict[str, Setting]:
    size = getattr(native, "_output_size", None) or getattr(native, "output_size", None)
    sizes = set(size) if isinstance(size, Sequence) else {size}
    return {"output_size": sizes.pop() if len(sizes) == 1 else str(tuple(size))}


def _around(padding: Any, rank: int, order: str) -> Any:
    """The padding: a word, or one number or pair an axis."""
    if not isinstance(padding, (list, tuple)):
        return padding.lower() if isinstance(padding, str) else padding
    if len(padding) == 2 * rank and all(isinstance(one, int) for one in padding):
        return list(zip(padding[::2], padding[1::2], strict=True))
    if len(padding) == rank + 2 and all(isinstance(one, (list, tuple)) for one in padding):
        return padding[1:-1] if order.endswith("C") else padding[2:]  # without the batch and the channels
    return padding


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
