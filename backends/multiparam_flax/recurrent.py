"""NNX's recurrent cells and the layers around them: rows, and modules that are called as PyTorch's are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from multiparam.adapter import At, Concat, Fold, RecurrentCell, Row, Setting, Source, cell_row, recurrent_row

from . import settings, stacks

_CELLS: Mapping[type, str] = {
    nnx.LSTMCell: "LSTM",
    nnx.OptimizedLSTMCell: "LSTM",
    nnx.GRUCell: "GRU",
    nnx.SimpleCell: "RNN",
}
_INPUT_GATES, _HIDDEN_GATES = ("ii", "if_", "ig", "io"), ("hi", "hf", "hg", "ho")
_NO_NEW_GATE_BIAS = "Flax's GRUCell has no place for the hidden bias of the new gate, which the reset gate scales"


class Cell(nnx.Module):
    """A recurrent cell called as PyTorch calls one: (input, state or nothing) to the new state.

    Args:
        cell: an NNX cell.
    """

    def __init__(self, cell: Any) -> None:
        self.cell = cell

    def __call__(self, x: Any, state: Any = None) -> Any:
        shape = (*x.shape[:-1], self.cell.hidden_features)
        if isinstance(self.cell, nnx.OptimizedLSTMCell):
            hidden, carry = (jnp.zeros(shape, x.dtype),) * 2 if state is None else state
            (carry, hidden), _ = self.cell((carry, hidden), x)
            return hidden, carry
        return self.cell(jnp.zeros(shape, x.dtype) if state is None else state, x)[1]


class Recurrent(nnx.Module):
    """Recurrent layers called as PyTorch calls them: the outputs of the last one, and the last states of all.

    Args:
        stack: for each layer an `nnx.RNN`, or an `nnx.Bidirectional` of two.
        batch_first: inputs and outputs are (batch, time, features), not (time, batch, features).
        dropout: between the layers, in training.
    """

    def __init__(self, stack: list[Any], batch_first: bool, dropout: float) -> None:
        self.stack = nnx.List(stack)
        self.batch_first = batch_first
        self.dropout = nnx.Dropout(dropout, rngs=_rngs())

    def __call__(self, x: Any) -> Any:
        x = x if self.batch_first else jnp.swapaxes(x, 0, 1)
        carries = []
        for position, layer in enumerate(self.stack):
            x = self.dropout(x) if position else x
            outputs = []
            for rnn, reverse in _directions(layer):
                carry, y = rnn(x, return_carry=True, reverse=reverse, keep_order=True, time_major=False)
                carries.append(carry)
                outputs.append(y)
            x = jnp.concatenate(outputs, -1)
        x = x if self.batch_first else jnp.swapaxes(x, 0, 1)
        if isinstance(carries[0], tuple):  # (c, h), where PyTorch has (h, c)
            return x, (jnp.stack([carry[1] for carry in carries]), jnp.stack([carry[0] for carry in carries]))
        return x, jnp.stack(carries)


def rows() -> Iterator[Row]:
    """The rows of cells and recurrent layers."""
    names = dict.fromkeys(_CELLS.values())
    for native in _CELLS:
        yield cell_row(native, _cell, shapes=stacks.below)
    yield cell_row(
        Cell,
        lambda native: _cell(native.cell, "cell/"),
        builds={f"{name}Cell": _build_cell(name) for name in names},
        shapes=stacks.below,
    )
    yield recurrent_row(
        Recurrent, _cells, settings.of_sequence, builds={name: _build(name) for name in names}, shapes=stacks.below
    )
    for native in (nnx.RNN, nnx.Bidirectional):
        yield recurrent_row(native, _cells, settings.of_sequence, shapes=stacks.below)


def _directions(layer: Any) -> list[tuple[Any, bool]]:
    if isinstance(layer, nnx.Bidirectional):
        return [(layer.forward_rnn, False), (layer.backward_rnn, True)]
    return [(layer, False)]


def _cells(native: Any, path: str = "", layer: int = 0, reverse: bool = False) -> Iterator[RecurrentCell]:
    """The cells of a layer; one that is no `nnx.RNN` counts as a cell of its own class."""
    if isinstance(native, Recurrent):
        for position, one in enumerate(native.stack):
            yield from _cells(one, f"stack/{position}/", position)
    elif isinstance(native, nnx.Bidirectional):
        yield from _cells(native.forward_rnn, f"{path}forward_rnn/", layer)
        yield from _cells(native.backward_rnn, f"{path}backward_rnn/", layer, True)
    elif isinstance(native, nnx.RNN):
        yield replace(_cell(native.cell, f"{path}cell/"), layer=layer, reverse=reverse)
    else:
        yield RecurrentCell(type(native).__name__)


def _cell(cell: Any, path: str = "") -> RecurrentCell:
    name = next((name for native, name in _CELLS.items() if isinstance(cell, native)), None)
    if name is None:
        return RecurrentCell(type(cell).__name__)
    sources = _sources(cell, path)
    return RecurrentCell(name, sources, {} if "bias_hh" in sources else _folds(cell), _settings(cell))


def _sources(cell: Any, path: str) -> dict[str, Source]:
    if isinstance(cell, nnx.LSTMCell):
        return {
            "weight_ih": Concat(*(At(f"{path}{gate}/kernel", axes=(1, 0)) for gate in _INPUT_GATES)),
            "weight_hh": Concat(*(At(f"{path}{gate}/kernel", axes=(1, 0)) for gate in _HIDDEN_GATES)),
            "bias_ih": Concat(*(At(f"{path}{gate}/bias") for gate in _HIDDEN_GATES)),
        }
    found: dict[str, Source] = {
        "weight_ih": At(f"{path}dense_i/kernel", axes=(1, 0)),
        "weight_hh": At(f"{path}dense_h/kernel", axes=(1, 0)),
        "bias_ih": At(f"{path}dense_i/bias"),
    }
    if cell.dense_i.bias is None:
        found["bias_ih"] = At(f"{path}dense_h/bias")
    elif cell.dense_h.bias is not None:
        found["bias_hh"] = At(f"{path}dense_h/bias")
    return found


def _folds(cell: Any) -> dict[str, Fold]:
    if isinstance(cell, nnx.GRUCell):
        return {"bias_hh": Fold("bias_ih", blocks=(0, 1), of=3, why=_NO_NEW_GATE_BIAS)}
    return {"bias_hh": Fold("bias_ih")}


def _settings(cell: Any) -> dict[str, Setting]:
    name = settings.called(cell.activation_fn)
    if isinstance(cell, nnx.SimpleCell):
        return {"nonlinearity": name, "residual": bool(cell.residual)}
    return {"activation": name, "recurrent_activation": settings.called(cell.gate_fn)}


def _made(name: str, input_size: int, hidden_size: int, bias: bool, nonlinearity: str) -> Any:
    """A cell with both of PyTorch's biases, or with none."""
    rngs = _rngs()
    if name == "RNN":
        made = {"tanh": nnx.tanh, "relu": nnx.relu}[nonlinearity]
        cell: Any = nnx.SimpleCell(input_size, hidden_size, activation_fn=made, rngs=rngs)
    else:
        cell = {"LSTM": nnx.OptimizedLSTMCell, "GRU": nnx.GRUCell}[name](input_size, hidden_size, rngs=rngs)
    for dense in (cell.dense_i, cell.dense_h):
        if not bias:
            dense.bias = None
        elif dense.bias is None:
            dense.bias = nnx.Param(jnp.zeros((dense.out_features,), dense.param_dtype))
        dense.use_bias = bias
    return cell


def _build_cell(name: str) -> Callable[..., Cell]:
    def build(input_size: int, hidden_size: int, bias: bool, nonlinearity: str = "tanh") -> Cell:
        return Cell(_made(name, input_size, hidden_size, bias, nonlinearity))

    return build


def _build(name: str) -> Callable[..., Recurrent]:
    def build(
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        nonlinearity: str = "tanh",
    ) -> Recurrent:
        stack: list[Any] = []
        for position in range(num_layers):
            size = hidden_size * (1 + bidirectional) if position else input_size
            each = [nnx.RNN(_made(name, size, hidden_size, bias, nonlinearity)) for _ in range(1 + bidirectional)]
            stack.append(nnx.Bidirectional(*each) if bidirectional else each[0])
        return Recurrent(stack, batch_first, dropout)

    return build


def _rngs() -> nnx.Rngs:
    return nnx.Rngs(int(np.random.randint(2**31)))
