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

from ..errors import ArgumentError

__all__ = [
    "BUFFERS",
    "GATES",
    "KINDS",
    "Fans",
    "Kind",
    "Purpose",
    "alike",
    "base_role",
    "fans",
    "image_ranks",
    "neutral",
    "purpose",
    "takes_features_last",
    "turned_somewhere",
]

Purpose = Literal["weight", "bias", "scale", "slope"]

_AFFINE: Mapping[str, Purpose] = {"weight": "scale", "bias": "bias"}
_LINEAR: Mapping[str, Purpose] = {"weight": "weight", "bias": "bias"}


@dataclass(frozen=True)
class Kind:
    """A kind of layer.

    Attributes:
        name: PyTorch's class name.
        roles: purpose of each parameter, by its role.
        apart: why a layer of this kind has no like in other frameworks; empty if it has.
    """

    name: str
    roles: Mapping[str, Purpose] = field(default_factory=dict)
    apart: str = ""


_RANKS = ("1d", "2d", "3d")
_RECURRENT: Mapping[str, Purpose] = {
    "weight_ih": "weight",
    "weight_hh": "weight",
    "weight_hr": "weight",
    "bias_ih": "bias",
    "bias_hh": "bias",
}
_RESET_BEFORE = "its reset gate is applied before the hidden product, in PyTorch's GRU and all others behind it"
_PER_GROUP = "it scales and shifts each group, where PyTorch's and all others behind it do each channel"
_ATTENTION: Mapping[str, Purpose] = {
    **dict.fromkeys(("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"), "weight"),
    "in_proj_bias": "bias",
    "bias_k": "weight",
    "bias_v": "weight",
}
_ACTIVATIONS = (
    *("ReLU", "ReLU6", "LeakyReLU", "ELU", "SELU", "CELU", "GELU", "SiLU", "Mish", "Softplus", "Softsign"),
    *("Tanh", "Hardtanh", "Sigmoid", "Hardsigmoid", "Hardswish", "LogSigmoid", "Softmax", "LogSoftmax"),
    *("Tanhshrink", "Hardshrink", "Softshrink", "Threshold", "RReLU", "GLU", "Softmin", "Softmax2d"),
)
_PADS = ("ZeroPad", "ConstantPad", "ReflectionPad", "ReplicationPad", "CircularPad")
_PLAIN = (
    *("Sequential", "Lambda", "Identity", "Flatten", "Unflatten", "Reshape", "Dropout"),
    *_ACTIVATIONS,
    *(
        f"{name}{rank}"
        for name in ("MaxPool", "AvgPool", "AdaptiveAvgPool", "AdaptiveMaxPool", "Dropout", *_PADS)
        for rank in _RANKS
    ),
    *("SeparableConv1d", "SeparableConv2d"),  # of two convolutions
    *("Upsample", "PixelShuffle", "PixelUnshuffle", "ChannelShuffle", "LocalResponseNorm"),
)

KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        *(Kind(name, _LINEAR) for name in ("Linear", "Bilinear")),
        *(Kind(f"{name}{rank}", _LINEAR) for name in ("Conv", "ConvTranspose") for rank in _RANKS),
        Kind("Embedding", {"weight": "weight"}),
        *(Kind(name, _AFFINE) for name in ("LayerNorm", "GroupNorm", "RMSNorm")),
        Kind("GroupNorm(per group)", _AFFINE, apart=_PER_GROUP),
        # a framework whose class does not tell the rank has the name without it
        *(Kind(f"{name}{rank}", _AFFINE) for name in ("BatchNorm", "InstanceNorm") for rank in ("", *_RANKS)),
        Kind("PReLU", {"weight": "slope"}),
        *(Kind(f"{name}{cell}", _RECURRENT) for name in ("RNN", "LSTM", "GRU") for cell in ("", "Cell")),
        *(Kind(f"GRU{cell}(reset_after=False)", apart=_RESET_BEFORE) for cell in ("", "Cell")),
        Kind("MultiheadAttention", _ATTENTION),
        *(Kind(name) for name in _PLAIN),
    )
}

BUFFERS = frozenset(("running_mean", "running_var", "num_batches_tracked"))  # as PyTorch calls what nothing trains

GATES: Mapping[str, int] = {"RNN": 1, "LSTM": 4, "GRU": 3}


_IMAGES = re.compile(
    r"(?:(?:Separable)?Conv|ConvTranspose|BatchNorm|InstanceNorm|(?:Adaptive)?(?:Max|Avg)Pool|"
    r"(?:Zero|Constant|Reflection|Replication|Circular)Pad)([123])d"
)


def image_ranks(kind: str) -> frozenset[int]:
    """How many axes an input has whose second one is channels to a layer of the kind; empty if none is.

    >>> image_ranks("Conv2d"), image_ranks("Linear")
    (frozenset({4}), frozenset())
    """
    if kind in ("GroupNorm", "GroupNorm(per group)", "InstanceNorm"):
        return frozenset((3, 4, 5))
    if kind == "BatchNorm":  # of unknown rank; what has three axes may be a sequence as well
        return frozenset((4, 5))
    ranked = _IMAGES.fullmatch(kind)
    return frozenset((int(ranked[1]) + 2,)) if ranked else frozenset()


