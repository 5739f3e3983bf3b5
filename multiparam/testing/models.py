"""What a backend's test file provides: native models in plain framework code, and ways past the adapter."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest

import multiparam as mp
from multiparam.adapter import Adapter, Array, Capability
from multiparam.adapter.registry import adapter

__all__ = ["NativeModels"]


class NativeModels(ABC):
    """The models, built with the framework's own classes and default initialization, and an independent reader.

    Attributes:
        backend: the backend's name.
        containers_are: the kinds of the list and the dict in `containers`.
        waiting: the parameters of `lazy` that have no numbers before the first batch.
    """

    backend: ClassVar[str]
    containers_are: ClassVar[tuple[str, str]] = ("ModuleList", "ModuleDict")
    waiting: ClassVar[tuple[str, ...]] = ("0.weight", "0.bias", "2.weight", "2.bias")

    # --- models --------------------------------------------------------------------------------------------------

    @abstractmethod
    def mlp(self) -> Any:
        """A sequential model by position: Linear(4, 8), ReLU, Linear(8, 1)."""

    @abstractmethod
    def named(self) -> Any:
        """A model with attributes: `hidden` Linear(4, 8), `head` Linear(8, 3), ReLU between them."""

    @abstractmethod
    def nested(self) -> Any:
        """Blocks in blocks.

        Sequential of "0": children "block 0" and "block 1", each (Linear(4, 8), ReLU, Linear(8, 4), ReLU), and "1":
        Linear(4, 1).
        """

    @abstractmethod
    def shared(self) -> Any:
        """Linear(4, 8), ReLU, S, ReLU, S, ReLU, Linear(8, 1), with one Linear(8, 8) for both S."""

    @abstractmethod
    def fancy(self, constant: Array) -> Any:
        """A model with `linear` Linear(20, 20), used twice, and data-dependent control flow.

        x = linear(x); x = relu(x @ constant + 1); x = linear(x); while sum |x| > 1: x = x / 2;
        if sum |x| < 0.8: x = x * 10; return sum x. The constant (20, 20) is no parameter.
        """

    @abstractmethod
    def custom(self) -> Any:
        """Parameters that belong to no known layer.

        `offset` (3,) is the model's own, `w` (4, 3) that of a custom layer `inner`: x @ w + offset. The
        layer's class is made anew in each call.
        """

    @abstractmethod
    def containers(self) -> Any:
        """Layers in lists and dicts.

        `blocks`, a list of two Linear(4, 4), in turn; then the sum of `heads`, a dict with "a" and "b", each
        Linear(4, 2).
        """

    @abstractmethod
    def twice(self) -> Any:
        """One Linear(4, 4) as two attributes, `first` and `second`, applied in turn."""

    @abstractmethod
    def language_model(self) -> Any:
        """`embedding` Embedding(7, 4), then `head` Linear(4, 7) without bias."""

    @abstractmethod
    def lazy(self) -> Any:
        """A sequential model whose input sizes come with the first batch: Linear(?, 8), ReLU, Linear(?, 1)."""

    @abstractmethod
    def buffered(self) -> Any:
        """`linear` Linear(4, 2), and a buffer `mean` (4,) of the model's own, zeros: linear(x - mean)."""

    @abstractmethod
    def pair(self) -> Any:
        """A model of two inputs of shape (n, 4).

        `left` Linear(4, 2) of the first plus `right` Linear(4, 2) of the second.
        """

    # --- past the adapter ----------------------------------------------------------------------------------------

    @abstractmethod
    def raw_mlp(self, model: Any) -> Mapping[str, Array]:
        """The canonical arrays of `mlp`, read with the framework's own means."""

    @abstractmethod
    def raw_language_model(self, model: Any) -> Mapping[str, Array]:
        """The canonical arrays of `language_model`, untied, read with the framework's own means."""

    def inventory(self, model: Any) -> Mapping[str, Array]:
        """What the framework itself would save of a model, by its own names, read with the framework's own means."""
        raise NotImplementedError("the kit holds what an adapter lists against this: provide it")

    @abstractmethod
    def forward(self, model: Any, x: Array) -> Array:
        """The model called as the framework's users call it."""

    @abstractmethod
    def loss(self, model: Any, x: Any) -> Any:
        """The native scalar: half the sum of squares of model(x)."""

    @abstractmethod
    def train(self, model: Any, x: Array, steps: int) -> None:
        """A few steps of the framework's own optimizer on that loss, compiled as its users compile."""

    @abstractmethod
    def frozen_natively(self, native: Any) -> bool:
        """Whether the framework itself holds a native parameter for frozen."""

    # --- for the tests -------------------------------------------------------------------------------------------

    @property
    def adapter(self) -> Adapter:
        """The backend's adapter; a named backend that cannot be imported fails here."""
        return adapter(self.backend)

    def require(self, capability: Capability) -> None:
        """Leaves a test out that needs a capability which the backend does not declare.

        That the backend refuses it is `test_undeclared_capabilities_are_refused`.
        """
        if capability not in self.adapter.plugin.capabilities:
            pytest.skip(f"{self.backend} does not declare {capability}")

    def reference(self, *sizes: int) -> Any:
        """A numpy multilayer perceptron with random numbers: an oracle for outputs."""
        with mp.use("numpy"):
            layers: list[Any] = []
            for size, following in itertools.pairwise(sizes):
                layers += [mp.nn.Linear(size, following), mp.nn.ReLU()]
            return mp.nn.Sequential(*layers[:-1])

    def batch(self, *shape: int, seed: int = 0) -> Array:
        """A float32 batch that is the same in every test."""
        return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)

    def snapshot(self, model: Any) -> dict[str, Array]:
        """All numbers of a model."""
        return {name: one.value for name, one in mp.state(model).items()}


def same(first: Mapping[str, Array], second: Mapping[str, Array]) -> bool:
    """Whether two snapshots are equal to the bit."""
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype
        and first[name].shape == second[name].shape
        and first[name].tobytes() == second[name].tobytes()
        for name in first
    )
