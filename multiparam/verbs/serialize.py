"""Saving and loading tensors, lists, dicts and models.

A saved model is a PyTorch `state_dict` in safetensors: canonical names and layouts, tied parameters stored once. What
multiparam adds stands in the header's metadata under `multiparam`: the kind of content and the groups of tied names.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ParamSpec, TypeVar, overload

import numpy as np

from ..adapter.base import Adapter
from ..adapter.registry import adapter as adapter_of
from ..adapter.registry import infer, recognized
from ..arrays.dtypes import converted, is_float, real_dtype
from ..checkpoint.checkpoint import Checkpoint, FilePath, as_path
from ..checkpoint.checkpoint import open as open_checkpoint
from ..checkpoint.safetensors import write
from ..checkpoint.shards import has_index, parsed_size, write_sharded
from ..errors import ArgumentError, BackendError, MultiparamError, UninitializedError
from ..formats.entry import Entry, verified
from ..gc_pause import uncollected
from ..html import report as report_page
from ..layer_table.settings import EDITION
from ..model.inventory import check_complete, inventory_of, left_out, told
from ..model.parameter import Parameter
from ..model.parameters import Parameters
from ..model.slot import Slot
from ..model.tree import Tree
from ..names.pattern import Patterns
from ..names.rename import Rename
from ..text import counted, printable
from .loading import LoadReport, load_into

__all__ = ["LoadReport", "SaveReport", "load", "save"]


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


P = ParamSpec("P")
R = TypeVar("R")


def _called_as(right: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Has arguments that do not fit be an error which says what fits, as Python's own does not."""

    def telling(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def called(*arguments: P.args, **options: P.kwargs) -> R:
            try:
                signature.bind(*arguments, **options)
            except TypeError as error:
                raise ArgumentError(f"{error}; it is called as {right}") from None
            return function(*arguments, **options)

        return called

    return telling


_SAVED_AS = "multiparam.save(net, path)"
_LOADED_AS = "multiparam.load(path, into=net)"


@_called_as(_SAVED_AS)
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
    ties: list[list[str]]
    layers: Mapping[str, Any] = {}
    report = SaveReport()
    adapter = recognized(thing)
    if adapter is not None and adapter.is_model(thing):
        content, (entries, ties, layers) = "model", _of_model(adapter, thing, report)
    elif isinstance(thing, Checkpoint):
        content = "dict" if thing.content == "shard" else thing.content  # which is a checkpoint of its own from now on
        entries, ties, layers = [*thing.values()], [[*one] for one in thing.ties], thing.layers
        report.left_out = dict(thing.left_out)
    elif isinstance(thing, Parameters):
        content, entries, ties = "dict", [_entry_of(name, one) for name, one in thing.items()], []
    elif isinstance(thing, Mapping):
        content, entries, ties = "dict", [_entry(name, one) for name, one in thing.items()], []
    elif isinstance(thing, (list, tuple)):
        content, entries, ties = "list", [_entry(str(index), one) for index, one in enumerate(thing)], []
    else:
        content, entries, ties = "tensor", [_entry("tensor", thing)], []
    about: dict[str, Any] = {"version": 1, "content": content}
    if ties:
        about["ties"] = ties
    if layers:
        about["layers"] = layers
        about["edition"] = thing.edition if isinstance(thing, Checkpoint) else EDITION
    if report.left_out:
        about["left_out"] = report.left_out
    if isinstance(thing, Checkpoint):
        about.update({} if thing.settled else {"settled": False})
        uncertain = [one.name for one in thing.values() if thing.is_uncertain(one)]
        about.update({"unsure": uncertain} if uncertain else {})
    if dtype is not None:
        entries = [_retyped(entry, real_dtype(dtype)) for entry in entries]
    if os.path.isdir(target) or (shard_size is None and not has_index(target)):
        write(target, entries, about)  # which says what is wrong with a folder
    else:  # or the index of an older checkpoint would go on standing for this one
        write_sharded(target, entries, about, sys.maxsize if shard_size is None else parsed_size(shard_size))
    report.saved = [entry.name for entry in entries]
    return report


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


@overload
def load(
    path: FilePath,
    *,
    into: None = None,
    only: Patterns | None = None,
    ignore: Patterns | None = None,
    backend: str | None = None,
    check: bool = True,
) -> Any: ...


@overload
def load(
    path: FilePath,
    *,
    into: object,
    strict: bool = True,
    only: Patterns | None = None,
    ignore: Patterns | None = None,
    rename: Rename | None = None,
    match: str = "name",
    check: bool = True,
) -> LoadReport: ...


@_called_as(_LOADED_AS)
def load(
    path: FilePath,
    *,
    into: Any = None,
    strict: bool = True,
    only: Patterns | None = None,
    ignore: Patterns | None = None,
    rename: Rename | None = None,
    match: str = "name",
    backend: str | None = None,
    check: bool = True,
) -> Any:
    """Loads a file: into a model, or as the tensor, list or dict that was saved.

    A load into a model first checks every name, shape and dtype, and writes nothing unless all is well. Real numbers
    of another width are converted. What is tied in the file is tied in the model.

    Args:
        path: a file of any format that `multiparam.open` reads.
        into: a native model of any backend; None for tensors of the active one.
        strict: names must be the same; False loads what is in both, and reports the rest.
        only: the part of the file that is loaded, all of which has to fit: a name, a glob (`*` crosses dots), a
            compiled regular expression that must match a whole name, or a list of them. They are the file's names, as
            `multiparam.open` shows them; a prefix stays, and `rename=` takes it away.
        ignore: what of that is not loaded, likewise: an optimizer's state, say.
        rename: regular expressions and their replacements, applied to the file's names in turn; or a function of one.
        match: `"name"`, or `"auto"`: layers whose names differ are paired by the roles and shapes of what they hold;
            several alike, whose names differ by a number only, in its order. The report lists the pairs. Whether
            outputs agree is for `multiparam.verify` to say.
        backend: for tensors, whose they should be; None is the active backend.
        check: compare the tensors with their digests, where the file has them, before anything is written.

    Returns:
        For a model a `LoadReport`; else the native tensor, the list or the dict.

    Raises:
        CheckpointError: the file cannot be read or is damaged.
        ParameterNotFoundError: a pattern of `only=` or `ignore=` matches nothing in the file.
        MismatchError: every missing, unexpected, misshaped and mistyped name at once, and what to pass as `rename=`
            where a prefix differs; the model is as it was.
        AmbiguousMatchError: with `match="auto"`, layers could be paired in several ways; the model is as it was.
        UninitializedError: a lazy parameter has no shape yet.

    >>> import multiparam as mp, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "linear.safetensors")
    >>> mp.save(mp.nn.Linear(4, 8), path)
    saved 2 tensors
    >>> print(mp.load(path, into=mp.nn.Linear(4, 8)))
    loaded 2 tensors
    >>> mp.load(path, only="bias")["bias"].shape
    (8,)
    >>> mp.load(path, into=mp.nn.Linear(8, 4))
    Traceback (most recent call last):
    multiparam.errors.MismatchError: ...linear.safetensors does not fit the model; nothing was written
    shape of weight: (4, 8) expected, (8, 4) given
    shape of bias: (4,) expected, (8,) given
    """
    if match not in ("name", "auto"):
        raise ArgumentError(f"match= is 'name' or 'auto', not {match!r}")
    checkpoint = whole = open_checkpoint(as_path(path, _LOADED_AS), check=check)
    if only is not None or ignore is not None:
        checkpoint = whole.part(only, ignore)
    if into is None:
        if rename or not strict or match != "name":
            raise ArgumentError("strict=, rename= and match= are for loading into a model: pass into=net")
        return _as_saved(checkpoint, adapter_of(backend))
    if backend is not None:
        raise ArgumentError("backend= is for loading tensors; a model decides by itself")
    report = load_into(into, checkpoint, strict, rename or {}, match == "auto")
    report.ignored = [name for name in whole if name not in checkpoint]
    return report


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
    array = _saved(name, found.array, value)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    return Entry(name, array.dtype, array.shape, lambda: array)


def _entry_of(name: str, parameter: Parameter) -> Entry:
    parameter.slot.look()  # what the user holds may have been found long ago
    return _slot_entry(name, parameter.slot)


def _slot_entry(name: str, slot: Slot) -> Entry:
    handles = slot.handles()
    if handles is None or not slot.valued(handles):
        raise UninitializedError(f"{name!r} has no value yet and cannot be saved: {slot.advice()}")
    slot.check_reachable(handles)
    dtype, read = _saved(name, slot.dtype_of, handles), functools.partial(_saved, name, slot.read, handles)
    shape = tuple([int(extent or 0) for extent in slot.shape_of(handles) or ()])
    return Entry(name, dtype, shape, read, settled=slot.node.adapter.reads_copies and slot.source.is_plain)


def _saved(name: str, look: Callable[[Any], Any], thing: Any) -> Any:
    """What an adapter tells of a tensor; where it cannot, the error says of which."""
    try:
        return look(thing)
    except MultiparamError as error:
        raise MultiparamError(f"{name!r} cannot be saved: {error}") from error


@uncollected()
def _of_model(adapter: Adapter, model: Any, report: SaveReport) -> tuple[list[Entry], list[list[str]], dict[str, Any]]:
    tree = Tree(adapter, model)
    for node in tree.opaque():
        raise UninitializedError(
            f"{node.name or 'the model'!r} has no parameters yet: call multiparam.materialize(net, sample) first"
        )
    groups = [group for group in tree.groups if not group[0].transient]
    entries = [_slot_entry(group[0].name, group[0]) for group in groups]
    inventory = inventory_of(tree)
    check_complete(inventory, "saving this model")
    report.left_out, report.notes = left_out(tree, inventory), [*inventory.notes]
    neutral, shared = tree.file_only()
    first = {name: names[0] for names in shared for name in names}
    kept = {name: value for name, value in neutral.items() if first.get(name, name) == name}
    entries += [Entry(name, value.dtype, value.shape, value.copy) for name, value in kept.items()]
    ties = [[slot.name for slot in group] for group in groups if len(group) > 1] + shared
    return entries, ties, {node.name: found for node in tree.root.walk() if (found := node.described())}


def _as_saved(checkpoint: Checkpoint, adapter: Adapter) -> Any:
    tensors = {entry.name: adapter.tensor(entry.read()) for entry in verified(list(checkpoint.values()))}
    if checkpoint.content == "tensor" and list(tensors) == ["tensor"]:
        return tensors["tensor"]
    if checkpoint.content == "list" and set(tensors) == {str(index) for index in range(len(tensors))}:
        return [tensors[str(index)] for index in range(len(tensors))]
    return tensors
