"""The Flax NNX backend's adapter."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from multiparam.adapter import (
    ArgumentError,
    Bridges,
    Computed,
    Computes,
    Differentiates,
    Freezes,
    Handle,
    Inventory,
    Lazy,
    Members,
    Row,
    Runs,
    Ties,
    TieSide,
    collect,
    each_array,
    entries,
    escape,
    fresh,
    is_container,
    replace,
    resolve,
    see,
    unsee,
    unused_net,
)
from multiparam.model.bridge import bridged_row

from . import layers, plugin
from .additions import ACTIVATIONS, NamedSequential
from .arrays import LEFT_BEHIND, ArrayAt, array_at, holds_array, inventory, is_array
from .attributes import attributes
from .settings import said

_VIEW = "_multiparam_view_"
_ORDER = "_multiparam_order_"
_GENERATORS = (nnx.Rngs, nnx.RngStream)
_BEFORE = "Initialize the layer before it is wrapped, or name in a pattern what its weights are computed from"
_ELSEWHERE = (
    "other processes hold a part of it; jax.experimental.multihost_utils.process_allgather(x, tiled=True), "
    "called in each of them, gives the whole array"
)


# functions of jax.nn (nnx's are the same) that stand in a Sequential as they are, with the defaults they then have
_FUNCTIONS = {name: Row(kind, object) for kind, name in ACTIVATIONS.items()} | {
    "gelu": Row("GELU", object, settings=lambda function: {"approximate": "tanh"}),
    "leaky_relu": Row("LeakyReLU", object, settings=lambda function: {"negative_slope": 0.01}),
    "elu": Row("ELU", object, settings=lambda function: {"alpha": 1.0}),
    "softmax": Row("Softmax", object, settings=lambda function: {"dim": -1}),
    "log_softmax": Row("LogSoftmax", object, settings=lambda function: {"dim": -1}),
    "celu": Row("CELU", object, settings=lambda function: {"alpha": 1.0}),
    "glu": Row("GLU", object, settings=lambda function: {"dim": -1}),
    "swish": Row("SiLU", object),
    "hard_silu": Row("Hardswish", object),
}


class FlaxAdapter(Runs, Differentiates, Freezes, Lazy, Ties, Computes, Bridges):
    """`nnx.Module`s."""

    plugin = plugin
    table = layers.table()

    def __init__(self) -> None:
        self._rows: dict[int, tuple[Any, tuple[str, ...], Row | None]] = {}

    def is_model(self, native: Any) -> bool:
        return isinstance(native, nnx.Module)

    def is_tensor(self, native: Any) -> bool:
        return isinstance(native, (jax.Array, nnx.Variable))

    def row(self, native: Any) -> Row | None:
        if _is_function(native):
            return _FUNCTIONS.get(getattr(native, "__name__", ""))
        if isinstance(native, nnx.bridge.ToNNX):
            return self._bridged(native)
        return super().row(native)

    def _bridged(self, native: Any) -> Row | None:
        """The row of a Linen module in NNX, made once for as long as it holds the same."""
        own = {k: v for k, v in vars(native).items() if not k.startswith(("to_nnx__", "_pytree__", "_object__"))}
        kept = self._rows.get(id(native))
        if kept is None or kept[0]() is not native or kept[1] != tuple(own):
            state = _collections(own)
            row = None
            if state:
                module = native.to_nnx__module
                row = bridged_row(nnx.bridge.ToNNX, "linen", lambda other: other.model_of(module, state), ".".join)
            kept = self._rows[id(native)] = (weakref.ref(native), tuple(own), row)
        return kept[2]

    def model_of(self, definition: Any, state: Any) -> Any:
        return nnx.eval_shape(definition)

    def kind(self, native: Any) -> str:
        if _is_function(native) and self.row(native) is None:
            return getattr(native, "__name__", type(native).__name__)
        return super().kind(native)

    def settings(self, native: Any) -> dict[str, Any] | None:
        return said(native)

    def members(self, native: Any) -> Members:
        if is_container(native):
            return Members(children=collect(entries(native), _is_layer, _is_variable)[1])
        if not _is_layer(native):
            return Members()  # a plain function in a Sequential
        listed: list[tuple[str, Any]] = []
        if isinstance(native, NamedSequential):
            listed = list(zip(native.names, native.layers, strict=True))
        elif isinstance(native, nnx.Sequential):
            listed = [(str(index), layer) for index, layer in enumerate(native.layers)]
        views = {key[len(_VIEW) :]: _viewed(native, key[len(_VIEW) :]) for key in vars(native) if key.startswith(_VIEW)}
        own = attributes(native, without="layers" if listed else "", beside=views)
        variables, children = collect(own, _is_layer, _is_state)
        variables = {k: v for k, v in variables.items() if not is_array(v) or not array_at(native, k).unwritable()}
        arrays = {k for k, v in variables.items() if is_array(v)}
        buffers = {k: v for k, v in variables.items() if k not in arrays and not _is_parameter(v)}
        return Members(
            parameters={k: v for k, v in variables.items() if _is_parameter(v)},
            buffers={**buffers, **{k: array_at(native, k) for k in variables if k in arrays}},
            children=[*listed, *children],
            transient=frozenset(k for k, v in variables.items() if isinstance(v, nnx.Cache)),
            optional=frozenset(arrays),
        )

    def lookup(self, native: Any, name: str) -> Any:
        if hasattr(native, _VIEW + name):
            return _viewed(native, name)
        if isinstance(native, NamedSequential) and name in native.names:
            return native.layers[native.names.index(name)]
        if isinstance(native, nnx.Sequential) and name.isdigit():
            return resolve(native.layers, name)
        found = resolve(native, name)
        if is_array(found) and _is_layer(native):
            return array_at(native, name)
        if _is_variable(found):
            return found
        below = resolve(native, escape(name))
        return below if _is_layer(below) or is_container(below) else None

    def inventory(self, model: Any) -> Inventory:
        return inventory(model, self.name)

    # --- variables ---------------------------------------------------------------------------------------------

    def read(self, variable: nnx.Variable[Any]) -> Any:
        return np.asarray(variable.get_value())

    def write(self, variable: nnx.Variable[Any], value: Any) -> None:
        old = variable.get_value()
        if isinstance(variable, ArrayAt) and isinstance(old, np.ndarray):
            variable.set_value(np.array(value))
            return
        own = fresh(value)  # JAX takes aligned memory over
        if isinstance(old, jax.core.Tracer) or not isinstance(old, jax.Array):
            variable.set_value(jnp.asarray(own))
        else:
            variable.set_value(jax.device_put(own, old.sharding))

    def unwritable(self, variable: Any) -> str:
        return variable.unwritable() if isinstance(variable, ArrayAt) else ""

    def native(self, variable: Any) -> Any:
        return variable.get_value() if isinstance(variable, ArrayAt) else variable

    def shape(self, variable: nnx.Variable[Any]) -> tuple[int, ...]:
        return tuple(np.shape(_raw(variable)))

    def dtype(self, variable: nnx.Variable[Any]) -> np.dtype[Any]:
        value = _raw(variable)
        return value.dtype if isinstance(value, np.ndarray) else np.dtype(jnp.result_type(value))

    def device(self, variable: nnx.Variable[Any]) -> str:
        value = variable.get_value()
        return ", ".join(sorted(str(device) for device in value.devices())) if isinstance(value, jax.Array) else "cpu"

    def initialized(self, variable: nnx.Variable[Any]) -> bool:
        return not isinstance(variable.get_raw_value(), jax.ShapeDtypeStruct)

    def computed(self, native: Any) -> Iterator[Computed]:
        if isinstance(native, (nnx.WeightNorm, nnx.SpectralNorm)):
            state = nnx.to_flat_state(nnx.state(native.layer_instance, nnx.Param))
            wanted = getattr(native, "variable_filter", lambda path, one: one.ndim > 1)
            own = [resolve(native.layer_instance, ".".join(map(str, path))) for path, one in state if wanted(path, one)]
            yield Computed("layer_instance", own, type(native).__name__, why=_BEFORE)

    def abstract(self, variable: nnx.Variable[Any]) -> str:
        is_shape = isinstance(variable.get_raw_value(), jax.ShapeDtypeStruct)
        return "the model is one of shapes, as nnx.eval_shape makes it: make it for real" if is_shape else ""

    def unreachable(self, variable: nnx.Variable[Any]) -> str:
        value = variable.get_raw_value()
        return _ELSEWHERE if isinstance(value, jax.Array) and not _is_whole(value) else ""

    def tensor(self, value: Any) -> jax.Array:
        return _batch(fresh(value))

    def array(self, tensor: Any) -> Any:
        return np.asarray(tensor.get_value() if isinstance(tensor, nnx.Variable) else tensor)

    def trainable(self, variable: nnx.Variable[Any]) -> bool:
        return isinstance(variable, nnx.Param)

    def set_trainable(self, model: Any, layers: Sequence[Any], variable: nnx.Variable[Any], value: bool) -> None:
        if value != self.trainable(variable):
            thawed = getattr(type(variable), "multiparam_thawed", nnx.Param)
            # the class and not the object, so that every layer that holds the variable sees it
            variable.__class__ = thawed if value else _frozen(type(variable))

    def channels_last(self, native: Any) -> bool:
        return True

    # --- running -----------------------------------------------------------------------------------------------

    def run(self, model: Any, inputs: Sequence[Any]) -> Any:
        with _evaluating(model):
            return model(*(each_array(_batch, one) for one in inputs))

    @contextmanager
    def watch(self, layers: Sequence[Any], seen: Callable[..., None]) -> Iterator[None]:
        watched = {id(layer) for layer in layers}
        # the classes' methods, since Python looks a call up there
        classes = {type(one) for one in layers if isinstance(one, nnx.Module) and callable(one)}
        own = {cls: vars(cls).get("__call__") for cls in classes}
        calls = {cls: cls.__call__ for cls in classes}
        running: set[int] = set()
        for cls, call in calls.items():
            cls.__call__ = _watching(call, watched, running, seen)
        try:
            yield
        finally:
            for cls, call in own.items():
                if call is None:
                    del cls.__call__
                else:
                    cls.__call__ = call

    def when_ready(self, layer: Any, call: Callable[[Any], None]) -> None:
        layer.when_ready = (*layer.when_ready, call)

    def gradients(
        self, model: Any, loss: Callable[..., Any], inputs: Sequence[Any], variables: Sequence[Any]
    ) -> list[Any]:
        def scalar(net: Any, *batches: Any) -> Any:
            value = loss(net, *batches)
            if not isinstance(value, jax.Array) or np.size(value) != 1 or not jnp.issubdtype(value.dtype, jnp.inexact):
                raise self.no_scalar(value)
            if variables and not isinstance(value, jax.core.Tracer):
                raise unused_net()
            return jnp.reshape(value, ())

        wanted = {id(variable) for variable in variables}
        paths: dict[int, tuple[Any, ...]] = {}
        for path, node in nnx.iter_graph(model):
            if id(node) in wanted:
                paths.setdefault(id(node), path)
        batches = [each_array(_batch, one) for one in inputs]
        of = nnx.DiffState(0, lambda path, value: path in chosen)
        chosen = set(paths.values())
        found = dict(nnx.to_flat_state(nnx.grad(scalar, argnums=of)(model, *batches)))
        return [np.asarray(found[paths[id(variable)]].get_value()) for variable in variables]

    # --- ties --------------------------------------------------------------------------------------------------

    def tie(self, model: Any, side: TieSide, handle: Handle) -> None:
        _let_go(side)
        if handle.axes is None:
            replace(side.layer, side.part, handle.variable)
            return
        setattr(side.layer, _VIEW + side.part, handle.variable)
        setattr(side.layer, _ORDER + side.part, handle.axes)
        see(side.layer, side.part, _view)

    def untie(self, model: Any, side: TieSide, value: Any) -> None:
        fresh = side.handle.variable.copy(jnp.array(value))
        _let_go(side)
        replace(side.layer, side.part, fresh)

    def notes_on_change(self, model: Any) -> list[str]:
        return ["An nnx.Optimizer built before this holds the old parameters: build it anew."]


def _collections(attributes: Any) -> dict[str, Any]:
    """The variables of a Linen module that NNX holds, as Linen has them: by collection."""
    found: dict[str, Any] = {}
    for path, one in nnx.traversals.flatten_mapping(attributes).items():
        collection = "params" if isinstance(one, nnx.Param) else "batch_stats" if isinstance(one, nnx.BatchStat) else ""
        if collection:
            found.setdefault(collection, {})[path] = one.get_value()
    return {name: nnx.traversals.unflatten_mapping(flat) for name, flat in found.items()}


def _is_whole(value: jax.Array) -> bool:
    return isinstance(value, jax.core.Tracer) or value.is_fully_addressable


@functools.lru_cache(maxsize=1024)
def _frozen(thawed: type) -> type:
    """The type of a frozen variable: no Param, so that `wrt=nnx.Param` leaves it out."""
    return type(f"Frozen{thawed.__name__}", (nnx.Variable,), {"multiparam_thawed": thawed, "__module__": __name__})


FrozenParam = _frozen(nnx.Param)


def _batch(array: Any) -> jax.Array:
    made = jnp.asarray(array)
    if array.dtype.kind in "iu" and made.dtype != array.dtype and not np.array_equal(made, array):
        raise ArgumentError(f"{array.dtype} numbers do not fit into {made.dtype}: enable jax_enable_x64")
    return made


def _watching(call: Any, watched: set[int], running: set[int], seen: Callable[..., None]) -> Any:
    @functools.wraps(call)
    def watching(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if id(layer) not in watched or id(layer) in running:  # a class that calls its base's is one call
            return call(layer, *args, **kwargs)
        running.add(id(layer))
        try:
            output = call(layer, *args, **kwargs)
        finally:
            running.discard(id(layer))
        if not any(isinstance(one, jax.core.Tracer) for one in jax.tree.leaves((args, kwargs, output))):
            seen(layer, output, (args, kwargs))
        return output

    return watching


def _is_layer(native: Any) -> bool:
    # a plain Pytree may hold layers too; generators hold nothing that is ours
    return isinstance(native, nnx.Pytree) and not is_container(native) and not isinstance(native, _GENERATORS)


def _is_function(native: Any) -> bool:
    return callable(native) and not isinstance(native, nnx.Pytree)


def _is_variable(native: Any) -> bool:
    told = _told(type(native))
    return isinstance(native, nnx.Variable) and not isinstance(native, LEFT_BEHIND) if told is None else told


@functools.lru_cache(maxsize=1024)
def _told(cls: type) -> bool | None:
    """Whether what is of a class is a variable; None where the class does not tell. NNX's own test is slow."""
    if issubclass(cls, nnx.Variable):
        return not issubclass(cls, LEFT_BEHIND)
    # a tracer may stand for one
    return None if cls.__module__.partition(".")[0] in ("flax", "jax", "jaxlib") else False


