"""Telling multiparam what a layer class of yours is."""

from __future__ import annotations

from ..adapter.registry import adapter, claimants, plugins
from ..errors import BackendError
from ..layer_table.layout import Source
from ..layer_table.table import user_row
from ..model.tree import bump_version

__all__ = ["register_layer"]


def register_layer(native: type, kind: str | None = None, /, **roles: str | Source) -> None:
    """Declares the canonical names and layouts of a layer class of yours, for itself and its subclasses.

    Without it, a custom layer's parameters keep their own names and layouts.

    Args:
        native: a layer class of any backend.
        kind: the canonical kind it is equivalent to, `"Linear"`; None is its own name.
        **roles: for each canonical tensor, the native tensor's name, or its layout: `At`, `Transposed` or
            `Concat`.

    Raises:
        BackendError: the class belongs to no backend.
        ArgumentError: a layout is neither, two roles claim one native tensor, or a role is a misspelt one of the kind.

    >>> import multiparam as mp, numpy as np
    >>> from multiparam_numpy import Module, Variable
    >>> class MyLinear(Module):
    ...     def __init__(self):
    ...         self.w = Variable(np.ones((4, 8)))
    >>> mp.register_layer(MyLinear, "Linear", weight=mp.Transposed("w"))
    >>> mp.parameters(MyLinear())["weight"]
    Parameter('weight', shape=(8, 4), float64, Linear)
    """
    names = claimants(native) if isinstance(native, type) else []
    if not names:
        raise BackendError(
            f"expected a layer class of one of the backends {', '.join(sorted(plugins()))}; got {native!r}"
        )
    for table in [adapter(name).table for name in names]:
        table.add(user_row(native, kind, roles, table.row(native)))
    bump_version()
