"""The Keras backend's adapter."""

from __future__ import annotations

import functools
import importlib
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import ml_dtypes
import numpy as np
from keras.src.models import Functional

from multiparam.adapter import (
    Carries,
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
    SavesNames,
    Ties,
    TieSide,
    each_array,
    escape,
    is_container,
    leaves,
    replace,
    resolve,
    see,
    unsee,
    unused_net,
)

from . import layers, plugin
from .compiled import reset
from .images import image_ranks_of
from .layers import ACTIVATIONS
from .own_state import Kept, inventory, kept
from .settings import said
from .walk import (
    VIEWS,
    contents,
    held,
    in_known_places,
    is_buffer,
    is_layer,
    is_opaque,
    is_variable,
    listed_child,
    variable_at,
)

_BEFORE = "Initialize the model before it is quantized, and quantize it then"
_WAITING = "_multiparam_waiting"


class KerasAdapter(Runs, Differentiates, Freezes, Lazy, Ties, SavesNames, Computes, KeepsOwnState, Carries):
    """Keras 3 layers and models, on whichever backend Keras itself runs."""

    plugin = plugin
    table = layers.table()

    def __init__(self) -> None:
        self._engine = importlib.import_module(f".engine_{keras.backend.backend()}", __package__)
        self._replaced: weakref.WeakSet[Any] = weakref.WeakSet()

    def is_model(self, native: Any) -> bool:
        return is_layer(native)

    def is_tensor(self, native: Any) -> bool:
        return is_variable(native) or keras.ops.is_tensor(native)

    def kind(self, native: Any) -> str:
        if isinstance(native, keras.layers.Activation):
            name = getattr(native.activation, "__name__", "Activation")
            return ACTIVATIONS.get(name, name)
        return super().kind(native)

    def settings(self, native: Any) -> dict[str, Any] | None:
        return said(native)

    def label(self, native: Any) -> str:
        return str(native.name) if is_layer(native) else ""

    def members(self, native: Any) -> Members:
        row = self.table.row(type(native))
        if row is not None and row.native is type(native) and not callable(row.sources) and is_layer(native):
            sources = [part for one in row.sources.values() for part in one.parts] if row.sources else ()
            found = in_known_places(native, sources, row.buffer_parts)
            if found is not None:
                return Members(*found)
        variables, children = contents(native)
        buffers = {key: one for key, one in variables.items() if is_buffer(native, one)}
        views = native.__dict__.get(VIEWS, {}) if is_layer(native) else {}
        return Members(
            parameters={**{key: one for key, one in variables.items() if key not in buffers}, **views},
            buffers={**buffers, **kept(native)} if is_layer(native) else buffers,
            children=children,
            transient=frozenset(key for key in buffers if _is_between_batches(native, key)),
            opaque=is_opaque(native) and (row is None or row.lazy is None or row.lazy(native) is None),
        )

    def lookup(self, native: Any, name: str) -> Any:
        views = getattr(native, "__dict__", {}).get(VIEWS, {})
        if name in views:
            return views[name]
        found = self._below(native, name)
        found = variable_at(native, name) if found is None else found
        found = kept(native).get(name) if found is None and is_layer(native) else found
        return super().lookup(native, name) if found is None else found

    def _below(self, native: Any, key: str) -> Any:
        """A layer or container in another, where it is found without listing."""
        if type(native) is keras.Sequential and key.isdigit() and int(key) < len(native.layers):
            return native.layers[int(key)]
        found = resolve(native, escape(key))
        if is_layer(found) or is_container(found):
            return found
        return listed_child(native, key) if isinstance(native, keras.Model) else None

    def inventory(self, model: Any) -> Inventory:
        return inventory(model, self.name)

    def saved(self, model: Any, labels: Mapping[str, str]) -> Mapping[str, Any]:
        try:
            from .saver import saved  # here, since it takes parts of Keras that another release may call otherwise
        except ImportError:
            return {}
        return saved(model, labels)

    # --- variables ---------------------------------------------------------------------------------------------

    def read(self, variable: Any) -> Any:
        return self._engine.to_numpy(variable.value).astype(self.dtype(variable), copy=False)

    def write(self, variable: Any, value: Any) -> None:
        with self._engine.outside_graphs():
            variable.assign(self._engine.copied(_wide(value)))

    def computed(self, native: Any) -> Iterator[Computed]:
        mode = getattr(native, "quantization_mode", None)
        if mode is not None and mode != "float8":  # whose kernel is still one of real numbers
            name = "embeddings" if isinstance(native, keras.layers.Embedding) else "kernel"
            yield Computed(name, (), f"quantization ({mode})", why=_BEFORE)

    def unreachable(self, variable: Any) -> str:
        found: str = self._engine.unreachable(variable.value)
        return found

    def initialized(self, variable: Any) -> bool:
        return not self._engine.abstract(variable.value)

    def abstract(self, variable: Any) -> str:
        return (
            "" if self.initialized(variable) else "it was made as a shape only, on a meta device: build the model anew"
        )

    def written(self, layer: Any) -> None:
        if hasattr(layer, "finalize_state") and layer.built:
            layer.finalize_state()  # what a Normalization computes with is made from its variables

    def any_shape(self, variable: Any) -> bool:
        return isinstance(variable, Kept)

    def shape(self, variable: Any) -> tuple[int, ...]:
        return tuple(variable.shape)

    def dtype(self, variable: Any) -> np.dtype[Any]:
        return _numpy_dtype(variable.dtype)

    def carrier(self, variable: Any) -> Any:
        return variable.value

    def device(self, variable: Any) -> str:
        found: str = self._engine.device(variable)
        return found

    def tensor(self, value: Any) -> Any:
        return keras.ops.convert_to_tensor(self._engine.copied(_wide(value)), dtype=str(value.dtype))

    def array(self, tensor: Any) -> Any:
        if is_variable(tensor):
            return self.read(tensor)
        dtype = _numpy_dtype(keras.backend.standardize_dtype(tensor.dtype))
        return self._engine.to_numpy(tensor).astype(dtype, copy=False)

    def trainable(self, variable: Any) -> bool:
        return bool(variable.trainable)

    def set_trainable(self, model: Any, layers: Sequence[Any], variable: Any, value: bool) -> None:
        if variable.trainable == value and (not value or all(layer.trainable for layer in layers if is_layer(layer))):
            return
        variable.trainable = value
        for layer in layers:
            if value and is_layer(layer) and not layer.trainable:
                layer._trainable = True  # the flag alone: the setter would thaw the layer's other variables too
        self._changed(model)

    def channels_last(self, native: Any) -> bool:
        # a norm has no data_format, and its axis is the last unless it says otherwise
        return getattr(native, "data_format", "channels_last") == "channels_last" and getattr(native, "axis", -1) != 1

    def images(self, native: Any) -> frozenset[int]:
        return super().images(native) | (image_ranks_of(native) if self.channels_last(native) else frozenset())

    # --- running -----------------------------------------------------------------------------------------------

    def run(self, model: Any, inputs: Sequence[Any]) -> Any:
        batches = [each_array(keras.ops.convert_to_tensor, one) for one in inputs]
        # a functional model takes its inputs as one structure, a call method as it says
        packed = [batches] if isinstance(model, Functional) and len(batches) > 1 else batches
        with self._engine.without_gradient():
            return model(*packed, training=False)

    @contextmanager
    def watch(self, layers: Sequence[Any], seen: Callable[..., None]) -> Iterator[None]:
        watched = {id(layer) for layer in layers}
        original = keras.layers.Layer.__call__

        @functools.wraps(original)
        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            output = original(layer, *args, **kwargs)
            if id(layer) in watched and not self._engine.compiling():
                tensors = leaves((args, kwargs, output), _is_any_tensor)
                if all(self._has_numbers(one) for _, one in tensors):
                    seen(layer, output, (args, kwargs))
            return output

        keras.layers.Layer.__call__ = call
        try:
            yield
        finally:
            keras.layers.Layer.__call__ = original

    def _has_numbers(self, tensor: Any) -> bool:
        return not isinstance(tensor, keras.KerasTensor) and bool(self._engine.has_numbers(tensor))

    def when_ready(self, layer: Any, call: Callable[[Any], None]) -> None:
        waiting = layer.__dict__.get(_WAITING)
        if waiting is not None:
            waiting.append(call)
            return
        layer.__dict__[_WAITING] = [call]
        original = layer.build

        @functools.wraps(original)
        def build(*args: Any, **kwargs: Any) -> None:
            original(*args, **kwargs)
            layer.build = original
            calls = layer.__dict__.pop(_WAITING)
            _once_valued(layer.variables, lambda: self._carry_out(layer, calls))

        layer.build = build

    def _carry_out(self, layer: Any, calls: list[Callable[[Any], None]]) -> None:
        with self._engine.outside_graphs():  # a batch may come while a function is being traced
            for one in calls:
                one(layer)

    def gradients(
        self, model: Any, loss: Callable[..., Any], inputs: Sequence[Any], variables: Sequence[Any]
    ) -> list[Any]:
        def scalar(net: Any, *batches: Any) -> Any:
            value = loss(net, *batches)
            if not keras.ops.is_tensor(value) or keras.ops.size(value) != 1:
                raise self.no_scalar(value)
            return value

        batches = [each_array(keras.ops.convert_to_tensor, one) for one in inputs]
        found = self._engine.gradients(model, scalar, batches, variables) if variables else []
        if variables and not found:
            raise unused_net()
        return [
            self._engine.to_numpy(g).astype(self.dtype(v), copy=False) for g, v in zip(found, variables, strict=True)
        ]

    def grad(self, variable: Any) -> Any:
        own = self._engine.own_gradient(variable) if is_variable(variable) else None
        return None if own is None else self._engine.to_numpy(own)

    def set_grad(self, variable: Any, value: Any) -> bool:
        if value is None and is_variable(variable):
            self._engine.drop_gradient(variable)
        return False  # PyTorch keeps some, and not of what was frozen meanwhile

    # --- ties --------------------------------------------------------------------------------------------------

    def tie(self, model: Any, side: TieSide, handle: Handle) -> None:
        self._put(side, handle)
        self._changed(model)

    def untie(self, model: Any, side: TieSide, value: Any) -> None:
        old = side.handle.variable
        # trainable at first: TensorFlow's own variable keeps for ever what it is made with
        fresh = keras.Variable(
            _wide(value), dtype=old.dtype, trainable=True, name=side.part.strip("_").replace("/", "_")
        )
        fresh.trainable = old.trainable
        fresh._path = f"{side.layer.path}/{fresh.name}"
        for name in ("regularizer", "constraint", "overwrite_with_gradient"):
            setattr(fresh, name, getattr(old, name))
        self._put(side, Handle(fresh))
        self._changed(model)

    def notes_on_change(self, model: Any) -> list[str]:
        notes = ["A model compiled around this one must be compiled anew."]
        if model in self._replaced:
            self._replaced.discard(model)
            notes.append("The compiled optimizer was replaced by a new one: its moments and step count start anew.")
        return notes

    def _put(self, side: TieSide, handle: Handle) -> None:
        """Makes a layer's tensor be the handle's variable, in the same place of the layer's lists and attributes."""
        layer, part = side.layer, side.part
        views = layer.__dict__.setdefault(VIEWS, {})
        if views.pop(part, None) is not None:
            unsee(layer, part, _view)
            if not views:
                self._weights_as_kept(layer)
        elsewhere = [path for path, one in held(layer).items() if one is side.handle.variable and path != part]
        elsewhere += [path for path, other in views.items() if other.variable is side.handle.variable]
        _retrack(layer, side.handle.variable, handle.variable, keep=bool(elsewhere))
        if handle.axes is None:
            replace(layer, part, handle.variable)
            return
        layer.__dict__[part] = None  # its place among the attributes
        views[part] = handle
        see(layer, part, _view)
        self._weights_as_kept(layer)

    def _weights_as_kept(self, layer: Any) -> None:
        """Has Keras save and load a layer's own weights only, where it sees others as its own."""
        for name, method in (("save_own_variables", _save_own), ("load_own_variables", _load_own)):
            if layer.__dict__[VIEWS]:
                layer.__dict__[name] = functools.partial(method, layer)
            else:
                layer.__dict__.pop(name, None)

    def _changed(self, model: Any) -> None:
        # a model of the engine's own may have Keras's layers in it
        tops = [model] if is_layer(model) else self._engine.layers_in(model, is_layer)
        layers = [one for top in tops for one in (top, *top._flatten_layers(include_self=False, recursive=True))]
        self._engine.forget(layers)
        if reset(layers):
            self._replaced.add(model)


