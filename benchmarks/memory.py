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


class UnwatchedError(Exception):
    """A probe ended before it was ready; the message is what it printed."""


def memory(bench: Bench) -> Iterator[dict[str, Any]]:
    """Saving and loading: what the process has at most above what it had before."""
    folder = bench.folder / "memory"
    folder.mkdir()
    tools = bench.own.tools(bench.own.linears(1, 1), folder)
    savers = ["multiparam", *(tool.label for tool in tools if tool.save)]
    loaders = ["multiparam", *(tool.label for tool in tools if tool.live)]
    for verb, labels in {"save": savers, "live": loaders}.items():  # what was saved is loaded then
        for label in labels:
            try:
                yield {"table": f"memory-{verb}", "peer": label, **watched(bench, folder, verb, label)}
            except UnwatchedError as error:
                yield {"failed": f"memory-{verb}, {label}", "error": str(error)}


def watched(bench: Bench, folder: Path, verb: str, label: str) -> dict[str, float]:
    """Runs the probe, and looks at its memory from when it is ready until it answers."""
    sizes = bench.sizes
    command = [bench.backend, str(sizes.measured), str(sizes.width), str(folder), verb, label]
    command = [sys.executable, "-m", "benchmarks.probe", *command]
    log = folder / "log"
    with (
        log.open("w") as errors,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        assert process.stdin
        assert process.stdout
        if process.stdout.readline() != "ready\n":
            process.wait()
            raise UnwatchedError(log.read_text("utf-8")[-1000:])
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
