"""What the notebooks are written with: native cells beside a neutral one, results of one run beside another's.

`%load_ext side_by_side` brings two cell magics. A notebook runs on one backend at a time, the active one.

`%%native torch == bias` runs its cell if the active backend is torch, and then demands that the value of its last line
equals the neutral `bias`, to the bit. `~=` in place of `==` allows differences of 1e-5. The value is shown if it is
short. Without either sign the cell is only run, for a definition. A cell of another backend is left out without a word,
so that five can stand below each other.

`%%where gradients` runs its cell if the active backend can compute gradients (any capability of `mp.backends()`, or
any layer of `mp.nn`). If it cannot, the cell is run all the same, and has to be refused with an `UnsupportedError`,
which is then printed.
"""

from __future__ import annotations

import ast
import linecache
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, magics_class, no_var_expand
from IPython.lib.pretty import pretty

import multiparam as mp
from multiparam.adapter.registry import active, adapter

BACKENDS = ("numpy", "torch", "keras", "flax", "paddle", "mxnet")
RESULTS = Path(__file__).parent / "results"
# set by execute.py in the last run of all, when there is a result of every backend
COMPLETE = "MULTIPARAM_NOTEBOOKS_COMPLETE"
RTOL, ATOL = 1e-5, 1e-6
LINES = 10  # that a native value may take to be shown

# one colour and one line style for each backend, in every plot; Okabe and Ito's palette, which colour-blind people can
# tell apart
COLOURS = dict(zip(BACKENDS, ("#000000", "#D55E00", "#CC79A7", "#009E73", "#0072B2", "#E69F00"), strict=True))
DASHES = dict(zip(BACKENDS, ("-", "-", (0, (2, 1)), (0, (1, 1.5)), (0, (1, 3)), "-"), strict=True))
NAMES = dict(zip(BACKENDS, ("numpy", "PyTorch", "Keras", "Flax", "Paddle", "MXNet"), strict=True))


def can(capability: str, backend: str | None = None) -> bool:
    """Whether a backend, the active one if none is named, declares a capability, or can build a layer of `mp.nn`."""
    name = active() if backend is None else backend
    if capability[:1].isupper() and hasattr(mp.nn, capability):
        return adapter(name).table.builder(capability) is not None
    declared = {info.name: info.capabilities for info in mp.backends()}
    if not any(capability in one for one in declared.values()):
        known = sorted({one for each in declared.values() for one in each})
        raise ValueError(f"no backend has the capability {capability!r}; there are {', '.join(known)}")
    return capability in declared[name]


class DisagreementError(AssertionError):
    """What a native cell found is not what the neutral one did."""


def same(found: Any, expected: Any, close: bool = False) -> bool:
    """Whether two values agree: arrays by shape, dtype and bits, containers by what is in them, the rest by `==`.

    Args:
        found: a numpy array, a number, a string, or a list, tuple or dict of such values.
        expected: another.
        close: numbers may differ by 1e-5 of their size, and by 1e-6.
    """
    if isinstance(expected, np.ndarray) or isinstance(found, np.ndarray):
        if not (isinstance(expected, np.ndarray) and isinstance(found, np.ndarray)) or found.shape != expected.shape:
            return False
        if close:
            return bool(np.allclose(found, expected, RTOL, ATOL))
        return found.dtype == expected.dtype and found.tobytes() == expected.tobytes()
    if isinstance(expected, Mapping) or isinstance(found, Mapping):
        if not (isinstance(expected, Mapping) and isinstance(found, Mapping)) or found.keys() != expected.keys():
            return False
        return all(same(found[key], expected[key], close) for key in expected)
    for sequence in (list, tuple):
        if isinstance(expected, sequence) or isinstance(found, sequence):
            if not (isinstance(expected, sequence) and isinstance(found, sequence)) or len(found) != len(expected):
                return False
            return all(same(one, other, close) for one, other in zip(found, expected, strict=True))
    if not isinstance(expected, (bool, int, float, str, np.generic, type(None))):
        raise TypeError(f"cannot compare {type(expected).__name__}: make it an array, a list or a plain value first")
    if close and isinstance(expected, (int, float, np.number)) and isinstance(found, (int, float, np.number)):
        return bool(np.isclose(found, expected, RTOL, ATOL))
    return bool(found == expected) and isinstance(found, (bool, np.bool_)) == isinstance(expected, (bool, np.bool_))