def _raw(variable: Any) -> Any:
    """What a variable holds, where it gives no more than that: `get_value` copies the tree that it might be."""
    raw = variable.get_raw_value()
    return raw if hasattr(raw, "dtype") and not hasattr(variable, "on_get_value") else variable.get_value()


def _is_state(native: Any) -> bool:
    return (_is_variable(native) and holds_array(native)) or isinstance(native, Handle) or is_array(native)


def _is_parameter(variable: Any) -> bool:
    return isinstance(variable, (nnx.Param, Handle)) or hasattr(type(variable), "multiparam_thawed")


def _viewed(layer: Any, part: str) -> Handle:
    return Handle(getattr(layer, _VIEW + part), getattr(layer, _ORDER + part))


def _view(layer: Any, part: str) -> nnx.Param[Any]:
    handle = _viewed(layer, part)
    return nnx.Param(jnp.transpose(handle.variable[...], handle.axes))


def _let_go(side: TieSide) -> None:
    if hasattr(side.layer, _VIEW + side.part):
        delattr(side.layer, _VIEW + side.part)
        delattr(side.layer, _ORDER + side.part)
        unsee(side.layer, side.part, _view)
    elif "." not in side.part:
        delattr(side.layer, side.part)


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """What `nnx.Module.eval` sets, and back."""
    changed = []
    for _, module in nnx.iter_modules(model):
        for name in ("deterministic", "use_running_average"):
            if name in vars(module):
                changed.append((module, name, getattr(module, name)))
                setattr(module, name, True)
    try:
        yield
    finally:
        for module, name, value in changed:
            setattr(module, name, value)
