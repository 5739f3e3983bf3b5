"""Paddle's fused recurrent layers, which hold each parameter in three places: their own, a cell's, and the kernel's."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from paddle.nn.layer.rnn import RNNBase

__all__ = ["is_fused", "is_unrolled", "put", "without_biases"]

_ORDER = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def is_fused(layer: Any) -> bool:
    """Whether the layer is an LSTM, GRU or SimpleRNN that runs in one kernel, with the parameters of its cells."""
    return isinstance(layer, RNNBase) and not layer.proj_size


def is_unrolled(layer: Any) -> bool:
    """Whether it runs its cells in Python, and lists some of their parameters under each other's names."""
    return isinstance(layer, RNNBase) and bool(layer.proj_size)


def put(layer: Any, part: str, variable: Any) -> None:
    """Makes another variable a layer's parameter, in all three places."""
    found = re.fullmatch(r"(\w+)_l(\d+)(_reverse)?", part)
    assert found is not None, part
    name, position, reverse = found.groups()
    setattr(layer, part, variable)
    setattr(_cells(layer, position)[bool(reverse)], name, variable)
    layer._all_weights[_slot(layer, int(position) * layer.num_directions + bool(reverse), name)] = variable


def without_biases(layer: Any) -> Any:
    """The layer with frozen zeros for biases, which are nobody's parameters.

    So Paddle has it for `bias_attr=False`, in principle: release 3.3 then gives its kernel too few tensors.
    """
    for part in [part for part in layer._parameters if part.startswith("bias")]:
        bias = layer._parameters.pop(part)
        bias.stop_gradient = True
        bias.set_value(np.zeros(bias.shape, np.float32))
    return layer


def _cells(layer: Any, position: str) -> list[Any]:
    return list(layer._sub_layers[position]._sub_layers.values())


def _slot(layer: Any, cell: int, name: str) -> int:
    """Where the kernel expects a cell's tensor: all weights before all biases, as `flatten_parameters` orders them."""
    kind = _ORDER.index(name)
    behind = 0 if kind < 2 else 2 * layer.num_layers * layer.num_directions
    return behind + cell * 2 + kind % 2
