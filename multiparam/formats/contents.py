"""What is in a file, or in a model: tensors, what is known of their layers, and how they suit a model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from ..arrays.types import Array, Shape
from ..errors import ArgumentError
from ..layer_table.kinds import KINDS
from ..layer_table.table import Fold
from ..names.rename import renamed_layer, roles_of
from .entry import Entry

__all__ = [
    "Choice",
    "Contents",
    "Model",
    "Originals",
    "fits_turned",
    "nobodys",
    "unsure",
]


NOBODYS = "the file does not tell whose axes it has, and the shape fits them in either order; as in the file"


@dataclass(frozen=True)
class Contents:
    """What a reader found in a file; a model is taken for the same.

    Attributes:
        entries: the tensors, in the file's order, each tied one once.
        content: what was saved: `"dict"`, `"list"` (of entries named 0, 1, …), `"tensor"` (one, of that name), or
            `"model"`.
        layers: for layers of a known kind that kind, under `"kind"`, and the settings that the file tells.
        settled: whether what `layers` leaves out has its default value; False where files tell kinds only.
        edition: of the settings, for which that holds; later ones are not known, whatever their defaults.
        writer: what the file itself says of who wrote it, where its format does not tell; empty if it says nothing.
        ties: groups of names that are one tensor; the first that is an entry is the one that is stored.
        own: names of the entries of whose layers nothing is known, so that they are as the file has them.
        left_out: what the file has beside tensors, and what that is.
        notes: what else a user should know, in sentences.
        choices: other ways to read some of the layers, which depend on the model that the file is loaded into.
        doubts: for entries that may have their axes in the other order why that is not known; said of a model's where
            neither its layer nor its shape tells.
        unsure: the same for entries of which no layer of a model can tell, since nobody knows whose axes the file has.
        flat: names of entries whose axes the file has made one, where a model has several.
        originals: the same tensors as the framework's own saver wrote them, where a model can tell by that which is
            which; None where the names tell.
        part_of: what all files of one checkpoint have in common, where the file is a part of one that says so.
        backend: the backend whose framework wrote the file; empty for the format's.
        folds: of a model, what is added to another tensor when a file is loaded: that one's name, and how, by name.
        neutral: of a model, what PyTorch has and it has no place for, with its neutral values.
    """

    entries: Sequence[Entry]
    content: str = "dict"
    layers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    settled: bool = False
    edition: int = 1
    writer: str = ""
    ties: Sequence[Sequence[str]] = ()
    own: frozenset[str] = frozenset()
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    choices: Sequence[Choice] = ()
    doubts: Mapping[str, str] = field(default_factory=dict)
    unsure: Mapping[str, str] = field(default_factory=dict)
    flat: frozenset[str] = frozenset()
    originals: Originals | None = None
    part_of: str = ""
    backend: str = ""
    folds: Mapping[str, tuple[str, Fold]] = field(default_factory=dict)
    neutral: Mapping[str, Array] = field(default_factory=dict)

    @cached_property
    def kinds(self) -> dict[str, str]:
        """The kinds of the layers, as far as they are known, by the layers' names."""
        return {name: str(about["kind"]) for name, about in self.layers.items() if "kind" in about}

    def kind_around(self, name: str) -> str:
        """The kind of the layer that a tensor belongs to, be it the layer's own or a sublayer's; empty if not known."""
        layer = name
        while layer:
            layer = layer.rpartition(".")[0]
            if layer in self.kinds:
                return self.kinds[layer]
        return ""

    @cached_property
    def by_name(self) -> Mapping[str, Entry]:
        """The tensors by all of their names, the other names of tied ones behind the rest."""
        found = {entry.name: entry for entry in self.entries}
        for group in self.ties:
            kept = next((found[name] for name in group if name in found), None)
            if kept is not None:
                found.update({name: kept for name in group if name not in found})
        return found

    @cached_property
    def roles(self) -> Mapping[str, str]:
        """What a tensor of each layer is called in it, by the layers' names."""
        return roles_of(self.by_name)

    def is_uncertain(self, entry: Entry) -> bool:
        """Whether an entry may have its axes in another order, and its shape does not tell."""
        doubtful = entry.name in self.own or entry.name in self.doubts or entry.name in self.unsure
        return doubtful and fits_turned(entry.shape)

    def each(self, made: Callable[[Entry], Entry]) -> Contents:
        """The same contents with something done to every entry."""
        originals = self.originals
        if originals is not None:
            originals = replace(originals, entries=[made(entry) for entry in originals.entries])
        choices = [replace(one, contents=one.contents.each(made)) for one in self.choices]
        return replace(self, entries=[made(entry) for entry in self.entries], originals=originals, choices=choices)

    def renamed(self, new: Callable[[str], str]) -> Contents:
        """The same contents under other names.

        Args:
            new: gives the new name of a tensor.

        Raises:
            ArgumentError: two tensors would have one name.
        """
        found = self.by_name
        names: dict[str, str] = {}
        for name, entry in found.items():
            other = names.setdefault(new(name), name)
            if found[other] is not entry:
                raise ArgumentError(f"rename= turns both {other!r} and {name!r} into {new(name)!r}")
        return replace(
            self,
            entries=[replace(entry, name=new(entry.name)) for entry in self.entries],
            layers=self.renamed_layers(new),
            ties=[[*dict.fromkeys(new(name) for name in group)] for group in self.ties],
            own=frozenset(new(name) for name in self.own),
            doubts={new(name): why for name, why in self.doubts.items()},
            unsure={new(name): why for name, why in self.unsure.items()},
            flat=frozenset(new(name) for name in self.flat),
            choices=(),  # they are by the old names
            originals=None,  # the names are the user's now
            folds={new(name): (new(into), fold) for name, (into, fold) in self.folds.items()},
            neutral={new(name): value for name, value in self.neutral.items()},
        )

    def renamed_layers(self, new: Callable[[str], str]) -> dict[str, Mapping[str, Any]]:
        """What is known of the layers, by their new names, which are told by those of their tensors."""
        return {self.renamed_layer(new, layer): about for layer, about in self.layers.items()}

    def renamed_layer(self, new: Callable[[str], str], layer: str) -> str:
        """A layer's new name, which is told by that of one of its tensors."""
        return renamed_layer(new, layer, self.roles.get(layer))

    def suiting(self, model: Model) -> Contents:
        """The same contents, read as it suits a model, where they can be read in several ways."""
        if not (self.choices or self.doubts or self.flat):
            return self
        chosen: dict[str, Choice] = {}
        for choice in self.choices:
            if choice.layer not in chosen and choice.suits(model):
                chosen[choice.layer] = choice
        gone = {name for choice in chosen.values() for name in choice.instead}
        layers = {name: about for name, about in self.layers.items() if name not in chosen}
        for choice in chosen.values():
            layers.update(choice.contents.layers)
        added = [entry for choice in chosen.values() for entry in choice.contents.entries]
        entries = [*(one for one in self.entries if one.name not in gone), *added]
        doubts = {name: why for name, why in self.doubts.items() if name not in gone and not model.settles(name)}
        for choice in chosen.values() if not model.native else ():
            doubts.update(choice.contents.doubts)
        return replace(
            self,
            entries=[_spread(one, model) if one.name in self.flat else one for one in entries],
            layers=layers,
            doubts=doubts,
            unsure={name: why for name, why in self.unsure.items() if name not in gone},
            ties=[group for group in self.ties if gone.isdisjoint(group)],  # they may be read in two ways now
        )


