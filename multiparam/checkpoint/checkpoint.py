"""Opening files: told by their content, read by whichever format knows them, with no framework."""

from __future__ import annotations

import os
import textwrap
import weakref
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from os import PathLike
from pathlib import Path
from typing import Any, Union

from ..arrays.types import Array
from ..entry_points import discovered
from ..errors import ArgumentError, CheckpointError, MultiparamError, ParameterNotFoundError
from ..formats.contents import NOBODYS, Contents, Model, nobodys, unsure
from ..formats.disk import from_json, opened, unreadable
from ..formats.entry import Entry, verified
from ..formats.format import Format
from ..formats.pickle_file import pickle_file
from ..formats.zips import Zip, is_zip
from ..gc_pause import uncollected
from ..html import Section, report
from ..layer_table.settings import EDITION
from ..names.pattern import Patterns, chosen
from ..names.rename import Rename, renamer
from ..text import counted, listed, printable, shortened
from .digests import check_header
from .safetensors import SafetensorsFile, is_safetensors, looks_like
from .shards import Index, in_folder, index_of, read_index

__all__ = ["Checkpoint", "FilePath", "as_path", "grouped", "open"]

GROUP = "multiparam.formats"
PYTORCHS = frozenset(("pt", "pytorch", "torch"))  # what safetensors files with PyTorch's layouts say of their format
DEEPEST = 10  # things in each other in what a file tells of its layers
_WIDTH = 80  # of what is printed, where it fits
_LONGEST = 44  # characters of a name in a table

FilePath = Union[str, "PathLike[str]"]

PART = "This is one shard of a checkpoint: its index, the file *.safetensors.index.json, opens all of them."


