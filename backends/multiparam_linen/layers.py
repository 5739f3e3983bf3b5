"""Flax Linen's layer table. Its rows describe a `Place`: a layer's variables, with the arguments that are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from flax import linen as nn

from multiparam.adapter import (
    At,
    Block,
    Concat,
    Flip,
    Fold,
    Insert,
    LayerTable,
    LazyShape,
    RecurrentCell,
    Row,
    Source,
    Transpose,
    Transposed,
    attention_sources,
    cell_row,
    einsum_sources,
    general_sources,
    out_in_first,
    recurrent_row,
)

from . import settings
from .model import PARAMETERS, Place, place_of

_LINEAR = {"weight": Transposed("kernel"), "bias": At("bias")}
_AFFINE = {"weight": At("scale"), "bias": At("bias")}
_STATISTICS = {"running_mean": At("mean"), "running_var": At("var")}


def table() -> LayerTable:
    """The rows, each asked about the place of whatever the model's own object is."""
    rows = (replace(row, settings=settings.common(row), shapes=_shapes) for row in _rows())
    return LayerTable(replace(row, **{name: _of_place(getattr(row, name)) for name in _ASKED}) for row in rows)


_ASKED = ("kind", "sources", "folds", "settings", "lazy", "shapes")


def _of_place(given: Any) -> Any:
    return (lambda native: given(place_of(native))) if callable(given) else given


def _rows() -> list[Row]:
    return [
        Row("Linear", nn.Dense, _LINEAR),
        Row(lambda place: "Linear" if _general(place) else "DenseGeneral", nn.DenseGeneral, _general),
        Row(lambda place: "Linear" if _einsum(place) else "Einsum", nn.Einsum, _einsum),
        Row("Embedding", nn.Embed, {"weight": At("embedding")}),
        Row(_ranked("Conv"), nn.Conv, _conv, settings=settings.of_conv),
        Row(_ranked("ConvTranspose"), nn.ConvTranspose, _conv_transpose, settings=settings.of_conv_transpose),
        Row(
            _of_input("BatchNorm"),
            nn.BatchNorm,
            _AFFINE,
            _STATISTICS,
            file_only={"num_batches_tracked": np.zeros((), np.int64)},
            settings=settings.of_norm,
        ),
        *(
            Row(kind, getattr(nn, kind), _AFFINE, settings=settings.of_norm)
            for kind in ("LayerNorm", "GroupNorm", "RMSNorm")
        ),
        Row(_of_input("InstanceNorm"), nn.InstanceNorm, _AFFINE, settings=settings.of_norm),
        Row("PReLU", nn.PReLU, {"weight": At("negative_slope", Insert(0))}),
        Row("Sequential", nn.Sequential),
        Row(
            "MultiheadAttention",
            nn.MultiHeadDotProductAttention,
            _attention,
            inner={"out_proj": "Linear"},
            settings=settings.of_attention,
        ),
        *_recurrent(),
    ]


def _shapes(place: Place) -> dict[str, LazyShape]:
    """The shapes of one layer's variables: those that a trace saw, or what the module's arguments tell."""
    if place.layer is not None and place.layer.shapes:
        return dict(place.layer.shapes)
    cls = next((one for one in _RANKS if place.cls is not None and issubclass(place.cls, one)), None)
    if cls is None:
        return {}
    found: dict[str, LazyShape] = {name: (None,) * rank for name, rank in _RANKS[cls].items()}
    if place.layer is None:
        return found
    features = place.argument("features")
    if cls is nn.Dense:
        return {"kernel": (None, features), "bias": (features,)}
    if cls is nn.Embed:
        return {"embedding": (place.argument("num_embeddings"), features)}
    if cls in (nn.Conv, nn.ConvTranspose):
        sides = (features, None) if place.argument("transpose_kernel", False) else (None, features)
        return {"kernel": (*settings.sizes(place)[0], *sides), "bias": (features,)}
    if cls is nn.DenseGeneral and _general(place):
        axis, outputs = place.argument("axis", -1), (features,) if isinstance(features, int) else tuple(features)
        return {"kernel": ((None,) * (1 if isinstance(axis, int) else len(axis)) + outputs), "bias": outputs}
    return found


def _rank(place: Place, name: str = "kernel") -> int:
    """How many axes a variable here has, in one layer of a stack; 0 if there is none."""
    leaf = place.entries().get(PARAMETERS, {}).get(name)
    own = _shapes(place).get(name)
    if leaf is None or own is not None:
        return 0 if leaf is None or own is None else len(own)
    return len(place.leaf(PARAMETERS, name).value.shape)


def _ranked(name: str) -> Callable[[Any], str]:
    return lambda place: f"{name}{_rank(place) - 2}d"


def _of_input(name: str) -> Callable[[Any], str]:
    """The kind with the rank of what was passed in, where a call was traced."""

    def kind(place: Place) -> str:
        rank = place.argument("input_rank")
        return name if rank is None or not 2 <= rank <= 5 else f"{name}{max(rank - 2, 1)}d"

    return kind


