"""The contests: for each operation ours, the framework's own, and the machine's limit, timed in alternation."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import multiparam as mp

from . import limits
from .natives import Action, Natives, Tool
from .rounds import Call, alternate
from .sizes import NORM, Sizes
from .targets import RAW, bound

Row = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """What is measured with: a backend, its framework's own calls, the sizes and a folder for files."""

    backend: str
    own: Natives
    sizes: Sizes
    folder: Path

    @cached_property
    def big(self) -> Any:
        """The model of few large tensors."""
        return self.own.linears(self.sizes.layers, self.sizes.width)

    @cached_property
    def many(self) -> Any:
        """The model of many small tensors."""
        return self.own.norms(self.sizes.more // 2, NORM)

    def rows(self, tables: Mapping[str, str], calls: Mapping[str, Call]) -> Iterator[Row]:
        """Times the calls; one row for each of ours, by table and label, and each other one."""
        pairs = [
            (table, ours, label) for table, ours in tables.items() for label in calls if label not in tables.values()
        ]
        promised = {label for table, *both in pairs if bound(table, self.backend, both[1]) for label in both}
        taken = alternate(calls, self.sizes.rounds, self.sizes.least, promised)
        for table, ours, label in pairs:
            yield {"table": table, "peer": label, "ours": taken[ours], "theirs": taken[label]}

    def waiting(self, model: Any, action: Action) -> Action:
        """The action and the wait for what it began."""

        def run() -> Any:
            result = action()
            self.own.wait(model)
            return result

        return run

    def touching(self, action: Action) -> Action:
        """The action that loads, and a look at all of what it loaded."""

        def run() -> Any:
            tensors = action()
            self.own.touch(tensors)
            return tensors

        return run


def enumeration(bench: Bench) -> Iterator[Row]:
    """`mp.parameters`."""
    fewer = bench.own.norms(bench.sizes.fewer // 2, NORM)
    models = {"fewer": fewer, "more": bench.many, "nested": nested(bench.backend, bench.sizes.blocks)}
    for size, model in models.items():
        calls = {"names": Call(partial(_enumerated, model)), "parameters": Call(partial(_reached, model))}
        calls |= {label: Call(call) for label, call in bench.own.enumerations(model).items()}
        yield from bench.rows({f"enumerate-{size}": "names", f"reach-{size}": "parameters"}, calls)


def nested(backend: str, count: int) -> Any:
    """A model of blocks, of four layers each: six parameters."""
    with mp.use(backend):
        linear, relu, norm = mp.nn.Linear, mp.nn.ReLU, mp.nn.LayerNorm
        blocks = [mp.nn.Sequential(linear(4, 4), relu(), linear(4, 4), norm(4)) for _ in range(count)]
        return mp.nn.Sequential(*blocks)


def initialization(bench: Bench) -> Iterator[Row]:
    """`mp.initialize` with one rule; biases become 0 on both sides."""
    for kind, rule in {"normal": mp.init.Normal(), "uniform": mp.init.Uniform()}.items():
        actions: dict[str, Action] = {
            "ours": partial(mp.initialize, bench.big, rule, seed=0),
            **bench.own.fills(bench.big, kind),
        }
        calls = {label: Call(bench.waiting(bench.big, action)) for label, action in actions.items()}
        yield from bench.rows({kind: "ours"}, calls)


def saving(bench: Bench) -> Iterator[Row]:
    """`mp.save`."""
    data, raw = limits.some(bench.sizes.nbytes), bench.folder / "raw"
    calls = _saves(bench, bench.big)
    calls[RAW] = _writing(raw, lambda: limits.write(raw, data, sync=True))
    calls["raw write"] = _writing(raw, lambda: limits.write(raw, data, sync=False))
    yield from bench.rows({"save": "ours"}, calls)
    raw.unlink()


def loading(bench: Bench) -> Iterator[Row]:
    """`mp.load` into a live model, with digests and without."""
    ours, tools = _saved(bench, bench.big)
    data = limits.some(ours.stat().st_size)
    other = data.copy()
    actions: dict[str, Action] = {
        "unchecked": lambda: mp.load(ours, into=bench.big, check=False),
        "checked": lambda: mp.load(ours, into=bench.big),
    }
    actions |= {tool.label: tool.live for tool in tools if tool.live}
    calls = {label: Call(bench.waiting(bench.big, action)) for label, action in actions.items()}
    calls["raw read"] = Call(lambda: limits.read(ours, data))
    calls["memcpy"] = Call(lambda: limits.copy(data, other))
    yield from bench.rows({"live-unchecked": "unchecked", "live-checked": "checked"}, calls)


def fresh(bench: Bench) -> Iterator[Row]:
    """`mp.load` of new native tensors."""
    ours, tools = _saved(bench, bench.big)
    actions: dict[str, Action] = {
        "unchecked": lambda: mp.load(ours, backend=bench.backend, check=False),
        "checked": lambda: mp.load(ours, backend=bench.backend),
    }
    actions |= {tool.label: tool.fresh for tool in tools if tool.fresh}
    calls = {label: Call(bench.touching(action)) for label, action in actions.items()}
    calls["raw read"] = Call(lambda: limits.read_anew(ours))
    yield from bench.rows({"fresh-unchecked": "unchecked", "fresh-checked": "checked"}, calls)


def listing(bench: Bench) -> Iterator[Row]:
    """`mp.open` and the names and shapes of what is in the file."""
    if not any(tool.listing for tool in _tools(bench, bench.big)[1]):
        return
    for table, model in {"list-big": bench.big, "list-many": bench.many}.items():
        ours, tools = _saved(bench, model)
        calls = {"ours": Call(partial(_listed, ours))}
        calls |= {tool.label: Call(tool.listing) for tool in tools if tool.listing}
        yield from bench.rows({table: "ours"}, calls)


def small(bench: Bench) -> Iterator[Row]:
    """Saving and loading many small tensors."""
    yield from bench.rows({"small-save": "ours"}, _saves(bench, bench.many))
    ours, tools = _saved(bench, bench.many)
    actions: dict[str, Action] = {"ours": lambda: mp.load(ours, into=bench.many)}
    actions |= {tool.label: tool.live for tool in tools if tool.live}
    calls = {label: Call(bench.waiting(bench.many, action)) for label, action in actions.items()}
    yield from bench.rows({"small-live": "ours"}, calls)


OPERATIONS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "enumerate": enumeration,
    "initialize": initialization,
    "save": saving,
    "load": loading,
    "fresh": fresh,
    "list": listing,
    "small": small,
}


def _enumerated(model: Any) -> list[str]:
    return list(mp.parameters(model))


def _reached(model: Any) -> dict[str, Any]:
    return dict(mp.parameters(model).items())


def _listed(path: Path) -> dict[str, Any]:
    return {name: one.shape for name, one in mp.open(path).items()}


def _tools(bench: Bench, model: Any) -> tuple[Path, list[Tool]]:
    """Our file of a model, and the framework's own ways."""
    folder = bench.folder / ("big" if model is vars(bench).get("big") else "many")
    folder.mkdir(exist_ok=True)
    return folder / "ours.safetensors", bench.own.tools(model, folder)


def _saves(bench: Bench, model: Any) -> dict[str, Call]:
    ours, tools = _tools(bench, model)
    calls = {"ours": _writing(ours, lambda: mp.save(model, ours))}
    return calls | {tool.label: _writing(tool.path, tool.save) for tool in tools if tool.save}


def _saved(bench: Bench, model: Any) -> tuple[Path, list[Tool]]:
    """The same, with the files there."""
    ours, tools = _tools(bench, model)
    if not ours.exists():
        mp.save(model, ours)
    for tool in tools:
        if tool.save and not tool.path.exists():
            tool.save()
            _settle(tool.path)
    return ours, tools


def _writing(path: Path, action: Action) -> Call:
    """A save of a new file, after which the disk is at rest: nobody waits for what another one wrote."""
    return Call(action, before=lambda: _remove(path), after=lambda: _settle(path))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _settle(path: Path) -> None:
    for one in [path, *path.rglob("*")]:
        if one.is_file():
            with one.open("rb") as file:
                os.fsync(file.fileno())