class Checkpoint(Mapping[str, Entry]):
    """A file's tensors by name, in canonical layouts where their layers are known; what `multiparam.open` returns.

    A tied tensor is listed once, and answers to its other names too.

    Attributes:
        path: the file.
        format: what it is: `"safetensors"`, `"torch"`, `"keras"`, `"h5"`, `"flax"`, `"mxnet"`, `"paddle"`, `"npz"`,
            `"npy"`, `"pickle"`, or what a plug-in calls it.
        backend: the backend whose framework wrote it, where the format tells; else empty.
        content: what was saved: `"model"`, `"dict"`, `"list"` or `"tensor"`.
        kinds: the kinds of the layers, as far as they are known, by the layers' names.
        ties: groups of names that are one tensor.
        own: names of tensors of whose layers nothing is known: name and layout are the file's own.
        left_out: what the file has beside tensors, or what was saved without, and what that is.
        notes: what else is worth knowing, in sentences.
        layers: kinds and settings of the layers.
        settled: whether settings that `layers` leaves out have their default values.
        edition: which settings that holds for, those that multiparam knew of when the file was written.
    """

    def __init__(self, path: Path, format_name: str, contents: Contents) -> None:
        self.path = path
        self.format = format_name
        self.contents = contents
        self.backend = contents.backend
        self.content = contents.content
        self.layers = contents.layers
        self.settled = contents.settled
        self.edition = contents.edition
        self.kinds = contents.kinds
        self.ties = [tuple(group) for group in contents.ties]
        self.own = contents.own
        self.left_out = contents.left_out
        self.notes = [*contents.notes, *grouped(self.doubts)]
        self._entries = {entry.name: entry for entry in contents.entries}
        if len(self._entries) < len(contents.entries):
            twice, _ = Counter(entry.name for entry in contents.entries).most_common(1)[0]
            raise CheckpointError(path, f"two of its tensors are called {twice!r}")
        self._by_name = contents.by_name

    def __getitem__(self, name: str) -> Entry:
        found = self._by_name.get(name)
        if found is None:
            raise ParameterNotFoundError("tensor", str(name), self._entries)
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def suiting(self, model: Model) -> Checkpoint:
        """The same file, read as it suits a model, where it can be read in several ways."""
        return self._told(self.contents.suiting(model))

    def _told(self, contents: Contents) -> Checkpoint:
        """The same file, its contents told otherwise."""
        return Checkpoint(self.path, self.format, contents)

    @property
    def doubts(self) -> Mapping[str, str]:
        """Why it is not known whether some tensors have their axes in the order that is canonical, by name."""
        return {**self.contents.unsure, **self.contents.doubts}

    def is_uncertain(self, entry: Entry) -> bool:
        """Whether an entry may have its axes in another order, and its shape does not tell."""
        return self.contents.is_uncertain(entry)

    def renamed(self, rename: Rename) -> Checkpoint:
        """The same file under other names.

        Args:
            rename: regular expressions and their replacements, applied to the names in turn, or a function of a name,
                as in `multiparam.load`.

        Raises:
            ArgumentError: two tensors would have one name.

        >>> import multiparam as mp, os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "linear.safetensors")
        >>> mp.save(mp.nn.Linear(4, 8), path)
        saved 2 tensors
        >>> list(mp.open(path).renamed({"^": "head."}))
        ['head.weight', 'head.bias']
        """
        return self._told(self.contents.renamed(renamer(rename)))

    def part(self, only: Patterns | None = None, ignore: Patterns | None = None) -> Checkpoint:
        """A part of the same file.

        Args:
            only: the tensors that are in it: a name, a glob (`*` crosses dots, `?` is one character), a compiled
                regular expression that must match a whole name, or a list of them; None for all.
            ignore: those that are not, of these.

        Raises:
            ParameterNotFoundError: a pattern matches nothing.
            ArgumentError: nothing is left, or a pattern is none.

        >>> import multiparam as mp, os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "linear.safetensors")
        >>> mp.save(mp.nn.Linear(4, 8), path)
        saved 2 tensors
        >>> list(mp.open(path).part(ignore="*bias"))
        ['weight']
        """
        names = self.names()
        kept = {*names} if only is None else chosen(only, names, "tensor")
        kept -= set() if ignore is None else chosen(ignore, names, "tensor")
        if not kept:
            raise ArgumentError(f"only= and ignore= leave nothing of {self.path}")
        return self.holding(kept)

    def names(self) -> list[str]:
        """The names of all tensors, the other names of tied ones behind them."""
        return [*self._by_name]

    def holding(self, names: Collection[str]) -> Checkpoint:
        """The same file with the tensors of these names alone."""
        kept: dict[str, str] = {}  # what a tensor is called now: another of its names, where the first one is not kept
        for name in self.names():
            if name in names:
                kept.setdefault(self[name].name, name)
        there, left = _above(self.names()), _above(kept.values())
        inside = {name: about for name, about in self.layers.items() if name in left or name not in there}
        ties = [[name for name in group if name in names] for group in self.ties]
        contents = self.contents
        return self._told(
            replace(
                contents,
                entries=[replace(self._entries[name], name=new) for name, new in kept.items()],
                layers=inside,
                ties=[group for group in ties if len(group) > 1],
                own=frozenset(kept[name] for name in self.own if name in kept),
                doubts={kept[name]: why for name, why in contents.doubts.items() if name in kept},
                unsure={kept[name]: why for name, why in contents.unsure.items() if name in kept},
                flat=frozenset(kept[name] for name in contents.flat if name in kept),
                choices=[one for one in contents.choices if one.instead <= {*kept.values()}],
                originals=None,  # of which some are not wanted
            )
        )

    def watched(self, seen: Callable[[], Any]) -> Checkpoint:
        """The same file, calling `seen()` whenever a tensor's numbers have been asked for."""

        def watching(entry: Entry) -> Entry:
            def read() -> Array:
                value = entry.read()
                seen()
                return value

            return replace(entry, read=read)

        return self._told(self.contents.each(watching))

    def verify(self, progress: Callable[[Entry], None] | None = None) -> tuple[int, int]:
        """Reads every tensor and compares it with its digest.

        Args:
            progress: called with each entry when it is done.

        Returns:
            How many tensors were compared, and how many the file has no digest of.

        Raises:
            CheckpointError: one is damaged or cannot be read.

        >>> import multiparam as mp, os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "linear.safetensors")
        >>> mp.save(mp.nn.Linear(4, 8), path)
        saved 2 tensors
        >>> mp.open(path).verify()
        (2, 0)
        """
        for entry in verified(list(self.values())):
            if entry.check is None:
                entry.read()
            if progress is not None:
                progress(entry)
        compared = sum(entry.check is not None for entry in self.values())
        return compared, len(self) - compared

    def __str__(self) -> str:
        rows = [(_shortened(name), str(one.shape), str(one.dtype)) for name, one in self._entries.items()]
        widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
        lines = [self._title()]
        for cells, entry in zip(rows, self._entries.values(), strict=True):
            padded = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
            remark = self._remark(entry, _WIDTH - len(padded) - 4)
            lines.append(f"  {padded}  {remark}".rstrip())
        lines += [f"tied: {listed(group, ' = ')}" for group in self.ties]
        lines += [f"left out: {name}, {what}" for name, what in self.left_out.items()]
        return "\n".join(map(printable, [*lines, *(line for note in self.notes for line in _wrapped(note))]))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = [(name, one.shape, one.dtype, self._remark(one, _WIDTH)) for name, one in self._entries.items()]
        sections: list[Section] = [
            ("tensors", ("name", "shape", "dtype", ""), rows),
            ("tied", ("names",), [(" = ".join(group),) for group in self.ties]),
            ("left out", ("name", "what it is"), list(self.left_out.items())),
        ]
        return report(self._title(), sections, self.notes)

    def _title(self) -> str:
        return f"{self.path}: {self.format}, {counted(len(self), 'tensor')}"

    def _remark(self, entry: Entry, width: int) -> str:
        kind = self.kind_around(entry.name)
        if entry.refusal:
            return f"cannot be read: {entry.refusal}"
        remarks = [", ".join(part for part in (kind, origin) if part) for origin in self._origins(entry)]
        return next((remark for remark in remarks if len(remark) <= width), remarks[-1])

    def _origins(self, entry: Entry) -> list[str]:
        """Where an entry comes from, said at length and shorter."""
        whole = self.origin(entry)
        if len(entry.original) < 2 or entry.name in self.own:
            return [whole]
        # what all have in common with the name itself need not be said again
        layer = f"{entry.name.rpartition('.')[0]}."
        first, *others = (name.removeprefix(layer) for name in entry.original)
        shorter = f"from {' + '.join([first, *others])}"
        return [whole, shorter, f"from {first} + {len(others)} more", f"from {1 + len(others)} tensors"]

    def origin(self, entry: Entry) -> str:
        """What became of a tensor between the file and here; empty if nothing, in a file that tells its layers."""
        if entry.name in self.own:
            return "as in the file"
        if entry.original == (entry.name,):
            return "rearranged"
        return f"from {' + '.join(entry.original)}" if entry.original else ""

    def kind_around(self, name: str) -> str:
        """The kind of the layer that a tensor belongs to, be it the layer's own or a sublayer's; empty if not known."""
        return self.contents.kind_around(name)


