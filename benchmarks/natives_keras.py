"""Keras's own calls, on the backend that KERAS_BACKEND names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from .natives import Action, Natives, Tool


class Keras(Natives):
    """`keras.layers`."""

    distributions = ("keras", keras.config.backend(), "safetensors")

    def linears(self, count: int, width: int) -> Any:
        return _built([keras.layers.Dense(width) for _ in range(count)], width)

    def norms(self, count: int, width: int) -> Any:
        return _built([keras.layers.LayerNormalization() for _ in range(count)], width)

    def enumerations(self, model: Any) -> Mapping[str, Action]:
        return {"weights": lambda: model.weights, "trainable_variables": lambda: model.trainable_variables}

    def fills(self, model: Any, kind: str) -> Mapping[str, Action]:
        draw = getattr(keras.random, kind)

        def fill() -> None:
            for one in model.weights:
                one.assign(draw(one.shape) if one.ndim > 1 else keras.ops.zeros(one.shape))

        return {f"keras.random.{kind}": fill}

    def tools(self, model: Any, folder: Path) -> list[Tool]:
        own = folder / "keras.weights.h5"
        return [Tool(".weights.h5", own, live=lambda: model.load_weights(own), save=lambda: model.save_weights(own))]


def _built(layers: list[Any], width: int) -> Any:
    """A model that was built layer by layer: one of many thousands cannot be called."""
    for layer in layers:
        layer.build((None, width))
    model = keras.Sequential(layers)
    model.built = True  # or its weights are not saved
    return model


OWN = Keras()
