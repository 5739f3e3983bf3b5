"""Keras's `.weights.h5` and `.keras` files, read without Keras.

A `.keras` file is a zip file of a `.weights.h5` and of the model's configuration, which tells the layers' classes and
their order. In a `.weights.h5` alone the groups are called as Keras calls the classes of the layers in a list, and
after the attributes where a layer is one; nothing tells the layers' order. Source: Keras 3.15,
keras/src/saving/saving_lib.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from multiparam.adapter import GATES, Source, einsum_sources, escape
from multiparam.formats import (
    CheckpointError,
    Contents,
    Entry,
    Format,
    Known,
    Originals,
    from_json,
    join,
    mapped,
    translated,
)
from multiparam.zip_file import Zip, is_zip

from . import layouts
from .hdf5 import MAGIC, Group, groups

__all__ = ["h5_file", "keras_file"]

_WEIGHTS, _CONFIG = "model.weights.h5", "config.json"
_LONGEST_CONFIG = 1 << 24
_LISTS = ("layers", "_layer_checkpoint_dependencies")  # where a model keeps its layers, the latter in older files
_SEED = "seed_generator"  # in a layer that draws random numbers
_MODELS = ("Sequential", "Functional", "Model")
_RECURRENT = ("LSTM", "GRU", "SimpleRNN", "RNN", "Bidirectional")
# what a layer keeps, in the order that its variables are numbered in; the last one may be missing where it is a bias
_PARTS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("Dense", "EinsumDense", "Conv1D", "Conv2D", "Conv3D"), ("_kernel", "bias")),
    **dict.fromkeys(("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), ("kernel", "bias")),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), ("kernel", "bias")),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), ("depthwise_kernel", "pointwise_kernel", "bias")),
    **dict.fromkeys(("LSTMCell", "GRUCell", "SimpleRNNCell"), ("kernel", "recurrent_kernel", "bias")),
    **dict.fromkeys(("LayerNormalization", "GroupNormalization"), ("gamma", "beta")),
    "BatchNormalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "RMSNormalization": ("scale",),
    "Embedding": ("_embeddings",),
    "PReLU": ("alpha",),
}
_OPTIONS = {"bias": "use_bias", "gamma": "scale", "beta": "center"}
_KINDS: Mapping[str, tuple[str, Mapping[str, Source]]] = {
    "Dense": ("Linear", layouts.LINEAR),
    "Embedding": ("Embedding", layouts.EMBEDDING),
    "BatchNormalization": ("BatchNorm", {**layouts.AFFINE, **layouts.STATISTICS}),
    "LayerNormalization": ("LayerNorm", layouts.AFFINE),
    "GroupNormalization": ("GroupNorm", layouts.AFFINE),
    "RMSNormalization": ("RMSNorm", layouts.RMS),
    "PReLU": ("PReLU", layouts.PRELU),
    "SimpleRNNCell": ("RNNCell", layouts.cell()),
    "LSTMCell": ("LSTMCell", layouts.cell()),
    "GRUCell": ("GRUCell", layouts.cell(gru=True)),
    **{f"Conv{rank}D": (f"Conv{rank}d", layouts.conv(rank)) for rank in (1, 2, 3)},
    **{f"Conv{rank}DTranspose": (f"ConvTranspose{rank}d", layouts.conv_transpose(rank)) for rank in (1, 2, 3)},
    **{f"DepthwiseConv{rank}D": (f"Conv{rank}d", layouts.depthwise(rank)) for rank in (1, 2)},
    **{f"SeparableConv{rank}D": (f"SeparableConv{rank}d", layouts.separable(rank)) for rank in (1, 2)},
}


def _snake(name: str) -> str:
    """A class's name as Keras writes it in files and in automatic names."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


_OF_SNAKE = {_snake(name): name for name in (*_PARTS, *_RECURRENT, "MultiHeadAttention")}


def _variables(group: Group) -> list[Entry]:
    """Those of a layer, in its order."""
    held = group.groups["vars"].arrays if "vars" in group.groups else {}
    return [held[str(index)] for index in range(len(held)) if str(index) in held]


def _label(group: Group) -> str:
    """The name that a layer had; empty if the file does not say."""
    return group.groups["vars"].label if "vars" in group.groups else ""


def _all(group: Group) -> Iterator[Entry]:
    yield from group.arrays.values()
    for inner in group.groups.values():
        yield from _all(inner)


