"""Files of `torch.save`, `.pt`, `.pth` and `.bin`, read without PyTorch.

They hold a pickle of anything made of tensors, and beside it the tensors' storages: since PyTorch 1.6 as members of a
zip file, before that one after the other. Source: PyTorch 2.13, torch/serialization.py and torch/_utils.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from multiparam.formats import CheckpointError, Contents, Entry, Format, data_size, mapped
from multiparam.plain_pickle import Dialect, Machine, PickledArray, StandIn, Stranger, leaves, plain, plain_at
from multiparam.zip_file import Zip, is_zip

__all__ = ["pt_file"]

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_LEGACY = b"\x8a\n" + _MAGIC.to_bytes(10, "little")
# bytes of tensors that overlap, or repeat their numbers, for each of the file; more than that takes too much memory
_MOST_REPEATED = 8
_FREELY_REPEATED = 1 << 24

_PLAIN = (
    *("float64", "float32", "float16", "uint8", "int8", "int16", "int32", "int64", "bool"),
    *("uint16", "uint32", "uint64", "complex64", "complex128"),
)
_SMALL = ("bfloat16", *(f"float8_{name}" for name in ("e4m3fn", "e5m2", "e4m3fnuz", "e5m2fnuz", "e8m0fnu")))
_DTYPES: Mapping[str, np.dtype[Any]] = {
    **{name: np.dtype(name) for name in _PLAIN},
    **{name: np.dtype(getattr(ml_dtypes, name)) for name in _SMALL if hasattr(ml_dtypes, name)},
}
# dtypes that numpy has no counterpart for, by the bytes of an element
_REFUSED: Mapping[str, int] = {
    **{name: 1 for name in _SMALL if not hasattr(ml_dtypes, name)},
    "complex32": 4,
    "qint8": 1,
    "quint8": 1,
    "qint32": 4,
    "quint4x2": 1,
    "quint2x4": 1,
}
_OF_STORAGE: Mapping[str, str] = {
    "Double": "float64",
    "Float": "float32",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Bool": "bool",
    "Byte": "uint8",
    "Char": "int8",
    "Short": "int16",
    "Int": "int32",
    "Long": "int64",
    "ComplexFloat": "complex64",
    "ComplexDouble": "complex128",
    **{name: name.lower() for name in ("QInt8", "QUInt8", "QInt32", "QUInt4x2", "QUInt2x4")},
}
_UNTYPED = "untyped"
_WHOLE_MODEL = (
    "that is run and not read. Where its program runs, save the model's state_dict, "
    "torch.save(model.state_dict(), path)"
)


class _Dtype(Stranger):
    """A dtype, by PyTorch's name, or a class of storages, by the dtype of what they hold."""


@dataclass(eq=False)
class _Storage:
    """The bytes of a storage, which may be a part of another's.

    Attributes:
        key: what the file calls the storage.
        dtype: its dtype's name; `_UNTYPED` is bytes.
        first: where in it the part begins, in bytes.
        data: gives the bytes, all of them that the file has.
        little: their byte order.
        check: compares them all with their checksum; None where they have none.
    """

    key: str
    dtype: str
    first: int
    data: Callable[[], memoryview]
    little: bool = True
    check: Callable[[], None] | None = None


@dataclass(frozen=True, eq=False)
class _Tensor:
    """A tensor of a file, not yet checked against its storage.

    Attributes:
        storage: where its numbers lie; None of one that cannot be read.
        dtype: its dtype's name; empty if that is not known.
        offset: where in the storage it begins, in elements.
        shape: its extents.
        strides: its strides, in elements.
        flags: whether its numbers are conjugated, and whether negated.
        why: why it cannot be read; empty if it can.
    """

    storage: _Storage | None
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    flags: tuple[bool, bool] = (False, False)
    why: str = ""

    @property
    def identity(self) -> Any:
        """Equal for two tensors that are one."""
        if self.storage is None:
            return id(self)
        first = self.storage.first + self.offset * _width(self.dtype)
        return self.storage.key, self.dtype, first, self.shape, self.strides, self.flags, self.why


def _read(path: Path) -> Contents:
    try:
        with path.open("rb") as file:
            found = _read_zip(path) if is_zip(file.read(4)) else _read_legacy(path)
        return _contents(*found)
    except ValueError as error:
        raise CheckpointError(path, f"no valid PyTorch file: {error}") from error


