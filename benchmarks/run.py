"""Times multiparam beside what users would pick instead; every figure is a ratio within one run.

python benchmarks/run.py            # every installed backend
python benchmarks/run.py torch      # one
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

import multiparam as mp
from multiparam.registry import plugins

MANY = 2_000
WIDE = 2_048
DEEP = 8


def median(call: Any, times: int = 5) -> float:
    """The median duration of a call in seconds, after one call that is not counted."""
    call()
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def line(what: str, ours: float, beside: str, theirs: float) -> None:
    """Prints one comparison."""
    print(f"  {what:34} {ours * 1e3:9.2f} ms   {beside:28} {theirs * 1e3:9.2f} ms   ratio {ours / theirs:6.2f}")


def imports() -> None:
    """What an import costs, beside numpy's own."""

    def run(code: str) -> float:
        return median(lambda: subprocess.run([sys.executable, "-c", code], check=True))

    line("import multiparam", run("import multiparam"), "import numpy", run("import numpy"))


def net(backend: str, layers: int, width: int) -> Any:
    """A sequential model of equal layers."""
    with mp.use(backend):
        return mp.nn.Sequential(*(mp.nn.Linear(width, width) for _ in range(layers)))


def native_names(backend: str) -> tuple[str, Any]:
    """The framework's own enumeration."""
    if backend == "torch":
        return "named_parameters", lambda model: list(model.named_parameters())
    if backend == "flax":
        from flax import nnx

        return "nnx.state, flat", lambda model: nnx.to_flat_state(nnx.state(model))
    if backend == "keras":
        return "weights", lambda model: model.weights
    if backend == "paddle":
        return "named_parameters", lambda model: list(model.named_parameters())
    if backend == "mxnet":
        return "_collect_params_with_prefix", lambda model: model._collect_params_with_prefix()
    return "vars", lambda model: [vars(layer) for layer in model]


def native_files(backend: str, model: Any, path: Path) -> tuple[str, Any, str, Any]:
    """The framework's own save and load."""
    if backend == "torch":
        from safetensors.torch import load_file, save_file

        return (
            "safetensors.torch",
            lambda: save_file(model.state_dict(), path),
            "the same, load_state_dict",
            lambda: model.load_state_dict(load_file(path)),
        )
    if backend == "keras":
        weights = path.with_suffix(".weights.h5")
        return "save_weights", lambda: model.save_weights(weights), "load_weights", lambda: model.load_weights(weights)
    if backend == "paddle":
        import paddle

        own = str(path.with_suffix(".pdparams"))
        return (
            "paddle.save",
            lambda: paddle.save(model.state_dict(), own),
            "paddle.load, set_state_dict",
            lambda: model.set_state_dict(paddle.load(own)),
        )
    if backend == "mxnet":
        own = str(path.with_suffix(".params"))
        return (
            "save_parameters",
            lambda: model.save_parameters(own),
            "load_parameters",
            lambda: model.load_parameters(own),
        )
    values = {name: one.value for name, one in mp.parameters(model).items()}
    return (
        "safetensors.numpy",
        lambda: safetensors.numpy.save_file(values, path),
        "safetensors.numpy.load_file",
        lambda: safetensors.numpy.load_file(path),
    )


def backend(name: str) -> None:
    """All comparisons of one backend."""
    print(f"{name}: {2 * MANY:,} parameters, then {DEEP * WIDE * WIDE * 4 / 1e6:.0f} MB")
    many = net(name, MANY, 1)
    label, enumerate_natively = native_names(name)
    line("enumerate", median(lambda: list(mp.parameters(many))), label, median(lambda: enumerate_natively(many)))
    big = net(name, DEEP, WIDE)
    mp.run(big, np.ones((1, WIDE)))  # Keras saves no model that has never been called
    rng = np.random.Generator(np.random.SFC64(0))
    draw = median(lambda: rng.standard_normal(DEEP * WIDE * WIDE, np.float32), 3)
    line(
        "initialize, normal", median(lambda: mp.initialize(big, mp.init.Normal(), seed=0), 3), "numpy, one thread", draw
    )
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = Path(folder) / "ours.safetensors", Path(folder) / "theirs.safetensors"
        saver, save, loader, load = native_files(name, big, theirs)
        line("save", median(lambda: mp.save(big, ours), 3), saver, median(save, 3))
        line("load into a live model", median(lambda: mp.load(ours, into=big), 3), loader, median(load, 3))


def main(names: list[str]) -> None:
    """Runs the comparisons."""
    imports()
    found = names or [one.name for one in mp.backends() if one.installed and "build" in one.capabilities]
    for name in sorted(found, key=lambda name: not plugins()[name].precedes):  # what crashes behind others comes first
        backend(name)


if __name__ == "__main__":
    main(sys.argv[1:])
