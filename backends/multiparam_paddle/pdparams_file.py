"""Paddle's `.pdparams` and `.pdopt` files, read without Paddle.

They are pickles, as `paddle.save` writes them: of a `state_dict`, whose arrays stand beside a table of their
parameters' names, or of anything made of tensors, each of them a pair of its parameter's name and an array. Source:
PaddlePaddle 3.3.1, python/paddle/framework/io.py and io_utils.py.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from multiparam.adapter import GATES, At, Transposed, base_role
from multiparam.formats import (
    CheckpointError,
    Choice,
    Contents,
    Entry,
    Format,
    Known,
    data_size,
    described,
    join,
    mapped,
    translated,
)
from multiparam.plain_pickle import Dialect, Machine, PickledArray, StandIn, plain

from .layouts import BUFFERS, FAMILIES, FILE_ONLY, SOURCES, attention, cell

__all__ = ["pdparams_file"]

_NAMES = "StructuredToParameterName@@"
_SLICED = "UnpackBigParamInfor@@"
_DEEPEST = 32  # dicts in dicts
_PARAMETER = re.compile(r"(.+)_(\d+)\.([wb]_\d+)")
_NUMBERED_NAME = re.compile(r"_\d+(\.[wb]_\d+)?$")
_FLAT = re.compile(r"(?:(.*)\.)?(?:weight|bias)_[ih]h_l(\d+)(?:_reverse)?")
_ALIAS = re.compile(r"(?:(.*)\.)?(\d+)\.cell(?:_(fw|bw))?\.((?:weight|bias)_[ih]h|weight_ho)")
_WEIGHTS = ("weight", "weight_orig", "weight_v")  # as it is, or taken apart
_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj")
# what a parameter without a layer is, by its kind and the number in its name, "batch_norm_0.w_1"
_NUMBERED: Mapping[str, Mapping[str, str]] = {
    "BatchNorm": {"w_1": "_mean", "w_2": "_variance"},
    "InstanceNorm": {"w_0": "scale"},
    "PReLU": {"w_0": "_weight"},
    **{
        f"{name}Cell": {"w_0": "weight_ih", "w_1": "weight_hh", "w_2": "weight_ho", "b_0": "bias_ih", "b_1": "bias_hh"}
        for name in GATES
    },
}
_RANKS: Mapping[str, int] = {"Linear": 2, "Embedding": 2, "Bilinear": 3}
_BY_RANK: Mapping[int, tuple[str, ...]] = {
    1: ("LayerNorm", "GroupNorm"),
    **{rank + 2: (f"Conv{rank}d", f"ConvTranspose{rank}d") for rank in (1, 2, 3)},
}
_Shapes = dict[str, tuple[int, ...]]
_MATRIX = "may be a Linear's, which PyTorch keeps transposed, or not; as in the file. A model tells"
_TURNED = "turned, as a Linear's is, since the model has one there; the file does not tell"


@dataclass
class _Found:
    """What a pickle's dicts hold, under names joined by dots.

    Attributes:
        size: bytes of the file, and what may still be put together out of slices.
        budget: how many characters the names may still have; a small file can put one dict into many.
        entries: the tensors.
        held: which of the pickle's arrays each is made of; one can stand under many names.
        parameters: their parameters' names, where the file tells.
        left_out: what is no tensor.
        digests: of what was compared.
    """

    size: int
    budget: int
    entries: dict[str, Entry] = field(default_factory=dict)
    held: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    digests: dict[tuple[Any, ...], tuple[Any, ...]] = field(default_factory=dict)

    def spend(self, characters: int) -> None:
        self.budget -= characters
        if self.budget < 0:
            raise ValueError("puts the same dicts and lists into each other again and again")

    def add(self, name: str, thing: Any, depth: int = 0) -> None:
        """Adds what a name stands for, and all that it holds."""
        self.spend(len(name) + 1)
        if depth > _DEEPEST:
            raise ValueError(f"has more than {_DEEPEST} dicts and lists in each other")
        if isinstance(thing, tuple) and len(thing) == 2 and _is_tensor(thing):
            self.parameters[name], thing = thing
        if isinstance(thing, PickledArray):
            if name in self.entries:
                raise ValueError(f"has two tensors of the name {name!r}")
            self.entries[name], self.held[name] = _entry(name, thing), (id(thing),)
        elif isinstance(thing, dict):
            self.add_dict(name, thing, depth)
        elif isinstance(thing, (list, tuple)):
            for index, one in enumerate(thing):
                self.add(f"{name}.{index}" if name else str(index), one, depth + 1)
        else:
            self.left_out[name] = type(thing).__name__

    def add_dict(self, name: str, given: Mapping[Any, Any], depth: int) -> None:
        names, sliced = given.get(_NAMES), given.get(_SLICED)
        prefix = f"{name}." if name else ""
        for key, value in given.items():
            if (key == _NAMES and isinstance(names, dict)) or (key == _SLICED and isinstance(sliced, dict)):
                continue
            self.add(f"{prefix}{key}", value, depth + 1)
        for key, parameter in names.items() if isinstance(names, dict) else ():
            self.spend(len(prefix) + len(str(key)))
            if f"{prefix}{key}" in self.entries and isinstance(parameter, str):
                self.parameters[f"{prefix}{key}"] = parameter
        for key, about in sliced.items() if isinstance(sliced, dict) else ():
            self.join(f"{prefix}{key}", prefix, about)

    def join(self, name: str, prefix: str, about: Any) -> None:
        """Puts together what was too big for one object of an old pickle."""
        slices, shape = (about.get("slices"), about.get("OriginShape")) if isinstance(about, dict) else (None, None)
        if not isinstance(slices, list) or not isinstance(shape, (list, tuple)) or not slices:
            raise ValueError(f"does not say of what parts {name!r} is made")
        if any(not isinstance(one, str) for one in slices) or any(type(extent) is not int for extent in shape):
            raise ValueError(f"does not say of what parts {name!r} is made")
        self.spend(sum(len(prefix) + len(one) for one in slices))
        names = [f"{prefix}{one}" for one in dict.fromkeys(slices)]
        if any(one not in self.entries for one in names):
            raise ValueError(f"lacks parts of {name!r}")
        parts = [self.entries.pop(one) for one in names]
        dtype, extents = parts[0].dtype, tuple(shape)
        if {part.dtype for part in parts} != {dtype} or sum(part.size for part in parts) != data_size(extents, dtype):
            raise ValueError(f"has parts of {name!r} that do not make up its shape")
        held = tuple(array for one in names for array in self.held[one])
        self.size -= sum(part.size for part in parts)
        if len(set(held)) < len(held) or self.size < 0:
            raise ValueError(f"has parts of {name!r} that are the same again")
        self.held[name] = held
        self.entries[name] = Entry(
            name,
            dtype,
            extents,
            lambda: np.concatenate([part.read().reshape(-1) for part in parts]).reshape(extents),
        )

    def content(self, name: str) -> tuple[Any, ...]:
        """What tells whether two tensors are the same one, saved twice."""
        return self.parameters.get(name, ""), *self.digest(self.entries[name], [name], "")

    def digest(self, entry: Entry, names: Sequence[str], role: str) -> tuple[Any, ...]:
        """An entry's `_digest`, made once for what is read in one way of the same arrays, under however many names.

        Args:
            entry: the entry.
            names: the tensors that it is made of.
            role: what says how it is made of them; empty if it is as in the file.
        """
        key = tuple(array for name in names for array in self.held[name]), entry.shape, role
        if key not in self.digests:
            self.digests[key] = _digest(entry)
        return self.digests[key]


def _is_tensor(pair: tuple[Any, Any]) -> bool:
    return isinstance(pair[0], str) and isinstance(pair[1], PickledArray)


def _entry(name: str, array: PickledArray) -> Entry:
    entry = array.entry(name)
    if entry.dtype != np.uint16:
        return entry
    # Paddle has no uint16: these are the bits of a bfloat16, which numpy has none of
    return replace(entry, dtype=np.dtype(ml_dtypes.bfloat16), read=lambda: entry.read().view(ml_dtypes.bfloat16))


class _Static(PickledArray):
    """A tensor of a static graph, which nobody else writes so."""


def _static_tensor(machine: Machine, arguments: tuple[Any, ...]) -> PickledArray:
    # Paddle writes a tensor of a static graph as eval("data", {"data": array}); nothing is evaluated here
    well = len(arguments) == 2 and arguments[0] == "data" and isinstance(arguments[1], dict)
    if not (well and list(arguments[1]) == ["data"] and isinstance(arguments[1]["data"], PickledArray)):
        raise ValueError("asks for eval, which is not run")
    found: PickledArray = arguments[1]["data"]
    return _Static(found.dtype, found.shape, found.fortran, found.data)


_DIALECT = Dialect({(module, "eval"): StandIn("eval", _static_tensor) for module in ("builtins", "__builtin__")})


def _read(path: Path) -> Contents | None:
    data = mapped(path)
    try:
        thing = plain(data, _DIALECT)
    except ValueError:
        return None  # which pickle it is that is damaged cannot be told
    if not _is_marked(thing):
        return None
    try:
        found = _Found(len(data), 16 * len(data) + 65_536)
        single = isinstance(thing, PickledArray) or (isinstance(thing, tuple) and len(thing) == 2 and _is_tensor(thing))
        found.add("tensor" if single else "", thing)
    except ValueError as error:
        raise CheckpointError(path, f"no valid Paddle file: its pickle {error}") from error
    if not single and not isinstance(thing, (dict, list, tuple)):
        raise CheckpointError(path, f"no valid Paddle file: its pickle holds no tensors, but {type(thing).__name__}")
    if isinstance(thing, dict):
        return _interpreted(found)
    content = "tensor" if single else "list" if len(found.entries) == len(thing) and not found.left_out else "dict"
    return Contents([*found.entries.values()], content, own=frozenset(found.entries), left_out=found.left_out)


def _is_marked(thing: Any) -> bool:
    """Whether something in a pickle is as only Paddle writes it; numpy arrays alone may be anybody's."""
    if isinstance(thing, tuple) and len(thing) == 2 and _is_tensor(thing):
        return True
    waiting, seen = [thing], set()
    while waiting:
        one = waiting.pop()
        if isinstance(one, _Static):
            return True
        if id(one) in seen or not isinstance(one, (dict, list, tuple)):
            continue
        seen.add(id(one))
        if isinstance(one, dict):
            if _is_marked_dict(one):
                return True
            waiting += one.values()
        else:
            # a list of pairs is how items of any dict are kept; Paddle numbers the names of its tensors
            pairs = [pair for pair in one if isinstance(pair, tuple) and len(pair) == 2 and _is_tensor(pair)]
            if any(_NUMBERED_NAME.search(name) for name, _ in pairs):
                return True
            waiting += one
    return False


