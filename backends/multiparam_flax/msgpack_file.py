"""Files of `flax.serialization`, `to_bytes` and `msgpack_serialize`, read without Flax.

They are MessagePack: dicts of dicts whose leaves are arrays, in extension types of Flax's own. The numbers of arrays
stay in the file until they are asked for. Source: flax 0.12, flax/serialization.py; the MessagePack specification.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from multiparam.adapter import At, Source, Transposed, out_in_first
from multiparam.formats import (
    CheckpointError,
    Choice,
    Contents,
    Entry,
    Format,
    Known,
    data_size,
    join,
    mapped,
    stored,
    translated,
)

__all__ = ["msgpack_file"]

_ARRAY, _COMPLEX, _SCALAR = 1, 2, 3
_CHUNKED = "__msgpack_chunked_array__"
_DEEPEST = 64  # dicts in dicts
_MOST = 2_000_000  # things, since one of a byte in the file takes many in memory
_COLLECTIONS = ("params", "batch_stats")
# a recurrent cell's, which PyTorch packs into one
_GATES = frozenset((*(f"{side}{gate}" for side in "ih" for gate in "ifgorzn"), "i", "h"))
_NAMES = frozenset(
    (
        *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64", "complex64", "complex128"),
    )
)
_FIXED: Mapping[int, str] = {
    0xCA: "f",
    0xCB: "d",
    0xCC: "B",
    0xCD: "H",
    0xCE: "I",
    0xCF: "Q",
    0xD0: "b",
    0xD1: "h",
    0xD2: "i",
    0xD3: "q",
}
_LENGTHS: Mapping[int, tuple[str, int]] = {
    **{0xC4 + index: ("bytes", 1 << index) for index in range(3)},
    **{0xC7 + index: ("ext", 1 << index) for index in range(3)},
    **{0xD9 + index: ("text", 1 << index) for index in range(3)},
    **{0xDC + index: ("list", 2 << index) for index in range(2)},
    **{0xDE + index: ("dict", 2 << index) for index in range(2)},
}


@dataclass(frozen=True)
class _Array:
    """An array whose numbers are in the file."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    data: memoryview


class _Reader:
    """A file's bytes, taken one after the other."""

    def __init__(self, data: memoryview, before: int = 0) -> None:
        self.data = data
        self.position = 0
        self.things = before

    def take(self, size: int) -> memoryview:
        left = len(self.data) - self.position
        if size > left:
            raise ValueError(f"ends within it: {size} bytes wanted at byte {self.position}, {left} there")
        self.position += size
        return self.data[self.position - size : self.position]

    def thing(self, depth: int = 0) -> Any:
        """The next thing: a dict, a list, text, bytes, a number, None or an `_Array`."""
        if depth > _DEEPEST:
            raise ValueError(f"has more than {_DEEPEST} dicts and lists in each other")
        self.things += 1
        if self.things > _MOST:
            raise ValueError(f"holds more than {_MOST:,} things")
        code = self.take(1)[0]
        if code < 0x80 or code >= 0xE0:
            return code if code < 0x80 else code - 256
        if code < 0xC0:
            form = "dict" if code < 0x90 else "list" if code < 0xA0 else "text"
            return self.counted(form, code & (0x1F if form == "text" else 0x0F), depth)
        if code in (0xC0, 0xC2, 0xC3):
            return {0xC0: None, 0xC2: False, 0xC3: True}[code]
        if code in _FIXED:
            (number,) = struct.unpack(f">{_FIXED[code]}", self.take(struct.calcsize(f">{_FIXED[code]}")))
            return number
        if 0xD4 <= code <= 0xD8:
            return self.extension(1 << (code - 0xD4), depth)
        if code not in _LENGTHS:
            raise ValueError(f"has the code {code:#x}, which there is none of")
        form, width = _LENGTHS[code]
        return self.counted(form, int.from_bytes(self.take(width), "big"), depth)

    def counted(self, form: str, count: int, depth: int) -> Any:
        if form == "text":
            return str(self.take(count), "utf-8")
        if form == "bytes":
            return self.take(count)
        if form == "ext":
            return self.extension(count, depth)
        if count * (2 if form == "dict" else 1) > len(self.data) - self.position:
            raise ValueError(f"claims a {form} of {count} things at byte {self.position}")
        if form == "list":
            return [self.thing(depth + 1) for _ in range(count)]
        made: dict[str, Any] = {}
        for _ in range(count):
            key = self.thing(depth + 1)
            if not isinstance(key, (str, int)) or str(key) in made:
                raise ValueError("has a dict with a key that is no name, or one twice")
            made[str(key)] = self.thing(depth + 1)
        return made

    def extension(self, size: int, depth: int) -> Any:
        kind = self.take(1)[0]
        inner = _Reader(self.take(size), self.things)
        if kind not in (_ARRAY, _COMPLEX, _SCALAR):
            raise ValueError(f"has an extension of type {kind}, which Flax has none of")
        found = inner.thing(depth + 1)
        self.things = inner.things
        if inner.position < size:
            raise ValueError("has an extension with bytes too many")
        return complex(*found) if kind == _COMPLEX and _is_complex(found) else _array(found)


