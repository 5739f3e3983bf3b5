"""Keras's part of the demo: compile and fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras


def loss(net: Any, x: Any, y: Any) -> Any:
    """The mean cross-entropy of integer classes."""
    return keras.ops.mean(keras.losses.sparse_categorical_crossentropy(y, net(x), from_logits=True))


def train(net: Any, x: Any, y: Any, epochs: int, each: Callable[[int], None]) -> None:
    """Trains with Adam on batches of 64."""
    keras.utils.set_random_seed(0)
    net.compile(keras.optimizers.Adam(0.003), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    after = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: each(epoch + 1))
    net.fit(x, y, batch_size=64, epochs=epochs, verbose=0, callbacks=[after])
