"""What numpy's users call; PyTorch's random numbers and mapped files beside it, where PyTorch is there."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from multiparam_numpy import LayerNorm, Linear, Sequential
from safetensors.numpy import load_file, save_file

from .natives import Action, Natives, Tool

WITH_TORCH = importlib.util.find_spec("torch") is not None
PAGE = 1024  # floats


class Numpy(Natives):
    """`multiparam_numpy`'s layers, and numpy's functions."""

    distributions = ("numpy", "safetensors")

    def linears(self, count: int, width: int) -> Any:
        model = Sequential(*(Linear(width, width) for _ in range(count)))
        for layer in model:  # which draws doubles
            layer.weight.value = layer.weight.value.astype(np.float32)
            layer.bias.value = layer.bias.value.astype(np.float32)
        return model

    def norms(self, count: int, width: int) -> Any:
        return Sequential(*(LayerNorm(width) for _ in range(count)))

    def enumerations(self, model: Any) -> Mapping[str, Action]:
        return {"a dict of arrays": lambda: _of(model)}

    def fills(self, model: Any, kind: str) -> Mapping[str, Action]:
        generator = np.random.Generator(np.random.SFC64(0))
        draw: Any = getattr(generator, {"normal": "standard_normal", "uniform": "random"}[kind])

        def fill() -> None:
            for one in _of(model).values():
                draw(dtype=np.float32, out=one) if one.ndim > 1 else one.fill(0)

        def fill_as_torch() -> None:
            import torch

            for one in _of(model).values():
                getattr(torch.from_numpy(one), f"{kind}_")() if one.ndim > 1 else one.fill(0)

        return {"numpy, one thread": fill} | ({f"torch, {kind}_": fill_as_torch} if WITH_TORCH else {})

    def tools(self, model: Any, folder: Path) -> list[Tool]:
        plain, zipped = folder / "numpy.safetensors", folder / "numpy.npz"

        def read() -> dict[str, Any]:
            with np.load(zipped) as file:
                return dict(file)

        own = [
            Tool(
                "safetensors.numpy",
                plain,
                save=lambda: save_file(_of(model), plain),
                live=lambda: _put(model, load_file(plain)),
                fresh=lambda: load_file(plain),
                listing=lambda: listed(plain),
            ),
            Tool(
                "np.savez/load",
                zipped,
                save=lambda: np.savez(zipped, **_of(model)),
                live=lambda: _put(model, read()),
                fresh=read,
            ),
        ]
        mapped = Tool("safetensors mmap, copy", plain, live=lambda: _put(model, _mapped(plain)))
        return [*own, mapped] if WITH_TORCH else own

    def touch(self, tensors: Any) -> None:
        for one in tensors.values():
            one.reshape(-1)[::PAGE].sum()


def _of(model: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, layer in model.layers.items():
        if isinstance(layer, Sequential):
            found |= {f"{name}.{inside}": array for inside, array in _of(layer).items()}
        elif hasattr(layer, "weight"):
            found |= {f"{name}.weight": layer.weight.value, f"{name}.bias": layer.bias.value}
    return found


def _put(model: Any, tensors: Mapping[str, Any]) -> None:
    for name, array in _of(model).items():
        np.copyto(array, tensors[name])


def _mapped(path: Path) -> Mapping[str, Any]:
    """PyTorch's tensors over a mapped file; safetensors has no such thing for numpy."""
    from safetensors.torch import load_file

    return load_file(path)


def listed(path: Path) -> dict[str, Any]:
    """Names and shapes, as safetensors gives them."""
    with safetensors.safe_open(path, "np") as file:
        return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 - no mapping


OWN = Numpy()
