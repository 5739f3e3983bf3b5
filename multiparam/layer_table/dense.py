"""Layouts that frameworks without PyTorch's packing share: linear layers over several axes, and attention.

They are functions from a native layer's options to rows, so that each adapter states the options only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .layout import At, Concat, Source
from .steps import Merge

__all__ = ["attention_sources", "einsum_sources", "general_sources"]


def general_sources(
    kernel: str, inputs: int, outputs: int, *, bias: str = "bias", ordered: Sequence[int] = ()
) -> dict[str, Source]:
    """A Linear's tensors where the kernel is (*inputs, *outputs) and the bias (*outputs).

    Args:
        kernel: the native kernel's name.
        inputs: how many of its axes are summed over.
        outputs: how many are not.
        bias: the native bias's name.
        ordered: where its axes lie, the outputs' first; empty for (*inputs, *outputs).

    >>> general_sources("kernel", 1, 2)["weight"].shape([(8, 2, 4)])
    (8, 8)
    """
    axes = tuple(ordered) or (*range(inputs, inputs + outputs), *range(inputs))
    merged = [Merge(0)] * (outputs - 1)
    return {
        "weight": At(kernel, *merged, *[Merge(1)] * (inputs - 1), axes=axes),
        "bias": At(bias, *merged),
    }


def einsum_sources(equation: str, kernel: str, bias_rank: int, *, bias: str = "bias") -> dict[str, Source]:
    """A Linear's tensors where an einsum multiplies the input by the kernel; nothing if it is no Linear.

    Args:
        equation: `"abc,cd->abd"`, the kernel second; an ellipsis stands for axes of the batch.
        kernel: the native kernel's name.
        bias_rank: how many axes the bias has, 0 without one.
        bias: its name.

    >>> sorted(einsum_sources("abc,cde->abde", "kernel", 2)), einsum_sources("abc,bcd->abd", "kernel", 0)
    (['bias', 'weight'], {})
    """
    found = re.fullmatch(r"([a-zA-Z.]+),([a-zA-Z]+)->([a-zA-Z.]+)", equation.replace(" ", ""))
    if found is None:
        return {}
    given, axes, result = (part.replace("...", "") for part in found.groups())
    inputs = [axis for axis in axes if axis in given and axis not in result]
    outputs = [axis for axis in axes if axis in result and axis not in given]
    last = given.endswith("".join(sorted(inputs, key=given.index))) and result.endswith("".join(outputs))
    if len(inputs) + len(outputs) != len(axes) or not inputs or not outputs or not last:
        return {}  # an axis of the batch has weights of its own, or what is summed over does not come last
    if bias_rank not in (0, len(outputs)):
        return {}  # one bias for several outputs
    summed = sorted(inputs, key=given.index)
    return general_sources(
        kernel,
        len(inputs),
        len(outputs),
        bias=bias,
        ordered=[axes.index(axis) for axis in (*outputs, *summed)],
    )


def attention_sources(projections: Sequence[str], out: str, kernel: str, *, packed: bool) -> dict[str, Source]:
    """A MultiheadAttention's tensors where each projection has kernel (in, heads, size) and bias (heads, size).

    Args:
        projections: paths of the layers that make query, key and value, each with its slash.
        out: path of the layer behind the heads, with kernel (heads, size, out).
        kernel: what they call their kernels.
        packed: the three kernels have one shape, as PyTorch packs them then.
    """
    weights = [At(f"{path}{kernel}", Merge(0), axes=(1, 2, 0)) for path in projections]
    names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
    found: dict[str, Source] = (
        {"in_proj_weight": Concat(*weights)} if packed else dict(zip(names, weights, strict=True))
    )
    return {
        **found,
        "in_proj_bias": Concat(*(At(f"{path}bias", Merge(0)) for path in projections)),
        "out_proj.weight": At(f"{out}{kernel}", Merge(1), axes=(2, 0, 1)),
        "out_proj.bias": At(f"{out}bias"),
    }
