"""Pickles of plain data, read with nothing in them that could be called.

Python's unpickler looks up what a file names and calls it. This one knows the operations that dicts, lists, tuples,
text, numbers and numpy arrays are written with, and for the few functions that go with arrays it has stand-ins of its
own, which check what they are given; everything else is refused by its name. The numbers of arrays stay in the file.
A format that has more in its pickles says so in a `Dialect`, with stand-ins of its own. Source: Lib/pickle.py and
Lib/pickletools.py; numpy's `ndarray.__reduce_ex__` and `dtype.__reduce__`.
"""

from __future__ import annotations

import pickle
import pickletools
import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .entry import Entry, data_size, stored

__all__ = ["Dialect", "Machine", "PickledArray", "StandIn", "Stranger", "leaves", "plain", "plain_at"]

MOST_OPERATIONS = 10_000_000  # each takes memory, whatever it is for
# things on the stack and in the memo, in a small file and for each byte: PyTorch's densest pickles have 0.2 for each
MOST_KEPT, MOST_KEPT_OF_BYTES = 50_000, 0.5
_LONGEST_NAME = 200  # of a module or a function
_DEEPEST = 32  # dicts in dicts
# what of Python's own holds data and no more; what else there is of it runs things
_HARMLESS = frozenset(
    {
        *(("argparse", "Namespace"), ("decimal", "Decimal"), ("functools", "partial"), ("uuid", "UUID")),
        *(("collections", name) for name in ("Counter", "defaultdict", "deque")),
        *(("datetime", name) for name in ("date", "datetime", "time", "timedelta", "timezone")),
        *(
            (module, name)
            for module in ("pathlib", "pathlib._local")
            for name in ("Path", "PosixPath", "PurePath", "PurePosixPath", "WindowsPath")
        ),
        *(
            (module, name)
            for module in ("builtins", "__builtin__")
            for name in (
                *("bool", "bytearray", "complex", "dict", "float", "frozenset", "int", "list", "long", "set", "slice"),
                *("str", "unicode"),
            )
        ),
        ("types", "SimpleNamespace"),
    }
)

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
_PUTS = frozenset(code[0] for code in (pickle.PUT, pickle.BINPUT, pickle.LONG_BINPUT, pickle.MEMOIZE))


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

    def entry(self, name: str) -> Entry:
        """The array as an entry.

        Raises:
            ValueError: the pickle gave it no numbers.
        """
        if self.dtype is None:
            raise ValueError(f"has no numbers for {name!r}")
        return stored(name, self.raw, self.dtype, self.shape, fortran=self.fortran)


@dataclass
class _Dtype:
    """A numpy dtype that may still be told its byte order."""

    dtype: np.dtype[Any]


@dataclass(frozen=True)
class StandIn:
    """What stands for a function or a class that a pickle names.

    Attributes:
        name: what it is called in errors.
        call: gives what comes of calling it, from the machine and the arguments, which it has to check; what is wrong
            with them is a `ValueError`. None is a class that is only named.
    """

    name: str
    call: Callable[[Machine, tuple[Any, ...]], Any] | None = None


