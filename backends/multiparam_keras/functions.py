"""Functions as layers, those too that call numpy's methods, `x.mean()`, on tensors that have none: TensorFlow's."""

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
        """The function's output."""
        try:
            return super().call(inputs, mask, training)
        except AttributeError:
            try:
                return _bare(super().call(keras.tree.map_structure(_Methods, inputs), mask, training))
            except AttributeError:
                pass
            raise


class _Methods:
    """A tensor with the functions of `keras.ops` as its methods."""

    def __init__(self, tensor: Any) -> None:
        self._tensor = tensor

    def __getattr__(self, name: str) -> Any:
        if hasattr(self._tensor, name):
            return getattr(self._tensor, name)
        if name == "T":
            return _Methods(keras.ops.transpose(self._tensor))
        function = getattr(keras.ops, name, None)
        if function is None or name.startswith("_"):
            raise AttributeError(f"tensors have no {name!r}, nor has keras.ops")
        return lambda *arguments, **options: _Methods(function(self._tensor, *_bare(arguments), **_bare(options)))

    def __getitem__(self, index: Any) -> Any:
        return _Methods(self._tensor[_bare(index)])

    def __len__(self) -> int:
        return len(self._tensor)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return keras.ops.convert_to_numpy(self._tensor)

    def __tf_tensor__(self, dtype: Any = None, name: str | None = None) -> Any:
        return self._tensor

    __hash__ = None  # type: ignore[assignment]  # as tensors


def _bare(thing: Any) -> Any:
    """The tensors themselves, in the structure that they are in."""
    if isinstance(thing, _Methods):
        return thing._tensor
    if isinstance(thing, dict):
        return {key: _bare(one) for key, one in thing.items()}
    return type(thing)(map(_bare, thing)) if isinstance(thing, (list, tuple)) else thing


def _method(function: Callable[..., Any], *, swapped: bool = False) -> Callable[..., Any]:
    def method(*operands: Any) -> Any:
        bare = [_bare(one) for one in operands]
        return _Methods(function(*(reversed(bare) if swapped else bare)))

    return method


for _name in (*_BINARY, *_COMPARISONS, *_UNARY):
    setattr(_Methods, f"__{_name}__", _method(getattr(operator, f"__{_name}__")))
for _name in _BINARY:
    setattr(_Methods, f"__r{_name}__", _method(getattr(operator, f"__{_name}__"), swapped=True))
