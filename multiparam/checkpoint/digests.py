"""Digests that tell a damaged file: of each tensor's bytes, and of what the header says.

The safetensors format has no checksums: a flipped byte is loaded as a number, one in the header as another dtype, shape
or name. Ours stand in the metadata, under `multiparam`: XXH3 digests of 64 bits, in hexadecimal digits.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from xxhash import xxh3_64

from ..errors import CheckpointError

__all__ = ["ANYWAY", "NO_DIGEST", "check_header", "is_sealed", "sealed", "stated"]

NO_DIGEST = "0" * 16
_FIRST = '{"version": 1, "content": "'  # how multiparam's metadata begin
ANYWAY = "; multiparam.load and multiparam.open read it all the same with check=False"


def stated(things: Iterable[tuple[Any, ...]]) -> bytes:
    """What a header says of its tensors, or an index of their places, in one way of writing.

    >>> stated([("b", "F32", [2]), ("a", "I8", [])])
    b'[["a","I8",[]],["b","F32",[2]]]'
    """
    return json.dumps(sorted(things), separators=(",", ":")).encode()


def sealed(about: Mapping[str, Any], said: bytes) -> str:
    """Metadata as JSON, with a digest of themselves and of what is said beside them.

    >>> sealed({"version": 1}, b"")
    '{"version": 1, "header": "b7bcc5530ae02e49"}'
    """
    text = json.dumps({**about, "header": NO_DIGEST}, ensure_ascii=False)
    return f"{text[: -len(NO_DIGEST) - 2]}{_digest(text, said)}{text[-2:]}"


def is_sealed(text: str, about: Mapping[str, Any], said: bytes) -> bool:
    """Whether metadata and what is said beside them are as they were written; True where they have no digest."""
    digest = about.get("header")
    if digest is None:
        return True
    return len(digest) == len(NO_DIGEST) and _digest(text.replace(digest, NO_DIGEST), said) == digest


def _digest(text: str, said: bytes) -> str:
    # half of a character, which no file can hold, is refused where the whole header is written
    return xxh3_64(text.encode(errors="surrogatepass") + said).hexdigest()


def check_header(
    path: Path, metadata: Mapping[str, str], about: Mapping[str, Any], tensors: Mapping[str, Mapping[str, Any]]
) -> None:
    """Refuses a file of multiparam's whose header is damaged, so that its tensors could not be told from others.

    Args:
        path: the file.
        metadata: all that it has.
        about: what they say under `multiparam`.
        tensors: what the header says of the tensors, by their names.

    Raises:
        CheckpointError: it is damaged.
    """
    why = _damage(metadata, about, tensors)
    if why:
        raise CheckpointError(path, f"its header is damaged: {why}{ANYWAY}")


def _damage(metadata: Mapping[str, str], about: Mapping[str, Any], tensors: Mapping[str, Mapping[str, Any]]) -> str:
    if "multiparam" not in metadata:
        ours = [key for key, text in metadata.items() if text.startswith(_FIRST)]
        return f"multiparam's metadata are called {ours[0]!r} in it" if ours else ""
    digests = about.get("digests")
    if digests is None:
        return "it has no digests of its tensors" if "version" in about else ""
    without = [name for name in tensors if name not in digests]
    strange = [name for name in digests if name not in tensors]
    if strange:
        return f"it has a digest of {strange[0]!r}, and no such tensor"
    if without:
        return f"{without[0]!r} has no digest"
    said = stated((name, one["dtype"], one["shape"]) for name, one in tensors.items())
    if not is_sealed(metadata["multiparam"], about, said):
        return "its metadata, or its tensors' names, dtypes or shapes, are not those that were written"
    return ""