def _conv(place: Place) -> dict[str, Source]:
    return {"weight": At("kernel", axes=out_in_first(_rank(place))), "bias": At("bias")}


def _conv_transpose(place: Place) -> dict[str, Source]:
    rank = _rank(place) - 2
    if place.argument("transpose_kernel", False):  # (k, O, I), as the gradient of a convolution has it
        return {"weight": At("kernel", axes=out_in_first(rank + 2)), "bias": At("bias")}
    # (k, I, O), and the kernel of a correlation, back to front of PyTorch's
    axes = Transpose((rank, rank + 1, *range(rank)))
    return {"weight": At("kernel", axes, Flip(tuple(range(2, rank + 2)))), "bias": At("bias")}


def _general(place: Place) -> dict[str, Source]:
    features, axis = place.argument("features"), place.argument("axis", -1)
    if features is None or place.argument("batch_dims"):
        return {}
    outputs = 1 if isinstance(features, int) else len(features)
    summed = (axis,) if isinstance(axis, int) else tuple(axis)
    if sorted(summed) != list(range(-len(summed), 0)):
        return {}
    return general_sources("kernel", len(summed), outputs)


def _einsum(place: Place) -> dict[str, Source]:
    return einsum_sources(place.argument("einsum_str") or "", "kernel", _rank(place, "bias"))


def _attention(place: Place) -> dict[str, Source]:
    found = [place.model.place((*place.path, name)) for name in ("query", "key", "value")]
    shapes = {one.leaf(PARAMETERS, "kernel").value.shape for one in found}
    return attention_sources(["query/", "key/", "value/"], "out/", "kernel", packed=len(shapes) == 1)


_AFFINE_RANKS = {"scale": 1, "bias": 1, "mean": 1, "var": 1}
_ATTENTION_RANKS = {"query/kernel": 3, "key/kernel": 3, "value/kernel": 3, "out/kernel": 3, "out/bias": 1}
_RANKS: Mapping[Any, Mapping[str, int]] = {
    nn.Dense: {"kernel": 2, "bias": 1},
    nn.Embed: {"embedding": 2},
    **dict.fromkeys((nn.BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.InstanceNorm), _AFFINE_RANKS),
    nn.PReLU: {"negative_slope": 0},
    nn.Conv: {"bias": 1},
    nn.ConvTranspose: {"bias": 1},
    nn.DenseGeneral: {},
    **dict.fromkeys((nn.MultiHeadDotProductAttention, nn.MultiHeadAttention, nn.SelfAttention), _ATTENTION_RANKS),
}

# --- recurrent ---------------------------------------------------------------------------------------------------

_CELLS = {nn.LSTMCell: "LSTM", nn.OptimizedLSTMCell: "LSTM", nn.GRUCell: "GRU", nn.SimpleCell: "RNN"}


def _recurrent() -> Iterator[Row]:
    for native, name in _CELLS.items():
        yield cell_row(native, lambda place, name=name: _cell(place, name))
    for native in (nn.RNN, nn.Bidirectional):
        yield recurrent_row(native, _cells, settings.of_sequence)


def _cells(place: Place) -> Iterator[RecurrentCell]:
    names = [key for key, one in place.entries().get(PARAMETERS, {}).items() if isinstance(one, Mapping)]
    if place.cls is nn.RNN:
        paths = [((name,), False) for name in names]
    else:
        ways = {"forward_rnn": False, "backward_rnn": True}
        paths = [((name, "cell"), reverse) for name, reverse in ways.items() if name in names]
    for path, reverse in paths:
        cell = place.model.place((*place.path, *path))
        yield replace(_cell(cell, _CELLS.get(cell.cls), f"{'/'.join(path)}/"), reverse=reverse)


def _cell(place: Place, name: str | None, path: str = "") -> RecurrentCell:
    """A cell of the kind that `name` tells, or of another class, which need not be known either."""
    if name is None:
        return RecurrentCell(
            "another cell" if place.cls is None else place.cls.__name__, settings=settings.of_cell(place)
        )
    fold = Fold("bias_ih", blocks=(0, 1), of=3) if name == "GRU" else Fold("bias_ih")
    return RecurrentCell(name, _of_cell(name, path), {"bias_hh": fold}, settings.of_cell(place))


def _of_cell(name: str, path: str) -> dict[str, Source]:
    def stacked(gates: str, part: str) -> Source:
        axes = (1, 0) if part == "kernel" else None
        sources = [At(f"{path}{gate}/{part}", axes=axes) for gate in gates.split()]
        return Concat(*sources) if len(sources) > 1 else sources[0]

    inputs, hidden = {
        "LSTM": ("ii if ig io", "hi hf hg ho"),
        "GRU": ("ir iz in", "hr hz hn"),
        "RNN": ("i", "h"),
    }[name]
    found = {
        "weight_ih": stacked(inputs, "kernel"),
        "weight_hh": stacked(hidden, "kernel"),
        "bias_ih": stacked(hidden if name == "LSTM" else inputs, "bias"),
    }
    if name == "GRU":  # of the hidden biases only the new gate's is apart
        found["bias_hh"] = Block(At(f"{path}hn/bias"), 2, 3)
    return found
