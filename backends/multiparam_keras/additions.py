"""Layers that Keras itself lacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras


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

    def pop(self, *args: Any, **options: Any) -> Any:
        """Takes the last layer out, as a Sequential does, and its name."""
        popped = super().pop(*args, **options)
        del self._child_names[len(self.layers) :]
        return popped

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


@keras.saving.register_keras_serializable(package="multiparam")
class LogSoftmax(keras.layers.Layer):
    """The logarithm of exp(x) divided by its sum along an axis."""

    def __init__(self, dim: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dim = dim

    def call(self, x: Any) -> Any:
        """The activation."""
        return keras.ops.log_softmax(x, axis=self.dim)

    def get_config(self) -> dict[str, Any]:
        """What makes the same layer again."""
        return {**super().get_config(), "dim": self.dim}
