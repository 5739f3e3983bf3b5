"""Each framework's own default initialization, for any framework.

A recipe gives a parameter the rule that the framework gives it when it makes the layer. Sources: PyTorch's
`reset_parameters` methods, Keras's layer arguments, Flax's `default_kernel_init` and `default_embed_init`, Paddle's
`XavierUniform` and its convolutions' `_get_default_param_initializer`, MXNet's `mx.init.Uniform(0.07)`. Where a
framework counts fans in a way of its own, its recipe does too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..arrays.random import Sampler
from ..arrays.types import Array, Shape
from ..errors import ArgumentError, close_names
from ..layer_table.kinds import GATES, KINDS, Fans, base_role, fans, purpose
from ..model.computed import computed_slots
from . import (
    Constant,
    KaimingNormal,
    KaimingUniform,
    LecunNormal,
    Normal,
    Ones,
    Orthogonal,
    Rule,
    Uniform,
    VarianceScaling,
    XavierNormal,
    XavierUniform,
    Zeros,
)
from .distributions import Scaled, ScaledUniform
from .rule import BuiltIn, Drawn

if TYPE_CHECKING:
    from ..model.parameter import Parameter
    from ..model.slot import Slot

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


Count = Callable[[Shape, "Parameter"], Fans]


class _BoundOfLayer(Drawn):
    """Uniform with a bound that follows from the layer's weight, once its shape is known."""

    def __init__(self, bound: Callable[[Shape], float], role: str = "weight") -> None:
        self.bound = bound
        self.role = role

    def sampler(self, shape: Shape, parameter: Parameter | None = None) -> Sampler:
        assert parameter is not None
        node = parameter.slot.node
        found = next(slot for slot in (*node.slots, *computed_slots(node)) if slot.role == self.role)
        bound = self.bound(_in_one_layer(found))
        return Uniform(-bound, bound).sampler(shape)

    def part(self, values: Array) -> Array:
        return values  # of complex numbers each part has the bound

    def __repr__(self) -> str:
        return f"Uniform(±bound of {self.role})"


class _Counted(Drawn):
    """A rule with the fans that a framework counts."""

    def __init__(self, rule: Scaled, count: Count) -> None:
        self.rule = rule
        self.count = count

    def check(self, shape: Shape) -> None:
        self.rule.check(shape)

    def sampler(self, shape: Shape, parameter: Parameter | None = None) -> Sampler:
        assert parameter is not None
        return self.rule.drawn(self.count(_in_one_layer(parameter.slot), parameter))

    def part(self, values: Array) -> Array:
        return self.rule.part(values)

    def __repr__(self) -> str:
        return repr(self.rule)


class _CountedByPyTorch(_Counted):
    """The same for PyTorch, whose uniform complex numbers have the bound in each part."""

    def part(self, values: Array) -> Array:
        return values if isinstance(self.rule, ScaledUniform) else super().part(values)


