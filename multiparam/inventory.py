"""What a framework itself would save of a model, held against what the walk sees of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .adapter import Inventory, LeftOut
from .errors import UnsupportedError
from .text import printable, wrapped
from .tree import Tree

__all__ = ["check_complete", "left_out", "told"]


def left_out(tree: Tree, inventory: Inventory | None = None, *, saved: bool = True) -> dict[str, str]:
    """What the framework keeps of a model and the walk does not see: its name there, and what it is.

    Args:
        tree: the model.
        inventory: the framework's, where it was asked already.
        saved: also what the walk sees and a file does not get, as what is kept from a batch to the next.
    """
    kept = (tree.adapter.inventory(tree.model) if inventory is None else inventory).kept
    seen: set[int] = set()
    transient: set[int] = set()
    for group in tree.groups:
        for slot in group:
            own = transient if slot.transient else seen
            own.update(id(handle.variable) for handle in slot.handles() or ())
            if slot.node.adapter is not tree.adapter:  # the model's framework has its tensors as its own
                own.update(id(slot.node.adapter.carrier(handle.variable)) for handle in slot.handles() or ())
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
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise UnsupportedError(
            inventory.backend,
            doing,
            f"weights of the model are no tensors, and would be missing: {', '.join(found[:3])}{more}. "
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
        for line in wrapped(printable(f"{verb}: {', '.join(names[:3])}{_more(names)} ({_each(names)}{what})"))
    ]


def _more(names: Sequence[str]) -> str:
    return f" and {len(names) - 3:,} more" if len(names) > 3 else ""


def _each(names: Sequence[str]) -> str:
    return "each " if len(names) > 1 else ""
