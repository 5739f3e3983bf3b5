"""Layers and variables in attributes, lists and dicts, for frameworks whose models are plain Python objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, MutableSequence
from types import BuiltinFunctionType, FunctionType
from typing import Any

from ..errors import AmbiguousMatchError, ArgumentError
from ..names.pattern import escape, unescape

__all__ = ["check_replaceable", "collect", "entries", "is_container", "replace", "resolve"]


_SCALARS = frozenset((type(None), bool, int, float, str, bytes, type, FunctionType, BuiltinFunctionType))


def is_container(value: Any) -> bool:
    """Whether layers and variables are looked for in it: lists, tuples, dicts, and a framework's own kinds of them."""
    return isinstance(value, (list, tuple, Mapping, MutableSequence)) and not isinstance(value, bytearray)


def entries(container: Any) -> Iterator[tuple[str, Any]]:
    """The (key, value) pairs of a list, tuple or dict; nothing of anything else."""
    if isinstance(container, Mapping):
        yield from ((str(key), value) for key, value in container.items())
    elif is_container(container):
        yield from ((str(index), value) for index, value in enumerate(container))


def collect(
    attributes: Iterable[tuple[str, Any]],
    is_layer: Callable[[Any], bool],
    is_variable: Callable[[Any], bool],
) -> tuple[dict[str, Any], list[tuple[str, Any]]]:
    """Sorts a layer's attributes into variables and children.

    Args:
        attributes: (name, value) pairs in the order of definition.
        is_layer: tells a layer.
        is_variable: tells a variable.

    Returns:
        The variables by path (those in lists and dicts belong to the layer itself), and the children, which are
        layers, and containers with layers somewhere in them.

    >>> attributes = [("a", 1j), ("b", [2j, {1}]), ("c", {2})]
    >>> collect(attributes, lambda value: isinstance(value, set), lambda value: isinstance(value, complex))
    ({'a': 1j, 'b.0': 2j}, [('b', [2j, {1}]), ('c', {2})])
    """
    variables: dict[str, Any] = {}
    children: list[tuple[str, Any]] = []
    for key, value in attributes:
        if type(value) in _SCALARS:
            continue  # most attributes are; asking for abstract base classes is slow
        if is_variable(value):
            if escape(key) in variables:
                raise AmbiguousMatchError(f"two variables in one place are called {key!r}", [repr(key), repr(key)])
            variables[escape(key)] = value
        elif is_layer(value):
            children.append((key, value))
        elif is_container(value) and len(value):
            below, layers = collect(entries(value), is_layer, is_variable)
            variables.update({f"{escape(key)}.{path}": variable for path, variable in below.items()})
            if layers:
                children.append((key, value))
    return variables, children


def resolve(owner: Any, path: str) -> Any:
    """What lies at a path that `collect` gave, or None.

    >>> resolve({"b": [2, 3]}, "b.1")
    3
    """
    for component in path.split("."):
        key = unescape(component)
        if isinstance(owner, Mapping):
            by_name = {str(name): value for name, value in owner.items()}
            owner = by_name.get(key)
        elif is_container(owner):
            owner = owner[int(key)] if key.isdigit() and int(key) < len(owner) else None
        else:
            owner = getattr(owner, key, None)
    return owner


def check_replaceable(owner: Any, path: str, attribute: bool = False) -> None:
    """Raises ArgumentError if what lies at a path could not be replaced.

    Args:
        owner: the layer.
        path: as `collect` gave it.
        attribute: it must be an attribute of the layer itself.
    """
    head, _, last = path.rpartition(".")
    holder = resolve(owner, head) if head else owner
    if isinstance(holder, tuple):
        raise ArgumentError(f"{path!r} lies in a tuple, which cannot be changed: use a list")
    if attribute and head:
        raise ArgumentError(
            f"{last!r} lies in a list or dict, {head!r}; only an attribute can become another layer's transpose"
        )


def replace(owner: Any, path: str, value: Any) -> None:
    """Puts something else at a path that `collect` gave.

    Raises:
        ArgumentError: it lies in a tuple, which cannot change.
    """
    check_replaceable(owner, path)
    head, _, last = path.rpartition(".")
    holder = resolve(owner, head) if head else owner
    key = unescape(last)
    if isinstance(holder, MutableSequence):
        holder[int(key)] = value
    elif isinstance(holder, MutableMapping):
        holder[next(name for name in holder if str(name) == key)] = value
    else:
        setattr(holder, key, value)
