"""Gluon's recurrent cells and layers: rows, and blocks that are called as PyTorch's layers are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mxnet import ndarray, symbol
from mxnet.gluon import rnn
from mxnet.gluon.rnn.rnn_layer import _RNNLayer

from multiparam.adapter import LazyShape, RecurrentCell, Row, Setting, Source, cell_row, recurrent_row

from .additions import Legacy, as_numpy
from .constants import constants
from .deferred import lazy_shapes
from .layouts import cell, recurrent
from .settings import of_sequence

_CELLS: Mapping[str, type] = {"RNN": rnn.RNNCell, "LSTM": rnn.LSTMCell, "GRU": rnn.GRUCell}
_STACKS = (rnn.SequentialRNNCell, rnn.HybridSequentialRNNCell)
_BETWEEN = (rnn.DropoutCell,)  # of a stack, without parameters


class _Called:
    """Calls a fused layer as PyTorch calls one: the outputs, and the last states of all layers."""

    def __call__(self, x: Any, states: Any = None) -> Any:
        given = self._zeros(x) if states is None else states
        given = list(given) if isinstance(given, (list, tuple)) else [given]
        out, last = super().__call__(x, given)
        return out, tuple(last) if len(last) > 1 else last[0]

    def _zeros(self: Any, x: Any) -> Any:
        if not isinstance(x, ndarray.NDArray):
            return self.begin_state(0, func=symbol.zeros)
        return self.begin_state(x.shape[self._layout.find("N")], ctx=x.context, dtype=x.dtype)


class RNN(_Called, rnn.RNN):
    """`rnn.RNN`, called as PyTorch's."""


class LSTM(_Called, rnn.LSTM):
    """`rnn.LSTM`, called as PyTorch's."""


class GRU(_Called, rnn.GRU):
    """`rnn.GRU`, called as PyTorch's."""


class _CalledCell(Legacy):
    """Calls a cell as PyTorch calls one: (input, state or nothing) to the new state."""

    def __call__(self: Any, x: Any, state: Any = None) -> Any:
        if state is None:
            zeros = self.begin_state(x.shape[0], ctx=x.context, dtype=x.dtype)
            state = as_numpy(zeros) if hasattr(x, "as_nd_ndarray") and type(x) is not ndarray.NDArray else zeros
        states = list(state) if isinstance(state, (list, tuple)) else [state]
        new = super().__call__(x, states)[1]
        return tuple(new) if len(new) > 1 else new[0]

    def compute(self, F: Any, *inputs: Any, **parameters: Any) -> Any:
        """What Gluon's own cell computes."""
        return self.native.hybrid_forward(self, F, *inputs, **parameters)


class RNNCell(_CalledCell, rnn.RNNCell):
    """`rnn.RNNCell`, called as PyTorch's."""

    native = rnn.RNNCell


class LSTMCell(_CalledCell, rnn.LSTMCell):
    """`rnn.LSTMCell`, called as PyTorch's."""

    native = rnn.LSTMCell


class GRUCell(_CalledCell, rnn.GRUCell):
    """`rnn.GRUCell`, called as PyTorch's."""

    native = rnn.GRUCell


def rows() -> Iterator[Row]:
    """The rows of cells and recurrent layers."""
    builds = {one.__name__: _build(one) for one in (RNN, LSTM, GRU)}
    yield Row(_kind, _RNNLayer, _sources, settings=of_sequence, lazy=_lazy, builds=builds)
    for name, native in _CELLS.items():
        made = {"RNN": RNNCell, "LSTM": LSTMCell, "GRU": GRUCell}[name]
        yield cell_row(native, _cell, {f"{name}Cell": _build_cell(made)})
    for native in (*_STACKS, rnn.BidirectionalCell):
        yield recurrent_row(native, _cells, _way)


# --- fused layers ------------------------------------------------------------------------------------------------


def _kind(native: _RNNLayer) -> str:
    return "RNN" if native._mode.startswith("rnn") else str(native._mode).upper()


def _sources(native: _RNNLayer) -> dict[str, Source]:
    absent = constants(native)
    found = recurrent(native._num_layers, native._dir)
    return {role: source for role, source in found.items() if source.parts[0] not in absent}


def _lazy(native: _RNNLayer) -> dict[str, LazyShape]:
    return lazy_shapes(native, _sources(native))


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
        options: dict[str, Any] = {"activation": nonlinearity} if layer is RNN else {}
        options |= {"layout": "NTC" if batch_first else "TNC", "dropout": dropout, "bidirectional": bidirectional}
        return _made(layer(hidden_size, num_layers, input_size=input_size, **options), bias)

    return build


# --- cells -------------------------------------------------------------------------------------------------------


def _cell(native: Any, path: str = "", layer: int = 0, reverse: bool = False) -> RecurrentCell:
    name = next((name for name, known in _CELLS.items() if isinstance(native, known)), None)
    if name is None:
        return RecurrentCell(type(native).__name__, layer=layer, reverse=reverse)
    settings: dict[str, Setting] = {"nonlinearity": str(getattr(native, "_activation", "tanh"))}
    if name != "RNN":
        settings = {
            "activation": str(getattr(native, "_activation", "tanh")),
            "recurrent_activation": str(getattr(native, "_recurrent_activation", "sigmoid")),
        }
    absent = constants(native)
    sources = {role: source for role, source in cell(path).items() if source.parts[0][len(path) :] not in absent}
    lazy = lazy_shapes(native, {role: source for role, source in cell().items() if source.parts[0] not in absent})
    return RecurrentCell(name, sources, settings=settings, lazy=lazy, layer=layer, reverse=reverse)


def _cells(native: Any, path: str = "", layer: int = 0) -> list[RecurrentCell]:
    """The cells of a stack, or of the two directions, counted from a layer on."""
    if isinstance(native, rnn.BidirectionalCell):
        return [
            _cell(native._children[f"{way}_cell"], f"{path}{way}_cell/", layer, reverse)
            for way, reverse in (("l", False), ("r", True))
        ]
    if not isinstance(native, _STACKS):
        return [_cell(native, path, layer)]
    found: list[RecurrentCell] = []
    for key, one in native._children.items():
        if not isinstance(one, _BETWEEN):
            found += _cells(one, f"{path}{key}/", found[-1].layer + 1 if found else layer)
    return found


def _way(native: Any) -> dict[str, Setting]:
    directions = {cell.reverse for cell in _cells(native)}
    return {"merge": "concat"} if True in directions else {"reverse": False}


def _build_cell(made: type) -> Callable[..., Any]:
    def build(input_size: int, hidden_size: int, bias: bool, nonlinearity: str = "tanh") -> Any:
        options = {"activation": nonlinearity} if made is RNNCell else {}
        return _made(made(hidden_size, input_size=input_size, **options), bias)

    return build


def _made(layer: Any, bias: bool) -> Any:
    if not bias:  # Gluon has no recurrent layers without; these stay 0
        layer.without_biases = True
        for name, parameter in layer._reg_params.items():
            if name.endswith("bias"):
                parameter.grad_req = "null"
    layer.initialize()
    return layer