def _read_zip(path: Path) -> tuple[Any, int]:
    """What a zip file's pickle holds, and the size of the file."""
    archive = Zip(path)
    pickled = _pickled(archive)
    folder = pickled.rpartition("/")[0] + "/" if "/" in pickled else ""
    if f"{folder}constants.pkl" in archive.members:
        raise ValueError(
            "it is a TorchScript archive, which holds a program: save the weights alone, "
            "torch.save(torch.jit.load(path).state_dict(), other_path)"
        )
    if f"{folder}byteorder" in archive.members:
        order = archive.members[f"{folder}byteorder"].start(16)
        if order not in (b"little", b"big"):
            raise ValueError(f"its byte order is {order!r}, and there are little and big")
    else:
        order = b"little"

    @cache  # tensors of one storage have one check
    def compare(key: str) -> None:
        try:
            archive.members[f"{folder}data/{key}"].check()
        except ValueError as error:
            why = f"its storage {error}; multiparam.load and multiparam.open read it all the same with check=False"
            raise CheckpointError(path, why) from error

    def storage(given: Any) -> _Storage:
        key, dtype, size, _ = _storage_id(given)
        member = archive.members.get(f"{folder}data/{key}")
        if member is None:
            raise ValueError(f"its storage {key!r} is not there")
        if member.packed:
            raise ValueError(f"its storage {key!r} is compressed, as no torch.save does")
        if size > member.size:
            raise ValueError(f"its storage {key!r} claims {size} bytes, and has {member.size}")
        # PyTorch can be told to leave out the checksums, and storages, which are written into the file afterwards
        check = partial(compare, key) if member.has_checksum else None
        return _Storage(key, dtype, 0, lambda: member.data()[:size], order == b"little", check)

    if archive.members[pickled].has_checksum:
        archive.members[pickled].check()
    thing = _unpickled(lambda dialect: plain(archive.members[pickled].data(), dialect), storage)
    return thing, len(mapped(path))


def _pickled(archive: Zip) -> str:
    """The name of the member that the pickle is."""
    name = next((name for name in archive.members if _is_pickled(name)), "")
    if not name:
        raise ValueError("there is no data.pkl in it")
    if archive.members[name].packed:
        raise ValueError(f"its {name} is compressed, as no torch.save does")
    return name


def _is_pickled(name: str) -> bool:
    return name == "data.pkl" or (name.endswith("/data.pkl") and name.count("/") == 1)


def _read_legacy(path: Path) -> tuple[Any, int]:
    """What the pickle of a file of before PyTorch 1.6 holds, and the size of the file."""
    data = mapped(path)
    magic, position = plain_at(data, 0)
    protocol, position = plain_at(data, position)
    system, position = plain_at(data, position)
    if magic != _MAGIC or protocol != _PROTOCOL or not isinstance(system, dict):
        raise ValueError(f"its protocol is {str(protocol)[:40]}, and there is {_PROTOCOL}")
    roots: dict[str, memoryview] = {}
    sizes: dict[str, tuple[int, int]] = {}  # by key the bytes of a storage, and of one of its elements

    def storage(given: Any) -> _Storage:
        key, dtype, size, view = _storage_id(given)
        if sizes.setdefault(key, (size, _width(dtype))) != (size, _width(dtype)):
            raise ValueError(f"its storage {key!r} has two sizes")
        first, last = view or (0, size)
        if last > size:
            raise ValueError(f"its storage {key!r} has a view of more than there is")
        return _Storage(key, dtype, first, lambda: roots[key][first:last])

    thing, position = _unpickled(lambda dialect: plain_at(data, position, dialect), storage)
    keys, position = plain_at(data, position)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or set(keys) != set(sizes):
        raise ValueError("its list of storages is not of those that its tensors have")
    for key in keys:
        size, width = sizes[key]
        count = int.from_bytes(data[position : position + 8], "little")
        if count * width != size or size > len(data) - position - 8:
            raise ValueError(f"its storage {key!r} claims {size} bytes, and has {max(len(data) - position - 8, 0)}")
        roots[key] = data[position + 8 : position + 8 + size]
        position += 8 + size
    if position < len(data):
        raise ValueError(f"{len(data) - position} bytes too many at its end")
    return thing, len(data)


