"""MXNet's `.params` files, read without MXNet.

They are lists of NDArrays, as `mx.nd.save`, `save_parameters`, `export` and `mx.npx.save` write them. Source: MXNet
1.9.1, src/ndarray/ndarray.cc, NDArray::Save and NDArray::Load.
"""

from __future__ import annotations

import re
import struct
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from multiparam.adapter import GATES
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
    stored,
    translated,
)

from .layouts import BUFFERS, FAMILIES, FILE_ONLY, SOURCES, cell, recurrent

__all__ = ["params_file"]

_LIST = 0x112
_V1, _V2, _V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
_DTYPES: Mapping[int, np.dtype[Any]] = {
    code: np.dtype(dtype).newbyteorder("<")
    for code, dtype in enumerate(
        (
            *(np.float32, np.float64, np.float16, np.uint8, np.int32, np.int8, np.int64),
            *(np.bool_, np.int16, np.uint16, np.uint32, np.uint64, ml_dtypes.bfloat16),
        )
    )
}
_MOST = 1_000_000  # arrays in a file, so that a file of nothing else takes no memory
_SPARSE: Mapping[int, tuple[str, int]] = {1: ("row_sparse", 1), 2: ("csr", 2)}  # name, number of index arrays


class _Bytes:
    """A file's bytes, taken one after the other."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.position = 0

    @property
    def left(self) -> int:
        return len(self.data) - self.position

    def take(self, size: int) -> memoryview:
        if size > self.left:
            raise ValueError(f"ends within it: {size} bytes wanted at byte {self.position}, {self.left} there")
        self.position += size
        return self.data[self.position - size : self.position]

    def number(self, form: str) -> int:
        (number,) = struct.unpack(f"<{form}", self.take(struct.calcsize(f"<{form}")))
        return int(number)

    def extents(self, count: int, form: str) -> tuple[int, ...]:
        if not 0 <= count <= 32:
            raise ValueError(f"claims {count} axes")
        return tuple(self.number(form) for _ in range(count))

    def shape(self) -> tuple[int, ...]:
        return self.extents(self.number("i"), "q")


def _read(path: Path) -> Contents:
    data = _Bytes(mapped(path))
    try:
        data.take(16)  # the mark, and what is reserved
        arrays = []
        for index in range(_count(data)):
            with _within(f"array {index}"):
                arrays.append(_array(path, data))
        with _within("the names"):
            names = _names(data)
        if data.left:
            raise ValueError(f"{data.left} bytes too many at its end")
        if names and len(names) != len(arrays):
            raise ValueError(f"{len(arrays)} arrays and {len(names)} names, and each should have one")
    except ValueError as error:
        raise CheckpointError(path, f"no valid MXNet params file: {error}") from error
    keys = names or [str(index) for index in range(len(arrays))]
    entries = [replace(array, name=key) for key, array in zip(keys, arrays, strict=True) if array is not None]
    left_out = {key: "None" for key, array in zip(keys, arrays, strict=True) if array is None}
    if not names:
        own = frozenset(entry.name for entry in entries)
        return Contents(entries, "dict" if left_out else "list", own=own, left_out=left_out)
    return _interpreted(entries, left_out)


def _count(data: _Bytes) -> int:
    count = data.number("Q")
    if count > _MOST:
        raise ValueError(f"claims {count} arrays")
    return count


@contextmanager
def _within(where: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _array(path: Path, data: _Bytes) -> Entry | None:
    """One array, without its name yet; None for a None."""
    version = data.number("I")
    kind = data.number("i") if version in (_V2, _V3) else 0
    if kind not in (0, *_SPARSE):
        raise ValueError(f"has storage type {kind}, which there is none of")
    held = _shape(data, version) if kind else None  # the part of a sparse array that is not zero
    shape = _shape(data, version)
    if shape is None or (not shape and version != _V3):
        return None
    data.take(8)  # the device that it was on
    dtype = _dtype(data)
    if kind:
        return _skipped(data, version, kind, held, Entry("", dtype.newbyteorder("="), shape, lambda: np.empty(0)))
    numbers = data.take(data_size(shape, dtype))
    return stored("", lambda: numbers, dtype, shape)


def _skipped(data: _Bytes, version: int, kind: int, held: tuple[int, ...] | None, entry: Entry) -> Entry:
    """A sparse array, whose numbers are passed over."""
    name, count = _SPARSE[kind]
    sizes = [(_dtype(data), _shape(data, version)) for _ in range(count)]
    for dtype, shape in [(entry.dtype, held), *sizes]:
        data.take(data_size(shape or (), dtype) if shape is not None else 0)
    why = f"it is sparse ({name}), which has no like elsewhere; array.tostype('default') in MXNet makes it dense"
    return replace(entry, refusal=why)


def _shape(data: _Bytes, version: int) -> tuple[int, ...] | None:
    """An array's shape; None where it is not known, as of a None."""
    if version not in (_V1, _V2, _V3):  # before 0.10 the number of axes came first
        return data.extents(version, "I")
    axes = data.number("i")
    return None if version == _V3 and axes == -1 else data.extents(axes, "q")


