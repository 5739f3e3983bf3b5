"""Executes the notebooks without a browser: every chapter on every backend, each in a kernel of its own.

`python notebooks/execute.py --backend flax 3_tie` executes one chapter on one backend, in this Python's kernel.
`--python mxnet=PATH` is for a backend in another environment. `--write` keeps torch's run, which is the last, as the
`.ipynb` files.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import jupytext
import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from side_by_side import BACKENDS, COMPLETE, RESULTS

HERE = Path(__file__).parent
CHAPTERS = [path.stem for path in sorted(HERE.glob("[0-9]_*.md"))]
SHOWN = "torch"  # whose run is committed
SECONDS = 6 * 3600  # after which a cell, or a kernel that is to start, is said to hang


def notebook(chapter: str) -> Any:
    """A chapter's text as a notebook that has not been executed, the same each time."""
    read = jupytext.read(HERE / f"{chapter}.md")
    for number, cell in enumerate(read.cells):
        cell["id"] = f"{chapter.replace('_', '-')}-{number}"  # random otherwise
    read.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    return read


def execute(chapter: str, backend: str, python: str, log: IO[str], complete: bool = False) -> Any:
    """A chapter executed on a backend, in a kernel of the given interpreter.

    Args:
        chapter: its file's name without the suffix.
        backend: the backend.
        python: the interpreter's path.
        log: what the kernel's process writes to its standard error gets there.
        complete: every other backend has been run, and all of them are compared.

    Raises:
        CellExecutionError: a cell failed.
    """
    read = notebook(chapter)
    manager = AsyncKernelManager()
    argv = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--HistoryManager.enabled=False"]
    manager._kernel_spec = KernelSpec(argv=argv, display_name=backend, language="python")  # none has to be installed
    environment = {name: value for name, value in os.environ.items() if name != COMPLETE}
    environment |= {"MULTIPARAM_BACKEND": backend, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment |= {COMPLETE: "1"} if complete else {}
    client = NotebookClient(
        read,
        km=manager,
        timeout=SECONDS,
        startup_timeout=SECONDS,
        iopub_timeout=SECONDS,  # or what a busy machine shows late is left out
        record_timing=False,
        coalesce_streams=True,  # or it depends on the time which lines come together
        resources={"metadata": {"path": str(HERE)}},
    )
    client.execute(env=environment, stderr=log)
    read.metadata["language_info"] = nbformat.from_dict({"name": "python"})  # its version is this machine's
    return read


def run(chapter: str, backend: str, python: str, complete: bool, write: bool) -> bool:
    """Executes, says how it went, and keeps what is shown; whether it went well."""
    with tempfile.TemporaryFile("w+") as log:
        try:
            done = execute(chapter, backend, python, log, complete)
        except CellExecutionError as error:
            _say(f"{backend:7} {chapter}: failed\n{_plain(str(error))}")
            return False
        except Exception:  # the kernel died, say; the other chapters are run all the same
            log.seek(0)
            _say(f"{backend:7} {chapter}: failed\n{traceback.format_exc()}\n{log.read()}")
            return False
    cells = [cell for cell in done.cells if cell.cell_type == "code"]
    said = [out.text for cell in cells for out in cell.outputs if out.output_type == "stream" and out.name == "stderr"]
    if write:
        if said:
            _say(f"{backend:7} {chapter}: not written, since there are warnings in it\n{''.join(said)}")
            return False
        nbformat.write(done, HERE / f"{chapter}.ipynb")
    _say(f"{backend:7} {chapter}: {len(cells)} cells")
    return True


def _say(text: str) -> None:
    print(text, flush=True)


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def main() -> int:
    """Parses the command line, and runs what it asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "chapters", nargs="*", metavar="CHAPTER", help=f"of {', '.join(CHAPTERS)}; all if none is named"
    )
    parser.add_argument("--backend", action="append", choices=BACKENDS, help="may be repeated; all if none is named")
    parser.add_argument(
        "--python", action="append", default=[], metavar="[BACKEND=]PATH", help="the interpreter of a backend's kernels"
    )
    parser.add_argument("--jobs", type=int, default=2, help="kernels at a time")
    parser.add_argument("--write", action="store_true", help=f"keep {SHOWN}'s run as the .ipynb files")
    asked = parser.parse_args()
    if unknown := set(asked.chapters) - set(CHAPTERS):
        parser.error(f"no chapter {', '.join(sorted(unknown))}; there are {', '.join(CHAPTERS)}")
    chapters, backends = asked.chapters or CHAPTERS, asked.backend or list(BACKENDS)
    pythons = dict.fromkeys(BACKENDS, sys.executable)
    for given in asked.python:
        backend, _, path = given.rpartition("=")
        # an absolute path that does not follow links: those of an environment lead out of it
        pythons |= dict.fromkeys([backend] if backend else BACKENDS, str(Path.cwd() / path))
    everything = set(backends) == set(BACKENDS)
    if everything:  # or older results would be compared with these
        for chapter in chapters:
            for path in RESULTS.glob(f"*/{chapter}*"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    first = [(chapter, one) for one in backends if one != SHOWN for chapter in chapters]
    last = [(chapter, SHOWN) for chapter in chapters if SHOWN in backends]  # it shows what the others found
    results: list[bool] = []
    with ThreadPoolExecutor(asked.jobs) as pool:
        for jobs in (first, last):
            done = [
                pool.submit(run, chapter, one, pythons[one], everything and jobs is last, asked.write and one == SHOWN)
                for chapter, one in jobs
            ]
            results += [one.result() for one in done]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
