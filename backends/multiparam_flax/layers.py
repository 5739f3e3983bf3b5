"""Flax NNX's layer table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from flax import nnx

from multiparam.adapter import (
    At,
    Flip,
    Insert,
    LayerTable,
    Row,
    Setting,
    Source,
    Transpose,
    Transposed,
    UnsupportedError,
    each_rank,
    out_in_first,
    pooling,
    told_kind,
)

from . import attention, recurrent, settings, stacks
from .additions import (
    ACTIVATIONS,
    ELU,
    GELU,
    Activation,
    AvgPool,
    Flatten,
    GlobalAvgPool,
    Identity,
    Lambda,
    LazyLinear,
    LeakyReLU,
    LogSoftmax,
    MaxPool,
    NamedSequential,
    Pool,
    Reshape,
    SeparableConv,
    Softmax,
)

_LINEAR = {"weight": Transposed("kernel"), "bias": At("bias")}
_AFFINE = {"weight": At("scale"), "bias": At("bias")}
_STATISTICS = {"running_mean": At("mean"), "running_var": At("var")}
_COUNT = {"num_batches_tracked": np.zeros((), np.int64)}


def table() -> LayerTable:
    """The rows."""
    plain = (Lambda, Flatten, Identity)
    rows = [
        Row("Sequential", nnx.Sequential, builds={"Sequential": _sequential}),
        Row("Sequential", NamedSequential),
        Row("Linear", nnx.Linear, _LINEAR, shapes=stacks.linear, builds={"Linear": _linear}),
        Row("Linear", LazyLinear, _LINEAR, lazy=_lazy_linear, builds={"LazyLinear": _build_lazy_linear}),
        Row(
            "Embedding",
            nnx.Embed,
            {"weight": At("embedding")},
            shapes=stacks.embedding,
            builds={"Embedding": _embedding},
        ),
        Row(
            "LayerNorm",
            nnx.LayerNorm,
            _AFFINE,
            settings=settings.of_norm,
            shapes=stacks.norm,
            builds={"LayerNorm": _layer_norm},
        ),
        Row(
            _ranked("Conv"),
            nnx.Conv,
            _conv,
            settings=settings.of_conv,
            shapes=stacks.convolution,
            builds=each_rank("Conv", _build_conv),
        ),
        Row(
            _ranked("ConvTranspose"),
            nnx.ConvTranspose,
            _conv_transpose,
            settings=settings.of_conv_transpose,
            shapes=stacks.convolution,
            builds=each_rank("ConvTranspose", _build_conv_transpose),
        ),
        *(
            Row(_ranked(pool.__name__), pool, settings=_of_pool, builds=each_rank(pool.__name__, pool))
            for pool in (MaxPool, AvgPool)
        ),
        Row(
            lambda native: native.kind,
            GlobalAvgPool,
            builds={f"AdaptiveAvgPool{rank}d": _build_global_pool(rank) for rank in (1, 2, 3)},
        ),
        Row(
            lambda native: native.kind,
            Activation,
            builds={kind: partial(Activation, kind) for kind in ACTIVATIONS},
        ),
        Row("ELU", ELU, settings=lambda native: {"alpha": native.alpha}, builds={"ELU": ELU}),
        Row(
            lambda native: f"SeparableConv{len(native['depthwise'].kernel_size)}d",
            SeparableConv,
            builds={f"SeparableConv{rank}d": _build_separable for rank in (1, 2)},
        ),
        Row(
            told_kind("BatchNorm"),
            nnx.BatchNorm,
            _AFFINE,
            _STATISTICS,
            file_only=_COUNT,
            settings=settings.of_norm,
            shapes=stacks.norm,
            builds=each_rank("BatchNorm", _build_batch_norm, tell=True),
        ),
        Row(
            "GroupNorm",
            nnx.GroupNorm,
            _AFFINE,
            settings=settings.of_norm,
            shapes=stacks.norm,
            builds={"GroupNorm": _build_group_norm},
        ),
        Row(
            told_kind("InstanceNorm"),
            nnx.InstanceNorm,
            _AFFINE,
            settings=settings.of_norm,
            shapes=stacks.norm,
            builds=each_rank("InstanceNorm", _build_instance_norm, tell=True),
        ),
        Row(
            "RMSNorm",
            nnx.RMSNorm,
            _AFFINE,
            settings=settings.of_norm,
            shapes=stacks.norm,
            builds={"RMSNorm": _build_rms_norm},
        ),
        Row(
            "PReLU",
            nnx.PReLU,
            {"weight": At("negative_slope", Insert(0))},
            shapes=stacks.scalar,
            builds={"PReLU": _build_prelu},
        ),
        Row("Dropout", nnx.Dropout, builds={"Dropout": lambda p: nnx.Dropout(p, rngs=_rngs())}),
        Row(
            "LeakyReLU",
            LeakyReLU,
            settings=lambda native: {"negative_slope": native.negative_slope},
            builds={"LeakyReLU": LeakyReLU},
        ),
        Row("GELU", GELU, settings=lambda native: {"approximate": native.approximate}, builds={"GELU": GELU}),
        *(Row(layer.__name__, layer, builds={layer.__name__: layer}) for layer in plain),
        *attention.rows(),
        *(
            Row(layer.__name__, layer, settings=lambda native: {"dim": int(native.dim)}, builds={layer.__name__: layer})
            for layer in (Softmax, LogSoftmax)
        ),
        Row(
            "Reshape", Reshape, settings=lambda native: {"shape": str(tuple(native.shape))}, builds={"Reshape": Reshape}
        ),
        *recurrent.rows(),
    ]
    return LayerTable(replace(row, settings=settings.common(row)) for row in rows)


def _of_pool(native: Pool) -> dict[str, Setting]:
    return pooling(native.kernel_size, native.stride, native.padding)


def _ranked(name: str) -> Callable[[Any], str]:
    return lambda native: f"{name}{len(native.kernel_size)}d"


def _conv(native: nnx.Conv) -> dict[str, Source]:
    return {"weight": At("kernel", axes=out_in_first(len(native.kernel_size) + 2)), "bias": At("bias")}


def _conv_transpose(native: nnx.ConvTranspose) -> dict[str, Source]:
    rank = len(native.kernel_size)
    if native.transpose_kernel:  # (k, O, I), as the gradient of a convolution has it
        return {"weight": At("kernel", axes=out_in_first(rank + 2)), "bias": At("bias")}
    # (k, I, O), and the kernel of a correlation, back to front of PyTorch's
    axes = Transpose((rank, rank + 1, *range(rank)))
    return {"weight": At("kernel", axes, Flip(tuple(range(2, rank + 2)))), "bias": At("bias")}


def _rngs() -> nnx.Rngs:
    # NNX has no global generator; numpy's makes layers differ, and np.random.seed makes them reproducible
    return nnx.Rngs(int(np.random.randint(2**31)))


def _sequential(children: Mapping[str, Any], named: bool) -> nnx.Module:
    return NamedSequential(children) if named else nnx.Sequential(*children.values())


def _linear(in_features: int, out_features: int, bias: bool) -> nnx.Linear:
    return nnx.Linear(in_features, out_features, use_bias=bias, rngs=_rngs())


def _build_lazy_linear(out_features: int, bias: bool) -> LazyLinear:
    return LazyLinear(out_features, use_bias=bias, rngs=_rngs())


def _lazy_linear(native: LazyLinear) -> dict[str, tuple[int | None, ...]]:
    if native.kernel is not None:
        return {}
    roles: dict[str, tuple[int | None, ...]] = {"weight": (native.out_features, None)}
    return roles | ({"bias": (native.out_features,)} if native.use_bias else {})


def _embedding(num_embeddings: int, embedding_dim: int) -> nnx.Embed:
    return nnx.Embed(num_embeddings, embedding_dim, rngs=_rngs())


def _layer_norm(normalized_shape: int, eps: float, bias: bool) -> nnx.LayerNorm:
    return nnx.LayerNorm(normalized_shape, epsilon=eps, use_bias=bias, rngs=_rngs())


def _build_conv(
    in_channels: int,
    out_channels: int,
    kernel_size: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
    bias: bool,
) -> nnx.Conv:
    return nnx.Conv(
        *(in_channels, out_channels, kernel_size, stride),
        padding=[(one, one) for one in padding],
        kernel_dilation=dilation,
        feature_group_count=groups,
        use_bias=bias,
        rngs=_rngs(),
    )


def _build_conv_transpose(
    in_channels: int,
    out_channels: int,
    kernel_size: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    output_padding: tuple[int, ...],
    groups: int,
    bias: bool,
    dilation: tuple[int, ...],
) -> nnx.ConvTranspose:
    if groups > 1:
        raise UnsupportedError("flax", "building ConvTranspose", "nnx.ConvTranspose has no groups")
    # JAX pads the spread-out input, where PyTorch cuts the output
    sizes = zip(kernel_size, dilation, padding, strict=True)
    around = [gap * (extent - 1) - cut for extent, gap, cut in sizes]
    return nnx.ConvTranspose(
        *(in_channels, out_channels, kernel_size, stride),
        padding=[(one, one + kept) for one, kept in zip(around, output_padding, strict=True)],
        kernel_dilation=dilation,
        transpose_kernel=True,
        use_bias=bias,
        rngs=_rngs(),
    )


def _build_separable(
    in_channels: int, out_channels: int, depth_multiplier: int, bias: bool, **options: Any
) -> SeparableConv:
    wide, rank = in_channels * depth_multiplier, len(options["kernel_size"])
    ones, zeros = (1,) * rank, (0,) * rank
    return SeparableConv(
        {
            "depthwise": _build_conv(in_channels, wide, groups=in_channels, bias=False, **options),
            "pointwise": _build_conv(wide, out_channels, ones, ones, zeros, ones, 1, bias),
        }
    )


def _build_global_pool(rank: int) -> Callable[..., GlobalAvgPool]:
    return lambda output_size: GlobalAvgPool(f"AdaptiveAvgPool{rank}d")


def _build_batch_norm(num_features: int, eps: float, momentum: float) -> nnx.BatchNorm:
    return nnx.BatchNorm(num_features, epsilon=eps, momentum=1 - momentum, rngs=_rngs())


def _build_instance_norm(num_features: int, eps: float, affine: bool) -> nnx.InstanceNorm:
    return nnx.InstanceNorm(num_features, epsilon=eps, use_scale=affine, use_bias=affine, rngs=_rngs())


def _build_group_norm(num_groups: int, num_channels: int, eps: float) -> nnx.GroupNorm:
    return nnx.GroupNorm(num_channels, num_groups=num_groups, epsilon=eps, rngs=_rngs())


def _build_rms_norm(normalized_shape: int, eps: float) -> nnx.RMSNorm:
    return nnx.RMSNorm(normalized_shape, epsilon=eps, rngs=_rngs())


def _build_prelu(num_parameters: int, init: float) -> nnx.PReLU:
    if num_parameters != 1:
        raise UnsupportedError("flax", "building PReLU", "nnx.PReLU has one weight for all channels")
    return nnx.PReLU(negative_slope_init=init)