def _dtype(data: _Bytes) -> np.dtype[Any]:
    code = data.number("i")
    if code not in _DTYPES:
        raise ValueError(f"has dtype {code}, and MXNet's go up to {max(_DTYPES)}")
    return _DTYPES[code]


def _names(data: _Bytes) -> list[str]:
    names = [str(data.take(data.number("Q")), "utf-8") for _ in range(_count(data))]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"two arrays are called {twice[0]!r}")
    return names


# --- what the names tell ----------------------------------------------------------------------------------------

_PART = (
    r"(?:(?:[lr]\d+_)?(?:(?:i2h|h2h)_(?:weight|bias)|h2r_weight)"
    r"|weight|bias|gamma|beta|alpha|(?:running|moving)_(?:mean|var))"
)
_UNFUSED = re.compile(r"(?:(.*)\.)?_unfused\.(\d+)\.(?:([lr])_cell\.)?([^.]+)")
_PREFIXED = re.compile(rf"(.+?)_({_PART})")
_RECURRENT_PART = re.compile(r"([lr])(\d+)_\w+")
_RANKED: Mapping[int, tuple[str, ...]] = {
    2: ("Linear", "Embedding"),
    **{rank + 2: (f"Conv{rank}d", f"ConvTranspose{rank}d") for rank in (1, 2, 3)},
}


def _interpreted(entries: Sequence[Entry], left_out: Mapping[str, str]) -> Contents:
    """The entries under canonical names, as far as their names and shapes tell what the layers are."""
    native = _native_names([entry.name for entry in entries])
    named = [replace(entry, name=native[entry.name], original=(entry.name,)) for entry in entries]
    shapes: dict[str, dict[str, tuple[int, ...]]] = defaultdict(dict)
    for entry in named:
        layer, _, part = entry.name.rpartition(".")
        shapes[layer][part] = entry.shape
    layers = {layer: known for layer, parts in shapes.items() if (known := _known(layer, parts))}
    contents = translated(named, layers)
    choices = [*contents.choices, *_as_layers(named, contents.layers)]
    return replace(contents, left_out=left_out, choices=choices)


def _as_layers(entries: Sequence[Entry], layers: Mapping[str, Mapping[str, Any]]) -> Iterator[Choice]:
    """How cells are read that are a model's recurrent layers: Gluon puts several of them into one of its blocks."""
    inside: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        inside[entry.name.rpartition(".")[0]].append(entry)
    for layer, cells in _blocks(name for name, about in layers.items() if about["kind"].endswith("Cell")).items():
        kinds = {str(layers[name]["kind"]) for name in cells.values()}
        depths = {position: depth for depth, position in enumerate(sorted({position for position, _ in cells}))}
        ways = sorted({way for _, way in cells})
        if len(kinds) > 1 or len(cells) < len(depths) * len(ways) or ways[0] != "l":
            continue
        sources = {
            f"{role}_l{depths[position]}{'_reverse' if way == 'r' else ''}": source
            for (position, way), name in sorted(cells.items())
            for role, source in cell(f"{name.removeprefix(layer).removeprefix('.').replace('.', '/')}/").items()
        }
        contents = translated(
            [entry for name in cells.values() for entry in inside[name]],
            {layer: Known((kinds.pop().removesuffix("Cell"),), sources)},
        )
        yield Choice(layer, frozenset(join(name, role) for name in cells.values() for role in cell()), contents)


def _blocks(cells: Iterable[str]) -> dict[str, dict[tuple[int, str], str]]:
    """For each block that may hold several cells their names, by where they stand in it and which way they go."""
    found: dict[str, dict[tuple[int, str], str]] = defaultdict(dict)
    for name in cells:
        block, _, way = name.rpartition(".")
        if way in ("l_cell", "r_cell"):
            found[block][0, way[0]] = name
        stack, _, position = (block if way in ("l_cell", "r_cell") else name).rpartition(".")
        if position.isdecimal() and len(position) < 10:
            found[stack][int(position), way[0] if way in ("l_cell", "r_cell") else "l"] = name
    return found


