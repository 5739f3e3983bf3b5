"""File formats: what a reader hands over, and all that it may import beside the adapter surface.

A reader turns a file into `Contents`: its tensors as `Entry` objects that read their numbers when they are asked for,
under canonical names and in canonical layouts where it knows the layers, and under the file's own where it does not.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np

from .arrays import frozen
from .errors import ArgumentError, CheckpointError, close_names
from .kinds import KINDS
from .layout import At, Source
from .names import join
from .parallel import ahead
from .steps import Array, Shape
from .text import shortened

__all__ = [
    "CheckpointError",
    "Choice",
    "Contents",
    "Entry",
    "Format",
    "Known",
    "Model",
    "Originals",
    "data_size",
    "described",
    "from_json",
    "join",
    "listed",
    "mapped",
    "nobodys",
    "opened",
    "stored",
    "translated",
    "unreadable",
    "verified",
]

NOBODYS = "the file does not tell whose axes it has, and the shape fits them in either order; as in the file"
LARGE = 1 << 20  # bytes, from which on a thread is worth it
MOST_AXES = 32  # that numpy has in every version
MOST_NAMES = 2_000  # in a folder that are looked at for one that is near


@dataclass(eq=False, slots=True)  # a file has thousands of them: a frozen one takes three times as long to make
class Entry:
    """A tensor of a file, read when its turn has come.

    Attributes:
        name: its name; in a file that multiparam writes its key.
        dtype: its numpy dtype.
        shape: its shape.
        read: gives its array.
        original: what the file calls it, or all that it is made of; empty where it is as the file has it.
        refusal: why its numbers cannot be read; empty if they can.
        check: raises a CheckpointError if the file's bytes are not those that were written; None where it cannot tell.
        whole: a part is read with all the rest, and compared as that.
        settled: its array is made for the purpose, so that nobody changes it.

    >>> entry = Entry("bias", np.dtype(np.float32), (3,), lambda: np.arange(3, dtype=np.float32))
    >>> entry, entry[1:]
    (<bias (3,) float32>, array([1., 2.], dtype=float32))
    """

    name: str
    dtype: np.dtype[Any]
    shape: Shape
    read: Callable[[], Array] = field(repr=False)
    original: tuple[str, ...] = ()
    refusal: str = ""
    check: Callable[[], None] | None = field(default=None, repr=False)
    whole: bool = field(default=False, repr=False)
    settled: bool = field(default=False, repr=False)

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def value(self) -> Array:
        """Its numbers, read-only and checked; a view of the file where it can be one."""
        self.verify()
        return frozen(self.read()[...])

    def verify(self) -> None:
        """Raises a CheckpointError if the file's bytes are not those that were written, where it can tell."""
        if self.check is not None:
            self.check()

    def __getitem__(self, index: Any) -> Array:
        part = np.asarray(self.read()[...][index])
        if self.whole or part.size == math.prod(self.shape):  # which nearly always is all of it
            self.verify()
        return frozen(part)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.value, dtype) if copy else np.asarray(self.value, dtype)

    def __repr__(self) -> str:
        return f"<{self.name} {self.shape} {self.dtype}>"


@dataclass(frozen=True)
class Contents:
    """What a reader found in a file.

    Attributes:
        entries: the tensors, in the file's order, each tied one once.
        content: what was saved: `"dict"`, `"list"` (of entries named 0, 1, …), `"tensor"` (one, of that name), or
            `"model"`.
        layers: for layers of a known kind that kind, under `"kind"`, and the settings that the file tells.
        settled: whether what `layers` leaves out has its default value; False where files tell kinds only.
        edition: of the settings, for which that holds; later ones are not known, whatever their defaults.
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
    """

    entries: Sequence[Entry]
    content: str = "dict"
    layers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    settled: bool = False
    edition: int = 1
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

    def each(self, made: Callable[[Entry], Entry]) -> Contents:
        """The same contents with something done to every entry."""
        originals = self.originals
        if originals is not None:
            originals = replace(originals, entries=[made(entry) for entry in originals.entries])
        return replace(self, entries=[made(entry) for entry in self.entries], originals=originals)

    def suiting(self, model: Model) -> Contents:
        """The same contents, read as it suits a model."""
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


@dataclass(frozen=True)
class Format:
    """A file format, the object that an entry point in the group `multiparam.formats` names.

    Attributes:
        name: what `multiparam.open(path).format` says.
        recognizes: tells a file by its first bytes (64 of them, fewer if it is shorter).
        read: reads a file's names, shapes and dtypes; None where it turns out to be of another format. What is wrong
            with the file is a `CheckpointError`; nothing in it may be executed, and no memory be taken for what it
            only claims to hold.
        backend: the backend whose framework writes such files, if there is one.
        holds: tells more of a file that `recognizes` takes for one, where several formats begin alike, as zip files
            do; what cannot be read is none.
        safetensors: what a safetensors file of that framework has, from its tensors, by what such a file says under
            `format` in its header.
    """

    name: str
    recognizes: Callable[[bytes], bool]
    read: Callable[[Path], Contents | None]
    backend: str = ""
    holds: Callable[[Path], bool] = lambda path: True
    safetensors: Mapping[str, Callable[[Sequence[Entry]], Contents]] = field(default_factory=dict)


