"""Pickles of plain data, read with nothing in them that could be called.

Python's unpickler looks up what a file names and calls it. This one knows the operations that dicts, lists, tuples,
text, numbers and numpy arrays are written with, and for the few functions that go with arrays it has stand-ins of its
own, which check what they are given; everything else is refused by its name. The numbers of arrays stay in the file.
Source: Lib/pickle.py and Lib/pickletools.py; numpy's `ndarray.__reduce_ex__` and `dtype.__reduce__`.
"""

from __future__ import annotations

import pickle
import pickletools
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from multiparam.formats import data_size

__all__ = ["PickledArray", "plain"]

MOST_OPERATIONS = 10_000_000  # each takes memory, whatever it is for
_ALWAYS = 500_000  # of them in a small file; in a bigger one as many as arrays take, 30 for each and its 300 bytes
_LONGEST_NAME = 200  # of a module or a function

# sizes of the operations' arguments, and of the lengths before those that have one
_FIXED: Mapping[int, int] = {
    code[0]: size
    for code, size in {
        **dict.fromkeys((pickle.PROTO, pickle.BININT1, pickle.BINPUT, pickle.BINGET), 1),
        **dict.fromkeys((pickle.BININT2,), 2),
        **dict.fromkeys((pickle.BININT, pickle.LONG_BINPUT, pickle.LONG_BINGET), 4),
        **dict.fromkeys((pickle.FRAME, pickle.BINFLOAT), 8),
    }.items()
}
_COUNTED: Mapping[int, int] = {
    code[0]: size
    for code, size in {
        **dict.fromkeys((pickle.SHORT_BINUNICODE, pickle.SHORT_BINBYTES, pickle.SHORT_BINSTRING, pickle.LONG1), 1),
        **dict.fromkeys((pickle.BINUNICODE, pickle.BINBYTES, pickle.BINSTRING, pickle.LONG4), 4),
        **dict.fromkeys((pickle.BINUNICODE8, pickle.BINBYTES8, pickle.BYTEARRAY8), 8),
    }.items()
}


@dataclass
class PickledArray:
    """An array of a pickle, its numbers still in the file.

    Attributes:
        dtype: its dtype, of whichever byte order.
        shape: its shape.
        fortran: the first axis varies fastest.
        data: its bytes; text of as many characters where Python 2 wrote them.
    """

    dtype: np.dtype[Any] | None = None
    shape: tuple[int, ...] = (0,)
    fortran: bool = False
    data: memoryview | bytes | str = b""

    def raw(self) -> memoryview | bytes:
        """The bytes."""
        return self.data.encode("latin-1") if isinstance(self.data, str) else self.data


@dataclass
class _Dtype:
    """A numpy dtype that may still be told its byte order."""

    dtype: np.dtype[Any]


@dataclass(frozen=True)
class _Named:
    """What a pickle may name."""

    name: str
    call: Callable[[_Machine, tuple[Any, ...]], Any] | None = None


def plain(data: memoryview) -> Any:
    """What a pickle holds: dicts, lists, tuples, text, bytes, numbers, None and `PickledArray`.

    Args:
        data: the whole file.

    Raises:
        ValueError: it is damaged, or holds anything else; the message says what.

    >>> plain(memoryview(pickle.dumps({"epoch": 3})))
    {'epoch': 3}
    """
    return _Machine(data).run()