def _saved(group: Group) -> Iterator[Entry]:
    """The arrays of all layers, as Keras names them now."""
    for entry in group.arrays.values():
        yield replace(entry, name=_today(entry.name))
    for name, inner in group.groups.items():
        if name != _SEED:
            yield from _saved(inner)


def _labels(group: Group) -> Iterator[tuple[str, str]]:
    """The names that all layers had, by their paths."""
    yield _today(group.path), _label(group)
    for inner in group.groups.values():
        yield from _labels(inner)


def _today(path: str) -> str:
    """A path as a file of the present Keras has it."""
    return path.replace(_LISTS[1], _LISTS[0])


def _within(group: Group, name: str) -> Group:
    """A group in another, whether Keras called it after the attribute or after its property; else an empty one."""
    return group.groups.get(name) or group.groups.get(f"_{name}") or Group(join(group.path, name))


def _listed(group: Group) -> list[Group]:
    """The groups of a list of layers of one class, in order; nothing of several, whose order is not known."""
    numbered: dict[int, Group] = {}
    bases = set()
    for name, inner in group.groups.items():
        base, _, number = name.rpartition("_")
        counted = bool(base) and number.isdigit() and len(number) < 9 and base in group.groups
        bases.add(base if counted else name)
        numbered[int(number) if counted else 0] = inner
    alike = len(bases) == 1 and sorted(numbered) == list(range(len(group.groups)))
    return [numbered[index] for index in sorted(numbered)] if alike else []


# --- the layers ---------------------------------------------------------------------------------------------------


class _UnknownError(Exception):
    """A layer is not one of those that are known."""


@dataclass
class _Found:
    """What is known of a file's arrays: their names in their layers, and the layers."""

    entries: dict[str, Entry] = field(default_factory=dict)
    layers: dict[str, Known] = field(default_factory=dict)
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def add(self, entry: Entry, name: str = "") -> None:
        """Adds an array, under a name of ours if that is known and still free."""
        own = entry.name
        if own in self.entries:
            raise ValueError(f"two arrays would be called {own!r}")
        if not name or name == own or name in self.entries:
            self.entries[own] = entry
        else:
            self.entries[name] = replace(entry, name=name, original=(own,))

    def rest(self, group: Group) -> None:
        """Adds all that a group holds as it is in the file."""
        if group.path.rpartition(".")[2] == _SEED:
            self.left_out[group.path] = "the state of a random number generator"
            return
        for entry in group.arrays.values():
            self.add(entry)
        for inner in group.groups.values():
            self.rest(inner)

    def model(self, group: Group, config: Mapping[str, Any] | None) -> None:
        """Takes in a file's root."""
        for name in ("optimizer", "_optimizer"):
            kept = group.groups.pop(name, None)
            if kept is not None:
                self.left_out[name] = f"the state of an optimizer, {sum(1 for _ in _all(kept))} arrays"
        self.layer(group, "", config, "")

    def layer(self, group: Group, name: str, config: Mapping[str, Any] | None, told: str) -> None:
        """Takes in a layer; `told` is its class where the configuration does not say."""
        cls = _class(config) or told
        options = _options(config)
        held = next((group.groups[one] for one in _LISTS if one in group.groups), None)
        if cls in _MODELS and isinstance(options.get("layers"), list) and held is not None:
            self.listed(held, name, options["layers"], cls)
            return
        try:
            entries, known = _known(group, name, cls, options if config else None)
        except _UnknownError:
            self.attributes(group, name, options)
            return
        for part, entry in entries.items():
            self.add(entry, join(name, part))
        if not known.sources:  # what other frameworks have no like of has the names that the layer has in Keras
            for part in entries:
                self.entries[join(name, part)] = replace(self.entries[join(name, part)], original=())
            return
        self.layers[name] = known
        about = _settings(cls, options)
        if about:
            self.settings[name] = about

    def listed(self, held: Group, name: str, configs: Sequence[Any], cls: str) -> None:
        """Takes in a model's layers, which the configuration names in their order."""
        taken: dict[str, int] = {}
        position = 0
        left = dict(held.groups)
        for config in configs:
            called = str(config.get("class_name", "")) if isinstance(config, Mapping) else ""
            is_input = called == "InputLayer"
            if not called or (is_input and cls == "Sequential"):
                continue  # of an input a Sequential keeps nothing
            snake = _snake(called)
            key = f"{snake}_{taken[snake]}" if snake in taken else snake
            taken[snake] = taken.get(snake, 0) + 1
            if is_input:
                left.pop(key, None)
                continue
            label = str(_options(config).get("name", ""))
            automatic = re.fullmatch(rf"{re.escape(snake)}(_\d+)?", label)
            component = str(position) if automatic or not label else escape(label)
            position += 1
            if key in left:
                self.layer(left.pop(key), join(name, component), config, "")
        for group in left.values():
            self.rest(group)

    def attributes(self, group: Group, name: str, options: Mapping[str, Any]) -> None:
        """Takes in what is no layer of a known class: its own variables, and the layers that its attributes hold."""
        for attribute, inner in group.groups.items():
            if attribute == "vars" or attribute == _SEED:
                self.rest(inner)
            elif attribute in _LISTS:
                for key, one in inner.groups.items():
                    self.layer(one, self.listed_name(one, key, name, inner), None, _told(key))
            elif "vars" in inner.groups:
                config = options.get(attribute)
                config = config if isinstance(config, Mapping) else None
                self.layer(inner, join(name, escape(attribute)), config, "" if config else _told(_label(inner)))
            elif in_order := _listed(inner):
                for index, one in enumerate(in_order):
                    key = one.path.rpartition(".")[2]
                    self.layer(one, join(name, f"{escape(attribute)}.{index}"), None, _told(key))
            else:
                for key, one in inner.groups.items():
                    self.layer(one, one.path, None, _told(key))
                for entry in inner.arrays.values():
                    self.add(entry)
        for entry in group.arrays.values():
            self.add(entry)

    def listed_name(self, group: Group, key: str, name: str, held: Group) -> str:
        """A layer's name where nothing tells the order: the user's, or the file's."""
        snake = re.sub(r"_\d+$", "", key)
        automatic = re.fullmatch(rf"({re.escape(snake)}|{re.escape(key)})(_\d+)?", _label(group))
        return group.path if automatic or not _label(group) or name else escape(_label(group))


