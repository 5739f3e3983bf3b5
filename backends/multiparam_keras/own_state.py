"""What a Keras layer saves by methods of its own, beside the variables that Keras tracks."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import keras

from multiparam.adapter import ByIdentity, Inventory, LeftOut, MultiparamError, escape

from .walk import contents

_WRAPPER = getattr(keras.layers, "TorchModuleWrapper", None)


class Kept:
    """Stands for an array that a layer saves under a key by `save_own_variables`, as a variable would.

    Args:
        layer: the layer; it is not kept alive.
        key: the key.
    """

    trainable = False

    def __init__(self, layer: Any, key: str) -> None:
        self._layer = weakref.ref(layer)
        self.key = key

    @property
    def value(self) -> Any:
        """What the layer would save now, as a tensor."""
        return keras.ops.convert_to_tensor(_store(self._alive())[self.key])

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return tuple(_store(self._alive())[self.key].shape)

    @property
    def dtype(self) -> str:
        """Its dtype's name."""
        return str(keras.backend.standardize_dtype(_store(self._alive())[self.key].dtype))

    def assign(self, value: Any) -> None:
        """Has the layer take it, by `load_own_variables`."""
        layer, store = self._alive(), _store(self._alive())
        if _is_wrapper(layer):
            layer.module.load_state_dict({self.key: keras.ops.convert_to_tensor(value)}, strict=False)  # it alone
            return
        held = {key: keras.ops.convert_to_numpy(one) for key, one in store.items()}
        layer.load_own_variables({**held, self.key: keras.ops.convert_to_numpy(value)})

    def _alive(self) -> Any:
        layer = self._layer()
        if layer is None:
            raise MultiparamError(f"the layer that kept {self.key!r} is gone")
        return layer


_made: ByIdentity[dict[str, Kept]] = ByIdentity()


def kept(layer: Any) -> dict[str, Kept]:
    """What a layer saves by a method of its own and is no variable of it, by its name in the layer."""
    if not _saves_itself(layer):
        return {}
    held = _made.made(layer, dict)
    return {name: held.setdefault(name, Kept(layer, key)) for name, key in _keys(layer)}


def inventory(model: Any, backend: str) -> Inventory:
    """What Keras saves of a model: its weights, and what layers save by methods of their own.

    Args:
        model: the model.
        backend: the backend's name.
    """
    found: dict[str, Any] = {}
    places = dict(_places(model, ""))
    for layer in model._flatten_layers(include_self=True, recursive=True):
        start = places.get(id(layer), f"{layer.path}.")
        weights = [*layer._trainable_variables, *layer._non_trainable_variables]
        found.update({f"{start}{index} ({one.name})": one for index, one in enumerate(weights)})
        if _saves_itself(layer):
            found.update({start + name: one for name, one in kept(layer).items()})
            found.update({start + name: one for name, one in _refused(layer)})
        if hasattr(type(layer), "save_assets"):
            found[f"{start}assets"] = LeftOut("files of the layer's own, such as a vocabulary")
    return Inventory(backend, found)


def _places(layer: Any, start: str) -> Iterator[tuple[int, str]]:
    """The beginning of the names below each layer, since Keras's own paths have counters in them."""
    yield id(layer), start
    for key, child in contents(layer)[1]:
        yield from _places(child, f"{start}{escape(key)}.")


def _saves_itself(layer: Any) -> bool:
    """Whether a layer has a method of its own to save arrays; those of Keras's own classes save their variables."""
    if _WRAPPER is not None and isinstance(layer, _WRAPPER):
        return True
    method = getattr(type(layer), "save_own_variables", None)
    return method is not None and not method.__module__.startswith("keras.")


def _store(layer: Any) -> dict[str, Any]:
    if _is_wrapper(layer):
        return dict(layer.module.state_dict())
    store: dict[str, Any] = {}
    layer.save_own_variables(store)
    return store


def _keys(layer: Any) -> Iterator[tuple[str, str]]:
    """The names in the layer, and the keys, of what is an array and no variable of the layer."""
    for key, value in _other(layer).items():
        if hasattr(value, "shape") and hasattr(value, "dtype"):
            yield key if _is_wrapper(layer) else escape(key), key  # a module names its tensors by their paths


def _refused(layer: Any) -> Iterator[tuple[str, LeftOut]]:
    try:
        store = _store(layer)
    except Exception as error:  # whatever a layer does that saves itself in its own way
        yield "save_own_variables", LeftOut(f"its own method fails, {type(error).__name__}: {error}")
        return
    for key, value in store.items():
        if not hasattr(value, "shape"):
            yield key, LeftOut.of(value)


def _other(layer: Any) -> Mapping[str, Any]:
    try:
        store = _store(layer)
    except Exception:  # the inventory tells
        return {}
    if _is_wrapper(layer):
        own = {name for name, _ in layer.module.named_parameters(remove_duplicate=False)}
        return {key: value for key, value in store.items() if key not in own}
    return {key: value for key, value in store.items() if not isinstance(value, keras.Variable)}


def _is_wrapper(layer: Any) -> bool:
    return _WRAPPER is not None and isinstance(layer, _WRAPPER)
