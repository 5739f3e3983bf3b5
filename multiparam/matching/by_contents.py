"""Pairing a file's layers with a model's where their names differ: by what is in them, and never by a guess."""

from __future__ import annotations

import itertools
import re
import textwrap
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from ..arrays.types import Shape
from ..errors import MOST_CANDIDATES, AmbiguousMatchError, literal
from ..layer_table.kinds import alike
from ..layer_table.table import LazyShape
from ..names.pattern import join

__all__ = ["matched", "moved"]

_Contents = frozenset[tuple[str, LazyShape]]
_Families = dict[str, list[str]]
_Ties = Sequence[Sequence[str]]

UNTOLD = "?"  # in the place of a layer's name that is to be filled in: no model has one of that name
MOST_LAYERS = 60  # that a message has lines for
WIDTH = 80


class _Open(Exception):  # noqa: N818 - an answer, not an error
    """Layers that could be paired in several ways."""

    def __init__(self, ours: Sequence[str], theirs: Sequence[str], why: str = "") -> None:
        super().__init__(why)
        self.ours, self.theirs, self.why = ours, theirs, why


def matched(
    given: Mapping[str, Shape],
    wanted: Mapping[str, LazyShape],
    kinds: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {}),
    ties: tuple[_Ties, _Ties] = ((), ()),
) -> dict[str, str]:
    """Which layers of a file are which layers of a model.

    Those of one name and contents belong together. Of the others those do that hold the same roles and shapes, where
    each side has one such layer; or several whose names differ by one number only, which are paired in its order; or
    several kinds of names, which all end alike. Layers that are tied as a whole are one.

    Args:
        given: the shapes of the file's tensors, by name.
        wanted: those of the model's.
        kinds: the kinds of the file's layers and of the model's, as far as they are known.
        ties: the groups of names that are one tensor, in the file and in the model.

    Returns:
        The model's layers by the file's, where the names differ.

    Raises:
        AmbiguousMatchError: more than one pairing is possible, or one of names and one of contents contradict.

    >>> matched({"fc1.weight": (8, 4), "fc2.weight": (1, 8)}, {"0.weight": (8, 4), "2.weight": (1, 8)})
    {'fc1': '0', 'fc2': '2'}
    """
    layers, others = _layers(given), _layers(wanted)
    first, their_first = _first_of_tied(given, ties[0]), _first_of_tied(wanted, ties[1])
    pairs: dict[str, str] = {}
    left: list[_Open] = []
    for contents, ours in layers.items():
        theirs = others.get(contents, [])
        if not theirs:
            continue
        try:
            found = _paired_or_tied(ours, theirs, first, their_first)
            _check_kinds(found, kinds)
            pairs |= found
        except _Open as group:
            left.append(group)
    if left:
        above = {layer[:dot] for some in layers.values() for layer in some for dot in _dots(layer)}
        raise _ambiguous(left, above)
    return {layer: pairs[layer] for group in layers.values() for layer in group if layer in pairs}


def _paired_or_tied(
    ours: Sequence[str], theirs: Sequence[str], first: Mapping[str, str], their_first: Mapping[str, str]
) -> dict[str, str]:
    """The layers that hold the same, in pairs: under all their names, or else each tied one once."""
    try:
        return _paired(ours, theirs)
    except _Open:
        once = [[*dict.fromkeys(by[layer] for layer in some)] for some, by in ((ours, first), (theirs, their_first))]
        if [len(some) for some in once] == [len(ours), len(theirs)]:
            raise
        return _paired(*once)


def _first_of_tied(names: Iterable[str], ties: _Ties) -> dict[str, str]:
    """For each layer the first one that holds the very same tensors, which may be itself."""
    storage = {name: group[0] for group in ties for name in group}
    held: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for name in names:
        layer, _, role = name.rpartition(".")
        held[layer].add((role, storage.get(name, name)))
    first: dict[frozenset[tuple[str, str]], str] = {}
    return {layer: first.setdefault(frozenset(tensors), layer) for layer, tensors in held.items()}


