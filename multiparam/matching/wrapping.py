"""Files of wrapped models: what compiled and data-parallel wrappers put before names, taken away again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from ..adapter.registry import plugins
from ..names.pattern import join

__all__ = ["is_kept_by_wrapper", "unwrapping", "without", "wrappers_told"]

DEEPEST = 64  # components that a name may have: no model is nested so deep
MOST_AROUND = 2  # wrappers around a model that calls something in it as they do


def is_kept_by_wrapper(name: str) -> bool:
    """Whether a tensor of the name is what wrappers keep for themselves, a count of their updates say."""
    own = frozenset(one for plugin in plugins().values() for one in plugin.kept_by_wrappers)
    return name.rpartition(".")[2] in own


def unwrapping(names: Collection[str], wanted: Sequence[Collection[str]], spare: Collection[str] = ()) -> list[str]:
    """What to take away of names so that all of them fit; nothing where that is not so, or all fit as they are.

    A wrapper's name is taken away where it stands before all that lies in one place, and the model has no such thing
    there.

    Args:
        names: a file's names.
        wanted: for each tensor of the model its names, of which one has to be there.
        spare: further names that the model knows, and does not need.

    Returns:
        The wrappers' places, each with all components that lead to it.

    >>> unwrapping(["0._orig_mod.weight", "1.weight"], [["0.weight"], ["1.weight"]])
    ['0._orig_mod']
    """
    known = {name for group in wanted for name in group}
    wrappers = frozenset(one for plugin in plugins().values() for one in plugin.wrappers)
    left = [name for name in names if name not in known]
    if not any(wrappers.intersection(name.split(".")[:-1]) for name in left if name.count(".") < DEEPEST):
        return []

    def fits(places: Sequence[str]) -> bool:
        made = [*map(without(places), names)]
        there = set(made)
        if len(there) < len(made) or not all(any(name in there for name in group) for group in wanted):
            return False
        return all(name in known or name in spare or is_kept_by_wrapper(name) for name in made)

    shallow = [name for name in names if name.count(".") < DEEPEST]
    # a model may have in it what is called as the wrappers around it are
    found = (_places(shallow, known, wrappers, around) for around in range(MOST_AROUND + 1))
    return next((places for places in found if places and fits(places)), [])


def wrappers_told(places: Iterable[str]) -> list[str]:
    """What is to be said of names that were taken without some wrappers'.

    >>> wrappers_told(["module", "module.0._orig_mod"])
    ["names were taken without 'module.' and '_orig_mod.', which wrappers around models put there"]
    """
    put = [*dict.fromkeys(f"{place.rpartition('.')[2]}." for place in places)]
    told = " and ".join(map(repr, put))
    return [f"names were taken without {told}, which wrappers around models put there"] if put else []


def without(places: Iterable[str]) -> Callable[[str], str]:
    """What takes wrappers' names away, which `unwrapping` gave.

    >>> without(["module", "module.0._orig_mod"])("module.0._orig_mod.weight")
    '0.weight'
    """
    cut = frozenset(places)

    def taken(name: str) -> str:
        if not cut or name.count(".") >= DEEPEST:
            return name
        components = name.split(".")
        paths = [".".join(components[: end + 1]) for end in range(len(components))]
        return ".".join(one for one, path in zip(components, paths, strict=True) if path not in cut)

    return taken


def _places(names: Iterable[str], known: Iterable[str], wrappers: frozenset[str], around: int) -> list[str]:
    """Where wrappers' names stand that the model does not have; the first so many around all even if it has."""
    above = {name[:at] for name in known for at, one in enumerate(name) if one == "."}
    found: list[str] = []
    # a place in the file, the same in the model, and what lies there
    open_places = [("", "", [name.split(".") for name in names])]
    while open_places:
        place, here, inside = open_places.pop()
        below: dict[str, list[list[str]]] = {}
        for components in inside:
            if len(components) > 1:
                below.setdefault(components[0], []).append(components[1:])
        direct = [components[0] for components in inside if len(components) == 1]
        only = next(iter(below)) if len(below) == 1 else ""
        is_new = join(here, only) not in above or (not here and len(found) < around)
        wraps = only in wrappers and is_new and all(map(is_kept_by_wrapper, direct))
        if wraps:
            found.append(join(place, only))
        for component, rest in below.items():
            open_places.append((join(place, component), here if wraps else join(here, component), rest))
    return found
