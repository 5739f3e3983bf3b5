"""The attributes of an NNX module, in the order in which its class defines them.

NNX itself sorts a module's attributes by name whenever a transform has passed over it, so that the order in which they
lie there depends on what was done with the module before. The class's code does not.
"""

from __future__ import annotations

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
    names: dict[str, int] = {}
    for base in reversed(cls.__mro__):
        for name in _of_class(base):
            names.setdefault(name, len(names))
    return names


def _of_class(cls: type) -> Iterator[str]:
    yield from vars(cls).get("__annotations__", {})
    methods = [one for one in vars(cls).values() if isinstance(one, FunctionType)]
    for method in sorted(methods, key=lambda one: one.__name__ != "__init__"):  # and what it calls
        yield from _stores(inspect.unwrap(method).__code__)


def _stores(code: CodeType) -> Iterator[str]:
    """The attributes that a method gives its object, in order."""
    before = ""
    for step in dis.get_instructions(code):
        if step.opname == "EXTENDED_ARG":
            continue
        # of a variable, which is the object itself: `self.a`, and not `self.a.b`
        if step.opname == "STORE_ATTR" and before.startswith(("LOAD_FAST", "LOAD_DEREF", "STORE_FAST_LOAD_FAST")):
            yield step.argval
        before = step.opname


def _natural(name: str) -> list[Any]:
    """Sorts "block 10" behind "block 9"."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
