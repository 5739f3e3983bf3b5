"""Flax NNX's layer table, and the small modules that NNX itself lacks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
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
    convolution,
    each_rank,
    image_ranks,
    out_in_first,
    pooling,
    told_kind,
    transposed_convolution,
)

from . import attention, recurrent

_LINEAR = {"weight": Transposed("kernel"), "bias": At("bias")}
_AFFINE = {"weight": At("scale"), "bias": At("bias")}
_STATISTICS = {"running_mean": At("mean"), "running_var": At("var")}
_COUNT = {"num_batches_tracked": np.zeros((), np.int64)}


class NamedSequential(nnx.Module):
    """Modules applied one after the other, with names; `nnx.Sequential` knows positions only.

    Args:
        children: the modules by name, in order.
    """

    def __init__(self, children: Mapping[str, Any]) -> None:
        self.names = tuple(children)
        self.layers = nnx.List(children.values())

    def __call__(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)
        return x

    def __getitem__(self, key: int | str) -> Any:
        return self.layers[self.names.index(key) if isinstance(key, str) else key]

    def __len__(self) -> int:
        return len(self.names)


class SeparableConv(NamedSequential):
    """A depthwise convolution, then one across the channels."""


class LazyLinear(nnx.Module):
    """A Linear whose input size is known at the first batch.

    Args:
        out_features: size of the output's last axis.
        use_bias: whether there is a bias.
        rngs: for the parameters' first numbers.
    """

    def __init__(self, out_features: int, *, use_bias: bool = True, rngs: nnx.Rngs) -> None:
        self.out_features = out_features
        self.use_bias = use_bias
        self.kernel: nnx.Param[Any] | None = nnx.data(None)
        self.bias: nnx.Param[Any] | None = nnx.data(None)
        self.seed = int(jax.random.bits(rngs.params()))
        self.when_ready: tuple[Callable[[Any], None], ...] = ()

    def __call__(self, x: Any) -> Any:
        if self.kernel is None:
            made = nnx.Linear(x.shape[-1], self.out_features, use_bias=self.use_bias, rngs=nnx.Rngs(self.seed))
            self.kernel, self.bias = made.kernel, made.bias
        while self.when_ready:
            self.when_ready[0](self)
            self.when_ready = self.when_ready[1:]  # only now: one that fails is due again
        y = x @ self.kernel[...]
        return y if self.bias is None else y + self.bias[...]


class Lambda(nnx.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def __call__(self, x: Any) -> Any:
        return self.function(x)


class GELU(nnx.Module):
    """x Φ(x), or its tanh approximation."""

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = approximate

    def __call__(self, x: Any) -> Any:
        return jax.nn.gelu(x, approximate=self.approximate == "tanh")


class Softmax(nnx.Module):
    """exp(x) divided by its sum along an axis."""

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def __call__(self, x: Any) -> Any:
        return jax.nn.softmax(x, axis=self.dim)


class LogSoftmax(nnx.Module):
    """The logarithm of exp(x) divided by its sum along an axis."""

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def __call__(self, x: Any) -> Any:
        return jax.nn.log_softmax(x, axis=self.dim)


class LeakyReLU(nnx.Module):
    """max(x, 0) + negative_slope · min(x, 0)."""

    def __init__(self, negative_slope: float) -> None:
        self.negative_slope = negative_slope

    def __call__(self, x: Any) -> Any:
        return jax.nn.leaky_relu(x, self.negative_slope)


class ELU(nnx.Module):
    """x above 0, alpha · (exp(x) - 1) below."""

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha

    def __call__(self, x: Any) -> Any:
        return jax.nn.elu(x, self.alpha)


class Activation(nnx.Module):
    """A function of `jax.nn` without settings, as a layer that knows its name.

    Args:
        kind: the canonical kind, `"ReLU"`.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __call__(self, x: Any) -> Any:
        return getattr(jax.nn, ACTIVATIONS[self.kind])(x)


