"""Saving and loading tensors, lists, dicts and models.

A saved model is a PyTorch `state_dict` in safetensors: canonical names and layouts, tied parameters stored once. What
multiparam adds stands in the header's metadata under `multiparam`: the kind of content and the groups of tied names.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Union

import numpy as np

from .access import state
from .adapter import Adapter, Capability
from .arrays import converted, rank_of
from .errors import ArgumentError, BackendError, CheckpointError, MismatchError, MismatchReport, UninitializedError
from .kinds import KINDS, alike
from .names import join
from .parameter import Parameter, Parameters
from .registry import adapter as adapter_of
from .registry import infer, infer_model, owner
from .run import unready
from .safetensors_file import Entry, SafetensorsFile, write
from .settings import DEFAULTS
from .steps import Array
from .tie import check_pair, tie_slots
from .tree import Node, Slot, Tree

__all__ = ["LoadReport", "load", "save"]

FilePath = Union[str, "PathLike[str]"]


@dataclass
class LoadReport:
    """What a load did.

    Attributes:
        loaded: names that were written.
        missing: names of the model that the file lacks (with `strict=False`; they stay as they were).
        unexpected: names of the file that the model lacks (with `strict=False`).
        converted: (name, the file's dtype, the model's dtype) where they differ.
        tied: groups of names that the file has tied and the model had not, tied now.
        folded: (name, the name that it was added to) for tensors of the file whose numbers the model keeps in another:
            the forward pass stays, a training would go another way.
        differences: (layer, setting, the file's value, the model's) for settings such as an epsilon that are no weights
            and make outputs differ all the same.
        notes: what has to be done now, such as rebuilding an optimizer.
    """

    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    converted: list[tuple[str, Any, Any]] = field(default_factory=list)
    tied: list[tuple[str, ...]] = field(default_factory=list)
    folded: list[tuple[str, str]] = field(default_factory=list)
    differences: list[tuple[str, str, Any, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"loaded {len(self.loaded)} tensors"]
        lines += [f"missing: {name}" for name in self.missing]
        lines += [f"unexpected: {name}" for name in self.unexpected]
        lines += [f"converted: {name} from {given} to {wanted}" for name, given, wanted in self.converted]
        lines += [f"tied: {' = '.join(group)}" for group in self.tied]
        lines += [f"folded: {name} was added to {into}" for name, into in self.folded]
        lines += [
            f"differs: {layer or 'the model'} was saved with {setting} {given}, and has {here} here"
            for layer, setting, given, here in self.differences
        ]
        return "\n".join(lines + self.notes)


def save(thing: Any, path: FilePath) -> None:
    """Saves a model, a tensor, or a list or dict of tensors.

    Args:
        thing: a native model (parameters and buffers, each tied one once), a numpy array or native tensor, a list or
            tuple of them, or a dict with string keys; or a mapping of `parameters`, `buffers` or `state`.
        path: where to; a file that is there is replaced in one step, or left as it was if anything fails.

    Raises:
        CheckpointError: the file cannot be written.
        UninitializedError: a lazy parameter has no value yet.
        BackendError: the thing is nothing that can be saved.

    >>> import multiparam as mp, numpy as np, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "xy.safetensors")
    >>> mp.save({"x": np.arange(3), "y": np.ones(2)}, path)
    >>> mp.load(path)
    {'x': array([0, 1, 2]), 'y': array([1., 1.])}
    """
    ties: list[list[str]]
    layers: dict[str, Any] = {}
    kind: type = type(thing)
    native = owner(kind)
    if native is not None and adapter_of(native).is_model(thing):
        content, (entries, ties, layers) = "model", _of_model(adapter_of(native), thing)
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
    write(_path(path), entries, {"format": "pt", "multiparam": json.dumps(about, ensure_ascii=False)})


def load(
    path: FilePath,
    *,
    into: Any = None,
    strict: bool = True,
    rename: Mapping[str, str] | None = None,
    backend: str | None = None,
) -> Any:
    """Loads a file: into a model, or as the tensor, list or dict that was saved.

    A load into a model first checks every name, shape and dtype, and writes nothing unless all is well. Real numbers
    of another width are converted. What is tied in the file is tied in the model.

    Args:
        path: a safetensors file.
        into: a native model of any backend; None for tensors of the active one.
        strict: names must be the same; False loads what is in both, and reports the rest.
        rename: regular expressions and their replacements, applied to the file's names in turn.
        backend: for tensors, whose they should be; None is the active backend.

    Returns:
        For a model a `LoadReport`; else the native tensor, the list or the dict.

    Raises:
        CheckpointError: the file cannot be read or is damaged.
        MismatchError: every missing, unexpected, misshaped and mistyped name at once; the model is as it was.
        UninitializedError: a lazy parameter has no shape yet.

    >>> import multiparam as mp, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "linear.safetensors")
    >>> mp.save(mp.nn.Linear(4, 8), path)
    >>> print(mp.load(path, into=mp.nn.Linear(4, 8)))
    loaded 2 tensors
    >>> mp.load(path, into=mp.nn.Linear(8, 4))
    Traceback (most recent call last):
    multiparam.errors.MismatchError: ...linear.safetensors does not fit the model; nothing was written
    shape of weight: (4, 8) expected, (8, 4) given
    shape of bias: (4,) expected, (8,) given
    """
    file = SafetensorsFile(_path(path))
    about = _about(file)
    if into is None:
        if rename or not strict:
            raise ArgumentError("strict= and rename= are for loading into a model: pass into=net")
        return _as_saved(file, about.get("content", "dict"), adapter_of(backend))
    if backend is not None:
        raise ArgumentError("backend= is for loading tensors; a model decides by itself")
    return _into_model(into, file, about, strict, rename or {})


def _path(path: Any) -> Path:
    try:
        return Path(path)
    except TypeError:
        raise ArgumentError(f"a file is named by a path, not by {type(path).__name__}") from None


def _entry(name: Any, value: Any) -> Entry:
    if not isinstance(name, str):
        raise ArgumentError(f"the keys of a saved dict are strings, not {type(name).__name__}: {name!r}")
    if isinstance(value, Parameter):
        return _entry_of(name, value)
    if isinstance(value, (bool, int, float, complex, np.generic)):
        value = np.asarray(value)
    try:
        found = infer(value, "a tensor")
        if not found.is_tensor(value):
            raise BackendError(f"expected a tensor; got the model {type(value).__name__}, which is saved by itself")
    except BackendError as error:
        raise BackendError(f"{name!r} cannot be saved: {error}; nor is it a list or dict of tensors") from None
    array = found.array(value)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    return Entry(name, array.dtype, array.shape, lambda: array)


def _entry_of(name: str, parameter: Parameter) -> Entry:
    return _slot_entry(name, parameter.slot)


def _slot_entry(name: str, slot: Slot) -> Entry:
    handles = slot.ready()
    if handles is None:
        raise UninitializedError(
            f"{name!r} has no value yet and cannot be saved: call multiparam.materialize(net, sample) first"
        )
    shape = slot.shape()
    assert shape is not None
    dtype = slot.node.adapter.dtype(handles[0].variable)
    return Entry(name, dtype, tuple(int(extent or 0) for extent in shape), lambda: slot.read(handles))


def _of_model(adapter: Adapter, model: Any) -> tuple[list[Entry], list[list[str]], dict[str, Any]]:
    tree = Tree(adapter, model)
    for node in tree.opaque():
        raise UninitializedError(
            f"{node.name or 'the model'!r} has no parameters yet: call multiparam.materialize(net, sample) first"
        )
    groups = [group for group in tree.groups if not group[0].transient]
    entries = [_slot_entry(group[0].name, group[0]) for group in groups]
    neutral, shared = _file_only(tree)
    first = {name: names[0] for names in shared for name in names}
    kept = {name: value for name, value in neutral.items() if first.get(name, name) == name}
    entries += [Entry(name, value.dtype, value.shape, value.copy) for name, value in kept.items()]
    ties = [[slot.name for slot in group] for group in groups if len(group) > 1] + shared
    return entries, ties, {node.name: found for node in tree.root.walk() if (found := _described(node))}


def _described(node: Node) -> dict[str, Any]:
    """What a file says of a layer: its kind and settings, where the kind is known and is not a mere container's."""
    known = node.kind in KINDS and node.kind not in ("Sequential", "Lambda")
    return {**({"kind": node.kind} if known else {}), **node.settings()}


