"""The MXNet Gluon backend's adapter."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # about numpy names that numpy 1.24 took away
    import mxnet as mx
    from mxnet import autograd, gluon
    from mxnet.util import is_np_array

from multiparam.adapter import (
    NOTHING,
    ArgumentError,
    Differentiates,
    Freezes,
    Handle,
    Inventory,
    Lazy,
    Members,
    Runs,
    Ties,
    TieSide,
    each_array,
    unused_net,
)

from . import layers, plugin
from .constants import constants
from .deferred import begin, when_ready
from .held import auxiliary, is_registered, unregistered
from .replacing import Transposed, forget, own_again, put
from .settings import said
from .tensors import clear, from_numpy, numpy_dtype, store, to_numpy

_NONE: frozenset[str] = frozenset()
_FUSING = (gluon.nn.Dense, gluon.nn.conv_layers._Conv)  # layers that call an activation by themselves, `act`


class MXNetAdapter(Runs, Differentiates, Freezes, Lazy, Ties):
    """`mxnet.gluon.Block`s, of `mx.nd` and of `mx.np` arrays."""

    plugin = plugin
    table = layers.table()
    reads_copies = True

    def is_model(self, native: Any) -> bool:
        return isinstance(native, gluon.Block)

    def is_tensor(self, native: Any) -> bool:
        return isinstance(native, (mx.nd.NDArray, gluon.Parameter))

    def settings(self, native: Any) -> dict[str, Any] | None:
        return said(native)

    def label(self, native: gluon.Block) -> str:
        return str(native.name)

    def members(self, native: gluon.Block) -> Members:
        row, own, absent = self.row(native), native._reg_params, constants(native)
        statistics = _NONE if row is None else row.buffer_parts
        below = _below(native)
        children = [*below.items()] if below else ()
        plain = {*map(type, own.values())} <= {gluon.Parameter} and not isinstance(native, gluon.SymbolBlock)
        if plain and not (absent or statistics) and is_registered(native):
            return Members(dict(own), NOTHING, children)
        own = {key: _seen(one) for key, one in (own | unregistered(native)).items() if key not in absent}
        moving = auxiliary(native)
        buffers = {key for key, one in own.items() if isinstance(one, gluon.Constant) or key in statistics | moving}
        return Members(
            parameters={key: one for key, one in own.items() if key not in buffers},
            buffers={key: one for key, one in own.items() if key in buffers},
            children=children,
        )

    def lookup(self, native: gluon.Block, name: str) -> Any:
        found = native._reg_params.get(name)
        found = unregistered(native).get(name) if found is None else found
        return native._children.get(name) if found is None else _seen(found)

    def inventory(self, model: gluon.Block) -> Inventory:
        neutral = {
            id(one) for block in _blocks(model) for key, one in block._reg_params.items() if key in constants(block)
        }
        listed = {**model._collect_params_with_prefix(), **model.collect_params()}
        found = {name: getattr(one, "owner", one) for name, one in listed.items() if id(one) not in neutral}
        return Inventory(self.name, found)

    # --- variables ---------------------------------------------------------------------------------------------

    def read(self, variable: Any) -> Any:
        return to_numpy(variable._data[0])

    def write(self, variable: Any, value: Any) -> None:
        trainer = variable._trainer
        if trainer and trainer._kv_initialized and trainer._update_on_kvstore:
            trainer._reset_kvstore()  # as Parameter.set_data does, or the old numbers come back
        fresh = from_numpy(np.asarray(value), variable.list_ctx()[0])
        with autograd.pause():
            for one in variable._data:
                store(fresh, one)

    def shape(self, variable: Any) -> tuple[int, ...] | None:
        return None if variable._data is None else tuple(variable._data[0].shape)

    def dtype(self, variable: Any) -> np.dtype[Any]:
        return numpy_dtype(variable.dtype)

    def device(self, variable: Any) -> str:
        if not self.initialized(variable):
            return "cpu"
        return ", ".join(f"{one.device_type}:{one.device_id}" for one in variable.list_ctx())

    def initialized(self, variable: Any) -> bool:
        return variable._data is not None

    def tensor(self, value: Any) -> Any:
        return from_numpy(np.asarray(value))

    def array(self, tensor: Any) -> Any:
        return to_numpy(tensor.data() if isinstance(tensor, gluon.Parameter) else tensor)

    def trainable(self, variable: Any) -> bool:
        return bool(variable.grad_req != "null")

    def set_trainable(self, model: gluon.Block, layers: Sequence[Any], variable: Any, value: bool) -> None:
        if value == self.trainable(variable):
            return
        if value and not variable._differentiable:
            raise self.unsupported("trainable", f"Gluon's {variable.name} cannot be differentiated")
        if not value:
            variable.multiparam_request = variable.grad_req
        forget(model)
        variable.grad_req = getattr(variable, "multiparam_request", "write") if value else "null"

    # --- running -----------------------------------------------------------------------------------------------

    def channels_last(self, native: Any) -> bool:
        options = getattr(native, "_kwargs", {})
        if "layout" in options:
            return bool(options["layout"].endswith("C"))
        norm = "eps" in options and not isinstance(native, gluon.nn.LayerNorm)
        return norm and options.get("axis", 1) != 1

    def images(self, native: Any) -> frozenset[int]:
        order = getattr(native, "_kwargs", {}).get("layout", "")
        return super().images(native) | (frozenset((len(order),)) if order.endswith("C") else frozenset())

    def begin(self, model: gluon.Block) -> None:
        begin(model)

    def run(self, model: gluon.Block, inputs: Sequence[Any]) -> Any:
        begin(model)
        with autograd.pause(train_mode=False):
            return model(*_tensors(model, inputs))

    @contextmanager
    def watch(self, layers: Sequence[Any], seen: Callable[..., None]) -> Iterator[None]:
        def hook(layer: Any, inputs: Any, output: Any) -> None:
            first = output
            while isinstance(first, (list, tuple)) and first:
                first = first[0]
            if isinstance(first, mx.nd.NDArray):  # a hybridized model's graph is made with symbols
                seen(layer, output, inputs)

        hooks = [layer.register_forward_hook(hook) for layer in layers]
        try:
            yield
        finally:
            for one in hooks:
                one.detach()

    def when_ready(self, layer: Any, call: Callable[[Any], None]) -> None:
        when_ready(layer, call)

    def gradients(
        self, model: gluon.Block, loss: Callable[..., Any], inputs: Sequence[Any], variables: Sequence[Any]
    ) -> list[Any]:
        for variable in variables:
            if variable._stype != "default":
                raise self.unsupported(
                    "gradients", f"Gluon reads the sparse {variable.name} by rows only, in a Trainer"
                )
            if not _is_marked(variable):  # of a copied model
                autograd.mark_variables(variable._data, variable._grad, variable.grad_req)
        with autograd.record():
            value = loss(model, *_tensors(model, inputs))
        if not isinstance(value, mx.nd.NDArray) or value.size != 1:
            raise self.no_scalar(value)
        _forget_gradients(variables)
        try:
            value.backward()
        except mx.MXNetError as error:
            if "not in a computational graph" not in str(error):
                raise
        if variables and not any(one._fresh_grad for variable in variables for one in variable._data):
            raise unused_net()
        for variable in variables:
            for one in variable._data:
                one._fresh_grad = True
        return [_summed(variable) for variable in variables]

    def grad(self, variable: Any) -> Any:
        if not variable._grad:
            return None
        array = _summed(variable)
        # the zeros that Gluon has before the first backward are none
        return array if array.any() or (_is_marked(variable) and variable._data[0]._fresh_grad) else None

    def set_grad(self, variable: Any, value: Any) -> bool:
        if value is None and isinstance(variable, gluon.Parameter) and variable._grad and _is_marked(variable):
            with autograd.pause():
                for one in variable._grad:
                    clear(one)
            for one in variable._data:
                one._fresh_grad = False
        return True

    # --- ties --------------------------------------------------------------------------------------------------

    def check_tie(self, side: TieSide, handle: Handle) -> None:
        if isinstance(side.layer, gluon.SymbolBlock):
            raise self.unsupported("tie", "an imported SymbolBlock computes with the parameters of its own graph only")
        if side.part not in side.layer._reg_params:
            raise ArgumentError(f"{side.part!r} is in the block's params only: make it an attribute to tie it")

    def tie(self, model: gluon.Block, side: TieSide, handle: Handle) -> None:
        forget(model)
        put(side.layer, side.part, handle.variable if handle.axes is None else Transposed(handle.variable, handle.axes))

    def untie(self, model: gluon.Block, side: TieSide, value: Any) -> None:
        forget(model)
        old = side.handle.variable
        fresh = own_again(model, side.layer, side.part, old)
        legacy = not isinstance(old._data[0], mx.np.ndarray)
        fresh._init_impl(from_numpy(np.asarray(value), legacy=legacy), old.list_ctx())
        put(side.layer, side.part, fresh)

    def notes_on_change(self, model: gluon.Block) -> list[str]:
        notes = ["A gluon.Trainer built before this holds the old parameters: build it anew."]
        if isinstance(model, gluon.HybridBlock):
            notes.append("A hybridized block around this one computes as before until its hybridize() is called again.")
        return notes


def _blocks(model: gluon.Block) -> Iterator[gluon.Block]:
    yield model
    for child in model._children.values():
        yield from _blocks(child)


def _below(native: gluon.Block) -> Any:
    """The children, but for the activation that a layer calls by itself."""
    fused = native.act if isinstance(native, _FUSING) else None
    return {key: one for key, one in native._children.items() if one is not fused} if fused else native._children


def _seen(parameter: Any) -> Any:
    return Handle(parameter.owner, parameter.axes) if isinstance(parameter, Transposed) else parameter


def _tensors(model: gluon.Block, inputs: Sequence[Any]) -> list[Any]:
    parameters = model.collect_params().values()
    first = next((one for one in parameters if one._data or one._deferred_init), None)
    context = mx.current_context() if first is None else first.list_ctx()[0]
    if first is not None and first._data and isinstance(first._data[0], mx.np.ndarray) != is_np_array():
        made, now = ("after", "is off") if not is_np_array() else ("before", "is on")
        raise ArgumentError(
            f"the model was made {made} npx.set_np() was called, which {now} now: make it anew, or switch"
        )
    return [each_array(lambda array: from_numpy(np.asarray(array), context), one) for one in inputs]


def _summed(parameter: Any) -> Any:
    """The gradient, of all devices together."""
    first, *others = (to_numpy(one) for one in parameter._grad)
    return sum(others, first)


def _forget_gradients(variables: Sequence[Any]) -> None:
    """Sets gradients to zero, and notes that they are none."""
    for variable in variables:
        with autograd.pause():
            for gradient in variable._grad:
                clear(gradient)
        for one in variable._data:
            one._fresh_grad = False


def _is_marked(parameter: Any) -> bool:
    """Whether autograd knows the parameter; a copied model's are not marked yet."""
    data = parameter._data[0]
    try:
        data._fresh_grad = data._fresh_grad  # only an array that is marked can be told
    except mx.MXNetError:
        return False
    return True