# the functions of jax.nn (and of nnx and linen, which are the same) that are whole layers elsewhere
ACTIVATIONS: Mapping[str, str] = {
    "ReLU": "relu",
    "ReLU6": "relu6",
    "SELU": "selu",
    "SiLU": "silu",
    "Mish": "mish",
    "Softplus": "softplus",
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
    "Softsign": "soft_sign",
    "LogSigmoid": "log_sigmoid",
    "Hardtanh": "hard_tanh",
    "Hardsigmoid": "hard_sigmoid",
    "Hardswish": "hard_swish",
}


class Pool(nnx.Module):
    """Pools each window.

    Args:
        kernel_size: the window's extents.
        stride: its steps.
        padding: what is put around the input on both sides.
    """

    def __init__(self, kernel_size: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...]) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def _around(self) -> list[tuple[int, int]]:
        return [(one, one) for one in self.padding]


class MaxPool(Pool):
    """The largest of each window."""

    def __call__(self, x: Any) -> Any:
        return nnx.max_pool(x, self.kernel_size, self.stride, self._around())


class AvgPool(Pool):
    """The mean of each window."""

    def __call__(self, x: Any) -> Any:
        return nnx.avg_pool(x, self.kernel_size, self.stride, self._around())


class GlobalAvgPool(nnx.Module):
    """The mean of each channel, keeping extents of 1.

    Args:
        kind: the canonical kind, `"AdaptiveAvgPool2d"`.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __call__(self, x: Any) -> Any:
        return x.mean(tuple(range(1, x.ndim - 1)), keepdims=True)


class Flatten(nnx.Module):
    """Everything but the first axis as one, in C, H, W order.

    Attributes:
        channels_last: what comes in is an image with channels last; a Sequential of `multiparam.nn` sees to it.
    """

    def __init__(self) -> None:
        self.channels_last = False

    def __call__(self, x: Any) -> Any:
        x = jnp.moveaxis(x, -1, 1) if self.channels_last else x
        return x.reshape(x.shape[0], math.prod(x.shape[1:]))


class Reshape(nnx.Module):
    """Each sample in another shape, channels first.

    Attributes:
        channels_last: what comes out is an image and the next layer has its channels last, what comes in too if
            `from_images`; a Sequential of `multiparam.nn` sees to both.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.channels_last = False
        self.from_images = False

    def __call__(self, x: Any) -> Any:
        x = jnp.moveaxis(x, -1, 1) if self.from_images else x
        x = x.reshape(x.shape[0], *self.shape)
        return jnp.moveaxis(x, 1, -1) if self.channels_last else x


class Identity(nnx.Module):
    """The input as it is."""

    def __call__(self, x: Any) -> Any:
        return x


def table() -> LayerTable:
    """The rows."""
    plain = (Lambda, Softmax, LogSoftmax, Flatten, Reshape, Identity)
    return LayerTable(
        [
            Row("Sequential", nnx.Sequential, builds={"Sequential": _sequential}),
            Row("Sequential", NamedSequential),
            Row("Linear", nnx.Linear, _LINEAR, builds={"Linear": _linear}),
            Row("Linear", LazyLinear, _LINEAR, lazy=_lazy_linear, builds={"LazyLinear": _build_lazy_linear}),
            Row("Embedding", nnx.Embed, {"weight": At("embedding")}, builds={"Embedding": _embedding}),
            Row(
                "LayerNorm",
                nnx.LayerNorm,
                _AFFINE,
                settings=_norm,
                builds={"LayerNorm": _layer_norm},
            ),
            Row(_ranked("Conv"), nnx.Conv, _conv, settings=_of_conv, builds=each_rank("Conv", _build_conv)),
            Row(
                _ranked("ConvTranspose"),
                nnx.ConvTranspose,
                _conv_transpose,
                settings=_of_conv_transpose,
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
                settings=_norm,
                builds=each_rank("BatchNorm", _build_batch_norm, tell=True),
            ),
            Row("GroupNorm", nnx.GroupNorm, _AFFINE, settings=_norm, builds={"GroupNorm": _build_group_norm}),
            Row(
                told_kind("InstanceNorm"),
                nnx.InstanceNorm,
                _AFFINE,
                settings=_norm,
                builds=each_rank("InstanceNorm", _build_instance_norm, tell=True),
            ),
            Row("RMSNorm", nnx.RMSNorm, _AFFINE, settings=_norm, builds={"RMSNorm": _build_rms_norm}),
            Row("PReLU", nnx.PReLU, {"weight": At("negative_slope", Insert(0))}, builds={"PReLU": _build_prelu}),
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
            *recurrent.rows(),
        ]
    )


