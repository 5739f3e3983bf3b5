"""Running a native model on numpy batches: forward, gradients, and the first batch of lazy layers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..adapter.base import Adapter
from ..adapter.capabilities import Carries, Differentiates, Runs
from ..adapter.plugin import Capability
from ..adapter.registry import infer_model
from ..arrays.dtypes import frozen, is_float, numeric, rank_of
from ..arrays.nested import each_array, mapped
from ..arrays.types import Array
from ..errors import ArgumentError, MultiparamError, UninitializedError
from ..layer_table.kinds import image_ranks, takes_features_last
from ..layer_table.layout import Handle, seen_through
from ..model.node import Node
from ..model.slot import Slot
from ..model.tree import Tree, bump_version
from .access import parameters

__all__ = [
    "Turned",
    "as_numpy",
    "batches",
    "check_numbers",
    "gradients",
    "materialize",
    "run",
    "turned_ranks",
    "unready",
]


def run(net: Any, x: Any, *, native: bool = False) -> Any:
    """The model's forward pass on a numpy batch: eval mode, no gradient.

    Args:
        net: a native model.
        x: a batch, or a tuple of them for a model with several inputs; real numbers take the dtype of the model's
            parameters, integers stay integers. Images are (batch, channels, *spatial) in every framework, and are
            turned where the model's layers have the channels last; so is what the model gives back.
        native: pass inputs and outputs on in the model's own order of axes.

    Returns:
        The output as numpy, in the structure (tuple, list, dict, dataclass) in which the model gives it.

    Raises:
        UnsupportedError: the backend cannot run models.

    >>> import multiparam as mp
    >>> import numpy as np
    >>> mp.run(mp.nn.ReLU(backend="numpy"), np.array([-1.0, 2.0]))
    array([0., 2.], dtype=float32)
    """
    adapter = infer_model(net).require(Runs)
    tree = Tree(adapter, net)
    check_numbers(tree, ArgumentError)
    inputs = x if isinstance(x, tuple) else (x,)
    turned = Turned() if native else turned_ranks(tree, inputs)
    out = adapter.run(net, batches(tree, inputs, turned.inputs))
    if tree.lazy:
        bump_version()
    return as_numpy(adapter, out, turned.outputs)


def materialize(net: Any, sample: Any, *, native: bool = False) -> None:
    """Gives lazy layers their shapes by running a sample through the model; an `initialize` before is carried out.

    Args:
        net: a native model.
        sample: a batch, or a tuple of them for a model with several inputs; only its shape and kind matter.
        native: as for `run`.

    Raises:
        UninitializedError: a layer still has no parameters, since the forward pass does not reach it.
        UnsupportedError: the backend cannot run models.

    >>> import multiparam as mp, numpy as np
    >>> net = mp.nn.Sequential(mp.nn.LazyLinear(8), mp.nn.ReLU(), mp.nn.LazyLinear(1))
    >>> mp.parameters(net)["0.weight"].shape
    (8, None)
    >>> mp.materialize(net, np.ones((2, 4)))
    >>> mp.parameters(net)["0.weight"].shape
    (8, 4)
    """
    adapter = infer_model(net)
    if not Tree(adapter, net).lazy:
        return
    run(net, sample, native=native)
    tree = Tree(adapter, net)
    if left := unready(tree):
        raise UninitializedError(f"the sample's forward pass does not reach {', '.join(left)}: still without a shape")


def gradients(net: Any, loss: Callable[..., Any], *inputs: Any, native: bool = False) -> dict[str, Array]:
    """The gradients of a loss for all trainable parameters, in canonical names and layouts.

    Afterwards each parameter's `.grad` shows the same. Calls overwrite, they do not add up.

    Args:
        net: a native model.
        loss: called as `loss(net, *inputs)` with native tensors; returns a native scalar. It must use the net that it
            is given (Flax passes another object than yours).
        inputs: numpy batches, targets, anything that converts to numpy; images as for `run`.
        native: as for `run`.

    Returns:
        A read-only array for each trainable parameter; zeros for those the loss does not use.

    Raises:
        ArgumentError: the loss is not a scalar, takes other arguments, or uses no parameter of the net it is given.
        UninitializedError: a lazy layer has no parameters yet.
        UnsupportedError: the backend has no gradients.

    >>> import multiparam as mp, numpy as np
    >>> net = mp.nn.Linear(2, 1, backend="torch")
    >>> mp.gradients(net, lambda net, x: net(x).sum(), np.array([[3.0, 4.0]]))["weight"]
    array([[3., 4.]], dtype=float32)
    """
    adapter = infer_model(net).require(Differentiates)
    mapping = parameters(net)
    tree = mapping.tree
    if not callable(loss):
        raise ArgumentError(f"the loss is a function of (net, *inputs), not {type(loss).__name__}")
    _check_takes(loss, len(inputs))
    check_numbers(tree)
    for name in unready(tree):
        raise UninitializedError(
            f"{name!r} has no value yet: call multiparam.materialize(net, sample) before asking for gradients"
        )
    wanted = [one for one in mapping.walked() if one.is_trainable() and _is_differentiable(one.slot)]
    variables = {id(h.variable): _carrier(adapter, one.slot, h) for one in wanted for h in one.slot.handles() or ()}
    found = adapter.gradients(
        net,
        loss,
        batches(tree, inputs, frozenset() if native else turned_ranks(tree, inputs).inputs),
        list(variables.values()),
    )
    by_variable = dict(zip(variables, found, strict=True))
    for slot in (slot for parameter in mapping.walked() for slot in parameter.slots):
        for part, handle in zip(slot.source.parts, slot.handles() or (), strict=True):
            slot.set_grad(part, handle, by_variable.get(id(handle.variable)))
    result = {}
    for parameter in wanted:
        handles = parameter.slot.handles() or ()
        parts = [seen_through(handle, by_variable[id(handle.variable)]) for handle in handles]
        result[parameter.name] = frozen(np.array(parameter.slot.source.read(parts)))
    return result


def _is_differentiable(slot: Slot) -> bool:
    handles = slot.handles()
    dtype = None if handles is None else slot.dtype_of(handles)
    return dtype is not None and (is_float(dtype) or dtype.kind == "c")


def _carrier(adapter: Adapter, slot: Slot, handle: Handle) -> Any:
    """A variable as the model's own framework differentiates it."""
    own = slot.node.adapter
    if own is adapter:
        return handle.variable
    if isinstance(own, Carries):
        return own.carrier(handle.variable)
    raise own.unsupported(Capability.GRADIENTS, "its layers lie in a model of another framework")


