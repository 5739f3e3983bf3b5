"""The pages' code runs, and prints what they say; the site's check finds what is broken.

`make test-docs` runs this in both environments: MXNet's tabs need theirs.
"""

import importlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pages
import pytest

import multiparam as mp

TABS = [(page, framework) for page in pages.pages() for framework in pages.frameworks(page)]
HERE = {one.name for one in mp.backends() if one.installed}


def run(page, folder, framework=""):
    """Runs a page in a process of its own; returns how many of its blocks ran."""
    ran = subprocess.run(
        # what a page's own code is warned of is an error; what frameworks warn of among themselves is not
        [sys.executable, "-W", "error:::page", pages.__file__, page, *([framework] if framework else [])],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, **pages.environment(framework), "PYTHONPATH": os.pathsep.join([*sys.path])},
    )
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-6000:]
    return int(ran.stdout.split()[-2])


def expected(page, framework=""):
    """How many blocks of a page there are to be run."""
    found = pages.blocks((pages.ROOT / page).read_text("utf-8"))
    return sum(
        one.language in ("python", "console")
        and one.tab in ("", pages.OURS, framework)
        and not one.why_not
        and not one.rest.startswith("file:")
        for one in found
    )


@pytest.mark.parametrize("page", [page for page in pages.pages() if not pages.frameworks(page)])
def test_the_code_of_a_page_runs(page, tmp_path):
    assert run(page, tmp_path) == expected(page)


@pytest.mark.parametrize(("page", "framework"), [tab for tab in TABS if tab[1] in HERE])
def test_a_frameworks_tabs_do_what_multiparams_do(page, framework, tmp_path):
    assert run(page, tmp_path, framework) == expected(page, framework)


def test_every_step_has_a_tab_for_every_framework():
    assert sorted(framework for page, framework in TABS if page == "docs/side_by_side.md") == sorted(
        {"torch", "keras", "flax", "paddle", "mxnet"}
    )
    text = (pages.ROOT / "docs" / "side_by_side.md").read_text("utf-8")
    steps = Counter((one.step, one.tab) for one in pages.blocks(text))
    assert set(steps.values()) == {1}
    # a class with parameters is the framework's: multiparam's tab has text only
    written = {step for step, _ in steps} - {step for step, tab in steps if tab == pages.OURS}
    assert written == {"With parameters"}
    assert len(steps) == 6 * len({step for step, _ in steps}) - 1
    assert {step for step, _ in steps} >= set(pages.RANDOM)


@pytest.mark.parametrize("backend", ["flax", "keras", "paddle"])
def test_the_readmes_training_is_the_same_elsewhere(backend, tmp_path):
    _, code = [
        one.code for one in pages.blocks((pages.ROOT / "README.md").read_text("utf-8")) if one.language == "python"
    ]
    code = "import numpy as np\nimport multiparam as mp\n" + code.replace('"torch"', repr(backend))
    if backend == "keras":
        code = "import keras\n" + code.replace("((net(x) - y) ** 2).mean()", "keras.ops.mean((net(x) - y) ** 2)")
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert mp.open(tmp_path / "net.safetensors")["out.weight"].shape == (3, 16)


def columns():
    """What the README's table for those who know PyTorch has: PyTorch's calls, and ours."""
    text = (pages.ROOT / "README.md").read_text("utf-8")
    section = text.partition("## If you know PyTorch")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| [\w ]+ \| (`.*`) \| (`.*`) \|$", section, re.MULTILINE)
    assert len(rows) == 11  # and one for a layer of the reader's own
    return [[call for row in rows for call in re.findall(r"`([^`]+)`", row[at])] for at in (0, 1)]


def test_the_readmes_column_of_pytorch_is_right(tmp_path):
    made = """
import torch
from torch import nn

net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
x, path = torch.ones(2, 4), "net.pt"
"""
    _run_calls(made, columns()[0], "torch", tmp_path)


@pytest.mark.parametrize("framework", sorted({"torch", "keras", "flax", "paddle", "mxnet"} & HERE))
def test_the_readmes_column_of_multiparam_is_right(framework, tmp_path):
    made = """
import numpy as np
import multiparam as mp

Linear, ReLU = mp.nn.Linear, mp.nn.ReLU
net = mp.nn.Sequential(Linear(4, 8), ReLU(), Linear(8, 8), ReLU(), Linear(8, 8))
x, path = np.ones((2, 4), np.float32), "net.safetensors"
"""
    _run_calls(made, columns()[1], framework, tmp_path)


def _run_calls(made, calls, framework, folder):
    page = folder / "page.md"
    loss = "def loss(net, x):\n    return net(x)[0, 0]\n"
    page.write_text("\n".join(["```python", made, loss, *calls, "```", ""]), "utf-8")
    assert run(str(page), folder, framework) == 1


