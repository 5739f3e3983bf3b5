"""Under which names Keras's own saver puts a model's variables into a file.

Its walk over attributes, lists and counted class names is not told again here: the saver itself is run, on a store that
takes down what it is given. Source: Keras 3.15, keras/src/saving/saving_lib.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import keras
from keras.src.models import Functional
from keras.src.saving.saving_lib import NpzIOStore, _save_state

from multiparam.formats import join

from .walk import automatic, is_variable, stem

__all__ = ["saved"]


class _Record(NpzIOStore):  # type: ignore[misc]  # the saver takes no store but Keras's own
    """A store that writes nothing, and keeps what each layer gave it to save, and the layer's name."""

    def __init__(self) -> None:
        super().__init__("", mode="w")  # nothing is opened before it is closed
        self.held: dict[str, dict[str, Any]] = {}
        self.labels: dict[str, str] = {}

    def make(self, path: str, metadata: Mapping[str, Any] | None = None) -> dict[str, Any]:
        name = path.replace("/", ".")
        self.labels[name] = str((metadata or {}).get("name", ""))
        self.held[name] = {}
        return self.held[name]


def saved(model: Any, labels: Mapping[str, str]) -> dict[str, Any]:
    """A model's variables by the names that they have in a file of Keras's.

    Args:
        model: the model.
        labels: the names that a file tells of its layers, by their paths in it.

    Returns:
        Nothing where it cannot be told, or where the file's layers are called otherwise than the model's.
    """
    record = _Record()
    try:
        _save_state(model, record, None, "", set())
    except Exception:  # whatever a layer does that saves itself in its own way
        return {}
    found = {join(join(path, "vars"), key): one for path, held in record.held.items() for key, one in held.items()}
    if not all(map(is_variable, found.values())) or not _same_names(model, record, labels):
        return {}  # what is computed when it is saved is not what is to be loaded
    return found


def _same_names(model: Any, record: _Record, labels: Mapping[str, str]) -> bool:
    """Whether the layers that hold variables, and those that these are in, are called as in the file.

    Two layers of one class that the user named could be swapped else. What Keras itself named has a counter, which is
    another in every model; the model's own name tells only the class of one that a user wrote.
    """
    layers = [*model._flatten_layers(include_self=True, recursive=True)]
    named = {layer.name: automatic(layer) for layer in layers}
    for both in layers:
        if isinstance(both, keras.layers.Bidirectional):
            one, other = both.forward_layer, both.backward_layer
            named |= {one.name: automatic(one, "forward_"), other.name: automatic(other, "backward_")}
    around = {one for path, held in record.held.items() if held for one in _around(path)}
    if isinstance(model, (keras.Sequential, Functional)):
        around.discard("")
    for path in around:
        here, there = record.labels.get(path, ""), labels.get(path, "")
        counted = named.get(here, False) and (not there or stem(here) == stem(there))
        if here in named and here != there and not counted:
            return False
    return True


def _around(path: str) -> Iterator[str]:
    yield path
    while path:
        path = path.rpartition(".")[0]
        yield path