def _once_valued(variables: Sequence[Any], call: Callable[[], Any]) -> None:
    """Calls it now, or once the variables have values that Keras makes while it traces shapes only."""
    left = {id(one) for one in variables if one._value is None}
    if not left:
        call()

    def initialize(variable: Any) -> None:
        del variable.__dict__["_deferred_initialize"]
        variable._deferred_initialize()
        left.discard(id(variable))
        if not left:
            call()

    for one in variables:
        if one._value is None:
            one._deferred_initialize = functools.partial(initialize, one)


def _is_between_batches(layer: Any, name: str) -> bool:
    """Whether a variable is what a stateful recurrent layer keeps from a batch to the next."""
    return isinstance(layer, keras.layers.RNN) and name.startswith("states.")


def _retrack(layer: Any, old: Any, new: Any, keep: bool) -> None:
    """Puts one variable in another's place in a layer's lists, as a weight even while it is frozen.

    Positions count: `get_weights`, `save_weights` and optimizers know variables by them.
    """
    name = "trainable_variables"
    store, ids = layer._tracker.config[name][1], layer._tracker.stored_ids[name]
    position = next((index for index, one in enumerate(store) if one is old), len(store))
    if not keep and id(old) in ids:
        del store[position]
        ids.discard(id(old))
    if id(new) not in ids:
        store.insert(position + keep, new)
        ids.add(id(new))


def _save_own(layer: Any, store: Any) -> None:
    for index, variable in enumerate(_kept(layer)):
        store[str(index)] = variable


def _load_own(layer: Any, store: Any) -> None:
    for index, variable in enumerate(_kept(layer)):
        variable.assign(store[str(index)])


def _kept(layer: Any) -> list[Any]:
    return list(contents(layer)[0].values())


def _view(layer: Any, part: str) -> Any:
    handle = layer.__dict__[VIEWS][part]
    return keras.ops.transpose(handle.variable, handle.axes)


def _numpy_dtype(name: str) -> np.dtype[Any]:
    return np.dtype(getattr(ml_dtypes, name, name))


def _wide(array: Any) -> Any:
    """Dtypes that Keras's backends do not take from numpy, as float32, which holds all their values."""
    return array.astype(np.float32) if array.dtype.kind == "V" or array.dtype.name.startswith("float8") else array


def _is_any_tensor(native: Any) -> bool:
    return isinstance(native, keras.KerasTensor) or bool(keras.ops.is_tensor(native))


def _described(value: Any) -> str:
    return f"of shape {tuple(value.shape)}" if keras.ops.is_tensor(value) else type(value).__name__
