"""Which way round an image lies in a Sequential whose layers have the channels last.

PyTorch's Flatten and Reshape see channels first. In a framework with channels last these two have to know whether what
comes in, or goes out, is an image; a Sequential of `multiparam.nn` knows, since it has the layers before and behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..adapter.base import Adapter
from ..layer_table.kinds import image_ranks

__all__ = ["orient"]

_TAKES_NO_IMAGES = frozenset(("Linear", "Flatten", "Reshape"))


def orient(layers: Sequence[Any], adapter: Adapter) -> None:
    """Tells each Flatten and Reshape among the layers of a Sequential, by its method `orient`, what comes and goes."""
    _orient(layers, adapter, images=False, behind=None)


def _orient(layers: Sequence[Any], adapter: Adapter, images: bool, behind: bool | None) -> bool:
    """As `orient`, where channels-last images come in, or are taken behind, or not; returns whether they go out."""
    for position, layer in enumerate(layers):
        kind = adapter.kind(layer)
        following = (_takes(one, adapter) for one in layers[position + 1 :])
        taken = next((takes for takes in following if takes is not None), behind)
        if kind == "Sequential":
            images = _orient(_inside(layer, adapter), adapter, images, taken)
        elif kind in ("Flatten", "Reshape"):
            to_images = kind == "Reshape" and bool(taken)
            if hasattr(layer, "orient"):  # the framework's own knows no way round
                layer.orient(images, to_images)
            images = to_images
        else:
            images = images or (bool(image_ranks(kind)) and adapter.channels_last(layer))
    return images


def _takes(layer: Any, adapter: Adapter) -> bool | None:
    """Whether a layer takes images; None if it takes anything."""
    kind = adapter.kind(layer)
    if kind == "Sequential":
        found = (_takes(one, adapter) for one in _inside(layer, adapter))
        return next((takes for takes in found if takes is not None), None)
    if image_ranks(kind):
        return True
    return False if kind in _TAKES_NO_IMAGES else None


def _inside(layer: Any, adapter: Adapter) -> list[Any]:
    return [child for _, child in adapter.members(layer).children]
