"""Writes the parts of pages that come from the code, into docs/generated: `make docs` runs it before Sphinx.

python docs/generate.py                      # what this environment's frameworks say
python docs/generate.py --python INTERPRETER # and those of another environment
"""

from __future__ import annotations

import argparse
import inspect
import itertools
import json
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

import multiparam as mp
from multiparam.adapter.registry import plugins
from multiparam.cli import cli
from multiparam.init.recipes import RECIPES
from multiparam.plugin import Capability
from multiparam.testing.parity import CASES

ROOT = Path(__file__).parents[1]
INTO = ROOT / "docs" / "generated"
RECORD = ROOT / "docs" / "benchmarks.json"
ORDER = ("torch", "keras", "flax", "linen", "paddle", "mxnet")
BESIDE = ("mxnet", "torch", "paddle")  # what shares MXNet's environment

sys.path.insert(0, str(ROOT))

from benchmarks.report import NOTES, judged, milliseconds, number, ratios, titles  # noqa: E402 - found by the path above
from benchmarks.sizes import Sizes  # noqa: E402 - found by the path above


def main() -> int:
    """Writes all parts; 1 if what one of them says is wrong with the code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", help="the interpreter of MXNet's environment")
    other = parser.parse_args().python
    INTO.mkdir(exist_ok=True)
    # each takes a minute or two: beside each other
    kit = {
        "parity": _started(sys.executable, "parity_table", "--markdown"),
        "layers": _started(sys.executable, "layer_docs"),
    }
    if other:
        kit |= {
            "parity-mxnet": _started(other, "parity_table", "--markdown", *BESIDE),
            "layers-mxnet": _started(other, "layer_docs", "mxnet"),
        }
    write("notebooks", notebooks())
    write("capabilities", capabilities())
    write("commands", commands())
    write("defaults", defaults())
    write("benchmarks", benchmarks(RECORD))
    failed = []
    said = {}
    for name, process in kit.items():
        said[name], errors = process.communicate()
        if process.returncode:
            failed.append(name)
            sys.stderr.write(f"{name}: exit code {process.returncode}\n{errors[-3000:]}\n")
    write("parity", parity(said))
    write("layers", [layers(said["layers"], said.get("layers-mxnet", ""))])
    return 1 if failed else 0


def write(name: str, lines: Iterable[str]) -> None:
    """Writes a part, if it is another than before: Sphinx reads again what is newer."""
    path, text = INTO / f"{name}.md", "\n".join(lines).rstrip() + "\n"
    if not path.exists() or path.read_text("utf-8") != text:
        path.write_text(text, "utf-8")


def _started(python: str, module: str, *arguments: str) -> subprocess.Popen[str]:
    command = [python, "-m", f"multiparam.testing.{module}", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


# --- what backends can -----------------------------------------------------------------------------------------------


def capabilities() -> Iterator[str]:
    """What each backend can, in which version, and why it cannot do the rest."""
    known, infos = plugins(), {one.name: one for one in mp.backends()}
    names = [name for name in infos if name in known]
    yield from _table(
        ["can", *names],
        ([str(one), *("yes" if one in known[name].capabilities else "no" for name in names)] for one in Capability),
    )
    yield ""
    for name in names:
        for capability, why in known[name].reasons.items():
            yield f"- **{name}**, {capability}: {why}."


# --- the command line ------------------------------------------------------------------------------------------------


def commands() -> Iterator[str]:
    """The help of each command, as the program prints it."""
    with click.Context(cli, info_name="multiparam", terminal_width=84, max_content_width=84) as context:
        yield from _help(cli, context)
        for name in cli.list_commands(context):
            command = cli.get_command(context, name)
            assert command is not None
            yield f"\n## multiparam {name}\n"
            with click.Context(command, context, name, terminal_width=84, max_content_width=84) as inner:
                yield from _help(command, inner)


def _help(command: click.Command, context: click.Context) -> Iterator[str]:
    yield f"```text\n{command.get_help(context)}\n```"


# --- defaults --------------------------------------------------------------------------------------------------------


def defaults() -> Iterator[str]:
    """Which rule each framework's own initialization has for each parameter, asked of the recipes."""
    rules: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for kind, role, found in _rules():
        rules.setdefault(found, {}).setdefault(role, []).append(kind)
    grouped: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for found, roles in rules.items():
        for role, kinds in roles.items():
            grouped.setdefault((_ranks(kinds), found), []).append(f"`{role}`")
    rows = [[kinds, ", ".join(roles), *found] for (kinds, found), roles in grouped.items()]
    yield from _table(["layers", "parameters", *RECIPES], sorted(rows, key=lambda row: row[0] != "Linear"))


