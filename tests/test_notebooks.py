"""The notebooks: text and executed form are the same, every step is there for every framework, the magics can fail."""

import os
import re
import sys
from pathlib import Path

import jupytext
import nbformat
import numpy as np
import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

import multiparam as mp

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "notebooks"
CHAPTERS = sorted(path.stem for path in FOLDER.glob("[0-9]_*.md"))
FRAMEWORKS = {"torch", "keras", "flax", "paddle", "mxnet"}


@pytest.fixture(scope="module")
def side_by_side():
    """The notebooks' module, imported from their folder as they do."""
    sys.path.insert(0, str(FOLDER))
    try:
        import side_by_side

        yield side_by_side
    finally:
        sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module")
def notebook(side_by_side):
    """A shell such as a notebook has, with the magics."""
    shell = InteractiveShell()
    side_by_side.load_ipython_extension(shell)
    return shell


@pytest.fixture
def shell(notebook, monkeypatch):
    """The shell on the torch backend; no torch is needed for what is tested."""
    monkeypatch.setenv("MULTIPARAM_BACKEND", "torch")
    return notebook


def read(chapter, suffix):
    return (
        jupytext.read(FOLDER / f"{chapter}{suffix}")
        if suffix == ".md"
        else nbformat.read(FOLDER / f"{chapter}{suffix}", as_version=4)
    )


def code(chapter):
    return [cell for cell in read(chapter, ".md").cells if cell.cell_type == "code"]


def native(cell):
    """The backend of a native cell; None for a neutral one."""
    found = re.match(r"%%native +(\w+)", cell.source)
    return found and found[1]


def steps(cells):
    """Each step: a neutral cell, with the native ones below it. A framework that comes again begins another step."""
    found = []
    for cell in cells:
        if not native(cell):
            found.append((cell, []))
        elif native(cell) in map(native, found[-1][1]):
            found.append((found[-1][0], [cell]))
        else:
            found[-1][1].append(cell)
    return found


def test_there_are_six_chapters():
    assert [chapter[0] for chapter in CHAPTERS] == ["1", "2", "3", "4", "5", "6"]


