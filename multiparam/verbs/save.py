"""Saving tensors, lists, dicts and models.

A saved model is a PyTorch `state_dict` in safetensors: canonical names and layouts, tied parameters stored once. What
multiparam adds stands in the header's metadata under `multiparam`: the kind of content and the groups of tied names.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from ..adapter.registry import infer, recognized
from ..arrays.dtypes import converted, is_float, real_dtype
from ..checkpoint.checkpoint import Checkpoint, FilePath, as_path
from ..checkpoint.safetensors import write
from ..checkpoint.shards import has_index, parsed_size, write_sharded
from ..errors import ArgumentError, BackendError, MultiparamError
from ..formats.contents import Contents
from ..formats.entry import Entry
from ..gc_pause import uncollected
from ..html import report as report_page
from ..matching.source import contents_of, entry_of, with_neutral
from ..model.inventory import check_complete, inventory_of, told
from ..model.parameter import Parameter
from ..model.parameters import Parameters
from ..model.tree import Tree
from ..text import counted, printable
from .calls import called_as

__all__ = ["SaveReport", "save"]


@dataclass(repr=False)
class SaveReport:
    """What a save did.

    Attributes:
        saved: names of the tensors in the file, each tied one once.
        left_out: what the framework itself would have saved beside them and no file of tensors can have, by its name
            there, and what it is. A plain load_state_dict(strict=True) of the file misses it.
        notes: in what else the framework's own file would differ.
    """

    saved: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        title = f"saved {counted(len(self.saved), 'tensor')}"
        return "\n".join(map(printable, [title, *told(self.left_out, "left out"), *self.notes]))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = [("left out", ("name", "what it is"), [*self.left_out.items()])]
        return report_page(f"saved {counted(len(self.saved), 'tensor')}", rows, self.notes)


_SAVED_AS = "multiparam.save(net, path)"


@called_as(_SAVED_AS)
def save(thing: Any, path: FilePath, *, dtype: Any = None, shard_size: int | str | None = None) -> SaveReport:
    """Saves a model, a tensor, or a list or dict of tensors.

    Args:
        thing: a native model (parameters and buffers, each tied one once), a numpy array or native tensor, a list or
            tuple of them, or a dict with string keys; or a mapping of `parameters`, `buffers` or `state`; or a file
            that `multiparam.open` gave, whose kinds, settings and ties go along.
        path: where to; a file that is there is replaced in one step, or left as it was if anything fails.
        shard_size: bytes, `"2GB"` say, above which there are several files and an index, `{path}.index.json`; None
            is one file, whatever its size.
        dtype: that real numbers get in the file, `"bfloat16"` say; integers, booleans and complex numbers keep theirs.

    Returns:
        A `SaveReport`: what was saved, and what the framework itself would have saved beside it.

    Raises:
        CheckpointError: the file cannot be written.
        MismatchError: a number does not fit into the dtype.
        ArgumentError: the dtype is none of real numbers, the size none, or the path none.
        UninitializedError: a lazy parameter has no value yet.
        UnsupportedError: weights of the model are kept in what is no tensor, as those of quantized layers are.
        BackendError: the thing is nothing that can be saved.

    >>> import multiparam as mp, numpy as np, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "xy.safetensors")
    >>> mp.save({"x": np.arange(3), "y": np.ones(2)}, path)
    saved 2 tensors
    >>> mp.load(path)
    {'x': array([0, 1, 2]), 'y': array([1., 1.])}
    """
    if isinstance(thing, (str, os.PathLike)):
        raise ArgumentError(f"the first argument is what is saved, and no path: {_SAVED_AS}")
    target = as_path(path, _SAVED_AS)
    contents = _contents(thing)
    if dtype is not None:
        contents = contents.each(partial(_retyped, dtype=real_dtype(dtype)))
    about = _about(contents)
    if os.path.isdir(target) or (shard_size is None and not has_index(target)):
        write(target, contents.entries, about)  # which says what is wrong with a folder
    else:  # or the index of an older checkpoint would go on standing for this one
        write_sharded(target, contents.entries, about, sys.maxsize if shard_size is None else parsed_size(shard_size))
    return SaveReport([entry.name for entry in contents.entries], dict(contents.left_out), [*contents.notes])


@uncollected()
def _contents(thing: Any) -> Contents:
    """What is saved, as what a reader hands over."""
    adapter = recognized(thing)
    if adapter is not None and adapter.is_model(thing):
        tree = Tree(adapter, thing)
        inventory = inventory_of(tree)
        check_complete(inventory, "saving this model")
        return with_neutral(contents_of(tree, "saved", inventory))
    if isinstance(thing, Checkpoint):
        content = "dict" if thing.content == "shard" else thing.content  # which is a checkpoint of its own from now on
        return replace(thing.contents, content=content, notes=())
    content, entries = "dict", list[Entry]()
    if isinstance(thing, Parameters):
        entries = [_entry_of(name, one) for name, one in thing.items()]
    elif isinstance(thing, Mapping):
        entries = [_entry(name, one) for name, one in thing.items()]
    elif isinstance(thing, (list, tuple)):
        content, entries = "list", [_entry(str(index), one) for index, one in enumerate(thing)]
    else:
        content, entries = "tensor", [_entry("tensor", thing)]
    return Contents(entries, content=content, settled=True)


def _about(contents: Contents) -> dict[str, Any]:
    """What the file says of the tensors, beside names, shapes and dtypes."""
    uncertain = [entry.name for entry in contents.entries if contents.is_uncertain(entry)]
    said: dict[str, Any] = {
        "ties": [[*group] for group in contents.ties],
        "layers": contents.layers,
        "edition": contents.edition if contents.layers else None,
        "left_out": contents.left_out,
        "settled": None if contents.settled else False,
        "unsure": uncertain,
    }
    told = {name: what for name, what in said.items() if what or what is False}
    return {"version": 1, "content": contents.content, **told}


def _retyped(entry: Entry, dtype: np.dtype[Any]) -> Entry:
    """An entry whose real numbers are converted when they are read."""
    if not is_float(entry.dtype) or entry.dtype == dtype or entry.refusal:
        return entry
    return replace(
        entry,
        dtype=dtype,
        read=lambda: converted(entry.name, entry.value, dtype, "cannot save"),
        check=None,
        settled=True,
    )


def _entry(name: Any, value: Any) -> Entry:
    if not isinstance(name, str):
        raise ArgumentError(f"the keys of a saved dict are strings, not {type(name).__name__}: {name!r}")
    if isinstance(value, (Mapping, list, tuple)):
        inside = next(iter(value), 0) if isinstance(value, Mapping) else 0
        raise ArgumentError(f"{name!r} cannot be saved: what is in it can, under names such as {f'{name}.{inside}'!r}")
    if isinstance(value, Parameter):
        return _entry_of(name, value)
    if isinstance(value, np.ma.MaskedArray):
        raise ArgumentError(f"{name!r} is a masked array, whose mask no file would have: save .filled(...)")
    if isinstance(value, (bool, int, float, complex, np.generic)):
        value = np.asarray(value)
    try:
        found = infer(value, "a tensor")
        if not found.is_tensor(value):
            raise BackendError(f"expected a tensor; got the model {type(value).__name__}, which is saved by itself")
    except BackendError as error:
        raise BackendError(f"{name!r} cannot be saved: {error}; nor is it a list or dict of tensors") from None
    try:
        array = found.array(value)
    except MultiparamError as error:
        raise MultiparamError(f"{name!r} cannot be saved: {error}") from error
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    return Entry(name, array.dtype, array.shape, lambda: array)


def _entry_of(name: str, parameter: Parameter) -> Entry:
    parameter.slot.look()  # what the user holds may have been found long ago
    return entry_of(name, parameter.slot, "saved")