def _file_only(tree: Tree) -> tuple[dict[str, Array], list[list[str]]]:
    """What PyTorch's state_dict has and the model has no place for, and the groups of its names in shared layers."""
    found: dict[str, Array] = {}
    names: dict[tuple[int, str], list[str]] = {}
    for node in tree.root.walk():
        for role, value in node.file_only().items():
            found[join(node.name, role)] = value
            names.setdefault((id(node.native), role), []).append(join(node.name, role))
    return found, [group for group in names.values() if len(group) > 1]


def _about(file: SafetensorsFile) -> dict[str, Any]:
    try:
        about = json.loads(file.metadata.get("multiparam", "{}"))
    except json.JSONDecodeError as error:
        raise CheckpointError(file.path, f"its multiparam metadata is damaged: {error}") from error
    ties, layers = (about.get("ties", []), about.get("layers", {})) if isinstance(about, dict) else (None, None)
    sound = isinstance(ties, list) and all(
        isinstance(group, list) and group and all(isinstance(name, str) for name in group) for group in ties
    )
    sound = sound and isinstance(layers, dict) and all(isinstance(settings, dict) for settings in layers.values())
    if not sound:
        raise CheckpointError(file.path, "its multiparam metadata is damaged")
    if about.get("version", 1) != 1:
        raise CheckpointError(file.path, f"format version {about['version']}: a newer multiparam wrote it")
    return dict(about)


