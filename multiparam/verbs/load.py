"""Loading a file: into a model, which is checked before it is written, or as what was saved."""

from __future__ import annotations

import warnings
from typing import Any, overload

from ..adapter.base import Adapter
from ..adapter.registry import adapter as adapter_of
from ..adapter.registry import infer_model
from ..checkpoint.checkpoint import Checkpoint, FilePath, as_path, grouped
from ..checkpoint.checkpoint import open as open_checkpoint
from ..errors import ArgumentError, UncertainLayoutWarning, UninitializedError
from ..formats.entry import verified
from ..gc_pause import uncollected
from ..matching.pairing import pair
from ..matching.wrapping import wrappers_told
from ..model.tree import Tree
from ..names.pattern import Patterns
from ..names.rename import Rename
from ..text import listed
from .calls import called_as
from .loading.folds import plan_folds
from .loading.layers import compare_layers, hint, suggest
from .loading.plan import Plan, check_fits, plan_extras, plan_left_out, plan_neutral, plan_ties, plan_wrappers
from .loading.report import LoadReport
from .loading.uncertain import uncertain_axes
from .loading.writing import carry_out
from .run import check_numbers, unready

__all__ = ["LoadReport", "load", "load_into"]

_LOADED_AS = "multiparam.load(path, into=net)"
_UNCERTAIN = "it cannot be told in which order these have their axes, and they are loaded as the report says"


@overload
def load(
    path: FilePath,
    *,
    into: None = None,
    only: Patterns | None = None,
    ignore: Patterns | None = None,
    backend: str | None = None,
    check: bool = True,
) -> Any: ...


@overload
def load(
    path: FilePath,
    *,
    into: object,
    strict: bool = True,
    only: Patterns | None = None,
    ignore: Patterns | None = None,
    rename: Rename | None = None,
    match: str = "name",
    check: bool = True,
) -> LoadReport: ...


@called_as(_LOADED_AS)
def load(
    path: FilePath,
    *,
    into: Any = None,
    strict: bool = True,
    only: Patterns | None = None,
    ignore: Patterns | None = None,
    rename: Rename | None = None,
    match: str = "name",
    backend: str | None = None,
    check: bool = True,
) -> Any:
    """Loads a file: into a model, or as the tensor, list or dict that was saved.

    A load into a model first checks every name, shape and dtype, and writes nothing unless all is well. Real numbers
    of another width are converted. What is tied in the file is tied in the model.

    Args:
        path: a file of any format that `multiparam.open` reads.
        into: a native model of any backend; None for tensors of the active one.
        strict: names must be the same; False loads what is in both, and reports the rest.
        only: the part of the file that is loaded, all of which has to fit: a name, a glob (`*` crosses dots), a
            compiled regular expression that must match a whole name, or a list of them. They are the file's names, as
            `multiparam.open` shows them; a prefix stays, and `rename=` takes it away.
        ignore: what of that is not loaded, likewise: an optimizer's state, say.
        rename: regular expressions and their replacements, applied to the file's names in turn; or a function of one.
        match: `"name"`, or `"auto"`: layers whose names differ are paired by the roles and shapes of what they hold;
            several alike, whose names differ by a number only, in its order. The report lists the pairs. Whether
            outputs agree is for `multiparam.verify` to say.
        backend: for tensors, whose they should be; None is the active backend.
        check: compare the tensors with their digests, where the file has them, before anything is written.

    Returns:
        For a model a `LoadReport`; else the native tensor, the list or the dict.

    Raises:
        CheckpointError: the file cannot be read or is damaged.
        ParameterNotFoundError: a pattern of `only=` or `ignore=` matches nothing in the file.
        MismatchError: every missing, unexpected, misshaped and mistyped name at once, and what to pass as `rename=`
            where a prefix differs; the model is as it was.
        AmbiguousMatchError: with `match="auto"`, layers could be paired in several ways; the model is as it was.
        UninitializedError: a lazy parameter has no shape yet.

    >>> import multiparam as mp, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "linear.safetensors")
    >>> mp.save(mp.nn.Linear(4, 8), path)
    saved 2 tensors
    >>> print(mp.load(path, into=mp.nn.Linear(4, 8)))
    loaded 2 tensors
    >>> mp.load(path, only="bias")["bias"].shape
    (8,)
    >>> mp.load(path, into=mp.nn.Linear(8, 4))
    Traceback (most recent call last):
    multiparam.errors.MismatchError: ...linear.safetensors does not fit the model; nothing was written
    shape of weight: (4, 8) expected, (8, 4) given
    shape of bias: (4,) expected, (8,) given
    """
    if match not in ("name", "auto"):
        raise ArgumentError(f"match= is 'name' or 'auto', not {match!r}")
    checkpoint = whole = open_checkpoint(as_path(path, _LOADED_AS), check=check)
    if only is not None or ignore is not None:
        checkpoint = whole.part(only, ignore)
    if into is None:
        if rename or not strict or match != "name":
            raise ArgumentError("strict=, rename= and match= are for loading into a model: pass into=net")
        return _as_saved(checkpoint, adapter_of(backend))
    if backend is not None:
        raise ArgumentError("backend= is for loading tensors; a model decides by itself")
    report = load_into(into, checkpoint, strict=strict, rename=rename or {}, auto=match == "auto")
    report.ignored = [name for name in whole if name not in checkpoint]
    return report


