"""The command line."""

from __future__ import annotations

import json
import math
import os
import shlex
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np

from ..adapter.plugin import Capability
from ..adapter.registry import backends as known_backends
from ..adapter.registry import plugins
from ..arrays.dtypes import is_float
from ..checkpoint.checkpoint import Checkpoint
from ..checkpoint.checkpoint import open as open_checkpoint
from ..checkpoint.safetensors import DTYPES
from ..checkpoint.shards import files_of, has_index, index_of, parsed_size
from ..errors import ArgumentError, CheckpointError, MultiparamError
from ..formats.disk import opened
from ..names.pattern import chosen
from ..text import counted, printable
from ..verbs.diff import DiffReport
from ..verbs.diff import diff as difference_of
from ..verbs.save import save
from .show import as_json, matching, statistics, tree

__all__ = ["cli", "main"]

NO, WRONG, INTERRUPTED, PIPE_CLOSED = 1, 2, 130, 141
PATIENCE = 0.5  # seconds before a progress bar is shown

FLOATS = (
    *("bf16", "fp16", "fp32", "fp64", "fp8_e4m3", "fp8_e5m2"),
    *(str(dtype) for dtype in DTYPES.values() if is_float(dtype)),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: what follows the program's name; None for what this process was called with.

    Returns:
        Its exit code: 0 well, 1 a promise not kept, files that differ or are damaged, 2 wrong usage or a file that
        cannot be read, 130 interrupted, 141 nobody read on.
    """
    code: int = cli.main(arguments, "multiparam", standalone_mode=False)
    return code


class _Wrong(click.ClickException):
    """What a command says when it cannot do what was asked."""

    exit_code = WRONG


class _No(click.ClickException):
    """What a command says when the answer is no."""

    exit_code = NO


_HELP = ["-h", "--help"]


class _Command(click.Command):
    """A command whose errors end the program with an exit code and no traceback."""

    fails: type[click.ClickException] = _Wrong

    def get_help_option_names(self, ctx: click.Context) -> list[str]:
        """How help is asked for; told here, since click keeps what it was the first time, whoever asked."""
        return _HELP

    def invoke(self, ctx: click.Context) -> Any:
        """Runs it."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except (MultiparamError, OSError) as error:
            raise self.fails(str(error)) from error


class _Told(_No):
    """The same in as many lines as it takes: a backend of another process may have failed with a traceback."""


class _Trial(_Command):
    """A command for which an error is a no."""

    fails = _Told


class _Program(click.Group):
    """The commands, with one way to end for all of them, also where a test calls them."""

    command_class = _Command

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a command, and ends well where nobody reads on what it prints."""
        try:
            code = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # what is still in the buffer would fail again when the interpreter ends
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), sys.stdout.fileno())
            return PIPE_CLOSED
        return code or 0

    def main(self, args: Sequence[str] | None = None, *more: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Runs a command; its errors are lines on stderr, and objects on stdout where that is read by a script."""
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")  # names may have what a terminal has no code for
        run: Any = super().main  # whose overloads are of no use here
        try:
            code = run(args, *more, standalone_mode=False, **extra)
        except click.ClickException as error:
            click.echo(f"multiparam: {_line(error)}", err=True)
            code = error.exit_code
            if "--json" in (sys.argv[1:] if args is None else args):
                _print_json({"error": error.format_message(), "exit_code": code})
        except click.Abort:
            code = INTERRUPTED
        if standalone_mode:
            sys.exit(code)
        return code


def _line(error: click.ClickException) -> str:
    """An error in a line, where it is not to be told whole."""
    if isinstance(error, _Told):
        return error.format_message()
    said = "; ".join(printable(line) for line in error.format_message().splitlines())
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f"{said} ({error.ctx.command_path} --help says what there is)"
    return said


@click.group(
    cls=_Program,
    invoke_without_command=True,
    context_settings={"help_option_names": _HELP},
    epilog="Exit codes: 0 well; 1 no: files differ, a file is damaged, a promise was not kept; 2 wrong usage, or a "
    "file that cannot be read or written; 130 interrupted; 141 nobody read on.",
)
@click.version_option(version("multiparam"), prog_name="multiparam", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """One API for a neural network's parameters."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


# --- files -----------------------------------------------------------------------------------------------------------


def _renames(context: click.Context, option: click.Parameter, given: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in given:
        old, sign, new = one.rpartition("=")
        if not sign:
            raise click.BadParameter(f"{one!r} is not OLD=NEW")
        found[old] = new
    return found


def _byte_count(context: click.Context, option: click.Parameter, given: str | None) -> int | None:
    if given is None:
        return None
    try:
        return parsed_size(given)
    except ArgumentError as error:
        raise click.BadParameter(str(error)) from error


_FILE = click.Path()  # which a shell completes; whether it can be opened is said where it is
_LIKE = "A name as the file has it, or a glob in which * stands for any characters; may be given several times."
_only = click.option("--only", multiple=True, metavar="PATTERN", help=f"The tensors that are taken. {_LIKE}")
_ignore = click.option("--ignore", multiple=True, metavar="PATTERN", help="Tensors that are left out, likewise.")
_json = click.option(
    "--json",
    "for_scripts",
    is_flag=True,
    help="For scripts; the keys are listed above, those of an error are error and exit_code.",
)
_rename = click.option(
    "--rename",
    multiple=True,
    metavar="OLD=NEW",
    callback=_renames,
    help="A regular expression and its replacement, as in multiparam.load; may be given several times. The last = "
    r"divides them: --rename '^module\.=' takes a prefix away.",
)


@cli.command()
@click.argument("file", type=_FILE)
@click.argument("pattern", required=False)
@click.option("--stats", is_flag=True, help="Read the numbers: min, mean, std, max, zeros and NaN of each tensor.")
@click.option("--depth", type=click.IntRange(min=1), metavar="N", help="Fold what lies below the first N levels.")
@_only
@_ignore
@_json
def show(
    file: str,
    pattern: str | None,
    stats: bool,
    depth: int | None,
    only: Sequence[str],
    ignore: Sequence[str],
    for_scripts: bool,
) -> None:
    """Show the layers and tensors of a FILE of any known format.

    PATTERN is a name, or a glob in which * stands for any characters and ? for one. Tied tensors are read and counted
    once. Of complex numbers the statistics are those of their absolute values; mean and std are of the finite ones.

    The keys of --json: file, format, content, tensors (name, shape, dtype, bytes, kind, tied: other names of it,
    original: names in the file where they differ, problem: why it cannot be read; with --stats also stats: min, mean,
    std, max, zeros, nan), layers (settings by layer), total (tensors, parameters, bytes), left_out, notes. Numbers
    that JSON lacks are the strings "NaN", "Infinity" and "-Infinity".

    Exit codes: 0 shown; 2 wrong usage, or the file cannot be read.
    """
    if depth is not None and (for_scripts or stats):
        raise click.UsageError(f"--depth is not allowed with {'--json' if for_scripts else '--stats'}")
    checkpoint = _part(_open(file), only, ignore)
    names = matching(checkpoint, pattern)
    found = None
    if stats:
        entries = {checkpoint[name].name: checkpoint[name] for name in names}
        with _progress("reading", len(entries)) as seen:
            found = {
                name: _after(statistics(entry.value), seen) for name, entry in entries.items() if not entry.refusal
            }
    if for_scripts:
        _print_json(as_json(checkpoint, names, found))
    else:
        click.echo("\n".join(tree(checkpoint, names, _width(), found, depth)))


@cli.command()
@click.argument("a", type=_FILE)
@click.argument("b", type=_FILE)
@_only
@_ignore
@_rename
@_json
def diff(
    a: str, b: str, only: Sequence[str], ignore: Sequence[str], rename: Mapping[str, str], for_scripts: bool
) -> int:
    """Compare two files, A and B, of any known formats.

    --only and --ignore are applied to the names of both, and have to match in one of them; --rename then to A's.

    The keys of --json: equal, same (how many tensors), added, removed (names), reshaped, retyped (name, a, b), changed
    (name, max_difference), uncertain (name, why: of those the ones whose axes may lie in another order), ties (names,
    tied_in: "a" or "b"), settings (layer, setting, a, b), rename (what to pass where a prefix differs). Numbers that
    JSON lacks are the strings "NaN" and "Infinity".

    Exit codes: 0 equal; 1 different; 2 wrong usage, or a file cannot be read.
    """
    first, second = _parts(_open(a), _open(b), only, ignore)
    with _progress("comparing", len(first) + len(second)) as seen:
        report = difference_of(first.watched(seen), second.watched(seen), rename=rename)
    if for_scripts:
        _print_json(_report(report))
    else:
        click.echo(str(replace(report, suggestion={})))
        if report.suggestion:
            options = " ".join(f"--rename {shlex.quote(f'{old}={new}')}" for old, new in report.suggestion.items())
            click.echo(f"a prefix differs: pass {printable(options)}")
    return 0 if report.equal else NO


def _report(report: DiffReport) -> dict[str, Any]:
    return {
        "equal": report.equal,
        "same": report.same,
        "added": report.added,
        "removed": report.removed,
        "reshaped": [{"name": name, "a": list(one), "b": list(two)} for name, one, two in report.reshaped],
        "retyped": [{"name": name, "a": str(one), "b": str(two)} for name, one, two in report.retyped],
        "changed": [{"name": name, "max_difference": most} for name, most in report.changed],
        "uncertain": [{"name": name, "why": why} for name, why in report.uncertain],
        "ties": [{"names": list(names), "tied_in": where} for names, where in report.ties],
        "settings": [
            {"layer": layer, "setting": name, "a": one, "b": two} for layer, name, one, two in report.settings
        ],
        "rename": report.suggestion,
    }


@cli.command()
@click.argument("file", type=_FILE)
@_json
def verify(file: str, for_scripts: bool) -> int:
    """Read every tensor of a FILE and compare it with its digest.

    The keys of --json: file (of a sharded checkpoint that is damaged, the file that is), sound, compared (how many
    tensors), without_digests (how many were read and have none; both are null where it is damaged), problem.

    Exit codes: 0 sound; 1 damaged, or of no known format; 2 wrong usage, or the file cannot be opened.
    """
    place = open_checkpoint(file).path if os.path.isdir(file) else index_of(Path(file)) or Path(file)
    with opened(place):
        pass
    try:
        checkpoint = _open(file)
        with _progress("verifying", len(checkpoint)) as seen:
            agree, without = checkpoint.verify(progress=seen)
    except CheckpointError as error:
        if not for_scripts:
            raise _No(str(error)) from error
        unknown = dict.fromkeys(("compared", "without_digests"))
        _print_json({"file": str(error.path), "sound": False, **unknown, "problem": error.why})
        return NO
    if for_scripts:
        _print_json({"file": file, "sound": True, "compared": agree, "without_digests": without, "problem": ""})
        return 0
    said = [f"{counted(agree, 'tensor')} as their digests say"] if agree or not without else []
    said += [f"{counted(without, 'tensor')} read, without digests to compare with"] if without else []
    click.echo(f"{printable(file)}: sound: {', '.join(said)}")
    return 0


@cli.command()
@click.argument("source", metavar="IN", type=_FILE)
@click.argument("target", metavar="OUT", type=_FILE)
@click.option(
    "--dtype",
    type=click.Choice(FLOATS),
    metavar="DTYPE",
    help=f"What real numbers are converted to: {', '.join(FLOATS)}.",
)
@click.option("--shard-size", metavar="SIZE", callback=_byte_count, help="Begin another file at this size: 2GB, 500MB.")
@_only
@_ignore
@_rename
@click.option("--force", is_flag=True, help="Replace OUT if it is there.")
@_json
def convert(
    source: str,
    target: str,
    dtype: str | None,
    shard_size: int | None,
    only: Sequence[str],
    ignore: Sequence[str],
    rename: Mapping[str, str],
    force: bool,
    for_scripts: bool,
) -> None:
    """Convert IN, a file of any known format, into OUT in safetensors, whatever OUT is called.

    Names and layouts become PyTorch's where the file tells what its layers are; ties, kinds and settings are kept. One
    tensor is in memory at a time, and OUT is written whole or not at all.

    The keys of --json: source, format (of IN), files (that were written; an index is the first), tensors (how many),
    bytes (of their numbers), left_out (what IN has beside tensors, by name), ignored (what --only and --ignore left
    out).

    Exit codes: 0 converted; 2 wrong usage, IN cannot be read, OUT is there already or cannot be written, or a number
    does not fit into the dtype.
    """
    whole = _open(source)
    checkpoint = _part(whole, only, ignore)
    ignored = [name for name in whole if name not in checkpoint]
    there = os.path.lexists(target) or has_index(Path(target))
    if there and not force and not os.path.isdir(target):  # which no force would replace
        raise _Wrong(f"{target} is there already: --force replaces it")
    checkpoint = checkpoint.renamed(rename) if rename else checkpoint
    with _progress("converting", len(checkpoint)) as seen:
        save(
            checkpoint.watched(seen),
            target,
            dtype=dtype,
            shard_size=shard_size,
        )
    if for_scripts:
        written = open_checkpoint(target)
        _print_json(
            {
                "source": source,
                "format": checkpoint.format,
                "files": [str(one) for one in files_of(Path(target))],
                "tensors": len(written),
                "bytes": sum(entry.size for entry in written.values()),
                "left_out": checkpoint.left_out,
                "ignored": ignored,
            }
        )
        return
    click.echo(f"{printable(str(files_of(Path(target))[0]))}: safetensors, {counted(len(checkpoint), 'tensor')}")
    for name, what in checkpoint.left_out.items():
        click.echo(f"left out: {printable(name)}, {printable(what)}")
    if ignored:
        click.echo(f"left out by --only and --ignore: {counted(len(ignored), 'tensor')}")


def _open(file: str) -> Checkpoint:
    with _progress("opening", None):
        return open_checkpoint(file)


def _part(checkpoint: Checkpoint, only: Sequence[str], ignore: Sequence[str]) -> Checkpoint:
    return checkpoint.part(only or None, ignore or None) if only or ignore else checkpoint


def _parts(a: Checkpoint, b: Checkpoint, only: Sequence[str], ignore: Sequence[str]) -> tuple[Checkpoint, Checkpoint]:
    """The same part of two files."""
    names = {*a.names(), *b.names()}
    kept = chosen(only, names, "tensor") if only else names
    kept = kept - (chosen(ignore, names, "tensor") if ignore else set())
    return (a.holding(kept), b.holding(kept)) if only or ignore else (a, b)


def _width() -> int:
    return max(40, shutil.get_terminal_size().columns)


def _print_json(found: Any) -> None:
    click.echo(json.dumps(_plain(found), indent=2, allow_nan=False))


def _plain(value: Any) -> Any:
    """The same for JSON, which has no numbers for what is none."""
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _after(value: Any, seen: Callable[[], None]) -> Any:
    seen()
    return value


@contextmanager
def _progress(what: str, total: int | None) -> Iterator[Callable[..., None]]:
    """A bar on stderr, if that is a terminal and the work takes long; gives what is called after each tensor.

    Args:
        what: what is done.
        total: how many tensors there are; None where that is not known.
    """
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    bar, done = None, 0

    def begin() -> None:
        nonlocal bar
        from rich.console import Console  # here, since scripts need none of it
        from rich.progress import Progress

        bar = Progress(console=Console(stderr=True), transient=True)
        bar.add_task(what, total=total, completed=done)
        bar.start()

    def seen(*_: Any) -> None:
        nonlocal done
        done += 1
        if bar is not None:
            bar.update(bar.task_ids[0], completed=done)

    timer = threading.Timer(PATIENCE, begin)  # a single tensor may take longer than that
    timer.daemon = True
    timer.start() if PATIENCE else begin()
    try:
        yield seen
    finally:
        timer.cancel()
        if timer.ident is not None:
            timer.join()
        if bar is not None:
            bar.stop()


# --- backends --------------------------------------------------------------------------------------------------------


@cli.command(cls=_Trial)
@click.option("--json", "for_scripts", is_flag=True, help="For scripts.")
@click.option("--markdown", is_flag=True, help="The capability table of the README.")
def backends(for_scripts: bool, markdown: bool) -> None:
    """List the backends: installed or not, version, capabilities."""
    if for_scripts and markdown:
        raise click.UsageError("--markdown is not allowed with --json")
    lines = known_backends()
    if for_scripts:
        click.echo(json.dumps([asdict(line) for line in lines], indent=2))
        return
    if markdown:
        click.echo(_markdown(), nl=False)
        return
    from rich.console import Console  # here, since --json needs none of it
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("backend", "version", "can, beside reading and writing"):
        table.add_column(column)
    for line in lines:
        table.add_row(line.name, line.version or "not installed", line.problem or ", ".join(line.capabilities))
    Console().print(table)


def _markdown() -> str:
    known = plugins()
    declared = [known[line.name] for line in known_backends() if line.name in known]
    lines = [
        ["can", *(plugin.name for plugin in declared)],
        ["---"] * (len(declared) + 1),
        *(
            [str(capability), *("yes" if capability in plugin.capabilities else "no" for plugin in declared)]
            for capability in Capability
        ),
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


@cli.command(cls=_Trial)
@click.option("--backend", help="Only this one, beside the numpy reference.")
@click.option(
    "--python",
    multiple=True,
    metavar="PATH",
    help="The interpreter of another environment, whose backends take part too; may be given several times.",
)
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), help="Write the last table as a picture, too.")
def demo(backend: str | None, python: Sequence[str], svg: Path | None) -> int:
    """Train one model in every framework and exchange the files.

    Exit codes: 0 every promise was kept; 1 one was not, or a backend cannot take part; 2 wrong usage.
    """
    from ..demo import demo as run

    return int(run(backend, list(python), svg=svg))
