"""Peak memory: each call in a process of its own, watched from outside."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .operations import Bench

INTERVAL = 0.001  # seconds


def memory(bench: Bench) -> Iterator[dict[str, Any]]:
    """Saving and loading: what the process has at most above what it had before."""
    folder = bench.folder / "memory"
    folder.mkdir()
    tools = bench.own.tools(bench.own.linears(1, 1), folder)
    savers = ["multiparam", *(tool.label for tool in tools if tool.save)]
    loaders = ["multiparam", *(tool.label for tool in tools if tool.live)]
    for verb, labels in {"save": savers, "live": loaders}.items():  # what was saved is loaded then
        for label in labels:
            yield {"table": f"memory-{verb}", "peer": label, **watched(bench, folder, verb, label)}


def watched(bench: Bench, folder: Path, verb: str, label: str) -> dict[str, float]:
    """Runs the probe, and looks at its memory from when it is ready until it answers."""
    sizes = bench.sizes
    command = [bench.backend, str(sizes.measured), str(sizes.width), str(folder), verb, label]
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.probe", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        if process.stdout.readline() != "ready\n":
            raise RuntimeError(f"{label} cannot {verb}: see the log")
        before = peak = own(process.pid)
        process.stdin.write("go\n")
        process.stdin.flush()
        while not select.select([process.stdout], [], [], INTERVAL)[0]:
            peak = max(peak, own(process.pid))
        resident = json.loads(process.stdout.readline())
    return {"anonymous": (peak - before) / 1e6, "resident": resident / 1e6}


def own(pid: int) -> int:
    """Bytes that are resident and no file's."""
    found = status(pid)
    return found["RssAnon"] + found["RssShmem"]


def status(pid: int | str) -> dict[str, int]:
    """The sizes in a process's status, in bytes."""
    lines = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if words[-1] == "kB"}
