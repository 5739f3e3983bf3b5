"""What differs with Keras on TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import tensorflow as tf


def to_numpy(tensor: Any) -> Any:
    """The tensor's numbers, a view where it lies on the CPU."""
    return np.asarray(tf.convert_to_tensor(tensor))  # its own numpy() copies


def taken(array: Any) -> Any:
    """What a variable may be assigned instead of an array, whose memory it may take over."""
    shares = array.dtype.kind in "iuf" and array.size
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__()) if shares else array


def outside_graphs() -> AbstractContextManager[None]:
    """Where assignments are carried out at once, even while a function is being traced."""
    return tf.init_scope()


def without_gradient() -> AbstractContextManager[None]:
    """Where a forward pass records nothing; without a tape nothing is."""
    return nullcontext()


def device(variable: Any) -> str:
    """Where the variable lies."""
    return str(variable.value.device)


def gradients(model: Any, loss: Callable[..., Any], inputs: Sequence[Any], variables: Sequence[Any]) -> list[Any]:
    """The gradients, zeros for unused variables; none if all of them are."""
    with tf.GradientTape() as tape:
        value = loss(model, *inputs)
    natives = [variable.value for variable in variables]
    found = tape.gradient(value, natives)
    if all(one is None for one in found):
        return []
    return [
        tf.zeros_like(own) if one is None else tf.convert_to_tensor(one)
        for own, one in zip(natives, found, strict=True)
    ]


def own_gradient(variable: Any) -> Any:
    """The framework's own gradient of a variable; TensorFlow keeps none."""
    return None


def drop_gradient(variable: Any) -> None:
    """Forgets the framework's own gradient of a variable; there is none."""


def forget(layers: Sequence[Any]) -> None:
    """Drops what the framework keeps beside the layers' own lists of variables."""


def has_numbers(tensor: Any) -> bool:
    """Whether it is a tensor with numbers, not one of a compiled part."""
    return not tf.is_symbolic_tensor(tensor)
