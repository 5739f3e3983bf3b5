"""Paddle's recurrent cells and layers: rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from paddle import nn

from multiparam.adapter import At, RecurrentCell, Row, Setting, Source, cell_row, recurrent_row

from .additions import GRUCell, LSTMCell, RNNCell
from .fused import is_fused, without_biases
from .layouts import cell as cell_sources

_LAYERS = {"RNN": nn.SimpleRNN, "LSTM": nn.LSTM, "GRU": nn.GRU}
_CELLS: Mapping[str, type] = {"RNN": nn.SimpleRNNCell, "LSTM": nn.LSTMCell, "GRU": nn.GRUCell}
_BUILT = {"RNN": RNNCell, "LSTM": LSTMCell, "GRU": GRUCell}
_FUNCTIONS: dict[str, Setting] = {"activation": "tanh", "recurrent_activation": "sigmoid"}


def rows() -> Iterator[Row]:
    """The rows of cells and recurrent layers."""
    for name, layer in _LAYERS.items():
        yield Row(name, layer, _of_layer, settings=_settings, builds={name: _build(layer)})
        yield cell_row(_CELLS[name], _cell, {f"{name}Cell": _build_cell(_BUILT[name])})
    yield recurrent_row(nn.RNN, _cells, lambda native: {"reverse": bool(native.is_reverse)} | _batch(native))
    yield recurrent_row(nn.BiRNN, _cells, lambda native: {"merge": "concat"} | _batch(native))


def _batch(native: Any) -> dict[str, Setting]:
    return {"batch_first": not native.time_major}


def _cell(native: Any, path: str = "", layer: int = 0, reverse: bool = False) -> RecurrentCell:
    name = next((name for name, known in _CELLS.items() if isinstance(native, known)), None)
    if name is None:
        return RecurrentCell(type(native).__name__, layer=layer, reverse=reverse)
    sources = cell_sources(path, projected=bool(getattr(native, "proj_size", 0)))
    settings = {"nonlinearity": native.activation} if name == "RNN" else _FUNCTIONS
    return RecurrentCell(name, sources, settings=settings, layer=layer, reverse=reverse)


def _cells(native: Any, path: str = "", layer: int = 0) -> list[RecurrentCell]:
    below = native._sub_layers.items()
    return [_cell(cell, f"{path}{key}/", layer, key == "cell_bw") for key, cell in below]


def _of_layer(native: Any) -> dict[str, Source]:
    if is_fused(native):
        return {name: At(name) for name in native._parameters}
    cells = [cell for key, one in native._sub_layers.items() for cell in _cells(one, f"{key}/", int(key))]
    return {f"{role}{cell.end}": source for cell in cells for role, source in cell.sources.items()}


def _settings(native: Any) -> dict[str, Setting]:
    way: dict[str, Setting] = {"merge": "concat"} if native.num_directions == 2 else {"reverse": False}
    way |= _batch(native)
    if isinstance(native, nn.SimpleRNN):
        return {"nonlinearity": "relu" if native.mode == "RNN_RELU" else "tanh"} | way
    return _FUNCTIONS | way


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
