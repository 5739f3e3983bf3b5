"""Every layer kind from every framework into every other: weights back to the bit, and the difference of outputs.

The cases are built with `multiparam.nn`. A backend adds layers of its framework's own that are the same kind and are
made or called in another way: its plug-in names a module with `natives()`, a dict from the names in `NATIVE` to a
`NativeLayer`.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import multiparam as mp
from multiparam import nn
from multiparam.adapter.plugin import Capability
from multiparam.adapter.registry import backends, plugins
from multiparam.arrays.types import Array

__all__ = [
    "CASES",
    "NATIVE",
    "Case",
    "Cell",
    "NativeLayer",
    "compare",
    "draw",
    "first_output",
    "frameworks",
    "inputs",
    "layers_of",
]

Build = Callable[..., Any]


@dataclass(frozen=True)
class Case:
    """A layer kind with its options, and inputs for it.

    Attributes:
        name: what the table calls it.
        build: makes it with `multiparam.nn`; called with `backend=`. None for layers that only `natives` makes.
        shapes: shapes of its inputs, channels or batch first as PyTorch has them.
        zero: roles that stay 0, of those that not every framework keeps.
        apart: whether some frameworks have nothing that computes the same.
    """

    name: str
    build: Build | None
    shapes: tuple[tuple[int, ...], ...]
    zero: tuple[str, ...] = ()
    apart: bool = False


@dataclass(frozen=True)
class NativeLayer:
    """A framework's own layer for a case.

    Attributes:
        make: makes it.
        inputs: from PyTorch's inputs to the layer's own.
        output: from what `multiparam.run` gives to PyTorch's (first) output.
    """

    make: Callable[[], Any]
    inputs: Callable[..., tuple[Any, ...]] = lambda *arrays: arrays
    output: Callable[[Any], Array] = lambda found: found


@dataclass(frozen=True)
class Cell:
    """One way in the table.

    Attributes:
        difference: the largest difference of the two forward passes, by the largest output; None if it was refused.
        folded: tensors were added to others on the way, so that the weights do not come back as they were.
        exact: the weights came back to the bit.
        differences: settings that were reported to differ.
        why: the reason of a refusal.
    """

    difference: float | None
    folded: bool = False
    exact: bool = True
    differences: tuple[Any, ...] = ()
    why: str = ""

    def __str__(self) -> str:
        if self.difference is None:
            return "refused"
        return f"{self.difference:.0e}{' folded' if self.folded else ''}" if self.difference else "0"


def _of(name: str, builder: Callable[..., Any], shape: Any, *arguments: Any, **options: Any) -> Case:
    shapes = shape if isinstance(shape[0], tuple) else (shape,)

    def build(backend: str) -> Any:
        return builder(*arguments, **options, backend=backend)

    return Case(name, build, shapes)


def _convolutions() -> Iterator[Case]:
    images = {1: (2, 4, 9), 2: (2, 4, 9, 8), 3: (2, 4, 6, 7, 5)}
    for rank, shape in images.items():
        conv, transpose = getattr(nn, f"Conv{rank}d"), getattr(nn, f"ConvTranspose{rank}d")
        yield _of(f"Conv{rank}d", conv, shape, 4, 8, 3, padding=1)
        yield _of(f"Conv{rank}d, strided, no bias", conv, shape, 4, 8, 3, stride=2, bias=False)
        yield _of(f"Conv{rank}d, dilated", conv, shape, 4, 8, 2, dilation=2)
        yield _of(f"Conv{rank}d, grouped", conv, shape, 4, 8, 3, groups=2)
        yield _of(f"Conv{rank}d, depthwise", conv, shape, 4, 12, 3, groups=4)
        yield _of(f"ConvTranspose{rank}d", transpose, shape, 4, 6, 3, stride=2, padding=1, output_padding=1)
        yield _of(f"ConvTranspose{rank}d, grouped", transpose, shape, 4, 6, 3, groups=2)
        if rank < 3:
            separable = getattr(nn, f"SeparableConv{rank}d")
            yield _of(f"SeparableConv{rank}d", separable, shape, 4, 6, 3, padding=1, depth_multiplier=2)


def _norms() -> Iterator[Case]:
    images = {1: (3, 4, 9), 2: (3, 4, 9, 8), 3: (3, 4, 6, 7, 5)}
    for rank, shape in images.items():
        yield _of(f"BatchNorm{rank}d", getattr(nn, f"BatchNorm{rank}d"), shape, 4)
        yield _of(f"InstanceNorm{rank}d", getattr(nn, f"InstanceNorm{rank}d"), shape, 4, affine=True)
    yield _of("GroupNorm", nn.GroupNorm, images[2], 2, 4)
    yield _of("LayerNorm", nn.LayerNorm, (3, 5, 8), 8)
    yield _of("RMSNorm", nn.RMSNorm, (3, 5, 8), 8)
    yield _of("PReLU", nn.PReLU, images[2])
    yield _of("PReLU, per channel", nn.PReLU, (3, 4), 4)


def _recurrent() -> Iterator[Case]:
    sequence = (3, 7, 4)
    for name in ("RNN", "LSTM", "GRU"):
        layer, cell = getattr(nn, name), getattr(nn, f"{name}Cell")
        yield _of(name, layer, sequence, 4, 5)
        yield _of(
            f"{name}, two layers, both directions", layer, sequence, 4, 5, 2, batch_first=True, bidirectional=True
        )
        yield _of(f"{name}, no bias", layer, sequence, 4, 5, bias=False)
        yield _of(f"{name}Cell", cell, (3, 4), 4, 5)


CASES: Mapping[str, Case] = {
    case.name: case
    for case in (
        _of("Linear", nn.Linear, (3, 4), 4, 8),
        _of("Linear, no bias", nn.Linear, (3, 5, 4), 4, 8, bias=False),
        _of("Embedding", nn.Embedding, (3, 5), 7, 4),
        *_convolutions(),
        *_norms(),
        *_recurrent(),
        _of("MultiheadAttention", nn.MultiheadAttention, ((5, 3, 8), (6, 3, 8), (6, 3, 8)), 8, 2),
        _of(
            "MultiheadAttention, kdim, vdim",
            nn.MultiheadAttention,
            ((3, 5, 8), (3, 6, 4), (3, 6, 4)),
            *(8, 2),
            kdim=4,
            vdim=4,
            batch_first=True,
        ),
        _of("Bilinear", nn.Bilinear, ((3, 4), (3, 5)), 4, 5, 6),
    )
}

# layers that are made of the frameworks' own classes, one for each framework that has it
NATIVE: Mapping[str, Case] = {
    case.name: case
    for case in (
        Case("LSTM, native", None, ((3, 7, 4),)),
        Case("LSTM, native, both directions", None, ((3, 7, 4),)),
        Case("GRU, native", None, ((3, 7, 4),), apart=True),
        Case("GRU, native, without b_hn", None, ((3, 7, 4),), zero=("bias_hh_l0",)),
        Case("RNN, native", None, ((3, 7, 4),)),
        Case("GRU, reset before the product", None, ((3, 7, 4),), apart=True),
        Case("MultiheadAttention, native", None, ((3, 5, 8), (3, 6, 8), (3, 6, 8))),
        Case("Linear over several axes", None, ((3, 5, 4),)),
        Case("ConvTranspose2d, native", None, ((2, 4, 5, 6),)),
        Case("Conv2d depthwise, native", None, ((2, 4, 9, 9),)),
    )
}


def frameworks() -> list[str]:
    """The installed backends that have layers for the table, in an order in which all of them can be imported."""
    found = [one.name for one in backends() if one.installed and plugins()[one.name].natives]
    return sorted(found, key=lambda name: not plugins()[name].precedes)


def layers_of(framework: str) -> dict[str, NativeLayer]:
    """A framework's layers by case; a case that it has no layer for is not there."""
    found: dict[str, NativeLayer] = {}
    plugin = plugins()[framework]
    if Capability.BUILD in plugin.capabilities:
        for case in CASES.values():
            assert case.build is not None
            build = case.build
            try:
                build(backend=framework)
            except mp.UnsupportedError:
                continue
            found[case.name] = NativeLayer(partial(build, backend=framework))
    if plugin.natives:
        found |= importlib.import_module(plugin.natives).natives()
    return found


