"""The code blocks of a page, and running them: `python tests/pages.py PAGE [FRAMEWORK]`.

A page's blocks run from top to bottom in one namespace and one folder. Where they stand in tabs, multiparam's tab and
that of one framework run beside each other, each in a namespace of its own, and after each step what both have made is
compared.

Blocks: `python` runs; a `text` block right behind it is what it prints, with `...` for anything; in a `console` block
lines behind `$ ` are commands of multiparam's, the others what they print. `python not run: why` says why it does not,
and `python file: path` that it is a part of that file. A `pyproject.toml` is installed, as far as entry points go.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shlex
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
OURS = "multiparam"
# steps after which the two models have random numbers, each its own
RANDOM = ("The model", "Normal weights, biases zero", "Another rule for each layer", "A rule of your own")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: the first word behind the fence.
        rest: what else stands there.
        code: its lines, without the indentation of a list that it is in.
        line: where it begins.
        tab: the framework of the tab that it is in; empty outside of tabs.
        step: the heading above it.
    """

    language: str
    rest: str
    code: str
    line: int
    tab: str
    step: str

    @property
    def why_not(self) -> str:
        """Why it is not run; empty if it is."""
        return self.rest.removeprefix("not run:").strip() if self.rest.startswith("not run:") else ""


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page in their order."""
    tab, step, fence, indent, head, body, begun = "", "", "", 0, "", [], 0
    for number, line in enumerate(text.splitlines(), 1):
        if fence:
            if line.strip() == fence:
                language, _, rest = head.partition(" ")
                yield Block(language, rest.strip(), "\n".join(body) + "\n", begun, tab, step)
                fence = ""
            else:
                body.append(line[indent:] if not line[:indent].strip() else line)
        elif found := re.match(r"( *)(`{3,})(?!\{)(.*)$", line):
            indent, fence, head, body, begun = len(found[1]), found[2], found[3].strip(), [], number
        elif found := re.match(r":sync: (\w+)$", line):
            tab = found[1]
        elif re.match(r":{3,}$", line):
            tab = ""
        elif found := re.match(r"#+ (.*)$", line):
            step = found[1]


def pages() -> list[str]:
    """The pages with blocks that run, by their paths from the repository's root."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md"))]
    return [
        str(path.relative_to(ROOT))
        for path in found
        if "generated" not in path.parts
        and any(one.language in ("python", "console") for one in blocks(path.read_text("utf-8")))
    ]


def frameworks(page: str) -> list[str]:
    """The frameworks that a page has tabs for."""
    return sorted({one.tab for one in blocks((ROOT / page).read_text("utf-8"))} - {"", OURS})


def run(page: str, framework: str = "") -> int:
    """Runs a page's blocks in the current folder; returns how many it ran.

    Args:
        page: its path from the repository's root.
        framework: of a page with tabs, whose tab runs beside multiparam's.
    """
    scopes: dict[str, dict[str, Any]] = {OURS: {"__name__": "page"}, framework: {"__name__": "page"}}
    found = [one for one in blocks((ROOT / page).read_text("utf-8")) if one.tab in ("", OURS, framework)]
    ran, printed, before = 0, "", {}
    for block, after in zip(found, [*found[1:], None], strict=True):
        if block.why_not:
            continue
        if block.rest.startswith("file:"):
            _write(Path(block.rest.removeprefix("file:").strip()), block.code)
            continue
        if block.language == "python":
            printed = _executed(page, block, scopes[block.tab or OURS])
            ran += 1
        elif block.language == "text" and block.rest != "shown":
            _expect(page, block, block.code, printed)
        elif block.language == "console":
            _commands(page, block)
            ran += 1
        if framework and block.tab == framework and (after is None or after.tab != framework):
            _compare(block.step, scopes[OURS], scopes[framework], before)
            before = dict(scopes[framework])
    return ran


