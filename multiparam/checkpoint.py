"""Opening files: told by their content, read by whichever format knows them, with no framework."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Any, NoReturn, Union

from .errors import ArgumentError, CheckpointError, MultiparamError, ParameterNotFoundError
from .formats import Contents, Entry, Format, Model, unreadable
from .registry import discovered
from .safetensors_file import SafetensorsFile, is_safetensors
from .zip_file import Zip, is_zip

__all__ = ["Checkpoint", "FilePath", "as_path", "open"]

GROUP = "multiparam.formats"

FilePath = Union[str, "PathLike[str]"]


class Checkpoint(Mapping[str, Entry]):
    """A file's tensors by name, in canonical layouts where their layers are known; what `multiparam.open` returns.

    A tied tensor is listed once, and answers to its other names too.

    Attributes:
        path: the file.
        format: what it is: `"safetensors"`, `"torch"`, `"keras"`, `"h5"`, `"flax"`, `"mxnet"`, `"paddle"`, `"npz"`,
            `"npy"`, or what a plug-in calls it.
        backend: the backend whose framework wrote it, where the format tells; else empty.
        content: what was saved: `"model"`, `"dict"`, `"list"` or `"tensor"`.
        kinds: the kinds of the layers, as far as they are known, by the layers' names.
        ties: groups of names that are one tensor.
        own: names of tensors of whose layers nothing is known: name and layout are the file's own.
        left_out: what the file has beside tensors, and what that is.
        notes: what else is worth knowing, in sentences.
        layers: kinds and settings of the layers.
        settled: whether settings that `layers` leaves out have their default values.
    """

    def __init__(self, path: Path, format_name: str, contents: Contents, backend: str = "") -> None:
        self.path = path
        self.format = format_name
        self.backend = backend
        self._contents = contents
        self.content = contents.content
        self.layers = contents.layers
        self.settled = contents.settled
        self.kinds = {name: str(about["kind"]) for name, about in contents.layers.items() if "kind" in about}
        self.ties = [tuple(group) for group in contents.ties]
        self.own = contents.own
        self.left_out = contents.left_out
        self.notes = contents.notes
        self._entries = {entry.name: _reading(path, entry) for entry in contents.entries}
        if len(self._entries) < len(contents.entries):
            twice, _ = Counter(entry.name for entry in contents.entries).most_common(1)[0]
            raise CheckpointError(path, f"two of its tensors are called {twice!r}")
        self._aliases = {
            alias: next(name for name in group if name in self._entries)
            for group in self.ties
            for alias in group
            if any(name in self._entries for name in group)
        }

    def __getitem__(self, name: str) -> Entry:
        found = self._entries.get(self._aliases.get(name, name) if name not in self._entries else name)
        if found is None:
            raise ParameterNotFoundError("tensor", str(name), self._entries)
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self._aliases

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def suiting(self, model: Model) -> Checkpoint:
        """The same file, read as it suits a model, where it can be read in several ways."""
        if not self._contents.choices:
            return self
        return Checkpoint(self.path, self.format, self._contents.suiting(model), self.backend)

    def __str__(self) -> str:
        rows = [(name, str(one.shape), str(one.dtype), self._remark(one)) for name, one in self._entries.items()]
        widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
        lines = [f"{self.path}: {self.format}, {len(self)} tensor{'' if len(self) == 1 else 's'}"]
        for *cells, remark in rows:
            padded = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
            lines.append(f"  {padded}  {remark}".rstrip())
        lines += [f"tied: {' = '.join(group)}" for group in self.ties]
        lines += [f"left out: {name}, {what}" for name, what in self.left_out.items()]
        return "\n".join([*lines, *self.notes])

    __repr__ = __str__

    def _remark(self, entry: Entry) -> str:
        kind = self._kind_around(entry.name)
        if entry.refusal:
            return f"cannot be read: {entry.refusal}"
        if entry.name in self.own:
            origin = "as in the file"
        elif entry.original == (entry.name,):
            origin = "rearranged"
        else:
            origin = f"from {' + '.join(entry.original)}" if entry.original else ""
        return ", ".join(part for part in (kind, origin) if part)

    def _kind_around(self, name: str) -> str:
        """The kind of the layer that a tensor belongs to, be it the layer's own or a sublayer's; empty if not known."""
        layer = name
        while layer:
            layer = layer.rpartition(".")[0]
            if layer in self.kinds:
                return self.kinds[layer]
        return ""


def open(path: FilePath) -> Checkpoint:
    """Opens a file of any known format, with none of the frameworks installed; nothing in the file is executed.

    The format is told by the content. Names and layouts are PyTorch's where the file tells what its layers are, and
    the file's own elsewhere; `print` shows which. Numbers are read when they are asked for.

    Args:
        path: a safetensors file, PyTorch's `.pt`, Keras's `.keras` or `.weights.h5`, Flax's MessagePack, MXNet's
            `.params`, Paddle's `.pdparams`, numpy's `.npz`, or what a plug-in reads.

    Returns:
        A `Checkpoint`: an ordered mapping of names to entries with `.shape`, `.dtype`, `.value`, `.original`, and
        slices, `entry[0:3]`.

    Raises:
        CheckpointError: the file cannot be read, is of no known format, or is damaged.

    >>> import multiparam as mp, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "linear.safetensors")
    >>> mp.save(mp.nn.Linear(4, 8), path)
    >>> checkpoint = mp.open(path)
    >>> checkpoint["weight"].shape, checkpoint.kinds
    ((8, 4), {'': 'Linear'})
    >>> str(checkpoint).splitlines()[1]
    '  weight  (8, 4)  float32  Linear'
    """
    path = as_path(path)
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise unreadable(path, error) from error
    if is_safetensors(start):
        return Checkpoint(path, "safetensors", _safetensors(path))
    found, broken = _formats()
    for one in found.values():
        if one.recognizes(start) and one.holds(path):
            return Checkpoint(path, one.name, _read(one, path), one.backend)
    try:
        if is_zip(start):
            names = Zip(path).members  # a damaged one says so
            raise CheckpointError(path, f"a zip file of no known format, with {_some(names)} in it")
        return Checkpoint(path, "safetensors", _safetensors(path))
    except CheckpointError as error:
        # one of them might have known it
        why = "".join(f"; the format {name!r} cannot be loaded: {problem}" for name, problem in broken.items())
        raise CheckpointError(path, error.why + why) from error


def as_path(path: Any) -> Path:
    """A path that a user gave.

    Raises:
        ArgumentError: it is none.
    """
    try:
        return Path(path)
    except TypeError:
        raise ArgumentError(f"a file is named by a path, not by {type(path).__name__}") from None


def _some(names: Iterable[str]) -> str:
    """The first few of them, as they can be shown."""
    shown = [repr(name[:60]) for name, _ in zip(names, range(4), strict=False)]
    return ", ".join(shown[:3]) + (", …" if len(shown) > 3 else "") if shown else "nothing"


def _reading(path: Path, entry: Entry) -> Entry:
    """An entry that says why it cannot be read, where it cannot."""

    def refuse() -> NoReturn:
        raise CheckpointError(path, f"{entry.name!r} cannot be read: {entry.refusal}")

    return replace(entry, read=refuse) if entry.refusal else entry


@lru_cache(maxsize=1)
def _formats() -> tuple[dict[str, Format], dict[str, str]]:
    return discovered(GROUP, Format, "format")


def _read(one: Format, path: Path) -> Contents:
    try:
        return one.read(path)
    except MultiparamError:
        raise
    except Exception as error:  # what a damaged file does to a reader is the file's fault, whichever exception it is
        raise CheckpointError(path, f"no valid {one.name} file: {type(error).__name__}: {error}") from error


def _safetensors(path: Path) -> Contents:
    file = SafetensorsFile(path)
    about = _about(file)
    layers = about.get("layers", {})
    return Contents(
        entries=[file.entry(name) for name in file],
        content=about.get("content", "dict"),
        layers=layers,
        settled=True,
        ties=about.get("ties", []),
    )


def _about(file: SafetensorsFile) -> dict[str, Any]:
    try:
        about = json.loads(file.metadata.get("multiparam", "{}"))
    except json.JSONDecodeError as error:
        raise CheckpointError(file.path, f"its multiparam metadata is damaged: {error}") from error
    ties, layers = (about.get("ties", []), about.get("layers", {})) if isinstance(about, dict) else (None, None)
    sound = isinstance(ties, list) and all(
        isinstance(group, list) and group and all(isinstance(name, str) for name in group) for group in ties
    )
    sound = sound and isinstance(layers, dict) and all(isinstance(settings, dict) for settings in layers.values())
    if not sound:
        raise CheckpointError(file.path, "its multiparam metadata is damaged")
    if about.get("version", 1) != 1:
        raise CheckpointError(file.path, f"format version {about['version']}: a newer multiparam wrote it")
    return dict(about)