@uncollected()
def open(path: FilePath, *, check: bool = True) -> Checkpoint:
    """Opens a file of any known format, with none of the frameworks installed; nothing in the file is executed.

    The format is told by the content. Names and layouts are PyTorch's where the file tells what its layers are, and
    the file's own elsewhere; `print` shows which. Numbers are read when they are asked for;
    of a file that was changed since it was opened none are.

    Args:
        path: a safetensors file, PyTorch's `.pt`, Keras's `.keras` or `.weights.h5`, Flax's MessagePack, MXNet's
            `.params`, Paddle's `.pdparams`, numpy's `.npz`, or what a plug-in reads; or a sharded checkpoint, by its
            folder, its index, or the name that it would have in one file, where no file has it.
        check: compare a tensor's bytes with their digest when it is first read whole, where the file has digests.

    Returns:
        A `Checkpoint`, an ordered mapping of names to entries with `.shape`, `.dtype`, `.value`, `.original`, and
        slices, `entry[0:3]`.

    Raises:
        CheckpointError: the file cannot be read, is of no known format, or is damaged.

    >>> import multiparam as mp, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "linear.safetensors")
    >>> mp.save(mp.nn.Linear(4, 8), path)
    saved 2 tensors
    >>> checkpoint = mp.open(path)
    >>> checkpoint["weight"].shape, checkpoint.kinds
    ((8, 4), {'': 'Linear'})
    >>> str(checkpoint).splitlines()[1]
    '  weight  (8, 4)  float32  Linear'
    """
    path = as_path(path)
    path = in_folder(path) if os.path.isdir(path) else path  # False where one may not look, which Path.is_dir raises
    while True:
        index = index_of(path)
        if index is not None:
            return _sharded(read_index(index), check)
        try:
            file = _File(path)
        except CheckpointError:
            if index_of(path) is None:
                raise
            continue  # shards took its place in between
        try:
            checkpoint = _opened(file, check)
        except CheckpointError:
            if file.is_at_its_path():
                raise
            continue
        if file.is_at_its_path():
            return checkpoint  # or it was replaced in between


