"""What a Gluon block holds beside its attributes."""

from __future__ import annotations

from operator import is_
from typing import Any

from mxnet import gluon

__all__ = ["auxiliary", "is_registered", "unregistered"]


def is_registered(native: Any) -> bool:
    """Whether the block's attributes hold all of its parameters, in their order."""
    own, attributes = native._params._params, native._reg_params
    return len(own) == len(attributes) and all(map(is_, own.values(), attributes.values()))


def unregistered(native: Any) -> dict[str, Any]:
    """Parameters that are in a block's `params` and none of its attributes, in a list of its own say.

    Gluon's `collect_params()` and so its trainers have them; they are named without the block's prefix.
    """
    known = {id(getattr(one, "owner", one)) for one in native._reg_params.values()}
    found = {name: one for name, one in native._params._params.items() if id(one) not in known}
    return {name.removeprefix(native._params.prefix): one for name, one in found.items()}


def auxiliary(native: Any) -> set[str]:
    """Parameters that an imported graph moves and no trainer does: running statistics."""
    if not isinstance(native, gluon.SymbolBlock):
        return set()
    states = set(native._cached_graph[1].list_auxiliary_states())
    return {key for key, one in native._reg_params.items() if one.name in states}