def _norm(native: Any) -> dict[str, Setting]:
    momentum = getattr(native, "momentum", None)  # of the old statistics, where PyTorch's is of the new
    groups: dict[str, Setting] = {"num_groups": native.num_groups} if type(native) is nnx.GroupNorm else {}
    return {"eps": native.epsilon} | ({"momentum": round(1 - momentum, 12)} if momentum is not None else {}) | groups


def _of_conv(native: nnx.Conv) -> dict[str, Setting]:
    sizes = (native.kernel_size, native.strides, native.padding, native.kernel_dilation)
    spread = str(native.input_dilation)
    more: dict[str, Setting] = {"input_dilation": spread} if spread.strip("(,) 1") else {}
    return convolution(*sizes, native.feature_group_count) | more


def _of_conv_transpose(native: nnx.ConvTranspose) -> dict[str, Setting]:
    rank = len(native.kernel_size)
    dilation = native.kernel_dilation or 1
    gaps = [dilation] * rank if isinstance(dilation, int) else list(dilation)
    padding, kept = native.padding, [0] * rank
    if not isinstance(padding, (str, int)):
        # JAX pads the spread-out input, where PyTorch cuts the output
        pairs = [(one, one) if isinstance(one, int) else one for one in padding]
        full = [gap * (extent - 1) for gap, extent in zip(gaps, native.kernel_size, strict=True)]
        kept = [after - before for before, after in pairs]
        padding = [whole - before for whole, (before, _) in zip(full, pairs, strict=True)]
    return transposed_convolution(native.kernel_size, native.strides, padding, gaps, output_padding=kept)


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
    _tell_reshapes(list(children.values()))
    _tell_flattens(children.values(), images=False)
    return NamedSequential(children) if named else nnx.Sequential(*children.values())


def _tell_flattens(layers: Iterable[Any], images: bool) -> bool:
    """Tells each Flatten whether images come in; returns whether they do behind the layers."""
    for layer in layers:
        if isinstance(layer, (nnx.Sequential, NamedSequential)):
            images = _tell_flattens(layer.layers, images)
        elif isinstance(layer, Flatten):
            layer.channels_last, images = images, False
        elif isinstance(layer, Reshape):
            layer.from_images, images = images, layer.channels_last
        else:
            images = images or _on_images(layer)
    return images


def _tell_reshapes(layers: list[Any]) -> None:
    """Tells each Reshape whether the next layer that cares takes images."""
    for position, layer in enumerate(layers):
        if isinstance(layer, Reshape):
            following = (_takes_images(one) for one in layers[position + 1 :])
            layer.channels_last = next((takes for takes in following if takes is not None), False)


def _takes_images(layer: Any) -> bool | None:
    """Whether a layer takes images; None if it takes anything."""
    if isinstance(layer, (nnx.Sequential, NamedSequential)):
        return next((takes for one in layer.layers if (takes := _takes_images(one)) is not None), None)
    if _on_images(layer):
        return True
    return False if isinstance(layer, (nnx.Linear, LazyLinear, Reshape, Flatten)) else None


def _on_images(layer: Any) -> bool:
    on_images = (nnx.Conv, nnx.ConvTranspose, nnx.GroupNorm, nnx.InstanceNorm, Pool, GlobalAvgPool)
    return isinstance(layer, on_images) or bool(image_ranks(getattr(layer, "multiparam_kind", "")))


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
