"""Which tensors of a file, or of another model, are which of a model: the steps from its names to the model's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from ..arrays.types import Array
from ..errors import ArgumentError
from ..formats.contents import Contents, Model
from ..formats.entry import Entry
from ..layer_table.table import LazyShape
from ..model.slot import Slot
from ..model.tree import Tree
from ..names.rename import Rename, renamed_layer, renamer
from .by_contents import matched, moved
from .by_saved_names import placed
from .wrapping import unwrapping, without

__all__ = ["Pair", "Pairing", "by_contents", "pair"]

Renamed = Callable[[str], str]


@dataclass(frozen=True)
class Pair:
    """A tensor of a model, and what is loaded into it.

    Attributes:
        slots: its places in the model, the primary one first.
        entry: the file's tensor.
        others: further tensors of the file, which are the same one in the model.
    """

    slots: list[Slot]
    entry: Entry
    others: list[Entry]


@dataclass(frozen=True)
class Pairing:
    """A file's tensors under a model's names.

    Attributes:
        file: what is in the file.
        tree: the model.
        slots: its tensors, by all of the names under which they are compared.
        kinds: the kinds of its layers, by theirs.
        renamed: what turns a name of the file into the one under which it is compared.
        called: what turns one of the model.
        contents: what is in the file, read as it suits the model.
        layers: the model's layers by those of the file whose names differ.
        wrappers: the places of wrappers in the file's names, of which these were taken away.
        beside: the names of what the framework's saver put beside the model's tensors.
    """

    file: Contents
    tree: Tree
    slots: Mapping[str, Slot]
    kinds: Mapping[str, str]
    renamed: Renamed
    called: Renamed
    contents: Contents
    layers: Mapping[str, str] = field(default_factory=dict)
    wrappers: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()

    @cached_property
    def named(self) -> Contents:
        """What is in the file, under the names that are compared."""
        beside = dict.fromkeys(self.beside, "no tensor of the model")
        found = self.contents.renamed(self.renamed)
        return replace(found, left_out={**found.left_out, **beside})

    @cached_property
    def neutral(self) -> dict[str, Array]:
        """What the model has no place for, with its neutral values."""
        return {self.called(name): value for name, value in self.tree.neutral.items()}

    @cached_property
    def given(self) -> dict[str, Entry]:
        """The file's tensors by the model's names, each tied one once.

        Raises:
            ArgumentError: two have one name.
        """
        found: dict[str, Entry] = {}
        for entry in self.contents.entries:
            name = self.renamed(entry.name)
            if found.setdefault(name, entry) is not entry:
                raise ArgumentError(
                    f"rename= turns both {found[name].name!r} and {entry.name!r} into {name!r}",
                )
        return found

    @cached_property
    def ties(self) -> list[list[str]]:
        """The groups of names that are one tensor in the file, as the model has them."""
        return [[self.renamed(name) for name in group] for group in self.contents.ties]

    @cached_property
    def aliases(self) -> dict[str, str]:
        """For each name of a tied tensor the one under which it is given."""
        found: dict[str, str] = {}
        for group in self.ties:
            kept = [name for name in group if name in self.given]
            found.update({alias: alias if alias in kept else kept[0] for alias in group if kept})
        return found

    @cached_property
    def pairs(self) -> list[Pair]:
        """The model's tensors that are in the file, in the model's order."""
        return [Pair(group, given[0], given[1:]) for group, given in self._found if given]

    @cached_property
    def missing(self) -> list[Slot]:
        """The model's tensors that are not."""
        return [group[0] for group, given in self._found if not given]

    @cached_property
    def unexpected(self) -> list[str]:
        """The names of what is in the file, and neither in the model nor what it has no place for."""
        used = {id(entry) for _, given in self._found for entry in given}
        return [name for name, entry in self.given.items() if id(entry) not in used and name not in self.neutral]

    @cached_property
    def _found(self) -> list[tuple[list[Slot], list[Entry]]]:
        """What the file has of each of the model's tensors."""
        found: list[tuple[list[Slot], list[Entry]]] = []
        given, aliases = self.given, self.aliases
        for group in self.tree.groups:
            if not group[0].transient:
                names = dict.fromkeys(aliases.get(name, name) for name in (self.called(slot.name) for slot in group))
                found.append((group, [given[name] for name in names if name in given]))
        return found