def _check_takes(loss: Callable[..., Any], count: int) -> None:
    """Refuses a loss that cannot be called with a net and so many inputs, where that can be told."""
    try:
        signature = inspect.signature(loss)
    except (TypeError, ValueError):
        return  # a builtin, say
    try:
        signature.bind(None, *[None] * count)
    except TypeError as error:
        raise ArgumentError(f"the loss is called as loss(net, *inputs), with {count} inputs here: {error}") from None


def check_numbers(tree: Tree, error: type[MultiparamError] = UninitializedError) -> None:
    """Refuses a model whose numbers are elsewhere, or with `error` one that no batch gives any."""
    tree.check_reachable()
    for slot in tree.primary if tree.lazy else ():
        if slot.abstract:
            raise error(f"{slot.name!r} has no value: {slot.advice()}")


def unready(tree: Tree) -> list[str]:
    """The parameters without a value, and the layers whose parameters cannot be told yet."""
    if not tree.lazy:
        return []
    without = [slot.name for slot in tree.primary if slot.ready() is None]
    return without + [node.name or "the model" for node in tree.opaque()]


@dataclass(frozen=True)
class Turned:
    """The ranks of the tensors that are images to a model with channels last, of its inputs and of its outputs."""

    inputs: frozenset[int] = frozenset()
    outputs: frozenset[int] = frozenset()