# --- what is shown is what is edited ------------------------------------------------------------------------


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_executed_notebook_is_the_text(chapter):
    text, executed = read(chapter, ".md").cells, read(chapter, ".ipynb").cells
    assert [(cell.cell_type, cell.source) for cell in executed] == [(cell.cell_type, cell.source) for cell in text]
    assert [dict(cell.metadata) for cell in executed] == [dict(cell.metadata) for cell in text]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_cell_was_executed_in_turn_and_without_an_error_or_a_warning(chapter):
    cells = [cell for cell in read(chapter, ".ipynb").cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {"stream", "execute_result", "display_data"}
    assert {output.name for output in outputs if output.output_type == "stream"} == {"stdout"}


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_what_is_shown_is_the_same_on_every_machine(chapter):
    text = (FOLDER / f"{chapter}.ipynb").read_text("utf-8")
    outputs = " ".join(
        str(part)
        for cell in read(chapter, ".ipynb").cells
        for output in cell.get("outputs", [])
        for part in (output.get("text", ""), *(v for k, v in output.get("data", {}).items() if k != "image/png"))
    )
    assert not re.findall(r"\b0x[0-9a-f]{6,}|/home/|/root/|/tmp/|/Users/", outputs)
    assert '"execution": {' not in text
    assert read(chapter, ".ipynb").metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_text_needs_no_mathjax(chapter):
    for cell in read(chapter, ".md").cells:
        if cell.cell_type == "markdown":
            assert "$" not in cell.source
            assert "\\begin{" not in cell.source


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_plot_has_a_text_for_those_who_do_not_see_it(chapter):
    for cell in read(chapter, ".ipynb").cells:
        if any("image/png" in output.get("data", {}) for output in cell.get("outputs", [])):
            assert cell.metadata["mystnb"]["image"]["alt"]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_all_backends_were_compared(chapter):
    (last,) = [
        "".join(output.get("text", "") for output in cell.outputs)
        for cell in read(chapter, ".ipynb").cells
        if cell.metadata.get("alone") == "comparison"
    ]
    for name in ("PyTorch", "Keras", "Flax", "Paddle", "MXNet"):
        assert name in last
    assert "not compared" not in last


# --- every step in every framework --------------------------------------------------------------------------


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_step_is_there_for_every_framework(chapter):
    cells = code(chapter)
    assert not native(cells[0])
    for neutral, natives in steps(cells):
        shown = {native(cell) for cell in natives}
        if natives:
            assert shown >= FRAMEWORKS, f"{FRAMEWORKS - shown} after {natives[-1].source}"
        else:  # its metadata say why
            assert neutral.metadata.get("alone"), f"no native cells after {neutral.source}"


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_native_cells_are_compared_with_one_neutral_result(chapter):
    for neutral, natives in steps(code(chapter)):
        lines = [cell.source.splitlines()[0] for cell in natives if native(cell) in FRAMEWORKS]
        compared = [re.fullmatch(r"%%native +\w+(?: *(==|~=) *(.*))?", line) for line in lines]
        assert len({found[2] for found in compared}) <= 1, neutral.source


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_most_cells_are_compared(chapter):
    cells = [cell for cell in code(chapter) if native(cell)]
    assert sum("=" in cell.source.splitlines()[0] for cell in cells) > len(cells) / 2


# --- the magics ---------------------------------------------------------------------------------------------


def test_a_native_cell_that_agrees_says_so(shell, capsys):
    shell.user_ns["bias"] = np.ones(3)
    shell.run_cell_magic("native", "torch == bias", "import numpy\nnumpy.ones(3)")
    assert capsys.readouterr().out.endswith("PyTorch: equals the neutral bias\n")
    shell.run_cell_magic("native", "torch ~= bias + 1", "2.000001 * numpy.ones(3)")
    assert capsys.readouterr().out.endswith("PyTorch: agrees to 1e-5 with the neutral bias + 1\n")


def test_a_native_value_is_shown_if_it_is_short(shell, capsys):
    shell.user_ns["bias"] = list(range(5))
    shell.run_cell_magic("native", "torch == bias", "list(range(5))")
    assert "[0, 1, 2, 3, 4]\n" in capsys.readouterr().out
    shell.user_ns["bias"] = ["a long one, so that each gets a line of its own"] * 11
    shell.run_cell_magic("native", "torch == bias", "list(bias)")
    assert capsys.readouterr().out == "PyTorch: equals the neutral bias\n"
    shell.run_cell_magic("native", "torch == bias[:10]", "bias[:10]")
    assert "a long one" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("sign", "neutral", "cell"),
    [
        ("==", "np.ones(3)", "np.zeros(3)"),
        ("==", "np.ones(3)", "np.ones(2)"),
        ("==", "np.ones(3)", "np.ones(3, np.float32)"),
        ("==", "np.zeros(3)", "-np.zeros(3)"),
        ("==", "np.ones(3)", "np.ones(3) + 1e-12"),
        ("~=", "np.ones(3)", "np.ones(3) + 1e-4"),
        ("~=", "np.ones(3)", "np.ones((1, 3))"),
        ("==", "np.ones(3)", "[1, 1, 1]"),
        ("==", "[1, 2]", "(1, 2)"),
        ("==", "[1, 2]", "[1, 2, 3]"),
        ("==", "{'a': 1}", "{'b': 1}"),
        ("==", "{'a': np.ones(1)}", "{'a': np.zeros(1)}"),
        ("==", "True", "1"),
        ("==", "1", "None"),
        ("==", "'a'", "'b'"),
        ("==", "True", "x = True"),
    ],
)
def test_a_native_cell_that_differs_fails_and_shows_both(shell, side_by_side, sign, neutral, cell):
    shell.user_ns["np"] = np
    with pytest.raises(side_by_side.DisagreementError) as raised:
        shell.run_cell_magic("native", f"torch {sign} {neutral}", cell)
    expected, value = eval(neutral), None if " = " in cell else eval(cell)
    assert repr(expected) in str(raised.value)
    assert repr(value) in str(raised.value)


def test_what_cannot_be_compared_is_an_error(shell):
    with pytest.raises(TypeError, match="cannot compare object"):
        shell.run_cell_magic("native", "torch == object()", "object()")


