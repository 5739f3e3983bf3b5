"""The attributes of an NNX module, in the order in which its class defines them.

NNX itself sorts a module's attributes by name whenever a transform has passed over it, so that the order in which they
lie there depends on what was done with the module before. The class's source does not.
"""

from __future__ import annotations

import ast
import functools
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

_PRIVATE = ("_pytree__", "_object__", "_multiparam_")


def attributes(module: Any, without: str = "", beside: Mapping[str, Any] | None = None) -> list[tuple[str, Any]]:
    """The (name, value) pairs: those that `__init__` sets by name in its order, then the others by name.

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
    """The positions of the attributes that the classes' bodies and `__init__` define."""
    names: dict[str, int] = {}
    for base in reversed(cls.__mro__):
        if "__init__" in vars(base) or vars(base).get("__annotations__"):
            for name in _of_class(base):
                names.setdefault(name, len(names))
    return names


def _of_class(cls: type) -> Iterator[str]:
    yield from vars(cls).get("__annotations__", {})
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(vars(cls)["__init__"])))
    except (KeyError, OSError, TypeError, SyntaxError):
        return  # made by a decorator, or typed in where no source is kept: by name
    targets = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)]
    for node in sorted(targets, key=lambda node: (node.lineno, node.col_offset)):
        if isinstance(node.value, ast.Name):
            yield node.attr


def _natural(name: str) -> list[Any]:
    """Sorts "block 10" behind "block 9"."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