def _is_complex(found: Any) -> bool:
    return isinstance(found, list) and len(found) == 2 and all(isinstance(one, (int, float)) for one in found)


def _array(found: Any) -> _Array:
    well = isinstance(found, list) and len(found) == 3 and isinstance(found[0], list)
    shape, dtype, data = found if well else ([-1], "", b"")
    if any(type(extent) is not int or not 0 <= extent < 2**62 for extent in shape) or not isinstance(data, memoryview):
        raise ValueError("has an array that is none")
    made = _Array(_dtype(dtype), tuple(shape), data)
    if data_size(made.shape, made.dtype) != len(data):
        raise ValueError(f"has an array of shape {made.shape} and dtype {made.dtype}, of {len(data)} bytes")
    return made


def _dtype(name: Any) -> np.dtype[Any]:
    name = str(name, "utf-8") if isinstance(name, memoryview) else name  # Python 2 and older msgpack wrote bytes
    if isinstance(name, str) and name in _NAMES:
        return np.dtype(name)
    small = isinstance(name, str) and len(name) < 20 and name.startswith(("bfloat16", "float8_"))
    if not small or not hasattr(ml_dtypes, name):
        raise ValueError(f"has an array of dtype {str(name)[:40]!r}, which holds more than numbers")
    return np.dtype(getattr(ml_dtypes, name))


# --- what the tree holds ------------------------------------------------------------------------------------------


@dataclass
class _Found:
    """The arrays of a file, under the names of their dicts joined by dots."""

    entries: dict[str, Entry] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    left: int = 0  # characters that the names may still have

    def add(self, name: str, thing: Any) -> None:
        self.left -= len(name) + 1
        if self.left < 0 or name in self.entries or name in self.left_out:
            raise ValueError(f"has two things of the name {name[:100]!r}, or names far longer than itself")
        if isinstance(thing, dict) and _CHUNKED in thing:
            self.entries[name] = _joined(name, thing)
        elif isinstance(thing, (dict, list)):
            for key, one in thing.items() if isinstance(thing, dict) else enumerate(thing):
                self.add(join(name, str(key)), one)
        elif isinstance(thing, _Array):
            self.entries[name] = stored(name, lambda: thing.data, thing.dtype, thing.shape)
        else:
            self.left_out[name] = "bytes" if isinstance(thing, memoryview) else type(thing).__name__


def _joined(name: str, about: Mapping[str, Any]) -> Entry:
    """An array that was cut since it was too big for one thing of MessagePack."""
    parts = (about.get(key) for key in ("shape", "chunks"))
    shape, chunks = (list(one.values()) if isinstance(one, dict) else None for one in parts)
    if shape is None or not chunks or not all(isinstance(one, _Array) for one in chunks):
        raise ValueError(f"does not say of what parts {name!r} is made")
    if any(type(extent) is not int or not 0 <= extent < 2**62 for extent in shape):
        raise ValueError(f"does not say of what shape {name!r} is")
    dtype, extents = chunks[0].dtype, tuple(shape)
    if {one.dtype for one in chunks} != {dtype} or sum(len(one.data) for one in chunks) != data_size(extents, dtype):
        raise ValueError(f"has parts of {name!r} that do not make up its shape")
    return Entry(
        name,
        dtype,
        extents,
        lambda: np.concatenate([np.frombuffer(one.data, dtype) for one in chunks]).reshape(extents),
    )


def _read(path: Path) -> Contents:
    data = mapped(path)
    reader = _Reader(data)
    found = _Found(left=16 * len(data) + 65_536)
    try:
        thing = reader.thing()
        if reader.position < len(data):
            raise ValueError(f"goes on for {len(data) - reader.position} bytes behind its tree")
        single = isinstance(thing, _Array)
        if not single and not isinstance(thing, dict):
            raise ValueError(f"holds no tree, but {type(thing).__name__}")
        found.add("tensor" if single else "", thing)
    except ValueError as error:
        raise CheckpointError(path, f"no valid Flax file: its MessagePack {error}") from error
    if single:
        return Contents([*found.entries.values()], "tensor", own=frozenset(found.entries))
    return _interpreted(found)