def pair(contents: Contents, tree: Tree, rename: Rename, *, auto: bool = False, called: Renamed = str) -> Pairing:
    """Finds out which of a file's tensors are which of a model.

    Args:
        contents: what is in the file.
        tree: the model.
        rename: regular expressions and their replacements for the file's names, or a function of a name.
        auto: layers whose names differ are paired by what is in them.
        called: turns the model's own names into those under which both are compared.

    Raises:
        ArgumentError: a renaming cannot be carried out.
        AmbiguousMatchError: with `auto`, layers could be paired in several ways.
    """
    slots = {called(slot.name): slot for group in tree.groups for slot in group}
    kinds = {renamed_layer(called, node.name, node.a_role): node.kind for node in tree.root.walk()}
    found = Pairing(contents, tree, slots, kinds, renamer(rename, slots.keys()), called, contents)
    if not rename and called is str:
        found = _by_saved_names(found)
    found = _resolved(_unwrapped(found))
    return _by_contents(found) if auto else found


def _by_saved_names(found: Pairing) -> Pairing:
    """The names of the model where the framework's saver tells which is which."""
    contents, layers, beside = placed(found.file, found.tree)
    return replace(found, file=contents, layers=layers, beside=tuple(beside))


def _unwrapped(found: Pairing) -> Pairing:
    """The names without those of wrappers that were around the model which the file is of."""
    names = dict.fromkeys(map(found.renamed, found.file.by_name))
    wanted = [[found.called(slot.name) for slot in group] for group in found.tree.groups if _is_needed(group[0])]
    places = unwrapping(names, wanted, {*found.neutral, *found.slots})
    if not places:
        return found
    taken, renamed = without(places), found.renamed
    return replace(found, renamed=lambda name: taken(renamed(name)), wrappers=tuple(places))


def _is_needed(slot: Slot) -> bool:
    return not slot.transient and not slot.node.is_wrapper


def _resolved(found: Pairing) -> Pairing:
    """What is in the file, read as it suits the model, where it can be read in several ways."""
    file, renamed = found.file, found.renamed

    def slot(name: str) -> Slot | None:
        try:
            return found.slots.get(renamed(name))
        except ArgumentError:  # of a function that knows the file's own names only
            return None

    model = Model(
        names=lambda name: slot(name) is not None,
        kind=lambda layer: found.kinds.get(file.renamed_layer(renamed, layer), ""),
        native=file.backend == found.tree.adapter.name,
        shape=lambda name: None if (there := slot(name)) is None else there.extents(),
    )
    return replace(found, contents=file.suiting(model))


def _by_contents(found: Pairing) -> Pairing:
    """The names of layers that hold the same."""
    layers = by_contents(found)
    if not layers:
        return found
    return _resolved(replace(found, renamed=moved(found.renamed, layers), layers={**found.layers, **layers}))


def by_contents(found: Pairing) -> dict[str, str]:
    """The model's layers by those of the file that have other names and the same contents.

    Raises:
        AmbiguousMatchError: layers could be paired in several ways.
    """
    contents, renamed = found.contents, found.renamed
    given = {renamed(name): entry.shape for name, entry in contents.by_name.items()}
    wanted: dict[str, LazyShape] = {name: slot.shape() for name, slot in found.slots.items() if not slot.transient}
    wanted |= {name: value.shape for name, value in found.neutral.items()}
    for name in contents.own:  # of which it is not known whether they are turned
        shape = given.get(renamed(name), ())
        if len(shape) == 2 and shape != shape[::-1] and shape[::-1] in wanted.values():
            return {}
    told = {contents.renamed_layer(renamed, layer): kind for layer, kind in contents.kinds.items()}
    ties = [[found.called(slot.name) for slot in group] for group in found.tree.groups if len(group) > 1]
    return matched(given, wanted, (told, found.kinds), (found.ties, ties))