def _unpickled(read: Callable[[Dialect], Any], storage: Callable[[Any], _Storage]) -> Any:
    def resolve(given: Any) -> Any:
        if isinstance(given, tuple) and len(given) > 1 and given[0] == "module" and isinstance(given[1], Stranger):
            return given[1]  # a class, beside which its source is kept
        return storage(given)

    try:
        return read(Dialect(_NAMES, resolve, strangers=True))
    except ValueError as error:
        raise ValueError(f"its pickle {error}") from error


def _storage_id(given: Any) -> tuple[str, str, int, tuple[int, int] | None]:
    """A storage's key, its dtype's name and its size in bytes, and the part that is meant, from byte to byte."""
    well = isinstance(given, tuple) and len(given) in (5, 6) and given[0] == "storage"
    kind, key, _, count = given[1:5] if well else (None,) * 4
    well = well and isinstance(kind, _Dtype) and isinstance(key, str) and len(key) < 1000
    if not well or type(count) is not int or not 0 <= count < 2**56:
        raise ValueError("has something beside it that is no storage")
    dtype = kind.name
    view = given[5] if len(given) == 6 else None
    if view is None:
        return key, dtype, count * _width(dtype), None
    numbers = view[1:] if isinstance(view, tuple) and len(view) == 3 else ()
    if not numbers or any(type(one) is not int or not 0 <= one < 2**56 for one in numbers):
        raise ValueError("has a view of a storage that is none")
    first, size = (one * _width(dtype) for one in numbers)
    return key, dtype, count * _width(dtype), (first, first + size)


def _width(dtype: str) -> int:
    """Bytes of an element."""
    if dtype == _UNTYPED:
        return 1
    return _DTYPES[dtype].itemsize if dtype in _DTYPES else _REFUSED[dtype]


# --- the functions that make tensors ------------------------------------------------------------------------------


def _extents(given: Any) -> tuple[int, ...]:
    given = tuple(given) if isinstance(given, list) else given
    if not isinstance(given, tuple) or any(type(one) is not int or not 0 <= one < 2**62 for one in given):
        raise ValueError("has a tensor whose shape or strides are none")
    return given


def _tensor(storage: Any, dtype: str, offset: Any, shape: Any, strides: Any, about: Any = None) -> _Tensor:
    if not isinstance(storage, _Storage) or type(offset) is not int or not 0 <= offset < 2**56:
        raise ValueError("has a tensor without a storage")
    if storage.dtype not in (dtype, _UNTYPED) or dtype == _UNTYPED:
        raise ValueError(f"has a tensor of dtype {dtype} in a storage of {storage.dtype}")
    sizes, steps = _extents(shape), _extents(strides)
    if len(sizes) != len(steps):
        raise ValueError("has a tensor with another number of extents than of strides")
    about = about if isinstance(about, dict) else {}
    flags = (about.get("conj") is True, about.get("neg") is True)
    why = f"it has dtype {dtype}, which numpy has no counterpart for" if dtype in _REFUSED else ""
    return _Tensor(storage, dtype, offset, sizes, steps, flags, why)


def _typed(machine: Machine, arguments: tuple[Any, ...]) -> _Tensor:
    if not 4 <= len(arguments) <= 7 or not isinstance(arguments[0], _Storage):
        raise ValueError("has a tensor without a storage")
    storage, offset, shape, strides, *more = arguments
    return _tensor(storage, storage.dtype, offset, shape, strides, more[2] if len(more) > 2 else None)


def _of_dtype(machine: Machine, arguments: tuple[Any, ...]) -> _Tensor:
    if not 7 <= len(arguments) <= 8 or not isinstance(arguments[6], _Dtype):
        raise ValueError("has a tensor without a dtype")
    storage, offset, shape, strides, _, _, dtype, *more = arguments
    return _tensor(storage, dtype.name, offset, shape, strides, *more)


def _parameter(machine: Machine, arguments: tuple[Any, ...]) -> Any:
    return arguments[0] if arguments else Stranger("a parameter of nothing")


def _subclass(machine: Machine, arguments: tuple[Any, ...]) -> Any:
    """A tensor with attributes, or of a class of its own."""
    make, cls, inner = arguments[:3] if len(arguments) > 2 else (None,) * 3
    if not isinstance(make, (StandIn, Stranger)) or not isinstance(cls, Stranger) or not isinstance(inner, tuple):
        raise ValueError("has a tensor of a class of its own that is not made of one")
    made = make.call(machine, inner) if isinstance(make, StandIn) and make.call is not None else None
    if not isinstance(made, _Tensor):
        return Stranger(cls.name)
    why = "" if cls.name in _OWN_CLASSES else f"it is of the class {cls.name}, which may mean its numbers otherwise"
    return replace(made, why=made.why or why)


