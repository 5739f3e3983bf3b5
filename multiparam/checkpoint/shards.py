"""Checkpoints in several files: shards, and an index that says which tensor is in which.

Source: https://huggingface.co/docs/transformers/big_models, `model.safetensors.index.json`. The index is written last,
and shards never take the place of those that an older index names, so that at any moment the old checkpoint is there,
or the new one, whole. A file that is there is opened by its name whatever index is beside it, so that shards count from
the moment on when the single file before them is removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import ArgumentError, CheckpointError
from ..formats.disk import from_json, opened, unreadable
from ..formats.entry import Entry
from .atomic import mode_of, replacing, sync_folder
from .digests import is_sealed, sealed, stated
from .safetensors import encoded, is_safetensors, write

__all__ = ["Index", "files_of", "has_index", "in_folder", "index_of", "parsed_size", "read_index", "write_sharded"]

SUFFIX = ".index.json"
_PICKLED = ".bin"  # of the older standard, which gives way to safetensors
LARGEST_INDEX = 100_000_000  # bytes, as the format's headers
_NO_NAME = re.compile(r"[\\\0\ud800-\udfff]")  # what no file's name has, on one system or another
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


class Index:
    """What an index says.

    Args:
        path: the index.
        shards: the names of the tensors in each file, by the file's name.
        about: what `multiparam` has in its metadata; empty where another library wrote it.
        sound: whether it is what was written, as far as it tells.
    """

    def __init__(self, path: Path, shards: Mapping[str, Sequence[str]], about: Mapping[str, Any], sound: bool) -> None:
        self.path = path
        self.shards = shards
        self.about = about
        self.sound = sound

    def files(self) -> Iterator[Path]:
        """The shards, in their order."""
        return (self.path.parent / name for name in self.shards)


def parsed_size(given: int | str) -> int:
    """A number of bytes: itself, or with a unit, as in `"2GB"` or `"500 MiB"`.

    Raises:
        ArgumentError: it is none, or not positive.

    >>> parsed_size("2GB"), parsed_size("1.5 KiB")
    (2000000000, 1536)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?\s*", str(given), re.IGNORECASE)
    size = 0
    if found is not None and not isinstance(given, bool):
        unit = _UNITS[found[2].upper()]
        unit = 2 ** (10 * (len(str(unit)) // 3)) if found[3] else unit
        size = int(float(found[1]) * unit) if unit > 1 or found[1].isdigit() else 0
    if size < 1:
        raise ArgumentError(f"a size is a positive number of bytes, or one with a unit, '2GB' say, not {given!r}")
    return size


def index_of(path: Path) -> Path | None:
    """The index that a file's name stands for: itself, or the one beside a name that no file has."""
    if path.name.endswith(SUFFIX):
        return path
    return _beside(path) if has_index(path) and not os.path.exists(path) else None


def has_index(path: Path) -> bool:
    """Whether there is an index beside a file's name, be it the checkpoint of that name or a stale one."""
    return os.path.exists(_beside(path))


def _beside(path: Path) -> Path:
    return path.with_name(path.name + SUFFIX)


def files_of(path: Path) -> list[Path]:
    """The files of a checkpoint: its index and the shards, or the one that it is."""
    index = index_of(path)
    return [path] if index is None else [index, *read_index(index).files()]


def read_index(path: Path) -> Index:
    """An index, checked: its files are in its own folder.

    Raises:
        CheckpointError: it cannot be read, or is none.
    """
    try:
        with opened(path) as file:
            size = os.fstat(file.fileno()).st_size
            text = file.read(min(size, LARGEST_INDEX) + 1)  # memory for as much is taken at once
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        if len(text) > LARGEST_INDEX:
            raise ValueError("it is too large")
        found = from_json(text)
        places = found["weight_map"]
        ours = (found.get("metadata") or {}).get("multiparam", "{}")
        about = from_json(ours)
        if not isinstance(places, dict) or not isinstance(about, dict):
            raise ValueError("it has no map of names to files")
        shards: dict[str, list[str]] = {}
        for name, place in places.items():
            shards.setdefault(_plain(place), []).append(name)
        sound = is_sealed(ours, about, stated(places.items()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(path, f"no valid index of a sharded checkpoint: {error}") from error
    return Index(path, shards, about, sound)


def _plain(place: Any) -> str:
    """A shard's file name, which leads nowhere else."""
    if not isinstance(place, str) or place in ("", "..") or Path(place).name != place or _NO_NAME.search(place):
        raise ValueError(f"{place!r} is no file in its folder")
    return place


def write_sharded(path: Path, entries: Sequence[Entry], about: Mapping[str, Any], most: int) -> None:
    """Writes one file if all fits into it, else shards beside each other and an index.

    Args:
        path: the file that a single one would be, `model.safetensors`; shards are `model-00001-of-00003.safetensors`,
            the index is `model.safetensors.index.json`.
        entries: the tensors.
        about: what the metadata say under `multiparam`.
        most: bytes in a shard; a larger tensor has one for itself.

    Raises:
        CheckpointError: they cannot be written; what was there before is as it was.
    """
    mode_of(path)  # refuses what is no file, before shards take its place
    index = _beside(path)
    old = read_index(index) if os.path.exists(index) else None
    shares = _shared_out(entries, most)
    if len(shares) == 1:
        write(path, entries, about)
        _remove([index, *_shards_of(old)], but={path})
        return
    token = secrets.token_hex(8)
    names = _names(path, len(shares), token)
    written: list[Path] = []
    try:
        for name, share in zip(names, shares, strict=True):
            written.append(path.with_name(name))
            write(written[-1], share, {"version": 1, "content": "shard", "checkpoint": token})
        places = {entry.name: name for name, share in zip(names, shares, strict=True) for entry in share}
        ours = sealed({**about, "checkpoint": token}, stated(places.items()))
        size = sum(entry.size for entry in entries)
        text = {"metadata": {"total_size": size, "multiparam": ours}, "weight_map": places}
        with replacing(index) as file:
            file.write(encoded(index, json.dumps(text, indent=1, ensure_ascii=False)))
    except BaseException:
        if not _is_of(index, token):  # or it was in its place already, and names them
            _remove(written)
        raise
    _give_way(path, index)
    _remove(_shards_of(old), but={path, *written})


def _give_way(path: Path, index: Path) -> None:
    """Removes the single file that shards take the place of: while it is there, it is what its name opens."""
    try:
        path.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        why = f"is still the checkpoint before, and cannot be removed: {error.strerror}; the new one is {index.name}"
        raise CheckpointError(path, why) from error
    sync_folder(path)


def _is_of(index: Path, token: str) -> bool:
    try:
        return read_index(index).about.get("checkpoint") == token
    except CheckpointError:
        return False


def _shared_out(entries: Sequence[Entry], most: int) -> list[list[Entry]]:
    shares: list[list[Entry]] = [[]]
    size = 0
    for entry in entries:
        if shares[-1] and size + entry.size > most:
            shares.append([])
            size = 0
        shares[-1].append(entry)
        size += entry.size
    return shares


def _shards_of(index: Index | None) -> list[Path]:
    """What an index names and is a shard: it may name anything that is in its folder."""
    found = []
    for one in index.files() if index else ():
        with contextlib.suppress(CheckpointError), opened(one) as file:
            if is_safetensors(file.read(9)):
                found.append(one)
    return found


def _names(path: Path, count: int, token: str) -> list[str]:
    """Names for the shards that no file has yet."""
    stem, suffix = (path.stem, path.suffix) if path.suffix else (path.name, ".safetensors")
    for start in (stem, f"{stem}-{token}"):
        names = [f"{start}-{number:05}-of-{count:05}{suffix}" for number in range(1, count + 1)]
        if not any(os.path.lexists(path.with_name(name)) for name in names):
            break
    return names


def _remove(paths: Sequence[Path], but: set[Path] | None = None) -> None:
    for one in paths:
        if one not in (but or ()):
            with contextlib.suppress(OSError):
                one.unlink()


def in_folder(folder: Path) -> Path:
    """The file that is opened for a folder: a checkpoint in one file, or the index of one in several.

    A file goes before an index of its name, and safetensors before pickles. Of those only a model's count, which are
    called `…model.bin`: a folder has others of an optimizer, say.

    Raises:
        CheckpointError: there is none, or there are several.
    """
    indices = sorted(folder.glob(f"*{SUFFIX}"))
    pickled = [one for one in indices if one.name.endswith(_PICKLED + SUFFIX)]
    plain = [one for one in indices if one not in pickled]
    found = _checkpoint(folder, plain, "*.safetensors") or _checkpoint(folder, pickled, f"*model{_PICKLED}")
    if found is None:
        why = f"is a folder with neither a safetensors file nor a model{_PICKLED} in it: name the file"
        raise CheckpointError(folder, why)
    return found


def _checkpoint(folder: Path, indices: Sequence[Path], files: str) -> Path | None:
    """The only one of a kind; None where there is none."""
    if len(indices) > 1:
        raise CheckpointError(folder, f"has several checkpoints: name one of {_named(indices)}")
    for index in indices:
        single = index.with_name(index.name.removesuffix(SUFFIX))
        return single if os.path.isfile(single) else index
    found = sorted(folder.glob(files))
    if len(found) > 1:
        raise CheckpointError(folder, f"is a folder with several files: name one of {_named(found[:5])}")
    return found[0] if found else None


def _named(paths: Sequence[Path]) -> str:
    return ", ".join(one.name for one in paths)