def _is_marked_dict(given: Mapping[Any, Any]) -> bool:
    if isinstance(given.get(_NAMES), dict) or isinstance(given.get(_SLICED), dict):
        return True
    for name, one in given.items():
        numbered = _PARAMETER.fullmatch(name) if isinstance(name, str) else None
        if numbered and numbered[1].rpartition(".")[2] in FAMILIES and isinstance(one, PickledArray):
            return True  # paddle.static.save has the parameters' own names alone
        if isinstance(one, tuple) and len(one) == 2 and _is_tensor(one):
            return True
    return False


# --- what the names tell ----------------------------------------------------------------------------------------


def _interpreted(found: _Found) -> Contents:
    """The entries under canonical names, as far as their names, their parameters' and shapes tell the layers."""
    notes = [*_drop_frozen(found), *_drop_aliases(found)]
    native = {name: _native_name(name, found.parameters) for name in found.entries}
    named = [replace(one, name=native[name], original=(name,)) for name, one in found.entries.items()]
    parameters = {native[name]: parameter for name, parameter in found.parameters.items() if name in native}
    layers, guessed = _layers(named, parameters)
    contents = translated(named, layers)
    entries, ties = _tied(contents.entries, found, contents.layers)
    inside = _by_layer(named)
    matrices = [one for one in entries if one.name in contents.own and _is_matrix(one, inside)]
    return replace(
        contents,
        entries=entries,
        ties=ties,
        left_out=found.left_out,
        notes=[*contents.notes, *notes],
        doubts={one.name: _MATRIX for one in matrices},
        flat=frozenset(join(name, role) for name in layers if _is_norm(layers[name]) for role in ("weight", "bias")),
        choices=[
            *contents.choices,
            *(choice for one in matrices for choice in _as_linear(one, inside)),
            *_as_taken_apart(inside, contents.layers, contents.own),
            *_as_guessed(inside, guessed),
            *_as_layers(inside, contents.layers),
        ],
    )


