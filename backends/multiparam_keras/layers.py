"""Keras's layer table, and the small layers that Keras itself lacks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import keras
import numpy as np

from multiparam.adapter import (
    At,
    Flatten,
    Insert,
    LayerTable,
    LazyShape,
    Merge,
    Row,
    Setting,
    Transpose,
    Transposed,
    each_rank,
    image_ranks,
    out_in_first,
    told_kind,
)

from . import spatial

# what an Activation layer is, canonically, by its function's name
ACTIVATIONS = {"relu": "ReLU", "tanh": "Tanh", "sigmoid": "Sigmoid", "softmax": "Softmax", "linear": "Identity"}


_ON_IMAGES = (
    keras.layers.GroupNormalization,
    *(
        getattr(keras.layers, name.format(rank))
        for name in ("Conv{}D", "Conv{}DTranspose", "MaxPooling{}D", "AveragePooling{}D")
        for rank in (1, 2, 3)
    ),
)

_AFFINE = {"weight": At("gamma"), "bias": At("beta")}


@keras.saving.register_keras_serializable(package="multiparam")
class NamedSequential(keras.Sequential):
    """A Sequential whose children have names, whatever the layers themselves are called.

    Args:
        children: the layers by name, in order.
        **options: as for `keras.Sequential`.
    """

    def __init__(self, children: Mapping[str, Any] | None = None, **options: Any) -> None:
        super().__init__(list((children or {}).values()), **options)
        self._child_names = list(children or {})

    def child_names(self) -> list[str]:
        """The names; layers added later have their positions."""
        return [*self._child_names, *map(str, range(len(self._child_names), len(self.layers)))]

    def __getitem__(self, key: int | str) -> Any:
        return self.layers[self.child_names().index(key) if isinstance(key, str) else key]

    def get_config(self) -> dict[str, Any]:
        """What makes the same model again."""
        return {**super().get_config(), "child_names": list(self._child_names)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """The model of a configuration."""
        rest = dict(config)
        names = rest.pop("child_names")
        model = super().from_config(rest, custom_objects)
        model._child_names = names
        return model


@keras.saving.register_keras_serializable(package="multiparam")
class GELU(keras.layers.Layer):
    """x Φ(x), or its tanh approximation."""

    def __init__(self, approximate: str = "none", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.approximate = approximate

    def call(self, x: Any) -> Any:
        """The activation."""
        return keras.ops.gelu(x, approximate=self.approximate == "tanh")

    def get_config(self) -> dict[str, Any]:
        """What makes the same layer again."""
        return {**super().get_config(), "approximate": self.approximate}


def table() -> LayerTable:
    """The rows."""
    layers = keras.layers
    return LayerTable(
        [
            Row("Sequential", keras.Sequential, builds={"Sequential": _sequential}),
            Row(
                "Linear",
                layers.Dense,
                {"weight": Transposed("_kernel"), "bias": At("bias")},
                lazy=_lazy_dense,
                builds={"Linear": _linear, "LazyLinear": _lazy_linear},
            ),
            Row(
                "Embedding",
                layers.Embedding,
                {"weight": At("_embeddings")},
                lazy=_lazy_embedding,
                builds={"Embedding": _embedding},
            ),
            *_convolutions(),
            *_norms(),
            Row(
                "PReLU",
                layers.PReLU,
                {"weight": At("alpha", Flatten())},
                builds={"PReLU": _prelu},
                lazy=lambda native: _lazy(native, {"weight": (None,)}),
            ),
            Row("Lambda", layers.Lambda, builds={"Lambda": layers.Lambda}),
            Row("ReLU", layers.ReLU, builds={"ReLU": layers.ReLU}),
            Row("GELU", GELU, settings=lambda native: {"approximate": native.approximate}, builds={"GELU": GELU}),
            Row(
                "LeakyReLU", layers.LeakyReLU, settings=lambda native: {"negative_slope": float(native.negative_slope)}
            ),
            Row("Softmax", layers.Softmax, builds={"Softmax": lambda dim: layers.Softmax(axis=dim)}),
            Row("Flatten", layers.Flatten, builds={"Flatten": spatial.ImageFlatten}),
            Row("Dropout", layers.Dropout, builds={"Dropout": lambda p: layers.Dropout(p)}),
            Row("Identity", layers.Identity, builds={"Identity": layers.Identity}),
            Row(
                "Activation",
                layers.Activation,
                builds={
                    "Tanh": lambda: layers.Activation("tanh"),
                    "Sigmoid": lambda: layers.Activation("sigmoid"),
                },
            ),
        ]
    )


def _convolutions() -> Iterator[Row]:
    for rank in (1, 2, 3):
        kernel = out_in_first(rank + 2)
        yield Row(
            f"Conv{rank}d",
            getattr(keras.layers, f"Conv{rank}D"),
            {"weight": At("_kernel", axes=kernel), "bias": At("bias")},
            lazy=_lazy_conv,
            builds={f"Conv{rank}d": spatial.conv},
        )
        yield Row(
            f"ConvTranspose{rank}d",
            getattr(keras.layers, f"Conv{rank}DTranspose"),
            {"weight": At("kernel", axes=kernel), "bias": At("bias")},
            lazy=_lazy_conv_transpose,
            builds={f"ConvTranspose{rank}d": spatial.conv_transpose},
        )
        for name, native in (("MaxPool", "MaxPooling"), ("AvgPool", "AveragePooling")):
            kind = f"{name}{rank}d"
            yield Row(kind, getattr(keras.layers, f"{native}{rank}D"), builds={kind: partial(spatial.pool, native)})
    for rank in (1, 2):
        depthwise = At("kernel", Transpose((rank, rank + 1, *range(rank))), Merge(0), Insert(1))
        yield Row(
            f"Conv{rank}d",
            getattr(keras.layers, f"DepthwiseConv{rank}D"),
            {"weight": depthwise, "bias": At("bias")},
            lazy=_lazy_depthwise,
        )


def _norms() -> Iterator[Row]:
    layers = keras.layers
    yield Row(
        told_kind("BatchNorm"),
        layers.BatchNormalization,
        _AFFINE,
        {"running_mean": At("moving_mean"), "running_var": At("moving_variance")},
        file_only={"num_batches_tracked": np.zeros((), np.int64)},
        settings=_norm,
        lazy=_lazy_norm,
        builds=each_rank("BatchNorm", _batch_norm, tell=True),
    )
    yield Row(
        _group_norm,
        layers.GroupNormalization,
        _AFFINE,
        settings=_norm,
        lazy=_lazy_norm,
        builds={"GroupNorm": _build_group_norm, **each_rank("InstanceNorm", _instance_norm, tell=True)},
    )
    yield Row(
        "RMSNorm",
        layers.RMSNormalization,
        {"weight": At("scale")},
        settings=_norm,
        lazy=lambda native: _lazy(native, {"weight": (None,)}),
        builds={"RMSNorm": _rms_norm},
    )
    yield Row(
        "LayerNorm",
        layers.LayerNormalization,
        _AFFINE,
        settings=_norm,
        lazy=_lazy_norm,
        builds={"LayerNorm": _layer_norm},
    )


def _norm(native: Any) -> dict[str, Setting]:
    momentum = getattr(native, "momentum", None)  # of the old statistics, where PyTorch's is of the new
    return {"eps": native.epsilon} | ({"momentum": round(1 - momentum, 12)} if momentum is not None else {})


def _group_norm(native: Any) -> str:
    # once built, -1 group has become as many groups as channels
    return getattr(native, "multiparam_kind", "InstanceNorm" if native.groups == -1 else "GroupNorm")


def _sequential(children: Mapping[str, Any], named: bool) -> keras.Sequential:
    _tell_flattens(children.values(), images=False)
    return NamedSequential(children) if named else keras.Sequential(list(children.values()))


def _tell_flattens(layers: Iterable[Any], images: bool) -> bool:
    """Tells each Flatten whether images come in; returns whether they do behind the layers."""
    for layer in layers:
        if isinstance(layer, keras.Sequential):
            images = _tell_flattens(layer.layers, images)
        elif isinstance(layer, keras.layers.Flatten):
            if isinstance(layer, spatial.ImageFlatten):
                layer.from_images = images
            images = False
        elif isinstance(layer, _ON_IMAGES):
            images = True
        elif isinstance(layer, keras.layers.BatchNormalization):
            images = images or bool(image_ranks(getattr(layer, "multiparam_kind", "")))
    return images


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
