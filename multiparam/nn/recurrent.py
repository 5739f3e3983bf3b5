"""Builders of recurrent layers and cells, called as PyTorch's are in every framework."""

from __future__ import annotations

from typing import Any

from ..errors import ArgumentError
from .build import flag, new, number, sizes

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNCell"]


def RNN(
    input_size: int,
    hidden_size: int,
    num_layers: int = 1,
    nonlinearity: str = "tanh",
    bias: bool = True,
    batch_first: bool = False,
    dropout: float = 0.0,
    bidirectional: bool = False,
    *,
    backend: str | None = None,
) -> Any:
    """Elman's recurrent layers: h' = tanh(W_ih x + b_ih + W_hh h + b_hh).

    Called with a (time, batch, features) sequence it gives the last layer's outputs and the last states of all layers,
    (layers · directions, batch, hidden_size).

    Args:
        input_size: features of the input; weight_ih_l0 has the shape (hidden_size, input_size).
        hidden_size: features of the state; weight_hh_l0 has the shape (hidden_size, hidden_size).
        num_layers: how many layers, each on the one before.
        nonlinearity: `"tanh"` or `"relu"`.
        bias: whether there are biases.
        batch_first: sequences are (batch, time, features).
        dropout: between the layers, in training.
        bidirectional: whether each layer runs backwards too.
        backend: whose layer; None is the active backend's.

    >>> import multiparam as mp
    >>> mp.parameters(mp.nn.RNN(4, 8, backend="torch"))["weight_ih_l0"].shape
    (8, 4)
    """
    _check_nonlinearity(nonlinearity)
    return _layer(
        *("RNN", backend, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional),
        nonlinearity=nonlinearity,
    )


def LSTM(
    input_size: int,
    hidden_size: int,
    num_layers: int = 1,
    bias: bool = True,
    batch_first: bool = False,
    dropout: float = 0.0,
    bidirectional: bool = False,
    *,
    backend: str | None = None,
) -> Any:
    """Long short-term memory (Hochreiter and Schmidhuber, 1997), gates in the order input, forget, cell, output.

    Called with a (time, batch, features) sequence it gives the last layer's outputs, and the last states and cells of
    all layers, (layers · directions, batch, hidden_size) each.

    Args:
        input_size: features of the input; weight_ih_l0 has the shape (4 · hidden_size, input_size).
        hidden_size: features of the state; weight_hh_l0 has the shape (4 · hidden_size, hidden_size).
        num_layers: how many layers, each on the one before.
        bias: whether there are biases.
        batch_first: sequences are (batch, time, features).
        dropout: between the layers, in training.
        bidirectional: whether each layer runs backwards too.
        backend: whose layer; None is the active backend's.

    >>> import multiparam as mp
    >>> mp.parameters(mp.nn.LSTM(4, 8, backend="torch"))["weight_hh_l0"].shape
    (32, 8)
    """
    return _layer("LSTM", backend, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional)


def GRU(
    input_size: int,
    hidden_size: int,
    num_layers: int = 1,
    bias: bool = True,
    batch_first: bool = False,
    dropout: float = 0.0,
    bidirectional: bool = False,
    *,
    backend: str | None = None,
) -> Any:
    """Gated recurrent units (Cho et al., 2014), gates in the order reset, update, new.

    The reset gate is applied behind the hidden product, as in PyTorch. Called with a (time, batch, features) sequence
    it gives the last layer's outputs and the last states of all layers, (layers · directions, batch, hidden_size).

    Args:
        input_size: features of the input; weight_ih_l0 has the shape (3 · hidden_size, input_size).
        hidden_size: features of the state; weight_hh_l0 has the shape (3 · hidden_size, hidden_size).
        num_layers: how many layers, each on the one before.
        bias: whether there are biases.
        batch_first: sequences are (batch, time, features).
        dropout: between the layers, in training.
        bidirectional: whether each layer runs backwards too.
        backend: whose layer; None is the active backend's.

    >>> import multiparam as mp
    >>> mp.parameters(mp.nn.GRU(4, 8, backend="torch"))["weight_hh_l0"].shape
    (24, 8)
    """
    return _layer("GRU", backend, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional)


def RNNCell(
    input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh", *, backend: str | None = None
) -> Any:
    """One step of `RNN`: (input, state) to the new state; without a state it starts from zeros.

    Args:
        input_size: features of the input; weight_ih has the shape (hidden_size, input_size).
        hidden_size: features of the state; weight_hh has the shape (hidden_size, hidden_size).
        bias: whether there are biases.
        nonlinearity: `"tanh"` or `"relu"`.
        backend: whose layer; None is the active backend's.
    """
    _check_nonlinearity(nonlinearity)
    return _cell("RNNCell", backend, input_size, hidden_size, bias, nonlinearity=nonlinearity)


def LSTMCell(input_size: int, hidden_size: int, bias: bool = True, *, backend: str | None = None) -> Any:
    """One step of `LSTM`: (input, (state, cell)) to the new pair; without a pair it starts from zeros.

    Args:
        input_size: features of the input; weight_ih has the shape (4 · hidden_size, input_size).
        hidden_size: features of the state; weight_hh has the shape (4 · hidden_size, hidden_size).
        bias: whether there are biases.
        backend: whose layer; None is the active backend's.
    """
    return _cell("LSTMCell", backend, input_size, hidden_size, bias)


def GRUCell(input_size: int, hidden_size: int, bias: bool = True, *, backend: str | None = None) -> Any:
    """One step of `GRU`: (input, state) to the new state; without a state it starts from zeros.

    Args:
        input_size: features of the input; weight_ih has the shape (3 · hidden_size, input_size).
        hidden_size: features of the state; weight_hh has the shape (3 · hidden_size, hidden_size).
        bias: whether there are biases.
        backend: whose layer; None is the active backend's.
    """
    return _cell("GRUCell", backend, input_size, hidden_size, bias)


def _check_nonlinearity(given: str) -> None:
    if given not in ("tanh", "relu"):
        raise ArgumentError(f"nonlinearity is 'tanh' or 'relu', not {given!r}")


def _layer(
    kind: str,
    backend: str | None,
    input_size: int,
    hidden_size: int,
    num_layers: int,
    bias: bool,
    batch_first: bool,
    dropout: float,
    bidirectional: bool,
    **more: Any,
) -> Any:
    sizes(input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
    if not 0 <= number("dropout", dropout) < 1:
        raise ArgumentError(f"dropout is a probability in [0, 1), not {dropout}")
    return new(
        kind,
        backend,
        input_size=input_size,
        hidden_size=hidden_size,
        num_layers=num_layers,
        bias=flag("bias", bias),
        batch_first=flag("batch_first", batch_first),
        dropout=float(dropout),
        bidirectional=flag("bidirectional", bidirectional),
        **more,
    )


def _cell(kind: str, backend: str | None, input_size: int, hidden_size: int, bias: bool, **more: Any) -> Any:
    sizes(input_size=input_size, hidden_size=hidden_size)
    return new(kind, backend, input_size=input_size, hidden_size=hidden_size, bias=flag("bias", bias), **more)
