"""What differs with Keras on PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from multiparam.adapter import fresh

_UNKNOWN = {torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2}


def to_numpy(tensor: Any) -> Any:
    """The tensor's numbers, a view where it lies on the CPU; dtypes that numpy lacks as float32."""
    plain = tensor.detach().cpu()
    return (plain if plain.dtype not in _UNKNOWN else plain.to(torch.float32)).numpy()


def unreachable(tensor: Any) -> str:
    """Why the tensor's numbers are not all here; empty if they are."""
    return (
        ""
        if not is_traceable_wrapper_subclass(tensor)
        else f"{type(tensor).__name__} keeps its numbers in its own form"
    )


def abstract(tensor: Any) -> bool:
    """Whether the tensor is a shape without numbers."""
    return bool(tensor.is_meta)


def copied(array: Any) -> Any:
    """A copy of an array, to be assigned to a variable."""
    return fresh(array)


def outside_graphs() -> AbstractContextManager[None]:
    """Where assignments are carried out at once."""
    return nullcontext()


def without_gradient() -> AbstractContextManager[None]:
    """Where a forward pass records nothing."""
    return torch.no_grad()


def device(variable: Any) -> str:
    """Where the variable lies."""
    return str(variable.value.device)


def gradients(model: Any, loss: Callable[..., Any], inputs: Sequence[Any], variables: Sequence[Any]) -> list[Any]:
    """The gradients, zeros for unused variables and none if all are; each one's own `.grad` is the same afterwards."""
    natives = [variable.value for variable in variables]
    with torch.enable_grad():
        value = loss(model, *inputs)
        found: Sequence[Any] = [None] * len(natives)
        if value.requires_grad and natives:
            found = torch.autograd.grad(value.reshape(()), natives, allow_unused=True)
    if all(one is None for one in found):
        return []
    for native, one in zip(natives, found, strict=True):
        native.grad = torch.zeros_like(native) if one is None else one.detach()
    return [native.grad for native in natives]


def own_gradient(variable: Any) -> Any:
    """The framework's own gradient of a variable."""
    return variable.value.grad


def drop_gradient(variable: Any) -> None:
    """Forgets the framework's own gradient of a variable."""
    variable.value.grad = None


def forget(layers: Sequence[Any]) -> None:
    """Drops what the framework keeps beside the layers' own lists of variables: each layer's torch parameters."""
    for layer in layers:
        if "_torch_params" in getattr(layer, "_modules", {}):
            layer._track_variables()


def layers_in(model: Any, is_layer: Callable[[Any], bool]) -> list[Any]:
    """Keras's layers in a PyTorch module."""
    return [one for one in model.modules() if is_layer(one)]


def has_numbers(tensor: Any) -> bool:
    """Whether it is a tensor with numbers, which all of PyTorch's are."""
    return True