class Stranger:
    """A class of others that a pickle names, or an object of it: known by name, never looked up nor made.

    Args:
        name: the class's module and name.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Dialect:
    """What a format has in its pickles beside plain data.

    Attributes:
        names: stand-ins by module and name; a `Stranger` where only the name matters.
        persistent: gives what the format keeps beside its pickle, by the id that the pickle has in its place; what is
            wrong with an id is a `ValueError`. None refuses all of them.
        strangers: classes that nothing is known of become a `Stranger`, and what is made of them does; without this,
            and where they are Python's own and run things, they are refused.
    """

    names: Mapping[tuple[str, str], StandIn | Stranger] = field(default_factory=dict)
    persistent: Callable[[Any], Any] | None = None
    strangers: bool = False


def plain(data: memoryview, dialect: Dialect | None = None) -> Any:
    """What a pickle holds: dicts, lists, tuples, text, bytes, numbers, None and `PickledArray`.

    Args:
        data: the whole file.
        dialect: what it may hold beside them.

    Raises:
        ValueError: it is damaged, or holds anything else; the message says what.

    >>> plain(memoryview(pickle.dumps({"epoch": 3})))
    {'epoch': 3}
    >>> plain(memoryview(pickle.dumps(print)))
    Traceback (most recent call last):
    ValueError: asks for builtins.print, which plain data need not; it was not run
    """
    thing, end = plain_at(data, 0, dialect)
    if end < len(data):
        raise ValueError(f"goes on for {len(data) - end} bytes behind its first object")
    return thing


def plain_at(data: memoryview, start: int, dialect: Dialect | None = None) -> tuple[Any, int]:
    """What a pickle within a file holds, and where it ends.

    Args:
        data: the whole file.
        start: where in it the pickle begins.
        dialect: what it may hold beside plain data.

    Raises:
        ValueError: as for `plain`.

    >>> both = pickle.dumps(1) + pickle.dumps("two")
    >>> _, end = plain_at(memoryview(both), 0)
    >>> plain_at(memoryview(both), end)[0]
    'two'
    """
    machine = Machine(data, dialect or Dialect())
    return machine.run(start), machine.end


def leaves(thing: Any, wanted: Callable[[Any], bool], name: str = "", *, budget: int) -> Iterator[tuple[str, Any]]:
    """What nested dicts, lists and tuples hold, each thing under a name joined by dots.

    Args:
        thing: a dict, a list, a tuple, or what is wanted itself.
        wanted: tells what is looked for; dicts and lists with nothing of it are told of as they are.
        name: the thing's name.
        budget: how many characters the names may have together; a small file can put one dict into many.

    Raises:
        ValueError: there are too many, or they are too deep in each other.

    >>> list(leaves({"a": {"b": 1}, "c": ["x", 3], "d": ["y"]}, lambda one: isinstance(one, int), budget=100))
    [('a.b', 1), ('c.0', 'x'), ('c.1', 3), ('d', ['y'])]
    """
    spent = 0
    known: dict[int, bool] = {}

    def holds(thing: Any, depth: int) -> bool:
        if not isinstance(thing, (dict, list, tuple)):
            return wanted(thing)
        if depth > _DEEPEST:
            raise ValueError(f"has more than {_DEEPEST} dicts and lists in each other")
        if id(thing) not in known:
            known[id(thing)] = False  # one in itself holds nothing by that
            inside = thing.values() if isinstance(thing, dict) else thing
            known[id(thing)] = any(holds(one, depth + 1) for one in inside)
        return known[id(thing)]

    def within(name: str, thing: Any, depth: int) -> Iterator[tuple[str, Any]]:
        nonlocal spent
        spent += len(name) + 1
        if spent > budget:
            raise ValueError("puts the same dicts and lists into each other again and again")
        if depth > _DEEPEST:
            raise ValueError(f"has more than {_DEEPEST} dicts and lists in each other")
        if not isinstance(thing, (dict, list, tuple)) or (depth and not holds(thing, depth)):
            yield name, thing
            return
        for key, one in thing.items() if isinstance(thing, dict) else enumerate(thing):
            yield from within(f"{name}.{key}" if name else str(key), one, depth + 1)

    return within(name, thing, 0)


class Machine:
    """The stack and the memo of a pickle that is being read; a `StandIn` spends of its budget what it copies."""

    def __init__(self, data: memoryview, dialect: Dialect) -> None:
        self.data = data
        self.dialect = dialect
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.end = 0
        self.left = len(data)  # characters and items to copy; beyond them the same ones are copied again and again

    def run(self, start: int) -> Any:
        """What the pickle that begins there holds."""
        most, before = MOST_KEPT + int(MOST_KEPT_OF_BYTES * len(self.data)), 0
        for code, argument in _operations(self.data, start):
            if code == pickle.STOP[0]:
                self.end = argument
                break
            if code in _PUTS and before in _PUTS:
                raise ValueError("remembers one thing twice in a row, which no pickle has to")
            _OPERATIONS[code](self, argument)
            if len(self.stack) + len(self.memo) > most:
                raise ValueError(f"keeps more than {most:,} things at a time, and is too small to need them")
            before = code
        if len(self.stack) != 1 or self.marks:
            raise ValueError("stops with its work half done")
        return self.stack[0]

    def push(self, thing: Any) -> None:
        """Puts something onto the stack."""
        self.stack.append(thing)

    def pop(self) -> Any:
        """Takes what lies on top of the stack, above the last mark."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise ValueError("takes what is not there")
        return self.stack.pop()

    def top(self) -> Any:
        """What lies there."""
        self.push(thing := self.pop())
        return thing

    def since_mark(self) -> list[Any]:
        """Takes all that lies above the last mark, and the mark."""
        if not self.marks:
            raise ValueError("takes what is not there")
        start = self.marks.pop()
        taken = self.stack[start:]
        del self.stack[start:]
        return taken

    def spend(self, count: int) -> None:
        """Takes note that so many characters or items are copied.

        Raises:
            ValueError: those of the whole file have been copied already.
        """
        self.left -= count
        if self.left < 0:
            raise ValueError("copies more than it has")


