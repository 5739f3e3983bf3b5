"""What a Keras layer directly holds: its variables, and its children with their names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import Any

import keras
from keras.src.models import Functional
from keras.src.utils.naming import to_snake_case

from multiparam.adapter import AmbiguousMatchError, collect, entries, escape, is_container, resolve

from .additions import NamedSequential

VIEWS = "_multiparam_views"  # in a layer's __dict__: the tensors that are another layer's, seen transposed


def _empty() -> Iterator[Any]:
    """A layer and models of each sort with nothing in them; named, so that no counter of automatic names moves."""
    yield keras.layers.Layer(name="multiparam")
    yield keras.Model(name="multiparam")
    yield keras.Sequential(name="multiparam")
    inputs = keras.Input((1,), name="multiparam")
    yield keras.Model(inputs, inputs, name="multiparam")


# attributes that Keras keeps for itself: what empty layers and models have, and what fitting adds; a user's own may
# have any other name, and public ones like `history` too
_OWN = frozenset(name for thing in _empty() for name in vars(thing) if name.startswith("_")) | {
    *(
        "_functional",
        "_tracker",
        "_layers",
        "_torch_params",
        "_optimizer",
        "_modules",
        "_parameters",
        "_buffers",
        "_child_names",
    )
}
_AUTOMATIC = re.compile(r"variable(_\d+)?")
_MODELS = (keras.Sequential, NamedSequential, Functional)  # whose children are all listed in them
_BUILDS = {base.build for base in (keras.layers.Layer, keras.Model, keras.Sequential, Functional)}


def is_layer(native: Any) -> bool:
    """Whether it is a Keras layer or model."""
    return isinstance(native, keras.layers.Layer)


def is_variable(native: Any) -> bool:
    """Whether it is a Keras variable."""
    return isinstance(native, keras.Variable)


def contents(layer: Any) -> tuple[dict[str, Any], list[tuple[str, Any]]]:
    """The variables by path, and the children by name: attribute path, else the user's name, else position.

    What Keras tracks and no attribute leads to is there too: variables by their own names, or what the module that they
    are of calls them, and layers as in a Sequential. Of Keras's automatic names the counter starts anew in each layer.
    """
    if is_container(layer):
        return {}, collect(entries(layer), is_layer, is_variable)[1]
    variables, children = collect(_attributes(layer), is_layer, is_variable)
    for name, variable in _unreached(layer, variables):
        variables[name] = variable
    order = {id(one): position for position, one in enumerate(layer._layers)} if children else {}
    children.sort(key=lambda child: min((order.get(id(one), len(order)) for one in _leaves(child[1])), default=0))
    if isinstance(layer, NamedSequential):
        return variables, [*zip(layer.child_names(), layer.layers, strict=True), *children]
    seen = {id(one) for _, child in children for one in _leaves(child)}
    children += [(name, child) for name, child in _listed(layer) if id(child) not in seen]
    return variables, children


def in_known_places(
    layer: Any, sources: Collection[str], buffers: Collection[str]
) -> tuple[dict[str, Any], ...] | None:
    """The parameters and buffers of a layer that holds them in known attributes; None if it may hold anything else.

    Args:
        layer: the layer.
        sources: where layers of its class keep parameters.
        buffers: where they keep buffers.
    """
    attributes = vars(layer)
    if layer._layers or not (layer.built or type(layer).build in _BUILDS) or attributes.get(VIEWS):
        return None
    own = {place: one for place in sources if (one := attributes.get(place)) is not None}
    state = {place: one for place in buffers if (one := attributes.get(place)) is not None} if buffers else {}
    whole = _are(own, layer._trainable_variables) and _are(state, layer._non_trainable_variables)
    return (own, state) if whole else None


def _are(places: Mapping[str, Any], tracked: Collection[Any]) -> bool:
    """Whether these places hold just what Keras tracks."""
    return len(places) == len(tracked) and {*map(id, places.values())} == {*map(id, tracked)}


def held(layer: Any) -> dict[str, Any]:
    """The variables that a layer's attributes lead to, by path."""
    return collect(_attributes(layer), is_layer, is_variable)[0]


