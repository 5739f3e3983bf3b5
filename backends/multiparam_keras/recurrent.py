"""Keras's recurrent cells and the layers around them: rows, and layers that are called as PyTorch's are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import keras

from multiparam.adapter import (
    GATES,
    Fold,
    LazyShape,
    RecurrentCell,
    Row,
    Setting,
    cell_row,
    recurrent_row,
)

from . import layouts, settings

layers = keras.layers

_CELLS: Mapping[type, str] = {layers.LSTMCell: "LSTM", layers.GRUCell: "GRU", layers.SimpleRNNCell: "RNN"}
_LAYERS: Mapping[str, type] = {"LSTM": layers.LSTM, "GRU": layers.GRU, "RNN": layers.SimpleRNN}
_OF_NAME: Mapping[str, type] = {name: cell for cell, name in _CELLS.items()}


@keras.saving.register_keras_serializable(package="multiparam")
class Cell(layers.Layer):
    """A recurrent cell called as PyTorch calls one: (input, state or nothing) to the new state.

    Args:
        cell: a Keras cell.
    """

    def __init__(self, cell: Any, **options: Any) -> None:
        super().__init__(**options)
        self.cell = cell

    def build(self, *shapes: Any) -> None:
        """Builds the cell for a (batch, features) input."""
        if not self.cell.built:
            self.cell.build(shapes[0])

    def call(self, x: Any, state: Any = None) -> Any:
        """The new state."""
        if state is None:
            state = self.cell.get_initial_state(batch_size=keras.ops.shape(x)[0])
        states = list(state) if isinstance(state, (list, tuple)) else [state]
        made = self.cell(x, states)[1]
        made = made if isinstance(made, (list, tuple)) else [made]
        return tuple(made) if len(made) > 1 else made[0]

    def get_config(self) -> dict[str, Any]:
        """What makes the same layer again."""
        return {**super().get_config(), "cell": keras.saving.serialize_keras_object(self.cell)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """The layer of a configuration."""
        return cls(**{**config, "cell": keras.saving.deserialize_keras_object(config["cell"])})


@keras.saving.register_keras_serializable(package="multiparam")
class Recurrent(layers.Layer):
    """Recurrent layers called as PyTorch calls them: the outputs of the last one, and the last states of all.

    Args:
        stack: for each layer a Keras layer, or a `Bidirectional` of one, that gives sequences and states.
        batch_first: inputs and outputs are (batch, time, features), not (time, batch, features).
        dropout: between the layers, in training.
    """

    def __init__(self, stack: list[Any], batch_first: bool = False, dropout: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.stack = list(stack)
        self.batch_first = batch_first
        self.dropout = layers.Dropout(dropout)

    def build(self, shape: Any) -> None:
        """Builds the layers for a (batch, time, features) input."""
        for layer in self.stack:
            if not layer.built:
                layer.build((None, None, shape[-1]))
            shape = (*shape[:-1], _width(layer))

    def call(self, x: Any, training: Any = None) -> Any:
        """The outputs and the last states, (h) or (h, c)."""
        x = x if self.batch_first else keras.ops.swapaxes(x, 0, 1)
        states = []
        for position, layer in enumerate(self.stack):
            x = self.dropout(x, training=training) if position else x
            x, *own = layer(x, training=training)
            states += own
        x = x if self.batch_first else keras.ops.swapaxes(x, 0, 1)
        if isinstance(_recurrent(self.stack[0]), layers.LSTM):
            return x, (keras.ops.stack(states[::2]), keras.ops.stack(states[1::2]))
        return x, keras.ops.stack(states)

    def get_config(self) -> dict[str, Any]:
        """What makes the same layer again."""
        stack = [keras.saving.serialize_keras_object(layer) for layer in self.stack]
        options = {"batch_first": self.batch_first, "dropout": self.dropout.rate}
        return {**super().get_config(), "stack": stack, **options}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """The layer of a configuration."""
        stack = [keras.saving.deserialize_keras_object(one) for one in config["stack"]]
        return cls(**{**config, "stack": stack})


def rows() -> Iterator[Row]:
    """The rows of cells and recurrent layers."""
    for native in _CELLS:
        yield cell_row(native, _cell)
    yield cell_row(
        Cell,
        lambda native: _cell(native.cell, "cell/"),
        builds={f"{name}Cell": _build_cell(name) for name in GATES},
    )
    yield recurrent_row(Recurrent, _cells, settings.of_sequence, builds={name: _build(name) for name in GATES})
    for native in (layers.RNN, layers.LSTM, layers.GRU, layers.SimpleRNN, layers.Bidirectional):
        yield recurrent_row(native, _cells, settings.of_sequence)


def _recurrent(layer: Any) -> Any:
    return layer.forward_layer if isinstance(layer, layers.Bidirectional) else layer


def _width(layer: Any) -> int:
    units: int = _recurrent(layer).units
    return units * (1 + isinstance(layer, layers.Bidirectional))


def _cells(native: Any, path: str = "", layer: int = 0, reverse: bool = False) -> Iterator[RecurrentCell]:
    """The cells of a layer; one that is no Keras RNN counts as a cell of its own class."""
    if isinstance(native, Recurrent):
        for position, one in enumerate(native.stack):
            yield from _cells(one, f"stack/{position}/", position)
    elif isinstance(native, layers.Bidirectional):
        yield from _cells(native.forward_layer, f"{path}forward_layer/", layer)
        yield from _cells(native.backward_layer, f"{path}backward_layer/", layer, True)
    elif not isinstance(native, layers.RNN):
        yield RecurrentCell(type(native).__name__, lazy=_lazy(native))
    elif isinstance(native.cell, layers.StackedRNNCells):
        for position, cell in enumerate(native.cell.cells):
            yield replace(_cell(cell, f"{path}cell/cells/{position}/"), layer=layer + position, reverse=reverse)
    else:
        yield replace(_cell(native.cell, f"{path}cell/"), layer=layer, reverse=reverse)


def _cell(cell: Any, path: str = "") -> RecurrentCell:
    name = next((name for native, name in _CELLS.items() if isinstance(cell, native)), None)
    if name is None:
        return RecurrentCell(type(cell).__name__, lazy=_lazy(cell))
    if name == "GRU" and not cell.reset_after:
        return RecurrentCell("GRU(reset_after=False)", settings=_settings(cell), lazy=_lazy(cell))
    folds = {} if name == "GRU" else {"bias_hh": Fold("bias_ih")}
    return RecurrentCell(name, layouts.cell(path, gru=name == "GRU"), folds, _settings(cell), _lazy(cell, name))


def _lazy(native: Any, name: str = "") -> dict[str, LazyShape] | None:
    """The shapes of a cell's tensors before it is built; not known of one without a name."""
    if getattr(native, "built", True):  # a cell need not be a layer
        return {}
    if not name:
        return None
    rows = GATES[name] * native.units
    shapes: dict[str, LazyShape] = {"weight_ih": (rows, None), "weight_hh": (rows, native.units)}
    if native.use_bias:
        shapes |= dict.fromkeys(("bias_ih", "bias_hh") if name == "GRU" else ("bias_ih",), (rows,))
    return shapes


def _settings(cell: Any) -> dict[str, Setting]:
    if isinstance(cell, layers.SimpleRNNCell):
        return {"nonlinearity": settings.called(cell.activation)}
    return {
        "activation": settings.called(cell.activation),
        "recurrent_activation": settings.called(cell.recurrent_activation),
    }


def _build_cell(name: str) -> Callable[..., Cell]:
    def build(input_size: int, hidden_size: int, bias: bool, nonlinearity: str = "tanh") -> Cell:
        cell = Cell(_OF_NAME[name](hidden_size, activation=nonlinearity, use_bias=bias))
        cell.build((None, input_size))
        cell.built = True
        return cell

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
        def one() -> Any:
            options = {"return_sequences": True, "return_state": True, "use_bias": bias}
            layer = _LAYERS[name](hidden_size, activation=nonlinearity, **options)
            return layers.Bidirectional(layer) if bidirectional else layer

        made = Recurrent([one() for _ in range(num_layers)], batch_first, dropout)
        made.build((None, None, input_size))
        made.built = True
        return made

    return build
