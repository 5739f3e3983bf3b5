"""Keras's layer table, and the small layers that Keras itself lacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from multiparam.adapter import At, LayerTable, LazyShape, Row, Transposed

# what an Activation layer is, canonically, by its function's name
ACTIVATIONS = {"relu": "ReLU", "tanh": "Tanh", "sigmoid": "Sigmoid", "softmax": "Softmax", "linear": "Identity"}


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
                {"weight": At("gamma"), "bias": At("beta")},
                lazy=_lazy_layer_norm,
                builds={"LayerNorm": _layer_norm},
            ),
            Row("Lambda", layers.Lambda, builds={"Lambda": layers.Lambda}),
            Row("ReLU", layers.ReLU, builds={"ReLU": layers.ReLU}),
            Row("GELU", GELU, builds={"GELU": GELU}),
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


def _lazy_dense(native: Any) -> Mapping[str, LazyShape]:
    return _lazy(native, {"weight": (native.units, None), **({"bias": (native.units,)} if native.use_bias else {})})


def _lazy_embedding(native: Any) -> Mapping[str, LazyShape]:
    return _lazy(native, {"weight": (native.input_dim, native.output_dim)})


def _lazy_layer_norm(native: Any) -> Mapping[str, LazyShape]:
    roles: dict[str, LazyShape] = {}
    if native.scale:
        roles["weight"] = (None,)
    if native.center:
        roles["bias"] = (None,)
    return _lazy(native, roles)
