"""What a framework itself would save of a model, held against what the walk sees of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..adapter.base import Inventory, LeftOut
from ..errors import UnsupportedError
from ..text import listed, printable, wrapped
from .tree import Tree

__all__ = ["check_complete", "inventory_of", "left_out", "told"]


def inventory_of(tree: Tree) -> Inventory:
    """What the framework's saver would keep of a model; of another framework's layer in it, what that one's would."""
    whole = tree.adapter.inventory(tree.model)
    kept = dict(whole.kept)
    for node in tree.root.walk():
        if node.parent is not None and node.adapter is not node.parent.adapter:
            start = f"{node.name}."
            kept = {name: one for name, one in kept.items() if not name.startswith(start)}
            kept |= {start + name: one for name, one in node.adapter.inventory(node.native).kept.items()}
    return replace(whole, kept=kept)


def left_out(tree: Tree, inventory: Inventory | None = None, *, saved: bool = True) -> dict[str, str]:
    """What the framework keeps of a model and the walk does not see: its name there, and what it is.

    Args:
        tree: the model.
        inventory: the framework's, where it was asked already.
        saved: also what the walk sees and a file does not get, as what is kept from a batch to the next.
    """
    kept = (inventory_of(tree) if inventory is None else inventory).kept
    seen: set[int] = set()
    transient: set[int] = set()
    for group in tree.groups:
        for slot in group:
            (transient if slot.transient else seen).update(id(handle.variable) for handle in slot.handles() or ())
    found: dict[str, str] = {}
    for name, one in kept.items():
        if id(one) in transient and id(one) not in seen:
            found |= {name: "kept from one batch to the next"} if saved else {}
        elif id(one) not in seen:
            found[name] = one.what if isinstance(one, LeftOut) else f"of {type(one).__name__}"
    return found


def check_complete(inventory: Inventory, doing: str) -> None:
    """Refuses a model whose weights are kept in what is no tensor, as those of quantized layers are.

    Raises:
        UnsupportedError: the first few of them, with what the adapter says can be done.
    """
    found = [f"{name} ({one.what})" for name, one in inventory.kept.items() if isinstance(one, LeftOut) and one.weights]
    if found:
        raise UnsupportedError(
            inventory.backend,
            doing,
            f"weights of the model are no tensors, and would be missing: {listed(found, most=3)}. "
            f"Nothing was done; use the framework's own way, or the model before it was converted",
        )


def told(left: Mapping[str, str], verb: str) -> list[str]:
    """A line for each thing that is left out, those of one sort together.

    >>> told({"a._extra_state": "a dict", "b._extra_state": "a dict"}, "not saved")
    ['not saved: a._extra_state, b._extra_state (each a dict)']
    """
    sorts: dict[str, list[str]] = {}
    for name, what in left.items():
        sorts.setdefault(what, []).append(name)
    return [
        line
        for what, names in sorts.items()
        for line in wrapped(printable(f"{verb}: {listed(names, most=3)} ({_each(names)}{what})"))
    ]


def _each(names: Sequence[str]) -> str:
    return "each " if len(names) > 1 else ""
