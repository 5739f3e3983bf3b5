"""Keras's layer table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import keras

from multiparam.adapter import (
    LayerTable,
    LazyShape,
    Row,
    Setting,
    each_rank,
    told_kind,
)

from . import attention, layouts, recurrent, settings, spatial
from .additions import GELU, LogSoftmax, NamedSequential
from .functions import Function

# what an Activation layer is, canonically, by its function's name
ACTIVATIONS = {
    "relu": "ReLU",
    "relu6": "ReLU6",
    "elu": "ELU",
    "selu": "SELU",
    "silu": "SiLU",
    "mish": "Mish",
    "gelu": "GELU",
    "leaky_relu": "LeakyReLU",
    "celu": "CELU",
    "softplus": "Softplus",
    "softsign": "Softsign",
    "tanh": "Tanh",
    "hard_tanh": "Hardtanh",
    "sigmoid": "Sigmoid",
    "hard_sigmoid": "Hardsigmoid",
    "hard_silu": "Hardswish",
    "log_sigmoid": "LogSigmoid",
    "softmax": "Softmax",
    "log_softmax": "LogSoftmax",
    "linear": "Identity",
    "tanh_shrink": "Tanhshrink",
    "hard_shrink": "Hardshrink",
    "soft_shrink": "Softshrink",
}
_PLAIN = ("ReLU6", "SELU", "SiLU", "Mish", "Softplus", "Tanh", "Sigmoid")


def table() -> LayerTable:
    """The rows."""
    layers = keras.layers
    rows = [
        Row("Sequential", keras.Sequential, builds={"Sequential": _sequential}),
        Row(
            "Linear",
            layers.Dense,
            layouts.LINEAR,
            lazy=_lazy_dense,
            settings=settings.of_dense,
            builds={"Linear": _linear, "LazyLinear": _lazy_linear},
        ),
        Row(
            "Embedding",
            layers.Embedding,
            layouts.EMBEDDING,
            settings=settings.of_embedding,
            lazy=_lazy_embedding,
            builds={"Embedding": _embedding},
        ),
        *_convolutions(),
        *_norms(),
        *recurrent.rows(),
        *attention.rows(),
        Row(
            "PReLU",
            layers.PReLU,
            layouts.PRELU,
            builds={"PReLU": _prelu},
            lazy=lambda native: _lazy(native, {"weight": (None,)}),
        ),
        Row("Lambda", layers.Lambda, builds={"Lambda": _lambda}),
        Row(_relu, layers.ReLU, settings=_of_relu, builds={"ReLU": layers.ReLU}),
        Row("GELU", GELU, settings=lambda native: {"approximate": native.approximate}, builds={"GELU": GELU}),
        Row(
            "LeakyReLU",
            layers.LeakyReLU,
            settings=lambda native: {"negative_slope": float(native.negative_slope)},
            builds={"LeakyReLU": layers.LeakyReLU},
        ),
        Row(
            "ELU",
            layers.ELU,
            settings=lambda native: {"alpha": float(native.alpha)},
            builds={"ELU": layers.ELU},
        ),
        Row(
            "LogSoftmax",
            LogSoftmax,
            settings=lambda native: settings.of_dim(native, native.dim),
            builds={"LogSoftmax": LogSoftmax},
        ),
        Row("Reshape", layers.Reshape, settings=_of_reshape, builds={"Reshape": spatial.ImageReshape}),
        Row(
            "Softmax",
            layers.Softmax,
            settings=lambda native: settings.of_dim(native, native.axis),
            builds={"Softmax": lambda dim: layers.Softmax(axis=dim)},
        ),
        Row("Flatten", layers.Flatten, builds={"Flatten": spatial.ImageFlatten}),
        Row("Dropout", layers.Dropout, builds={"Dropout": lambda p: layers.Dropout(p)}),
        Row("Identity", layers.Identity, builds={"Identity": layers.Identity}),
        Row(
            "Activation",
            layers.Activation,
            settings=settings.of_activation,
            builds={kind: partial(layers.Activation, name) for name, kind in ACTIVATIONS.items() if kind in _PLAIN},
        ),
    ]
    return LayerTable(replace(row, settings=settings.common(row)) for row in rows)


def _convolutions() -> Iterator[Row]:
    for rank in (1, 2, 3):
        yield Row(
            f"Conv{rank}d",
            getattr(keras.layers, f"Conv{rank}D"),
            layouts.conv(rank),
            settings=settings.of_conv,
            lazy=_lazy_conv,
            builds={f"Conv{rank}d": spatial.conv},
        )
        yield Row(
            f"ConvTranspose{rank}d",
            getattr(keras.layers, f"Conv{rank}DTranspose"),
            layouts.conv_transpose(rank),
            settings=settings.of_conv_transpose,
            lazy=_lazy_conv_transpose,
            builds={f"ConvTranspose{rank}d": spatial.conv_transpose},
        )
        for name, native in (("MaxPool", "MaxPooling"), ("AvgPool", "AveragePooling")):
            kind = f"{name}{rank}d"
            builds = {kind: partial(spatial.pool, native)}
            yield Row(kind, getattr(keras.layers, f"{native}{rank}D"), settings=settings.of_pool, builds=builds)
        for name, native in (("AdaptiveAvgPool", "GlobalAveragePooling"), ("AdaptiveMaxPool", "GlobalMaxPooling")):
            kind, pool = f"{name}{rank}d", getattr(keras.layers, f"{native}{rank}D")
            builds = {kind: partial(spatial.global_pool, pool)} if name == "AdaptiveAvgPool" else {}
            yield Row(kind, pool, settings=lambda native: {"keepdims": bool(native.keepdims)}, builds=builds)
        yield Row(f"Dropout{rank}d", getattr(keras.layers, f"SpatialDropout{rank}D"))
        yield Row(f"ZeroPad{rank}d", getattr(keras.layers, f"ZeroPadding{rank}D"), settings=settings.of_zero_pad)
        yield Row("Upsample", getattr(keras.layers, f"UpSampling{rank}D"), settings=settings.of_upsampling)
    for rank in (1, 2):
        yield Row(
            f"Conv{rank}d",
            getattr(keras.layers, f"DepthwiseConv{rank}D"),
            layouts.depthwise(rank),
            settings=settings.of_depthwise,
            lazy=_lazy_depthwise,
        )
        yield _separable(rank)


def _separable(rank: int) -> Row:
    kind = f"SeparableConv{rank}d"
    return Row(
        kind,
        getattr(keras.layers, f"SeparableConv{rank}D"),
        layouts.separable(rank),
        inner={"depthwise": f"Conv{rank}d", "pointwise": f"Conv{rank}d"},
        settings=settings.of_separable,
        lazy=_lazy_separable,
        builds={kind: spatial.separable_conv},
    )


def _norms() -> Iterator[Row]:
    layers = keras.layers
    yield Row(
        told_kind("BatchNorm"),
        layers.BatchNormalization,
        layouts.AFFINE,
        layouts.STATISTICS,
        file_only=layouts.COUNT,
        settings=_of_image_norm,
        lazy=_lazy_norm,
        builds=each_rank("BatchNorm", _batch_norm, tell=True),
    )
    yield Row(
        _group_norm,
        layers.GroupNormalization,
        layouts.AFFINE,
        settings=_of_image_norm,
        lazy=_lazy_norm,
        builds={"GroupNorm": _build_group_norm, **each_rank("InstanceNorm", _instance_norm, tell=True)},
    )
    yield Row(
        "RMSNorm",
        layers.RMSNormalization,
        layouts.RMS,
        settings=_of_feature_norm,
        lazy=lambda native: _lazy(native, {"weight": (None,)}),
        builds={"RMSNorm": _rms_norm},
    )
    yield Row(
        "LayerNorm",
        layers.LayerNormalization,
        layouts.AFFINE,
        settings=_of_feature_norm,
        lazy=_lazy_norm,
        builds={"LayerNorm": _layer_norm},
    )


def _of_image_norm(native: Any) -> dict[str, Setting]:
    found = settings.of_norm(native) | settings.of_axis(native)
    if isinstance(native, keras.layers.GroupNormalization) and _group_norm(native) == "GroupNorm":
        found["num_groups"] = native.groups
    return found


def _of_feature_norm(native: Any) -> dict[str, Setting]:
    return settings.of_norm(native) | settings.of_axes(native)


def _relu(native: Any) -> str:
    if native.max_value == 6 and not native.negative_slope and not native.threshold:
        return "ReLU6"
    return "LeakyReLU" if native.negative_slope and native.max_value is None and not native.threshold else "ReLU"


def _of_relu(native: Any) -> dict[str, Setting]:
    if _relu(native) == "LeakyReLU":
        return {"negative_slope": float(native.negative_slope)}
    plain = _relu(native) == "ReLU6" or (native.max_value is None and not native.threshold)
    return {} if plain else settings.of_relu(native)


def _of_reshape(native: Any) -> dict[str, Setting]:
    # which order of axes one of Keras's own is meant for is not known
    name = "shape" if isinstance(native, spatial.ImageReshape) else "target_shape"
    return {name: str(tuple(native.target_shape))}


def _group_norm(native: Any) -> str:
    # once built, -1 group has become as many groups as channels
    return getattr(native, "multiparam_kind", "InstanceNorm" if native.groups == -1 else "GroupNorm")


def _sequential(children: Mapping[str, Any], named: bool) -> keras.Sequential:
    return NamedSequential(children) if named else keras.Sequential(list(children.values()))


def _lambda(function: Callable[..., Any]) -> Any:
    # the tensors of the other engines have numpy's methods themselves
    return Function(function) if keras.backend.backend() == "tensorflow" else keras.layers.Lambda(function)


def _batch_norm(num_features: int, eps: float, momentum: float) -> Any:
    layer = keras.layers.BatchNormalization(momentum=1 - momentum, epsilon=eps)
    return spatial.for_any_rank(layer, num_features)


def _instance_norm(num_features: int, eps: float, affine: bool) -> Any:
    layer = keras.layers.GroupNormalization(-1, epsilon=eps, center=affine, scale=affine)
    return spatial.for_any_rank(layer, num_features)


def _build_group_norm(num_groups: int, num_channels: int, eps: float) -> Any:
    return spatial.for_any_rank(keras.layers.GroupNormalization(num_groups, epsilon=eps), num_channels)


def _rms_norm(normalized_shape: int, eps: float) -> Any:
    return _built(keras.layers.RMSNormalization(epsilon=eps), None, normalized_shape)


def _prelu(num_parameters: int, init: float) -> Any:
    layer = keras.layers.PReLU(alpha_initializer=keras.initializers.Constant(init))
    return spatial.for_any_rank(layer, num_parameters)


def _built(layer: Any, *shape: int | None) -> Any:
    layer.build(shape)
    return layer


def _linear(in_features: int, out_features: int, bias: bool) -> Any:
    return _built(keras.layers.Dense(out_features, use_bias=bias), None, in_features)


def _lazy_linear(out_features: int, bias: bool) -> Any:
    return keras.layers.Dense(out_features, use_bias=bias)


def _embedding(num_embeddings: int, embedding_dim: int) -> Any:
    return _built(keras.layers.Embedding(num_embeddings, embedding_dim), None)


def _layer_norm(normalized_shape: int, eps: float, bias: bool) -> Any:
    return _built(keras.layers.LayerNormalization(epsilon=eps, center=bias), None, normalized_shape)


def _lazy(native: Any, roles: Mapping[str, LazyShape]) -> Mapping[str, LazyShape]:
    return {} if native.built else roles


def _lazy_conv(native: Any) -> Mapping[str, LazyShape]:
    return _with_bias(native, (native.filters, None, *native.kernel_size), native.filters)


def _lazy_conv_transpose(native: Any) -> Mapping[str, LazyShape]:
    return _with_bias(native, (None, native.filters, *native.kernel_size), native.filters)


def _lazy_separable(native: Any) -> Mapping[str, LazyShape]:
    roles: dict[str, LazyShape] = {
        "depthwise.weight": (None, 1, *native.kernel_size),
        "pointwise.weight": (native.filters, None, *(1,) * native.rank),
    }
    return _lazy(native, {**roles, **({"pointwise.bias": (native.filters,)} if native.use_bias else {})})


def _lazy_depthwise(native: Any) -> Mapping[str, LazyShape]:
    return _with_bias(native, (None, 1, *native.kernel_size), None)


def _with_bias(native: Any, weight: LazyShape, outputs: int | None) -> Mapping[str, LazyShape]:
    return _lazy(native, {"weight": weight, **({"bias": (outputs,)} if native.use_bias else {})})


def _lazy_dense(native: Any) -> Mapping[str, LazyShape]:
    return _with_bias(native, (native.units, None), native.units)


def _lazy_embedding(native: Any) -> Mapping[str, LazyShape]:
    return _lazy(native, {"weight": (native.input_dim, native.output_dim)})


def _lazy_norm(native: Any) -> Mapping[str, LazyShape]:
    roles: dict[str, LazyShape] = {}
    if native.scale:
        roles["weight"] = (None,)
    if native.center:
        roles["bias"] = (None,)
    return _lazy(native, roles)
