"""Canonical names: how components are joined and escaped, and what a pattern matches."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Sequence
from typing import Union

from ..errors import ArgumentError, ParameterNotFoundError

__all__ = ["Pattern", "Patterns", "chosen", "escape", "join", "matcher", "unescape"]

Pattern = Union[str, "re.Pattern[str]"]
Patterns = Union[Pattern, "Sequence[Pattern]"]


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


def chosen(patterns: Patterns, names: Collection[str], what: str) -> set[str]:
    """The names that any of some patterns matches.

    Args:
        patterns: a name, a glob or a compiled regular expression, which must match a whole name; or a list of them.
        names: all names.
        what: what they are names of, for the error.

    Raises:
        ParameterNotFoundError: a pattern matches nothing.
        ArgumentError: it is no pattern.

    >>> sorted(chosen(["model.*", "step"], ["model.0.weight", "step", "optimizer.0"], "tensor"))
    ['model.0.weight', 'step']
    """
    found: set[str] = set()
    for one in patterns if isinstance(patterns, (list, tuple)) else [patterns]:
        wanted = matcher(one)
        exact = isinstance(one, str) and one in names
        matching = {str(one)} if exact else {name for name in names if wanted.fullmatch(name)}
        if not matching:
            raise ParameterNotFoundError(what, one if isinstance(one, str) else wanted.pattern, names)
        found |= matching
    return found
