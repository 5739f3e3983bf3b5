"""The PyTorch backend's adapter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import UninitializedTensorMixin, is_lazy

from multiparam.adapter import (
    NOTHING,
    ArgumentError,
    Computed,
    Computes,
    Differentiates,
    Freezes,
    Handle,
    Inventory,
    KeepsOwnState,
    Lazy,
    Members,
    Runs,
    Ties,
    TieSide,
    copy,
    each_array,
    evaluating,
    fresh,
    leaves,
    same_children,
    same_variables,
    see,
    unsee,
    unused_net,
)

from . import layers, plugin
from .effective import Effective, computed, effective
from .own_state import Kept, inventory, keeps_more, kept
from .settings import said
from .tensors import from_numpy, has_numbers, is_expanded, memory, numpy_dtype, to_numpy, unreachable
from .wrappers import wrapping

_STAND_INS = (Effective, Kept)  # for tensors that are no variables
_VIEWS = "_multiparam_views"
_PENDING = "_multiparam_pending"
_TO_EMPTY = (
    "it is on PyTorch's meta device; net.to_empty(device='cpu') gives the model memory, and then multiparam.initialize "
    "or multiparam.load the numbers"
)
_NONE: frozenset[str] = frozenset()


class _Pending(list[Callable[[Any], None]]):
    """What waits for a lazy layer's parameters."""

    started = False


