"""One walk: what a verb asks of each layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import multiparam as mp
from multiparam.adapter import Capability

from .models import NativeModels

LOOKS = ("members", "lookup")


class WalkingTests(NativeModels):
    """Each verb asks each layer once what it holds, and never where something is; only `tie` and `untie` do."""

    @contextmanager
    def asked(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[tuple[str, int]]]:
        """Counts how often the adapter is asked, by what and of which native layer."""
        found: Counter[tuple[str, int]] = Counter()
        inside: list[str] = []

        def counting(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
            def counted(native: Any, *arguments: Any) -> Any:
                if not inside:  # what an adapter asks itself is its own affair
                    found[name, id(native)] += 1
                inside.append(name)
                try:
                    return method(native, *arguments)
                finally:
                    inside.pop()

            return counted

        with monkeypatch.context() as patch:
            for name in LOOKS:
                patch.setattr(self.adapter, name, counting(name, getattr(self.adapter, name)), raising=False)
            yield found

    def verbs(self, model: Any, path: Path) -> dict[str, Callable[[], Any]]:
        """What is done to a model, whose file is at the path."""
        first = next(iter(mp.parameters(model)))
        rules = {first: mp.init.Constant(0), "*": mp.init.Uniform()}
        return {
            "items": lambda: mp.parameters(model).items(),
            "layers": lambda: [one.kind for one in mp.layers(model).walk()],
            "summary": lambda: str(mp.summary(model)),
            "tied": lambda: mp.tied(model),
            "initialize": lambda: mp.initialize(model, mp.init.Normal(), seed=0),
            "initialize by patterns": lambda: mp.initialize(model, rules, seed=0),
            "save": lambda: mp.save(model, path),
            "load": lambda: mp.load(path, into=model),
            "diff": lambda: mp.diff(path, model),
        }

    def test_a_verb_asks_each_layer_once(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        for make in (self.nested, self.shared, self.custom, self.containers):
            model, path = make(), tmp_path / make.__name__
            mp.save(model, path)
            self.check(self.verbs(model, path), monkeypatch)

    def test_a_run_asks_each_layer_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.require(Capability.RUN)
        model = self.nested()
        self.check({"run": lambda: mp.run(model, self.batch(2, 4))}, monkeypatch)

    def test_gradients_ask_each_layer_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.require(Capability.GRADIENTS)
        model = self.nested()
        self.check({"gradients": lambda: mp.gradients(model, self.loss, self.batch(2, 4))}, monkeypatch)

    def check(self, verbs: Mapping[str, Callable[[], Any]], monkeypatch: pytest.MonkeyPatch) -> None:
        """Counts what each of the verbs asks."""
        for name, verb in verbs.items():
            with self.asked(monkeypatch) as found:
                verb()
            assert {what for what, _ in found} == {"members"}, name
            # a mapping is looked at when it is made and when it is iterated, since the model may be another then
            assert max(found.values()) <= (2 if name == "items" else 1), name
