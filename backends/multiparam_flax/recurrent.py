"""NNX's recurrent cells and the layers around them: rows, and modules that are called as PyTorch's are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from multiparam.adapter import At, Concat, Fold, Row, Setting, Source

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
    for cell, name in _CELLS.items():
        yield Row(f"{name}Cell", cell, _of_cell, folds=_folds_of_cell, settings=_settings)
    names = dict.fromkeys(_CELLS.values())
    cells = {f"{name}Cell": _build_cell(name) for name in names}
    yield Row(
        _kind_of_wrapped,
        Cell,
        _of_wrapped,
        folds=_folds_of_wrapped,
        settings=lambda native: _settings(native.cell),
        builds=cells,
    )
    layers = {name: _build(name) for name in names}
    yield Row(_kind, Recurrent, _sources, folds=_folds, settings=_of_all, builds=layers)
    for native in (nnx.RNN, nnx.Bidirectional):
        yield Row(_kind, native, _sources, folds=_folds, settings=_of_all)


def _directions(layer: Any) -> list[tuple[Any, bool]]:
    if isinstance(layer, nnx.Bidirectional):
        return [(layer.forward_rnn, False), (layer.backward_rnn, True)]
    return [(layer, False)]


def _cells(native: Any) -> list[tuple[Any, str, str]]:
    """The cells of a layer: each with the path to it and with what PyTorch appends to its tensors' names."""
    if isinstance(native, nnx.RNN):
        return [(native.cell, "cell/", "_l0")]
    if isinstance(native, nnx.Bidirectional):
        found = [(native.forward_rnn, "forward_rnn/", "_l0"), (native.backward_rnn, "backward_rnn/", "_l0_reverse")]
        return [(rnn.cell, f"{path}cell/", end) for rnn, path, end in found if isinstance(rnn, nnx.RNN)]
    return [
        (cell, f"stack/{position}/{path}", end.replace("_l0", f"_l{position}"))
        for position, layer in enumerate(native.stack)
        for cell, path, end in _cells(layer)
    ]


def _of_cell(cell: Any, path: str = "", end: str = "") -> dict[str, Source]:
    if isinstance(cell, nnx.LSTMCell):
        found: dict[str, Source] = {
            "weight_ih": Concat(*(At(f"{path}{gate}/kernel", axes=(1, 0)) for gate in _INPUT_GATES)),
            "weight_hh": Concat(*(At(f"{path}{gate}/kernel", axes=(1, 0)) for gate in _HIDDEN_GATES)),
            "bias_ih": Concat(*(At(f"{path}{gate}/bias") for gate in _HIDDEN_GATES)),
        }
    else:
        found = {
            "weight_ih": At(f"{path}dense_i/kernel", axes=(1, 0)),
            "weight_hh": At(f"{path}dense_h/kernel", axes=(1, 0)),
            "bias_ih": At(f"{path}dense_i/bias"),
        }
        if cell.dense_i.bias is None:
            found["bias_ih"] = At(f"{path}dense_h/bias")
        elif cell.dense_h.bias is not None:
            found["bias_hh"] = At(f"{path}dense_h/bias")
    return {f"{role}{end}": source for role, source in found.items()}


def _folds_of_cell(cell: Any, end: str = "") -> dict[str, Fold]:
    if f"bias_hh{end}" in _of_cell(cell, "", end):
        return {}
    if isinstance(cell, nnx.GRUCell):
        return {f"bias_hh{end}": Fold(f"bias_ih{end}", blocks=(0, 1), of=3, why=_NO_NEW_GATE_BIAS)}
    return {f"bias_hh{end}": Fold(f"bias_ih{end}")}


def _cell_name(cell: Any) -> str | None:
    """What a cell is: the kind's name without "Cell"."""
    return next((name for native, name in _CELLS.items() if isinstance(cell, native)), None)


def _known(native: Any) -> bool:
    names = {_cell_name(cell) for cell, _, _ in _cells(native)}
    return len(names) == 1 and None not in names


def _kind(native: Any) -> str:
    cells = [cell for cell, _, _ in _cells(native)]
    if _known(native):
        return str(_cell_name(cells[0]))
    return f"{type(native).__name__} of {type(cells[0]).__name__ if cells else 'other layers'}"


def _sources(native: Any) -> dict[str, Source]:
    found: dict[str, Source] = {}
    for cell, path, end in _cells(native) if _known(native) else ():
        found |= _of_cell(cell, path, end)
    return found


def _folds(native: Any) -> dict[str, Fold]:
    found: dict[str, Fold] = {}
    for cell, _, end in _cells(native) if _known(native) else ():
        found |= _folds_of_cell(cell, end)
    return found


def _kind_of_wrapped(native: Cell) -> str:
    return f"{_cell_name(native.cell)}Cell"


def _of_wrapped(native: Cell) -> dict[str, Source]:
    return _of_cell(native.cell, "cell/")


def _folds_of_wrapped(native: Cell) -> dict[str, Fold]:
    return _folds_of_cell(native.cell)


def _of_all(native: Any) -> dict[str, Setting]:
    """The settings of all the cells; where they differ, each of them."""
    cells = [cell for cell, _, _ in _cells(native)] if _known(native) else []
    found: dict[str, Setting] = {}
    for name in _settings(cells[0]) if cells else ():
        values = [_settings(cell)[name] for cell in cells]
        found[name] = values[0] if len(set(map(str, values))) == 1 else ", ".join(map(str, values))
    return found | (_way(native) if cells else {})


def _way(native: Any) -> dict[str, Setting]:
    layer = native.stack[0] if isinstance(native, Recurrent) else native
    if isinstance(layer, nnx.Bidirectional):
        merge = layer.merge_fn.__name__.strip("_")
        return {"merge": "concat" if isinstance(native, Recurrent) or merge == "concatenate" else merge}
    return {"reverse": bool(layer.reverse)}


def _settings(cell: Any) -> dict[str, Setting]:
    name = _name(cell.activation_fn)
    if isinstance(cell, nnx.SimpleCell):
        return {"nonlinearity": name, "residual": bool(cell.residual)}
    return {"activation": name, "recurrent_activation": _name(cell.gate_fn)}


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", None) or type(function).__name__


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
