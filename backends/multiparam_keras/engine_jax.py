"""What differs with Keras on JAX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jax
import keras
import numpy as np

from multiparam.adapter import fresh

_ELSEWHERE = (
    "other processes hold a part of it; jax.experimental.multihost_utils.process_allgather(x, tiled=True), "
    "called in each of them, gives the whole array"
)


def to_numpy(tensor: Any) -> Any:
    """The tensor's numbers, a view where it lies on the CPU."""
    return np.asarray(tensor)


def unreachable(tensor: Any) -> str:
    """Why the tensor's numbers are not all here; empty if they are."""
    if not isinstance(tensor, jax.Array) or isinstance(tensor, jax.core.Tracer):
        return ""
    return "" if tensor.is_fully_addressable else _ELSEWHERE


def abstract(tensor: Any) -> bool:
    """Whether the tensor is a shape without numbers."""
    return isinstance(tensor, jax.ShapeDtypeStruct)


def copied(array: Any) -> Any:
    """A copy of an array, to be assigned to a variable."""
    return fresh(array)


def outside_graphs() -> AbstractContextManager[None]:
    """Where assignments are carried out at once."""
    return nullcontext()


def without_gradient() -> AbstractContextManager[None]:
    """Where a forward pass records nothing; JAX records only what it is asked to differentiate."""
    return nullcontext()


def device(variable: Any) -> str:
    """Where the variable lies."""
    return ", ".join(sorted(str(device) for device in variable.value.devices()))


def gradients(model: Any, loss: Callable[..., Any], inputs: Sequence[Any], variables: Sequence[Any]) -> list[Any]:
    """The gradients, zeros for unused variables; none if all of them are."""
    used = []

    def of_values(values: Sequence[Any]) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            value = loss(model, *inputs).reshape(())
        used.append(isinstance(value, jax.core.Tracer))
        return value

    found = jax.grad(of_values)([variable.value for variable in variables])
    return list(found) if all(used) else []


def own_gradient(variable: Any) -> Any:
    """The framework's own gradient of a variable; JAX's are values."""
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
    return not isinstance(tensor, jax.core.Tracer)
