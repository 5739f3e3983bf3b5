"""What a compiled Keras model has cached, and what must go when its variables change."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras


def reset(models: Iterable[Any]) -> bool:
    """Drops traced functions, and optimizers that hold variables the model has no more.

    Without it a compiled model goes on training the old variables.

    Returns:
        Whether an optimizer was replaced by a new one of the same configuration.
    """
    replaced = False
    for model in models:
        if not isinstance(model, keras.Model):
            continue
        for cached in ("train_function", "test_function", "predict_function"):
            if getattr(model, cached, None) is not None:
                setattr(model, cached, None)
        if getattr(model, "compiled", False):
            model._compiled_trainable_state = {layer: layer.trainable for layer in model._flatten_layers()}
        optimizer = getattr(model, "optimizer", None)
        if optimizer is not None and optimizer.built:
            model.optimizer = type(optimizer).from_config(optimizer.get_config())
            replaced = True
    return replaced
