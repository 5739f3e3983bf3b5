"""Canonical names: how components are joined and escaped, and what a pattern matches."""

from __future__ import annotations

import functools
import re
from typing import Union

from .errors import ArgumentError

__all__ = ["Pattern", "escape", "join", "matcher", "unescape"]

Pattern = Union[str, "re.Pattern[str]"]


def escape(component: str) -> str:
    """A name's component with `.` written %2E and `%` written %25, so that joining stays reversible.

    >>> escape("conv.1 (50%)")
    'conv%2E1 (50%25)'
    """
    return component.replace("%", "%25").replace(".", "%2E") if "%" in component or "." in component else component


def unescape(component: str) -> str:
    """The inverse of `escape`.

    >>> unescape("conv%2E1 (50%25)")
    'conv.1 (50%)'
    """
    return component.replace("%2E", ".").replace("%25", "%") if "%" in component else component


def join(prefix: str, component: str) -> str:
    """A child's name; the root's own name is empty.

    >>> join("", "0"), join("0", "weight")
    ('0', '0.weight')
    """
    return f"{prefix}.{component}" if prefix else component


@functools.lru_cache(maxsize=256)
def matcher(pattern: Pattern) -> re.Pattern[str]:
    """The compiled form of a pattern, to be used with `fullmatch`.

    Args:
        pattern: a glob, in which `*` stands for any characters, dots included, and `?` for one; everything
            else is literal, case included. A compiled regular expression is returned as it is.

    Raises:
        ArgumentError: the pattern is neither.

    >>> bool(matcher("*.weight").fullmatch("0.block 1.weight"))
    True
    """
    if isinstance(pattern, re.Pattern):
        return pattern
    if not isinstance(pattern, str):
        raise ArgumentError(f"a pattern is a name, a glob or a compiled regex, not {type(pattern).__name__}")
    parts = ({"*": ".*", "?": "."}.get(character) or re.escape(character) for character in pattern)
    return re.compile("".join(parts), re.DOTALL)
