"""A backend's own process: prints a line of JSON for its versions, each row, and what could not be measured."""

from __future__ import annotations

import json
import sys
import time
import traceback
from importlib import metadata
from pathlib import Path
from typing import Any

from .memory import memory
from .natives import natives
from .operations import OPERATIONS, Bench
from .sizes import FULL, QUICK


def say(**line: Any) -> None:
    """Tells the driver."""
    print(json.dumps(line), file=sys.__stdout__, flush=True)


def main(backend: str, size: str, folder: str, *operations: str) -> None:
    """Runs the operations."""
    own = natives(backend)
    say(versions={name: metadata.version(name) for name in (*own.distributions, "numpy")})
    bench = Bench(backend, own, {"full": FULL, "quick": QUICK}[size], Path(folder))
    for name in operations:
        start = time.monotonic()
        try:
            for row in {**OPERATIONS, "memory": memory}[name](bench):
                say(**row, backend=backend)
        except Exception as error:
            traceback.print_exc()
            say(failed=name, error=f"{type(error).__name__}: {error}"[:300])
        say(done=name, seconds=round(time.monotonic() - start))


if __name__ == "__main__":
    sys.stdout = sys.stderr  # frameworks that print do not disturb the answers
    main(*sys.argv[1:])