def _as_saved(file: SafetensorsFile, content: str, adapter: Adapter) -> Any:
    tensors = {name: adapter.tensor(file[name]) for name in file}
    if content == "tensor" and list(tensors) == ["tensor"]:
        return tensors["tensor"]
    if content == "list" and set(tensors) == {str(index) for index in range(len(tensors))}:
        return [tensors[str(index)] for index in range(len(tensors))]
    return tensors


@dataclass
class _Plan:
    """What pass one of a load decided, for pass two."""

    writes: list[tuple[Parameter, str]] = field(default_factory=list)
    folded: dict[str, Array] = field(default_factory=dict)  # values that are not the file's own, by parameter
    ties: list[tuple[str, str]] = field(default_factory=list)
    report: LoadReport = field(default_factory=LoadReport)
    problems: dict[str, list[Any]] = field(
        default_factory=lambda: {"misshaped": [], "mistyped": [], "unrepresentable": []}
    )


def _into_model(
    model: Any, file: SafetensorsFile, about: Mapping[str, Any], strict: bool, rename: Mapping[str, str]
) -> LoadReport:
    adapter = infer_model(model)
    tree = Tree(adapter, model)
    for name in unready(tree):
        raise UninitializedError(
            f"{name!r} has no shape yet: call multiparam.materialize(net, sample) before loading; nothing was written"
        )
    renamed = _renamer(rename, {slot.name for group in tree.groups for slot in group})
    given = _given_names(file, renamed)
    groups = [[renamed(name) for name in group] for group in about.get("ties", [])]
    stored: dict[str, str] = {}
    for group in groups:
        kept = [name for name in group if name in given]
        stored.update({alias: alias if alias in kept else kept[0] for alias in group if kept})
    mapping = state(model)
    plan = _plan(file, given, stored, mapping, _file_only(tree)[0])
    _plan_folds(file, {**given, **{alias: given[kept] for alias, kept in stored.items()}}, tree, mapping, groups, plan)
    _plan_ties(adapter, tree, groups, stored, plan)
    saved = {_renamed_layer(renamed, name): settings for name, settings in about.get("layers", {}).items()}
    plan.report.differences = _differences(tree, saved)
    _refuse(file, plan, strict)
    for parameter, key in plan.writes:
        value = plan.folded.get(parameter.name)
        parameter.assign(file[key] if value is None else value)
    if plan.ties:
        plan.report.notes = tie_slots(adapter, model, tree, plan.ties).notes
    return plan.report