def _is_norm(known: Known) -> bool:
    return "LayerNorm" in known.kinds  # Paddle keeps one axis, whatever it goes over


def _as_guessed(inside: Mapping[str, Sequence[Entry]], guessed: Mapping[str, Known]) -> Iterator[Choice]:
    """How layers of classes that are not Paddle's are read where a model says that they are what they look like."""
    for layer, known in guessed.items():
        contents = translated(inside[layer], {layer: known})
        instead = frozenset(one.original[0] for one in inside[layer] if one.name not in contents.own)
        if instead and any(entry.original for entry in contents.entries):
            kinds = frozenset(f"{kind}{rank}" for kind in known.kinds for rank in ("", "1d", "2d", "3d"))
            yield Choice(layer, instead, contents, kinds)


def _by_layer(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    inside: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        inside[entry.name.rpartition(".")[0]].append(entry)
    return inside


def _as_layers(by_layer: Mapping[str, Sequence[Entry]], layers: Mapping[str, Mapping[str, Any]]) -> Iterator[Choice]:
    """How cells are read that are a model's recurrent layers: an `RNN` or a `BiRNN` puts nothing else into a file."""
    for name, about in layers.items():
        layer, _, way = name.rpartition(".")
        ways = {"cell": ("cell",), "cell_fw": ("cell_fw", "cell_bw")}.get(way, ())
        kind = str(about["kind"])
        if not ways or any(layers.get(join(layer, one), {}).get("kind") != kind for one in ways):
            continue
        sources = {
            f"{role}_l0{'_reverse' if one == 'cell_bw' else ''}": source
            for one in ways
            for role, source in cell(f"{one}/", projected=True).items()
        }
        inside = [entry for one in ways for entry in by_layer[join(layer, one)]]
        contents = translated(inside, {layer: Known((kind.removesuffix("Cell"),), sources)})
        roles = {one.name.rpartition(".")[2].replace("weight_ho", "weight_hr") for one in inside}
        instead = frozenset(join(join(layer, one), role) for one in ways for role in roles)
        yield Choice(layer, instead, contents)


def _as_linear(matrix: Entry, inside: Mapping[str, Sequence[Entry]]) -> Iterator[Choice]:
    """How a matrix is read that a model has in a Linear."""
    layer, _, role = matrix.name.rpartition(".")
    bias = next((one.shape for one in inside.get(layer, ()) if one.name == join(layer, "bias")), ())
    if bias == matrix.shape[:1] != matrix.shape[1:]:
        return  # it is out times in already
    contents = translated([matrix], {layer: Known(("Linear",), {role: Transposed(role)})})
    square = matrix.shape[0] == matrix.shape[1]
    contents = replace(contents, doubts={matrix.name: _TURNED} if square else {})
    native = None if role == "weight" else False  # in a Linear of Paddle's it has no place in the layer table
    yield Choice(layer, frozenset((matrix.name,)), contents, kinds=frozenset(("Linear",)), native=native)


def _as_taken_apart(
    inside: Mapping[str, Sequence[Entry]], layers: Mapping[str, Mapping[str, Any]], own: Collection[str]
) -> Iterator[Choice]:
    """What spectral_norm and weight_norm make of a Linear's weight has the file's layout in Paddle's own models."""
    for layer, about in layers.items():
        role = _weight({one.name.rpartition(".")[2] for one in inside.get(layer, ())})
        name = join(layer, role)
        if role == "weight" or about["kind"] != "Linear" or name in own:
            continue
        found = [replace(one, name=one.original[0], original=()) for one in inside[layer] if one.name == name]
        contents = Contents(found, layers={layer: about})
        yield Choice(layer, frozenset((name,)), contents, kinds=frozenset(("Linear",)), native=True)


def _is_matrix(entry: Entry, inside: Mapping[str, Sequence[Entry]]) -> bool:
    layer, _, role = entry.name.rpartition(".")
    if len(entry.shape) != 2 or role not in _WEIGHTS:
        return False
    return role == _weight({one.name.rpartition(".")[2] for one in inside.get(layer, ())})


def _weight(parts: Collection[str]) -> str:
    """What a layer calls its weight: another name where spectral_norm or weight_norm takes it apart."""
    if "weight" in parts or "weight_orig" in parts:
        return "weight" if "weight" in parts else "weight_orig"
    return "weight_v" if {"weight_v", "weight_g"} <= {*parts} else "weight"


def _drop_aliases(found: _Found) -> list[str]:
    """Takes out what Paddle's recurrent layers save twice, and says so."""
    aliases = {name: alias for name in found.entries if (alias := _ALIAS.fullmatch(name))}
    projected = {alias[1] or "" for alias in aliases.values() if alias[4] == "weight_ho"}
    dropped = []
    for name, alias in aliases.items():
        layer, depth, direction, role = alias.groups(default="")
        flat = join(layer, f"{role}_l{depth}{'_reverse' if direction == 'bw' else ''}")
        if layer not in projected and _twice(found, name, flat):
            dropped.append(name)
    # with a projection Paddle's other names are wrong, see _recurrent: only the cells' are kept
    cells = {(alias[1] or "", *found.content(name)) for name, alias in aliases.items() if (alias[1] or "") in projected}
    for name in found.entries:
        own = _FLAT.fullmatch(name)
        if own and (own[1] or "") in projected and (own[1] or "", *found.content(name)) in cells:
            dropped.append(name)
    for name in dropped:
        del found.entries[name]
    return [f"{len(dropped)} tensors are in the file twice, {dropped[0]} and so on; once here"] if dropped else []


def _drop_frozen(found: _Found) -> list[str]:
    """Takes out the zeros that Paddle's cells hold where a recurrent layer was told to have no biases."""
    dropped = []
    # with a projection Paddle runs the cells, and they are what has biases
    projected = {alias[1] for name in found.entries if (alias := _ALIAS.fullmatch(name)) and alias[4] == "weight_ho"}
    for name in found.entries:
        alias = _ALIAS.fullmatch(name)
        if alias and alias[1] in projected:
            continue
        layer, depth, direction, role = alias.groups(default="") if alias else ("",) * 4
        end = f"_l{depth}{'_reverse' if direction == 'bw' else ''}"
        bare = join(layer, f"weight_ih{end}") in found.entries and join(layer, f"{role}{end}") not in found.entries
        if role.startswith("bias") and bare and found.content(name)[-1] == 0:
            dropped.append(name)
    for name in dropped:
        del found.entries[name]
    return [f"{len(dropped)} biases that Paddle holds at zero are left out, {dropped[0]} and so on"] if dropped else []


def _twice(found: _Found, name: str, other: str) -> bool:
    return other in found.entries and found.content(name) == found.content(other)


def _digest(entry: Entry) -> tuple[Any, ...]:
    """What tells an array from others; at its end the number that it is full of, None if there are several."""
    value = np.ascontiguousarray(entry.value).reshape(-1)
    full = bool((value == value[:1]).all())
    constant = (value[0].item() if value.size else 0) if full else None
    return entry.shape, entry.dtype, hashlib.blake2b(value.view(np.uint8)).digest(), constant


def _native_name(name: str, parameters: Mapping[str, str]) -> str:
    """The name with the layer's own name for the parameter, where the file has but the parameter's."""
    numbered = _PARAMETER.fullmatch(name)
    if numbered is None or parameters.get(name, name) != name:
        return name
    kind = re.sub(r"\dd$", "", FAMILIES.get(numbered[1].rpartition(".")[2], ""))
    part = {"w_0": "weight", "b_0": "bias", **_NUMBERED.get(kind, {})}.get(numbered[3]) if kind else None
    return f"{numbered[1]}_{numbered[2]}.{part}" if part else name


def _layers(entries: Sequence[Entry], parameters: Mapping[str, str]) -> tuple[dict[str, Known], dict[str, Known]]:
    """What is known of the layers, and what those look like whose classes are not Paddle's."""
    shapes: dict[str, _Shapes] = defaultdict(dict)
    told: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        layer, _, part = entry.name.rpartition(".")
        shapes[layer][part] = entry.shape
        numbered = _PARAMETER.fullmatch(parameters.get(entry.name, entry.original[0]))
        if numbered:
            told[layer].add(FAMILIES.get(numbered[1].rpartition(".")[2], ""))
    found: dict[str, Known] = {}
    guessed: dict[str, Known] = {}
    for layer, parts in shapes.items():
        called = _weight(parts)
        plain = {**parts, "weight": parts[called]} if called in parts else parts
        kinds = _kinds(plain, told[layer] - {""})
        if kinds:
            # a class of the user's own may have PyTorch's names and any layout
            (guessed if told[layer] == {""} else found)[layer] = _described(kinds, plain, called)
    stacks = {
        layer: made
        for layer, depths in _stacks(shapes).items()
        if told[layer] != {""} and (made := _recurrent(layer, depths, shapes))
    }
    # their cells are no layers of their own
    cells = {name: alias for name in found if (alias := _ALIAS.fullmatch(f"{name}.weight_ho"))}
    found = {name: known for name, known in found.items() if name not in cells or (cells[name][1] or "") not in stacks}
    found.update(stacks)
    for layer in [name[: -len("q_proj")].rstrip(".") for name in found if name.rpartition(".")[2] == "q_proj"]:
        _pack(layer, found, shapes)
    return found, guessed


def _described(kinds: Collection[str], parts: _Shapes, weight: str = "weight") -> Known:
    (kind, *_) = kinds
    if kind.endswith("Cell"):
        return Known((kind,), cell(projected="weight_ho" in parts))
    if kind == "Linear" and weight != "weight":
        return Known((kind,), {weight: Transposed(weight), "bias": At("bias")})
    return described([*kinds], parts, SOURCES, BUFFERS, FILE_ONLY)


def _kinds(parts: _Shapes, told: set[str]) -> tuple[str, ...]:
    """The kinds that a layer can be, all of one layout; none where that is not known."""
    if len(told) == 1:
        (kind,) = told
        needed = [part for source in _described(told, parts).sources.values() for part in source.parts][:1]
        rank = len(parts.get(needed[0], ())) if needed else 0
        if needed and needed[0] in parts and _RANKS.get(kind, rank) == rank:
            return (kind,)
    weight, bias = parts.get("weight", ()), parts.get("bias", ())
    if {"_mean", "_variance"} & parts.keys():
        return ("BatchNorm",)
    if "_weight" in parts or "scale" in parts:
        return ("PReLU",) if "_weight" in parts else ("InstanceNorm",)
    if "weight_ih" in parts:
        kind = _cell_kind(parts)
        return (f"{kind}Cell",) if kind else ()
    if len(weight) == 3 and len(bias) == 2:
        return ("Bilinear",)
    if len(weight) == 2:
        return ("Linear",) if bias == weight[1:] else ()
    return _BY_RANK.get(len(weight), ())


def _stacks(shapes: Mapping[str, _Shapes]) -> dict[str, set[int]]:
    """The recurrent layers, and the numbers of those that each of them stacks."""
    found: dict[str, set[int]] = defaultdict(set)
    for layer, parts in shapes.items():
        for part in parts:
            flat, cell = _FLAT.fullmatch(part), _ALIAS.fullmatch(join(layer, part))
            if flat:
                found[layer].add(int(flat[2]))
            elif cell and cell[4] == "weight_ho":
                found[cell[1] or ""].add(int(cell[2]))
    return found


def _recurrent(layer: str, depths: set[int], shapes: Mapping[str, _Shapes]) -> Known | None:
    """What is known of a recurrent layer; None if its shapes are no such layer's.

    With a projection Paddle 3.3 counts one tensor too few for each cell: its `weight_ih_l0_reverse` is the first
    projection, and what follows is off by one. The cells' own names are right.
    """
    ends = {"cell": "", "cell_fw": "", "cell_bw": "_reverse"}
    first = {way: shapes.get(join(layer, f"0.{way}"), {}) for way in ends}
    ways = [way for way, parts in first.items() if "weight_ho" in parts]
    if not ways:
        parts = shapes[layer]
        kind = _cell_kind({role[: -len("_l0")]: shape for role, shape in parts.items() if role.endswith("_l0")})
        return Known((kind,), {role: At(role) for role in parts if _FLAT.fullmatch(role)}) if kind else None
    sources = {
        f"{role}_l{depth}{ends[way]}": source
        for depth in sorted(depths)
        for way in ways
        for role, source in cell(f"{depth}/{way}/", projected=True).items()
    }
    kind = _cell_kind(first[ways[0]])
    return Known((kind,), sources) if kind else None


def _cell_kind(shapes: _Shapes) -> str:
    """A recurrent layer's kind by the number of its gates; empty if that is none's."""
    inputs, hiddens, projection = (shapes.get(role, ()) for role in ("weight_ih", "weight_hh", "weight_ho"))
    if not len(inputs) == len(hiddens) == 2:
        return ""
    hidden = projection[0] if len(projection) == 2 else hiddens[1]
    return next((kind for kind, count in GATES.items() if inputs[0] == hiddens[0] == count * hidden), "")


def _pack(layer: str, found: dict[str, Known], shapes: Mapping[str, _Shapes]) -> None:
    """Makes one attention of four projections, if that is what they are."""
    names = [join(layer, name) for name in _PROJECTIONS]
    if any(name not in found or found[name].kinds != ("Linear",) for name in names):
        return
    query, key, value, out = (shapes[name]["weight"] for name in names)
    biased = ["bias" in shapes[name] for name in names[:3]]
    if not query[0] == query[1] == key[1] == value[1] == out[0] == out[1] or any(biased) != all(biased):
        return
    # a class of the user's own may have the same four; a model that has them under their names gets them so
    apart = {name: found.pop(name) for name in names}
    sources = attention(packed=query == key == value)
    found[layer] = Known(("MultiheadAttention",), sources, otherwise=apart)


def _tied(
    entries: Sequence[Entry], found: _Found, layers: Mapping[str, Mapping[str, Any]]
) -> tuple[list[Entry], list[list[str]]]:
    """The entries, each parameter once, and the groups of names that are one."""
    names = {one.name: tuple(found.parameters.get(part, "") for part in _files(one)) for one in entries}
    counted = Counter(names.values())
    digests = {
        one.name: found.digest(one, _files(one), _way(one, layers))
        for one in entries
        if all(names[one.name]) and counted[names[one.name]] > 1
    }
    unproven = _counted_twice({name: names[name] for name in digests}, digests)
    groups: dict[tuple[Any, ...], list[str]] = {}
    kept = []
    for entry in entries:
        key: tuple[Any, ...] = (entry.name,)
        if entry.name in digests and unproven.isdisjoint(map(_family, names[entry.name])):
            # zeros and ones are what many start with; those are one if they are one in the file
            held = [found.held[part] for part in _files(entry)] if digests[entry.name][-1] is not None else []
            key = (*names[entry.name], *digests[entry.name], *held)
        if key not in groups:
            kept.append(entry)
        groups.setdefault(key, []).append(entry.name)
    return kept, [group for group in groups.values() if len(group) > 1]


def _files(entry: Entry) -> tuple[str, ...]:
    """What the file calls an entry, or its parts."""
    return entry.original or (entry.name,)


def _way(entry: Entry, layers: Mapping[str, Mapping[str, Any]]) -> str:
    """What tells how an entry is made of its parts; empty if it is as in the file."""
    layer, _, role = entry.name.rpartition(".")
    kind = layers.get(layer, {}).get("kind", "")
    return f"{kind} {base_role(role)}" if kind and entry.original else ""


def _counted_twice(names: Mapping[str, tuple[str, ...]], digests: Mapping[str, tuple[Any, ...]]) -> set[str]:
    """The layers' names that several different layers have, since each process counts them from zero."""
    contents: dict[tuple[str, ...], set[tuple[Any, ...]]] = defaultdict(set)
    for name, parts in names.items():
        contents[parts].add(digests[name])
    return {_family(part) for parts, found in contents.items() if len(found) > 1 for part in parts}


def _family(parameter: str) -> str:
    """The part of a parameter's name that all of a layer's have."""
    return parameter.rpartition(".")[0] or parameter


def _recognizes(start: bytes) -> bool:
    # torch.save wrote pickles too, after a number that says so
    numbered = b"\x8a\n" in (start[2:4], start[11:13])
    return start[:1] == b"\x80" and start[1:2] in (b"\2", b"\3", b"\4", b"\5") and not numbered


def _of_safetensors(entries: Sequence[Entry]) -> Contents:
    """What a safetensors file of Paddle's has: a `state_dict` without its parameters' names."""
    held: dict[str, tuple[Any, ...]] = {entry.name: (entry.name,) for entry in entries}
    size = sum(entry.size for entry in entries)
    return _interpreted(_Found(size, size, {entry.name: entry for entry in entries}, held))


pdparams_file = Format(
    "paddle", _recognizes, _read, backend="paddle", safetensors=dict.fromkeys(("pd", "paddle"), _of_safetensors)
)
