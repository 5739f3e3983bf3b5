"""The attributes of an NNX module, in the order in which its class defines them.

NNX itself sorts a module's attributes by name whenever a transform has passed over it, so that the order in which they
lie there depends on what was done with the module before. The class's code does not.
"""

from __future__ import annotations

import contextlib
import dis
import functools
import inspect
import re
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType
from typing import Any

_PRIVATE = ("_pytree__", "_object__", "_multiparam_")


def attributes(module: Any, without: str = "", beside: Mapping[str, Any] | None = None) -> list[tuple[str, Any]]:
    """The (name, value) pairs: those that `__init__` and then other methods set, in that order, the others by name.

    Args:
        module: an NNX module.
        without: a name to leave out.
        beside: further ones, that do not lie in the module itself.
    """
    order = _definitions(type(module))
    found = [(name, value) for name, value in vars(module).items() if name != without and not name.startswith(_PRIVATE)]
    found += (beside or {}).items()
    known = [pair for pair in found if pair[0] in order]
    others = [pair for pair in found if pair[0] not in order]
    return sorted(known, key=lambda pair: order[pair[0]]) + sorted(others, key=lambda pair: _natural(pair[0]))


@functools.cache
def _definitions(cls: type) -> dict[str, int]:
    """The positions of the attributes that the classes' bodies and methods define."""
    bases = cls.__mro__[::-1]
    found = [name for base in bases for name in _of_class(base)]
    found += [name for base in bases for method in vars(base).values() for name in _stores(method)]
    return {name: position for position, name in reversed([*enumerate(found)])}


def _of_class(cls: type) -> Iterator[str]:
    """What a class declares, and what its `__init__` sets."""
    yield from vars(cls).get("__annotations__", {})
    yield from _stores(vars(cls).get("__init__"))


def _stores(method: Any) -> Iterator[str]:
    """The attributes that a method gives its object, in order."""
    with contextlib.suppress(ValueError):  # a cycle of wrappers
        code = getattr(inspect.unwrap(method), "__code__", None) if isinstance(method, FunctionType) else None
        if code is not None and code.co_argcount:
            yield from _stored(code, code.co_varnames[0])


def _stored(code: CodeType, owner: str) -> Iterator[str]:
    """The attributes that code gives to a variable, in order, functions within it where they are made."""
    before: Any = None
    for step in dis.get_instructions(code):
        if step.opname == "EXTENDED_ARG":
            continue
        if step.opname == "LOAD_CONST" and isinstance(step.argval, CodeType) and owner in step.argval.co_freevars:
            yield from _stored(step.argval, owner)
        if step.opname == "STORE_ATTR" and before is not None:
            loaded = before.argval[-1] if isinstance(before.argval, tuple) else before.argval
            if loaded == owner and before.opname.startswith(("LOAD", "STORE_FAST_LOAD_FAST")):
                yield step.argval
        before = step


def _natural(name: str) -> list[Any]:
    """Sorts "block 10" behind "block 9"."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
