"""Nothing left out unsaid: what the framework itself would save of a model is in its state, or named as left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import multiparam as mp
from multiparam.adapter import Array

from .models import NativeModels

__all__ = ["InventoryTests"]

MODELS = ("mlp", "named", "nested", "shared", "custom", "containers", "twice", "language_model", "buffered", "pair")


class InventoryTests(NativeModels):
    """The framework's own inventory as the oracle for what an adapter lists."""

    @pytest.mark.parametrize("name", MODELS)
    def test_nothing_of_the_frameworks_inventory_is_missing_unsaid(self, name: str, tmp_path: Path) -> None:
        model, path = getattr(self, name)(), tmp_path / "model.safetensors"
        _number(mp.state(model))
        native, state = self.inventory(model), mp.state(model)
        assert native, f"inventory() has nothing of {name}()"
        missed = _sorted(native.values()) - _sorted(one.value for one in state.values())
        assert missed.total() <= len(state.left_out), f"{[*native]}, and in mp.state {[*state]}"
        saved = mp.save(model, path)
        lost = _sorted(native.values()) - _sorted(one.value for one in mp.open(path).values())
        assert lost.total() <= len(saved.left_out)
        assert sorted(saved.saved) == sorted(mp.open(path))

    @pytest.mark.parametrize("name", MODELS)
    def test_the_adapters_inventory_is_the_frameworks(self, name: str) -> None:
        """An adapter that knows no saver of its framework's has none, and the test above holds what it lists."""
        model = getattr(self, name)()
        kept = self.adapter.inventory(model).kept
        assert not kept or len({id(one) for one in kept.values()}) >= len(_sorted(self.inventory(model).values()))
        assert mp.state(model).left_out == {}


def _number(state: Any) -> None:
    """Gives a model numbers of which no two are alike, so that each tensor is known by its own."""
    start = 0
    for one in state.values():
        size = int(np.prod(one.shape))
        one.assign((start + np.arange(size, dtype=np.float64)).reshape(one.shape).astype(one.dtype))
        start += size


def _sorted(arrays: Iterable[Array]) -> Counter[bytes]:
    """The tensors whatever their layouts, each once: the same numbers in another order are the same tensor."""
    return Counter({np.sort(np.asarray(one, np.float64), axis=None).tobytes() for one in arrays})
