"""Keras's recurrent cells and the layers around them: rows, and layers that are called as PyTorch's are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras

from multiparam.adapter import GATES, At, Fold, LazyShape, Reorder, Row, Setting, Source, Take, Transpose

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
    for cell in _CELLS:
        yield Row(_kind_of_cell, cell, _of_cell, folds=_folds_of_cell, settings=_settings, lazy=_lazy_cell)
    cells = {f"{name}Cell": _build_cell(name) for name in GATES}
    yield Row(
        lambda native: _kind_of_cell(native.cell),
        Cell,
        lambda native: _of_cell(native.cell, "cell/"),
        folds=lambda native: _folds_of_cell(native.cell),
        settings=lambda native: _settings(native.cell),
        lazy=lambda native: _lazy_cell(native.cell),
        builds=cells,
    )
    made = {name: _build(name) for name in GATES}
    for native in (layers.RNN, layers.LSTM, layers.GRU, layers.SimpleRNN, layers.Bidirectional, Recurrent):
        builds = made if native is Recurrent else {}
        yield Row(_kind, native, _sources, folds=_folds, settings=_of_all, lazy=_lazy, builds=builds)


def _recurrent(layer: Any) -> Any:
    return layer.forward_layer if isinstance(layer, layers.Bidirectional) else layer


def _width(layer: Any) -> int:
    units: int = _recurrent(layer).units
    return units * (1 + isinstance(layer, layers.Bidirectional))


def _cells(native: Any, path: str = "", first: int = 0) -> list[tuple[Any, str, str]]:
    """The cells of a layer: each with the path to it and with what PyTorch appends to its tensors' names."""
    if isinstance(native, Recurrent):
        each = [_cells(one, f"stack/{position}/", position) for position, one in enumerate(native.stack)]
        return [cell for found in each for cell in found]
    if isinstance(native, layers.Bidirectional):
        forward = _cells(native.forward_layer, f"{path}forward_layer/", first)
        backward = _cells(native.backward_layer, f"{path}backward_layer/", first)
        return [*forward, *((cell, place, f"{end}_reverse") for cell, place, end in backward)]
    if not isinstance(native, layers.RNN):
        return []
    if isinstance(native.cell, layers.StackedRNNCells):
        cells = enumerate(native.cell.cells)
        return [(cell, f"{path}cell/cells/{position}/", f"_l{first + position}") for position, cell in cells]
    return [(native.cell, f"{path}cell/", f"_l{first}")]


def _name(cell: Any) -> str | None:
    """What a cell is: the kind's name without "Cell"."""
    return next((name for native, name in _CELLS.items() if isinstance(cell, native)), None)


def _known(native: Any) -> bool:
    names = {_name(cell) for cell, _, _ in _cells(native)}
    return len(names) == 1 and None not in names and all(_canonical(cell) for cell, _, _ in _cells(native))


def _canonical(cell: Any) -> bool:
    """Whether other frameworks compute what the cell computes."""
    return not isinstance(cell, layers.GRUCell) or bool(cell.reset_after)


def _kind_of_cell(cell: Any) -> str:
    name = f"{_name(cell)}Cell" if _name(cell) else type(cell).__name__
    return name if _canonical(cell) else f"{name}(reset_after=False)"


def _kind(native: Any) -> str:
    cells = _cells(native)
    if not cells:
        return type(native).__name__
    name = _kind_of_cell(cells[0][0]).replace("Cell", "")
    return name if _known(native) or not _canonical(cells[0][0]) else f"{type(native).__name__} of {name}"


def _of_cell(cell: Any, path: str = "", end: str = "") -> dict[str, Source]:
    if not _canonical(cell):
        return {}
    gates = [Reorder((1, 0, 2))] if isinstance(cell, layers.GRUCell) else []  # z, r, h, where PyTorch has r, z, n
    found: dict[str, Source] = {
        f"weight_ih{end}": At(f"{path}kernel", Transpose((1, 0)), *gates),
        f"weight_hh{end}": At(f"{path}recurrent_kernel", Transpose((1, 0)), *gates),
        f"bias_ih{end}": At(f"{path}bias"),
    }
    if gates:
        found[f"bias_ih{end}"] = At(f"{path}bias", Take(0), *gates)
        found[f"bias_hh{end}"] = At(f"{path}bias", Take(1), *gates)
    return found


def _folds_of_cell(cell: Any, end: str = "") -> dict[str, Fold]:
    return {} if isinstance(cell, layers.GRUCell) else {f"bias_hh{end}": Fold(f"bias_ih{end}")}


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


def _lazy_cell(cell: Any, end: str = "") -> dict[str, LazyShape] | None:
    name = _name(cell)
    if cell.built:
        return {}
    if name is None or not _canonical(cell):
        return None
    rows = GATES[name] * cell.units
    shapes: dict[str, LazyShape] = {"weight_ih": (rows, None), "weight_hh": (rows, cell.units)}
    for bias in ("bias_ih", "bias_hh") if isinstance(cell, layers.GRUCell) else ("bias_ih",):
        if cell.use_bias:
            shapes[bias] = (rows,)
    return {f"{role}{end}": shape for role, shape in shapes.items()}


def _lazy(native: Any) -> dict[str, LazyShape] | None:
    found: dict[str, LazyShape] = {}
    if not _known(native):
        return {} if native.built else None
    for cell, _, end in _cells(native):
        found |= _lazy_cell(cell, end) or {}
    return found


def _of_all(native: Any) -> dict[str, Setting]:
    """The settings of all the cells; where they differ, each of them."""
    if not _known(native):
        return {}
    each = [_settings(cell) for cell, _, _ in _cells(native)]
    found: dict[str, Setting] = {}
    for name in each[0]:
        values = [str(one[name]) for one in each]
        found[name] = values[0] if len(set(values)) == 1 else ", ".join(values)
    return found | _way(native)


def _way(native: Any) -> dict[str, Setting]:
    layer = native.stack[0] if isinstance(native, Recurrent) else native
    if isinstance(layer, layers.Bidirectional):
        return {"merge": str(layer.merge_mode)}
    return {"reverse": bool(layer.go_backwards)}


def _settings(cell: Any) -> dict[str, Setting]:
    if isinstance(cell, layers.SimpleRNNCell):
        return {"nonlinearity": _called(cell.activation)}
    return {"activation": _called(cell.activation), "recurrent_activation": _called(cell.recurrent_activation)}


def _called(function: Any) -> str:
    """The name of a function, or of a layer that is used as one."""
    return getattr(function, "__name__", None) or type(function).__name__


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
