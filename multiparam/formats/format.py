"""What a reader declares of its file format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .contents import Contents
from .entry import Entry

__all__ = [
    "Format",
]


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
