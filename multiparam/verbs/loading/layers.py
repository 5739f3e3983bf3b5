"""What a load says of layers: how they differ, and which names would make missing and unexpected ones fit."""

from __future__ import annotations

import re
from dataclasses import replace

from ...adapter.registry import plugins
from ...checkpoint.checkpoint import PART
from ...errors import AmbiguousMatchError, as_rename
from ...formats.contents import Contents
from ...layer_table.settings import EDITION, UNSAID, untold
from ...matching.pairing import by_contents
from ...matching.settings import differing_settings
from ...names.rename import Rename, extended, suggested
from ...text import listed
from .plan import Plan

__all__ = ["compare_layers", "hint", "suggest"]


def compare_layers(plan: Plan) -> None:
    """Compares kinds and settings of the layers, and tells of what is missing and unexpected what it is."""
    pairing, report = plan.pairing, plan.report
    contents = pairing.contents
    here = {node.name: node.described() for node in pairing.tree.root.walk()}
    there = replace(contents, entries=(), ties=(), layers=contents.renamed_layers(pairing.renamed))
    report.differences = differing_settings(there, Contents((), layers=here, settled=True, edition=EDITION))
    if not _tells_settings(contents):
        report.carries_settings = not any(about.keys() - UNSAID for about in here.values())
        writer = plugins().get(_writer(contents))
        if writer is not None and not report.carries_settings:
            report.untold = untold([*here.items()], writer.settings())
    for name in report.missing:
        slot = pairing.slots[name]
        report.about[name] = (slot.shape(), slot.node.kind)
    for name in report.unexpected:
        report.about[name] = (pairing.given[name].shape, there.kinds.get(name.rpartition(".")[0], ""))


def _tells_settings(contents: Contents) -> bool:
    told = any(about.keys() - {"kind"} for about in contents.layers.values())
    return told or (contents.settled and bool(contents.layers))


def _writer(contents: Contents) -> str:
    """The backend whose framework wrote a file, where the format or the file itself tells; else empty."""
    said = contents.writer
    return contents.backend or next((name for name, one in plugins().items() if said and said in one.safetensors), "")


def suggest(plan: Plan, rename: Rename) -> None:
    """Finds the renaming after which what is missing and unexpected would fit."""
    pairing, report = plan.pairing, plan.report
    if not (report.missing and report.unexpected):
        return
    left, aliases = set(report.unexpected), pairing.aliases
    fitting = {name for name in (*pairing.given, *aliases) if aliases.get(name, name) not in left}

    def alike(unexpected: str, missing: str) -> bool:
        entry = pairing.given[unexpected]
        # or it would undo `rename=`
        return entry.shape == pairing.slots[missing].shape() and entry.name != missing

    report.suggestion = extended(rename, suggested(report.missing, report.unexpected, fitting, alike))


def hint(plan: Plan, strict: bool, auto: bool) -> str:
    """What can be done where the file does not fit."""
    report = plan.report
    if not strict:
        return _left_out(plan)
    if report.missing and plan.pairing.contents.content == "shard":
        return PART
    return _matchable(plan) if report.missing and not auto and not report.suggestion else ""


def _matchable(plan: Plan) -> str:
    """That `match="auto"` pairs layers, if nothing would be missing then."""
    try:
        pairs = by_contents(plan.pairing)
    except AmbiguousMatchError:
        return ""
    if not {name.rpartition(".")[0] for name in plan.report.missing} <= {*pairs.values()}:
        return ""
    shown = [f"{layer or 'the model'} with {here or 'the model'}" for layer, here in pairs.items()]
    return f"layers that hold the same have other names: match='auto' pairs {listed(shown, most=3)}"


def _left_out(plan: Plan) -> str:
    """How what does not fit is left out, which `strict=False` alone does not."""
    names = [plan.pairing.given[name].name for name, *_ in plan.misshaped if name in plan.pairing.given]
    layers = dict.fromkeys(name.rpartition(".")[0] for name in names if "." in name)
    away = {f"^{re.escape(layer)}\\.": f"left out.{layer}." for layer in layers}
    return f"to load the rest, rename what does not fit away: {as_rename(away)}" if away else ""