def _opened(file: _File, check: bool) -> Checkpoint:
    kind, contents = _found(file, check)
    if contents.content == "shard":
        contents = replace(contents, notes=[*contents.notes, PART])
    return Checkpoint(file.path, kind, contents)


def _found(file: _File, check: bool) -> tuple[str, Contents]:
    """A file's format, and what is in it, which says why it cannot be read where it cannot."""
    kind, contents = _read_by_format(file, check)
    return kind, contents.each(partial(_reading, file))


def _read_by_format(file: _File, check: bool) -> tuple[str, Contents]:
    start = file.start()
    if is_safetensors(start):
        return "safetensors", _safetensors(file.path, check)
    found, broken = _formats() if start else ({}, {})
    for one in found.values():
        if one.recognizes(start) and one.holds(file.path):
            contents = _read(one, file.path)
            if contents is None:
                continue
            if not check:
                contents = contents.each(lambda entry: replace(entry, check=None))
            return one.name, replace(contents, backend=contents.backend or one.backend)
    if not start:
        raise CheckpointError(file.path, "is empty")
    # one of them might have known it
    why = "".join(f"; the format {name!r} cannot be loaded: {problem}" for name, problem in broken.items())
    if is_zip(start):
        names = Zip(file.path).members  # a damaged one says so
        raise CheckpointError(file.path, f"a zip file of no known format, with {_some(names)} in it{why}")
    known = ", ".join(["safetensors", *sorted(found)])
    raise CheckpointError(file.path, f"of no known format; known are {known}{looks_like(start)}{why}")


def as_path(path: Any, called: str = "") -> Path:
    """A path that a user gave.

    Args:
        path: what was given.
        called: how the function is called to which it was given, where that is easily mistaken.

    Raises:
        ArgumentError: it is none.
    """
    try:
        made = Path(path)
    except TypeError:
        hint = f": {called}" if called else ""
        raise ArgumentError(f"a file is named by a path, not by {type(path).__name__}{hint}") from None
    if not os.fspath(path):
        raise ArgumentError("a file is named by a path, and this one is empty")
    try:
        well = b"\0" not in os.fsencode(made)
    except ValueError:
        well = False
    if not well:
        raise ArgumentError(f"no file can have the name {str(made)!r}")
    return made


def grouped(doubts: Mapping[str, str]) -> list[str]:
    """The doubts, those of one reason together."""
    groups: dict[str, list[str]] = {}
    for name, why in doubts.items():
        groups.setdefault(why, []).append(name)
    return [f"{listed(names)}: {why}" for why, names in groups.items()]


def _above(names: Iterable[str]) -> set[str]:
    """The layers that hold the tensors of these names, directly or further below."""
    found = {""}
    for name in names:
        layer = name.rpartition(".")[0]
        while layer not in found:
            found.add(layer)
            layer = layer.rpartition(".")[0]
    return found


def _shortened(name: str) -> str:
    """A name that takes no more than its column, its middle left out."""
    return printable(shortened(name, _LONGEST))