def _native_names(names: Sequence[str]) -> dict[str, str]:
    """For each name of a file a layer's name, a dot, and what the layer itself calls the parameter.

    The layer's name is what the file has before it: a path of attributes, `"features.0"`, or, where Gluon's older
    files and exported ones have no path, the prefix, `"resnetv10_conv0"`.
    """
    bare = {name: name.removeprefix("arg:").removeprefix("aux:") for name in names}
    depths = _depths(bare.values())
    paths = any("." in given for given in bare.values())  # then a name without a dot is a parameter of the model's own
    found = {name: _native_name(given, depths, paths) for name, given in bare.items()}
    counted = Counter(found.values())
    return {name: native if counted[native] == 1 else name for name, native in found.items()}


def _native_name(name: str, depths: Mapping[str, Mapping[int, int]], paths: bool) -> str:
    unfused = _UNFUSED.fullmatch(name)
    if unfused:
        layer, position, direction, part = unfused.groups(default="")
        depth = depths[layer][int(position)]
        return f"{layer}.{direction or 'l'}{depth}_{part}" if layer else f"{direction or 'l'}{depth}_{part}"
    layer, dot, part = name.rpartition(".")
    prefixed = None if paths else _PREFIXED.fullmatch(name)
    if prefixed and not re.fullmatch(_PART, name):
        layer, dot, part = prefixed[1], ".", prefixed[2]
    return f"{layer}{dot}{part.replace('moving_', 'running_')}"


def _depths(names: Iterable[str]) -> dict[str, dict[int, int]]:
    """For each recurrent layer its cells' depths by where they stand among the sublayers; between may be dropout."""
    found: dict[str, set[int]] = defaultdict(set)
    for name in names:
        unfused = _UNFUSED.fullmatch(name)
        if unfused:
            found[unfused[1] or ""].add(int(unfused[2]))
    return {
        layer: {position: depth for depth, position in enumerate(sorted(positions))}
        for layer, positions in found.items()
    }


def _known(name: str, shapes: Mapping[str, tuple[int, ...]]) -> Known | None:
    """What is known of a layer by its name and its parameters'; None if nothing is."""
    stacked = [found for part in shapes if (found := _RECURRENT_PART.fullmatch(part))]
    if stacked:
        kind = _recurrent({part[3:]: shape for part, shape in shapes.items() if part.startswith("l0_")})
        directions = 1 + any(found[1] == "r" for found in stacked)
        return Known((kind,), recurrent(len({found[2] for found in stacked}), directions)) if kind else None
    kinds = _kinds(shapes)
    if "i2h_weight" in shapes:
        return Known(kinds, cell()) if kinds else None
    called = FAMILIES.get(name.rpartition("_")[2].rstrip("0123456789"), "")
    kinds = (called,) if called in kinds else kinds
    return described(kinds, shapes, SOURCES, BUFFERS, FILE_ONLY) if kinds else None


def _kinds(shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
    if {"running_mean", "running_var"} & shapes.keys():
        return ("BatchNorm",)
    if {"gamma", "beta"} <= shapes.keys():
        return ("LayerNorm", "GroupNorm", "InstanceNorm")
    if "alpha" in shapes:
        return ("PReLU",)
    if "i2h_weight" in shapes:
        kind = _recurrent(shapes)
        return (f"{kind}Cell",) if kind else ()
    kinds = _RANKED.get(len(shapes.get("weight", ())), ())
    return kinds[:1] if kinds[:1] == ("Linear",) and "bias" in shapes else kinds


def _recurrent(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """A recurrent cell's kind by the number of its gates; empty if that is none's."""
    weights = [shapes.get(f"{part}_weight", ()) for part in ("i2h", "h2h", "h2r")]
    if not len(weights[0]) == len(weights[1]) == 2:
        return ""
    hidden = weights[2][1] if len(weights[2]) == 2 else weights[1][1]
    gates = {count: kind for kind, count in GATES.items()}
    return next((kind for count, kind in gates.items() if weights[0][0] == weights[1][0] == count * hidden), "")


def _recognizes(start: bytes) -> bool:
    return start[:8] == _LIST.to_bytes(8, "little")


params_file = Format("mxnet", _recognizes, _read, backend="mxnet")
