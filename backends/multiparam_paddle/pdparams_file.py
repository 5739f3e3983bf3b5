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

from multiparam.adapter import GATES, At
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
_FLAT = re.compile(r"(?:(.*)\.)?(?:weight|bias)_[ih]h_l(\d+)(?:_reverse)?")
_ALIAS = re.compile(r"(?:(.*)\.)?(\d+)\.cell(?:_(fw|bw))?\.((?:weight|bias)_[ih]h|weight_ho)")
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
_MATRIX = "it may be a Linear's, which PyTorch keeps transposed, or not; it is as in the file. A model tells"


@dataclass
class _Found:
    """What a pickle's dicts hold, under names joined by dots.

    Attributes:
        budget: how many characters the names may still have; a small file can put one dict into many.
        entries: the tensors.
        parameters: their parameters' names, where the file tells.
        left_out: what is no tensor.
    """

    budget: int
    entries: dict[str, Entry] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

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
            self.entries[name] = _entry(name, thing)
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
        self.entries[name] = Entry(
            name,
            dtype,
            extents,
            lambda: np.concatenate([part.read().reshape(-1) for part in parts]).reshape(extents),
        )


def _is_tensor(pair: tuple[Any, Any]) -> bool:
    return isinstance(pair[0], str) and isinstance(pair[1], PickledArray)


def _entry(name: str, array: PickledArray) -> Entry:
    entry = array.entry(name)
    if entry.dtype != np.uint16:
        return entry
    # Paddle has no uint16: these are the bits of a bfloat16, which numpy has none of
    return replace(entry, dtype=np.dtype(ml_dtypes.bfloat16), read=lambda: entry.read().view(ml_dtypes.bfloat16))


def _static_tensor(machine: Machine, arguments: tuple[Any, ...]) -> PickledArray:
    # Paddle writes a tensor of a static graph as eval("data", {"data": array}); nothing is evaluated here
    well = len(arguments) == 2 and arguments[0] == "data" and isinstance(arguments[1], dict)
    if not (well and list(arguments[1]) == ["data"] and isinstance(arguments[1]["data"], PickledArray)):
        raise ValueError("asks for eval, which is not run")
    found: PickledArray = arguments[1]["data"]
    return found


_DIALECT = Dialect({(module, "eval"): StandIn("eval", _static_tensor) for module in ("builtins", "__builtin__")})


def _read(path: Path) -> Contents:
    data = mapped(path)
    try:
        thing = plain(data, _DIALECT)
        found = _Found(16 * len(data) + 65_536)
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


# --- what the names tell ----------------------------------------------------------------------------------------


def _interpreted(found: _Found) -> Contents:
    """The entries under canonical names, as far as their names, their parameters' and shapes tell the layers."""
    notes = [*_drop_frozen(found), *_drop_aliases(found)]
    native = {name: _native_name(name, found.parameters) for name in found.entries}
    named = [replace(one, name=native[name], original=(name,)) for name, one in found.entries.items()]
    parameters = {native[name]: parameter for name, parameter in found.parameters.items() if name in native}
    contents = translated(named, _layers(named, parameters))
    entries, ties = _tied(contents.entries, found.parameters)
    matrices = [one for one in entries if one.name in contents.own and _is_matrix(one)]
    return replace(
        contents,
        entries=entries,
        ties=ties,
        left_out=found.left_out,
        notes=[*contents.notes, *notes, *(f"{one.name}: {_MATRIX}" for one in matrices)],
        choices=[*contents.choices, *map(_as_linear, matrices), *_as_layers(named, contents.layers)],
    )


def _as_layers(entries: Sequence[Entry], layers: Mapping[str, Mapping[str, Any]]) -> Iterator[Choice]:
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
        inside = [one for one in entries if one.name.rpartition(".")[0] in {join(layer, one) for one in ways}]
        contents = translated(inside, {layer: Known((kind.removesuffix("Cell"),), sources)})
        roles = {one.name.rpartition(".")[2].replace("weight_ho", "weight_hr") for one in inside}
        instead = frozenset(join(join(layer, one), role) for one in ways for role in roles)
        yield Choice(layer, instead, contents)


def _as_linear(matrix: Entry) -> Choice:
    """How a matrix is read that a model has in a Linear."""
    layer = matrix.name.rpartition(".")[0]
    contents = translated([matrix], {layer: Known(("Linear",), SOURCES["Linear"])})
    return Choice(layer, frozenset((matrix.name,)), contents, kinds=frozenset(("Linear",)))


def _is_matrix(entry: Entry) -> bool:
    return len(entry.shape) == 2 and entry.name.rpartition(".")[2] == "weight"


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
    cells = {
        (alias[1] or "", *_content(found, name)) for name, alias in aliases.items() if (alias[1] or "") in projected
    }
    for name in found.entries:
        own = _FLAT.fullmatch(name)
        if own and (own[1] or "") in projected and (own[1] or "", *_content(found, name)) in cells:
            dropped.append(name)
    for name in dropped:
        del found.entries[name]
    return [f"{len(dropped)} tensors are in the file twice, {dropped[0]} and so on; once here"] if dropped else []


