"""Writes how each framework keeps each layer kind, from the layer tables: `python -m multiparam.testing.layer_docs`."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator

import multiparam as mp

from .parity import CASES, NATIVE, Case, NativeLayer, frameworks, layers_of

__all__ = ["document"]

_HEAD = """# Layers

How each framework keeps what PyTorch's `state_dict` has, generated from the layer tables by `make docs`. `make
parity` sends every one of these layers from each framework into each other.

`At('kernel', axes=(1, 0))` is the native tensor `kernel` with its axes in that order; further steps follow in turn.
`Concat` puts several behind each other, `Block` is one of several blocks of which the others are always zero. A path,
`cell/kernel`, leads into a sublayer. What is *added* has no place of its own: it is written into files as zeros and
added to the other when a file is loaded. What is *in files only* is written with its neutral value and ignored when
it is read. Settings are saved beside the weights, in PyTorch's terms, and `mp.load` reports those that differ.
"""


def document(names: list[str]) -> str:
    """The page as Markdown.

    Args:
        names: the frameworks.
    """
    layers = {name: layers_of(name) for name in names}
    parts = [_HEAD]
    for case in {**CASES, **NATIVE}.values():
        parts.append(f"## {case.name}\n")
        for name in names:
            parts.append("\n".join(_of(case, name, layers[name].get(case.name))) + "\n")
    return "\n".join(parts)


def _of(case: Case, framework: str, layer: NativeLayer | None) -> Iterator[str]:
    if layer is None:
        yield f"**{framework}**: has none."
        return
    root = mp.layers(layer.make())
    native = root.native
    yield f"**{framework}**: `{root.node.adapter.layer_class(native).__name__}`\n"
    for one in root.walk():
        node = one.node
        for slot in node.slots:
            yield f"- `{slot.name}` {slot.shape()}: `{slot.source!r}`"
        yield from (f"- `{role}`: added to `{fold.into}`" for role, fold in node.folds().items())
        added = node.folds()
        yield from (f"- `{role}`: in files only" for role in node.file_only() if role not in added)
        if settings := node.settings():
            told = ", ".join(f"{setting} {value}" for setting, value in settings.items())
            yield f"- settings{f' of `{node.name}`' if node.name else ''}: {told}"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.stdout.write(document(sys.argv[1:] or frameworks()))
