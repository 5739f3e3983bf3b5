"""The command line."""

import json
import subprocess
import sys

import pytest

import multiparam as mp
from multiparam.cli import main


def test_backends_for_people_and_for_scripts(capsys):
    assert main(["backends"]) == 0
    assert "numpy" in capsys.readouterr().out
    assert main(["backends", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["name"] == "numpy"


def test_wrong_usage_ends_with_two():
    with pytest.raises(SystemExit) as caught:
        main(["dmeo"])
    assert caught.value.code == 2


def test_an_unknown_backend_is_an_error(capsys):
    assert main(["demo", "--backend", "nunpy"]) == 1
    assert "did you mean 'numpy'" in capsys.readouterr().err


def test_the_demo_is_for_backends_that_can_build(capsys):
    assert main(["demo", "--backend", "linen"]) == 1
    assert "linen" in capsys.readouterr().err


@pytest.mark.newest
def test_the_demo_keeps_its_promises_on_the_reference_backend(capsys):
    assert main(["demo", "--backend", "numpy"]) == 0
    assert "Every promise was kept." in capsys.readouterr().out


@pytest.mark.newest
def test_the_demo_fails_if_a_promise_is_not_kept(capsys, monkeypatch):
    from multiparam.demo import run

    monkeypatch.setattr(run, "TOLERANCE", -1.0)
    assert main(["demo", "--backend", "numpy"]) == 1
    assert "not kept" in capsys.readouterr().out


def test_the_installed_command_is_there():
    shown = subprocess.run(
        [sys.executable, "-c", "from multiparam.cli import main; raise SystemExit(main(['backends', '--json']))"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert {line["name"] for line in json.loads(shown.stdout)} == {line.name for line in mp.backends()}