def _class(config: Mapping[str, Any] | None) -> str:
    """The class of a layer of Keras's own; empty for another."""
    if config is None:
        return ""
    module, registered = config.get("module"), config.get("registered_name")
    name = config.get("class_name")
    if registered == "multiparam>NamedSequential":
        return "Sequential"
    own = isinstance(module, str) and module.partition(".")[0] == "keras" and isinstance(name, str)
    return str(name) if own and registered in (None, name) else "another"


def _options(config: Any) -> Mapping[str, Any]:
    options = config.get("config") if isinstance(config, Mapping) else None
    return options if isinstance(options, Mapping) else {}


def _told(key: str) -> str:
    """The class that an automatic name tells; empty if it tells none."""
    return _OF_SNAKE.get(key) or _OF_SNAKE.get(re.sub(r"_\d+$", "", key), "")


def _settings(cls: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """What decides a layer's function beside its weights, as far as the layer table tells it too."""
    eps = options.get("epsilon")
    if cls.endswith("Normalization"):
        return {"eps": eps} if isinstance(eps, float) else {}
    if cls == "Bidirectional":
        inner = options.get("layer")
        merge = {"merge": str(options["merge_mode"])} if "merge_mode" in options else {}
        about = _settings(_class(inner), _options(inner)) if isinstance(inner, Mapping) else {}
        return {name: one for name, one in about.items() if name != "reverse"} | merge
    if cls.startswith("SeparableConv"):
        return {}  # they are its parts'
    names = {"activation": "nonlinearity" if cls.startswith("SimpleRNN") else "activation"}
    names |= {"recurrent_activation": "recurrent_activation"}
    found: dict[str, Any] = {
        setting: options[name] for name, setting in names.items() if isinstance(options.get(name), str)
    }
    if isinstance(options.get("go_backwards"), bool):
        found["reverse"] = options["go_backwards"]
    return found | ({"mask_zero": True} if options.get("mask_zero") is True else {})


def _known(group: Group, name: str, cls: str, options: Mapping[str, Any] | None) -> tuple[dict[str, Entry], Known]:
    """A layer's arrays by what the layer calls them, and what is known of it."""
    if cls == "MultiHeadAttention":
        return _attention(group)
    if cls in _RECURRENT:
        return _recurrent(group, cls, options)
    if cls not in _PARTS:
        raise _UnknownError
    parts = _parts(group, cls, options)
    kind, sources = _KINDS.get(cls, ("Linear", {}))
    if cls == "EinsumDense":
        bias = parts.get("bias")
        sources = einsum_sources(str((options or {}).get("equation", "")), "_kernel", len(bias.shape) if bias else 0)
    if cls.endswith("Cell") and "bias" in parts and (len(parts["bias"].shape) == 2) != (cls == "GRUCell"):
        raise _UnknownError  # a GRU with reset_after=False
    fits = all(_shape(source, parts) for source in sources.values() if set(source.parts) <= parts.keys())
    if not sources or not fits or (options is None and not _consistent(cls, parts)):
        raise _UnknownError
    added = layouts.COUNT if cls == "BatchNormalization" else {}
    return parts, Known((kind,), sources, {**added, **_second_bias(cls, parts)})


def _shape(source: Source, parts: Mapping[str, Entry]) -> bool:
    try:
        source.shape([parts[part].shape for part in source.parts])
    except Exception:  # whatever a layout makes of a shape that is not its own
        return False
    return True


def _consistent(cls: str, parts: Mapping[str, Entry]) -> bool:
    """Whether the shapes agree with each other, where only a name says of which class they are."""
    shapes = {part: entry.shape for part, entry in parts.items()}
    if {"gamma", "beta"} <= shapes.keys():
        return len(set(shapes.values())) == 1
    kernel = shapes.get("_kernel", shapes.get("kernel", ()))
    last = kernel[-2:-1] if cls.endswith("Transpose") else kernel[-1:]
    plain = cls == "Dense" or (cls.startswith("Conv") and len(kernel) > 2)
    return not plain or shapes.get("bias", last) == last


def _parts(group: Group, cls: str, options: Mapping[str, Any] | None) -> dict[str, Entry]:
    variables, names = _variables(group), _PARTS[cls]
    if options is not None:
        names = tuple(name for name in names if options.get(_OPTIONS.get(name, ""), True) is not False)
    elif len(variables) == len(names) - 1 and names[-1] == "bias":
        names = names[:-1]
    kept = len(group.groups["vars"].arrays) if "vars" in group.groups else 0
    if len(variables) != len(names) or kept != len(names) or not names:
        raise _UnknownError
    return dict(zip(names, variables, strict=True))


def _second_bias(cls: str, parts: Mapping[str, Entry], end: str = "") -> dict[str, Any]:
    """The bias that PyTorch adds to the one that Keras has."""
    if cls not in ("LSTMCell", "SimpleRNNCell") or "bias" not in parts:
        return {}
    return {f"bias_hh{end}": np.zeros(parts["bias"].shape, parts["bias"].dtype)}


def _attention(group: Group) -> tuple[dict[str, Entry], Known]:
    found: dict[str, Entry] = {}
    shapes = []
    for name in ("query_dense", "key_dense", "value_dense", "output_dense"):
        variables = _variables(_within(group, name))
        if len(variables) not in (1, 2) or len(variables[0].shape) != 3:
            raise _UnknownError
        found |= {f"_{name}.{part}": one for part, one in zip(("_kernel", "bias"), variables, strict=False)}
        shapes.append(variables[0].shape)
    return found, Known(("MultiheadAttention",), layouts.attention(packed=len(set(shapes[:3])) == 1))


def _recurrent(group: Group, cls: str, options: Mapping[str, Any] | None) -> tuple[dict[str, Entry], Known]:
    entries: dict[str, Entry] = {}
    sources: dict[str, Source] = {}
    added: dict[str, Any] = {}
    kinds = set()
    for path, end, cell in _cells(group, cls, options):
        called = _cell_class(cell)
        parts = _parts(cell, called, None)
        bias = parts.get("bias")
        entries |= {f"{path.replace('/', '.')}{part}": one for part, one in parts.items()}
        if bias is not None and (len(bias.shape) == 2) != (called == "GRUCell"):
            kinds.add("GRU(reset_after=False)")
        sources |= {f"{role}{end}": one for role, one in layouts.cell(path, gru=called == "GRUCell").items()}
        added |= _second_bias(called, parts, end)
        kinds.add({"SimpleRNNCell": "RNN"}.get(called, called.removesuffix("Cell")))
    if "GRU(reset_after=False)" in kinds and options is not None:
        return entries, Known(("GRU(reset_after=False)",), {})
    if len(kinds) != 1:
        raise _UnknownError
    return entries, Known((kinds.pop(),), sources, added)


def _cells(
    group: Group, cls: str, options: Mapping[str, Any] | None, path: str = "", end: str = ""
) -> Iterator[tuple[str, str, Group]]:
    """The cells of a recurrent layer, with the paths to them and what PyTorch appends to their tensors' names."""
    if cls == "Bidirectional":
        inner = (options or {}).get("layer")
        told = "RNN" if options is None else _class(inner if isinstance(inner, Mapping) else {})
        for name, reverse in (("forward_layer", ""), ("backward_layer", "_reverse")):
            for found, one, cell in _cells(_within(group, name), told, _options(inner), f"{path}{name}/", end):
                yield found, f"{one}{reverse}", cell
        return
    cell = _within(group, "cell")
    inner = (options or {}).get("cell")
    if cls not in _RECURRENT or (isinstance(inner, Mapping) and _class(inner) not in (*_PARTS, "StackedRNNCells")):
        raise _UnknownError
    cells = cell.groups.get("cells")
    if cells is None:
        yield f"{path}cell/", f"{end}_l0", cell
        return
    for index, one in enumerate(_listed(cells)):
        yield f"{path}cell/cells/{index}/", f"{end}_l{index}", one


def _cell_class(cell: Group) -> str:
    """A cell's class by the number of its gates."""
    variables = _variables(cell)
    if len(variables) not in (2, 3) or any(len(one.shape) != 2 for one in variables[:2]):
        raise _UnknownError
    (_, rows), (units, columns) = variables[0].shape, variables[1].shape
    kind = next((kind for kind, count in GATES.items() if rows == columns == count * units), "")
    if not kind:
        raise _UnknownError
    return "SimpleRNNCell" if kind == "RNN" else f"{kind}Cell"


# --- the formats --------------------------------------------------------------------------------------------------


def _contents(path: Path, root: Group, config: Mapping[str, Any] | None) -> Contents:
    found = _Found()
    try:
        found.model(root, config)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(path, f"no valid Keras file: {error}") from error
    contents = translated([*found.entries.values()], found.layers)
    layers = {name: {**about, **found.settings.get(name, {})} for name, about in contents.layers.items()}
    originals = Originals([*_saved(root)], dict(_labels(root)))  # the optimizer's are not among them any more
    notes = [*contents.notes]
    if config is None and any(name.startswith("layers.") for name in contents.layers):
        notes.append("the file does not tell the order of its layers, whose names are the file's; a .keras file does")
    return replace(contents, layers=layers, left_out=found.left_out, notes=notes, originals=originals)


def _opened(path: Path, data: memoryview) -> Group:
    try:
        return groups(data)
    except ValueError as error:
        raise CheckpointError(path, f"no valid HDF5 file: {error}") from error


def _read_h5(path: Path) -> Contents:
    return _contents(path, _opened(path, mapped(path)), None)


def _read_keras(path: Path) -> Contents:
    archive = Zip(path)
    weights, config = archive.members[_WEIGHTS], archive.members[_CONFIG]
    if weights.packed:
        raise CheckpointError(path, f"its {_WEIGHTS} is compressed, as Keras writes none; zip -0 packs it without")
    if config.size > _LONGEST_CONFIG:
        raise CheckpointError(path, f"its {_CONFIG} claims {config.size} bytes")
    try:
        config.check()
        about = from_json(bytes(config.data()))
    except ValueError as error:
        raise CheckpointError(path, f"its {_CONFIG} is damaged: {error}") from error
    if not isinstance(about, dict):
        raise CheckpointError(path, f"its {_CONFIG} is no configuration")
    try:
        weights.check()
    except ValueError as error:
        raise CheckpointError(path, f"its {error}") from error
    return _contents(path, _opened(path, weights.data()), about)


def _holds(path: Path) -> bool:
    try:
        return {_WEIGHTS, _CONFIG} <= Zip(path).members.keys()
    except CheckpointError:
        return False


h5_file = Format("h5", lambda start: start.startswith(MAGIC), _read_h5, backend="keras")
keras_file = Format("keras", is_zip, _read_keras, backend="keras", holds=_holds)
