"""Builders give native objects that compute the same in every framework."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import multiparam as mp
from multiparam.adapter import Capability

from .models import NativeModels

LAYERS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "Linear": (lambda backend: mp.nn.Linear(4, 8, backend=backend), (3, 4)),
    "Linear without bias": (lambda backend: mp.nn.Linear(4, 8, bias=False, backend=backend), (3, 4)),
    "LayerNorm": (lambda backend: mp.nn.LayerNorm(4, backend=backend), (3, 4)),
    "LayerNorm eps": (lambda backend: mp.nn.LayerNorm(4, eps=0.5, bias=False, backend=backend), (3, 4)),
    "ReLU": (lambda backend: mp.nn.ReLU(backend=backend), (3, 4)),
    "GELU": (lambda backend: mp.nn.GELU(backend=backend), (3, 4)),
    "GELU tanh": (lambda backend: mp.nn.GELU("tanh", backend=backend), (3, 4)),
    "Tanh": (lambda backend: mp.nn.Tanh(backend=backend), (3, 4)),
    "Sigmoid": (lambda backend: mp.nn.Sigmoid(backend=backend), (3, 4)),
    "Softmax": (lambda backend: mp.nn.Softmax(backend=backend), (3, 4)),
    "Softmax of another axis": (lambda backend: mp.nn.Softmax(1, backend=backend), (3, 4, 5)),
    "Flatten": (lambda backend: mp.nn.Flatten(backend=backend), (3, 4, 5)),
    "Dropout": (lambda backend: mp.nn.Dropout(0.9, backend=backend), (3, 4)),
    "Identity": (lambda backend: mp.nn.Identity(backend=backend), (3, 4)),
    "Lambda": (lambda backend: mp.nn.Lambda(lambda x: x * 2 + 1, backend=backend), (3, 4)),
}


class BuildingTests(NativeModels):
    """Each builder beside the numpy backend's, which `tests/test_numpy.py` checks against scipy."""

    @pytest.mark.parametrize("kind", LAYERS)
    def test_a_layer_computes_the_same_everywhere(self, kind: str) -> None:
        self.require(Capability.BUILD)
        make, shape = LAYERS[kind]
        layer, reference = make(self.backend), make("numpy")
        assert mp.layers(layer).kind == kind.split()[0]
        mp.initialize(layer, mp.init.Normal(), seed=1) if len(mp.parameters(layer)) else None
        for name, one in mp.parameters(reference).items():
            one.assign(mp.parameters(layer)[name].value)
        assert list(mp.parameters(layer)) == list(mp.parameters(reference))
        x = self.batch(*shape)
        np.testing.assert_allclose(mp.run(layer, x), mp.run(reference, x), rtol=1e-5, atol=1e-6)

    def test_embeddings_look_up_rows(self) -> None:
        self.require(Capability.BUILD)
        layer = mp.nn.Embedding(7, 4, backend=self.backend)
        index = np.array([[0, 6], [3, 3]])
        assert np.array_equal(mp.run(layer, index), mp.parameters(layer)["weight"].value[index])

    def test_a_built_model_is_native(self) -> None:
        self.require(Capability.BUILD)
        with mp.use(self.backend):
            net = mp.nn.Sequential(mp.nn.Linear(4, 8), mp.nn.ReLU(), mp.nn.Linear(8, 1))
        assert self.adapter.is_model(net)
        assert mp.parameters(net)["0.weight"].shape == (8, 4)
        assert self.forward(net, self.batch(2, 4)).shape == (2, 1)

    def test_children_can_have_names(self) -> None:
        self.require(Capability.BUILD)
        with mp.use(self.backend):
            block = {"first one": mp.nn.Linear(4, 8), "act": mp.nn.Tanh(), "block 2": mp.nn.Linear(8, 4)}
            net = mp.nn.Sequential(mp.nn.Sequential(block), mp.nn.Linear(4, 1))
        assert list(mp.parameters(net)) == [
            f"{layer}.{role}" for layer in ("0.first one", "0.block 2", "1") for role in ("weight", "bias")
        ]
        assert mp.run(net, self.batch(2, 4)).shape == (2, 1)

    def test_the_same_layer_twice_is_tied(self) -> None:
        self.require(Capability.BUILD)
        with mp.use(self.backend):
            layer = mp.nn.Linear(4, 4)
            net = mp.nn.Sequential(layer, mp.nn.ReLU(), layer)
        assert mp.tied(net) == [("0.weight", "2.weight"), ("0.bias", "2.bias")]

    def test_equal_layers_do_not_start_equal(self) -> None:
        self.require(Capability.BUILD)
        with mp.use(self.backend):
            values = [mp.parameters(mp.nn.Linear(8, 8))["weight"].value for _ in range(2)]
        assert not np.array_equal(values[0], values[1])

    def test_layers_of_two_backends_do_not_mix(self) -> None:
        self.require(Capability.BUILD)
        foreign = [object(), self.reference(4, 8)]
        for other in [one for one in foreign if not self.adapter.is_model(one)]:
            with pytest.raises(mp.BackendError):
                mp.nn.Sequential(mp.nn.ReLU(backend=self.backend), other)

    def test_wrong_sizes_are_refused(self) -> None:
        self.require(Capability.BUILD)
        for size in (0, -1, 2.5, "4", True):
            with pytest.raises(mp.ArgumentError, match="out_features is a positive integer"):
                mp.nn.Linear(4, size, backend=self.backend)  # type: ignore[arg-type]