def load_into(
    model: Any, checkpoint: Checkpoint, *, strict: bool = True, rename: Rename | None = None, auto: bool = False
) -> LoadReport:
    """Loads an open file into a model: all is planned and checked, and then written.

    Args:
        model: a native model.
        checkpoint: the open file.
        strict: names must be the same.
        rename: regular expressions and their replacements for the file's names, or a function of a name.
        auto: layers whose names differ are paired by what is in them.

    Raises:
        MismatchError: the file does not fit; the model is as it was.
        AmbiguousMatchError: layers could be paired in several ways; the model is as it was.
        UninitializedError: a lazy parameter has no shape yet.
    """
    plan, doubts = _planned(model, checkpoint, strict, rename or {}, auto)
    if doubts:  # said before anything is written, since a warning may be made an error
        warnings.warn(UncertainLayoutWarning(checkpoint.path, [*doubts], _UNCERTAIN), stacklevel=4)
    carry_out(plan)
    return plan.report


@uncollected()
def _planned(
    model: Any, checkpoint: Checkpoint, strict: bool, rename: Rename, auto: bool
) -> tuple[Plan, dict[str, str]]:
    """What a load is going to do to a model, and what of it is uncertain."""
    tree = Tree(infer_model(model), model)
    check_numbers(tree)
    for name in unready(tree):
        raise UninitializedError(
            f"{name!r} has no shape yet: call multiparam.materialize(net, sample) before loading; nothing was written"
        )
    pairing = pair(checkpoint.contents, tree, rename, auto=auto)
    plan = Plan(str(checkpoint.path), pairing, LoadReport(matched=[*pairing.layers.items()], renamed=rename))
    check_fits(plan)
    plan_extras(plan)
    plan_left_out(plan)
    plan_neutral(plan)
    plan_folds(plan)
    plan_ties(plan)
    doubts = uncertain_axes(plan)
    if pairing.beside:
        plan.report.notes.append(f"not loaded, since it is no tensor of the model: {listed(pairing.beside)}")
    plan.report.notes += [*wrappers_told(pairing.wrappers), *grouped(doubts)]
    plan_wrappers(plan)
    compare_layers(plan)
    suggest(plan, rename)
    plan.refuse(strict, hint(plan, strict, auto))
    return plan, doubts


def _as_saved(checkpoint: Checkpoint, adapter: Adapter) -> Any:
    tensors = {entry.name: adapter.tensor(entry.read()) for entry in verified(list(checkpoint.values()))}
    if checkpoint.content == "tensor" and list(tensors) == ["tensor"]:
        return tensors["tensor"]
    if checkpoint.content == "list" and set(tensors) == {str(index) for index in range(len(tensors))}:
        return [tensors[str(index)] for index in range(len(tensors))]
    return tensors
