"""Runs the demo: a worker process for each framework, progress while they work, a table at the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from ..adapter.plugin import Capability
from ..adapter.registry import adapter, backends
from ..errors import ArgumentError, BackendError, MultiparamError
from .picture import picture

__all__ = ["demo"]

TOLERANCE = 1e-5
ACCURACY = 0.9
_SHOWN = ("0.weight", "2.weight", "6.weight")


@dataclass
class _Part:
    """One framework's worker, and what it said."""

    backend: str
    process: subprocess.Popen[str]
    log: IO[str]
    learns: bool = False

    def ask(self, *command: str, on_event: Callable[[dict[str, Any]], None] | None = None) -> dict[str, Any]:
        """Sends a command and waits for its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(command) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it ended, and why stands in its log
        for line in self.process.stdout:
            event: dict[str, Any] = json.loads(line)
            if event.get("done") == command[0]:
                return event
            if on_event is not None:
                on_event(event)
        self.log.seek(0)
        raise MultiparamError(f"the {self.backend} part of the demo ended:\n{self.log.read()[-3000:]}")

    def close(self) -> None:
        """Ends the worker."""
        self.process.kill()
        with self.process, self.log:
            pass  # waits for its end and closes the pipes


@dataclass
class _Promises:
    """What was promised, and what of it failed."""

    console: Console
    failed: list[str] = field(default_factory=list)

    def check(self, kept: bool, promise: str) -> None:
        """Notes a promise that was not kept."""
        if not kept:
            self.failed.append(promise)
            self.console.print(f"[red]not kept:[/] {promise}")


def demo(
    backend: str | None = None,
    pythons: Sequence[str] = (),
    console: Console | None = None,
    svg: Path | None = None,
) -> int:
    """Trains one model with a shared layer in every installed framework and exchanges the files.

    Args:
        backend: only this one (beside the numpy reference); None is every installed one.
        pythons: interpreters of other environments, whose backends take part too: not all frameworks share one.
        console: where to print.
        svg: where to write the table at the end as a picture.

    Returns:
        0 if every promise was kept, else 1.

    Raises:
        BackendError: the backend is unknown or not installed.
        MultiparamError: a framework's process ended early; its output is the message.
    """
    console = console or Console()
    chosen = _chosen(backend, pythons)
    promises = _Promises(console)
    with tempfile.TemporaryDirectory() as folder:
        parts = [_start(name, python, Path(folder)) for name, python in chosen.items()]
        try:
            _initialize(parts, Path(folder), promises)
            sources = [part for part in parts if part.learns] or parts
            for part in sources:
                _train(part, promises)
            table = _exchange(sources, parts, promises)
        finally:
            for part in parts:
                part.close()
    title = "[bold]Saved by the row, loaded by the column[/]: difference of outputs, test accuracy"
    console.print(title)
    console.print(table)
    if svg is not None:
        svg.write_text(picture(title, table, title="multiparam demo"), "utf-8")
    if promises.failed:
        console.print(f"[red]{len(promises.failed)} promises were not kept.[/]")
        return 1
    console.print("Every promise was kept.")
    return 0


def _chosen(backend: str | None, pythons: Sequence[str]) -> dict[str, str]:
    """The backends that take part, each with its interpreter."""
    lines = [asdict(line) for line in backends()]
    found = dict.fromkeys(_able(lines), sys.executable)
    for python in pythons:
        found = {**dict.fromkeys(_able(_listed(python)), python), **found}
    if backend is not None and backend not in found:
        adapter(backend).require(Capability.BUILD)  # says what is wrong with it
    if not found:
        raise BackendError("no backend is installed")
    order = ["numpy", *(sorted(found) if backend is None else [backend])]
    return {name: found[name] for name in dict.fromkeys(order) if name in found}


def _able(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    return [line["name"] for line in lines if line["installed"] and Capability.BUILD in line["capabilities"]]


def _listed(python: str) -> list[dict[str, Any]]:
    """What `multiparam backends` says in another environment."""
    try:
        command = [python, "-m", "multiparam", "backends", "--json"]
        found: list[dict[str, Any]] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    except (OSError, subprocess.CalledProcessError, json.JSONDecodeError) as error:
        said = getattr(error, "stderr", None) or str(error).encode()
        raise ArgumentError(f"{python} runs no multiparam: {said.decode(errors='replace')[-1000:].strip()}") from error
    return found


def _start(backend: str, python: str, folder: Path) -> _Part:
    log = (folder / f"{backend}.log").open("w+", encoding="utf-8")
    process = subprocess.Popen(
        [python, "-m", "multiparam.demo.worker", backend, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    return _Part(backend, process, log)


def _initialize(parts: Sequence[_Part], folder: Path, promises: _Promises) -> None:
    console, first = promises.console, parts[0].backend
    console.print("[bold]One initialization[/], seed 0, of 64-32-(32)-(32)-10; (32) and (32) are one layer")
    expected: tuple[str, Any] | None = None
    for part in parts:
        with console.status(f"starting {part.backend}"):
            answer = part.ask("initialize")
        part.learns = answer["learns"]
        outputs = np.load(folder / f"{part.backend}.first.npy")
        expected = expected or (answer["digest"], outputs)
        difference = float(np.abs(outputs - expected[1]).max())
        console.print(
            f"  {part.backend:8} bits {answer['digest']}   outputs within {difference:.0e} of {first}'s",
            highlight=False,
        )
        promises.check(answer["digest"] == expected[0], f"{part.backend}'s parameters are {first}'s to the bit")
        promises.check(difference <= TOLERANCE, f"{part.backend}'s first outputs are {first}'s")


def _train(part: _Part, promises: _Promises) -> None:
    console = promises.console
    if part.learns:
        console.print(f"[bold]Training with {part.backend}[/]; root mean square of each weight, ∂ of its gradient")
        console.print(f"  epoch accuracy{''.join(f'{name:>18}' for name in _SHOWN)}  4 = 2", highlight=False)

    def show(event: dict[str, Any]) -> None:
        layers = {name: (value, slope) for name, value, slope in event["layers"]}
        cells = "".join(f"{layers[name][0]:>9.4f} ∂{layers[name][1]:.1e}" for name in _SHOWN)
        tied = "yes" if event["tied"] else "NO"
        console.print(f"  {event['epoch']:>5} {event['accuracy']:>8.1%}{cells}  {tied}", highlight=False)
        promises.check(event["tied"], f"{part.backend} keeps the tied layers equal in epoch {event['epoch']}")

    with console.status(f"training with {part.backend}"):
        answer = part.ask("train", on_event=show)
    promises.check(answer["ties"], f"{part.backend}'s ties are there after training")
    promises.check(not part.learns or answer["accuracy"] >= ACCURACY, f"{part.backend} recognizes nine digits of ten")


def _exchange(trained: Sequence[_Part], parts: Sequence[_Part], promises: _Promises) -> Table:
    table = Table()
    table.add_column("")
    for part in parts:
        table.add_column(part.backend, justify="right")
    for source in trained:
        cells = []
        for part in parts:
            with promises.console.status(f"loading {source.backend}'s file into {part.backend}"):
                answer = part.ask("load", source.backend)
            cells.append(f"{answer['difference']:.0e}  {answer['accuracy']:.1%}")
            promises.check(answer["difference"] <= TOLERANCE, f"{part.backend} computes what {source.backend} computed")
        table.add_row(source.backend, *cells)
    return table
