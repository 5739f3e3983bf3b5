"""Functions as layers on TensorFlow, those too that call numpy's methods, `x.mean()`, which its tensors lack."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import keras

_BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor")
_COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")
_UNARY = ("neg", "pos", "abs", "invert")


@keras.saving.register_keras_serializable(package="multiparam")
class Function(keras.layers.Lambda):
    """As Keras's own Lambda; its function may call any function of `keras.ops` as a method of its tensor."""

    # Keras reads the signature: these are its Lambda's
    def call(self, inputs: Any, mask: Any = None, training: bool | None = None) -> Any:
        """The function's output; a function that asks a tensor for what it lacks is called again, with methods."""
        try:
            return super().call(inputs, mask, training)
        except AttributeError as error:
            if "Tensor" not in str(error):
                raise
            return _bare(super().call(keras.tree.map_structure(Methods, inputs), mask, training))


class Methods:
    """A tensor with the functions of `keras.ops` as its methods."""

    def __init__(self, tensor: Any) -> None:
        self._tensor = tensor

    def __getattr__(self, name: str) -> Any:
        if hasattr(self._tensor, name):
            return getattr(self._tensor, name)
        function = getattr(keras.ops, name, None)
        if function is None or name.startswith("_"):
            raise AttributeError(f"tensors have no {name!r}, nor has keras.ops")
        return lambda *arguments, **options: Methods(function(self._tensor, *_bare(arguments), **_bare(options)))

    @property
    def T(self) -> Methods:
        """The axes in reverse."""
        return Methods(keras.ops.transpose(self._tensor))

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return int(keras.ops.size(self._tensor))

    def reshape(self, *shape: Any) -> Methods:
        """Other extents, as numbers or as one tuple."""
        return Methods(keras.ops.reshape(self._tensor, _extents(shape)))

    def transpose(self, *axes: Any) -> Methods:
        """The axes in another order; without arguments in reverse."""
        return Methods(keras.ops.transpose(self._tensor, _extents(axes) or None))

    def flatten(self) -> Methods:
        """All in one axis."""
        return Methods(keras.ops.ravel(self._tensor))

    def astype(self, dtype: Any) -> Methods:
        """Another dtype."""
        return Methods(keras.ops.cast(self._tensor, dtype))

    def __getitem__(self, index: Any) -> Any:
        return Methods(self._tensor[_bare(index)])

    def __len__(self) -> int:
        return len(self._tensor)

    def __iter__(self) -> Any:
        return map(Methods, iter(self._tensor))

    def __bool__(self) -> bool:
        return bool(self._tensor)

    def __float__(self) -> float:
        return float(self._tensor)

    def __int__(self) -> int:
        return int(self._tensor)

    __index__ = __int__

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return keras.ops.convert_to_numpy(self._tensor)

    def __tf_tensor__(self, dtype: Any = None, name: str | None = None) -> Any:
        return self._tensor

    __hash__ = None  # type: ignore[assignment]  # == compares numbers, so that, as tensors, they cannot be hashed


def _extents(given: tuple[Any, ...]) -> Any:
    return _bare(given[0] if len(given) == 1 and isinstance(given[0], (tuple, list)) else given)


def _bare(thing: Any) -> Any:
    """The tensors themselves, in the structure that they are in."""
    if isinstance(thing, Methods):
        return thing._tensor
    if isinstance(thing, dict):
        return {key: _bare(one) for key, one in thing.items()}
    if isinstance(thing, tuple) and hasattr(thing, "_fields"):
        return type(thing)(*map(_bare, thing))
    return type(thing)(map(_bare, thing)) if isinstance(thing, (list, tuple)) else thing


def _method(function: Callable[..., Any], *, swapped: bool = False) -> Callable[..., Any]:
    def method(*operands: Any) -> Any:
        bare = [_bare(one) for one in operands]
        return Methods(function(*(reversed(bare) if swapped else bare)))

    return method


for _name in (*_BINARY, *_COMPARISONS, *_UNARY):
    setattr(Methods, f"__{_name}__", _method(getattr(operator, f"__{_name}__")))
for _name in _BINARY:
    setattr(Methods, f"__r{_name}__", _method(getattr(operator, f"__{_name}__"), swapped=True))