def test_a_cell_of_another_backend_is_not_run(shell, capsys):
    shell.run_cell_magic("native", "flax == nothing", "raise ValueError")
    assert capsys.readouterr().out == ""


def test_a_definition_stays_in_the_notebook(shell, capsys):
    shell.run_cell_magic("native", "torch", "def double(x):\n    return 2 * x")
    assert shell.user_ns["double"](2) == 4
    assert capsys.readouterr().out == ""


def test_errors_in_a_native_cell_propagate(shell):
    for line in ("torch", "torch == 1"):
        with pytest.raises(ZeroDivisionError):
            shell.run_cell_magic("native", line, "1 / 0")
        with pytest.raises(SyntaxError):
            shell.run_cell_magic("native", line, "1 +")


@pytest.mark.parametrize("line", ["", "tourch == x", "torch = x", "torch ==", "torch != x"])
def test_a_misspelt_native_line_is_an_error(shell, line):
    with pytest.raises(UsageError):
        shell.run_cell_magic("native", line, "1")


def test_where_runs_what_the_backend_can_do(shell):
    shell.run_cell_magic("where", "gradients", "found = 1")
    assert shell.user_ns["found"] == 1
    with pytest.raises(ZeroDivisionError):
        shell.run_cell_magic("where", "gradients", "1 / 0")
    with pytest.raises(ValueError, match="no backend has the capability 'flight'"):
        shell.run_cell_magic("where", "flight", "1")


def test_where_demands_a_refusal_of_what_it_cannot(shell, side_by_side, monkeypatch, capsys):
    monkeypatch.setenv("MULTIPARAM_BACKEND", "numpy")
    shell.user_ns["mp"] = mp
    shell.run_cell_magic("where", "gradients", "mp.gradients(mp.nn.Linear(2, 1), None)")
    assert capsys.readouterr().out.startswith("UnsupportedError: the numpy backend does not support gradients")
    with pytest.raises(side_by_side.DisagreementError, match="was not refused"):
        shell.run_cell_magic("where", "gradients", "1")
    with pytest.raises(ZeroDivisionError):
        shell.run_cell_magic("where", "gradients", "1 / 0")


def test_a_result_that_is_missing_is_said_and_fails_the_last_run(side_by_side, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(side_by_side, "RESULTS", tmp_path)
    for name in ("numpy", "torch"):
        monkeypatch.setenv("MULTIPARAM_BACKEND", name)
        side_by_side.record("chapter", x=np.ones(2))
    results = side_by_side.recorded("chapter")
    assert capsys.readouterr().out == "not run yet, and so not compared: keras, flax, paddle, mxnet\n"
    assert [*results] == ["numpy", "torch"]
    side_by_side.same_everywhere(results, "x")
    assert capsys.readouterr().out == "x: the same bits in numpy, PyTorch\n"
    monkeypatch.setenv(side_by_side.COMPLETE, "1")
    with pytest.raises(side_by_side.DisagreementError, match="no results of keras"):
        side_by_side.recorded("chapter")


def test_results_that_differ_fail(side_by_side):
    results = {"numpy": {"x": np.ones(2)}, "torch": {"x": np.ones(2) + 1e-7}, "flax": {"x": np.ones(2)}}
    side_by_side.close_everywhere(results, "x")
    with pytest.raises(side_by_side.DisagreementError, match="x of torch and of numpy differ"):
        side_by_side.same_everywhere(results, "x")
    for wrong in (np.ones(2) * 2, np.full(2, np.nan), np.ones(3)):
        with pytest.raises(side_by_side.DisagreementError, match="x of flax and of numpy differ"):
            side_by_side.close_everywhere({**results, "flax": {"x": wrong}}, "x")


def test_an_error_that_is_expected_has_to_come(side_by_side, capsys):
    side_by_side.refused(ZeroDivisionError, lambda: 1 / 0)
    assert capsys.readouterr().out == "ZeroDivisionError: division by zero\n"
    with pytest.raises(side_by_side.DisagreementError, match="no ZeroDivisionError was raised"):
        side_by_side.refused(ZeroDivisionError, lambda: 1)


def test_the_results_are_not_under_version_control():
    assert "/notebooks/results/" in (ROOT / ".gitignore").read_text("utf-8").splitlines()
    assert os.path.isdir(FOLDER)
