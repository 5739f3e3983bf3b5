"""Pairing a file's layers with a model's where their names differ: by what is in them, and never by a guess."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from .errors import AmbiguousMatchError
from .kinds import alike
from .names import join
from .steps import Shape
from .table import LazyShape

__all__ = ["matched", "moved"]

_Contents = frozenset[tuple[str, LazyShape]]
_Families = dict[str, list[str]]


def matched(
    given: Mapping[str, Shape],
    wanted: Mapping[str, LazyShape],
    kinds: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {}),
) -> dict[str, str]:
    """Which layers of a file are which layers of a model.

    Those of one name and contents belong together. Of the others those do that hold the same roles and shapes, where
    each side has one such layer; or several whose names differ by one number only, which are paired in its order; or
    several kinds of names, which all end alike.

    Args:
        given: the shapes of the file's tensors, by name.
        wanted: those of the model's.
        kinds: the kinds of the file's layers and of the model's, as far as they are known.

    Returns:
        The model's layers by the file's, where the names differ.

    Raises:
        AmbiguousMatchError: more than one pairing is possible, or one of names and one of contents contradict.

    >>> matched({"fc1.weight": (8, 4), "fc2.weight": (1, 8)}, {"0.weight": (8, 4), "2.weight": (1, 8)})
    {'fc1': '0', 'fc2': '2'}
    """
    layers, others = _layers(given), _layers(wanted)
    pairs: dict[str, str] = {}
    for contents, ours in layers.items():
        theirs = others.get(contents, [])
        if theirs:
            pairs |= _paired(ours, theirs)
    for layer, other in pairs.items():
        known = kinds[0].get(layer, ""), kinds[1].get(other, "")
        if all(known) and not alike(*known):
            raise _ambiguous([layer], [other], f", and are a {known[0]} and a {known[1]}")
    return {layer: pairs[layer] for group in layers.values() for layer in group if layer in pairs}


def moved(renamed: Callable[[str], str], layers: Mapping[str, str]) -> Callable[[str], str]:
    """A renaming, and then that of layers."""

    def both(name: str) -> str:
        name = renamed(name)
        layer, _, role = name.rpartition(".")
        return join(layers[layer], role) if layer in layers else name

    return both


def _layers(shapes: Mapping[str, LazyShape]) -> dict[_Contents, list[str]]:
    """The layers by what is in them."""
    found: dict[str, set[tuple[str, LazyShape]]] = defaultdict(set)
    for name, shape in shapes.items():
        layer, _, role = name.rpartition(".")
        if shape != ():  # counters are in some frameworks only
            found[layer].add((role, shape))
    layers: dict[_Contents, list[str]] = defaultdict(list)
    for layer, contents in found.items():
        layers[frozenset(contents)].append(layer)
    return layers


def _paired(ours: Sequence[str], theirs: Sequence[str]) -> dict[str, str]:
    """The layers of a file and of a model that hold the same, but for those of one name."""
    common = {*ours} & {*theirs}
    left, right = ([layer for layer in layers if layer not in common] for layers in (ours, theirs))
    if not left or not right:
        return {}
    families, others = _families(left), _families(right)
    if {*map(_family, common)} & {*families, *others}:
        raise _ambiguous(left, right)  # their numbers may count something else
    if len(families) > 1 or len(others) > 1:
        return _by_end(families, others)
    (one,), (other,) = families.values(), others.values()
    if len(one) != len(other) or (len(one) > 1 and families.keys() != others.keys() and not _counts(one, other)):
        raise _ambiguous(left, right)
    return dict(zip(one, other, strict=True))


def _by_end(families: _Families, others: _Families) -> dict[str, str]:
    """The layers of families of which each ends as one of the others does, and no other."""
    ends, their_ends = ({family.rpartition(".")[2]: family for family in one} for one in (families, others))
    groups = [(families[family], others[their_ends[end]]) for end, family in ends.items() if end in their_ends]
    whole = len(groups) == len(families) == len(others)
    if not whole or any(len(one) != len(other) or (len(one) > 1 and not _counts(one, other)) for one, other in groups):
        raise _ambiguous(_all(families), _all(others))
    return {layer: here for one, other in groups for layer, here in zip(one, other, strict=True)}


def _counts(*sides: Sequence[str]) -> bool:
    """Whether on one side at least a single number counts the layers; of several it is not known what each counts."""
    return any(all(len(_numbers(layer)) <= 1 for layer in side) for side in sides)


def _families(layers: Iterable[str]) -> _Families:
    """The layers by their names without numbers, each family in the order of these."""
    families: _Families = defaultdict(list)
    for layer in sorted(layers, key=_numbers):
        families[_family(layer)].append(layer)
    for family in [family for family in families if family.endswith("_#") and family[:-2] in families]:
        families[family] = [*families.pop(family[:-2]), *families[family]]  # dense, dense_1, dense_2
    return families


def _family(layer: str) -> str:
    return re.sub(r"\d+", "#", layer)


def _numbers(layer: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", layer)]


def _all(families: _Families) -> list[str]:
    return [layer for family in families.values() for layer in family]


def _ambiguous(ours: Sequence[str], theirs: Sequence[str], why: str = "") -> AmbiguousMatchError:
    return AmbiguousMatchError(
        f"layers that hold the same roles and shapes could be paired in several ways{why}; nothing was written, and "
        f"rename= says which is which",
        [*(f"{layer!r} of the file" for layer in ours[:6]), *(f"{layer!r} of the model" for layer in theirs[:6])],
    )
