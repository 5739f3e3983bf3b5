"""PaddlePaddle's own calls."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from safetensors.paddle import load_file, save_file

from .natives import Action, Natives, Tool

PAGE = 1024  # floats


class Paddle(Natives):
    """`paddle.nn`."""

    distributions = ("paddlepaddle", "safetensors")

    def linears(self, count: int, width: int) -> Any:
        return paddle.nn.Sequential(*(paddle.nn.Linear(width, width) for _ in range(count)))

    def norms(self, count: int, width: int) -> Any:
        return paddle.nn.Sequential(*(paddle.nn.LayerNorm(width) for _ in range(count)))

    def enumerations(self, model: Any) -> Mapping[str, Action]:
        return {"named_parameters": lambda: list(model.named_parameters()), "state_dict": model.state_dict}

    def fills(self, model: Any, kind: str) -> Mapping[str, Action]:
        bounds = {"normal": (0.0, 1.0), "uniform": (0.0, 1.0)}[kind]

        def fill() -> None:
            with paddle.no_grad():
                for one in model.parameters():
                    getattr(one, f"{kind}_")(*bounds) if one.ndim > 1 else one.zero_()

        return {f"{kind}_": fill}

    def tools(self, model: Any, folder: Path) -> list[Tool]:
        plain, own = folder / "paddle.safetensors", folder / "paddle.pdparams"
        return [
            Tool(
                "safetensors.paddle",
                plain,
                save=lambda: save_file(model.state_dict(), plain),
                live=lambda: model.set_state_dict(load_file(plain)),
                fresh=lambda: load_file(plain),
            ),
            Tool(
                "paddle.save/load",
                own,
                save=lambda: paddle.save(model.state_dict(), str(own)),
                live=lambda: model.set_state_dict(paddle.load(str(own))),
                fresh=lambda: paddle.load(str(own)),
            ),
        ]

    def touch(self, tensors: Any) -> None:
        for one in tensors.values():
            np.from_dlpack(one).reshape(-1)[::PAGE].sum()


OWN = Paddle()