_FEATURES_LAST = frozenset(
    (
        *("Linear", "Bilinear", "Embedding", "LayerNorm", "RMSNorm", "MultiheadAttention"),
        *GATES,
    )
)


def takes_features_last(kind: str) -> bool:
    """Whether a layer of the kind works on the last axis of a sequence, (batch, time, features).

    >>> takes_features_last("LSTM"), takes_features_last("Conv1d"), takes_features_last("ReLU")
    (True, False, False)
    """
    return kind in _FEATURES_LAST


def alike(kind: str, other: str) -> bool:
    """Whether two kinds are one function, as far as their names tell.

    >>> alike("BatchNorm", "BatchNorm2d"), alike("ReLU", "GELU"), alike("MyBlock", "ReLU")
    (True, False, True)
    """
    if kind not in KINDS or other not in KINDS:
        return True
    families = [re.sub(r"[123]d$", "", name) for name in (kind, other)]
    # a group norm with as many groups as channels is an instance norm
    return families[0] == families[1] or set(families) <= {"GroupNorm", "InstanceNorm"}


def base_role(role: str) -> str:
    """The role without the number and the direction of a recurrent layer.

    >>> base_role("weight_ih_l1_reverse"), base_role("weight")
    ('weight_ih', 'weight')
    """
    return re.sub(r"_l\d+(_reverse)?$", "", role)


def purpose(kind: str, role: str, shape: Sequence[int | None] | None = None) -> Purpose | None:
    """What a parameter is for: the kind's row says it. In a layer of no known kind a matrix is a weight.

    What else such a layer has is a bias if it is called so, and unknown otherwise: None.

    Args:
        kind: the layer's kind.
        role: what the tensor is in it.
        shape: its canonical shape; None if it is not known.

    >>> purpose("LayerNorm", "weight"), purpose("MyLayer", "in_bias", (3,)), purpose("MyLayer", "b", (4, 3))
    ('scale', 'bias', 'weight')
    >>> purpose("MyNorm", "weight", (3,)) is None
    True
    """
    known = KINDS.get(kind)
    base = base_role(role)
    if known is not None and base in known.roles:
        return known.roles[base]
    vector = shape is None or sum(extent != 1 for extent in shape) <= 1
    if vector and (base == "bias" or base.endswith("_bias") or base.startswith("bias_")):
        return "bias"
    return "weight" if shape is not None and len(shape) > 1 else None


def turned_somewhere(kind: str, role: str) -> bool:
    """Whether a framework has the axes of such a tensor in another order; of a kind that is not known one may.

    >>> turned_somewhere("Linear", "weight"), turned_somewhere("Embedding", "weight"), turned_somewhere("Mine", "w")
    (True, False, True)
    """
    return kind not in KINDS or (kind != "Embedding" and purpose(kind, role) == "weight")


def neutral(kind: str, role: str) -> int | None:
    """The number that changes nothing where a layer's tensor is full of it; None if there is none, or it is not known.

    >>> neutral("BatchNorm", "weight"), neutral("Linear", "bias"), neutral("Linear", "weight")
    (1, 0, None)
    """
    known = kind in KINDS and base_role(role) in KINDS[kind].roles
    return {"scale": 1, "bias": 0}.get(purpose(kind, role) or "") if known else None


@dataclass(frozen=True)
class Fans:
    """How many inputs feed one output of a weight, and how many outputs one input feeds."""

    fan_in: int
    fan_out: int


def fans(shape: Sequence[int], kind: str = "", role: str = "weight", groups: int = 1) -> Fans:
    """Fan-in and fan-out of a canonical tensor.

    Without a kind they are those of an (out, in, *spatial) shape, as PyTorch, Keras and JAX count them. With it they
    are what is connected: a grouped convolution's output sees its own group, a transposed convolution's first axis is
    in, and tensors that are several (gates, the projections of an attention) count as each of them alone.

    Args:
        shape: the canonical shape.
        kind: the layer's kind.
        role: what the tensor is in it.
        groups: of a convolution.

    Raises:
        ArgumentError: the shape has fewer than two axes.

    >>> fans((8, 4))
    Fans(fan_in=4, fan_out=8)
    >>> fans((16, 3, 5, 5))
    Fans(fan_in=75, fan_out=400)
    >>> fans((16, 3, 5, 5), "Conv2d", groups=4), fans((32, 4), "LSTM", "weight_ih_l0")
    (Fans(fan_in=75, fan_out=100), Fans(fan_in=4, fan_out=8))
    """
    if len(shape) < 2:
        raise ArgumentError(f"fan-in and fan-out need at least two axes, and the shape is {tuple(shape)}")
    receptive = math.prod(shape[2:])
    if kind not in KINDS:
        return Fans(shape[1] * receptive, shape[0] * receptive)
    if kind.startswith("ConvTranspose"):
        return Fans(shape[0] // groups * receptive, shape[1] * receptive)
    if kind == "Bilinear":
        return Fans(shape[1] * receptive, shape[0])
    blocks = GATES.get(kind.removesuffix("Cell"), 1) if base_role(role) != "weight_hr" else 1
    if kind == "MultiheadAttention" and role == "in_proj_weight":
        blocks = 3
    if kind.startswith("Conv"):
        blocks = groups
    return Fans(shape[1] * receptive, shape[0] // blocks * receptive)
