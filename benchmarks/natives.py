"""What a framework does by itself: the interface that `natives_*.py` implement, one for each backend."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Action = Callable[[], Any]


@dataclass(frozen=True)
class Tool:
    """One way to save a model and to load it again; what it does not do, or another one does, is None.

    Attributes:
        label: its name in the tables.
        path: where the model is; a file or a folder.
        save: writes the model.
        live: loads into the model.
        fresh: loads new tensors.
        listing: the names and shapes of what is in the file.
    """

    label: str
    path: Path
    save: Action | None = None
    live: Action | None = None
    fresh: Action | None = None
    listing: Action | None = None


class Natives(ABC):
    """A framework's own models and calls."""

    distributions: tuple[str, ...] = ()  # whose versions are printed

    @abstractmethod
    def linears(self, count: int, width: int) -> Any:
        """Dense layers in a row."""

    @abstractmethod
    def norms(self, count: int, width: int) -> Any:
        """Layer normalizations in a row, with a weight and a bias each."""

    @abstractmethod
    def enumerations(self, model: Any) -> Mapping[str, Action]:
        """Ways to list the model's parameters."""

    @abstractmethod
    def fills(self, model: Any, kind: str) -> Mapping[str, Action]:
        """Ways to draw all matrices anew, "normal" or "uniform", and to set the biases to 0."""

    @abstractmethod
    def tools(self, model: Any, folder: Path) -> list[Tool]:
        """Ways to save and load the model."""

    def wait(self, model: Any) -> None:  # noqa: B027 - most have nothing to wait for
        """Returns when all that was asked for is computed."""

    def touch(self, tensors: Any) -> None:  # noqa: B027 - and most read at once
        """Reads one number of each page of what was loaded, where loading only maps a file."""


def natives(backend: str) -> Natives:
    """The calls of a backend's framework."""
    found: Natives = importlib.import_module(f".natives_{backend}", __package__).OWN
    return found