@magics_class
class SideBySide(Magics):
    """The two magics."""

    @no_var_expand
    @cell_magic
    def native(self, line: str, cell: str) -> None:
        """Runs a cell of the active backend, and compares its last value with a neutral one."""
        backend, sign, neutral = _parsed(line)
        if backend != active():
            return
        value = self._run(cell, f"<{backend}>")
        if not sign:
            return
        expected = eval(compile(neutral, "<neutral>", "eval"), self.shell.user_ns)
        if not same(value, expected, sign == "~="):
            raise DisagreementError(
                f"the {backend} cell gives\n{_shown(value)}\nand the neutral {neutral} is\n{_shown(expected)}"
            )
        if pretty(value).count("\n") < LINES:
            self.shell.displayhook(value)
        how = "agrees to 1e-5 with" if sign == "~=" else "equals"
        print(f"{NAMES[backend]}: {how} the neutral {neutral}")

    @no_var_expand
    @cell_magic
    def where(self, line: str, cell: str) -> None:
        """Runs a cell that needs a capability, or sees to it that the backend refuses it."""
        capability = line.strip()
        if can(capability):
            self._run(cell, f"<where {capability}>", show=True)
            return
        try:
            self._run(cell, f"<where {capability}>")
        except mp.UnsupportedError as error:
            print(f"UnsupportedError: {error}")
        else:
            raise DisagreementError(f"{active()} has no {capability}, and the cell was not refused")

    def _run(self, cell: str, name: str, show: bool = False) -> Any:
        """Runs a cell in the notebook's namespace; the value of its last line, if that is an expression."""
        linecache.cache[name] = (len(cell), None, cell.splitlines(keepends=True), name)  # for tracebacks
        body = ast.parse(cell, name)
        last = body.body.pop() if body.body and isinstance(body.body[-1], ast.Expr) else None
        exec(compile(body, name, "exec"), self.shell.user_ns)
        if last is None:
            return None
        value = eval(compile(ast.Expression(last.value), name, "eval"), self.shell.user_ns)
        if show:
            self.shell.displayhook(value)
        return value


def _parsed(line: str) -> tuple[str, str, str]:
    """Backend, sign and neutral expression of a `%%native` line."""
    found = re.fullmatch(r"\s*(\w+)\s*(?:(==|~=)\s*(\S.*?))?\s*", line)
    if not found or found[1] not in BACKENDS:
        raise UsageError(f"%%native BACKEND, or BACKEND == NEUTRAL, or BACKEND ~= NEUTRAL; not {line!r}")
    return found[1], found[2] or "", found[3] or ""


def _shown(value: Any) -> str:
    about = f" of shape {value.shape}, {value.dtype}" if isinstance(value, np.ndarray) else ""
    return f"{value!r} ({type(value).__name__}{about})"


def refused(error: type[Exception], call: Any, *arguments: Any, **options: Any) -> None:
    """Makes a call that has to fail, and prints what it says."""
    try:
        call(*arguments, **options)
    except error as raised:
        print(f"{type(raised).__name__}: {raised}")
    else:
        raise DisagreementError(f"no {error.__name__} was raised")


def folder(chapter: str, backend: str | None = None) -> Path:
    """Where a chapter keeps the files of a backend, the active one if none is named."""
    path = RESULTS / (active() if backend is None else backend) / chapter
    path.mkdir(parents=True, exist_ok=True)
    return Path(os.path.relpath(path))


def record(chapter: str, **arrays: Any) -> None:
    """Keeps this run's results, for the runs of other backends to be compared with."""
    path = RESULTS / active() / f"{chapter}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{name: np.asarray(one) for name, one in arrays.items()})


def recorded(chapter: str, capability: str = "build") -> dict[str, dict[str, Any]]:
    """The results of all backends that have been run, and can do something, by backend.

    Raises:
        DisagreementError: one is missing in a run that is said to be the last of all.
    """
    wanted = [name for name in BACKENDS if can(capability, name)]
    found = {}
    for name in wanted:
        path = RESULTS / name / f"{chapter}.npz"
        if path.exists():
            with np.load(path) as file:
                found[name] = dict(file)
    missing = [name for name in wanted if name not in found]
    if missing and os.environ.get(COMPLETE):
        raise DisagreementError(f"no results of {', '.join(missing)}")
    if missing:
        print(f"not run yet, and so not compared: {', '.join(missing)}")
    return found


def same_everywhere(results: Mapping[str, Mapping[str, Any]], name: str) -> None:
    """Demands that all runs have the same bits under a name, and says which were compared."""
    if not results:
        print(f"{name}: nothing to compare")
        return
    first = next(iter(results))
    for backend, arrays in results.items():
        if not same(arrays[name], results[first][name]):
            _differ(name, backend, first)
    print(f"{name}: the same bits in {', '.join(NAMES[one] for one in results)}")


def close_everywhere(results: Mapping[str, Mapping[str, Any]], name: str, tolerance: float = 1e-5) -> None:
    """Demands that all runs have the same numbers under a name up to a tolerance; prints the largest difference."""
    if not results:
        print(f"{name}: nothing to compare")
        return
    first = next(iter(results))
    most = 0.0
    for backend, arrays in results.items():
        if arrays[name].shape != results[first][name].shape:
            _differ(name, backend, first)
        difference = float(np.abs(arrays[name] - results[first][name]).max())
        if not difference <= tolerance * max(1.0, float(np.abs(results[first][name]).max())):
            _differ(name, backend, first, difference)
        most = max(most, difference)
    compared = ", ".join(NAMES[one] for one in results)
    print(f"{name}: the largest difference from {NAMES[first]} is {most:.1e}, among {compared}")


def _differ(name: str, backend: str, first: str, difference: float | None = None) -> NoReturn:
    by = "" if difference is None else f" by {difference:.2g}"
    raise DisagreementError(f"{name} of {backend} and of {first} differ{by}")


def load_ipython_extension(shell: Any) -> None:
    """What `%load_ext` calls."""
    shell.register_magics(SideBySide)
