"""Putting another parameter into a Gluon block, which refuses that by itself."""

from __future__ import annotations

from typing import Any

from mxnet import gluon
from mxnet.gluon.parameter import Parameter
from mxnet.util import is_np_array

__all__ = ["Transposed", "forget", "own_again", "put"]

_REPLACED = "_multiparam_replaced"


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
    """Makes a parameter, or another's transpose, a block's, and remembers the one that it had for itself."""
    old = layer._reg_params[part]
    layer.__dict__.setdefault(_REPLACED, {}).setdefault(part, old)
    layer._reg_params[part] = parameter
    object.__setattr__(layer, part, parameter)
    held = layer._params._params
    if not any(one.name == old.name for one in layer._reg_params.values()):
        held.pop(old.name, None)
    held[parameter.name] = getattr(parameter, "owner", parameter)


def own_again(model: Any, layer: Any, part: str, shared: Any) -> Any:
    """The parameter that a block had for itself before a tie, without numbers; a new one if it never had any.

    Args:
        model: the model, in which no other parameter may have its name: a Trainer tells parameters by name.
        layer: the block.
        part: its name in the block.
        shared: the parameter that it is now.
    """
    parameter = layer.__dict__.get(_REPLACED, {}).pop(part, None)
    if parameter is None or getattr(parameter, "owner", parameter) is shared:
        parameter = gluon.Parameter(
            _unused_name(model, layer, part),
            shape=None,
            lr_mult=shared.lr_mult,
            wd_mult=shared.wd_mult,
            init=shared.init,
            allow_deferred_init=shared._allow_deferred_init,
            differentiable=shared._differentiable,
            grad_stype=shared._grad_stype,
        )
    parameter._data = parameter._grad = None
    parameter._dtype = shared.dtype
    parameter.grad_req = shared.grad_req
    return parameter


def _unused_name(model: Any, layer: Any, part: str) -> str:
    taken = model.collect_params().keys() | layer.collect_params().keys()
    name, number = f"{layer.prefix}{part}", 0
    while name in taken:
        number += 1
        name = f"{layer.prefix}{part}{number}"
    return name


def forget(model: Any) -> None:
    """Drops the graphs of hybridized blocks, which hold the parameters that they were made with."""
    model.apply(lambda block: block._clear_cached_op() if isinstance(block, gluon.HybridBlock) else None)
