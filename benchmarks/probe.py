"""The process whose memory is watched: makes a model, says that it is ready, does one thing when told to."""

from __future__ import annotations

import ctypes
import gc
import sys
import tempfile
from pathlib import Path
from typing import Any

import multiparam as mp

from .memory import status
from .natives import Action, Natives, natives


def main(backend: str, layers: str, width: str, folder: str, verb: str, label: str) -> None:
    """Prints by how many bytes the high-water mark rose above what was resident."""
    own = natives(backend)
    small = own.linears(2, 8)
    with tempfile.TemporaryDirectory() as warm:  # what is made once, code and buffers, is not counted
        for before in dict.fromkeys(("save", verb)):
            action(own, small, Path(warm), before, label)()
    model = own.linears(int(layers), int(width))
    mp.initialize(model, mp.init.Constant(0.5))  # memory that was never written to is not there yet
    own.wait(model)
    run = action(own, model, Path(folder), verb, label)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # or what is freed and kept would be used again, unseen
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins here
    before_it = status("self")["VmRSS"]
    say("ready")
    sys.stdin.readline()
    run()
    own.wait(model)
    say(str(status("self")["VmHWM"] - before_it))


def action(own: Natives, model: Any, folder: Path, verb: str, label: str) -> Action:
    """What is done; saving, for a tool that does not, is done by the one whose file it shares."""
    if label == "multiparam":
        path = folder / "ours.safetensors"
        return (lambda: mp.save(model, path)) if verb == "save" else (lambda: mp.load(path, into=model))
    tools = own.tools(model, folder)
    path = next(tool.path for tool in tools if tool.label == label)
    for tool in sorted((tool for tool in tools if tool.path == path), key=lambda tool: tool.label != label):
        found: Action | None = getattr(tool, verb)
        if found:
            return found
    raise LookupError(label)


def say(line: str) -> None:
    """Tells the one that watches."""
    print(line, file=sys.__stdout__, flush=True)


if __name__ == "__main__":
    sys.stdout = sys.stderr
    main(*sys.argv[1:])