@dataclass(frozen=True)
class Originals:
    """A file's tensors as the framework's own saver wrote them.

    Attributes:
        entries: the tensors, under the file's names and in its layouts.
        labels: the names that the file tells of its layers, by their paths in it.
    """

    entries: Sequence[Entry]
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Model:
    """What a reader may know of a model that a file is loaded into.

    Attributes:
        names: tells whether the model has a tensor of a name.
        kind: the kind of the model's layer of a name; empty if there is none.
        native: whether the file is one of the model's own framework.
        shape: the shape of the model's tensor of a name; None if there is none.
    """

    names: Callable[[str], bool]
    kind: Callable[[str], str]
    native: bool
    shape: Callable[[str], Shape | None] = lambda name: None

    def settles(self, name: str) -> bool:
        """Whether it is known how the model has the axes of a tensor that is as in the file."""
        return self.native or self.kind(name.rpartition(".")[0]) in KINDS


@dataclass(frozen=True)
class Choice:
    """Another way to read a layer, where a file alone does not tell.

    Attributes:
        layer: the layer's name.
        instead: names of the entries that go.
        contents: what comes in their place. It suits a model that has any of what only it has, or all if that is none.
        kinds: kinds that the model's layer has to be of; empty if that does not matter.
        unknown: the model has to be of the file's own framework, and its layer of no known kind: then it has its own
            names and layouts there, as the file does.
        native: whether the model has to be of the file's own framework; None if that does not matter.
    """

    layer: str
    instead: frozenset[str]
    contents: Contents
    kinds: frozenset[str] = frozenset()
    unknown: bool = False
    native: bool | None = None

    def suits(self, model: Model) -> bool:
        """Whether a model is read so."""
        kind = model.kind(self.layer)
        of_kind = kind in self.kinds if self.kinds else True
        of_none = model.native and kind not in KINDS if self.unknown else True
        names = [entry.name for entry in self.contents.entries]
        new = names if self.unknown else [name for name in names if name not in self.instead]
        # a model may lack some of them, which a load that is not strict takes
        there = any(map(model.names, new)) if new else all(map(model.names, names))
        return of_kind and of_none and there and self.native in (None, model.native)


def nobodys(contents: Contents, why: str = NOBODYS) -> Contents:
    """Contents of which nothing tells whose names and axes they have: as in the file.

    Args:
        contents: what a reader found.
        why: the reason, as a doubt is said.

    >>> import numpy as np
    >>> square, other = (Entry(str(shape), np.dtype("f4"), shape, lambda: None) for shape in ((3, 3), (3, 2)))
    >>> contents = nobodys(Contents([square, other]), "nobody knows")
    >>> contents.unsure, len(contents.own)
    ({'(3, 3)': 'nobody knows'}, 2)
    """
    return replace(unsure(contents, why), own=frozenset(entry.name for entry in contents.entries))


def unsure(contents: Contents, why: str = NOBODYS) -> Contents:
    """Contents under known names of which nothing tells whose axes they have; what fits in one order only tells."""
    return replace(contents, unsure={one.name: why for one in contents.entries if fits_turned(one.shape)})


def fits_turned(shape: Sequence[int]) -> bool:
    """Whether a shape is the same with its axes in the other order, so that it does not tell the order.

    >>> fits_turned((4, 4)), fits_turned((4, 2)), fits_turned((4,))
    (True, False, False)
    """
    return len(shape) > 1 and max(shape) > 1 and tuple(shape) == tuple(shape)[::-1]


def _spread(entry: Entry, model: Model) -> Entry:
    """An entry in the model's shape, if it has as many elements."""
    shape = model.shape(entry.name)
    if shape is None or shape == entry.shape or math.prod(shape) != math.prod(entry.shape):
        return entry
    return replace(entry, shape=shape, read=lambda: entry.read().reshape(shape))
