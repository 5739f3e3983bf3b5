"""The benchmarks' driver: every table appears, and holds numbers; what they are is for `make bench`."""

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import rounds
from benchmarks.report import judged, titles
from benchmarks.rounds import Call, alternate
from benchmarks.sizes import FULL, QUICK

RUN = Path(__file__).parents[1] / "benchmarks" / "run.py"
TITLES = titles(QUICK)
TIMES = ["enumerate", "initialize", "save", "load", "fresh", "list", "small"]


# PyTorch's processes take long to start, and how memory is watched does not depend on what is watched
@pytest.mark.parametrize(
    ("names", "tables"),
    [(["numpy"], set(TITLES)), (["torch", *TIMES], set(TITLES) - {"import", "memory-save", "memory-live"})],
    ids=["numpy", "torch"],
)
def test_every_table_appears_and_has_numbers(names, tables, tmp_path):
    written = tmp_path / "results.json"
    ended = subprocess.run(
        [sys.executable, str(RUN), "--quick", "--json", str(written), *names], capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert {table for table, title in TITLES.items() if f"\n{title}\n" in ended.stdout} == tables
    assert all(len(line) <= 80 for line in ended.stdout.splitlines())
    results = json.loads(written.read_text())
    assert results["failed"] == []
    assert all(results[name] for name in ("date", "machine", "system", "versions"))
    assert "commit" in results
    assert platform.node() not in written.read_text()  # it is for documents
    assert {row["table"] for row in results["rows"]} == tables
    for row in results["rows"]:
        taken = (
            [row["anonymous"], row["resident"]] if row["table"].startswith("memory") else row["ours"] + row["theirs"]
        )
        assert all(isinstance(one, float) and one >= 0 for one in taken)
        assert row["target"] is None or isinstance(row["met"], bool)


def test_the_full_sizes_titles_fit_too():
    assert all(len(title) <= 80 for title in titles(FULL).values())


def test_what_is_over_budget_is_not_repeated(monkeypatch):
    monkeypatch.setattr(rounds, "BUDGET", 0.0)
    monkeypatch.setattr(rounds, "BRIEF", 0.0)
    called = []
    taken = alternate({"slow": Call(lambda: called.append(1))}, 5, 0.0)
    assert (len(called), len(taken["slow"])) == (1, 1)


def test_only_the_cheapest_enumeration_has_a_target():
    def row(peer, theirs):
        return {"table": "enumerate-more", "backend": "torch", "peer": peer, "ours": [1.0], "theirs": [theirs]}

    rows = judged([row("slow", 2.0), row("fast", 0.5)], QUICK)
    assert [one["target"] for one in rows] == [None, 1.5]
    assert not rows[1]["met"]
