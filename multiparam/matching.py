"""Pairing a file's layers with a model's where their names differ: by what is in them, and never by a guess."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from .errors import AmbiguousMatchError
from .names import join
from .steps import Shape
from .table import LazyShape

__all__ = ["matched", "moved"]

_Contents = frozenset[tuple[str, LazyShape]]


def matched(given: Mapping[str, Shape], wanted: Mapping[str, LazyShape]) -> dict[str, str]:
    """Which layers of a file are which layers of a model.

    Layers of one name are left alone. Of the others those belong together that hold the same roles and shapes, where
    each side has one such layer; or several that differ by the numbers in their names only, which are paired in their
    order; or several kinds of names, those that end alike.

    Args:
        given: the shapes of the file's tensors, by name.
        wanted: those of the model's.

    Returns:
        The model's layers by the file's.

    Raises:
        AmbiguousMatchError: more than one pairing is possible.

    >>> matched({"fc1.weight": (8, 4), "fc2.weight": (1, 8)}, {"0.weight": (8, 4), "2.weight": (1, 8)})
    {'fc1': '0', 'fc2': '2'}
    """
    apart = _layers(given, wanted), _layers(wanted, given)
    pairs: dict[str, str] = {}
    for contents, layers in apart[0].items():
        others = apart[1].get(contents, [])
        if others:
            pairs |= _paired(_families(layers), _families(others))
    return {layer: pairs[layer] for layers in apart[0].values() for layer in layers if layer in pairs}


def moved(renamed: Callable[[str], str], layers: Mapping[str, str]) -> Callable[[str], str]:
    """A renaming, and then that of layers."""

    def both(name: str) -> str:
        name = renamed(name)
        layer, _, role = name.rpartition(".")
        return join(layers[layer], role) if layer in layers else name

    return both


def _layers(shapes: Mapping[str, LazyShape], others: Mapping[str, LazyShape]) -> dict[_Contents, list[str]]:
    """The layers that have no tensor in common with the others, by what is in them."""
    found: dict[str, set[tuple[str, LazyShape]]] = defaultdict(set)
    named = {name.rpartition(".")[0] for name in shapes if name in others}
    for name, shape in shapes.items():
        layer, _, role = name.rpartition(".")
        if layer not in named and shape != ():  # counters are in some frameworks only
            found[layer].add((role, shape))
    sorted_out: dict[_Contents, list[str]] = defaultdict(list)
    for layer, contents in found.items():
        sorted_out[frozenset(contents)].append(layer)
    return sorted_out


def _families(layers: Iterable[str]) -> dict[str, list[str]]:
    """The layers by their names without numbers, each family in the order of these."""
    families: dict[str, list[str]] = defaultdict(list)
    for layer in sorted(layers, key=lambda layer: [int(number) for number in re.findall(r"\d+", layer)]):
        families[re.sub(r"_?\d+", "", layer)].append(layer)  # Keras counts dense, dense_1, dense_2
    return families


def _paired(given: dict[str, list[str]], wanted: dict[str, list[str]]) -> dict[str, str]:
    """The layers of two sets of families that hold the same."""
    pairs: dict[str, str] = {}
    ends = _by_end(given), _by_end(wanted)
    for end in ends[0] if len(given) > 1 or len(wanted) > 1 else ():
        one, other = ends[0][end], ends[1].get(end)
        if one is not None and other is not None and len(given[one]) == len(wanted[other]):
            pairs |= zip(given.pop(one), wanted.pop(other), strict=True)
    if not given or not wanted:
        return pairs
    lines = [layers for families in (given, wanted) for layers in families.values()]
    if len(lines) > 2 or len(lines[0]) != len(lines[1]):
        whose = {"the file": given, "the model": wanted}
        raise AmbiguousMatchError(
            "layers that hold the same roles and shapes could be paired in several ways, and nothing was written; "
            "rename= says which is which",
            [f"{layer!r} of {side}" for side, families in whose.items() for one in families.values() for layer in one],
        )
    return pairs | dict(zip(*lines, strict=True))


def _by_end(families: Mapping[str, list[str]]) -> dict[str, str | None]:
    """The families by their last component, None where two have the same."""
    found: dict[str, str | None] = {}
    for family in families:
        end = family.rpartition(".")[2]
        found[end] = None if end in found else family
    return found
