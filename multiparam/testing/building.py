"""Builders give native objects that compute the same in every framework."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import multiparam as mp
from multiparam.adapter import Array, Capability

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
    **{
        kind: (lambda backend, kind=kind: getattr(mp.nn, kind)(backend=backend), (3, 4))
        for kind in ("ReLU6", "ELU", "SELU", "SiLU", "Mish", "Softplus", "LeakyReLU", "LogSoftmax")
    },
    "ELU alpha": (lambda backend: mp.nn.ELU(0.5, backend=backend), (3, 4)),
    "Reshape": (lambda backend: mp.nn.Reshape(2, 6, backend=backend), (3, 4, 3)),
    "Flatten": (lambda backend: mp.nn.Flatten(backend=backend), (3, 4, 5)),
    "Dropout": (lambda backend: mp.nn.Dropout(0.9, backend=backend), (3, 4)),
    "Identity": (lambda backend: mp.nn.Identity(backend=backend), (3, 4)),
    "Lambda": (lambda backend: mp.nn.Lambda(lambda x: x * 2 + 1, backend=backend), (3, 4)),
    "Lambda with methods": (lambda backend: mp.nn.Lambda(lambda x: 1 - (x - x.mean()), backend=backend), (3, 4)),
}


# kind: the builder, its arguments, and the shape of a batch, channels first
SPATIAL: dict[str, tuple[str, dict[str, Any], tuple[int, ...]]] = {
    "Conv1d": ("Conv1d", {"in_channels": 4, "out_channels": 6, "kernel_size": 3, "padding": 1}, (2, 4, 9)),
    "Conv2d": (
        "Conv2d",
        {"in_channels": 4, "out_channels": 6, "kernel_size": (3, 2), "stride": 2, "padding": (1, 0), "groups": 2},
        (2, 4, 9, 8),
    ),
    "Conv2d dilated": (
        "Conv2d",
        {"in_channels": 4, "out_channels": 6, "kernel_size": 3, "dilation": 2, "bias": False},
        (2, 4, 9, 8),
    ),
    "Conv3d": ("Conv3d", {"in_channels": 2, "out_channels": 3, "kernel_size": 2, "padding": 1}, (2, 2, 4, 5, 6)),
    "ConvTranspose1d": (
        "ConvTranspose1d",
        {"in_channels": 4, "out_channels": 6, "kernel_size": 2, "stride": 3},
        (2, 4, 5),
    ),
    "ConvTranspose2d": (
        "ConvTranspose2d",
        {"in_channels": 4, "out_channels": 6, "kernel_size": 4, "stride": 2, "padding": 1},
        (2, 4, 5, 6),
    ),
    "ConvTranspose3d": ("ConvTranspose3d", {"in_channels": 2, "out_channels": 3, "kernel_size": 2}, (2, 2, 3, 4, 5)),
    "BatchNorm1d": ("BatchNorm1d", {"num_features": 4}, (5, 4)),
    "BatchNorm1d of a sequence": ("BatchNorm1d", {"num_features": 4}, (5, 4, 7)),
    "BatchNorm2d": ("BatchNorm2d", {"num_features": 4, "eps": 0.1, "momentum": 0.3}, (5, 4, 3, 2)),
    "BatchNorm3d": ("BatchNorm3d", {"num_features": 4}, (5, 4, 3, 2, 2)),
    "InstanceNorm1d": ("InstanceNorm1d", {"num_features": 4}, (5, 4, 7)),
    "InstanceNorm2d": ("InstanceNorm2d", {"num_features": 4, "affine": True}, (5, 4, 7, 3)),
    "GroupNorm": ("GroupNorm", {"num_groups": 2, "num_channels": 4}, (5, 4, 7, 3)),
    "RMSNorm": ("RMSNorm", {"normalized_shape": 4}, (5, 4)),
    "PReLU": ("PReLU", {"init": 0.3}, (5, 4)),
    "MaxPool1d": ("MaxPool1d", {"kernel_size": 2}, (2, 4, 9)),
    "MaxPool2d": ("MaxPool2d", {"kernel_size": (3, 2), "stride": 2}, (2, 4, 9, 8)),
    "MaxPool2d padded": ("MaxPool2d", {"kernel_size": 3, "stride": 2, "padding": 1}, (2, 4, 9, 8)),
    "AvgPool1d padded": ("AvgPool1d", {"kernel_size": 3, "padding": 1}, (2, 4, 9)),
    "AdaptiveAvgPool2d": ("AdaptiveAvgPool2d", {}, (2, 4, 9, 8)),
    "SeparableConv2d": (
        "SeparableConv2d",
        {"in_channels": 4, "out_channels": 6, "kernel_size": 3, "stride": 2, "padding": 1, "depth_multiplier": 2},
        (2, 4, 9, 8),
    ),
    "ConvTranspose2d, output padding": (
        "ConvTranspose2d",
        {"in_channels": 4, "out_channels": 6, "kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1},
        (2, 4, 5, 6),
    ),
    "AvgPool2d": ("AvgPool2d", {"kernel_size": 3}, (2, 4, 9, 8)),
    "AvgPool3d": ("AvgPool3d", {"kernel_size": 2, "stride": 1}, (2, 4, 3, 4, 5)),
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

    @pytest.mark.parametrize("case", SPATIAL)
    def test_a_spatial_layer_computes_what_pytorch_computes(self, case: str, tmp_path: Path) -> None:
        self.require(Capability.BUILD)
        kind, arguments, shape = SPATIAL[case]
        build = getattr(mp.nn, kind)
        if self.adapter.table.builder(kind) is None:
            with pytest.raises(mp.UnsupportedError, match=f"building {kind}"):
                build(**arguments, backend=self.backend)
            return
        layer, reference = build(**arguments, backend=self.backend), build(**arguments, backend="torch")
        assert mp.layers(layer).kind == kind
        mp.initialize(layer, {"*": mp.init.Uniform(0.5, 1)}, seed=1) if len(mp.parameters(layer)) else None
        mp.save(layer, tmp_path / "layer.safetensors")
        assert mp.load(tmp_path / "layer.safetensors", into=reference).differences == []
        x = self.batch(*shape)
        np.testing.assert_allclose(mp.run(layer, x), mp.run(reference, x), rtol=1e-4, atol=1e-5)

    def test_a_convolutional_network_computes_what_pytorchs_computes(self, tmp_path: Path) -> None:
        def build() -> Any:
            features = mp.nn.Sequential(
                *(mp.nn.Conv2d(3, 6, 3, padding=1), mp.nn.BatchNorm2d(6), mp.nn.ReLU(), mp.nn.MaxPool2d(2))
            )
            return mp.nn.Sequential(features, mp.nn.Sequential(mp.nn.Flatten(), mp.nn.Linear(6 * 4 * 3, 5)))

        net, x = self.computes_what_pytorchs_computes(build, (2, 3, 8, 7), tmp_path)
        images = mp.layers(net)[0].native
        assert mp.run(images, x).shape == (2, 6, 4, 3)
        turned = np.moveaxis(x, 1, -1) if self.adapter.channels_last(images) else x
        assert mp.run(images, turned, native=True).shape in {(2, 6, 4, 3), (2, 4, 3, 6)}

    def test_a_generator_computes_what_pytorchs_computes(self, tmp_path: Path) -> None:
        def build() -> Any:
            return mp.nn.Sequential(
                *(mp.nn.Linear(5, 24), mp.nn.Reshape(6, 2, 2), mp.nn.ReLU(), mp.nn.ConvTranspose2d(6, 4, 3, 2)),
                *(mp.nn.Reshape(10, 10), mp.nn.Flatten(), mp.nn.Linear(100, 3)),
            )

        self.computes_what_pytorchs_computes(build, (2, 5), tmp_path)

    @pytest.mark.parametrize("which", range(5))
    def test_images_lie_the_right_way_round_wherever_a_reshape_is(self, which: int, tmp_path: Path) -> None:
        shape = [(2, 8), (2, 8), (2, 3, 4, 4), (2, 12), (2, 3, 4, 4)][which]
        self.computes_what_pytorchs_computes(lambda: _turning(which), shape, tmp_path)

    def computes_what_pytorchs_computes(
        self, build: Callable[[], Any], shape: tuple[int, ...], tmp_path: Path
    ) -> tuple[Any, Array]:
        """Builds a network here and in PyTorch, gives both the same numbers, and compares their outputs."""
        self.require(Capability.BUILD)
        if self.adapter.table.builder("Conv2d") is None:
            pytest.skip(f"{self.backend} has no convolutions, as another test shows")
        nets = []
        for backend in (self.backend, "torch"):
            with mp.use(backend):
                nets.append(build())
        net, reference = nets
        mp.initialize(net, mp.init.Normal(0.5), seed=0)
        mp.save(net, tmp_path / "net.safetensors")
        mp.load(tmp_path / "net.safetensors", into=reference)
        x = self.batch(*shape)
        np.testing.assert_allclose(mp.run(net, x), mp.run(reference, x), rtol=1e-4, atol=1e-4)
        return net, x

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

    def test_wrong_numbers_are_refused(self) -> None:
        self.require(Capability.BUILD)
        attempts: list[Callable[[], Any]] = [
            lambda: mp.nn.Dropout(1.5, backend=self.backend),
            lambda: mp.nn.Dropout("a", backend=self.backend),  # type: ignore[arg-type]
            lambda: mp.nn.LayerNorm(4, eps=None, backend=self.backend),  # type: ignore[arg-type]
            lambda: mp.nn.Softmax("a", backend=self.backend),  # type: ignore[arg-type]
            lambda: mp.nn.Conv2d(4, 6, (3, 3, 3), backend=self.backend),
            lambda: mp.nn.Conv2d(4, 6, 3, groups=4, backend=self.backend),
            lambda: mp.nn.MaxPool2d(0, backend=self.backend),
            lambda: mp.nn.GroupNorm(3, 4, backend=self.backend),
        ]
        for attempt in attempts:
            with pytest.raises(mp.ArgumentError):
                attempt()

    def test_wrong_sizes_are_refused(self) -> None:
        self.require(Capability.BUILD)
        for size in (0, -1, 2.5, "4", True):
            with pytest.raises(mp.ArgumentError, match="out_features is a positive integer"):
                mp.nn.Linear(4, size, backend=self.backend)  # type: ignore[arg-type]


def _turning(which: int) -> Any:
    """Sequentials in which images come and go."""
    nn, chain = mp.nn, mp.nn.Sequential
    made: list[Callable[[], Any]] = [
        lambda: chain(
            chain(nn.Linear(8, 64), nn.Reshape(4, 4, 4)), chain(nn.ConvTranspose2d(4, 1, 2, 2), nn.Sigmoid())
        ),
        lambda: chain({"g": chain(nn.Linear(8, 64), nn.Reshape(4, 4, 4)), "h": nn.Conv2d(4, 1, 1)}),
        lambda: chain(nn.Flatten(), nn.Linear(48, 48), nn.Reshape(3, 4, 4), nn.Conv2d(3, 3, 3, 1, 1)),
        lambda: chain(nn.Reshape(3, 2, 2), nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(16, 12), nn.Reshape(3, 2, 2)),
        lambda: chain(nn.Conv2d(3, 4, 1), nn.Reshape(4, 16), nn.Linear(16, 5)),
    ]
    return made[which]()
