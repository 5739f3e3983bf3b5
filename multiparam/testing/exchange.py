"""Layers of every kind through files between environments that cannot be one.

    python -m multiparam.testing.exchange write FOLDER mxnet            # in the one: files, and outputs beside them
    python -m multiparam.testing.exchange answer FOLDER mxnet torch ... # in the other: load, compare, save again
    python -m multiparam.testing.exchange check FOLDER mxnet            # in the one: load the answers, compare

It is the parity table (`multiparam.testing.parity`) with processes in between, and nothing kept that could go stale.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import multiparam as mp
from multiparam.adapter.registry import plugins
from multiparam.arrays.types import Array

from .parity import CASES, NATIVE, Case, NativeLayer, draw, first_output, inputs, layers_of, reason

__all__ = ["answer", "check", "write"]

TOLERANCE = 1e-5
_CASES: Mapping[str, Case] = {**CASES, **NATIVE}


@dataclass
class _Tally:
    """What came of one way.

    Attributes:
        title: which way.
        passed: how many files agreed.
        largest: the largest difference of outputs, by the largest output.
        refused: the reasons of refusals, by layer.
        wrong: the layers whose outputs or weights differ.
    """

    title: str
    passed: int = 0
    largest: float = 0.0
    refused: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def note(self, case: str, given: Array, expected: Array) -> None:
        """Compares two outputs."""
        difference = float(np.abs(given - expected).max() / max(1e-6, np.abs(expected).max()))
        self.largest = max(self.largest, difference)
        if difference <= TOLERANCE:
            self.passed += 1
        else:
            self.wrong.append(f"{case}: outputs differ by {difference:.0e}")

    def refuse(self, case: str, why: str) -> None:
        """Notes a refusal, which only layers may get that are apart."""
        self.refused[case] = why
        if not _CASES[case].apart:
            self.wrong.append(f"{case}: refused")

    def __str__(self) -> str:
        lines = [f"{self.title}: {self.passed} files, outputs within {self.largest:.0e}"]
        lines += [f"  refused: {case}: {why}" for case, why in self.refused.items()]
        return "\n".join(lines + [f"  WRONG: {one}" for one in self.wrong])


def write(folder: Path, framework: str) -> None:
    """Writes a file for each of a framework's layers, with random weights, and the outputs that it has with them.

    Args:
        folder: where to.
        framework: a backend with layers for the parity table; where its module of natives has `save(layer, path)`, the
            framework's own file is written too.
    """
    save = _native_saver(framework)
    for case, layer in layers_of(framework).items():
        made = layer.make()
        draw(made, _CASES[case].zero)
        mp.save(made, _file(folder, framework, case))
        if save is not None:
            save(made, _file(folder, framework, case, "native"))
        np.save(_file(folder, framework, case, "npy"), _forward(layer, made, case))


def answer(folder: Path, source: str, targets: Sequence[str]) -> bool:
    """Loads a framework's files into each of others, compares the outputs, and saves what the others then have.

    Returns:
        Whether everything that was not refused agrees.
    """
    tallies = []
    for target in targets:
        tally, native = _Tally(f"{source} -> {target}"), _Tally(f"{source}'s own files -> {target}")
        for case, layer in _both(folder, source, layers_of(target)):
            made = layer.make()
            try:
                mp.load(_file(folder, source, case), into=made)
            except mp.MismatchError as error:
                tally.refuse(case, reason(error))
                continue
            tally.note(case, _forward(layer, made, case), np.load(_file(folder, source, case, "npy")))
            mp.save(made, _file(folder, f"{source}-{target}", case))
            if _file(folder, source, case, "native").exists():
                _load_native(folder, source, case, layer, native)
        tallies += [tally, native] if native.passed or native.wrong else [tally]
    return _report(tallies)


def check(folder: Path, source: str) -> bool:
    """Loads what others answered, and compares outputs with those at the start."""
    layers, tallies = layers_of(source), []
    for answers in sorted(folder.glob(f"{source}-*")):
        tally = _Tally(f"{answers.name.partition('-')[2]} -> {source}")
        for case, layer in _both(folder, answers.name, layers):
            made = layer.make()
            mp.load(_file(folder, answers.name, case), into=made)
            tally.note(case, _forward(layer, made, case), np.load(_file(folder, source, case, "npy")))
        tallies.append(tally)
    return _report(tallies)


def _load_native(folder: Path, source: str, case: str, layer: NativeLayer, tally: _Tally) -> None:
    made = layer.make()
    try:
        mp.load(_file(folder, source, case, "native"), into=made)
    except mp.MismatchError as error:
        tally.refuse(case, reason(error))
        return
    tally.note(case, _forward(layer, made, case), np.load(_file(folder, source, case, "npy")))


def _native_saver(framework: str) -> Callable[[Any, Path], None] | None:
    module = importlib.import_module(plugins()[framework].natives)
    return getattr(module, "save", None)


def _both(folder: Path, source: str, layers: Mapping[str, NativeLayer]) -> Iterator[tuple[str, NativeLayer]]:
    """The layers that there is a file for."""
    return ((case, layer) for case, layer in layers.items() if _file(folder, source, case).exists())


def _file(folder: Path, part: str, case: str, suffix: str = "safetensors") -> Path:
    (folder / part).mkdir(parents=True, exist_ok=True)
    return folder / part / f"{'-'.join(case.replace(',', '').split())}.{suffix}"


def _forward(layer: NativeLayer, made: Any, case: str) -> Array:
    return first_output(layer.output(mp.run(made, tuple(layer.inputs(*inputs(_CASES[case]))))))


def _report(tallies: Sequence[_Tally]) -> bool:
    sys.stdout.write("".join(f"{tally}\n" for tally in tallies))
    return bool(tallies) and all(tally.passed and not tally.wrong for tally in tallies)


def main(arguments: Sequence[str]) -> int:
    """Runs one of the steps; returns 0 if it went well."""
    step, folder, source, *targets = arguments
    if step == "write":
        write(Path(folder), source)
        return 0
    return int(not (answer(Path(folder), source, targets) if step == "answer" else check(Path(folder), source)))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(main(sys.argv[1:]))