def _renamer(rename: Mapping[str, str], known: set[str]) -> Callable[[str], str]:
    """What turns a name of the file into one of the model; `known` are those that the model has."""
    if not isinstance(rename, Mapping):
        raise ArgumentError(f"rename= takes a dict of regular expressions and replacements, not {rename!r}")
    try:
        steps = [(re.compile(pattern), replacement) for pattern, replacement in rename.items()]
    except (re.error, TypeError) as error:
        raise ArgumentError(f"rename= takes regular expressions: {error}") from error

    def renamed(name: str) -> str:
        for pattern, replacement in steps:
            try:
                name = pattern.sub(replacement, name)
            except (re.error, IndexError, TypeError) as error:
                raise ArgumentError(
                    f"rename= cannot put {replacement!r} in the place of {pattern.pattern!r}: {error}"
                ) from None
        if "%" in name and name not in known:
            # PyTorch leaves a % in a name as it is, where the others' is escaped
            other = (name.replace("%25", "%"), name.replace("%", "%25"))
            name = next((spelling for spelling in other if spelling in known), name)
        return name

    return renamed


def _given_names(file: SafetensorsFile, renamed: Callable[[str], str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for key in file:
        name = renamed(key)
        if name in given:
            raise ArgumentError(f"rename= turns both {given[name]!r} and {key!r} into {name!r}")
        given[name] = key
    return given


def _plan(
    file: SafetensorsFile,
    given: dict[str, str],
    stored: dict[str, str],
    mapping: Parameters,
    neutral: Mapping[str, Array],
) -> _Plan:
    plan = _Plan()
    used: set[str] = set()
    for parameter in mapping.values():
        if parameter.slot.transient:
            continue
        names = [parameter.name, *parameter.aliases]
        sources = list(dict.fromkeys(stored.get(name, name) for name in names if stored.get(name, name) in given))
        used.update(sources)
        if not sources:
            plan.report.missing.append(parameter.name)
            continue
        key = given[sources[0]]
        if _fits(parameter, file, key, plan):
            plan.writes.append((parameter, key))
            plan.report.loaded.append(parameter.name)
        for other in sources[1:]:
            _same(file, key, given[other], parameter)
    plan.report.unexpected = [name for name in given if name not in used and name not in neutral]
    return plan


def _plan_folds(
    file: SafetensorsFile,
    keys: Mapping[str, str],
    tree: Tree,
    mapping: Parameters,
    groups: list[list[str]],
    plan: _Plan,
) -> None:
    """What is added to other tensors, since the model has no place for it or only for a part of it."""
    written = {parameter.name: key for parameter, key in plan.writes}
    first = {name: group[0] for group in groups for name in group}
    added: dict[str, tuple[str, Array]] = {}
    for node in tree.root.walk():
        for role, fold in node.folds().items():
            name, target = join(node.name, role), join(node.name, fold.into)
            into = mapping.get(target)
            if into is None or into.name not in written:
                continue
            if name in keys and file.shape(keys[name]) != into.shape:
                plan.problems["misshaped"].append((name, into.shape, file.shape(keys[name])))
                continue
            given = file[keys[name]] if name in keys else np.zeros(into.slot.extents())
            summand, rest = fold.split(given)
            # what will be one tensor can have one sum only
            other = added.setdefault(mapping.get(first.get(target, target), into).name, (name, summand))
            if not np.array_equal(other[1], summand):
                why = f"it would be added to {into.name!r}, and so would {other[0]!r}, which differs: untie them first"
                plan.problems["unrepresentable"].append((name, why))
            elif summand.any():
                _add(file, written[into.name], into, summand, plan)
                plan.report.folded.append((name, into.name))
            if name in mapping:
                plan.folded[mapping[name].name] = rest
            elif rest.any():
                plan.problems["unrepresentable"].append((name, fold.why))


def _add(file: SafetensorsFile, key: str, into: Parameter, summand: Array, plan: _Plan) -> None:
    """Plans the sum as the value of a parameter, rounded once."""
    wide = np.result_type(np.float64, into.dtype if into.dtype.kind == "c" else np.float64)
    total = file[key].astype(wide) + summand.astype(wide)
    plan.folded[into.name] = converted(into.name, total, into.dtype, f"{file.path} cannot be loaded into")


def _renamed_layer(renamed: Callable[[str], str], layer: str) -> str:
    """A layer's name in the model, for renames that are about the names of tensors."""
    name = renamed(f"{layer}.weight")
    return name[: -len(".weight")] if layer and name.endswith(".weight") else layer and renamed(layer)


def _fits(parameter: Parameter, file: SafetensorsFile, key: str, plan: _Plan) -> bool:
    dtype, shape = file.dtype(key), file.shape(key)
    if shape != parameter.shape:
        plan.problems["misshaped"].append((parameter.name, parameter.shape, shape))
    if rank_of(dtype) != rank_of(parameter.dtype):
        plan.problems["mistyped"].append((parameter.name, parameter.dtype, dtype))
    elif dtype != parameter.dtype:
        converted(parameter.name, file[key], parameter.dtype, f"{file.path} cannot be loaded into")
        plan.report.converted.append((parameter.name, dtype, parameter.dtype))
    fits = shape == parameter.shape and rank_of(dtype) == rank_of(parameter.dtype)
    if fits and len(parameter.slot.source.parts) > 1 and not _has_fold(parameter):
        why = parameter.slot.problem(parameter.slot.handles() or (), file[key])
        plan.problems["unrepresentable"] += [(parameter.name, why)] if why else []
    return fits


def _has_fold(parameter: Parameter) -> bool:
    return parameter.role in parameter.slot.node.folds()


def _same(file: SafetensorsFile, key: str, other: str, parameter: Parameter) -> None:
    first, second = file[key], file[other]
    if first.shape != second.shape or first.tobytes() != second.tobytes():
        raise MismatchError(
            f"{key!r} and {other!r} differ in the file, and are one tied parameter, {parameter.name!r}, in the model; "
            f"nothing was written. Untie them first",
            MismatchReport(),
        )


def _plan_ties(adapter: Adapter, tree: Tree, groups: list[list[str]], stored: dict[str, str], plan: _Plan) -> None:
    slots = {slot.name: slot for group in tree.groups for slot in group if not slot.is_buffer}
    tied = {slot.name: [other.name for other in group] for group in tree.groups for slot in group}
    for group in groups:
        there = [name for name in group if name in slots and group[0] in stored]
        # what the model has tied to one of them stays tied to it
        there = list(dict.fromkeys(other for name in there for other in [name, *tied[name]]))
        apart = [name for name in there[1:] if slots[name].storage() != slots[there[0]].storage()]
        if not apart:
            continue
        adapter.require(Capability.TIE)
        misfits = {name for name, *_ in _problems(plan)}
        if misfits.isdisjoint(there):
            for name in apart:
                check_pair(adapter, slots[name], slots[there[0]])
        plan.ties += [(name, there[0]) for name in apart]
        plan.report.tied.append(tuple(there))


def _problems(plan: _Plan) -> Iterable[tuple[Any, ...]]:
    return [*plan.problems["misshaped"], *plan.problems["mistyped"]]


def _differences(tree: Tree, saved: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, Any, Any]]:
    found = []
    for node in tree.root.walk():
        given, here = saved.get(node.name), _described(node)
        for setting in dict.fromkeys((*here, *given)) if given and here else ():
            both = [settings.get(setting, DEFAULTS.get(setting)) for settings in (given or {}, here)]
            # what one side leaves open, and is no default either, is not known to differ
            if None not in both and not _equal(setting, *both):
                found.append((node.name, setting, *both))
    return found


def _equal(setting: str, given: Any, here: Any) -> bool:
    if setting == "kind":
        return alike(str(given), here)
    if isinstance(given, float) and isinstance(here, float):
        return math.isclose(given, here, rel_tol=1e-6)  # one is 1 - 0.99, say
    return bool(given == here)


def _refuse(file: SafetensorsFile, plan: _Plan, strict: bool) -> None:
    kinds = [(layer, here, str(given)) for layer, setting, given, here in plan.report.differences if setting == "kind"]
    found = MismatchReport(
        missing=plan.report.missing if strict else (),
        unexpected=plan.report.unexpected if strict else (),
        misshaped=plan.problems["misshaped"],
        mistyped=plan.problems["mistyped"],
        unrepresentable=plan.problems["unrepresentable"],
        kinds=[
            (*kind, next((KINDS[one].apart for one in kind[1:] if one in KINDS and KINDS[one].apart), ""))
            for kind in kinds
        ],
    )
    if found:
        raise MismatchError(f"{file.path} does not fit the model; nothing was written", found)