def _array(machine: Machine, arguments: tuple[Any, ...]) -> Any:
    if not arguments or not isinstance(arguments[0], (PickledArray, _Tensor)):
        raise ValueError("has a tensor of a device that is not made of an array")
    return arguments[0]


def _unreadable(why: str, shape_at: int) -> Callable[[Machine, tuple[Any, ...]], _Tensor]:
    def make(machine: Machine, arguments: tuple[Any, ...]) -> _Tensor:
        given = arguments[shape_at] if len(arguments) > shape_at else ()
        shape = _extents(given) if isinstance(given, (tuple, list)) else ()
        return _Tensor(None, "", 0, shape, (), why=why)

    return make


def _sparse(machine: Machine, arguments: tuple[Any, ...]) -> _Tensor:
    parts = arguments[1] if len(arguments) > 1 and isinstance(arguments[1], tuple) else ()
    shape = next((one for one in parts if isinstance(one, (tuple, list))), ())
    return _Tensor(None, "", 0, _extents(shape), (), why=_SPARSE)


def _size(machine: Machine, arguments: tuple[Any, ...]) -> Any:
    return _extents(arguments[0]) if len(arguments) == 1 else ()


_OWN_CLASSES = ("torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer")
_SPARSE = "it is sparse, which has no like elsewhere; tensor.to_dense() in PyTorch makes it dense"
_QUANTIZED = "it is quantized, which has no like elsewhere; tensor.dequantize() in PyTorch makes it one of floats"
_META = "it was on the meta device, so that it has no numbers"
_NESTED = "it is a nested tensor, which has no like elsewhere"
_WRAPPED = "it is of a class of its own, which may mean its numbers otherwise"
_CALLS: Mapping[str, Callable[[Machine, tuple[Any, ...]], Any]] = {
    "_rebuild_tensor": _typed,
    "_rebuild_tensor_v2": _typed,
    "_rebuild_tensor_v3": _of_dtype,
    "_rebuild_parameter": _parameter,
    "_rebuild_parameter_with_state": _parameter,
    "_rebuild_device_tensor_from_numpy": _array,
    "_rebuild_device_tensor_from_cpu_tensor": _array,
    "_rebuild_xla_tensor": _array,
    "_rebuild_meta_tensor_no_storage": _unreadable(_META, 1),
    "_rebuild_qtensor": _unreadable(_QUANTIZED, 2),
    "_rebuild_sparse_tensor": _sparse,
    "_rebuild_sparse_csr_tensor": _sparse,
    "_rebuild_nested_tensor": _unreadable(_NESTED, 9),
    "_rebuild_wrapper_subclass": _unreadable(_WRAPPED, 2),
}


def _names() -> Iterator[tuple[tuple[str, str], Any]]:
    for name, call in _CALLS.items():
        yield ("torch._utils", name), StandIn(name, call)
    for module in ("torch._tensor", "torch.tensor"):
        for name in ("_rebuild_from_type", "_rebuild_from_type_v2"):
            yield (module, name), StandIn(name, _subclass)
    yield ("torch", "Size"), StandIn("torch.Size", _size)
    for name in (*_DTYPES, *_REFUSED):
        yield ("torch", name), _Dtype(name)
    for module in ("torch", "torch.cuda"):
        for name, dtype in _OF_STORAGE.items():
            yield (module, f"{name}Storage"), _Dtype(dtype)
    for name in ("UntypedStorage", "_UntypedStorage"):
        yield ("torch.storage", name), _Dtype(_UNTYPED)


_NAMES = dict(_names())


# --- what the pickle holds ----------------------------------------------------------------------------------------