def test_what_is_not_run_says_why():
    left = {}
    for page in pages.pages():
        for one in pages.blocks((pages.ROOT / page).read_text("utf-8")):
            known = one.rest == "" or one.why_not or one.rest.startswith("file: ") or one.rest == "shown"
            assert known, f"{page}:{one.line}: {one.rest!r} is no reason"
            assert one.language in ("", "python", "text", "console", "sh", "toml"), f"{page}:{one.line}"
            if one.why_not:
                left[page] = left.get(page, 0) + 1
    assert left == {"docs/how_to/write_an_adapter.md": 1}


def test_a_page_that_is_wrong_fails(tmp_path):
    page = tmp_path / "page.md"
    for code, why in (
        ("```python\n1 / 0\n```\n", "ZeroDivisionError"),
        ("```python\nprint(1)\n```\n\n```text\n2\n```\n", "is not what was printed"),
        ("```console\n$ multiparam show missing\n```\n", "missing"),
        ("```console\n$ multiparam backends --json\nnothing\n```\n", "is not what was printed"),
    ):
        page.write_text(code)
        with pytest.raises(AssertionError, match=why):
            run(str(page), tmp_path)


def test_a_record_of_benchmarks_becomes_tables(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(pages.ROOT / "docs"))
    generate = importlib.import_module("generate")
    record = tmp_path / "record.json"
    assert "make bench RECORD=" in "".join(generate.benchmarks(record))
    sizes = {"layers": 2, "width": 4, "fewer": 2, "more": 4, "measured": 1, "rounds": 2, "least": 0.0}
    about = {
        "date": "2026-01-01",
        "commit": "abc",
        "machine": "one core",
        "system": "Linux",
        "versions": {"numpy": "2"},
    }
    timed = {"table": "save", "backend": "torch", "peer": "raw_write", "ours": [1.0, 2.0], "theirs": [2.0, 2.0]}
    peak = {"table": "memory-save", "backend": "torch", "peer": "multiparam", "anonymous": 0.5, "resident": 1.0}
    record.write_text(json.dumps({**about, "sizes": sizes, "rows": [timed, peak], "failed": []}))
    text = "\n".join(generate.benchmarks(record))
    assert "at commit abc" in text
    assert r"| torch | raw\_write | 1500 | 2000 | 0.75 (0.50 to 1.00) |" in text
    assert "| torch | multiparam | 0.5 | 1.0 | ≤ 1, met |" in text
    record.write_text(json.dumps({**about, "sizes": sizes, "rows": [], "failed": [{"error": "it broke"}]}))
    with pytest.raises(SystemExit, match="not complete"):
        list(generate.benchmarks(record))


def test_the_sites_check_finds_what_leads_nowhere(tmp_path):
    (tmp_path / "other.html").write_text("<h1 id='top'>other</h1>")
    links = ["other.html#top", "other.html", "#here", "https://example.org", "gone.html", "other.html#gone", "#gone"]
    body = "".join(f"<a href='{link}'>x</a>" for link in links)
    fetched = "<img src='gone.png' alt='a picture'><script src='https://example.org/a.js'></script>"
    (tmp_path / "page.html").write_text(f"<p id='here'>{body}{fetched}</p>")
    check = Path(pages.ROOT) / "docs" / "check.py"
    ran = subprocess.run([sys.executable, str(check), str(tmp_path)], capture_output=True, text=True)
    assert ran.returncode == 1
    assert len(ran.stderr.splitlines()) == 5


@pytest.mark.parametrize(
    "body",
    [
        "<p>the bound is $\\sqrt{6 / n}$.</p>",
        "<p>on <em>two</em> lines: $a +\nb$</p>",
        "<div>\\begin{aligned}</div>",
        "<p>or \\(a\\)</p>",
        "<img src='a.png'>",
        "<img src='a.png' alt=''>",
        "<img src='a.png' alt='../_images/a.png'/>",
    ],
)
def test_the_sites_check_finds_what_is_not_understood(body, tmp_path):
    (tmp_path / "a.png").touch()
    fine = "<p>$5 or $ 6</p><pre>$x$ <span>$y$</span></pre><p>one $</p><p>another $ and <code>$z$</code></p>"
    logo = "<img class='sidebar-logo only-dark' src='a.png' alt=''>"
    (tmp_path / "page.html").write_text(f"{fine}{logo}<img src='a.png' alt='a curve, and/or a line'>{body}")
    check = Path(pages.ROOT) / "docs" / "check.py"
    ran = subprocess.run([sys.executable, str(check), str(tmp_path)], capture_output=True, text=True)
    assert ran.returncode == 1
    assert len(ran.stderr.splitlines()) == 1, ran.stderr