def _ranks(kinds: Sequence[str]) -> str:
    """Names of kinds, those of three ranks as one."""
    names = dict.fromkeys(kinds)
    for name in [one[:-2] for one in names if one.endswith("1d")]:
        if {f"{name}2d", f"{name}3d"} <= names.keys():
            names = dict.fromkeys(re.sub(rf"^{name}[123]d$", f"{name}1d to 3d", one) for one in names)
    return ", ".join(names)


def _rules() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    seen = set()
    for case in CASES.values():
        assert case.build is not None
        for parameter in mp.parameters(case.build(backend="torch")).values():
            kind = "depthwise convolution" if "depthwise" in case.name else parameter.kind
            role = re.sub(r"_l\d+(_reverse)?$", "_l0", parameter.role)
            if parameter.name.startswith("out_proj."):  # which PyTorch initializes otherwise than a layer of its own
                kind, role = "MultiheadAttention", parameter.name
            if (kind, role) not in seen:
                seen.add((kind, role))
                yield kind, role, tuple(_rule(recipe(parameter)) for recipe in RECIPES.values())


def _rule(rule: Any) -> str:
    if rule is None:
        return "none"
    said = repr(rule)
    for name in dict.fromkeys(re.findall(r"\b([A-Z]\w+)\(", said)):
        # what every such rule has need not be said of each
        for argument in inspect.signature(getattr(mp.init, name)).parameters.values():
            said = re.sub(rf"(?<=[( ]){argument.name}={re.escape(repr(argument.default))}(, |(?=\)))", "", said)
    said = re.sub(r", \)", ")", re.sub(r"\d+\.\d{4,}", lambda found: f"{float(found[0]):.4g}", said))
    several = said.removeprefix("each block: ").split(", ")
    return f"`each block: {several[0]}`" if len(several) > 1 and len({*several}) == 1 else f"`{said}`"


# --- layers and parity -----------------------------------------------------------------------------------------------


def layers(page: str, beside: str) -> str:
    """The page about layouts, with what another environment's frameworks have."""
    more = {part.partition("\n")[0]: part.partition("\n")[2] for part in beside.split("\n## ")[1:]}
    head, *parts = page.split("\n## ")
    found = [head.partition("\n")[2].strip()]
    for part in parts:
        name, _, text = part.partition("\n")
        whole = re.split(r"^(?=\*\*\w+\*\*:)", f"{text}\n{more.get(name, '')}", flags=re.MULTILINE)[1:]
        whole.sort(key=lambda one: ORDER.index(one[2:].partition("*")[0]))
        found.append("\n\n".join([name, *(one.strip() for one in whole)]))
    return "\n\n## ".join(found)


def parity(said: Mapping[str, str]) -> Iterator[str]:
    """The tables of both environments."""
    yield from ("::::{div} wide\n", said["parity"].rstrip(), "\n::::\n")
    if "parity-mxnet" in said:
        yield from ("## With MXNet\n", f"In an environment of their own: {', '.join(BESIDE)}.\n")
        yield from ("::::{div} wide\n", said["parity-mxnet"].rstrip(), "\n::::")


