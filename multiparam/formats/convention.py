"""From a framework's names and layouts to canonical ones, where a file tells what its layers are."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..arrays.types import Array
from ..errors import ArgumentError
from ..layer_table.kinds import KINDS
from ..layer_table.layout import At, Source
from ..names.pattern import join
from ..text import listed
from .contents import Choice, Contents
from .entry import Entry

__all__ = [
    "Known",
    "described",
    "translated",
]


@dataclass(frozen=True)
class Known:
    """What a reader knows of a layer.

    Attributes:
        kinds: the kinds that it can be, all of one layout.
        sources: how each canonical tensor is made of the framework's, by role, running statistics among them.
        file_only: tensors that PyTorch's files have and the framework's do not, with their neutral values.
        otherwise: the layers that it may as well be several of, by their names.
    """

    kinds: tuple[str, ...]
    sources: Mapping[str, Source]
    file_only: Mapping[str, Array] = field(default_factory=dict)
    otherwise: Mapping[str, Known] = field(default_factory=dict)


def described(
    kinds: Sequence[str],
    parts: Collection[str],
    sources: Mapping[str, Mapping[str, Source]],
    buffers: Mapping[str, Mapping[str, Source]],
    file_only: Mapping[str, Mapping[str, Array]],
) -> Known:
    """What a framework's layouts say of a layer.

    Args:
        kinds: the kinds that it can be, all of one layout.
        parts: what its tensors are called in it.
        sources: by kind, without its rank, how the parameters are made; a kind that is not there has PyTorch's.
        buffers: the same for running statistics.
        file_only: the same for what PyTorch's files have and the framework's do not.

    >>> described(["Conv2d"], ["weight", "mask"], {}, {}, {}).sources
    {'weight': At('weight')}
    """
    kind = re.sub(r"[123]d$", "", kinds[0])
    same: Mapping[str, Source] = {role: At(role) for role in KINDS[kinds[0]].roles if role in parts}
    return Known(tuple(kinds), {**sources.get(kind, same), **buffers.get(kind, {})}, file_only.get(kind, {}))


def translated(entries: Sequence[Entry], layers: Mapping[str, Known]) -> Contents:
    """Entries under canonical names and in canonical layouts, where their layers are known.

    Args:
        entries: the tensors, each under the name of its layer, a dot, and the framework's for it in the layer; where
            the file has another name for it, that is `original`.
        layers: what is known, by the layers' names. A tensor of which a part is not there is left out; a layer whose
            tensors do not fit stays as it is.

    Returns:
        All entries in their order; those of which nothing is known are `own`, under the file's names.

    >>> import numpy as np
    >>> kernel = Entry("fc.kernel", np.dtype(np.float32), (4, 8), lambda: np.ones((4, 8), np.float32))
    >>> known = Known(("Linear",), {"weight": At("kernel", axes=(1, 0)), "bias": At("bias")})
    >>> contents = translated([kernel], {"fc": known})
    >>> contents.entries, contents.layers, contents.entries[0].original
    ([<fc.weight (8, 4) float32>], {'fc': {'kind': 'Linear'}}, ('fc.kernel',))
    """
    by_name = {entry.name: entry for entry in entries}
    made: dict[str, list[Entry]] = {}
    claimed: set[str] = set()
    kinds: dict[str, dict[str, str]] = {}
    neutral: list[str] = []
    choices: list[Choice] = []
    for layer, known in layers.items():
        found = _made(by_name, layer, known.sources)
        for first, parts, entry in found:
            made.setdefault(first, []).append(entry)
            claimed.update(parts)
        if found:
            kinds[layer] = {"kind": " or ".join(known.kinds)}
            added = [_constant(join(layer, role), value) for role, value in known.file_only.items()]
            added = [entry for entry in added if entry.name not in by_name]
            made[found[-1][0]] += added
            neutral += [entry.name for entry in added]
            all_made = [*(entry for *_, entry in found), *added]
            choices += _choices(layer, known, all_made, [by_name[one] for one in _parts(found)])
    own = {name: _as_in_file(one) for name, one in by_name.items()}
    return Contents(
        [one for name in by_name for one in made.get(name, () if name in claimed else (own[name],))],
        layers=kinds,
        own=frozenset(own[name].name for name in by_name if name not in claimed),
        notes=[f"not in the file, but in PyTorch's, with a neutral value: {listed(neutral)}"] if neutral else [],
        choices=choices,
    )


def _choices(layer: str, known: Known, made: Sequence[Entry], parts: Sequence[Entry]) -> list[Choice]:
    instead = frozenset(entry.name for entry in made)
    choices = []
    if known.otherwise:
        choices.append(Choice(layer, instead, translated(parts, known.otherwise)))
    if any(entry.original for entry in made) or len(made) > len(parts):
        choices.append(Choice(layer, instead, Contents([_as_in_file(part) for part in parts]), unknown=True))
    return choices


def _as_in_file(entry: Entry) -> Entry:
    return replace(entry, name=entry.original[0] if entry.original else entry.name, original=())


def _parts(found: Sequence[tuple[str, list[str], Entry]]) -> list[str]:
    return [name for _, names, _ in found for name in names]


def _constant(name: str, value: Array) -> Entry:
    return Entry(name, value.dtype, value.shape, value.copy)


def _made(
    by_name: Mapping[str, Entry], layer: str, sources: Mapping[str, Source]
) -> list[tuple[str, list[str], Entry]]:
    """For each canonical tensor of a layer its first part's name, those of all, and the entry; none if one misfits."""
    found = []
    for role, source in sources.items():
        names = [join(layer, part.replace("/", ".")) for part in source.parts]
        if not all(name in by_name for name in names):
            continue
        parts = [by_name[name] for name in names]
        try:
            found.append((names[0], names, _canonical(join(layer, role), source, parts)))
        except (ArgumentError, IndexError):
            return []
    claimed = set(_parts(found))
    clash = any(entry.name in by_name and entry.name not in claimed for *_, entry in found)
    return [] if clash else found


def _canonical(name: str, source: Source, parts: Sequence[Entry]) -> Entry:
    if len({part.dtype for part in parts}) > 1:
        raise ArgumentError(f"{name!r} is made of tensors of several dtypes")
    original = tuple(found for part in parts for found in part.original or (part.name,))
    unchanged = original == (name,) and isinstance(source, At) and source == At(source.parts[0])
    return Entry(
        name,
        parts[0].dtype,
        source.shape([part.shape for part in parts]),
        lambda: source.read([part.read() for part in parts]),
        () if unchanged else original,
        next((part.refusal for part in parts if part.refusal), ""),
    )