def variable_at(layer: Any, path: str) -> Any:
    """One of the variables of `contents`, or None."""
    found = resolve(layer, path)
    if is_variable(found) or not is_layer(layer):
        return found if is_variable(found) else None
    return contents(layer)[0].get(path)


def _unreached(layer: Any, variables: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The layer's tracked variables that no attribute holds, by their own names."""
    tracked = (*layer._trainable_variables, *layer._non_trainable_variables)
    if not tracked:
        return
    reached = {id(one): path for path, one in variables.items()}
    reached |= {id(handle.variable): path for path, handle in layer.__dict__.get(VIEWS, {}).items()}
    of_module, counted = _of_module(layer), 0
    for variable in tracked:
        name = reached.get(id(variable)) or of_module.get(id(variable._value)) or escape(variable.name)
        if _AUTOMATIC.fullmatch(name):  # with a counter of the whole process, which is another in every model
            name = f"variable_{counted}" if counted else "variable"
            counted += 1  # for what a tie has put into an attribute, too
        if id(variable) in reached:
            continue
        if name in variables:
            raise AmbiguousMatchError(f"two variables of {layer.name!r} are called {name!r}", [name, variable.path])
        reached[id(variable)] = name
        yield name, variable


def _of_module(layer: Any) -> dict[int, str]:
    """What a PyTorch module in a Keras layer calls its parameters, whose Keras variables have no names of their own."""
    wrapper = getattr(keras.layers, "TorchModuleWrapper", None)  # which older releases lack
    if wrapper is None or not isinstance(layer, wrapper):
        return {}
    return {id(one): name for name, one in layer.module.named_parameters()}


def is_buffer(layer: Any, variable: Any) -> bool:
    """Whether a variable was made as state, not as a weight; a frozen weight is a weight."""
    if any(one is variable for one in layer._trainable_variables):
        return False
    return any(one is variable for one in layer._non_trainable_variables) or not variable.trainable


def is_opaque(layer: Any) -> bool:
    """Whether the layer will make variables that cannot be told before its first batch."""
    return is_layer(layer) and not layer.built and type(layer).build not in _BUILDS


def _attributes(layer: Any) -> Iterator[tuple[str, Any]]:
    # on the PyTorch backend a layer is a torch module, which keeps its sublayers apart
    for held in (vars(layer), vars(layer).get("_modules", {})):
        if held.keys() <= _OWN:
            continue  # as of most models, which have fifty of them
        yield from [
            (name, value)
            for name, value in held.items()
            if name not in _OWN and not name.startswith(("_self_", "_multiparam_"))
        ]


def _leaves(child: Any) -> Iterator[Any]:
    """The layers in a container, or the layer itself."""
    if is_layer(child):
        yield child
    else:
        for _, one in entries(child):
            if is_layer(one) or is_container(one):
                yield from _leaves(one)


def listed_child(model: Any, key: str) -> Any:
    """The layer that `contents` would list under a name or position, or None, found without telling all their names."""
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    named = next((layer for layer in layers if layer.name == key), None)
    if named is None and key.isdigit() and int(key) < len(layers):
        return layers[int(key)]
    return named


def _listed(owner: Any) -> list[tuple[str, Any]]:
    """A model's layers, or those that any other layer tracks, by the user's name or by position."""
    tracked = owner.layers if isinstance(owner, keras.Model) else owner._layers
    layers = [layer for layer in tracked if not isinstance(layer, keras.layers.InputLayer)]
    return [(str(position) if automatic(layer) else layer.name, layer) for position, layer in enumerate(layers)]


def automatic(layer: Any, start: str = "") -> bool:
    """Whether Keras named a layer, not the user; `start` is what another layer puts before its name."""
    name = layer.name.removeprefix(start)
    return _snake_case(type(layer).__name__) in (name, stem(name))


def stem(name: str) -> str:
    """A name without the number at its end, by which Keras tells layers of one class apart."""
    start, mark, number = name.rpartition("_")
    return start if mark and number.isdecimal() else name


_snake_case = lru_cache(maxsize=256)(to_snake_case)