@dataclass
class _Found:
    """The tensors of a file, each once, under the names that it has them by."""

    budget: int
    entries: dict[str, Entry] = field(default_factory=dict)
    groups: dict[Any, list[str]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, leaf: Any) -> None:
        if name in self.entries or name in self.left_out:
            raise ValueError(f"has two things of the name {name!r}")
        if isinstance(leaf, PickledArray):
            self.entries[name] = leaf.entry(name)
        elif not isinstance(leaf, _Tensor):
            self.left_out[name] = _described(leaf)
        elif leaf.identity in self.groups:
            self.groups[leaf.identity].append(name)
        else:
            self.groups[leaf.identity] = [name]
            self.entries[name] = self.entry(name, leaf)

    def entry(self, name: str, tensor: _Tensor) -> Entry:
        dtype = _DTYPES.get(tensor.dtype, np.dtype(np.void))
        if tensor.why or tensor.storage is None:
            return Entry(name, dtype, tensor.shape, lambda: np.empty(0), refusal=tensor.why)
        _check(name, tensor)
        self.budget -= data_size(tensor.shape, dtype)
        if self.budget < 0:
            why = "it repeats numbers so often, or shares them with so many others, that it is far bigger than the file"
            return Entry(name, dtype, tensor.shape, lambda: np.empty(0), refusal=why)
        return Entry(name, dtype, tensor.shape, lambda: _numbers(tensor), check=tensor.storage.check)


def _contents(thing: Any, size: int) -> Contents:
    found = _Found(_MOST_REPEATED * size + _FREELY_REPEATED)
    single = _is_tensor(thing)
    for name, leaf in leaves(thing, _is_tensor, "tensor" if single else "", budget=16 * size + 65_536):
        found.add(name, leaf)
    objects = [about for about in found.left_out.values() if about.startswith("an object")]
    if not found.entries and objects:
        raise ValueError(f"it holds no tensors, but {', '.join(objects[:3])}: {_WHOLE_MODEL}")
    if not single and not isinstance(thing, (dict, list, tuple)):
        raise ValueError(f"it holds no tensors, but {_described(thing)}")
    listed = isinstance(thing, (list, tuple)) and [*found.entries] == [str(index) for index in range(len(thing))]
    content = "tensor" if single else "list" if listed else "dict"
    ties = [group for group in found.groups.values() if len(group) > 1]
    return Contents([*found.entries.values()], content, ties=ties, left_out=found.left_out)


def _is_tensor(thing: Any) -> bool:
    return isinstance(thing, (_Tensor, PickledArray))


def _described(leaf: Any) -> str:
    if isinstance(leaf, (dict, list, tuple)):
        return f"{type(leaf).__name__} of {len(leaf)}"
    if isinstance(leaf, _Dtype):
        return "a dtype"
    if isinstance(leaf, Stranger):
        return f"an object of {leaf.name}"
    if isinstance(leaf, StandIn):
        return leaf.name
    return (
        "a storage" if isinstance(leaf, _Storage) else "bytes" if isinstance(leaf, memoryview) else type(leaf).__name__
    )


def _check(name: str, tensor: _Tensor) -> None:
    """Refuses a tensor that is not within its storage."""
    assert tensor.storage is not None
    size = data_size(tensor.shape, _DTYPES[tensor.dtype])
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True)) + 1
    there = len(tensor.storage.data())
    if size and last * _width(tensor.dtype) > there:
        raise ValueError(f"{name!r} needs {last * _width(tensor.dtype)} bytes of its storage, which has {there}")


def _numbers(tensor: _Tensor) -> Any:
    assert tensor.storage is not None
    dtype, width = _DTYPES[tensor.dtype], _width(tensor.dtype)
    if not math.prod(tensor.shape):
        return np.empty(tensor.shape, dtype)
    # bits alone, where numpy has no such numbers itself, for it to turn and to stride
    raw = dtype if dtype.isbuiltin == 1 else np.dtype(f"u{width}")
    data = tensor.storage.data()
    whole = np.frombuffer(data[: len(data) // width * width], raw.newbyteorder("<" if tensor.storage.little else ">"))
    strides = tuple(step * width for step in tensor.strides)
    found = np.lib.stride_tricks.as_strided(whole[tensor.offset :], tensor.shape, strides, writeable=False)
    if found.dtype != raw or not found.flags.aligned:
        found = found.astype(raw)
    found = found.view(dtype)
    conjugated, negated = tensor.flags
    found = np.conj(found) if conjugated else found
    return np.negative(found) if negated else found


def _recognizes(start: bytes) -> bool:
    # behind the pickle's protocol, and its frame's length from protocol 4 on
    return is_zip(start) or (start[:1] == b"\x80" and _LEGACY in (start[at : at + len(_LEGACY)] for at in (2, 11)))


def _holds(path: Path) -> bool:
    with path.open("rb") as file:
        if not is_zip(file.read(4)):
            return True
    try:
        return any(_is_pickled(name) for name in Zip(path).members)
    except CheckpointError:
        return False


pt_file = Format("torch", _recognizes, _read, backend="torch", holds=_holds)