def _operations(data: memoryview, start: int) -> Iterator[tuple[int, Any]]:
    """The operations and their arguments; a counted one is a view of the file, that of the last where it ends."""
    position = start

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

    for _ in range(MOST_OPERATIONS):
        code = take(1)[0]
        if code in _COUNTED:
            yield code, take(int.from_bytes(take(_COUNTED[code]), "little"))
        elif code == pickle.GLOBAL[0]:
            yield code, (line(), line())
        elif code == pickle.STOP[0]:
            yield code, position
        elif code in _OPERATIONS:
            yield code, take(_FIXED.get(code, 0))
        else:
            name = next((known.name for known in pickletools.opcodes if known.code == chr(code)), hex(code))
            raise ValueError(f"has the operation {name}, which plain data need not; it was not run")
    raise ValueError(f"has more than {MOST_OPERATIONS:,} operations")


# --- the functions that a pickle may name -----------------------------------------------------------------------


def _check(well: bool, name: str) -> None:
    if not well:
        raise ValueError(f"calls {name} with what no array is made of")


def _reconstruct(machine: Machine, arguments: tuple[Any, ...]) -> PickledArray:
    _check(len(arguments) == 3 and arguments[0] is _NDARRAY and arguments[1] == (0,), "numpy's _reconstruct")
    return PickledArray()


def _frombuffer(machine: Machine, arguments: tuple[Any, ...]) -> PickledArray:
    _check(len(arguments) == 4 and arguments[3] in ("C", "F"), "numpy's _frombuffer")
    data, dtype, shape, order = arguments
    made = PickledArray()
    _fill(machine, made, (1, shape, dtype, order == "F", data))
    return made


def _scalar(machine: Machine, arguments: tuple[Any, ...]) -> PickledArray:
    _check(len(arguments) == 2, "numpy's scalar")
    made = PickledArray()
    _fill(machine, made, (1, (), arguments[0], False, arguments[1]))
    return made


def _dtype(machine: Machine, arguments: tuple[Any, ...]) -> _Dtype:
    _check(len(arguments) in (1, 3) and isinstance(arguments[0], str) and len(arguments[0]) < 9, "numpy.dtype")
    code = arguments[0].lstrip("<>|=")
    if code not in _DTYPES:
        raise ValueError(f"has an array of dtype {arguments[0]!r}, which holds more than numbers")
    return _Dtype(np.dtype(code))


def _encode(machine: Machine, arguments: tuple[Any, ...]) -> bytes:
    well = len(arguments) == 2 and isinstance(arguments[0], str) and arguments[1] in ("latin1", "latin-1")
    _check(well, "_codecs.encode")
    machine.spend(len(arguments[0]))
    made: bytes = arguments[0].encode("latin-1")
    return made


def _no_bytes(machine: Machine, arguments: tuple[Any, ...]) -> bytes:
    _check(not arguments, "bytes")
    return b""


def _tuple(machine: Machine, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    _check(len(arguments) == 1 and isinstance(arguments[0], tuple), "tuple")
    made: tuple[Any, ...] = arguments[0]
    return made


def _ordered_dict(machine: Machine, arguments: tuple[Any, ...]) -> dict[Any, Any]:
    pairs = arguments[0] if arguments else []
    well = len(arguments) < 2 and isinstance(pairs, (list, tuple))
    machine.spend(len(pairs) if well else 0)
    _check(well and all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs), "OrderedDict")
    made: dict[Any, Any] = {}
    _put(made, [one for pair in pairs for one in pair])
    return made


_DTYPES = frozenset(("b1", *(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)), "f2", "f4", "f8", "c8", "c16"))
_NDARRAY = StandIn("numpy.ndarray")
_NAMES: Mapping[tuple[str, str], StandIn] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): StandIn("numpy.dtype", _dtype),
    ("_codecs", "encode"): StandIn("_codecs.encode", _encode),
    ("collections", "OrderedDict"): StandIn("OrderedDict", _ordered_dict),
    **{
        (f"numpy.{core}.{module}", name): StandIn(name, call)
        for core in ("core", "_core")
        for module, name, call in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _frombuffer),
        )
    },
    **{
        (module, name): StandIn(name, call)
        for module in ("builtins", "__builtin__")
        for name, call in (("tuple", _tuple), ("bytes", _no_bytes))
    },
}


# --- the operations ---------------------------------------------------------------------------------------------


