"""How the layers of a file, or of a model, are set, beside those of another."""

from __future__ import annotations

from typing import Any

from ..formats.contents import Contents
from ..layer_table.settings import differing

__all__ = ["differing_settings"]


def differing_settings(first: Contents, second: Contents) -> list[tuple[str, str, Any, Any]]:
    """The settings of the layers that both have, and tell in different ways: layer, setting, value and the other's."""
    found: list[tuple[str, str, Any, Any]] = []
    for layer, one in first.layers.items():
        two = second.layers.get(layer, {})
        # a file that tells kinds only leaves no setting at its default
        told = one if second.settled else {name: one[name] for name in two if name in one}
        others = two if first.settled else {name: two[name] for name in one if name in two}
        if told and others:
            found += [(layer, *row) for row in differing(told, others, (first.edition, second.edition))]
    return found