def turned_ranks(tree: Tree, inputs: Iterable[Any] = ()) -> Turned:
    """What is turned on the way into a model and on the way out.

    The first layer that cares tells for the inputs, the last one for the outputs: one that takes images does, a Flatten
    or Reshape, and of three axes, which may be a sequence as well, one that works on (batch, time, features).

    Args:
        tree: the model.
        inputs: its batches.

    Raises:
        ArgumentError: of a batch it cannot be told whether it has to be turned.
    """
    ranks: set[int] = set()
    for one in inputs:
        each_array(lambda array: ranks.add(len(getattr(array, "shape", ()))), one)
    known: set[int] = set()
    for node in tree.root.walk() if max(ranks, default=0) > 2 else ():
        unknown, why = node.adapter.untold(node.native)
        known |= _images_of(node)
        if unknown & ranks - known:
            raise ArgumentError(
                f"whether {node.name or 'the model'!r} takes images, with their channels last, cannot be told: {why}; "
                f"native=True passes the batch on with its axes as they are"
            )
    layers = [(node.kind, _images_of(node)) for node in tree.root.walk()]
    spatial = {rank for _, images in layers for rank in images}
    inputs, outputs = set(), set()
    for rank in spatial:
        cares = [rank in images for kind, images in layers if rank in images or _sees_no_images(kind, rank)]
        inputs |= {rank} if cares[0] else set()
        outputs |= {rank} if cares[-1] else set()
    return Turned(frozenset(inputs), frozenset(outputs))


def _sees_no_images(kind: str, rank: int) -> bool:
    """Whether what a layer takes and gives is not turned: a sequence, or what PyTorch's Flatten and Reshape see."""
    return kind in ("Flatten", "Reshape") or (rank == 3 and takes_features_last(kind))


def _images_of(node: Node) -> frozenset[int]:
    """How many axes the images have that a layer takes with channels last."""
    if node.is_inner:  # of a part of a layer the kind alone tells
        return image_ranks(node.kind) if node.adapter.channels_last(node.native) else frozenset()
    return node.adapter.images(node.native)


def batches(tree: Tree, inputs: tuple[Any, ...], turned: frozenset[int]) -> list[Any]:
    """A model's inputs as arrays of its dtype, those of the given ranks with their channels last.

    Arrays are looked for in dicts too; None, which stands for an input that is left out, stays.
    """
    dtype = _float_dtype(tree)
    if inputs and all(one is None for one in inputs):
        raise ArgumentError("input 0 is no numeric batch: None stands for an input beside others that is left out")

    def made(position: int, one: Any) -> Array:
        array = _array(tree.adapter, f"input {position}", one)
        array = np.ascontiguousarray(np.moveaxis(array, 1, -1)) if array.ndim in turned else array
        return array.astype(dtype) if is_float(array.dtype) else array

    return [each_array(partial(made, position), one) for position, one in enumerate(inputs)]


def _array(adapter: Adapter, what: str, one: Any) -> Array:
    try:
        array = adapter.array(one) if adapter.is_tensor(one) else numeric(one)
    except ValueError as error:
        raise ArgumentError(f"{what} is no numeric batch: {error}") from error
    if rank_of(array.dtype) is None:
        raise ArgumentError(f"{what} is no numeric batch: {type(one).__name__} of dtype {array.dtype}")
    return array


def _float_dtype(tree: Tree) -> np.dtype[Any]:
    """The dtype of the model's first real parameter."""
    for group in tree.groups:
        handles = group[0].handles()
        if handles is not None and not group[0].is_buffer:
            dtype = group[0].dtype_of(handles)
            if is_float(dtype):
                return dtype
    return np.dtype(np.float32)


def as_numpy(adapter: Adapter, out: Any, turned: frozenset[int]) -> Any:
    """What a model gave as numpy, in its structure, tensors of the given ranks with their channels first."""

    def array(tensor: Any) -> Array:
        made = np.array(adapter.array(tensor))
        return np.ascontiguousarray(np.moveaxis(made, -1, 1)) if made.ndim in turned else made

    return mapped(out, adapter.is_tensor, array)
