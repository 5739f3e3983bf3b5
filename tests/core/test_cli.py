"""The command line."""

import inspect
import io
import json
import os
import pickle
import re
import signal
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import multiparam as mp
from multiparam.cli import commands as cli
from multiparam.cli import main, show
from multiparam.cli.show import statistics
from multiparam.text import columns, padded, printable, shortened


@pytest.fixture
def run(monkeypatch):
    """Runs a command as from a shell of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    # click before 8.2 mixes stdout and stderr unless told otherwise, and later ones never do
    mixed = "mix_stderr" in inspect.signature(CliRunner).parameters
    runner = CliRunner(mix_stderr=False) if mixed else CliRunner()

    def run(*arguments):
        result = runner.invoke(cli.cli, [str(one) for one in arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert "Traceback" not in result.stderr
        if arguments[0] in ("show", "diff") and "--json" not in arguments:
            assert all(columns(line) <= 80 for line in result.stdout.splitlines())
        return result

    return run


def fails(result, code, said):
    assert result.exit_code == code, result.stderr
    if result.stdout:  # of a call with --json
        found = json.loads(result.stdout)
        assert found.keys() == {"error", "exit_code"}
        assert said in found["error"].replace("\n", "; ")
        assert found["exit_code"] == code
    assert re.fullmatch("multiparam: [^\n]*\n", result.stderr), result.stderr
    assert said in result.stderr


@pytest.fixture
def path(tmp_path):
    """A file of a small model with a tie."""
    with mp.use("numpy"):
        shared = mp.nn.Linear(8, 8)
        net = mp.nn.Sequential(mp.nn.Linear(4, 8), mp.nn.ReLU(), shared, mp.nn.LayerNorm(8), shared)
    mp.initialize(net, mp.init.XavierUniform(), seed=0)
    mp.save(net, tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


@pytest.fixture
def saved(tmp_path):
    def save(name="data.safetensors", **data):
        mp.save(data, tmp_path / name)
        return tmp_path / name

    return save


# --- backends and demo -----------------------------------------------------------------------------------------------


def test_backends_for_people_and_for_scripts(capsys):
    assert main(["backends"]) == 0
    assert "numpy" in capsys.readouterr().out
    assert main(["backends", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["name"] == "numpy"


def test_an_unknown_backend_is_an_error(capsys):
    assert main(["demo", "--backend", "nunpy"]) == 1
    assert "did you mean 'numpy'" in capsys.readouterr().err


def test_the_demo_is_for_backends_that_can_build(capsys):
    assert main(["demo", "--backend", "linen"]) == 1
    assert "linen" in capsys.readouterr().err


def test_the_demo_keeps_its_promises_on_the_reference_backend(capsys):
    assert main(["demo", "--backend", "numpy"]) == 0
    assert "Every promise was kept." in capsys.readouterr().out


def test_the_demos_table_is_a_picture_that_fetches_nothing(tmp_path, capsys):
    path = tmp_path / "demo.svg"
    assert main(["demo", "--backend", "numpy", "--svg", str(path)]) == 0
    drawn = path.read_text("utf-8")
    assert drawn.startswith("<svg")
    assert "numpy" in drawn
    assert not re.search(r"@font-face|url\(.?http|src=", drawn)


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


# --- help and completion ---------------------------------------------------------------------------------------------


def test_the_bare_command_and_h_show_the_help(run):
    shown = [CliRunner().invoke(cli.cli, arguments, prog_name="multiparam") for arguments in ([], ["-h"], ["--help"])]
    assert [one.exit_code for one in shown] == [0, 0, 0]
    assert shown[0].output == shown[1].output == shown[2].output
    assert "Usage: multiparam" in shown[0].output
    for command in cli.cli.commands:
        assert f"Usage: cli {command}" in run(command, "-h").stdout
    assert main([]) == main(["-h"]) == 0


def completed(*words):
    words = ["multiparam", *words]
    environment = {
        "_MULTIPARAM_COMPLETE": "zsh_complete",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    shown = CliRunner().invoke(cli.cli, [], prog_name="multiparam", env=environment)
    return shown.stdout.splitlines()[1::3] if words[-1] else shown.stdout.splitlines()


def test_a_shell_completes_commands_options_and_files():
    source = CliRunner().invoke(cli.cli, [], prog_name="multiparam", env={"_MULTIPARAM_COMPLETE": "zsh_source"})
    assert "compdef" in source.stdout
    assert completed("con") == ["convert"]
    assert completed("convert", "--on") == ["--only"]
    assert completed("show", "net") == ["net"]  # as a file's name


# --- ends ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["dmeo"], "No such command 'dmeo'"),
        (["show"], "Missing argument 'FILE'"),
        (["show", "a", "--sats"], "--sats"),
        (["diff", "a"], "Missing argument 'B'"),
        (["diff", "a", "b", "--rename", "x"], "'x' is not OLD=NEW"),
        (["convert", "a", "b", "--dtype", "int8"], "int8"),
        (
            ["convert", "a", "b", "--shard-size", "2XB"],
            "a size is a positive number of bytes, or one with a unit, '2GB' say",
        ),
        (["convert", "a", "b", "--shard-size", "0"], "not '0'"),
        (["backends", "--json", "--markdown"], "--markdown is not allowed with --json"),
    ],
)
def test_wrong_usage_ends_with_two(run, arguments, said):
    fails(run(*arguments), 2, said)
    assert main(arguments) == 2


@pytest.mark.parametrize("command", [["show"], ["diff"], ["verify"], ["convert"]])
def test_a_file_that_is_not_there_ends_with_two(run, command, tmp_path):
    second = [tmp_path / "b"] if command[0] in ("diff", "convert") else []
    fails(run(*command, tmp_path / "none", *second), 2, "none: no such file")
    fails(run(*command, tmp_path, *second), 2, "is a folder")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("command", ["show", "diff", "convert"])
def test_a_file_that_cannot_be_read_ends_with_two(run, command, tmp_path):
    (tmp_path / "noise").write_bytes(b"noise")
    second = [tmp_path / "b"] if command != "show" else []
    fails(run(command, tmp_path / "noise", *second), 2, "noise: of no known format")


def test_the_help_names_the_exit_codes_and_the_keys(run):
    assert "Exit codes" in run("--help").stdout
    for command in ("show", "diff", "verify", "convert", "demo"):
        result = run(command, "--help")
        assert result.exit_code == 0
        assert "Exit codes" in result.stdout
    keys = {
        "show": ("problem", "parameters", "left_out"),
        "diff": ("max_difference", "tied_in"),
        "verify": ("file", "sound", "compared", "without_digests", "problem"),
        "convert": ("source", "format", "files", "tensors", "bytes", "left_out"),
    }
    for command, named in keys.items():
        assert all(key in run(command, "--help").stdout for key in named)


def test_the_version(run):
    assert run("--version").stdout == f"multiparam {mp.__version__}\n"


def test_an_interrupt_ends_with_130(run, monkeypatch, path):
    def interrupted(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "open_checkpoint", interrupted)
    assert run("show", path).exit_code == 130
    assert main(["show", str(path)]) == 130


@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="pipes of another kind")
def test_a_closed_pipe_is_no_traceback(tmp_path):
    mp.save({f"layer{index}.weight": np.ones(1) for index in range(20_000)}, tmp_path / "wide.safetensors")
    shown = subprocess.Popen(
        [sys.executable, "-m", "multiparam", "show", str(tmp_path / "wide.safetensors")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # where nothing is buffered, Python does not see that only a part was written
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
    )
    assert b"wide.safetensors: safetensors" in shown.stdout.readline()
    shown.stdout.close()
    assert shown.stderr.read() == b""
    shown.stderr.close()
    assert shown.wait() == 141


def test_exit_codes_reach_the_shell(path, tmp_path):
    (tmp_path / "other.safetensors").write_bytes(path.read_bytes())
    mp.save({"x": np.ones(1)}, tmp_path / "third.safetensors")
    for name, code in (("other", 0), ("third", 1), ("none", 2)):
        command = [sys.executable, "-m", "multiparam", "diff", str(path), str(tmp_path / f"{name}.safetensors")]
        assert subprocess.run(command, capture_output=True).returncode == code


def test_names_that_a_terminal_has_no_code_for_are_escaped(tmp_path):
    mp.save({"重み": np.ones(1)}, tmp_path / "wide.safetensors")
    shown = subprocess.run(
        [sys.executable, "-m", "multiparam", "show", str(tmp_path / "wide.safetensors")],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
    )
    assert shown.returncode == 0
    assert rb"\u91cd\u307f" in shown.stdout


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_is_shown_where_it_takes_long_and_only_in_a_terminal(monkeypatch):
    monkeypatch.setattr(cli, "PATIENCE", 0)
    for stream, shown in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        with cli._progress("reading", 2) as seen:
            seen()
            seen()
        assert ("reading" in stream.getvalue()) == shown
    monkeypatch.setattr(cli, "PATIENCE", 1e5)
    monkeypatch.setattr(sys, "stderr", Terminal())
    with cli._progress("reading", 1) as seen:
        seen()
    assert sys.stderr.getvalue() == ""


def test_a_bar_is_shown_before_the_first_tensor_is_done(monkeypatch, path):
    monkeypatch.setattr(cli, "PATIENCE", 0)
    for command, said in (
        (["show", "--stats", str(path)], "reading"),
        (["verify", str(path)], "verifying"),
        (["diff", str(path), str(path)], "comparing"),
        (["convert", str(path), f"{path}.out"], "converting"),
    ):
        monkeypatch.setattr(sys, "stderr", Terminal())
        assert main(command) == 0
        assert said in sys.stderr.getvalue()
        assert "opening" in sys.stderr.getvalue()


# --- show ------------------------------------------------------------------------------------------------------------


def test_a_file_is_shown_as_a_tree(run, path, monkeypatch):
    monkeypatch.chdir(path.parent)
    assert run("show", "net.safetensors").stdout.splitlines() == [
        "net.safetensors: safetensors",
        "          shape   dtype     size",
        "0  Linear",
        "  weight  (8, 4)  float32  128 B",
        "  bias    (8,)    float32   32 B",
        "1  ReLU",
        "2  Linear",
        "  weight  (8, 8)  float32  256 B",
        "  bias    (8,)    float32   32 B",
        "3  LayerNorm",
        "  weight  (8,)    float32   32 B",
        "  bias    (8,)    float32   32 B",
        "4  Linear",
        "  weight  = 2.weight",
        "  bias    = 2.bias",
        "6 tensors, 128 parameters, 512 B",
    ]


def test_a_pattern_shows_what_matches(run, path, saved):
    shown = run("show", path, "*bias").stdout
    assert "weight" not in shown
    assert "ReLU" not in shown
    assert shown.endswith("3 tensors, 24 parameters, 96 B\n")
    assert run("show", path, "4.weight").stdout.splitlines()[-2:] == [
        "  weight  = 2.weight",
        "1 tensor, 64 parameters, 256 B",
    ]
    fails(run("show", path, "0.wieght"), 2, "no tensor '0.wieght'; did you mean '0.weight'")
    # the name itself comes before what it would match as a glob
    assert "\n1 tensor," in run("show", saved(**{"a*": np.ones(1), "ab": np.ones(1)}), "a*").stdout


def test_statistics_are_shown_in_the_place_of_sizes(run, saved):
    shown = run("show", "--stats", saved(x=np.array([0, 4, np.nan], "f4"), none=np.ones((0, 2)))).stdout
    assert shown.splitlines()[1:4] == [
        "      min  mean  std  max  zeros  NaN",
        "x       0     2    2    4  33.3%    1",
        "none  nan   nan  nan  nan     0%    0",
    ]


def test_a_file_for_scripts(run, path):
    found = json.loads(run("show", "--json", "--stats", path, "2.*").stdout)
    assert list(found) == ["file", "format", "content", "tensors", "layers", "total", "left_out", "notes"]
    assert found["total"] == {"tensors": 2, "parameters": 72, "bytes": 288}
    weight = found["tensors"][0]
    assert weight.pop("stats").keys() == {"min", "mean", "std", "max", "zeros", "nan"}
    assert weight == {
        "name": "2.weight",
        "shape": [8, 8],
        "dtype": "float32",
        "bytes": 256,
        "kind": "Linear",
        "tied": ["4.weight"],
        "original": [],
        "problem": "",
    }
    assert found["layers"]["3"] == {"kind": "LayerNorm", "eps": 1e-5}
    assert "stats" not in json.loads(run("show", "--json", path).stdout)["tensors"][0]


def test_scripts_get_strings_for_what_json_has_no_numbers_for(run, saved):
    data = saved(x=np.array([np.inf, -np.inf]), y=np.array([np.nan]))
    x, y = (one["stats"] for one in json.loads(run("show", "--json", "--stats", data).stdout)["tensors"])
    assert (x["min"], x["max"], x["mean"], y["min"]) == ("-Infinity", "Infinity", "NaN", "NaN")


def test_running_statistics_are_no_parameters(run, saved):
    data = {"bn.weight": np.ones(3), "bn.running_mean": np.ones(3), "bn.num_batches_tracked": np.array(1)}
    assert run("show", saved(**data)).stdout.endswith("3 tensors, 3 parameters, 56 B\n")


def test_any_names_are_shown_in_eighty_columns(run, saved):
    data = {
        "": np.ones(()),
        ".": np.ones(()),
        "a": np.ones(1),
        "a.b": np.ones(2),
        "a.b.c": np.ones(3),
        "two words.x y": np.ones(1),
        "bell\a\n\x1b[2J.w": np.ones(1),
        "n" * 300: np.ones(1),
        "重み" * 60 + ".値": np.ones((1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1, 1)),
        "d." * 300 + "w": np.ones(1),
        "e." * 50 + "v": np.ones(1),
        "e." * 49 + "w": np.ones(1),
    }
    path = saved(**data)
    for result in (run("show", path), run("show", "--stats", path)):
        assert result.exit_code == 0
        assert not re.search("[\a\x1b]", result.stdout)
        assert r"bell\x07\n\x1b[2J.w" in result.stdout
        assert "two words.x y " in result.stdout
        assert re.search(r"\nn+…n+ ", result.stdout)
        assert re.search(r"\na  +.*\n  b  +.*\n    c  +", result.stdout)
    assert len(json.loads(run("show", "--json", path).stdout)["tensors"]) == len(data)


def test_a_name_with_thousands_of_components_is_shown(run, saved):
    assert run("show", saved(**{"a." * 20_000 + "b": np.ones(1), "a." * 20_000 + "c": np.ones(1)})).exit_code == 0


def test_deep_trees_stay_in_the_width(run, saved):
    assert run("show", saved(**{f"{'a.' * depth}{depth}": np.ones(1) for depth in range(60)})).exit_code == 0


def test_what_cannot_be_read_is_said_and_the_others_shown(run, tmp_path):
    header = {
        "odd": {"dtype": "F4", "shape": [4], "data_offsets": [0, 2]},
        "fine": {"dtype": "F32", "shape": [1], "data_offsets": [2, 6]},
    }
    text = json.dumps(header).encode()
    (tmp_path / "odd").write_bytes(len(text).to_bytes(8, "little") + text + bytes(6))
    for options in ([], ["--stats"]):
        shown = run("show", tmp_path / "odd", *options).stdout
        assert re.search(r"odd .*cannot be read: it has", shown)
        assert "\nfine" in shown
    odd, fine = json.loads(run("show", tmp_path / "odd", "--stats", "--json").stdout)["tensors"]
    assert "F4" in odd["problem"]
    assert odd["stats"] is None
    assert fine["problem"] == ""
    fails(run("convert", tmp_path / "odd", tmp_path / "out"), 2, "'odd' cannot be read")
    fails(run("diff", tmp_path / "odd", tmp_path / "odd"), 2, "'odd' cannot be read")


@settings(max_examples=60)
@given(
    array=st.sampled_from(["f8", "f4", "f2", "i8", "u1", "?"]).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=2, max_side=6))
    ),
    block=st.integers(1, 40),
)
def test_statistics_are_numpys(array, block):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("multiparam.arrays.dtypes.BLOCK", block)
        found = statistics(array)
    wide = array.astype(np.float64)
    finite, numbers = wide[np.isfinite(wide)], wide[~np.isnan(wide)]
    assert found.nan == np.isnan(wide).sum()
    assert found.zeros == (wide == 0).sum()
    if numbers.size:
        assert (found.min, found.max) == (numbers.min(), numbers.max())
    else:
        assert np.isnan([found.min, found.max]).all()
    # beyond this the squares of doubles overflow, in numpy's too
    if finite.size and np.abs(finite).max() < 1e150:
        scale = np.abs(finite).max()
        assert found.mean == pytest.approx(finite.mean(), rel=1e-9, abs=1e-12 * scale)
        assert found.std == pytest.approx(finite.std(), rel=1e-6, abs=1e-12 * scale)


def test_statistics_of_other_dtypes():
    small = np.arange(3).astype(ml_dtypes.bfloat16)
    assert (statistics(small).min, statistics(small).max) == (0, 2)
    assert statistics(np.array([3 + 4j, 0], np.complex64)).max == 5
    assert statistics(np.array([1e300, -1e300])).std == np.inf


# --- diff ------------------------------------------------------------------------------------------------------------


def test_equal_files_end_with_zero(run, path):
    result = run("diff", path, path)
    assert (result.exit_code, result.stdout) == (0, "equal\n6 tensors the same\n")
    assert json.loads(run("diff", "--json", path, path).stdout) == {
        "equal": True,
        "same": 6,
        **{key: [] for key in ("added", "removed", "reshaped", "retyped", "changed", "uncertain", "ties", "settings")},
        "rename": {},
    }


def test_different_files_end_with_one(run, saved):
    a = saved("a", x=np.zeros(2), y=np.ones((2, 3)), z=np.ones(1, "f4"), gone=np.ones(1), n=np.zeros(1))
    b = saved("b", x=np.full(2, 0.5), y=np.ones(6), z=np.ones(1, "f8"), new=np.ones(1), n=np.array([np.nan]))
    result = run("diff", a, b)
    assert result.exit_code == 1
    assert result.stdout.startswith("differ: 2 changed, 1 reshaped, 1 retyped, 1 removed, 1 added\n")
    assert "  x  by 0.5\n" in result.stdout
    result = run("diff", "--json", a, b)
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {
        "equal": False,
        "same": 0,
        "added": ["new"],
        "removed": ["gone"],
        "reshaped": [{"name": "y", "a": [2, 3], "b": [6]}],
        "retyped": [{"name": "z", "a": "float32", "b": "float64"}],
        "changed": [{"name": "n", "max_difference": "NaN"}, {"name": "x", "max_difference": 0.5}],
        "uncertain": [],
        "ties": [],
        "settings": [],
        "rename": {},
    }


def test_a_prefix_that_differs_is_said_with_the_option_to_pass(run, saved):
    a = saved("a", **{"body.0.weight": np.ones(1), "body.0.bias": np.ones(1)})
    b = saved("b", **{"0.weight": np.ones(1), "0.bias": np.ones(1)})
    result = run("diff", a, b)
    assert result.stdout.endswith("a prefix differs: pass --rename '^body\\.='\n")
    assert json.loads(run("diff", "--json", a, b).stdout)["rename"] == {r"^body\.": ""}
    assert run("diff", a, b, "--rename", r"^body\.=").exit_code == 0
    assert run("diff", b, a, "--rename", "^=body.").exit_code == 0
    assert run("diff", a, b, "--rename", "(?=body)=x", "--rename", r"^xbody\.=").exit_code == 0
    fails(run("diff", a, b, "--rename", "(=x"), 2, "rename= takes regular expressions")


# --- verify ----------------------------------------------------------------------------------------------------------


def test_a_sound_file_ends_with_zero(run, path):
    result = run("verify", path)
    assert result.exit_code == 0
    assert re.search(r"net.safetensors: sound: .*6 tensors", result.stdout)


def test_a_damaged_file_ends_with_one(run, path):
    path.write_bytes(path.read_bytes()[:-1])
    fails(run("verify", path), 1, "net.safetensors: no valid safetensors file")


def test_what_verify_found_for_scripts(run, path, tmp_path):
    result = run("verify", "--json", path)
    found = {"file": str(path), "sound": True, "compared": 6, "without_digests": 0, "problem": ""}
    assert (result.exit_code, result.stderr, json.loads(result.stdout)) == (0, "", found)
    np.save(tmp_path / "x.npy", np.ones(3))
    found = {"file": str(tmp_path / "x.npy"), "sound": True, "compared": 0, "without_digests": 1, "problem": ""}
    assert json.loads(run("verify", "--json", tmp_path / "x.npy").stdout) == found
    mp.save({"x": np.ones(9), "y": np.ones(9)}, path, shard_size=72)
    shard = path.with_name("net-00002-of-00002.safetensors")
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    result = run("verify", "--json", path)
    assert (result.exit_code, result.stderr) == (1, "")
    found = json.loads(result.stdout)
    assert "'y' is damaged" in found.pop("problem")
    assert found == {"file": str(shard), "sound": False, "compared": None, "without_digests": None}
    fails(run("verify", "--json", tmp_path / "none"), 2, "no such file")


def test_what_can_be_opened_and_is_no_checkpoint_is_not_sound(run, tmp_path):
    (tmp_path / "noise").write_bytes(b"noise")
    fails(run("verify", tmp_path / "noise"), 1, "noise: of no known format")
    assert json.loads(run("verify", "--json", tmp_path / "noise").stdout)["problem"].startswith("of no known format")


# --- convert ---------------------------------------------------------------------------------------------------------


def test_a_converted_file_keeps_ties_kinds_and_settings(run, path, tmp_path):
    result = run("convert", path, tmp_path / "out.safetensors")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.endswith("out.safetensors: safetensors, 6 tensors\n")
    assert run("diff", path, tmp_path / "out.safetensors").exit_code == 0
    one, other = mp.open(path), mp.open(tmp_path / "out.safetensors")
    assert (one.ties, one.layers, one.content, one.settled) == (other.ties, other.layers, other.content, other.settled)


def test_what_was_converted_for_scripts(run, tmp_path):
    (tmp_path / "net.pdparams").write_bytes(pickle.dumps({"a": np.ones(9, "f4"), "b": np.ones(9), "epoch": 3}))
    out = tmp_path / "out.safetensors"
    result = run("convert", "--json", tmp_path / "net.pdparams", out, "--dtype", "fp64")
    assert (result.exit_code, result.stderr) == (0, "")
    found = {"source": str(tmp_path / "net.pdparams"), "format": "pickle", "files": [str(out)]}
    found |= {"tensors": 2, "bytes": 144, "left_out": {"epoch": "int"}, "ignored": []}
    assert json.loads(result.stdout) == found
    result = run("convert", "--json", tmp_path / "net.pdparams", out, "--shard-size", "40", "--force")
    names = ["out.safetensors.index.json", *(f"out-0000{n}-of-00002.safetensors" for n in (1, 2))]
    assert json.loads(result.stdout) == {**found, "files": [str(tmp_path / name) for name in names], "bytes": 108}
    fails(run("convert", "--json", tmp_path / "net.pdparams", out), 2, "is there already")


def test_a_folder_is_not_replaced_and_force_not_offered(run, path, tmp_path):
    (tmp_path / "folder").mkdir()
    for options in ([], ["--force"]):
        fails(run("convert", path, tmp_path / "folder", *options), 2, "folder: cannot be written: is a folder")


@pytest.mark.parametrize(
    ("dtype", "wanted"), [("bf16", ml_dtypes.bfloat16), ("fp16", "f2"), ("fp64", "f8"), ("float32", "f4")]
)
def test_real_numbers_are_converted(run, saved, tmp_path, dtype, wanted):
    given = {"w": np.array([0.5, np.nan], "f4"), "i": np.arange(3), "b": np.ones(2, bool), "c": np.ones(1, "c8")}
    assert run("convert", saved(**given), tmp_path / "out", "--dtype", dtype).exit_code == 0
    found = mp.open(tmp_path / "out")
    assert [found[name].dtype for name in given] == [np.dtype(wanted), np.int64, np.bool_, np.complex64]
    assert float(found["w"].value[0]) == 0.5


def test_a_number_that_does_not_fit_is_refused(run, saved, tmp_path):
    fails(run("convert", saved(x=np.array([1e30], "f4")), tmp_path / "out", "--dtype", "fp16"), 2, "'x'")
    assert not (tmp_path / "out").exists()


def test_names_are_changed_with_their_ties_and_layers(run, path, tmp_path):
    assert run("convert", path, tmp_path / "out", "--rename", "^=net.").exit_code == 0
    found = mp.open(tmp_path / "out")
    assert found.ties == [("net.2.weight", "net.4.weight"), ("net.2.bias", "net.4.bias")]
    assert found.kinds["net.1"] == "ReLU"
    assert run("diff", path, tmp_path / "out", "--rename", "^=net.").exit_code == 0
    fails(
        run("convert", path, tmp_path / "new", "--rename", r"^\d=x"), 2, "rename= turns both '0.weight' and '2.weight'"
    )


def test_a_file_that_is_there_is_replaced_with_force_only(run, path, saved):
    there = saved(x=np.ones(1))
    before = there.read_bytes()
    fails(run("convert", path, there), 2, "is there already: --force replaces it")
    assert there.read_bytes() == before
    assert run("convert", path, there, "--force").exit_code == 0
    assert run("diff", path, there).exit_code == 0
    # also by itself
    assert run("convert", there, there, "--force", "--dtype", "bf16").exit_code == 0
    assert mp.open(there)["0.weight"].dtype == ml_dtypes.bfloat16


@pytest.mark.parametrize(
    ("given", "count"), [("2GB", 2 * 10**9), ("500mb", 5 * 10**8), ("1GiB", 2**30), ("1.5k", 1500), ("4096", 4096)]
)
def test_sizes_are_told_in_units(monkeypatch, run, path, tmp_path, given, count):
    asked = []

    def save(checkpoint, target, *, dtype, shard_size):
        asked.append(shard_size)
        mp.save(checkpoint, target, dtype=dtype)

    monkeypatch.setattr(cli, "save", save)
    assert run("convert", path, tmp_path / "out", "--shard-size", given).exit_code == 0
    assert asked == [count]


# --- a part of a file ------------------------------------------------------------------------------------------------


@pytest.fixture
def training(saved):
    return saved(**{"model.0.weight": np.ones((2, 3)), "model.0.bias": np.ones(2), "optimizer.0": np.ones(3)})


def test_a_part_of_a_file_is_converted(run, training, tmp_path):
    out = tmp_path / "out.safetensors"
    shown = run("convert", training, out, "--only", "model.*", "--rename", r"^model\.=")
    assert shown.stdout.splitlines()[1:] == ["left out by --only and --ignore: 1 tensor"]
    assert [*mp.open(out)] == ["0.weight", "0.bias"]
    result = json.loads(run("convert", "--json", training, out, "--ignore", "optimizer.*", "--force").stdout)
    assert (result["tensors"], result["ignored"]) == (2, ["optimizer.0"])
    fails(run("convert", training, out, "--only", "modle.0.bias", "--force"), 2, "did you mean 'model.0.bias'")
    fails(run("convert", "--json", training, out, "--only", "x", "--force"), 2, "no tensor 'x'")


def test_a_part_of_a_file_is_shown_and_compared(run, training, saved):
    assert "optimizer" not in run("show", training, "--ignore", "optimizer.*").stdout
    assert run("show", training, "--only", "*bias").stdout.splitlines()[-1] == "1 tensor, 2 parameters, 16 B"
    bare = saved("bare", **{"model.0.weight": np.ones((2, 3)), "model.0.bias": np.ones(2)})
    assert run("diff", training, bare).exit_code == 1
    assert run("diff", training, bare, "--ignore", "optimizer.*").exit_code == 0
    assert run("diff", bare, training, "--only", "model.*").exit_code == 0
    fails(run("diff", bare, training, "--only", "x"), 2, "no tensor 'x'")


def test_what_lies_deep_is_folded(run, path):
    assert run("show", path, "--depth", "1").stdout.splitlines()[1:] == [
        "0  Linear: 2 tensors, 40 parameters, 160 B",
        "1  ReLU",
        "2  Linear: 2 tensors, 72 parameters, 288 B",
        "3  LayerNorm: 2 tensors, 16 parameters, 64 B",
        "4  Linear: 2 tensors, 72 parameters, 288 B",
        "6 tensors, 128 parameters, 512 B",
    ]
    assert run("show", path, "--depth", "2").stdout == run("show", path).stdout
    for option in ("--json", "--stats"):
        fails(run("show", path, "--depth", "1", option), 2, f"--depth is not allowed with {option}")
    fails(run("show", path, "--depth", "0"), 2, "--depth")


# --- text ------------------------------------------------------------------------------------------------------------


@given(st.text(), st.integers(1, 40))
def test_texts_are_fitted_into_columns(text, width):
    shown = printable(text)
    assert shown.isprintable()
    assert columns(shortened(shown, width)) <= width
    assert columns(padded(shown, width)) == width
    assert shortened(shown, columns(shown)) == shown


def test_layers_without_tensors_stand_where_the_model_has_them(run, tmp_path):
    with mp.use("numpy"):
        parts = {"first": mp.nn.ReLU(), "in": mp.nn.Linear(2, 2), "relu": mp.nn.ReLU(), "tanh": mp.nn.Tanh()}
        mp.save(mp.nn.Sequential({**parts, "out": mp.nn.Linear(2, 2), "end": mp.nn.ReLU()}), tmp_path / "net")
    shown = [line.split()[0] for line in run("show", tmp_path / "net").stdout.splitlines() if not line.startswith(" ")]
    assert shown[1:-1] == ["first", "in", "relu", "tanh", "out", "end"]


def test_no_name_is_shown_twice_by_a_tree(path):
    names = show.matching(mp.open(path), None)
    assert len(names) == len(set(names)) == 8


def test_a_sharded_checkpoint_is_converted_and_verified(tmp_path):
    mp.save({"x": np.ones(1000), "y": np.ones(1000)}, tmp_path / "one.safetensors")
    target = tmp_path / "model.safetensors"
    assert main(["convert", str(tmp_path / "one.safetensors"), str(target), "--shard-size", "9KB"]) == 0
    assert not target.exists()
    for name in (target, tmp_path / "model.safetensors.index.json"):
        assert main(["verify", str(name)]) == 0
        assert main(["diff", str(tmp_path / "one.safetensors"), str(name)]) == 0
    shard = next(tmp_path.glob("*-00002-of-00002.safetensors"))
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(bytes(data))
    assert main(["verify", str(target)]) == 1
