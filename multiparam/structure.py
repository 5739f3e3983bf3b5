"""Inputs that are several arrays: dicts and lists of them, and None for one that is left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["each_array"]


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
