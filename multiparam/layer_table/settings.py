"""What decides a layer's function beside its weights, in PyTorch's terms: how two compare, what others call it.

A setting that a layer's description leaves out has its default, where there is one. Which defaults that are depends on
when the description was written: what an earlier edition did not know of, it did not leave out for being the default.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .kinds import GATES, alike
from .table import Setting

__all__ = [
    "DEFAULTS",
    "EDITION",
    "TRAINING",
    "UNSAID",
    "axes_of",
    "canonical",
    "convolution",
    "differing",
    "facts",
    "input_padded",
    "plain",
    "pooling",
    "shown",
    "transposed_convolution",
    "untold",
]

EDITION = 2  # of the settings that a description has; grows when one is added that has a default

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
_SECOND: Mapping[str, Setting] = {
    "activation": "linear",  # that a layer with weights applies to its own output
    "align_corners": False,
    "align_mode": 0,
    "attention_axes": "all but the batch's and the features'",
    "axis": "channels",  # of a norm
    "compute_dtype": "as the weights",
    "decode": False,  # one step at a time
    "end_dim": -1,  # of a Flatten
    "feature_axes": "as the axes",  # of a norm's weights
    "force_fp32_for_softmax": False,
    "functions": "the framework's own",  # that are put in the place of others
    "input_axes": "the last ones",
    "keep_order": False,  # of what a layer gives that goes through a sequence in reverse
    "mask_zero": False,  # of an embedding, whose zeros are left out by what is behind it
    "max_norm": "none",  # of an embedding
    "max_val": 1.0,  # of a Hardtanh
    "min_val": -1.0,
    "norm_type": 2.0,
    "pool_dilation": 1,
    "logit_soft_cap": "none",
    "lora_scale": "none",
    "mask": "none",  # of a kernel
    "precision": "none",
    "preferred_element_type": "none",
    "recompute_scale_factor": False,
    "reduction_axes": "all",  # of a group norm
    "return_indices": False,
    "reverse_dtype": "none",
    "sliding_window": "none",
    "start_dim": 1,
    "state_clip_nan": False,
    "stateful": False,
    "value": 0.0,  # of a padding
    "zero_output_for_mask": False,
}
# where the same name means another thing in a layer of a kind; None for what has no default there
_OF_KIND: Mapping[str, Mapping[str, Setting | None]] = {
    "Softplus": {"threshold": 20.0},
    "LocalResponseNorm": {"alpha": 1e-4, "beta": 0.75, "k": 1.0},
    "Threshold": {"threshold": None, "value": None},
    **{f"ConstantPad{rank}d": {"value": None} for rank in (1, 2, 3)},
    "SELU": {"scale": 1.0507009873554805, "alpha": 1.6732632423543772},
    **{f"{name}{cell}": {"activation": None} for name in GATES for cell in ("", "Cell")},
    **{f"GRU{cell}(reset_after=False)": {"activation": None} for cell in ("", "Cell")},
}

# what a forward pass in eval mode does not depend on
TRAINING = frozenset({"momentum", "training_statistics"})
UNSAID = frozenset(("kind", "class", "container", *TRAINING))  # without which a description has no settings

# the defaults of PyTorch's constructors, of what frameworks do not agree about or one rarely sets
_EPS = {"eps": 1e-5}
_GATED: Mapping[str, Setting] = {"activation": "tanh", "recurrent_activation": "sigmoid"}
_WAY: Mapping[str, Setting] = {"merge": "concat", "reverse": False, "batch_first": False}
_CANONICAL: Mapping[str, Mapping[str, Setting]] = {
    **dict.fromkeys(("BatchNorm", "InstanceNorm", "GroupNorm", "LayerNorm"), _EPS),
    "RMSNorm": {"eps": 2.0**-23},
    "GELU": {"approximate": "none"},
    "LeakyReLU": {"negative_slope": 0.01},
    **{key: {"alpha": 1.0} for key in ("ELU", "CELU")},
    "RNN": {"nonlinearity": "tanh", **_WAY},
    "RNNCell": {"nonlinearity": "tanh"},
    **{key: {**_GATED, **_WAY} for key in ("LSTM", "GRU")},
    **dict.fromkeys(("LSTMCell", "GRUCell"), _GATED),
    "MultiheadAttention": {"batch_first": False},
}
_GIVEN = frozenset(("output_size", "input_dilation", "axes", "dilation", "layout"))  # that a model says for itself
_KIND = ("kind", "class", "container")


def default(name: str, kind: str = "", edition: int = EDITION) -> Setting | None:
    """What a setting is that a layer's description leaves out; None where that is not known.

    Args:
        name: the setting.
        kind: the layer's kind.
        edition: which settings whoever wrote the description knew of.
    """
    if edition > 1:
        own = _OF_KIND.get(kind, {})
        if name in own:
            return own[name]
        if name in _SECOND:
            return _SECOND[name]
    return DEFAULTS.get(name)


def canonical(kind: str, name: str) -> Setting | None:
    """The default of a constructor of PyTorch's; None where there is none, or a model says for itself what it wants.

    >>> canonical("BatchNorm2d", "eps"), canonical("Conv2d", "padding_mode"), canonical("Conv2d", "stride")
    (1e-05, 'zeros', None)
    """
    if name in _GIVEN or name in TRAINING:
        return None
    own = _of_kind(_CANONICAL, kind)
    return own[name] if name in own else default(name, kind)


def _of_kind(table: Mapping[str, Mapping[str, Setting]], kind: str) -> Mapping[str, Setting]:
    return table.get(kind, table.get(re.sub(r"[123]d$", "", kind), {}))


def differing(
    first: Mapping[str, Any], second: Mapping[str, Any], editions: tuple[int, int] = (EDITION, EDITION)
) -> list[tuple[str, Any, Any]]:
    """(setting, the first's value, the second's) for what differs; what one leaves open may be a default.

    Args:
        first: what a model or a file says of a layer.
        second: what another one does.
        editions: which settings each of them knew of.

    >>> differing({"eps": 1e-5, "padding_mode": "reflect"}, {"eps": 1e-3})
    [('eps', 1e-05, 0.001), ('padding_mode', 'reflect', 'zeros')]
    >>> differing({"kind": "ReLU"}, {"class": "torch.Tanhshrink"})
    [('kind', 'ReLU', 'Tanhshrink')]
    """
    unlike = _unlike(first, second)
    if unlike is not None:
        return unlike
    found = []
    for name in dict.fromkeys((*first, *second)):
        both = [
            one.get(name, default(name, str(one.get("kind", "")), edition))
            for one, edition in zip((first, second), editions, strict=True)
        ]
        # what one side leaves open, and is no default either, is not known to differ
        if name not in _KIND and not any(one is None for one in both) and not _same(name, *both):
            found.append((name, *both))
    return found


def _unlike(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[tuple[str, Any, Any]] | None:
    """That two layers are of different kinds; empty if nothing can be compared all the same, None if they are alike."""
    if "kind" in first and "kind" in second:
        one, other = str(first["kind"]), str(second["kind"])
        return None if alike(one, other) else [("kind", one, other)]
    classes = [str(one.get("class", one.get("container", ""))) for one in (first, second)]
    if all(classes):
        if classes[0] == classes[1]:
            return None
        alone = "class" in first and "class" in second and len({_framework(one) for one in classes}) == 1
        return [("kind", _short(classes[0]), _short(classes[1]))] if alone else []
    if ("kind" in first and "class" in second) or ("class" in first and "kind" in second):
        one, other = (
            str(about["kind"]) if "kind" in about else _short(str(about["class"])) for about in (first, second)
        )
        bare = [re.sub(r"[123]d$", "", name, flags=re.IGNORECASE).lower() for name in (one, other)]
        # a layer of one's own is often called after what it is
        return None if bare[0] in bare[1] or bare[1] in bare[0] else [("kind", one, other)]
    return None


def _framework(name: str) -> str:
    return name.partition(".")[0]


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _same(name: str, first: Any, second: Any) -> bool:
    if name in ("dim", "axis"):  # an axis has several names where it is known how many there are
        return not set(str(first).split(" or ")).isdisjoint(str(second).split(" or "))
    if isinstance(first, float) and isinstance(second, float):
        return math.isclose(first, second, rel_tol=1e-6)  # one is 1 - 0.99, say
    return bool(first == second)


def facts(differences: Iterable[tuple[str, str, Any, Any]]) -> list[tuple[list[str], str, str, str]]:
    """(layers, setting, one value, the other) of differences, those that are one fact as one.

    >>> facts([("0", "eps", 1e-5, 1e-3), ("2", "eps", 1e-5, 1e-3)])
    [(['0', '2'], 'eps', '1e-05', '0.001')]
    """
    found: dict[tuple[str, str, str], list[str]] = {}
    for layer, setting, one, other in differences:
        found.setdefault((setting, shown(one), shown(other)), []).append(layer)
    return [(layers, *fact) for fact, layers in found.items()]


def shown(value: Any) -> str:
    """A setting's value as it is printed.

    >>> shown(0.30000001192092896), shown([1, 1]), shown("tanh")
    ('0.3', '[1, 1]', 'tanh')
    """
    return f"{value:.6g}" if isinstance(value, float) else str(value)


MOST_SETTINGS = 24  # of a layer of no known kind
LONGEST = 200  # characters of one of them


def plain(said: Mapping[str, Any]) -> dict[str, Setting]:
    """Of what a layer says of itself, what can be written into a file: numbers, words and lists of them, not too many.

    >>> plain({"lambd": 0.5, "size": (2, None), "function": len, "inner": {}})
    {'lambd': 0.5, 'size': '(2, None)', 'function': 'len'}
    """
    found: dict[str, Setting] = {}
    for name, value in said.items():
        made = _plain(value)
        if made is not None and len(found) < MOST_SETTINGS and len(str(name)) <= LONGEST:
            found[str(name)] = made
    return found


def _plain(value: Any) -> Setting | None:
    if value is None:
        return "none"
    if isinstance(value, (bool, str)):
        return value if not isinstance(value, str) or len(value) <= LONGEST else None
    if isinstance(value, (int, float)):
        return value if math.isfinite(value) and abs(value) < 2**63 else str(value)
    if isinstance(value, (list, tuple)):
        flat = all(one is None or isinstance(one, (bool, int, float, str, list, tuple)) for one in value)
        text = str(tuple(value)) if flat and len(value) <= LONGEST else ""
        return text if text and len(text) <= LONGEST else None
    name = getattr(value, "__name__", None) if callable(value) else None
    return name if isinstance(name, str) and name != "<lambda>" else None


def untold(
    nodes: Iterable[tuple[str, Mapping[str, Any]]], writers: Mapping[str, Mapping[str, Setting]]
) -> list[tuple[str, str, Any, Any]]:
    """(layer, setting, the default where a file without settings was written, the model's) for those that differ.

    Args:
        nodes: a model's layers, name and description.
        writers: the defaults of the framework that wrote the file, by kind, where they are not PyTorch's.
    """
    found = []
    for layer, about in nodes:
        kind = str(about.get("kind", ""))
        own = _of_kind(writers, kind)
        for name in dict.fromkeys((*about, *own)) if kind else ():
            there = own.get(name, canonical(kind, name))
            here = about.get(name, default(name, kind))
            moot = name == "count_include_pad" and about.get("padding") in ([0], [0, 0], [0, 0, 0])
            if name in _KIND or moot or there is None or here is None:
                continue
            if not _same(name, there, here):
                found.append((layer, name, there, here))
    return found


def axes_of(axes: Any, rank: int | None = None) -> str:
    """Axes as a setting, from the end where it is known how many there are.

    >>> axes_of(-1), axes_of([1, 2]), axes_of((1, 2), 3)
    ('-1', '1, 2', '-2, -1')
    """
    each = [int(one) for one in axes] if isinstance(axes, Iterable) else [int(axes)]
    counted = [one - rank if rank is not None and one >= 0 else one for one in each]
    return ", ".join(map(str, sorted(counted)))


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