class TorchAdapter(Runs, Differentiates, Freezes, Lazy, Ties, Computes, KeepsOwnState):
    """`torch.nn.Module`s, whose names and layouts are the canonical ones."""

    plugin = plugin
    table = layers.table()

    def is_model(self, native: Any) -> bool:
        return isinstance(native, nn.Module)

    def is_tensor(self, native: Any) -> bool:
        return isinstance(native, torch.Tensor)

    def settings(self, native: Any) -> dict[str, Any] | None:
        return said(native) if isinstance(native, nn.Module) else None

    @staticmethod
    def component(key: str) -> str:
        return key  # no PyTorch name holds a dot, and state_dict leaves the rest as it is

    def members(self, native: nn.Module) -> Members:
        views, own = native.__dict__.get(_VIEWS), native._parameters
        buffers, below = native._buffers, native._modules
        if views:
            own = {key: views.get(key, one) for key, one in own.items()}
        parameters = {key: one for key, one in own.items() if one is not None} if own else NOTHING
        children = [(key, child) for key, child in below.items() if child is not None] if below else ()
        more, extras = kept(native) if keeps_more(type(native)) else (NOTHING, NOTHING)
        if not buffers:
            return Members(parameters, more, children, _NONE, False, _NONE, extras)
        state = {key: one for key, one in buffers.items() if one is not None}
        transient = frozenset(native._non_persistent_buffers_set)
        return Members(parameters, {**state, **more}, children, transient, False, _NONE, extras)

    def holds(self, native: nn.Module, members: Members) -> bool:
        own, below = native._parameters, native._modules
        if type(own) is not dict:
            return super().holds(native, members)  # a scripted module's are none
        # what is None is not listed, and what else a module may hold is told by telling it
        if native._buffers or len(own) != len(members.parameters) or len(below) != len(members.children):
            return super().holds(native, members)
        if _VIEWS in native.__dict__ or keeps_more(type(native)):
            return super().holds(native, members)
        return same_variables(own, members.parameters) and (not below or same_children(below.items(), members.children))

    def wrapped(self, native: Any) -> Any:
        key = wrapping(type(native))
        return native._modules.get(key) if key else None

    def lookup(self, native: nn.Module, name: str) -> Any:
        for holder in (native._parameters, native._buffers, native.__dict__.get(_VIEWS, {}), native._modules):
            if name in holder and holder[name] is not None:  # a scripted module's have no get
                return holder[name]
        found = kept(native)[0].get(name) if keeps_more(type(native)) else None
        return effective(native, name) if found is None else found

    def inventory(self, model: nn.Module) -> Inventory:
        return inventory(model, self.name)

    # --- variables ---------------------------------------------------------------------------------------------

    def read(self, variable: torch.Tensor) -> Any:
        return to_numpy(_tensor(variable))

    def write(self, variable: torch.Tensor, value: Any) -> None:
        if isinstance(variable, _STAND_INS):
            variable.set(value)
            return
        if (there := memory(variable)) is not None:
            copy(value, there)
            return
        with torch.no_grad():
            variable.data.copy_(from_numpy(value))

    def unwritable(self, variable: torch.Tensor) -> str:
        expanded = not isinstance(variable, _STAND_INS) and is_expanded(variable)
        return "it is expanded, several of its numbers being one in memory: clone() it" if expanded else ""

    def computed(self, native: nn.Module) -> Iterable[Computed]:
        return computed(native)

    def problem(self, variable: Any, value: Any) -> str:
        return variable.problem(value) if isinstance(variable, Effective) else ""

    def memory(self, variable: torch.Tensor) -> Any:
        return None if isinstance(variable, _STAND_INS) else memory(variable)

    def any_shape(self, variable: Any) -> bool:
        return isinstance(variable, Kept)

    def restorer(self, variable: Any) -> Callable[[], None]:
        restorer: Callable[[], None] = variable.restorer()
        return restorer

    def shape(self, variable: torch.Tensor) -> tuple[int, ...] | None:
        return None if is_lazy(variable) else tuple(_tensor(variable).shape)

    def unreachable(self, variable: torch.Tensor) -> str:
        return "" if isinstance(variable, Effective) else unreachable(_tensor(variable))

    def abstract(self, variable: torch.Tensor) -> str:
        return _TO_EMPTY if _tensor(variable).is_meta and not is_lazy(variable) else ""

    def dtype(self, variable: torch.Tensor) -> np.dtype[Any]:
        return numpy_dtype(_tensor(variable).dtype)

    def native(self, variable: Any) -> Any:
        return _tensor(variable)

    def device(self, variable: torch.Tensor) -> str:
        return str(_tensor(variable).device)

    def initialized(self, variable: torch.Tensor) -> bool:
        return isinstance(variable, Kept) or not (
            isinstance(variable, UninitializedTensorMixin) or _tensor(variable).is_meta
        )

    def tensor(self, value: Any) -> torch.Tensor:
        return from_numpy(fresh(value))

    def array(self, tensor: torch.Tensor) -> Any:
        return to_numpy(tensor)

    def trainable(self, variable: torch.Tensor) -> bool:
        return variable.requires_grad

    def set_trainable(self, model: nn.Module, layers: Sequence[Any], variable: torch.Tensor, value: bool) -> None:
        if value and not (variable.is_floating_point() or variable.is_complex()):
            raise self.unsupported("trainable", f"PyTorch differentiates no {variable.dtype} tensors")
        variable.requires_grad_(value)
        if not value:
            variable.grad = None  # or an optimizer with momentum would go on

    # --- running -----------------------------------------------------------------------------------------------

    def run(self, model: nn.Module, inputs: Sequence[Any]) -> Any:
        with evaluating(model, model.modules()), torch.no_grad():
            return model(*_tensors(model, inputs))

    @contextmanager
    def watch(self, layers: Sequence[Any], seen: Callable[..., None]) -> Iterator[None]:
        def hook(layer: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            if torch.compiler.is_compiling():
                return
            tensors = leaves((args, kwargs, output), self.is_tensor)
            if all(has_numbers(one) for _, one in tensors):
                seen(layer, output, (args, kwargs))

        compiled = {id(inner) for layer in layers if _is_compiled(layer) for inner in layer.modules()}
        hooks = [
            layer.register_forward_hook(hook, with_kwargs=True)
            for layer in layers
            # a ScriptModule takes no hooks, and compiled code would be made anew for them
            if not isinstance(layer, torch.jit.ScriptModule) and id(layer) not in compiled
        ]
        try:
            yield
        finally:
            for one in hooks:
                one.remove()

    def when_ready(self, layer: nn.Module, call: Callable[[Any], None]) -> None:
        waiting = layer.__dict__.setdefault(_PENDING, _Pending())
        waiting.append(call)
        if len(waiting) == 1:
            layer.register_forward_pre_hook(_forget_if_made, prepend=True)
            layer.register_forward_pre_hook(_carry_out)  # behind the lazy layer's own, which makes the parameters

    def gradients(
        self, model: nn.Module, loss: Callable[..., Any], inputs: Sequence[Any], variables: Sequence[Any]
    ) -> list[Any]:
        with torch.enable_grad():
            value = loss(model, *_tensors(model, inputs))
            if not isinstance(value, torch.Tensor) or value.numel() != 1:
                raise self.no_scalar(value)
            found: Sequence[torch.Tensor | None] = [None] * len(variables)
            if value.requires_grad and variables:
                found = torch.autograd.grad(value.reshape(()), variables, allow_unused=True)
        if variables and all(one is None for one in found):
            raise unused_net()
        for variable, gradient in zip(variables, found, strict=True):
            variable.grad = torch.zeros_like(variable) if gradient is None else gradient.detach()
        return [_dense(variable.grad) for variable in variables]

    def grad(self, variable: Any) -> Any:
        gradient = getattr(variable, "grad", None)
        return None if gradient is None else _dense(gradient)

    def set_grad(self, variable: Any, value: Any) -> bool:
        if value is None and isinstance(variable, torch.Tensor):
            variable.grad = None
        return True

    # --- ties --------------------------------------------------------------------------------------------------

    def check_tie(self, side: TieSide, handle: Handle) -> None:
        return  # every parameter of a module can be another

    def tie(self, model: nn.Module, side: TieSide, handle: Handle) -> None:
        _unsee(side)
        if handle.axes is None:
            setattr(side.layer, side.part, handle.variable)
            return
        side.layer._parameters[side.part] = None  # its place: optimizers count parameters by position
        side.layer.__dict__.setdefault(_VIEWS, {})[side.part] = handle
        see(side.layer, side.part, _view)

    def untie(self, model: nn.Module, side: TieSide, value: Any) -> None:
        old = side.handle.variable
        _unsee(side)
        own = from_numpy(np.array(value)).to(old.device)
        setattr(side.layer, side.part, nn.Parameter(own, requires_grad=old.requires_grad))

    def notes_on_change(self, model: nn.Module) -> list[str]:
        return ["An optimizer built before this holds the old parameters: build it anew."]


def _forget_if_made(layer: nn.Module, inputs: Any) -> None:
    """Drops what was waiting if the parameters were made meanwhile, by a load say: those numbers stay."""
    pending = layer.__dict__[_PENDING]
    if not pending.started and not any(is_lazy(one) for one in layer.parameters(recurse=False)):
        pending.clear()
    if not pending:
        _unhook(layer)


def _carry_out(layer: nn.Module, inputs: Any) -> None:
    pending = layer.__dict__.get(_PENDING, ())
    while pending:
        pending.started = True
        pending[0](layer)
        del pending[0]  # only now: one that fails is due again
    _unhook(layer)


def _unhook(layer: nn.Module) -> None:
    for key, hook in list(layer._forward_pre_hooks.items()):
        if hook in (_forget_if_made, _carry_out):
            del layer._forward_pre_hooks[key]
    layer.__dict__.pop(_PENDING, None)


def _unsee(side: TieSide) -> None:
    if side.layer.__dict__.get(_VIEWS, {}).pop(side.part, None) is not None:
        unsee(side.layer, side.part, _view)


def _tensor(variable: Any) -> torch.Tensor:
    return variable.value() if isinstance(variable, _STAND_INS) else variable


def _dense(gradient: torch.Tensor) -> Any:
    return to_numpy(gradient.to_dense() if gradient.is_sparse else gradient)


def _view(layer: nn.Module, part: str) -> torch.Tensor:
    handle = layer.__dict__[_VIEWS][part]
    seen: torch.Tensor = handle.variable.permute(handle.axes)
    return seen


def _tensors(model: nn.Module, inputs: Sequence[Any]) -> list[Any]:
    first = next((one for one in model.parameters()), None)
    device = torch.device("cpu") if first is None else first.device
    if device.type == "meta":
        raise ArgumentError(f"the model has no numbers: {_TO_EMPTY}")
    return [each_array(lambda array: from_numpy(np.array(array)).to(device), one) for one in inputs]


def _is_compiled(layer: nn.Module) -> bool:
    """Whether `torch.compile` or the layer's own `compile()` made it."""
    return getattr(layer, "_compiled_call_impl", None) is not None or hasattr(layer, "_orig_mod")