def _write(path: Path, code: str) -> None:
    """Adds to a file in the current folder, from which modules are imported."""
    path.parent.mkdir(exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(code)
    if path.name == "pyproject.toml":
        import tomllib

        project = tomllib.loads(code)["project"]
        about = Path(f"{project['name'].replace('-', '_')}-{project['version']}.dist-info")
        about.mkdir()
        (about / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
        lines = [
            line
            for group, entries in project["entry-points"].items()
            for line in (f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()))
        ]
        (about / "entry_points.txt").write_text("\n".join(lines) + "\n")


def _executed(page: str, block: Block, scope: dict[str, Any]) -> str:
    printed = io.StringIO()
    # as many lines above as in the page, so that a traceback names the page's line
    code = compile("\n" * block.line + block.code, page, "exec")
    with contextlib.redirect_stdout(printed):
        exec(code, scope)
    return printed.getvalue()


def _commands(page: str, block: Block) -> None:
    """Runs commands, and compares what they print where the page shows it."""
    for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block.code, re.MULTILINE):
        program, *arguments = shlex.split(command, comments=True)
        assert program == "multiparam", f"{page}:{block.line}: {program} is no command of multiparam's"
        ran = subprocess.run(
            [sys.executable, "-m", "multiparam", *arguments],
            capture_output=True,
            text=True,
            env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "PYTHONPATH": os.pathsep.join(["", *sys.path])},
        )
        assert ran.returncode < 2, f"{page}:{block.line}: {command}\n{ran.stderr}"
        if shown.strip():
            _expect(page, block, shown, ran.stdout)


def _expect(page: str, block: Block, wanted: str, printed: str) -> None:
    plain = "".join(f"{line.rstrip()}\n" for line in printed.rstrip().splitlines())
    if not doctest.OutputChecker().check_output(wanted, plain, doctest.ELLIPSIS):
        raise AssertionError(f"{page}:{block.line} is not what was printed:\n{plain}")


def _compare(step: str, ours: dict[str, Any], native: dict[str, Any], before: dict[str, Any]) -> None:
    """Compares what multiparam's tab and a framework's have made, and gives both models the same numbers again."""
    import numpy as np

    import multiparam as mp

    first, second = mp.state(ours["net"]), mp.state(native["net"])
    assert {name: one.shape for name, one in first.items()} == {name: one.shape for name, one in second.items()}, step
    for name, one in first.items():
        expected, found = one.value, second[name].value
        if step not in RANDOM:
            np.testing.assert_allclose(found, expected, rtol=1e-6, err_msg=f"{step}: {name}")
        elif step != "The model":
            constant = np.ptp(expected) == 0
            assert (found == expected).all() if constant else 0.3 < np.std(found) / np.std(expected) < 3, (step, name)
        second[name].assign(expected)
    if step in RANDOM:
        return
    compared = [name for name in sorted(ours.keys() & native.keys()) if native[name] is not before.get(name)]
    for name in compared:
        if isinstance(ours[name], (bool, float, tuple, list, dict, np.ndarray)):
            _same(f"{step}: {name}", ours[name], native[name])


def _same(what: str, ours: Any, native: Any) -> None:
    import numpy as np

    if isinstance(ours, (list, tuple, dict)):
        assert isinstance(native, type(ours)), what
        assert len(ours) == len(native), what
        keys = ours if isinstance(ours, dict) else range(len(ours))
        for key in keys:
            _same(f"{what} {key}", ours[key], native[key])
    else:
        ours, native = (one.asnumpy() if hasattr(one, "asnumpy") else np.asarray(one) for one in (ours, native))
        np.testing.assert_allclose(native, ours, rtol=1e-5, atol=1e-6, err_msg=what)


def environment(framework: str) -> Mapping[str, str]:
    """The variables that a page runs with."""
    chosen = {"MULTIPARAM_BACKEND": framework} if framework else {}
    return {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow", **chosen}


if __name__ == "__main__":
    sys.path[0] = ""  # the folder that the page's files are written into
    try:
        sys.stdout.write(f"{run(*sys.argv[1:])} blocks\n")
        sys.stdout.flush()
    except Exception:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)  # some frameworks crash while they are taken down