# --- notebooks -------------------------------------------------------------------------------------------------------


def notebooks() -> Iterator[str]:
    """A list of the notebooks, copied to where Sphinx finds them without the text that each is paired with."""
    folder = INTO / "notebooks"
    shutil.rmtree(folder, ignore_errors=True)
    found = sorted((ROOT / "notebooks").glob("*.ipynb"))
    if not found:
        yield "There are none in this copy."
        return
    folder.mkdir()
    yield "```{toctree}\n:maxdepth: 1\n"
    for path in found:
        shutil.copy2(path, folder)
        yield f"generated/notebooks/{path.stem}"
    yield "```"


# --- benchmarks ------------------------------------------------------------------------------------------------------


def benchmarks(path: Path) -> Iterator[str]:
    """The tables of a record that `benchmarks/run.py --json` wrote."""
    if not path.exists():
        yield "No run is recorded in this copy: `make bench RECORD=docs/benchmarks.json` makes one."
        return
    record = json.loads(path.read_text("utf-8"))
    if record["failed"]:
        raise SystemExit(f"{path.name} is not complete: {record['failed'][0]}")
    sizes = Sizes(**record["sizes"])
    yield f"Measured on {record['date']}{', at commit ' + record['commit'] if record.get('commit') else ''}, on "
    yield f"{record['machine']}; {record['system']}. "
    yield f"Versions: {', '.join(f'{name} {version}' for name, version in record['versions'].items())}.\n"
    rows = judged(record["rows"], sizes)
    promised = [row for row in rows if row["target"]]
    yield f"Of {len(promised)} targets {sum(row['met'] for row in promised)} were met.\n"
    for table, title in titles(sizes).items():
        own = [row for row in rows if row["table"] == table]
        if own:
            name, _, call = title.partition(": ")
            yield f"\n## {name}\n"
            yield f"With `{call}`.\n" if call.startswith("mp.") else f"{call}.\n" if call else ""
            yield from _peaks(own) if "anonymous" in own[0] else _times(own)
            yield f"\n{NOTES[table]}" if table in NOTES else ""


def _times(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    def cells(row: Mapping[str, Any]) -> list[str]:
        least, _, most = (number(one) for one in row["ratio"])
        middle = number(statistics.median(ratios(dict(row))))
        return [
            row["backend"],
            _text(row["peer"]),
            milliseconds(row["ours"]),
            milliseconds(row["theirs"]),
            f"{middle} ({least} to {most})" if len(ratios(dict(row))) > 1 else f"{middle} (1 round)",
            _target(row, number(row["target"]) if row["target"] else ""),
        ]

    yield from _table(
        ["framework", "beside", "ours, ms", "theirs, ms", "ratio", "target"], map(cells, rows), right=(2, 3, 4)
    )


def _peaks(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield from _table(
        ["framework", "with", "anonymous, MB", "resident, MB", "target"],
        (
            [
                row["backend"],
                _text(row["peer"]),
                f"{row['anonymous']:.1f}",
                f"{row['resident']:.1f}",
                _target(row, f"{row['target'] or 0:.0f}"),
            ]
            for row in rows
        ),
        right=(2, 3),
    )


def _target(row: Mapping[str, Any], shown: str) -> str:
    return f"≤ {shown}, {'met' if row['met'] else 'not met'}" if row["target"] else ""


def _text(words: str) -> str:
    """Words in which nothing is markup."""
    return re.sub(r"([_*`<|])", r"\\\1", words)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> Iterator[str]:
    """A table of Markdown that scrolls within itself where it is wide."""
    yield "::::{div} wide\n"
    yield f"| {' | '.join(heads)} |"
    yield f"|{'|'.join('---:' if at in right else '---' for at in range(len(heads)))}|"
    yield from (f"| {' | '.join(row)} |" for row in itertools.chain(rows))
    yield "\n::::"


if __name__ == "__main__":
    sys.exit(main())
