"""Keras's layer table, and the small layers that Keras itself lacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    out_in_first,
)

# what an Activation layer is, canonically, by its function's name
ACTIVATIONS = {"relu": "ReLU", "tanh": "Tanh", "sigmoid": "Sigmoid", "softmax": "Softmax", "linear": "Identity"}


_AFFINE = {"weight": At("gamma"), "bias": At("beta")}


class NamedSequential(keras.Sequential):
    """A Sequential whose children have names, whatever the layers themselves are called.

    Args:
        children: the layers by name, in order.
    """

    def __init__(self, children: Mapping[str, Any]) -> None:
        super().__init__(list(children.values()))
        self.names = tuple(children)

    def __getitem__(self, key: int | str) -> Any:
        return self.layers[self.names.index(key) if isinstance(key, str) else key]


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
            Row(
                "LayerNorm",
                layers.LayerNormalization,
                _AFFINE,
                settings=_norm,
                lazy=_lazy_norm,
                builds={"LayerNorm": _layer_norm},
            ),
            *_convolutions(),
            Row(
                "BatchNorm",
                layers.BatchNormalization,
                _AFFINE,
                {"running_mean": At("moving_mean"), "running_var": At("moving_variance")},
                file_only={"num_batches_tracked": np.zeros((), np.int64)},
                settings=_norm,
                lazy=_lazy_norm,
            ),
            Row(_group_norm, layers.GroupNormalization, _AFFINE, settings=_norm, lazy=_lazy_norm),
            Row(
                "RMSNorm",
                layers.RMSNormalization,
                {"weight": At("scale")},
                settings=_norm,
                lazy=lambda native: _lazy(native, {"weight": (None,)}),
            ),
            Row(
                "PReLU",
                layers.PReLU,
                {"weight": At("alpha", Flatten())},
                lazy=lambda native: _lazy(native, {"weight": (None,)}),
            ),
            Row("Lambda", layers.Lambda, builds={"Lambda": layers.Lambda}),
            Row("ReLU", layers.ReLU, builds={"ReLU": layers.ReLU}),
            Row("GELU", GELU, settings=lambda native: {"approximate": native.approximate}, builds={"GELU": GELU}),
            Row(
                "LeakyReLU", layers.LeakyReLU, settings=lambda native: {"negative_slope": float(native.negative_slope)}
            ),
            Row("Softmax", layers.Softmax, builds={"Softmax": lambda dim: layers.Softmax(axis=dim)}),
            Row("Flatten", layers.Flatten, builds={"Flatten": layers.Flatten}),
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
        )
        yield Row(
            f"ConvTranspose{rank}d",
            getattr(keras.layers, f"Conv{rank}DTranspose"),
            {"weight": At("kernel", axes=kernel), "bias": At("bias")},
            lazy=_lazy_conv_transpose,
        )
    for rank in (1, 2):
        depthwise = At("kernel", Transpose((rank, rank + 1, *range(rank))), Merge(0), Insert(1))
        yield Row(
            f"Conv{rank}d",
            getattr(keras.layers, f"DepthwiseConv{rank}D"),
            {"weight": depthwise, "bias": At("bias")},
            lazy=_lazy_depthwise,
        )


def _norm(native: Any) -> dict[str, Setting]:
    momentum = getattr(native, "momentum", None)  # of the old statistics, where PyTorch's is of the new
    return {"eps": native.epsilon} | ({"momentum": 1 - momentum} if momentum is not None else {})


def _group_norm(native: Any) -> str:
    return "InstanceNorm" if native.groups == -1 else "GroupNorm"


def _sequential(children: Mapping[str, Any], named: bool) -> keras.Sequential:
    return NamedSequential(children) if named else keras.Sequential(list(children.values()))


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
