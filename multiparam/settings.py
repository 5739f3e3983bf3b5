"""Settings of convolutions and pools in PyTorch's terms, from what other frameworks call them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .kinds import alike
from .table import Setting

__all__ = ["DEFAULTS", "TRAINING", "convolution", "differing", "input_padded", "pooling", "transposed_convolution"]


# what a setting is where a layer's description leaves it out; of any other that is not known
DEFAULTS: Mapping[str, Setting] = {
    "padding_mode": "zeros",
    "input_dilation": 1,
    "count_include_pad": True,
    "ceil_mode": False,
    "residual": False,
    "add_zero_attn": False,
    "output_size": 1,
    "max_value": "none",
    "threshold": 0.0,
    "beta": 1.0,
    "swish_beta": 1.0,
    "state_clip": "none",
    "fused_activation": "none",  # of a norm
    "axes": "-1",  # of a layer norm
    "statistics": "running",  # that a batch norm takes when it does not train
    "training_statistics": "batch",
    "dropout_mode": "upscale_in_train",
    "divisor_override": "none",
    "zero_index": "none",  # of an embedding, whose vector is taken for 0
}

# what a forward pass in eval mode does not depend on
TRAINING = frozenset({"momentum", "training_statistics"})


def differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(setting, the first's value, the second's) for what differs; what one leaves open may be a default.

    >>> differing({"eps": 1e-5, "padding_mode": "reflect"}, {"eps": 1e-3})
    [('eps', 1e-05, 0.001), ('padding_mode', 'reflect', 'zeros')]
    """
    found = []
    for name in dict.fromkeys((*first, *second)):
        both = [settings.get(name, DEFAULTS.get(name)) for settings in (first, second)]
        # what one side leaves open, and is no default either, is not known to differ
        if None not in both and not _same(name, *both):
            found.append((name, *both))
    return found


def _same(name: str, first: Any, second: Any) -> bool:
    if name == "kind":
        return alike(str(first), str(second))
    if isinstance(first, float) and isinstance(second, float):
        return math.isclose(first, second, rel_tol=1e-6)  # one is 1 - 0.99, say
    return bool(first == second)


_MODES = ("circular", "reflect", "causal")


def convolution(
    kernel_size: Sequence[int], stride: Any, padding: Any, dilation: Any = 1, groups: int = 1
) -> dict[str, Setting]:
    """Stride, padding, dilation and groups of a convolution.

    Args:
        kernel_size: the kernel's extents.
        stride: one for all axes, or one each; so is `dilation`.
        padding: `"valid"`, `"same"`, a number for both sides, or one or a pair of them for each axis. "Same" is given
            in numbers where it always is the same: where the stride is 1, or the kernel is. `"circular"`, `"reflect"`
            and `"causal"` are "same" with other numbers than zeros around.
        dilation: distances between the kernel's elements.
        groups: in how many groups the channels are convolved apart.

    >>> convolution((3, 3), 1, "SAME")
    {'stride': [1, 1], 'padding': [1, 1], 'dilation': [1, 1], 'groups': 1}
    """
    steps, gaps = _each(kernel_size, stride), _each(kernel_size, dilation)
    spread = [gap * (extent - 1) for gap, extent in zip(gaps, kernel_size, strict=True)]
    mode: dict[str, Setting] = {}
    if isinstance(padding, str) and padding.lower() in _MODES:
        mode, padding = {"padding_mode": padding.lower()}, "same"
    # with a stride it depends on the input, but where nothing is needed
    even = all(step == 1 or not extent for step, extent in zip(steps, spread, strict=True))
    around = _padding(kernel_size, padding, spread if even else None)
    return {"stride": steps, "padding": around, "dilation": gaps, "groups": int(groups)} | mode


def transposed_convolution(
    kernel_size: Sequence[int], stride: Any, padding: Any, dilation: Any = 1, groups: int = 1, output_padding: Any = 0
) -> dict[str, Setting]:
    """As `convolution`, for its transpose, whose padding is what the output loses."""
    steps, gaps = _each(kernel_size, stride), _each(kernel_size, dilation)
    cut = [1 + gap * (extent - 1) - step for gap, extent, step in zip(gaps, kernel_size, steps, strict=True)]
    around = _padding(kernel_size, padding, cut if min(cut) >= 0 else None)
    kept = _each(kernel_size, output_padding)
    return {"stride": steps, "padding": around, "dilation": gaps, "groups": int(groups), "output_padding": kept}


def input_padded(kernel_size: Sequence[int], stride: Any, padding: Any, dilation: Any = 1) -> dict[str, Setting]:
    """As `transposed_convolution`, where the padding is put around the spread-out input, as JAX has it.

    >>> input_padded((3,), 2, [(1, 2)])
    {'stride': [2], 'padding': [1], 'dilation': [1], 'groups': 1, 'output_padding': [1]}
    """
    if isinstance(padding, str):
        return transposed_convolution(kernel_size, stride, padding, dilation)
    each = [padding] * len(kernel_size) if isinstance(padding, int) else padding
    pairs = [(one, one) if isinstance(one, int) else one for one in each]
    full = [gap * (extent - 1) for gap, extent in zip(_each(kernel_size, dilation), kernel_size, strict=True)]
    cut = [whole - before for whole, (before, _) in zip(full, pairs, strict=True)]
    kept = [after - before for before, after in pairs]
    return transposed_convolution(kernel_size, stride, cut, dilation, output_padding=kept)


def pooling(kernel_size: Sequence[int], stride: Any, padding: Any) -> dict[str, Setting]:
    """Window, stride and padding of a pool."""
    return {
        "kernel_size": list(kernel_size),
        "stride": _each(kernel_size, stride),
        "padding": _padding(kernel_size, padding, None),
    }


def _each(kernel_size: Sequence[int], size: Any) -> list[int]:
    if isinstance(size, Sequence):
        each = [int(one) for one in size]
        return each * len(kernel_size) if len(each) == 1 else each
    return [1 if size is None else int(size)] * len(kernel_size)


def _padding(kernel_size: Sequence[int], padding: Any, same: list[int] | None) -> Setting:
    """The padding; `same` is what "same" adds up to on each axis, None where that depends on the input."""
    if isinstance(padding, str):
        name = padding.lower()
        if name == "valid":
            return [0] * len(kernel_size)
        even = same is not None and all(one % 2 == 0 for one in same)
        return [one // 2 for one in same] if name == "same" and same is not None and even else name
    if isinstance(padding, Sequence) and any(isinstance(one, Sequence) for one in padding):
        pairs = [(one, one) if isinstance(one, int) else tuple(one) for one in padding]
        if all(before == after for before, after in pairs):
            return [int(before) for before, _ in pairs]
        return [int(one) for pair in pairs for one in pair]
    return _each(kernel_size, padding)
