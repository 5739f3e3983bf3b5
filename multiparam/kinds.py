"""The kinds of layers and the roles of their tensors, in canonical (PyTorch's) terms.

A role's purpose decides what a rule given for "the weights" does with it: weights get the rule, biases
become 0, norm scales 1, and the negative slopes of PReLU 1/4.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from .errors import ArgumentError

__all__ = ["KINDS", "Fans", "Kind", "Purpose", "fans", "image_ranks", "purpose"]

Purpose = Literal["weight", "bias", "scale", "slope"]

_AFFINE: Mapping[str, Purpose] = {"weight": "scale", "bias": "bias"}
_LINEAR: Mapping[str, Purpose] = {"weight": "weight", "bias": "bias"}


@dataclass(frozen=True)
class Kind:
    """A kind of layer.

    Attributes:
        name: PyTorch's class name.
        roles: purpose of each parameter, by its role.
    """

    name: str
    roles: Mapping[str, Purpose] = field(default_factory=dict)


_RANKS = ("1d", "2d", "3d")
_PLAIN = (
    *(
        "Sequential",
        "Lambda",
        "ReLU",
        "LeakyReLU",
        "GELU",
        "Tanh",
        "Sigmoid",
        "Softmax",
        "Flatten",
        "Dropout",
        "Identity",
    ),
    *("MaxPool1d", "MaxPool2d", "MaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d"),
)

KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("Linear", _LINEAR),
        *(Kind(f"{name}{rank}", _LINEAR) for name in ("Conv", "ConvTranspose") for rank in _RANKS),
        Kind("Embedding", {"weight": "weight"}),
        *(Kind(name, _AFFINE) for name in ("LayerNorm", "GroupNorm", "RMSNorm")),
        # a framework whose class does not tell the rank has the name without it
        *(Kind(f"{name}{rank}", _AFFINE) for name in ("BatchNorm", "InstanceNorm") for rank in ("", *_RANKS)),
        Kind("PReLU", {"weight": "slope"}),
        *(Kind(name) for name in _PLAIN),
    )
}


_IMAGES = re.compile(r"(?:Conv|ConvTranspose|BatchNorm|InstanceNorm|MaxPool|AvgPool)([123])d")


def image_ranks(kind: str) -> frozenset[int]:
    """How many axes an input has whose second one is channels to a layer of the kind; empty if none is.

    >>> image_ranks("Conv2d"), image_ranks("Linear")
    (frozenset({4}), frozenset())
    """
    if kind in ("GroupNorm", "InstanceNorm"):
        return frozenset((3, 4, 5))
    ranked = _IMAGES.fullmatch(kind)
    return frozenset((int(ranked[1]) + 2,)) if ranked else frozenset()


def purpose(kind: str, role: str) -> Purpose:
    """What a parameter is for: the kind's row says it; in a layer of no known kind, its own name does.

    >>> purpose("LayerNorm", "weight"), purpose("MyLayer", "in_bias"), purpose("MyLayer", "scale_matrix")
    ('scale', 'bias', 'weight')
    """
    known = KINDS.get(kind)
    if known is not None and role in known.roles:
        return known.roles[role]
    return "bias" if "bias" in role.split("_") else "weight"


@dataclass(frozen=True)
class Fans:
    """How many inputs feed one output of a weight, and how many outputs one input feeds."""

    fan_in: int
    fan_out: int


def fans(shape: Sequence[int]) -> Fans:
    """Fan-in and fan-out of a canonical (out, in, *spatial) shape.

    Raises:
        ArgumentError: the shape has fewer than two axes.

    >>> fans((8, 4))
    Fans(fan_in=4, fan_out=8)
    >>> fans((16, 3, 5, 5))
    Fans(fan_in=75, fan_out=400)
    """
    if len(shape) < 2:
        raise ArgumentError(f"fan-in and fan-out need at least two axes, and the shape is {tuple(shape)}")
    receptive = math.prod(shape[2:])
    return Fans(shape[1] * receptive, shape[0] * receptive)
