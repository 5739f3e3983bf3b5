"""Builders of containers, of layers that work on the last axis, and of those that only rearrange."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..adapter.plugin import Capability
from ..adapter.registry import adapter as adapter_of
from ..adapter.registry import common
from ..errors import ArgumentError
from .build import build, flag, new, number, sizes
from .orientation import orient

__all__ = [
    "Dropout",
    "Embedding",
    "Flatten",
    "Identity",
    "Lambda",
    "LayerNorm",
    "LazyLinear",
    "Linear",
    "RMSNorm",
    "Reshape",
    "Sequential",
]


def Sequential(*layers: Any, backend: str | None = None) -> Any:
    """Layers applied one after the other.

    In frameworks with channels last a Flatten or Reshape knows from its neighbours where images lie. A layer that works
    on the last axis, `Linear` or `Softmax`, right behind a convolution would see the channels there, and the width in
    PyTorch: put a Flatten or Reshape between.

    Args:
        *layers: native layers, named "0", "1", … by position; or one dict from name to layer. The same layer twice is
            one set of parameters under two names.
        backend: only needed without layers; else theirs.

    Returns:
        A native sequential model.

    Raises:
        BackendError: the layers belong to different backends, or one to none.

    >>> import multiparam as mp
    >>> net = mp.nn.Sequential({"hidden": mp.nn.Linear(4, 8), "act": mp.nn.Tanh(), "out": mp.nn.Linear(8, 1)})
    >>> list(mp.parameters(net))
    ['hidden.weight', 'hidden.bias', 'out.weight', 'out.bias']
    """
    named = len(layers) == 1 and isinstance(layers[0], Mapping)
    children = dict(layers[0]) if named else {str(index): layer for index, layer in enumerate(layers)}
    for key in children:
        if not isinstance(key, str) or not key:
            raise ArgumentError(f"the names of layers are non-empty strings, not {key!r}")
    found = common(children.values())
    if found is not None and backend is not None and found.name != backend:
        raise ArgumentError(f"the layers are of the {found.name} backend, and backend={backend!r} was asked for")
    adapter = found or adapter_of(backend)
    adapter.require(Capability.BUILD)
    orient(list(children.values()), adapter)
    return build(adapter, "Sequential", children=children, named=named)


def Linear(in_features: int, out_features: int, bias: bool = True, *, backend: str | None = None) -> Any:
    """Y = x Wᵀ + b, with a weight of shape (out_features, in_features) and a bias of shape (out_features,).

    Args:
        in_features: size of the input's last axis.
        out_features: size of the output's last axis.
        bias: whether there is a bias.
        backend: whose layer; None is the active backend's.

    >>> import multiparam as mp
    >>> {name: one.shape for name, one in mp.parameters(mp.nn.Linear(4, 8)).items()}
    {'weight': (8, 4), 'bias': (8,)}
    """
    sizes(in_features=in_features, out_features=out_features)
    return new("Linear", backend, in_features=in_features, out_features=out_features, bias=flag("bias", bias))


def LazyLinear(out_features: int, bias: bool = True, *, backend: str | None = None) -> Any:
    """A `Linear` whose input size is known at the first batch.

    Args:
        out_features: size of the output's last axis.
        bias: whether there is a bias.
        backend: whose layer; None is the active backend's.

    >>> import multiparam as mp
    >>> mp.parameters(mp.nn.LazyLinear(8))["weight"].shape
    (8, None)
    """
    sizes(out_features=out_features)
    return new("LazyLinear", backend, out_features=out_features, bias=flag("bias", bias))


def Embedding(num_embeddings: int, embedding_dim: int, *, backend: str | None = None) -> Any:
    """A table of vectors looked up by integers; its weight has the shape (num_embeddings, embedding_dim).

    Args:
        num_embeddings: number of vectors.
        embedding_dim: size of each.
        backend: whose layer; None is the active backend's.

    >>> import multiparam as mp, numpy as np
    >>> mp.run(mp.nn.Embedding(7, 4), np.array([[0, 6, 3]])).shape
    (1, 3, 4)
    """
    sizes(num_embeddings=num_embeddings, embedding_dim=embedding_dim)
    return new("Embedding", backend, num_embeddings=num_embeddings, embedding_dim=embedding_dim)


def LayerNorm(normalized_shape: int, eps: float = 1e-5, bias: bool = True, *, backend: str | None = None) -> Any:
    """Normalizes the last axis to mean 0 and variance 1, then scales by `weight` and shifts by `bias`.

    Args:
        normalized_shape: size of the last axis.
        eps: added to the variance.
        bias: whether there is a bias.
        backend: whose layer; None is the active backend's.

    >>> import multiparam as mp, numpy as np
    >>> mp.run(mp.nn.LayerNorm(2, eps=0), np.array([[1.0, 3.0]]))
    array([[-1.,  1.]], dtype=float32)
    """
    sizes(normalized_shape=normalized_shape)
    return new("LayerNorm", backend, normalized_shape=normalized_shape, eps=number("eps", eps), bias=flag("bias", bias))


def RMSNorm(normalized_shape: int, eps: float | None = None, *, backend: str | None = None) -> Any:
    """Divides the last axis by its root mean square, then scales by `weight`.

    Args:
        normalized_shape: size of the last axis.
        eps: added to the mean square; None is float32's machine epsilon.
        backend: whose layer; None is the active backend's.
    """
    sizes(normalized_shape=normalized_shape)
    return new(
        "RMSNorm", backend, normalized_shape=normalized_shape, eps=2.0**-23 if eps is None else number("eps", eps)
    )


def Lambda(function: Callable[[Any], Any], *, backend: str | None = None) -> Any:
    """A function of native tensors as a layer without parameters.

    Args:
        function: from native tensor to native tensor.
        backend: whose layer; None is the active backend's.

    >>> import multiparam as mp, numpy as np
    >>> mp.run(mp.nn.Lambda(lambda x: x - x.mean()), np.array([1.0, 3.0]))
    array([-1.,  1.], dtype=float32)
    """
    if not callable(function):
        raise ArgumentError(f"Lambda takes a function, not {type(function).__name__}")
    return new("Lambda", backend, function=function)


def Flatten(*, backend: str | None = None) -> Any:
    """Everything but the first axis as one, in C, H, W order in every framework."""
    return new("Flatten", backend)


def Dropout(p: float = 0.5, *, backend: str | None = None) -> Any:
    """Zeroes elements in training, and scales the others so that the mean stays.

    Args:
        p: the probability of a zero.
        backend: whose layer; None is the active backend's.
    """
    if not 0 <= number("p", p) < 1:
        raise ArgumentError(f"p is a probability in [0, 1), not {p}")
    return new("Dropout", backend, p=float(p))


def Identity(*, backend: str | None = None) -> Any:
    """The input as it is."""
    return new("Identity", backend)


def Reshape(*shape: int, backend: str | None = None) -> Any:
    """Each sample of the batch in another shape, channels first: `Reshape(8, 4, 4)` undoes a `Flatten`.

    Args:
        *shape: what follows the batch's axis.
        backend: whose layer; None is the active backend's.

    >>> import multiparam as mp, numpy as np
    >>> mp.run(mp.nn.Reshape(2, 3), np.ones((5, 6))).shape
    (5, 2, 3)
    """
    sizes(**{f"shape[{position}]": extent for position, extent in enumerate(shape)})
    if not shape:
        raise ArgumentError("Reshape needs at least one extent")
    return new("Reshape", backend, shape=tuple(shape))
