"""Calls that do not fit a verb's arguments."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from ..errors import ArgumentError

__all__ = ["called_as"]

P = ParamSpec("P")
R = TypeVar("R")


def called_as(right: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Has arguments that do not fit be an error which says what fits, as Python's own does not."""

    def telling(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def called(*arguments: P.args, **options: P.kwargs) -> R:
            try:
                signature.bind(*arguments, **options)
            except TypeError as error:
                raise ArgumentError(f"{error}; it is called as {right}") from None
            return function(*arguments, **options)

        return called

    return telling
