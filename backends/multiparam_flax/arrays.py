"""Plain arrays in the attributes of NNX modules, which `nnx.state` counts as state as it does variables."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

from multiparam.adapter import (
    ByIdentity,
    Inventory,
    LeftOut,
    MultiparamError,
    check_replaceable,
    escape,
    replace,
    resolve,
)

LEFT_BEHIND = (nnx.RngState, nnx.Intermediate, nnx.Perturbation)  # generators, and what a forward pass leaves behind


class ArrayAt:
    """Stands for a plain array of a module's, as a variable would.

    Args:
        owner: the module; it is not kept alive.
        path: where in it the array lies.
    """

    def __init__(self, owner: Any, path: str) -> None:
        self._owner = weakref.ref(owner)
        self.path = path

    def get_value(self) -> Any:
        """The array."""
        return resolve(self._alive(), self.path)

    get_raw_value = get_value

    def set_value(self, value: Any) -> None:
        """Puts another array there."""
        replace(self._alive(), self.path, value)

    def unwritable(self) -> str:
        """Why no other array can be put there."""
        try:
            check_replaceable(self._alive(), self.path)
        except MultiparamError as error:
            return str(error)
        return ""

    def _alive(self) -> Any:
        owner = self._owner()
        if owner is None:
            raise MultiparamError(f"the module that held {self.path!r} is gone")
        return owner


_made: ByIdentity[dict[str, ArrayAt]] = ByIdentity()


def is_array(native: Any) -> bool:
    """Whether `nnx.state` counts a value as state; keys of generators are none of a model's."""
    return isinstance(native, (jax.Array, np.ndarray)) and not jax.dtypes.issubdtype(native.dtype, jax.dtypes.prng_key)


def holds_array(variable: nnx.Variable[Any]) -> bool:
    """Whether a variable has one array, or stands for one; its value may be any tree."""
    value = variable.get_raw_value()
    return hasattr(value, "dtype") or isinstance(value, (bool, int, float, complex))


def array_at(owner: Any, path: str) -> ArrayAt:
    """What stands for the array at a path, the same object whenever it is asked for."""
    return _made.made(owner, dict).setdefault(path, ArrayAt(owner, path))


def inventory(model: Any, backend: str) -> Inventory:
    """What `nnx.state` has of a model, but for generators and what a forward pass leaves behind."""
    return Inventory(backend, dict(_kept(model)))


def _kept(model: Any) -> Iterator[tuple[str, Any]]:
    for path, leaf in nnx.to_flat_state(nnx.state(model)):
        if isinstance(leaf, LEFT_BEHIND):
            continue
        name = ".".join(escape(str(key)) for key in path)
        if isinstance(leaf, nnx.Variable):
            what = f"a {type(leaf).__name__} with a {type(leaf.get_raw_value()).__name__} in it"
            yield name, leaf if holds_array(leaf) else LeftOut(what, weights=isinstance(leaf, nnx.Param))
        elif is_array(leaf):
            yield name, _stand_in(model, path)


def _stand_in(model: Any, path: tuple[Any, ...]) -> Any:
    """What stands for the array at a path of `nnx.state`."""
    owner, start, here = model, 0, model
    for position, key in enumerate(path):
        here = here[key] if isinstance(here, (Mapping, list, tuple, nnx.List)) else getattr(here, str(key), None)
        if isinstance(here, nnx.Pytree) and not isinstance(here, (nnx.List, nnx.Dict)):
            owner, start = here, position + 1
    inside = ".".join(escape(str(key)) for key in path[start:])
    found = (_made.get(owner) or {}).get(inside)
    return found if found is not None and not found.unwritable() else LeftOut("an array where it cannot be replaced")
