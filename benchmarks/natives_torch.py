"""PyTorch's own calls."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save_file

from .natives import Action, Natives, Tool

PAGE = 1024  # floats


class Torch(Natives):
    """`torch.nn`."""

    distributions = ("torch", "safetensors")

    def linears(self, count: int, width: int) -> Any:
        return torch.nn.Sequential(*(torch.nn.Linear(width, width) for _ in range(count)))

    def norms(self, count: int, width: int) -> Any:
        return torch.nn.Sequential(*(torch.nn.LayerNorm(width) for _ in range(count)))

    def enumerations(self, model: Any) -> Mapping[str, Action]:
        return {"named_parameters": lambda: list(model.named_parameters()), "state_dict": model.state_dict}

    def fills(self, model: Any, kind: str) -> Mapping[str, Action]:
        def fill() -> None:
            with torch.no_grad():
                for one in model.parameters():
                    getattr(one, f"{kind}_")() if one.ndim > 1 else one.zero_()

        return {f"{kind}_": fill}

    def tools(self, model: Any, folder: Path) -> list[Tool]:
        plain, own = folder / "torch.safetensors", folder / "torch.pt"

        def mapped() -> Any:
            return torch.load(own, mmap=True)

        return [
            Tool(
                "safetensors.torch",
                plain,
                save=lambda: save_file(model.state_dict(), plain),
                live=lambda: model.load_state_dict(load_file(plain)),
                fresh=lambda: load_file(plain),
                listing=lambda: listed(plain),
            ),
            Tool(
                "torch.save/load",
                own,
                save=lambda: torch.save(model.state_dict(), own),
                live=lambda: model.load_state_dict(torch.load(own)),
                fresh=lambda: torch.load(own),
            ),
            Tool(
                "torch.load, mmap",
                own,
                live=lambda: model.load_state_dict(mapped()),
                fresh=mapped,
                listing=lambda: {name: one.shape for name, one in mapped().items()},
            ),
        ]

    def touch(self, tensors: Any) -> None:
        for one in tensors.values():
            one.reshape(-1)[::PAGE].sum()


def listed(path: Path) -> dict[str, Any]:
    """Names and shapes, as safetensors gives them."""
    with safetensors.safe_open(path, "pt") as file:
        return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 - no mapping


OWN = Torch()