class _Blocks(BuiltIn):
    """A rule for each of the equal blocks along the first axis: the gates of a recurrent layer."""

    def __init__(self, *rules: Rule) -> None:
        self.rules = rules

    def values(self, seed: int, name: str, shape: Shape, parameter: Parameter | None = None) -> Array:
        block = (shape[0] // len(self.rules), *shape[1:])
        each = [rule.values(seed, f"{name}[{position}]", block) for position, rule in enumerate(self.rules)]
        return np.concatenate(each)

    def __repr__(self) -> str:
        return f"each block: {', '.join(map(repr, self.rules))}"


def _in_one_layer(slot: Slot) -> Shape:
    """A tensor's shape, of a stack in one layer."""
    return tuple(int(extent or 0) for extent in slot.layer_shape() or ())


def _as_shaped(shape: Shape, parameter: Parameter) -> Fans:
    """PyTorch's way: the second axis is in, the first is out, whatever they are."""
    return fans(shape)


def _ungrouped(shape: Shape, parameter: Parameter) -> Fans:
    """Paddle's way: all channels are in, those of other groups too."""
    found, groups = fans(shape), parameter.slot.node.settings().get("groups", 1)
    return Fans(found.fan_in * groups if isinstance(groups, int) else found.fan_in, found.fan_out)


def _of_kernel(shape: Shape, parameter: Parameter) -> Fans:
    """Keras's way, by its kernel's last two axes: in and out, and everything before as a receptive field."""
    kind, groups = parameter.kind, parameter.slot.node.settings().get("groups", 1)
    if kind.startswith("Conv") and shape[1] == 1 and isinstance(groups, int) and groups > 1:
        extent = math.prod(shape[2:])  # a depthwise kernel, (*spatial, in, multiplier)
        return Fans(groups * extent, shape[0] // groups * extent)
    # the einsum layers of its attention say which axes are in and which are out
    return parameter.found_fans() if kind == "MultiheadAttention" else fans(shape)


def _by_fan(weight: Shape) -> float:
    return 1 / math.sqrt(fans(weight).fan_in)


def _by_gate(gates: int) -> Callable[[Shape], float]:
    return lambda weight_hh: 1 / math.sqrt(weight_hh[0] // gates)


def _by_second_axis(weight: Shape) -> float:
    return 1 / math.sqrt(weight[1])


_KINDS_OF_RECURRENT = frozenset(f"{name}{cell}" for name in GATES for cell in ("", "Cell"))


def _is_recurrent(parameter: Parameter) -> bool:
    return parameter.kind in _KINDS_OF_RECURRENT and base_role(parameter.role) in KINDS[parameter.kind].roles


def _by_hidden(parameter: Parameter) -> Rule:
    bound = _by_gate(GATES[parameter.kind.removesuffix("Cell")])
    return _BoundOfLayer(bound, "weight_hh" if parameter.kind.endswith("Cell") else "weight_hh_l0")


def _pytorch(parameter: Parameter) -> Rule | None:
    kind, role = parameter.kind, parameter.role
    if _is_recurrent(parameter):
        return _by_hidden(parameter)
    if kind == "MultiheadAttention" and purpose(kind, role) == "weight":
        # bias_k and bias_v, which no other framework has, are Xavier normal
        rule = XavierUniform() if role.endswith("_weight") else XavierNormal()
        return _CountedByPyTorch(rule, _as_shaped)
    if kind == "Bilinear":
        return _BoundOfLayer(_by_second_axis)
    above = parameter.slot.node.parent
    if kind == "Linear" and role == "bias" and above is not None and above.kind == "MultiheadAttention":
        return Zeros()
    # uniform with the bound 1 / sqrt(fan_in), as the framework counts it
    return _of_known_layers(
        parameter,
        weight=_CountedByPyTorch(KaimingUniform(a=math.sqrt(5)), _as_shaped),
        bias=_BoundOfLayer(_by_fan),
        embedding=Normal(),
        slope=0.25,
    )


def _keras(parameter: Parameter) -> Rule | None:
    base = base_role(parameter.role)
    if _is_recurrent(parameter) and base == "weight_hh":
        return Orthogonal()
    if parameter.kind.startswith("LSTM") and base == "bias_ih":
        return _Blocks(Zeros(), Ones(), Zeros(), Zeros())  # the forget gate starts open
    weight = _Counted(XavierUniform(), _of_kernel)
    return _of_known_layers(parameter, weight=weight, embedding=Uniform(-0.05, 0.05), slope=0.0)


def _flax(parameter: Parameter) -> Rule | None:
    if _is_recurrent(parameter) and base_role(parameter.role) == "weight_hh":
        # NNX's LSTMCell has a matrix for each gate, its GRUCell one for all
        return _Blocks(*(Orthogonal() for _ in range(4))) if parameter.kind.startswith("LSTM") else Orthogonal()
    embedding = VarianceScaling(1.0, "fan_in", "untruncated_normal")
    return _of_known_layers(parameter, weight=LecunNormal(), embedding=embedding, slope=0.01)


def _paddle(parameter: Parameter) -> Rule | None:
    if _is_recurrent(parameter):
        return _by_hidden(parameter)
    weight: Rule = XavierUniform()
    if parameter.kind.startswith("ConvTranspose") or parameter.kind == "Bilinear":
        weight = _Counted(XavierUniform(), _as_shaped)
    elif parameter.kind.startswith("Conv"):
        weight = _Counted(KaimingNormal(), _ungrouped)
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
    if known is None or base_role(parameter.role) not in known.roles:
        return None
    meant = purpose(parameter.kind, parameter.role)
    if meant == "weight":
        return embedding if parameter.kind == "Embedding" else weight
    if meant == "bias":
        return Zeros() if known.roles.get("weight") != "weight" or bias is None else bias
    return Ones() if meant == "scale" else Constant(slope)
