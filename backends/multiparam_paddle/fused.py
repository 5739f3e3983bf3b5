"""Paddle's fused recurrent layers, which hold each parameter in three places: their own, a cell's, and the kernel's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import paddle
from paddle.nn.layer.rnn import RNNBase

from multiparam.adapter import ArgumentError

__all__ = ["all_or_none", "is_fused", "is_unrolled", "put", "rename_aliases", "without_biases"]

_ORDER = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def is_fused(layer: Any) -> bool:
    """Whether the layer is an LSTM, GRU or SimpleRNN that runs in one kernel, with the parameters of its cells."""
    return isinstance(layer, RNNBase) and not layer.proj_size


def is_unrolled(layer: Any) -> bool:
    """Whether it runs its cells in Python, and lists some of their parameters under each other's names."""
    return isinstance(layer, RNNBase) and bool(layer.proj_size)


def put(layer: Any, part: str, variable: Any) -> None:
    """Makes another variable a layer's parameter, in all three places."""
    setattr(layer, part, variable)
    cell, name = _held(layer, part)
    setattr(cell, name, variable)
    _, position, reverse = _parsed(part)
    layer._all_weights[_slot(layer, position * layer.num_directions + reverse, name)] = variable


def without_biases(layer: Any) -> Any:
    """The layer with zeros for biases, which are nobody's parameters but the kernel's.

    So Paddle has it for `bias_attr=False`, in principle: release 3.3 then gives its kernel too few tensors. They
    cannot be frozen either, see `all_or_none`.
    """
    for part in [part for part in layer._parameters if part.startswith("bias")]:
        bias = layer._parameters.pop(part)
        bias.set_value(paddle.zeros_like(bias))
        cell, name = _held(layer, part)
        del cell._parameters[name]
        object.__setattr__(cell, name, bias)
    return layer


def all_or_none(layers: Iterable[Any], variables: Sequence[Any]) -> list[Any]:
    """The variables, and all that Paddle must differentiate with them: a fused kernel's gradient takes all or none.

    Raises:
        ArgumentError: some of a fused layer's parameters are frozen, and others not.
    """
    wanted = {id(one) for one in variables}
    more: list[Any] = []
    for layer in layers:
        if not is_fused(layer) or wanted.isdisjoint(map(id, layer._all_weights)):
            continue
        if any(one.stop_gradient for one in layer._all_weights):
            raise ArgumentError(
                f"Paddle's kernel differentiates all parameters of a {type(layer).__name__} or none, and some are "
                f"frozen: freeze them all, or none"
            )
        more += [one for one in layer._all_weights if id(one) not in wanted]
        wanted.update(map(id, layer._all_weights))
    return [*variables, *more]


def rename_aliases(layers: Iterable[Any], old: Any, new: Any) -> None:
    """Puts a new parameter wherever an unrolled layer lists the old one of a cell."""
    for layer in layers:
        if is_unrolled(layer):
            for name, one in layer._parameters.items():
                if one is old:
                    layer._parameters[name] = new


def _parsed(part: str) -> tuple[str, int, bool]:
    """A parameter's name in its cell, and which cell that is."""
    found = re.fullmatch(r"(\w+)_l(\d+)(_reverse)?", part)
    assert found is not None, part
    return found[1], int(found[2]), bool(found[3])


def _held(layer: Any, part: str) -> tuple[Any, str]:
    """The cell that holds a layer's parameter, and its name there."""
    name, position, reverse = _parsed(part)
    return list(layer._sub_layers[str(position)]._sub_layers.values())[reverse], name


def _slot(layer: Any, cell: int, name: str) -> int:
    """Where the kernel expects a cell's tensor: all weights before all biases, as `flatten_parameters` orders them."""
    kind = _ORDER.index(name)
    behind = 0 if kind < 2 else 2 * layer.num_layers * layer.num_directions
    return behind + cell * 2 + kind % 2
