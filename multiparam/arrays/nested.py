"""What models take and give: tensors, alone or in tuples, lists, dicts, dataclasses and the like, however deep."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

__all__ = ["each_array", "leaves", "mapped"]


def leaves(thing: Any, is_leaf: Callable[[Any], bool], path: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a structure, each with the way to it, in the order of the structure.

    >>> list(leaves((1, {"a": 2}), lambda one: isinstance(one, int)))
    [('[0]', 1), ("[1]['a']", 2)]
    """
    if is_leaf(thing):
        yield path, thing
        return
    for step, one in _parts(thing):
        yield from leaves(one, is_leaf, path + step)


def mapped(thing: Any, is_leaf: Callable[[Any], bool], function: Callable[[Any], Any]) -> Any:
    """The same structure of what a function makes of each leaf; what is none stays.

    >>> mapped((1, {"a": 2}), lambda one: isinstance(one, int), str)
    ('1', {'a': '2'})
    """
    if is_leaf(thing):
        return function(thing)
    made = [mapped(one, is_leaf, function) for _, one in _parts(thing)]
    if isinstance(thing, Mapping):
        return dict(zip(thing, made, strict=True))
    if isinstance(thing, (list, tuple)):
        return _sequence(type(thing), made)
    names = _fields(thing)
    if not names:
        return thing
    # no constructor, which may check what it is given or take other arguments
    twin = copy.copy(thing)
    for name, one in zip(names, made, strict=True):
        object.__setattr__(twin, name, one)
    return twin


def _parts(thing: Any) -> list[tuple[str, Any]]:
    """What a structure directly holds, each with the step to it."""
    if isinstance(thing, Mapping):
        return [(f"[{key!r}]", thing[key]) for key in thing]
    if isinstance(thing, (list, tuple)):
        return [(f"[{position}]", one) for position, one in enumerate(thing)]
    return [(f".{name}", getattr(thing, name)) for name in _fields(thing)]


def _fields(thing: Any) -> list[str]:
    """The names of what a dataclass or its like holds."""
    if isinstance(thing, type):
        return []
    if dataclasses.is_dataclass(thing):
        names = [field.name for field in dataclasses.fields(thing)]
    elif isinstance(thing, SimpleNamespace):
        names = list(vars(thing))
    else:
        names = [field.name for field in getattr(type(thing), "__attrs_attrs__", ())]
    return [name for name in names if hasattr(thing, name)]


def _sequence(kind: type, made: list[Any]) -> Any:
    """A list or tuple of the same class, where that can be made of its elements alone."""
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return tuple.__new__(kind, made)
    try:
        return kind(made)
    except TypeError:
        return (list if issubclass(kind, list) else tuple)(made)


def each_array(convert: Callable[[Any], Any], given: Any) -> Any:
    """What is given with each array in it converted; None stays, as do the dicts and lists that hold arrays.

    A list that holds neither None nor a dict is one array itself, written as a list.

    >>> each_array(abs, {"x": -1, "mask": None, "more": [None, -2]})
    {'x': 1, 'mask': None, 'more': [None, 2]}
    """
    if given is None:
        return None
    if isinstance(given, Mapping):
        return {key: each_array(convert, one) for key, one in given.items()}
    if isinstance(given, (tuple, list)) and any(one is None or isinstance(one, Mapping) for one in given):
        return type(given)(each_array(convert, one) for one in given)
    return convert(given)
