"""What differs with Keras on TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import tensorflow as tf

from multiparam.adapter import ALIGNMENT, copy, fresh

LARGE = 1 << 16  # bytes, from which on another way is worth asking for
CROWDED = 1 << 10  # bytes; lines that lie at a multiple of it share few places of the cache


def to_numpy(tensor: Any) -> Any:
    """The tensor's numbers, a view where it lies on the CPU."""
    return np.asarray(tf.convert_to_tensor(tensor))  # its own numpy() copies


def unreachable(tensor: Any) -> str:
    """Why the tensor's numbers are not all here; empty if they are."""
    return ""


def abstract(tensor: Any) -> bool:
    """Whether the tensor is a shape without numbers."""
    return False


def copied(array: Any) -> Any:
    """A copy of an array, to be assigned to a variable."""
    if not array.size or array.dtype.kind not in "iuf":
        return fresh(array)
    if array.nbytes < LARGE:
        return _shared(fresh(array))
    turned = _turned(array)
    return _filled(array) if turned is None else turned


def _turned(array: Any) -> Any:
    """A copy that TensorFlow makes, which turns axes faster than numpy does; None where it would not.

    It ends the process where memory is not aligned.
    """
    order = sorted(range(array.ndim), key=lambda axis: -array.strides[axis])
    there, extents = array.transpose(order), [axis for axis in order if array.shape[axis] > 1]
    shared = there.flags.c_contiguous and there.ctypes.data % ALIGNMENT == 0
    if not shared or extents == sorted(extents) or array.strides[extents[0]] % CROWDED == 0:
        return None
    return tf.transpose(_shared(np.asarray(_Memory(there))), np.argsort(order))


def _filled(array: Any) -> Any:
    """A copy in memory of TensorFlow's, which it has used before: new memory costs more than the copy."""
    with tf.device("CPU:0"):
        made = tf.raw_ops.Empty(shape=array.shape, dtype=array.dtype, init=False)
    there = np.asarray(made)
    if there.ctypes.data != np.asarray(made).ctypes.data:
        return _shared(fresh(array))  # it gives out copies
    copy(array, np.asarray(_Memory(there)))
    return made


class _Memory:
    """An array's memory as if it could be written to: DLPack knows no other, and nobody has seen a new tensor's yet."""

    def __init__(self, array: Any) -> None:
        self.array = array  # whose memory must stay
        self.__array_interface__ = {**array.__array_interface__, "data": (array.ctypes.data, False)}


def _shared(array: Any) -> Any:
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())


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


def layers_in(model: Any, is_layer: Callable[[Any], bool]) -> list[Any]:
    """Keras's layers in a model of the engine's own, which none has that is walked."""
    return []


def has_numbers(tensor: Any) -> bool:
    """Whether it is a tensor with numbers, not one of a compiled part."""
    return not tf.is_symbolic_tensor(tensor)