def _wrapped(note: str) -> list[str]:
    return textwrap.wrap(note, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


class _File:
    """A file that is kept open, so that it can be told whether it still is what it was.

    Raises:
        CheckpointError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        file = opened(path)
        self._descriptor = file.fileno()
        weakref.finalize(self, file.close)
        self._seen = self._now()

    def start(self) -> bytes:
        """Its first bytes."""
        try:
            return os.read(self._descriptor, 64)
        except OSError as error:
            raise unreadable(self.path, error) from error

    def is_at_its_path(self) -> bool:
        """Whether the path still leads to it."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), os.stat(self.path))
        except OSError:
            return False

    def check(self) -> None:
        """Refuses a file that was changed: where it became shorter, a read would end the process."""
        if self._now() != self._seen:
            raise CheckpointError(self.path, "was changed since it was opened; open it again")

    def _now(self) -> tuple[int, int]:
        now = os.fstat(self._descriptor)
        return now.st_size, now.st_mtime_ns


def _some(names: Iterable[str]) -> str:
    """The first few of them, as they can be shown."""
    shown = [repr(name[:60]) for name, _ in zip(names, range(4), strict=False)]
    return ", ".join(shown[:3]) + (", …" if len(shown) > 3 else "") if shown else "nothing"


def _reading(file: _File, entry: Entry) -> Entry:
    """An entry that says why it cannot be read, where it cannot."""

    def read() -> Array:
        if entry.refusal:
            raise CheckpointError(file.path, f"{entry.name!r} cannot be read: {entry.refusal}")
        file.check()
        return entry.read()

    def check() -> None:
        file.check()
        assert entry.check is not None
        entry.check()

    guarded = None if entry.check is None else check
    return Entry(entry.name, entry.dtype, entry.shape, read, entry.original, entry.refusal, guarded, entry.whole)


@lru_cache(maxsize=1)
def _formats() -> tuple[dict[str, Format], dict[str, str]]:
    found, broken = discovered(GROUP, Format, "format")
    # the last one, since frameworks write pickles too, which have marks of their own
    return {**found, pickle_file.name: pickle_file}, broken


def _read(one: Format, path: Path) -> Contents | None:
    try:
        return one.read(path)
    except MultiparamError:
        raise
    except Exception as error:  # what a damaged file does to a reader is the file's fault, whichever exception it is
        raise CheckpointError(path, f"no valid {one.name} file: {type(error).__name__}: {error}") from error


def _sharded(index: Index, check: bool) -> Checkpoint:
    """The tensors of all shards, in the index's order."""
    file = _File(index.path)
    if check and not index.sound:
        raise CheckpointError(
            index.path, "is damaged: its metadata or its map of tensors are not those that were written"
        )
    kinds: list[tuple[str, str]] = []
    shards: list[Contents] = []
    for path in index.files():
        if not os.path.lexists(path):
            raise CheckpointError(path, f"no such file, which {index.path.name} names")
    for path, names in zip(index.files(), index.shards.values(), strict=True):
        kind, contents = _found(_File(path), check)
        kinds.append((kind, contents.backend))
        if kinds[0] != kinds[-1]:
            raise CheckpointError(path, f"is of the format {kind}, and other shards are of {kinds[0][0]}")
        if index.about.get("checkpoint", "") != contents.part_of:
            raise CheckpointError(path, f"is of another checkpoint than {index.path.name}")
        _check_names(path, index, names, contents, check)
        shards.append(replace(contents, entries=_ordered(contents.entries, names)))
    kind, backend = kinds[0] if kinds else ("safetensors", "")
    whole = replace(_contents([], _sound_about(index.path, index.about)), backend=backend)
    return Checkpoint(file.path, kind, _together(whole, shards).each(partial(_reading, file)))


def _check_names(path: Path, index: Index, names: Sequence[str], contents: Contents, check: bool) -> None:
    """Refuses a shard whose tensors are not those that the index says; of a tied one it may have any name."""
    tied = {name: group for group in contents.ties for name in group}
    there = {name for entry in contents.entries for name in (entry.name, *tied.get(entry.name, ()))}
    lacking = [name for name in names if name not in there]
    if lacking:
        raise CheckpointError(path, f"lacks {lacking[0]!r}, which {index.path.name} says it has")
    expected = set(names)
    for entry in contents.entries if check else ():
        if expected.isdisjoint((entry.name, *tied.get(entry.name, ()))):
            why = f"has {entry.name!r}, and not by {index.path.name}: the index is damaged, or of another "
            why += "checkpoint (check=False takes it as it is)"
            raise CheckpointError(path, why)


def _ordered(entries: Sequence[Entry], names: Sequence[str]) -> list[Entry]:
    places = {name: place for place, name in enumerate(names)}
    return sorted(entries, key=lambda entry: places.get(entry.name, len(places)))


def _together(whole: Contents, shards: Sequence[Contents]) -> Contents:
    """The contents of all shards as one, beside what the index says of the whole."""
    return replace(
        whole,
        entries=[entry for one in shards for entry in one.entries],
        layers={name: about for one in (*shards, whole) for name, about in one.layers.items()},
        settled=whole.settled and all(one.settled for one in shards),
        ties=[*whole.ties, *(group for one in shards for group in one.ties)],
        own=frozenset().union(*(one.own for one in shards)),
        left_out={name: what for one in (whole, *shards) for name, what in one.left_out.items()},
        notes=[*dict.fromkeys(note for one in shards for note in one.notes)],
        choices=[choice for one in shards for choice in one.choices],
        doubts={name: why for one in shards for name, why in one.doubts.items()},
        unsure={name: why for one in (whole, *shards) for name, why in one.unsure.items()},
        flat=frozenset().union(*(one.flat for one in shards)),
    )


def _safetensors(path: Path, check: bool) -> Contents:
    """What is in a safetensors file."""
    file = SafetensorsFile(path)
    about = _about(file)
    if check:
        check_header(path, file.metadata, about, file.header)
        file.digests = about.get("digests", {})
    contents, writer = _contents([file.entry(name) for name in file], about), file.metadata.get("format", "")
    if about or writer in PYTORCHS:
        return contents if about else replace(contents, writer=writer)
    if not writer:
        return unsure(contents)
    for one in _formats()[0].values():
        if writer in one.safetensors:
            return replace(one.safetensors[writer](contents.entries), backend=one.backend)
    return nobodys(contents, f"its axes are those of {writer!r}, and the shape fits them in either order")


def _contents(entries: list[Entry], about: Mapping[str, Any]) -> Contents:
    layers = about.get("layers", {})
    return Contents(
        entries=entries,
        content=about.get("content", "dict"),
        layers=layers,
        settled=about.get("settled", True) is True,
        edition=EDITION if about.get("edition", 1) != 1 else 1,
        ties=about.get("ties", []),
        left_out=about.get("left_out", {}),
        unsure=dict.fromkeys(about.get("unsure", ()), NOBODYS),
        part_of=about.get("checkpoint", ""),
    )


def _about(file: SafetensorsFile) -> dict[str, Any]:
    try:
        about = from_json(file.metadata.get("multiparam", "{}"))
    except ValueError as error:
        raise CheckpointError(file.path, f"its multiparam metadata is damaged: {error}") from error
    return _sound_about(file.path, about)


def _sound_about(path: Path, about: Any) -> dict[str, Any]:
    """What the metadata say, if it is what multiparam writes there."""
    ties, layers = (about.get("ties", []), about.get("layers", {})) if isinstance(about, dict) else (None, None)
    sound = isinstance(ties, list) and all(
        isinstance(group, list) and group and all(isinstance(name, str) for name in group) for group in ties
    )
    digests = about.get("digests", {}) if isinstance(about, dict) else None
    sound = sound and isinstance(digests, dict) and all(isinstance(one, str) for one in digests.values())
    sound = sound and isinstance(about.get("header", ""), str)
    left = about.get("left_out", {}) if isinstance(about, dict) else None
    sound = sound and isinstance(left, dict) and all(isinstance(what, str) for what in left.values())
    uncertain = about.get("unsure", []) if isinstance(about, dict) else None
    sound = sound and isinstance(uncertain, list) and all(isinstance(name, str) for name in uncertain)
    sound = sound and isinstance(layers, dict) and all(isinstance(settings, dict) for settings in layers.values())
    sound = sound and _is_shallow(layers, DEEPEST)
    sound = sound and about.get("content", "dict") in ("model", "dict", "list", "tensor", "shard")
    if not sound:
        raise CheckpointError(path, "its multiparam metadata is damaged")
    if about.get("version", 1) != 1:
        raise CheckpointError(path, f"format version {about['version']}: a newer multiparam wrote it")
    return dict(about)


def _is_shallow(thing: Any, most: int) -> bool:
    inside = thing.values() if isinstance(thing, dict) else thing if isinstance(thing, list) else ()
    return not inside or (most > 0 and all(_is_shallow(one, most - 1) for one in inside))