def _name(machine: Machine, module: Any, name: Any) -> None:
    if not (isinstance(module, str) and isinstance(name, str)):
        raise ValueError("asks for what has no name")
    found = machine.dialect.names.get((module, name)) or _NAMES.get((module, name))
    if found is not None:
        machine.push(found)
        return
    asked = f"{module[:_LONGEST_NAME]}.{name[:_LONGEST_NAME]}"
    if not machine.dialect.strangers or _runs_things(module, name):
        raise ValueError(f"asks for {asked}, which plain data need not; it was not run")
    machine.push(Stranger(asked))


def _runs_things(module: str, name: str) -> bool:
    """Whether it is Python's own, and more than a holder of data."""
    root = module.partition(".")[0]
    own = root in sys.stdlib_module_names or root in ("__builtin__", "copy_reg", "nt", "posix")
    return own and (module, name) not in _HARMLESS


def _call(machine: Machine) -> None:
    arguments, named = machine.pop(), machine.pop()
    if isinstance(named, Stranger):
        machine.push(Stranger(named.name))
        return
    if not isinstance(named, StandIn) or named.call is None or not isinstance(arguments, tuple):
        raise ValueError("calls what cannot be called")
    machine.push(named.call(machine, arguments))


def _new(machine: Machine, operation: str) -> None:
    for _ in range(2 if operation == "NEWOBJ_EX" else 1):
        machine.pop()  # the arguments
    cls = machine.pop()
    if not isinstance(cls, Stranger):
        raise ValueError(f"has the operation {operation}, which plain data need not; it was not run")
    machine.push(Stranger(cls.name))


def _resolve(machine: Machine) -> None:
    if machine.dialect.persistent is None:
        raise ValueError("has the operation BINPERSID, which plain data need not; it was not run")
    machine.push(machine.dialect.persistent(machine.pop()))


def _build(machine: Machine) -> None:
    state, target = machine.pop(), machine.top()
    if isinstance(target, PickledArray):
        _fill(machine, target, state)
    elif isinstance(target, _Dtype):
        well = isinstance(state, tuple) and len(state) >= 5 and state[2:5] == (None, None, None)
        _check(well and isinstance(state[1], str) and state[1] in ("<", ">", "=", "|"), "numpy.dtype")
        target.dtype = target.dtype.newbyteorder(state[1])
    elif isinstance(target, Stranger) or (machine.dialect.strangers and type(target) is dict):
        pass  # attributes, of an OrderedDict for instance
    else:
        raise ValueError(f"gives a state to {type(target).__name__}, which has none")


def _fill(machine: Machine, array: PickledArray, state: Any) -> None:
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
    if isinstance(target, Stranger):
        return
    if type(target) is not dict or len(things) % 2:
        raise ValueError("puts items into what is no dict")
    for key, value in zip(things[::2], things[1::2], strict=True):
        # other keys can take for ever to hash
        if type(key) not in (str, int, Stranger) or (type(key) is int and key.bit_length() > 64):
            raise ValueError(f"has a dict with a key that is no name: {type(key).__name__}")
        # names are text in the end; numbers could be made to collide
        name = str(key)
        if name in target:
            raise ValueError(f"has two things of the name {name!r} in one dict")
        target[name] = value


def _put_all(machine: Machine) -> None:
    things = machine.since_mark()
    _put(machine.top(), things)


def _put_one(machine: Machine, argument: memoryview) -> None:
    value, key = machine.pop(), machine.pop()
    _put(machine.top(), [key, value])


def _extend(machine: Machine, things: list[Any]) -> None:
    if isinstance(target := machine.top(), Stranger):
        return
    if type(target) is not list:
        raise ValueError("appends to what is no list")
    target.extend(things)


def _remember(machine: Machine, place: int) -> None:
    machine.memo[place] = machine.top()


def _recall(machine: Machine, place: int) -> None:
    if place not in machine.memo:
        raise ValueError("recalls what it never had")
    machine.push(machine.memo[place])


def _tuple_of(count: int) -> Callable[[Machine, Any], None]:
    return lambda machine, _: machine.push(tuple([machine.pop() for _ in range(count)][::-1]))


def _unsigned(argument: memoryview) -> int:
    return int.from_bytes(argument, "little")


def _signed(argument: memoryview) -> int:
    return int.from_bytes(argument, "little", signed=True)


_OPERATIONS: Mapping[int, Callable[[Machine, Any], None]] = {
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
        pickle.NEWOBJ: lambda machine, _: _new(machine, "NEWOBJ"),
        pickle.NEWOBJ_EX: lambda machine, _: _new(machine, "NEWOBJ_EX"),
        pickle.BINPERSID: lambda machine, _: _resolve(machine),
    }.items()
}
