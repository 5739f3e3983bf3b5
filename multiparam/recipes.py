"""Each framework's own default initialization, for any framework.

A recipe gives a parameter the rule that the framework gives it when it makes the layer. Sources: PyTorch's
`reset_parameters` methods, Keras's layer arguments, Flax's `default_kernel_init` and `default_embed_init`, Paddle's
`XavierUniform` and its convolutions' `_get_default_param_initializer`, MXNet's `mx.init.Uniform(0.07)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from .errors import ArgumentError, close_names
from .init import (
    Constant,
    KaimingNormal,
    KaimingUniform,
    LecunNormal,
    Normal,
    Ones,
    Rule,
    Uniform,
    VarianceScaling,
    XavierUniform,
    Zeros,
)
from .init.rule import BuiltIn
from .kinds import KINDS, fans, purpose
from .layout import Array, Shape

if TYPE_CHECKING:
    from .parameter import Parameter

__all__ = ["RECIPES", "recipe"]

Recipe = Callable[["Parameter"], Rule | None]


def recipe(name: str, parameters: Iterable[Parameter]) -> Recipe:
    """What a framework's name means as an initialization.

    Args:
        name: `"pytorch"`, `"keras"`, `"flax"`, `"paddle"` or `"mxnet"`.
        parameters: those that it will be asked for.

    Raises:
        ArgumentError: there is no such recipe, or it has no rule for some of the parameters.
    """
    if name not in RECIPES:
        close = close_names(name, RECIPES)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ArgumentError(
            f"{name!r} is no rule: pass one of multiparam.init, a function, a dict of patterns and rules, "
            f"or one of {', '.join(RECIPES)}{hint}"
        )
    chosen = RECIPES[name]
    without = [f"{one.name} ({one.kind})" for one in parameters if chosen(one) is None]
    if without:
        raise ArgumentError(
            f"the recipe {name!r} has no rule for {', '.join(without)}; initialize these by patterns of their own, "
            f"and the rest through a selection"
        )
    return chosen


class _BoundOfLayer(BuiltIn):
    """Uniform with a bound that follows from the layer's weight, once its shape is known."""

    def __init__(self, bound: Callable[[Shape], float], role: str = "weight") -> None:
        self.bound = bound
        self.role = role

    def values(self, seed: int, name: str, shape: Shape, parameter: Parameter | None = None) -> Array:
        assert parameter is not None
        known = {slot.role: slot.shape() for slot in parameter.slot.node.slots}
        weight = tuple(int(extent or 0) for extent in known[self.role] or ())
        bound = self.bound(weight)
        return Uniform(-bound, bound).values(seed, name, shape)

    def __repr__(self) -> str:
        return f"Uniform(±bound of {self.role})"


def _by_fan(weight: Shape) -> float:
    return 1 / math.sqrt(fans(weight).fan_in)


def _by_hidden(weight: Shape) -> float:
    return 1 / math.sqrt(weight[1])


_RECURRENT = ("RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell")


def _pytorch(parameter: Parameter) -> Rule | None:
    kind, role = parameter.kind, parameter.role
    above = parameter.slot.node.parent
    if kind in _RECURRENT:
        return _BoundOfLayer(_by_hidden, "weight_hh" if kind.endswith("Cell") else "weight_hh_l0")
    if kind == "MultiheadAttention":
        return Zeros() if role == "in_proj_bias" else XavierUniform() if role.endswith("_weight") else None
    if kind == "Linear" and role == "bias" and above is not None and above.kind == "MultiheadAttention":
        return Zeros()
    return _of_known_layers(
        parameter,
        weight=KaimingUniform(a=math.sqrt(5)),
        bias=_BoundOfLayer(_by_fan),
        embedding=Normal(),
        slope=0.25,
    )


def _keras(parameter: Parameter) -> Rule | None:
    return _of_known_layers(parameter, weight=XavierUniform(), embedding=Uniform(-0.05, 0.05), slope=0.0)


def _flax(parameter: Parameter) -> Rule | None:
    # Flax counts the fans of a transposed convolution's kernel as (*spatial, in, out): PyTorch's first axis is in
    transposed = parameter.kind.startswith("ConvTranspose")
    weight = VarianceScaling(1.0, "fan_out") if transposed else LecunNormal()
    embedding = VarianceScaling(1.0, "fan_in", "untruncated_normal")
    return _of_known_layers(parameter, weight=weight, embedding=embedding, slope=0.01)


def _paddle(parameter: Parameter) -> Rule | None:
    convolution = parameter.kind.startswith("Conv") and not parameter.kind.startswith("ConvTranspose")
    weight = KaimingNormal() if convolution else XavierUniform()
    return _of_known_layers(parameter, weight=weight, embedding=XavierUniform(), slope=0.25)


def _mxnet(parameter: Parameter) -> Rule | None:
    return _of_known_layers(parameter, weight=Uniform(-0.07, 0.07), embedding=Uniform(-0.07, 0.07), slope=0.25)


RECIPES: Mapping[str, Recipe] = {
    "pytorch": _pytorch,
    "keras": _keras,
    "flax": _flax,
    "paddle": _paddle,
    "mxnet": _mxnet,
}


def _of_known_layers(
    parameter: Parameter, *, weight: Rule, embedding: Rule, slope: float, bias: Rule | None = None
) -> Rule | None:
    """The rule for a layer of the layer table; None for any other. A norm's bias is always 0."""
    known = KINDS.get(parameter.kind)
    if known is None or parameter.role not in known.roles:
        return None
    meant = purpose(parameter.kind, parameter.role)
    if meant == "weight":
        return embedding if parameter.kind == "Embedding" else weight
    if meant == "bias":
        return Zeros() if known.roles["weight"] == "scale" or bias is None else bias
    return Ones() if meant == "scale" else Constant(slope)
