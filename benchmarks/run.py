"""Times multiparam beside what users would pick instead; every figure is a ratio within one run.

python benchmarks/run.py                     # every operation, every installed backend
python benchmarks/run.py torch save load     # some of them
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[0] = str(ROOT)  # benchmarks is a package, also when this file is run by its path

from benchmarks.report import judged, lines  # noqa: E402 - found by the path above
from benchmarks.rounds import Call, alternate  # noqa: E402 - found by the path above
from benchmarks.sizes import FULL, QUICK, Sizes  # noqa: E402 - found by the path above

OPERATIONS = ("import", "enumerate", "initialize", "save", "load", "fresh", "list", "small", "memory")
BACKENDS = ("numpy", "torch", "keras", "flax", "paddle", "mxnet")
# the tree that this file is in is measured, whatever is installed
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "backends"), os.environ.get("PYTHONPATH", "")]),
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and reports; 1 if something could not be measured."""
    options = _options(arguments)
    size, sizes = ("quick", QUICK) if options.quick else ("full", FULL)
    operations = [name for name in OPERATIONS if name in options.names] or list(OPERATIONS)
    wanted = [name for name in BACKENDS if name in options.names] or list(BACKENDS)
    pythons = dict(_installed(options.python))
    found = [{"backend": name, "failed": "all of it", "error": "not installed"} for name in {*wanted} - {*pythons}]
    if "import" in operations:
        found += imports(sizes)
    for backend in (name for name in wanted if name in pythons):
        progress(f"{time.strftime('%H:%M:%S')} {backend}")
        found += worker(pythons[backend], backend, size, [name for name in operations if name != "import"])
    rows = judged([one for one in found if "table" in one], sizes)
    failed = [one for one in found if "failed" in one]
    about = {"date": time.strftime("%Y-%m-%d %H:%M"), "commit": commit(), **machine(), "versions": versions(found)}
    _print(about, rows, failed, sizes)
    if options.json:
        result = {**about, "sizes": asdict(sizes), "rows": rows, "failed": failed}
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return 1 if failed else 0


def progress(line: str) -> None:
    """Tells whoever waits."""
    print(line, file=sys.stderr, flush=True)


def versions(found: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Of each package; environments may differ."""
    all_of_them: dict[str, dict[str, None]] = {}
    for one in found:
        for name, version in one.get("versions", {}).items():
            all_of_them.setdefault(name, {})[version] = None
    return {name: "/".join(several) for name, several in all_of_them.items()}


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(OPERATIONS + BACKENDS)}")
    parser.add_argument("--quick", action="store_true", help="a hundred times smaller, to see that all of it runs")
    parser.add_argument("--python", action="append", default=[], help="an interpreter with further backends")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the results")
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in OPERATIONS + BACKENDS:
            parser.error(f"no backend or operation is called {name!r}")
    return options


def _installed(pythons: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The backends that can be measured, each with its interpreter; the first that has it comes last, and wins."""
    for python in [*reversed(pythons), sys.executable]:
        said = subprocess.run(
            [python, "-m", "multiparam", "backends", "--json"], env=ENVIRONMENT, stdout=subprocess.PIPE, check=True
        )
        yield from ((one["name"], python) for one in json.loads(said.stdout) if one["installed"])


def imports(sizes: Sizes) -> list[dict[str, Any]]:
    """What an import costs, beside numpy's own."""

    def run(name: str) -> Call:
        return Call(lambda: subprocess.run([sys.executable, "-c", f"import {name}"], env=ENVIRONMENT, check=True))

    taken = alternate({name: run(name) for name in ("multiparam", "numpy")}, sizes.rounds, sizes.least)
    ours, theirs = taken["multiparam"], taken["numpy"]
    return [{"table": "import", "backend": "", "peer": "import numpy", "ours": ours, "theirs": theirs}]


def worker(python: str, backend: str, size: str, operations: Sequence[str]) -> Iterator[dict[str, Any]]:
    """What a backend's process says, and how it ended if that was not well."""
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("w+", encoding="utf-8") as log:
        command = [python, "-m", "benchmarks.worker", backend, size, folder, *operations]
        process = subprocess.Popen(
            command, cwd=ROOT, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True
        )
        with process:
            assert process.stdout is not None
            for line in process.stdout:
                answer = {"backend": backend, **json.loads(line)}
                if "done" in answer:
                    progress(f"  {answer['done']}: {answer['seconds']} s")
                yield answer
        if process.returncode:
            log.seek(0)
            yield {"backend": backend, "failed": "its process", "error": log.read()[-2000:]}


def commit() -> str:
    """What is measured, with `-dirty` where that is not all of it; empty outside of version control."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def machine() -> dict[str, str]:
    """Where this runs."""
    info = Path("/proc/cpuinfo")
    models = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    model = models[0].partition(":")[2].strip() if models else platform.processor()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "machine": f"{model}, {os.cpu_count()} cores, {memory:.0f} GB",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}, Python {platform.python_version()}",
    }


def _print(about: dict[str, Any], rows: list[dict[str, Any]], failed: list[dict[str, Any]], sizes: Sizes) -> None:
    print(f"multiparam beside the native tools, {about['date']}{', quick' if sizes is QUICK else ''}")
    print(about["machine"], about["system"], sep="\n")
    if about["commit"]:
        print(f"commit {about['commit']}")
    line = ""
    for name, version in about["versions"].items():
        if len(line) + len(name) + len(version) > 76:
            print(line)
            line = ""
        line += f"{', ' if line else ''}{name} {version}"
    print(line)
    print("ratio = our time / theirs of the same round, median and range: below 1 is faster")
    print(*lines(rows, sizes), sep="\n")
    for one in failed:
        print(f"not measured: {one['backend']}, {one['failed']}: {one['error']}")


if __name__ == "__main__":
    sys.exit(main())
