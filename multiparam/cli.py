"""The command line."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from .errors import MultiparamError
from .plugin import Capability
from .registry import backends, plugins

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code: 0 well, 1 a promise not kept or an error, 2 wrong usage."""
    chosen = _parser().parse_args(arguments)
    try:
        return int(chosen.run(chosen))
    except MultiparamError as error:
        sys.stderr.write(f"multiparam: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="multiparam", description="One API for a neural network's parameters.")
    commands = parser.add_subparsers(required=True, metavar="command")
    listing = commands.add_parser("backends", help="list the backends: installed or not, version, capabilities")
    form = listing.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="for scripts")
    form.add_argument("--markdown", action="store_true", help="the capability table of the README")
    listing.set_defaults(run=_backends)
    showing = commands.add_parser("demo", help="train one model in every framework and exchange the files")
    showing.add_argument("--backend", help="only this one, beside the numpy reference")
    showing.add_argument(
        "--python",
        action="append",
        default=[],
        metavar="PATH",
        help="the interpreter of another environment, whose backends take part too; may be given several times",
    )
    showing.set_defaults(run=_demo)
    return parser


def _backends(chosen: argparse.Namespace) -> int:
    lines = backends()
    if chosen.json:
        sys.stdout.write(json.dumps([asdict(line) for line in lines], indent=2) + "\n")
        return 0
    if chosen.markdown:
        sys.stdout.write(_markdown())
        return 0
    from rich.console import Console  # here, since --json needs none of it
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("backend", "version", "can, beside reading and writing"):
        table.add_column(column)
    for line in lines:
        table.add_row(line.name, line.version or "not installed", line.problem or ", ".join(line.capabilities))
    Console().print(table)
    return 0


def _markdown() -> str:
    known = plugins()
    declared = [known[line.name] for line in backends() if line.name in known]
    lines = [
        ["can", *(plugin.name for plugin in declared)],
        ["---"] * (len(declared) + 1),
        *(
            [str(capability), *("yes" if capability in plugin.capabilities else "no" for plugin in declared)]
            for capability in Capability
        ),
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _demo(chosen: argparse.Namespace) -> int:
    from .demo import demo

    return demo(chosen.backend, chosen.python)
