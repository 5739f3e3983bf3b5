"""Which checkpoint a folder holds, as those that Hugging Face's libraries write: one file, or an index and shards."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from .errors import CheckpointError
from .shards import SUFFIX

__all__ = ["in_folder"]

_PICKLED = ".bin"  # of the older standard, which gives way to safetensors


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