def _check_kinds(pairs: Mapping[str, str], kinds: tuple[Mapping[str, str], Mapping[str, str]]) -> None:
    for layer, other in pairs.items():
        known = kinds[0].get(layer, ""), kinds[1].get(other, "")
        if all(known) and not alike(*known):
            raise _Open([layer], [other], f"but they are a {known[0]} and a {known[1]}")


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
        raise _Open(left, right)  # their numbers may count something else
    if len(families) > 1 or len(others) > 1:
        return _by_end(families, others)
    (one,), (other,) = families.values(), others.values()
    if len(one) != len(other) or (len(one) > 1 and families.keys() != others.keys() and not _counts(one, other)):
        raise _Open(left, right)
    return dict(zip(one, other, strict=True))


def _by_end(families: _Families, others: _Families) -> dict[str, str]:
    """The layers of families of which each ends as one of the others does, and no other."""
    ends, their_ends = ({family.rpartition(".")[2]: family for family in one} for one in (families, others))
    groups = [(families[family], others[their_ends[end]]) for end, family in ends.items() if end in their_ends]
    whole = len(groups) == len(families) == len(others)
    if not whole or any(len(one) != len(other) or (len(one) > 1 and not _counts(one, other)) for one, other in groups):
        raise _Open(_all(families), _all(others))
    return {layer: here for one, other in groups for layer, here in zip(one, other, strict=True)}


def _counts(*sides: Sequence[str]) -> bool:
    """Whether on one side at least a single number counts the layers; of several it is not known what each counts."""
    return any(_varying(side) <= 1 for side in sides)


def _varying(layers: Sequence[str]) -> int:
    """How many of the numbers in the layers' names are not the same in all of them."""
    return sum(len({*column}) > 1 for column in itertools.zip_longest(*map(_numbers, layers)))


def _families(layers: Iterable[str]) -> _Families:
    """The layers by their names without numbers, each family in the order of these."""
    families: _Families = defaultdict(list)
    for layer in sorted(layers, key=_numbers):
        families[_family(layer)].append(layer)
    for family in [family for family in families if family.endswith("_#") and family[:-2] in families]:
        # dense, dense_1, dense_2
        families[family] = sorted([*families.pop(family[:-2]), *families[family]], key=_numbers)
    return families


def _family(layer: str) -> str:
    return re.sub(r"\d+", "#", layer)


def _numbers(layer: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", layer)]


def _all(families: _Families) -> list[str]:
    return [layer for family in families.values() for layer in family]


def _dots(layer: str) -> list[int]:
    return [at for at, one in enumerate(layer) if one == "."]


def _ambiguous(left: Sequence[_Open], above: Collection[str]) -> AmbiguousMatchError:
    """The error, with a renaming to be filled in for all that is open at once.

    Args:
        left: what is open.
        above: the names of what has layers of the file below it.
    """
    sides = [f"{layer!r} of the file" for group in left for layer in group.ours]
    sides += [f"{layer!r} of the model" for group in left for layer in group.theirs]
    message = (
        "layers that hold the same roles and shapes could be paired in several ways; nothing was written. Say which "
        "is which with this, each ? filled in:"
    )
    return AmbiguousMatchError(message, sides, [*textwrap.wrap(message, WIDTH), *_to_fill_in(left, above)])


def _to_fill_in(left: Sequence[_Open], above: Collection[str]) -> Iterator[str]:
    """A dict as one would write it in a call, to be completed."""
    yield "rename={"
    room = MOST_LAYERS
    for group in left:
        if room <= 0:
            room -= len(group.ours)
            continue
        shown = [repr(layer or "the model itself") for layer in group.theirs[:MOST_CANDIDATES]]
        more = len(group.theirs) - len(shown)
        text = f"in the model: {', '.join(shown)}{f' and {more} more' if more else ''}"
        text += f"; {group.why}" if group.why else ""
        wrapped = textwrap.wrap(text, WIDTH - 6, break_long_words=False, break_on_hyphens=False)
        yield from (f"    # {line}" for line in wrapped)
        yield from (f"    {literal(_pattern(layer, above))}: {literal(f'{UNTOLD}.')}," for layer in group.ours[:room])
        room -= len(group.ours)
    if room < 0:
        yield f"    # ... and {-room} more layers of the file"
    yield "}"


def _pattern(layer: str, above: Collection[str]) -> str:
    """What finds a layer's own tensors, and not those of the layers below it."""
    start = f"^{re.escape(layer)}\\." if layer else "^"
    return start if layer and layer not in above else f"{start}(?=[^.]+$)"