def _interpreted(found: _Found) -> Contents:
    """The entries under canonical names, as far as their names and shapes tell what the layers are."""
    names = _native_names([*found.entries])
    named = [replace(one, name=names[name], original=(name,)) for name, one in found.entries.items()]
    layers: dict[str, dict[str, Entry]] = defaultdict(dict)
    for entry in named:
        layer, _, part = entry.name.rpartition(".")
        layers[layer][part] = entry
    shapes = {layer: {part: one.shape for part, one in parts.items()} for layer, parts in layers.items()}
    known = {layer: told for layer, parts in shapes.items() if (told := _known(layer, parts))}
    contents = translated(named, known)
    own = f"{len(contents.own)} tensors of whose layers nothing is certain are as in the file. A model may tell more"
    return replace(
        contents,
        left_out=found.left_out,
        notes=[*contents.notes, *([own] if contents.own else [])],
        choices=[
            *contents.choices,
            *(
                _as_convolution(layer, [*parts.values()])
                for layer, parts in layers.items()
                if layer not in known and _may_convolve(shapes[layer])
            ),
        ],
    )


def _may_convolve(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    kernel = shapes.get("kernel", ())
    return (
        shapes.keys() <= {"kernel", "bias"}
        and len(kernel) in (3, 4, 5)
        and shapes.get("bias", kernel[-1:]) == kernel[-1:]
    )


def _as_convolution(layer: str, parts: Sequence[Entry]) -> Choice:
    """How a kernel of several axes is read that a model has in a convolution."""
    rank = max(len(part.shape) for part in parts)
    kind = f"Conv{rank - 2}d"
    contents = translated(parts, {layer: _convolution(rank)})
    return Choice(layer, frozenset(part.original[0] for part in parts), contents, kinds=frozenset([kind]))


def _convolution(rank: int) -> Known:
    return Known((f"Conv{rank - 2}d",), {"weight": At("kernel", axes=out_in_first(rank)), "bias": At("bias")})


def _native_names(names: Sequence[str]) -> dict[str, str]:
    """The names without the collections, where these are parameters and statistics of one model."""
    bare = {}
    for name in names:
        collection, _, rest = name.partition(".")
        bare[name] = rest if collection in _COLLECTIONS else name
    alone = len(set(bare.values())) == len(bare) and all(bare.values())
    return bare if alone else {name: name for name in names}


def _known(layer: str, shapes: Mapping[str, tuple[int, ...]]) -> Known | None:
    """What is known of a layer by its parameters' names and shapes; None where two kinds would do."""
    parts = set(shapes)
    kernel, bias = shapes.get("kernel", ()), shapes.get("bias", ())
    told = layer.rpartition(".")[2].rstrip("0123456789").rstrip("_")  # Linen's automatic names
    affine: dict[str, Source] = {"weight": At("scale"), "bias": At("bias")}
    if {"mean", "var"} <= parts <= {"mean", "var", "scale", "bias"} and len(shapes["mean"]) == 1:
        sources = {**affine, "running_mean": At("mean"), "running_var": At("var")}
        return Known(("BatchNorm",), sources, {"num_batches_tracked": np.zeros((), np.int64)})
    if parts == {"embedding"} and len(shapes["embedding"]) == 2:
        return Known(("Embedding",), {"weight": At("embedding")})
    if parts == {"scale", "bias"} and len(bias) == 1:
        norms = ("LayerNorm", "GroupNorm", "InstanceNorm")
        return Known((told,) if told in (*norms, "BatchNorm") else norms, affine)
    if parts == {"scale"} and told == "RMSNorm" and len(shapes["scale"]) == 1:
        return Known(("RMSNorm",), affine)
    if "kernel" not in parts or not parts <= {"kernel", "bias"} or ("bias" in parts and bias != kernel[-1:]):
        return None
    if len(kernel) == 2 and told not in _GATES:
        return Known(("Linear",), {"weight": Transposed("kernel"), "bias": At("bias")})
    # by its name alone: the kernels of other layers have as many axes
    return _convolution(len(kernel)) if len(kernel) in (3, 4, 5) and told == "Conv" else None


def _recognizes(start: bytes) -> bool:
    """Whether it is a dict with a name first, or one of Flax's arrays."""
    code = start[0] if start else 0
    if code in (0xC7, 0xC8, 0xC9):
        at = 1 + (1 << (code - 0xC7))
        return start[at : at + 2] == bytes([_ARRAY, 0x93])
    at = 1 if 0x81 <= code <= 0x8F else {0xDE: 3, 0xDF: 5}.get(code, 0)
    first = start[at] if 0 < at < len(start) else 0
    if 0xA0 < first < 0xC0:
        size, at = first & 0x1F, at + 1
    else:
        size, at = (start[at + 1 : at + 2] or b"\0")[0] if first == 0xD9 else 0, at + 2
    name = start[at : at + size]
    return bool(name) and min(name) >= 32 and (len(name) == size or len(start) == 64)


def _of_safetensors(entries: Sequence[Entry]) -> Contents:
    return _interpreted(_Found({entry.name: entry for entry in entries}))


msgpack_file = Format(
    "flax", _recognizes, _read, backend="flax", safetensors=dict.fromkeys(("flax", "jax"), _of_safetensors)
)
