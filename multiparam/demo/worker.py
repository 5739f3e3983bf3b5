"""One framework's part of the demo, in a process of its own; it answers commands with lines of JSON.

Frameworks get a process each since not all of them can share one.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import multiparam as mp
from multiparam.adapter.registry import plugins
from multiparam.arrays.types import Array

from .digits import Digits, digits

SEED = 0
EPOCHS = 20


class Worker:
    """The model of one framework.

    Args:
        backend: the backend's name.
        folder: where the files are exchanged.
    """

    def __init__(self, backend: str, folder: Path) -> None:
        self.backend = backend
        self.folder = folder
        self.data: Digits = digits()
        with mp.use(backend):
            shared = mp.nn.Linear(32, 32)
            self.net = mp.nn.Sequential(
                *(mp.nn.Linear(64, 32), mp.nn.ReLU()),
                *(shared, mp.nn.ReLU()),
                *(shared, mp.nn.ReLU()),
                mp.nn.Linear(32, 10),
            )

    def initialize(self) -> dict[str, Any]:
        """Gives the model its first numbers; tells their digest and keeps the outputs."""
        mp.initialize(self.net, mp.init.KaimingUniform(nonlinearity="relu"), seed=SEED)
        bits = hashlib.sha256()
        for name, parameter in mp.parameters(self.net).items():
            bits.update(name.encode() + np.ascontiguousarray(parameter.value).tobytes())
        self._keep("first", self._outputs())
        return {"digest": bits.hexdigest()[:12], "learns": bool(plugins()[self.backend].demo)}

    def train(self) -> dict[str, Any]:
        """Trains with the framework's own optimizer, telling each layer's parameters and gradients on the way."""
        ties = mp.tied(self.net)
        if plugins()[self.backend].demo:
            self._fit(ties)
        mp.save(self.net, self._file(self.backend))
        self._keep("trained", self._outputs())
        return {"accuracy": self._accuracy(), "ties": mp.tied(self.net) == ties}

    def _fit(self, ties: list[tuple[str, ...]]) -> None:
        module = importlib.import_module(plugins()[self.backend].demo)

        def each(epoch: int) -> None:
            if epoch % 4 and epoch != EPOCHS:
                return
            found = mp.gradients(self.net, module.loss, self.data.train_x, self.data.train_y)
            params = mp.parameters(self.net)
            layers = [(name, _norm(params[name].value), _norm(found[name])) for name in params.select("*.weight").names]
            equal = np.array_equal(params["2.weight"].value, params["4.weight"].value) and np.array_equal(
                _there(params["2.weight"].grad), _there(params["4.weight"].grad)
            )
            self._say(epoch=epoch, accuracy=self._accuracy(), layers=layers, tied=equal and mp.tied(self.net) == ties)

        module.train(self.net, self.data.train_x, self.data.train_y, EPOCHS, each)

    def load(self, other: str) -> dict[str, Any]:
        """Loads another framework's file, and compares the outputs with those that it had."""
        mp.load(self._file(other), into=self.net)
        expected = np.load(self.folder / f"{other}.trained.npy")
        difference = np.abs(self._outputs() - expected).max() / max(1, np.abs(expected).max())
        return {"difference": float(difference), "accuracy": self._accuracy()}

    def serve(self) -> None:
        """Carries out the commands that come in, a JSON list of method and arguments in each line."""
        for line in sys.stdin:
            command, *arguments = json.loads(line)
            self._say(done=command, **getattr(self, command)(*arguments))

    def _outputs(self) -> Array:
        return np.asarray(mp.run(self.net, self.data.test_x))

    def _accuracy(self) -> float:
        return float((self._outputs().argmax(1) == self.data.test_y).mean())

    def _keep(self, name: str, values: Array) -> None:
        np.save(self.folder / f"{self.backend}.{name}.npy", values)

    def _file(self, backend: str) -> Path:
        return self.folder / f"{backend}.safetensors"

    def _say(self, **event: Any) -> None:
        sys.__stdout__.write(json.dumps(event) + "\n")  # type: ignore[union-attr]  # it is a pipe here
        sys.__stdout__.flush()  # type: ignore[union-attr]


def _norm(values: Array) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _there(gradient: Array | None) -> Array:
    assert gradient is not None
    return gradient


if __name__ == "__main__":
    sys.stdout = sys.stderr  # what frameworks print must not get between the lines
    Worker(sys.argv[1], Path(sys.argv[2])).serve()