def verified(entries: Sequence[Entry]) -> Iterator[Entry]:
    """The entries, each once it was compared with its digest, where it has one; large ones in threads.

    Raises:
        CheckpointError: one is damaged.
    """
    large = ahead(Entry.verify, (entry for entry in entries if entry.size >= LARGE))
    for entry in entries:
        if entry.size >= LARGE:
            next(large)
        else:
            entry.verify()
        yield entry


def nobodys(contents: Contents, why: str = NOBODYS) -> Contents:
    """Contents of which nothing tells whose names and axes they have: as in the file.

    Args:
        contents: what a reader found.
        why: the reason, as a doubt is said.

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


def listed(names: Sequence[str], between: str = ", ", most: int = 4) -> str:
    """The first of some names, and how many more there are.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    return between.join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def unreadable(path: Path, error: OSError) -> CheckpointError:
    """The error for a path that cannot be opened."""
    # whether there is a folder is not asked of a path that cannot be looked at
    if error.errno == errno.EISDIR or (error.errno == errno.EACCES and os.path.isdir(path)):  # the latter on Windows
        return CheckpointError(path, "is a folder")
    if error.errno == errno.ENOENT and os.path.islink(path):
        return CheckpointError(path, f"no such file: it is a link to {os.readlink(path)}, which is not there")
    if error.errno == errno.ENOENT:
        return CheckpointError(path, f"no such file{_nearest(path)}")
    return CheckpointError(path, error.strerror or str(error))


def _nearest(path: Path) -> str:
    """What its folder has that is called most like it, as the end of a sentence."""
    try:
        with os.scandir(path.parent) as found:
            names = [one.name for one in islice(found, MOST_NAMES)]
    except FileNotFoundError:
        return ", nor its folder" + ("; ~ is no home before os.path.expanduser" if str(path).startswith("~") else "")
    except OSError:
        return ""
    # without their suffixes, which make all files of a format look alike
    stems = close_names(path.stem, {Path(name).stem for name in names}, 1)
    close = [name for name in names if Path(name).stem in stems]
    return f"; did you mean {max(close, key=partial(_likeness, path.name))!r}?" if close else ""


def _likeness(one: str, other: str) -> float:
    return SequenceMatcher(None, one, other).ratio()


def opened(path: Path) -> IO[bytes]:
    """A file, open to be read.

    Raises:
        CheckpointError: it cannot be, or is no regular file.
    """
    try:
        kind = os.stat(path).st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            raise CheckpointError(path, "is no regular file, and others may never end")
        return path.open("rb")
    except OSError as error:
        raise unreadable(path, error) from error


def from_json(text: str | bytes) -> Any:
    """What JSON says, if it says no name twice: readers do not agree on which of the two counts.

    Raises:
        ValueError: it is no JSON, or an object in it has a name twice.

    >>> from_json('{"a": [1]}')
    {'a': [1]}
    """
    try:
        return json.loads(text, object_pairs_hook=_once)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"{shortened(repr(twice), 80)} is there twice")
    return found


def mapped(path: Path) -> memoryview:
    """A file's bytes, mapped into memory and not read before they are used.

    Raises:
        CheckpointError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            if not file.seek(0, 2):
                return memoryview(b"")
            return np.memmap(file, np.uint8, "r").data
    except OSError as error:
        raise unreadable(path, error) from error


def data_size(shape: Sequence[int], dtype: np.dtype[Any]) -> int:
    """How many bytes an array takes.

    Raises:
        ValueError: numpy can have no array of that shape.

    >>> data_size((2, 3), np.dtype(np.float32))
    24
    """
    if any(extent.bit_length() > 63 for extent in shape):
        raise ValueError("claims more numbers than there can be")  # too many digits to print, maybe
    if len(shape) > MOST_AXES or any(extent < 0 for extent in shape):
        raise ValueError(f"claims {len(shape)} axes of extents {tuple(shape[:4])}{', …' if len(shape) > 4 else ''}")
    if math.prod(extent for extent in shape if extent) * dtype.itemsize >= 2**63:
        raise ValueError(f"claims more numbers than there can be: {tuple(shape)}")
    return math.prod(shape) * dtype.itemsize


def stored(
    name: str,
    data: Callable[[], Any],
    dtype: np.dtype[Any],
    shape: Shape,
    *,
    fortran: bool = False,
    original: tuple[str, ...] = (),
) -> Entry:
    """An entry whose numbers lie in a file's bytes.

    Args:
        name: its name.
        data: gives the bytes, whose number has been checked.
        dtype: their dtype; one of another byte order is turned.
        shape: the shape.
        fortran: the first axis varies fastest.
        original: its name in the file, if another.
    """
    native = dtype.newbyteorder("=")

    def read() -> Array:
        if not math.prod(shape):
            return np.empty(shape, native)
        array = np.frombuffer(data(), dtype).reshape(shape, order="F" if fortran else "C")
        # a file puts its tensors anywhere; not all that works on arrays takes them from there
        return array.astype(native) if dtype != native or not array.flags.aligned else array

    return Entry(name, native, shape, read, original)


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


def _spread(entry: Entry, model: Model) -> Entry:
    """An entry in the model's shape, if it has as many elements."""
    shape = model.shape(entry.name)
    if shape is None or shape == entry.shape or math.prod(shape) != math.prod(entry.shape):
        return entry
    return replace(entry, shape=shape, read=lambda: entry.read().reshape(shape))


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
