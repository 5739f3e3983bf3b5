"""Putting another parameter into a Gluon block, which refuses that by itself."""

from __future__ import annotations

from typing import Any

from mxnet import gluon
from mxnet.gluon.parameter import Parameter
from mxnet.util import is_np_array

__all__ = ["Transposed", "forget", "put", "unused_name"]


class Transposed(Parameter):
    """Another block's parameter as a layer sees it: with its axes in another order.

    Args:
        owner: the parameter.
        axes: the order.
    """

    def __init__(self, owner: Any, axes: tuple[int, ...]) -> None:
        # Parameter's own makes a parameter; this one has nothing of its own
        self.owner, self.axes = owner, axes

    def __getattr__(self, name: str) -> Any:
        if name in ("owner", "axes"):  # while a copy is being made
            raise AttributeError(name)
        return getattr(self.owner, name)

    @property
    def shape(self) -> tuple[int, ...]:
        """As the layer sees it."""
        return tuple(self.owner.shape[axis] for axis in self.axes)

    @property
    def grad_req(self) -> str:
        """The owner's."""
        return str(self.owner.grad_req)

    @grad_req.setter
    def grad_req(self, request: str) -> None:
        self.owner.grad_req = request

    def data(self, ctx: Any = None) -> Any:
        """The owner's numbers, through which gradients flow into it."""
        return self.owner.data(ctx).transpose(self.axes)

    def list_data(self) -> list[Any]:
        """The same on each device."""
        return [one.transpose(self.axes) for one in self.owner.list_data()]

    def grad(self, ctx: Any = None) -> Any:
        """The owner's gradient."""
        return self.owner.grad(ctx).transpose(self.axes)

    def var(self) -> Any:
        """The owner's symbol, transposed."""
        symbol = self.owner.var()
        return symbol.transpose(*self.axes) if is_np_array() else symbol.transpose(axes=self.axes)

    def set_data(self, data: Any) -> None:
        """Sets the owner's numbers."""
        self.owner.set_data(data.transpose(self.axes))

    def _reduce(self) -> Any:
        return self.owner._reduce().transpose(self.axes)

    def initialize(self, *arguments: Any, **options: Any) -> None:
        """Nothing: the owner is initialized where it is."""

    def _finish_deferred_init(self) -> None:
        self.owner._finish_deferred_init()

    def _load_init(self, data: Any, ctx: Any, **options: Any) -> None:
        self.owner._load_init(data.transpose(self.axes), ctx, **options)


def put(layer: Any, part: str, parameter: Any) -> None:
    """Makes a parameter, or another's transpose, a block's."""
    old = layer._reg_params[part]
    layer._reg_params[part] = parameter
    object.__setattr__(layer, part, parameter)
    held = layer._params._params
    if not any(one.name == old.name for one in layer._reg_params.values()):
        held.pop(old.name, None)
    held[parameter.name] = getattr(parameter, "owner", parameter)


def unused_name(model: Any, layer: Any, part: str) -> str:
    """A name for a layer's new parameter that no other in the model has; a Trainer tells parameters by name."""
    taken = model.collect_params().keys() | layer.collect_params().keys()
    name, number = f"{layer.prefix}{part}", 0
    while name in taken:
        number += 1
        name = f"{layer.prefix}{part}{number}"
    return name


def forget(model: Any) -> None:
    """Drops the graphs of hybridized blocks, which hold the parameters that they were made with."""
    model.apply(lambda block: block._clear_cached_op() if isinstance(block, gluon.HybridBlock) else None)