def _drop_frozen(found: _Found) -> list[str]:
    """Takes out the zeros that Paddle's cells hold where a recurrent layer was told to have no biases."""
    dropped = []
    for name in found.entries:
        alias = _ALIAS.fullmatch(name)
        layer, depth, direction, role = alias.groups(default="") if alias else ("",) * 4
        end = f"_l{depth}{'_reverse' if direction == 'bw' else ''}"
        bare = join(layer, f"weight_ih{end}") in found.entries and join(layer, f"{role}{end}") not in found.entries
        if role.startswith("bias") and bare and not found.entries[name].value.any():
            dropped.append(name)
    for name in dropped:
        del found.entries[name]
    return [f"{len(dropped)} biases that Paddle holds at zero are left out, {dropped[0]} and so on"] if dropped else []


def _twice(found: _Found, name: str, other: str) -> bool:
    return other in found.entries and _content(found, name) == _content(found, other)


def _content(found: _Found, name: str) -> tuple[Any, ...]:
    return found.parameters.get(name, ""), *_digest(found.entries[name])


def _digest(entry: Entry) -> tuple[Any, ...]:
    return entry.shape, entry.dtype, hashlib.blake2b(entry.value.tobytes()).digest()


def _native_name(name: str, parameters: Mapping[str, str]) -> str:
    """The name with the layer's own name for the parameter, where the file has but the parameter's."""
    numbered = _PARAMETER.fullmatch(name)
    if numbered is None or parameters.get(name, name) != name:
        return name
    kind = re.sub(r"\dd$", "", FAMILIES.get(numbered[1].rpartition(".")[2], ""))
    part = {"w_0": "weight", "b_0": "bias", **_NUMBERED.get(kind, {})}.get(numbered[3]) if kind else None
    return f"{numbered[1]}_{numbered[2]}.{part}" if part else name


def _layers(entries: Sequence[Entry], parameters: Mapping[str, str]) -> dict[str, Known]:
    """What is known of the layers."""
    shapes: dict[str, _Shapes] = defaultdict(dict)
    told: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        layer, _, part = entry.name.rpartition(".")
        shapes[layer][part] = entry.shape
        numbered = _PARAMETER.fullmatch(parameters.get(entry.name, entry.original[0]))
        if numbered and numbered[1].rpartition(".")[2] in FAMILIES:
            told[layer].add(FAMILIES[numbered[1].rpartition(".")[2]])
    found: dict[str, Known] = {}
    for layer, parts in shapes.items():
        kinds = _kinds(parts, told[layer])
        if kinds:
            found[layer] = _described(kinds, parts)
    stacks = {layer: made for layer, depths in _stacks(shapes).items() if (made := _recurrent(layer, depths, shapes))}
    # their cells are no layers of their own
    cells = {name: alias for name in found if (alias := _ALIAS.fullmatch(f"{name}.weight_ho"))}
    found = {name: known for name, known in found.items() if name not in cells or (cells[name][1] or "") not in stacks}
    found.update(stacks)
    for layer in [name[: -len("q_proj")].rstrip(".") for name in found if name.rpartition(".")[2] == "q_proj"]:
        _pack(layer, found, shapes)
    return found


def _described(kinds: Collection[str], parts: _Shapes) -> Known:
    (kind, *_) = kinds
    if kind.endswith("Cell"):
        return Known((kind,), cell(projected="weight_ho" in parts))
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


def _tied(entries: Sequence[Entry], parameters: Mapping[str, str]) -> tuple[list[Entry], list[list[str]]]:
    """The entries, each parameter once, and the groups of names that are one."""
    names = {one.name: tuple(parameters.get(name, "") for name in one.original or (one.name,)) for one in entries}
    counted = Counter(names.values())
    groups: dict[tuple[Any, ...], list[str]] = {}
    found = []
    for entry in entries:
        parts = names[entry.name]
        # one name is no proof: what two processes made is counted from zero in each
        key = (*parts, *_digest(entry)) if all(parts) and counted[parts] > 1 else (entry.name,)
        if key not in groups:
            found.append(entry)
        groups.setdefault(key, []).append(entry.name)
    return found, [group for group in groups.values() if len(group) > 1]


def _recognizes(start: bytes) -> bool:
    # torch.save wrote pickles too, after a number that says so
    numbered = b"\x8a\n" in (start[2:4], start[11:13])
    return start[:1] == b"\x80" and start[1:2] in (b"\2", b"\3", b"\4", b"\5") and not numbered


pdparams_file = Format("paddle", _recognizes, _read, backend="paddle")
