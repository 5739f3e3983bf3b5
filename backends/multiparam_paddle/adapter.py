"""The PaddlePaddle backend's adapter."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter("ignore", UserWarning)  # about a compiler cache that nothing here needs
    import paddle
    from paddle import nn
    from paddle.base.framework import EagerParamBase
    from paddle.nn.utils.spectral_norm_hook import SpectralNorm
    from paddle.nn.utils.weight_norm_hook import WeightNorm

from paddle.nn.layer.rnn import RNNBase

from multiparam.adapter import (
    NOTHING,
    Computed,
    Computes,
    Differentiates,
    Freezes,
    Handle,
    Inventory,
    Lazy,
    LeftOut,
    Members,
    Runs,
    Ties,
    TieSide,
    copy,
    each_array,
    evaluating,
    same_children,
    same_variables,
    see,
    unsee,
    unused_net,
)

from . import layers, plugin
from .compiled import compiled_parts, forget
from .fused import all_or_none, is_fused, is_unrolled, put, rename_aliases
from .settings import said
from .tensors import from_numpy, memory, numpy_dtype, to_numpy

_VIEWS = "_multiparam_views"
_BEFORE = "Initialize the layer before it is wrapped, or name in a pattern what the weight is computed from"
_LAZY = "it was made under paddle.LazyGuard; its parameter's initialize(), or multiparam.initialize, gives it numbers"
_DIST = (
    "it is a distributed tensor, of which each process may hold a part; paddle.distributed.unshard_dtensor gathers it"
)
_ABOUT = ("optimize_attr", "regularizer", "need_clip", "do_model_average")  # what else a parameter tells optimizers
_NONE: frozenset[str] = frozenset()
_GENERATOR = "_dropout_state"  # of a recurrent layer


class PaddleAdapter(Runs, Differentiates, Freezes, Lazy, Ties, Computes):
    """`paddle.nn.Layer`s."""

    plugin = plugin
    table = layers.table()

    def is_model(self, native: Any) -> bool:
        return isinstance(native, nn.Layer)

    def is_tensor(self, native: Any) -> bool:
        return isinstance(native, paddle.Tensor)

    def settings(self, native: Any) -> dict[str, Any] | None:
        return said(native) if isinstance(native, nn.Layer) else None

    def wrapped(self, native: Any) -> Any:
        return native._layers if isinstance(native, paddle.DataParallel) else None

    def label(self, native: nn.Layer) -> str:
        return str(native.full_name())

    def members(self, native: nn.Layer) -> Members:
        own = {key: one for key, one in native._parameters.items() if one is not None}
        below, held, views = native._sub_layers, native._buffers, native.__dict__.get(_VIEWS)
        if isinstance(native, RNNBase):
            own = {} if is_unrolled(native) else own
            below = {} if is_fused(native) else below  # whose cells hold the same parameters under other names
        children = [(key, one) for key, one in below.items() if one is not None] if below else ()
        row = self.row(native)
        statistics = _NONE if row is None else row.buffer_parts
        if not (held or views or statistics):
            return Members(own, NOTHING, children)
        state = {key: one for key, one in held.items() if one is not None and key != _GENERATOR}
        return Members(
            parameters={**{key: one for key, one in own.items() if key not in statistics}, **(views or {})},
            buffers={**{key: own[key] for key in own if key in statistics}, **state},
            children=children,
            transient=frozenset(native._non_persistable_buffer_names_set),
        )

    def holds(self, native: nn.Layer, members: Members) -> bool:
        own, below = native._parameters, native._sub_layers
        # what is None is not listed, and what else a layer may hold is told by telling it
        if native._buffers or len(own) != len(members.parameters) or len(below) != len(members.children):
            return super().holds(native, members)
        if _VIEWS in native.__dict__ or isinstance(native, RNNBase):
            return super().holds(native, members)
        return same_variables(own, members.parameters) and (not below or same_children(below.items(), members.children))

    def lookup(self, native: nn.Layer, name: str) -> Any:
        for holder in (native._parameters, native._buffers, native.__dict__.get(_VIEWS, {}), native._sub_layers):
            if holder.get(name) is not None:
                return holder[name]
        return None

    def inventory(self, model: nn.Layer) -> Inventory:
        known = {id(one) for one in (*model.parameters(), *model.buffers())}
        kept: dict[str, Any] = {}
        for name, one in model.state_dict().items():
            if name.rpartition(".")[2] != _GENERATOR:
                kept[name] = one if id(one) in known else LeftOut.of(one, " that only its own state_dict makes")
        return Inventory(self.name, kept)

    # --- variables ---------------------------------------------------------------------------------------------

    def initialized(self, variable: Any) -> bool:
        return bool(variable._is_initialized()) or 0 in variable.shape  # what has no numbers needs none

    def abstract(self, variable: Any) -> str:
        return "" if self.initialized(variable) else _LAZY

    def begin(self, model: Any) -> None:
        for one in model.parameters():
            if not self.initialized(one):
                one.initialize()  # as paddle.LazyGuard leaves it to be called

    def computed(self, native: nn.Layer) -> Iterator[Computed]:
        for hook in native._forward_pre_hooks.values():
            if isinstance(hook, (WeightNorm, SpectralNorm)):
                own = [native._parameters.get(f"{hook.name}_{end}") for end in ("orig", "g", "v")]
                yield Computed(hook.name, [one for one in own if one is not None], type(hook).__name__, why=_BEFORE)

    def unreachable(self, variable: Any) -> str:
        return _DIST if variable.is_dist() else ""

    def read(self, variable: Any) -> Any:
        return to_numpy(variable)

    def write(self, variable: Any, value: Any) -> None:
        if (there := self.memory(variable)) is not None:
            copy(value, there)
        else:
            variable.set_value(from_numpy(np.asarray(value, self.dtype(variable))))

    def memory(self, variable: Any) -> Any:
        there = memory(variable)
        return there if there is not None and there.flags.writeable else None

    def shape(self, variable: Any) -> tuple[int, ...]:
        return tuple(variable.shape)

    def dtype(self, variable: Any) -> np.dtype[Any]:
        return numpy_dtype(variable.dtype)

    def device(self, variable: Any) -> str:
        return str(variable.place).removeprefix("Place(").removesuffix(")")

    def tensor(self, value: Any) -> Any:
        return from_numpy(np.asarray(value))

    def array(self, tensor: Any) -> Any:
        return to_numpy(tensor)

    def trainable(self, variable: Any) -> bool:
        return not variable.stop_gradient

    def set_trainable(self, model: nn.Layer, layers: Sequence[Any], variable: Any, value: bool) -> None:
        if value and numpy_dtype(variable.dtype).kind not in "fcV":
            raise self.unsupported("trainable", f"Paddle differentiates no {variable.dtype} tensors")
        forget(model)
        variable.stop_gradient = not value
        if not value:
            variable.grad = None  # or an optimizer with momentum would go on

    # --- running -----------------------------------------------------------------------------------------------

    def channels_last(self, native: Any) -> bool:
        order = _order(native)
        return order.endswith("C") and len(order) > 2

    def images(self, native: Any) -> frozenset[int]:
        order = _order(native)
        return super().images(native) | (frozenset((len(order),)) if self.channels_last(native) else frozenset())

    def run(self, model: nn.Layer, inputs: Sequence[Any]) -> Any:
        with evaluating(model, model.sublayers(include_self=True)), paddle.no_grad():
            return model(*_tensors(inputs))

    @contextmanager
    def watch(self, layers: Sequence[Any], seen: Callable[..., None]) -> Iterator[None]:
        def hook(layer: nn.Layer, inputs: Any, output: Any) -> None:
            # while a function is being compiled, its tensors have no numbers
            if paddle.in_dynamic_mode():
                seen(layer, output, inputs)

        compiled = compiled_parts(layers)
        hooks = [layer.register_forward_post_hook(hook) for layer in layers if id(layer) not in compiled]
        try:
            yield
        finally:
            for one in hooks:
                one.remove()

    def when_ready(self, layer: Any, call: Callable[[Any], None]) -> None:
        layer.when_ready = (*layer.when_ready, call)

    def gradients(
        self, model: nn.Layer, loss: Callable[..., Any], inputs: Sequence[Any], variables: Sequence[Any]
    ) -> list[Any]:
        asked = all_or_none(model.sublayers(include_self=True), variables)
        with paddle.enable_grad():
            value = loss(model, *_tensors(inputs))
            if not isinstance(value, paddle.Tensor) or value.size != 1:
                raise self.no_scalar(value)
            found: Sequence[Any] = [None] * len(variables)
            if not value.stop_gradient and variables:
                found = paddle.grad(value.reshape([]), asked, allow_unused=True)[: len(variables)]
        if variables and all(one is None for one in found):
            raise unused_net()
        for variable, gradient in zip(variables, found, strict=True):
            variable.grad = paddle.zeros_like(variable) if gradient is None else gradient.detach()
        return [to_numpy(variable.grad) for variable in variables]

    def grad(self, variable: Any) -> Any:
        gradient = getattr(variable, "grad", None)
        return None if gradient is None else to_numpy(gradient)

    def set_grad(self, variable: Any, value: Any) -> bool:
        if value is None:
            variable.grad = None
        return True

    # --- ties --------------------------------------------------------------------------------------------------

    def check_tie(self, side: TieSide, handle: Handle) -> None:
        if is_fused(side.layer) and handle.axes is not None:
            raise self.unsupported(
                "tie_transposed", f"Paddle's {type(side.layer).__name__} computes with tensors of its own layout only"
            )

    def tie(self, model: nn.Layer, side: TieSide, handle: Handle) -> None:
        forget(model)
        _unsee(side)
        if handle.axes is None:
            _put(model, side, handle.variable)
            return
        side.layer._parameters[side.part] = None  # its place: optimizers count parameters by position
        side.layer.__dict__.setdefault(_VIEWS, {})[side.part] = handle
        see(side.layer, side.part, _view)

    def untie(self, model: nn.Layer, side: TieSide, value: Any) -> None:
        forget(model)
        old = side.handle.variable
        _unsee(side)
        fresh = from_numpy(np.asarray(value), old.place)
        about = {name: getattr(old, name) for name in _ABOUT}
        _put(model, side, EagerParamBase.from_tensor(fresh, trainable=not old.stop_gradient, **about))

    def notes_on_change(self, model: nn.Layer) -> list[str]:
        notes = ["An optimizer built before this holds the old parameters: build it anew."]
        if any(layer.__dict__.get(_VIEWS) for layer in model.sublayers(include_self=True)):
            notes.append(
                "Paddle's own state_dict() leaves a transposed tie out: save with multiparam, which stores it."
            )
        return notes


def _put(model: nn.Layer, side: TieSide, variable: Any) -> None:
    rename_aliases(model.sublayers(include_self=True), side.layer._parameters.get(side.part), variable)
    if is_fused(side.layer):
        put(side.layer, side.part, variable)
    else:
        setattr(side.layer, side.part, variable)


def _unsee(side: TieSide) -> None:
    if side.layer.__dict__.get(_VIEWS, {}).pop(side.part, None) is not None:
        unsee(side.layer, side.part, _view)


def _view(layer: nn.Layer, part: str) -> Any:
    handle = layer.__dict__[_VIEWS][part]
    return handle.variable.transpose(handle.axes)


def _order(native: Any) -> str:
    """The order of axes that a layer on images was made with, "NHWC"; empty of others."""
    found = (getattr(native, name, None) for name in ("_data_format", "data_format", "_data_layout"))
    return next((order for order in found if isinstance(order, str)), "")


def _tensors(inputs: Sequence[Any]) -> list[Any]:
    return [each_array(lambda array: from_numpy(np.asarray(array)), one) for one in inputs]