class _Machine:
    """The stack and the memo of a pickle that is being read."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.left = len(data)  # characters and items to copy; beyond them the same ones are copied again and again

    def run(self) -> Any:
        for code, argument in _operations(self.data):
            if code == pickle.STOP[0]:
                break
            _OPERATIONS[code](self, argument)
        if len(self.stack) != 1 or self.marks:
            raise ValueError("stops with its work half done")
        return self.stack[0]

    def push(self, thing: Any) -> None:
        self.stack.append(thing)

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise ValueError("takes what is not there")
        return self.stack.pop()

    def top(self) -> Any:
        self.push(thing := self.pop())
        return thing

    def since_mark(self) -> list[Any]:
        if not self.marks:
            raise ValueError("takes what is not there")
        start = self.marks.pop()
        taken = self.stack[start:]
        del self.stack[start:]
        return taken

    def spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise ValueError("copies more than it has")


def _operations(data: memoryview) -> Iterator[tuple[int, Any]]:
    """The operations and their arguments; a counted one is a view of the file."""
    position = 0

    def take(size: int) -> memoryview:
        nonlocal position
        if size > len(data) - position:
            raise ValueError(f"ends within it: {size} bytes wanted at byte {position}, {len(data) - position} there")
        position += size
        return data[position - size : position]

    def line() -> str:
        nonlocal position
        text, end, _ = bytes(data[position : position + _LONGEST_NAME]).partition(b"\n")
        if not end:
            raise ValueError(f"has no name at byte {position}")
        position += len(text) + 1
        return text.decode()

    most = min(MOST_OPERATIONS, _ALWAYS + len(data) // 10)
    for _ in range(most):
        code = take(1)[0]
        if code in _COUNTED:
            yield code, take(int.from_bytes(take(_COUNTED[code]), "little"))
        elif code == pickle.GLOBAL[0]:
            yield code, (line(), line())
        elif code in _OPERATIONS or code == pickle.STOP[0]:
            if code == pickle.STOP[0] and position < len(data):
                raise ValueError(f"goes on for {len(data) - position} bytes behind its first object")
            yield code, take(_FIXED.get(code, 0))
        else:
            name = next((known.name for known in pickletools.opcodes if known.code == chr(code)), hex(code))
            raise ValueError(f"has the operation {name}, which plain data need not; it was not run")
    raise ValueError(f"has more than {most:,} operations, and no arrays to take them")


# --- the functions that a pickle may name -----------------------------------------------------------------------


def _check(well: bool, name: str) -> None:
    if not well:
        raise ValueError(f"calls {name} with what no array is made of")


def _reconstruct(machine: _Machine, arguments: tuple[Any, ...]) -> PickledArray:
    _check(len(arguments) == 3 and arguments[0] is _NDARRAY and arguments[1] == (0,), "numpy's _reconstruct")
    return PickledArray()


def _frombuffer(machine: _Machine, arguments: tuple[Any, ...]) -> PickledArray:
    _check(len(arguments) == 4 and arguments[3] in ("C", "F"), "numpy's _frombuffer")
    data, dtype, shape, order = arguments
    made = PickledArray()
    _fill(machine, made, (1, shape, dtype, order == "F", data))
    return made


def _scalar(machine: _Machine, arguments: tuple[Any, ...]) -> PickledArray:
    _check(len(arguments) == 2, "numpy's scalar")
    made = PickledArray()
    _fill(machine, made, (1, (), arguments[0], False, arguments[1]))
    return made


def _dtype(machine: _Machine, arguments: tuple[Any, ...]) -> _Dtype:
    _check(len(arguments) in (1, 3) and isinstance(arguments[0], str) and len(arguments[0]) < 9, "numpy.dtype")
    code = arguments[0].lstrip("<>|=")
    if code not in _DTYPES:
        raise ValueError(f"has an array of dtype {arguments[0]!r}, which holds more than numbers")
    return _Dtype(np.dtype(code))


def _encode(machine: _Machine, arguments: tuple[Any, ...]) -> bytes:
    well = len(arguments) == 2 and isinstance(arguments[0], str) and arguments[1] in ("latin1", "latin-1")
    _check(well, "_codecs.encode")
    machine.spend(len(arguments[0]))
    made: bytes = arguments[0].encode("latin-1")
    return made


def _no_bytes(machine: _Machine, arguments: tuple[Any, ...]) -> bytes:
    _check(not arguments, "bytes")
    return b""


def _tuple(machine: _Machine, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    _check(len(arguments) == 1 and isinstance(arguments[0], tuple), "tuple")
    made: tuple[Any, ...] = arguments[0]
    return made


def _ordered_dict(machine: _Machine, arguments: tuple[Any, ...]) -> dict[Any, Any]:
    pairs = arguments[0] if arguments else []
    well = len(arguments) < 2 and isinstance(pairs, (list, tuple))
    machine.spend(len(pairs) if well else 0)
    _check(well and all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs), "OrderedDict")
    made: dict[Any, Any] = {}
    _put(made, [one for pair in pairs for one in pair])
    return made


def _static_tensor(machine: _Machine, arguments: tuple[Any, ...]) -> PickledArray:
    # Paddle writes a tensor of a static graph as eval("data", {"data": array}); nothing is evaluated here
    well = len(arguments) == 2 and arguments[0] == "data" and isinstance(arguments[1], dict)
    if not (well and list(arguments[1]) == ["data"] and isinstance(arguments[1]["data"], PickledArray)):
        raise ValueError("asks for eval, which is not run")
    found: PickledArray = arguments[1]["data"]
    return found


_DTYPES = frozenset(("b1", *(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)), "f2", "f4", "f8", "c8", "c16"))
_NDARRAY = _Named("numpy.ndarray")
_NAMES: Mapping[tuple[str, str], _Named] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Named("numpy.dtype", _dtype),
    ("_codecs", "encode"): _Named("_codecs.encode", _encode),
    ("collections", "OrderedDict"): _Named("OrderedDict", _ordered_dict),
    **{
        (f"numpy.{core}.{module}", name): _Named(name, call)
        for core in ("core", "_core")
        for module, name, call in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _frombuffer),
        )
    },
    **{
        (module, name): _Named(name, call)
        for module in ("builtins", "__builtin__")
        for name, call in (("tuple", _tuple), ("bytes", _no_bytes), ("eval", _static_tensor))
    },
}


# --- the operations ---------------------------------------------------------------------------------------------


def _name(machine: _Machine, module: Any, name: Any) -> None:
    if not (isinstance(module, str) and isinstance(name, str)):
        raise ValueError("asks for what has no name")
    if (module, name) not in _NAMES:
        asked = f"{module[:_LONGEST_NAME]}.{name[:_LONGEST_NAME]}"
        raise ValueError(f"asks for {asked}, which plain data need not; it was not run")
    machine.push(_NAMES[module, name])


def _call(machine: _Machine) -> None:
    arguments, named = machine.pop(), machine.pop()
    if not isinstance(named, _Named) or named.call is None or not isinstance(arguments, tuple):
        raise ValueError("calls what cannot be called")
    machine.push(named.call(machine, arguments))


def _build(machine: _Machine) -> None:
    state, target = machine.pop(), machine.top()
    if isinstance(target, PickledArray):
        _fill(machine, target, state)
    elif isinstance(target, _Dtype):
        well = isinstance(state, tuple) and len(state) >= 5 and state[2:5] == (None, None, None)
        _check(well and isinstance(state[1], str) and state[1] in ("<", ">", "=", "|"), "numpy.dtype")
        target.dtype = target.dtype.newbyteorder(state[1])
    else:
        raise ValueError(f"gives a state to {type(target).__name__}, which has none")


def _fill(machine: _Machine, array: PickledArray, state: Any) -> None:
    """Gives an array its numbers: (version, shape, dtype, fortran, data)."""
    _check(isinstance(state, tuple) and len(state) == 5, "an array")
    _, shape, dtype, fortran, data = state
    well = isinstance(shape, tuple) and all(type(extent) is int and extent.bit_length() < 64 for extent in shape)
    _check(well and isinstance(dtype, _Dtype), "an array")
    _check(isinstance(fortran, (bool, int)) and isinstance(data, (memoryview, bytes, str)), "an array")
    if isinstance(data, str):
        machine.spend(len(data))
        data.encode("latin-1")
    size = data_size(shape, dtype.dtype)
    if size != len(data):
        raise ValueError(
            f"has an array of shape {shape} and dtype {dtype.dtype}, {size} bytes, and {len(data)} of them"
        )
    array.dtype, array.shape, array.fortran, array.data = dtype.dtype, shape, bool(fortran), data


def _put(target: Any, things: list[Any]) -> None:
    if type(target) is not dict or len(things) % 2:
        raise ValueError("puts items into what is no dict")
    for key, value in zip(things[::2], things[1::2], strict=True):
        # other keys can take for ever to hash
        if type(key) not in (str, int) or (type(key) is int and key.bit_length() > 64):
            raise ValueError(f"has a dict with a key that is no name: {type(key).__name__}")
        # names are text in the end; numbers could be made to collide
        name = str(key)
        if name in target:
            raise ValueError(f"has two things of the name {name!r} in one dict")
        target[name] = value


def _put_all(machine: _Machine) -> None:
    things = machine.since_mark()
    _put(machine.top(), things)


def _put_one(machine: _Machine, argument: memoryview) -> None:
    value, key = machine.pop(), machine.pop()
    _put(machine.top(), [key, value])


def _extend(machine: _Machine, things: list[Any]) -> None:
    if type(target := machine.top()) is not list:
        raise ValueError("appends to what is no list")
    target.extend(things)


def _remember(machine: _Machine, place: int) -> None:
    machine.memo[place] = machine.top()


def _recall(machine: _Machine, place: int) -> None:
    if place not in machine.memo:
        raise ValueError("recalls what it never had")
    machine.push(machine.memo[place])


def _tuple_of(count: int) -> Callable[[_Machine, Any], None]:
    return lambda machine, _: machine.push(tuple([machine.pop() for _ in range(count)][::-1]))


def _unsigned(argument: memoryview) -> int:
    return int.from_bytes(argument, "little")


def _signed(argument: memoryview) -> int:
    return int.from_bytes(argument, "little", signed=True)


_OPERATIONS: Mapping[int, Callable[[_Machine, Any], None]] = {
    code[0]: operation
    for code, operation in {
        **dict.fromkeys((pickle.PROTO, pickle.FRAME), lambda machine, argument: None),
        pickle.MARK: lambda machine, _: machine.marks.append(len(machine.stack)),
        pickle.NONE: lambda machine, _: machine.push(None),
        pickle.NEWTRUE: lambda machine, _: machine.push(True),
        pickle.NEWFALSE: lambda machine, _: machine.push(False),
        **dict.fromkeys((pickle.BININT1, pickle.BININT2), lambda machine, number: machine.push(_unsigned(number))),
        **dict.fromkeys(
            (pickle.BININT, pickle.LONG1, pickle.LONG4), lambda machine, number: machine.push(_signed(number))
        ),
        pickle.BINFLOAT: lambda machine, number: machine.push(struct.unpack(">d", number)[0]),
        **dict.fromkeys(
            (pickle.SHORT_BINUNICODE, pickle.BINUNICODE, pickle.BINUNICODE8),
            lambda machine, text: machine.push(str(text, "utf-8")),
        ),
        **dict.fromkeys(
            (pickle.SHORT_BINSTRING, pickle.BINSTRING), lambda machine, text: machine.push(str(text, "latin-1"))
        ),
        **dict.fromkeys(
            (pickle.SHORT_BINBYTES, pickle.BINBYTES, pickle.BINBYTES8, pickle.BYTEARRAY8),
            lambda machine, data: machine.push(data),
        ),
        pickle.EMPTY_DICT: lambda machine, _: machine.push({}),
        pickle.EMPTY_LIST: lambda machine, _: machine.push([]),
        pickle.EMPTY_TUPLE: lambda machine, _: machine.push(()),
        pickle.TUPLE: lambda machine, _: machine.push(tuple(machine.since_mark())),
        **{code: _tuple_of(count) for count, code in ((1, pickle.TUPLE1), (2, pickle.TUPLE2), (3, pickle.TUPLE3))},
        pickle.APPEND: lambda machine, _: _extend(machine, [machine.pop()]),
        pickle.APPENDS: lambda machine, _: _extend(machine, machine.since_mark()),
        pickle.SETITEM: _put_one,
        pickle.SETITEMS: lambda machine, _: _put_all(machine),
        **dict.fromkeys(
            (pickle.BINPUT, pickle.LONG_BINPUT), lambda machine, place: _remember(machine, _unsigned(place))
        ),
        pickle.MEMOIZE: lambda machine, _: _remember(machine, len(machine.memo)),
        **dict.fromkeys((pickle.BINGET, pickle.LONG_BINGET), lambda machine, place: _recall(machine, _unsigned(place))),
        pickle.GLOBAL: lambda machine, names: _name(machine, *names),
        pickle.STACK_GLOBAL: lambda machine, _: _name(machine, *[machine.pop(), machine.pop()][::-1]),
        pickle.REDUCE: lambda machine, _: _call(machine),
        pickle.BUILD: lambda machine, _: _build(machine),
    }.items()
}
