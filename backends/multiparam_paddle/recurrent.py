"""Paddle's recurrent cells and layers: rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from paddle import nn

from multiparam.adapter import At, Row, Setting, Source, Transposed

from .additions import GRUCell, LSTMCell, RNNCell
from .fused import is_fused, without_biases

_LAYERS = {"RNN": nn.SimpleRNN, "LSTM": nn.LSTM, "GRU": nn.GRU}
_CELLS = {"RNN": RNNCell, "LSTM": LSTMCell, "GRU": GRUCell}


def rows() -> Iterator[Row]:
    """The rows of cells and recurrent layers."""
    for name, layer in _LAYERS.items():
        yield Row(name, layer, _of_layer, settings=_settings, builds={name: _build(layer)})
        cell = _CELLS[name]
        builds = {f"{name}Cell": _build_cell(cell)}
        yield Row(f"{name}Cell", cell.__mro__[1], _of_cell, settings=_settings_of_cell, builds=builds)


def _of_layer(native: Any) -> dict[str, Source]:
    if is_fused(native):
        return {name: At(name) for name in native._parameters}
    found: dict[str, Source] = {}
    for position in range(native.num_layers):
        cells = {"cell": ""} if native.num_directions == 1 else {"cell_fw": "", "cell_bw": "_reverse"}
        for cell, end in cells.items():
            found |= {f"{role}_l{position}{end}": source for role, source in _projected(f"{position}/{cell}/").items()}
    return found


def _projected(path: str = "") -> dict[str, Source]:
    plain: dict[str, Source] = {role: At(path + role) for role in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    return plain | {"weight_hr": Transposed(f"{path}weight_ho")}


def _of_cell(native: Any) -> dict[str, Source]:
    return _projected() if getattr(native, "proj_size", 0) else {}


def _settings(native: Any) -> dict[str, Setting]:
    way: dict[str, Setting] = {"merge": "concat"} if native.num_directions == 2 else {"reverse": False}
    if isinstance(native, nn.SimpleRNN):
        return {"nonlinearity": "relu" if native.mode == "RNN_RELU" else "tanh"} | way
    return {"activation": "tanh", "recurrent_activation": "sigmoid"} | way


def _settings_of_cell(native: Any) -> dict[str, Setting]:
    if isinstance(native, nn.SimpleRNNCell):
        return {"nonlinearity": native.activation}
    return {"activation": "tanh", "recurrent_activation": "sigmoid"}


def _build_cell(cell: type) -> Callable[..., Any]:
    def build(input_size: int, hidden_size: int, bias: bool, nonlinearity: str = "tanh") -> Any:
        options = {"activation": nonlinearity} if cell is RNNCell else {}
        made = cell(input_size, hidden_size, **options)
        if not bias:
            made.bias_ih = made.bias_hh = None  # or Paddle keeps frozen zeros
        return made

    return build


def _build(layer: type) -> Callable[..., Any]:
    def build(
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        nonlinearity: str = "tanh",
    ) -> Any:
        options: dict[str, Any] = {"direction": "bidirect" if bidirectional else "forward", "dropout": dropout}
        options |= {"time_major": not batch_first, "num_layers": num_layers}
        options |= {"activation": nonlinearity} if layer is nn.SimpleRNN else {}
        made = layer(input_size, hidden_size, **options)
        return made if bias else without_biases(made)

    return build
