"""What the README and CONTRIBUTING say is so."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import FunctionType

import numpy as np
import pytest

import multiparam as mp
from multiparam import adapter
from multiparam.cli import cli, main
from multiparam.plugin import Plugin

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(text, language):
    # a block in a list is indented with it
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    return ["\n".join(line.removeprefix(indent) for line in body.splitlines()) for indent, body in found]


@pytest.mark.newest
def test_the_ten_lines_give_the_same_numbers_in_every_framework(tmp_path):
    code, _ = blocks(README, "python")
    shown = {}
    for backend in ("numpy", "torch", "flax", "paddle"):
        ran = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "MULTIPARAM_BACKEND": backend},
        )
        assert ran.returncode == 0, ran.stderr
        shown[backend] = ran.stdout
    assert shown["numpy"].splitlines()[0] == "[('2.weight', '4.weight'), ('2.bias', '4.bias')] (16, 16)"
    # the outputs themselves may differ in the last digit
    numbers = {name: [float(one) for one in re.findall(r"-?\d+\.\d+", text)] for name, text in shown.items()}
    assert len(numbers["numpy"]) == 6
    for other in numbers.values():
        assert other == pytest.approx(numbers["numpy"], rel=1e-5)


def test_the_format_is_as_it_is_described(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "format.md").read_text("utf-8")
    (code,) = blocks(text, "python")
    exec(compile(code, "docs/format.md", "exec"), {})
    keys = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    mp.save({"x": np.ones(4), "y": np.ones(4)}, "xy.safetensors", shard_size=32)
    index = json.loads(Path("xy.safetensors.index.json").read_text())
    written = {*json.loads(index["metadata"]["multiparam"]), "ties", "layers", "edition"} | {
        "left_out",
        "unsure",
        "settled",
        "digests",
    }
    assert keys == written


def test_the_capability_table_is_the_one_that_is_printed(capsys):
    assert main(["backends", "--markdown"]) == 0
    assert f"<!-- capabilities -->\n{capsys.readouterr().out}<!-- /capabilities -->" in README


def test_the_commands_exist():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for command in re.findall(r"^make (\S+)", README, re.MULTILINE):
        assert re.search(rf"^{command}:", makefile, re.MULTILINE)
    assert "make test" in (ROOT / ".ci" / "run").read_text("utf-8")


def test_every_public_name_of_the_readme_exists():
    for name in re.findall(r"`mp\.([\w.]+)", README):
        thing = mp
        for part in name.split("."):
            thing = getattr(thing, part)


def test_every_public_name_is_in_the_reference():
    text = "".join(path.read_text("utf-8") for path in (ROOT / "docs" / "reference").glob("*.md"))
    documented = set(re.findall(r":: multiparam\.([\w.]+)", text))
    assert set(mp.__all__) <= documented
    # builders and rules come with their modules; an adapter's author finds all that it may import
    members = {name.strip() for line in re.findall(r":members: (.*)", text) for name in line.split(",")}
    known = {name.rpartition(".")[2] for name in documented} | members
    surface = {name for name in adapter.__all__ if isinstance(getattr(adapter, name), (type, FunctionType))}
    assert surface - known == set()


def test_the_commands_of_the_readme_can_be_called_as_they_stand_there():
    lines = re.findall(r"^multiparam ((?:show|diff|verify|convert) .*?)(?:  +#.*)?$", README, re.MULTILINE)
    assert len(lines) == 4
    for line in lines:
        name, *arguments = shlex.split(line)
        cli.commands[name].make_context(name, arguments)  # fails where an option or an argument is none


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_into_the_repository_lead_somewhere(name):
    text = (ROOT / name).read_text("utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", text)
    assert all((ROOT / path).is_file() for path, _ in links if path)
    for path, anchor in links:
        heads = re.findall(r"^#+ (.*)$", (ROOT / (path or name)).read_text("utf-8"), re.MULTILINE)
        assert not anchor or anchor in {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads}


def test_the_six_steps_are_real():
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    (code,) = blocks(text, "python")
    scope = {}
    exec(code, scope)
    assert isinstance(scope["plugin"], Plugin)
    for path in re.findall(r"`(backends/\w+)`", text):
        assert (ROOT / path).is_dir()


def test_the_chinese_readme_says_the_same():
    chinese = (ROOT / "README.zh-CN.md").read_text("utf-8")
    fenced = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)
    ours, theirs = ([re.sub(r" +#.*", "", one) for one in fenced.findall(text)] for text in (README, chinese))
    assert ours == theirs
    assert [one[0] for one in re.findall(r"^(#+) ", README, re.MULTILINE)] == [
        one[0] for one in re.findall(r"^(#+) ", chinese, re.MULTILINE)
    ]
    # what is not told in both was changed in one of them
    named = [set(re.findall(r"`([^`]+)`", fenced.sub("", text))) for text in (README, chinese)]
    assert named[0] == named[1]
