"""Flax NNX's own calls, and Orbax."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from flax import nnx
from safetensors.flax import load_file, save_file

from .natives import Action, Natives, Tool


class Flax(Natives):
    """`flax.nnx`."""

    distributions = ("flax", "jax", "safetensors", "orbax-checkpoint")

    def linears(self, count: int, width: int) -> Any:
        return nnx.Sequential(*(nnx.Linear(width, width, rngs=nnx.Rngs(0)) for _ in range(count)))

    def norms(self, count: int, width: int) -> Any:
        return nnx.Sequential(*(nnx.LayerNorm(width, rngs=nnx.Rngs(0)) for _ in range(count)))

    def enumerations(self, model: Any) -> Mapping[str, Action]:
        def walk() -> list[Any]:
            return [(path, one) for path, one in nnx.iter_graph(model) if isinstance(one, nnx.Param)]

        return {"nnx.state, flat": lambda: _flat(model), "nnx.iter_graph": walk}

    def fills(self, model: Any, kind: str) -> Mapping[str, Action]:
        def fill() -> None:
            for number, layer in enumerate(model.layers):
                kernel, bias = layer.kernel[...], layer.bias[...]
                layer.kernel[...] = getattr(jax.random, kind)(jax.random.key(number), kernel.shape)
                layer.bias[...] = jax.numpy.zeros_like(bias)

        return {f"jax.random.{kind}": fill}

    def tools(self, model: Any, folder: Path) -> list[Tool]:
        plain, orbax = folder / "flax.safetensors", folder / "orbax"
        checkpointer = ocp.StandardCheckpointer()

        def save() -> None:
            checkpointer.save(orbax, nnx.state(model))
            checkpointer.wait_until_finished()

        def restore() -> Any:
            # Orbax advises to say where each array goes, and warns at length where it is left to it
            return checkpointer.restore(orbax, jax.tree.map(ocp.utils.to_shape_dtype_struct, nnx.state(model)))

        return [
            Tool(
                "safetensors.flax",
                plain,
                save=lambda: save_file({name: one[...] for name, one in _named(model).items()}, plain),
                live=lambda: _put(model, load_file(plain)),
                fresh=lambda: load_file(plain),
            ),
            Tool("Orbax", orbax, save=save, live=lambda: nnx.update(model, restore()), fresh=restore),
        ]

    def wait(self, model: Any) -> None:
        found = (one for layer in model.layers for one in vars(layer).values() if isinstance(one, nnx.Variable))
        jax.block_until_ready([one.get_raw_value() for one in found])  # nnx.state would take longer than a load

    def touch(self, tensors: Any) -> None:
        jax.block_until_ready(jax.tree.leaves(tensors))


def _flat(model: Any) -> Any:
    return nnx.to_flat_state(nnx.state(model))


def _named(model: Any) -> dict[str, Any]:
    return {".".join(map(str, path)): one for path, one in _flat(model)}


def _put(model: Any, tensors: Mapping[str, Any]) -> None:
    flat = [(path, one.replace(tensors[".".join(map(str, path))])) for path, one in _flat(model)]
    nnx.update(model, nnx.from_flat_state(flat))


OWN = Flax()
