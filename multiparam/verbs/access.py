"""Reaching a model's parameters, buffers and layers."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..adapter.registry import infer_model
from ..errors import ArgumentError, ParameterNotFoundError
from ..model.node import Node
from ..model.parameter import Parameter
from ..model.parameters import Parameters
from ..model.slot import Slot
from ..names.pattern import join
from ..text import counted

__all__ = ["Layer", "buffers", "layers", "parameters", "state"]

_PARAMETERS, _BUFFERS = frozenset((False,)), frozenset((True,))  # whether a tensor is a buffer


def parameters(net: Any) -> Parameters:
    """A model's parameters: a live, ordered mapping from canonical name to `Parameter`, each tied one once.

    Args:
        net: a native model or layer of any backend, or a `Layer` of `layers`.

    Raises:
        BackendError: it is no model of a known backend.

    >>> import multiparam as mp
    >>> list(mp.parameters(mp.nn.Linear(4, 8)))
    ['weight', 'bias']
    """
    return _mapping(net, _PARAMETERS)


def buffers(net: Any) -> Parameters:
    """A model's buffers (running statistics and other state that no optimizer trains), as `parameters` does.

    Args:
        net: a native model or layer of any backend.

    Raises:
        BackendError: it is no model of a known backend.

    >>> import multiparam as mp, numpy as np
    >>> from multiparam_numpy import Buffer, Linear
    >>> layer = Linear(4, 8)
    >>> layer.mean = Buffer(np.zeros(4))
    >>> list(mp.buffers(layer)), list(mp.parameters(layer))
    (['mean'], ['weight', 'bias'])
    """
    return _mapping(net, _BUFFERS)


def state(net: Any) -> Parameters:
    """A model's parameters and buffers in one mapping.

    Args:
        net: a native model or layer of any backend.

    Raises:
        BackendError: it is no model of a known backend.

    >>> import multiparam as mp
    >>> sum(one.value.size for one in mp.state(mp.nn.Linear(4, 8)).values())
    40
    """
    return _mapping(net, _PARAMETERS | _BUFFERS)


def layers(net: Any) -> Layer:
    """A model as a tree of layers, reached by index or name.

    Args:
        net: a native model or layer of any backend.

    Raises:
        BackendError: it is no model of a known backend.

    >>> import multiparam as mp
    >>> net = mp.nn.Sequential(mp.nn.Sequential({"block 0": mp.nn.Linear(4, 8)}), mp.nn.ReLU())
    >>> mp.layers(net)[0]["block 0"].bias
    Parameter('0.block 0.bias', shape=(8,), float32, Linear)
    """
    if isinstance(net, Layer):
        return net
    mapping = state(net)
    return Layer(mapping.tree.root, mapping, net)


class Layer:
    """A layer or container of a model.

    Children are reached by index or name, by a dotted path, or as attributes; so are the layer's own parameters.

    Attributes:
        name: the canonical path from the model; the model's own is empty.
        kind: the canonical kind, `"Linear"`; for an unknown one the class's name.
        native: the framework's own object.
    """

    __slots__ = ("_mapping", "_model", "_node", "kind", "name", "native")

    def __init__(self, node: Node, mapping: Parameters, model: Any) -> None:
        self._node = node
        self._mapping = mapping
        self._model = model
        self.name = node.name
        self.kind = node.kind
        self.native = node.native

    @property
    def children(self) -> Sequence[Layer]:
        """The layers directly below, in order."""
        return [self._of(child) for child in self._node.children]

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """The layer's own parameters by role, without those of the layers below."""
        return {slot.role: self._mapping[slot.name] for slot in self._node.slots if not slot.is_buffer}

    @property
    def buffers(self) -> Mapping[str, Parameter]:
        """The layer's own buffers by role."""
        return {slot.role: self._mapping[slot.name] for slot in self._node.slots if slot.is_buffer}

    def walk(self) -> Iterator[Layer]:
        """This layer and every layer below it, parents first."""
        for node in self._node.walk():
            yield self._of(node)

    @property
    def node(self) -> Node:
        """Its place in the neutral tree."""
        return self._node

    @property
    def model_state(self) -> Parameters:
        """The parameters and buffers of the whole model."""
        return self._mapping

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            return self.children[key]
        if not isinstance(key, str):
            try:
                return self._of(self._node.children[operator.index(key)])
            except TypeError:
                raise ArgumentError(f"layers are asked by index or name, not by {type(key).__name__}") from None
            except IndexError:
                raise IndexError(f"{self._called} has {counted(len(self), 'layer')} below it, and no [{key}]") from None
        node = self._node
        for component in [key] if any(key == child.key for child in node.children) else key.split("."):
            below = {child.key: child for child in node.children}
            below.update({child.name.rpartition(".")[2]: child for child in node.children})
            if component not in below and any(slot.role == component for slot in node.slots):
                raise ArgumentError(f"{join(node.name, component)!r} is a parameter: multiparam.parameters(net) has it")
            if component not in below:
                raise ParameterNotFoundError(f"layer in {node.name or 'the model'!r}", component, below)
            node = below[component]
        return self._of(node)

    @property
    def _called(self) -> str:
        return f"{self.name!r} ({self.kind})" if self.name else f"the model ({self.kind})"

    def _of(self, node: Node) -> Layer:
        return Layer(node, self._mapping, self._model)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        for slot in self._node.slots:
            if slot.role == name:
                return self._mapping[slot.name]
        for child in self._node.children:
            if child.key == name:
                return self._of(child)
        there = [slot.role for slot in self._node.slots] + [child.key for child in self._node.children]
        raise AttributeError(f"{self._called} has no {name!r}; it has {', '.join(there) or 'nothing'}")

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.children)

    def __len__(self) -> int:
        return len(self._node.children)

    def __repr__(self) -> str:
        own = ", ".join(slot.role for slot in self._node.slots)
        return f"Layer({self.name!r}, {self.kind}{f', {own}' if own else ''}, {len(self)} children)"

    def _repr_html_(self) -> str:
        from .summary import summary  # here, since it takes layers itself

        return summary(self)._repr_html_()


def _mapping(net: Any, wanted: frozenset[bool]) -> Parameters:
    if isinstance(net, Layer):  # names from here on, effects on the whole model
        adapter = infer_model(net.native)
        return Parameters(net._model, adapter, wanted, _layer_of(net.native), net.native, net._node.above)
    return Parameters(net, infer_model(net), wanted, _layer_of(net))


def _layer_of(model: Any) -> Callable[[Slot], Layer]:
    return lambda slot: Layer(slot.node, state(model), model)