def first_output(found: Any) -> Array:
    """The first of what a layer gives, an LSTM's outputs without its states."""
    while isinstance(found, (list, tuple)):
        found = found[0]
    return np.asarray(found)


@dataclass
class _Side:
    framework: str
    layer: NativeLayer
    made: Any = field(init=False)

    def __post_init__(self) -> None:
        self.made = self.layer.make()

    def forward(self, inputs: list[Array]) -> Array:
        return first_output(self.layer.output(mp.run(self.made, tuple(self.layer.inputs(*inputs)))))


def compare(case: Case, source: tuple[str, NativeLayer], target: tuple[str, NativeLayer]) -> Cell:
    """Sends random weights from one framework's layer into another's and back, and runs both."""
    a, b = _Side(*source), _Side(*target)
    draw(a.made, case.zero)
    given = inputs(case)
    with tempfile.TemporaryDirectory() as folder:
        there, back = Path(folder, "there.safetensors"), Path(folder, "back.safetensors")
        mp.save(a.made, there)
        try:
            report = mp.load(there, into=b.made)
        except mp.MismatchError as error:
            return Cell(None, why=reason(error))
        expected, made = a.forward(given), b.forward(given)
        difference = float(np.abs(made - expected).max() / max(1e-6, np.abs(expected).max()))
        mp.save(b.made, back)
        try:
            mp.load(back, into=a.made)
        except mp.MismatchError as error:
            return Cell(None, why=reason(error))
        mp.save(a.made, back)
        exact = _same(mp.load(there, backend="numpy"), mp.load(back, backend="numpy"))
    return Cell(difference, bool(report.folded), exact, tuple(report.differences))


def reason(error: mp.MismatchError) -> str:
    """Why a load was refused, in a line."""
    lines = [line for line in str(error).splitlines()[1:] if not error.report.kinds or line.startswith("kind")]
    return "; ".join(lines) or str(error)


def draw(layer: Any, zero: tuple[str, ...] = ()) -> None:
    """Positive random numbers everywhere, running variances included."""
    for name, one in mp.state(layer).items():
        if one.dtype.kind != "f":
            continue
        values = mp.init.Uniform(0.1, 0.9).values(1, name, one.slot.extents())
        values = values - (0.5 if one.role not in ("running_var", "running_mean") else 0.0)
        one.assign(one.slot.source.kept(np.zeros_like(values) if one.role in zero else values.astype(one.dtype)))


def inputs(case: Case) -> list[Array]:
    """The same inputs for every framework, as PyTorch takes them."""
    rngs = [np.random.default_rng(position) for position in range(len(case.shapes))]
    if case.name == "Embedding":
        return [rng.integers(0, 7, shape) for rng, shape in zip(rngs, case.shapes, strict=True)]
    return [rng.standard_normal(shape).astype(np.float32) for rng, shape in zip(rngs, case.shapes, strict=True)]


def _same(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)
