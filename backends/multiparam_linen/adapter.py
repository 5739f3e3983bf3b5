"""The Flax Linen backend's adapter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.nnx import Rngs
from flax.nnx.bridge import ToLinen
from flax.traverse_util import flatten_dict

from multiparam.adapter import (
    ArgumentError,
    Bridges,
    Computed,
    Computes,
    Differentiates,
    Inventory,
    LeftOut,
    Members,
    Row,
    Runs,
    each_array,
    fresh,
    unused_net,
)
from multiparam.model.bridge import bridged_row

from . import layers, plugin
from .model import LEFT_BEHIND, PARAMETERS, Bound, Leaf, Linen, Place, is_array, model_of, place_of
from .settings import said

_BEFORE = "Initialize the layer before it is wrapped, or name in a pattern what its weights are computed from"
_ELSEWHERE = (
    "other processes hold a part of it; jax.experimental.multihost_utils.process_allgather(x, tiled=True), "
    "called in each of them, gives the whole array"
)

_IN_ATTENTION = frozenset(("query", "key", "value", "out"))  # whose kernels have as many axes as a convolution's


class LinenAdapter(Runs, Differentiates, Computes, Bridges):
    """`Linen(module, variables)`, bound modules, and the layers below them."""

    plugin = plugin
    table = layers.table()

    def is_model(self, native: Any) -> bool:
        return isinstance(native, (Linen, nn.Module, Place))

    def is_tensor(self, native: Any) -> bool:
        return isinstance(native, (jax.Array, Leaf))

    def layer_class(self, native: Any) -> type:
        return place_of(native).cls or nn.Module

    def row(self, native: Any) -> Row | None:
        place = place_of(native)
        if place.cls is nn.Module or place.cls is None or not issubclass(place.cls, ToLinen) or place.layer is None:
            return super().row(native)
        rows, path = place.model.rows, place.path
        if path not in rows:
            make = _made_by(place)
            rows[path] = bridged_row(ToLinen, "flax", lambda other: other.model_of(make, None), "/".join)
        row: Row = rows[path]
        return row

    def model_of(self, definition: Any, state: Any) -> Any:
        return Linen(definition, state)

    def kind(self, native: Any) -> str:
        row = self.row(native)
        return self.layer_class(native).__name__ if row is None else row.kind_of(native)

    def settings(self, native: Any) -> dict[str, Any] | None:
        return said(place_of(native))

    def members(self, native: Any) -> Members:
        place = place_of(native)
        parameters: dict[str, Any] = {}
        buffers: dict[str, Any] = {}
        children: dict[str, Any] = {}
        entries = place.entries()
        for collection in sorted(entries, key=lambda name: name != PARAMETERS):
            for name, one in entries[collection].items():
                if isinstance(one, Mapping):
                    children.setdefault(name, place.model.place((*place.path, name)))
                elif not is_array(one):
                    continue  # the inventory tells
                elif collection == PARAMETERS:
                    parameters[name] = place.leaf(collection, name)
                elif name in parameters or name in buffers:
                    buffers[f"{collection}:{name}"] = place.leaf(collection, name)
                else:
                    buffers[name] = place.leaf(collection, name)
        transient = frozenset(name for name, leaf in buffers.items() if leaf.collection == "cache")
        return Members(parameters, buffers, list(children.items()), transient)

    def inventory(self, model: Any) -> Inventory:
        kept: dict[str, Any] = {}
        for (collection, *path), value in flatten_dict(dict(model_of(model).variables)).items():
            if collection not in LEFT_BEHIND:
                place = model_of(model).place(tuple(path[:-1]))
                leaf = place.leaves.get((collection, path[-1])) if path else None
                kept[".".join((collection, *path))] = LeftOut.of(value) if leaf is None else leaf
        return Inventory(self.name, kept)

    def lookup(self, native: Any, name: str) -> Any:
        place = place_of(native)
        entries = place.entries()
        collection, _, own = name.rpartition(":")
        if own in entries.get(collection, {}):
            return place.leaf(collection, own)
        for collection in sorted(entries, key=lambda one: one != PARAMETERS):
            if name in entries[collection] and not isinstance(entries[collection][name], Mapping):
                return place.leaf(collection, name)
        below = any(isinstance(found.get(name), Mapping) for found in entries.values())
        return place.model.place((*place.path, name)) if below else None

    # --- variables ---------------------------------------------------------------------------------------------

    def read(self, variable: Leaf) -> Any:
        return np.asarray(variable.value)

    def write(self, variable: Leaf, value: Any) -> None:
        old, own = variable.value, fresh(value)  # JAX takes aligned memory over
        placed = isinstance(old, jax.Array) and not isinstance(old, jax.core.Tracer)
        variable.value = jax.device_put(own, old.sharding) if placed else jnp.asarray(own)

    def shape(self, variable: Leaf) -> tuple[int, ...]:
        return tuple(np.shape(variable.value))

    def dtype(self, variable: Leaf) -> np.dtype[Any]:
        return np.dtype(jnp.result_type(variable.value))

    def native(self, variable: Leaf) -> Any:
        return variable.value

    def device(self, variable: Leaf) -> str:
        value = variable.value
        return ", ".join(sorted(str(device) for device in value.devices())) if isinstance(value, jax.Array) else "cpu"

    def initialized(self, variable: Leaf) -> bool:
        return not isinstance(variable.value, jax.ShapeDtypeStruct)

    def computed(self, native: Any) -> Iterator[Computed]:
        place = place_of(native)
        if place.cls in (nn.WeightNorm, nn.SpectralNorm):
            for collection, own in place.entries().items():
                for name in own:
                    *path, part, _ = name.split("/")
                    layer = place.model.place((*place.path[:-1], *path))
                    if part in layer.entries().get(PARAMETERS, {}):
                        originals = [layer.leaf(PARAMETERS, part), place.leaf(collection, name)]
                        yield Computed(name.rpartition("/")[0], originals, place.cls.__name__, why=_BEFORE)

    def abstract(self, variable: Leaf) -> str:
        is_shape = isinstance(variable.value, jax.ShapeDtypeStruct)
        return "the variables are shapes, as jax.eval_shape makes them: call module.init for real" if is_shape else ""

    def unreachable(self, variable: Leaf) -> str:
        value = variable.value
        return _ELSEWHERE if isinstance(value, jax.Array) and not _is_whole(value) else ""

    def tensor(self, value: Any) -> jax.Array:
        return _batch(fresh(value))

    def array(self, tensor: Any) -> Any:
        return np.asarray(tensor.value if isinstance(tensor, Leaf) else tensor)

    def channels_last(self, native: Any) -> bool:
        return bool(place_of(native).argument("axis", -1) != 1)

    def untold(self, native: Any) -> tuple[frozenset[int], str]:
        place = place_of(native)
        ranks = frozenset(np.ndim(one) for one in place.entries().get(PARAMETERS, {}).values() if np.ndim(one) > 2)
        if not ranks or place.cls is not None or (place.path and place.path[-1] in _IN_ATTENTION):
            return frozenset(), ""
        return ranks, "its class is not known; multiparam_linen.Linen(module, variables, x) learns it from a batch x"

    # --- running -----------------------------------------------------------------------------------------------

    def run(self, model: Any, inputs: Sequence[Any]) -> Any:
        return model_of(model)(*(each_array(_batch, one) for one in inputs))

    @contextmanager
    def watch(self, layers: Sequence[Any], seen: Callable[..., None]) -> Iterator[None]:
        watched = {place_of(layer).path: layer for layer in layers}
        running: set[Any] = set()

        def call(method: Any, args: Any, kwargs: Any, context: Any) -> Any:
            scope = context.module.scope
            path = tuple(scope.path) if scope is not None and context.method_name == "__call__" else None
            if path not in watched or path in running:  # a class that calls its base's is one call
                return method(*args, **kwargs)
            running.add(path)
            try:
                output = method(*args, **kwargs)
            finally:
                running.discard(path)
            if not any(isinstance(one, jax.core.Tracer) for one in jax.tree.leaves((args, kwargs, output))):
                seen(watched[path], output, (args, kwargs))
            return output

        with nn.intercept_methods(call):
            yield

    def gradients(
        self, model: Any, loss: Callable[..., Any], inputs: Sequence[Any], variables: Sequence[Any]
    ) -> list[Any]:
        held = model_of(model)
        batches = [each_array(_batch, one) for one in inputs]

        def scalar(values: list[Any]) -> Any:
            value = loss(_with_values(held, variables, values), *batches)
            if not isinstance(value, jax.Array) or np.size(value) != 1 or not jnp.issubdtype(value.dtype, jnp.inexact):
                raise self.no_scalar(value)
            if variables and not isinstance(value, jax.core.Tracer):
                raise unused_net()
            return jnp.reshape(value, ())

        return [np.asarray(one) for one in jax.grad(scalar)([variable.value for variable in variables])]


def _made_by(place: Place) -> Callable[[], Any]:
    """What makes the NNX module that lies in a place."""
    cls, arguments, options = (place.argument(name) for name in ("nnx_class", "args", "kwargs"))
    # generators made within, where the module is traced
    return lambda: cls(*arguments, **options, **({} if place.argument("skip_rng") else {"rngs": Rngs(0)}))


def _is_whole(value: jax.Array) -> bool:
    return isinstance(value, jax.core.Tracer) or value.is_fully_addressable


def _with_values(model: Linen, variables: Sequence[Leaf], values: list[Any]) -> Any:
    """The model as a loss takes it, with other values for some variables."""
    tree = jax.tree.map(lambda one: one, model.variables)  # dicts of its own
    other = model.with_variables(tree)
    for variable, value in zip(variables, values, strict=True):
        other.place(variable.place.path).leaf(variable.collection, variable.name).value = value
    if not isinstance(model, Bound):
        return other
    if model.path:
        raise ArgumentError("gradients are of a whole model; this module is bound as a part of another")
    return model.module.unbind()[0].bind(tree)


def _batch(array: Any) -> jax.Array:
    made = jnp.asarray(array)
    if array.dtype.kind in "iu" and made.dtype != array.dtype and not np.array_equal(made, array):
        raise ArgumentError(f"{array.dtype} numbers do not fit into {made.dtype}: enable jax_enable_x64")
    return made
