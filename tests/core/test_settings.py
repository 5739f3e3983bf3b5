"""What layers are set to beside their weights: kept in files, compared, and said once."""

import numpy as np
import pytest
import safetensors.numpy
from multiparam_numpy.layers import LayerNorm, Linear, Module, ReLU, Sequential

import multiparam as mp
from multiparam.errors import MismatchReport
from multiparam.layer_table.settings import LONGEST, MOST_SETTINGS, canonical, differing, plain, untold


class Scaled(Module):
    def __init__(self, factor, mode="plain"):
        self.factor, self.mode = factor, mode

    def forward(self, x):
        return x * self.factor


class Shifted(Scaled):
    pass


class Block(Module):
    def __init__(self, factor):
        self.factor = factor
        self.linear = Linear(2, 2)

    def forward(self, x):
        return self.linear(x) * self.factor


class MyLayerNorm(Module):
    def __init__(self):
        self.weight = LayerNorm(2).weight

    def forward(self, x):
        return x * self.weight.value


def loaded(first, second, path):
    mp.save(first, path)
    return mp.load(path, into=second, strict=False)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (Scaled(2), Scaled(3), [("0", "factor", 2, 3)]),
        (Scaled(2), Scaled(2, "other"), [("0", "mode", "plain", "other")]),
        (Scaled(2), Scaled(2), []),
        (Scaled(2), Shifted(3), [("0", "kind", "Scaled", "Shifted")]),
        (ReLU(), Scaled(2), [("0", "kind", "ReLU", "Scaled")]),
        (Scaled(2), ReLU(), [("0", "kind", "Scaled", "ReLU")]),
        (Block(2), Block(3), [("0", "factor", 2, 3)]),
        # one's own layer that is called after a known one may well be one
        (LayerNorm(2, bias=False), MyLayerNorm(), []),
    ],
)
def test_layers_of_no_known_kind_are_compared_by_what_they_say(first, second, expected, tmp_path):
    one, other = Sequential(first), Sequential(second)
    assert loaded(one, other, tmp_path / "net.safetensors").differences == expected
    assert [found[1:] for found in mp.diff(one, other).settings] == [found[1:] for found in expected]
    back = [(layer, setting, two, one) for layer, setting, one, two in expected]
    assert loaded(other, one, tmp_path / "net.safetensors").differences == back


def test_layers_of_two_frameworks_that_neither_is_known_of_are_not_known_to_differ():
    assert differing({"class": "one.Mine", "size": 2}, {"class": "two.Mine", "size": 3}) == []
    assert differing({"class": "one.Mine"}, {"class": "two.Other"}) == []
    assert differing({"container": "one.Mine", "size": 2}, {"container": "one.Other", "size": 3}) == []


def test_what_an_earlier_file_did_not_know_of_is_not_taken_for_its_default(tmp_path, monkeypatch):
    assert differing({"kind": "Linear"}, {"kind": "Linear", "activation": "relu"}, (1, 2)) == []
    assert differing({"kind": "Linear"}, {"kind": "Linear", "activation": "relu"}) == [("activation", "linear", "relu")]
    # but what was known then is
    assert differing({"kind": "AvgPool2d"}, {"kind": "AvgPool2d", "ceil_mode": True}, (1, 2)) == [
        ("ceil_mode", False, True)
    ]
    mp.save(Sequential(LayerNorm(2)), tmp_path / "new.safetensors")
    assert mp.open(tmp_path / "new.safetensors").edition == 2
    monkeypatch.setattr("multiparam.matching.source.EDITION", 1)
    mp.save(Sequential(LayerNorm(2)), tmp_path / "old.safetensors")
    old = mp.open(tmp_path / "old.safetensors")
    assert old.edition == 1
    mp.save(old, tmp_path / "copy.safetensors")
    assert mp.open(tmp_path / "copy.safetensors").edition == 1


def test_an_axis_has_several_names_where_it_is_known_how_many_there_are():
    assert differing({"kind": "Softmax", "dim": -1}, {"kind": "Softmax", "dim": "-1 or 1"}) == []
    assert differing({"kind": "Softmax", "dim": 1}, {"kind": "Softmax", "dim": "-1 or 1"}) == []
    assert differing({"kind": "Softmax", "dim": 1}, {"kind": "Softmax", "dim": "-1 or 2"}) == [("dim", 1, "-1 or 2")]
    assert differing({"kind": "BatchNorm"}, {"kind": "BatchNorm2d", "axis": "channels or 1"}) == []


@pytest.mark.parametrize("odd", [None, [], {}, [[1]], {"a": 1}, "", 0, True, 1e400])
def test_whatever_a_file_says_is_compared(odd):
    for name in ("kind", "class", "container", "dim", "axis", "eps", "activation"):
        for other in ({"kind": "Linear"}, {"class": "one.Mine", "dim": 1}, {name: odd}, {}):
            assert isinstance(differing({name: odd}, other), list)
            assert isinstance(differing(other, {name: odd}), list)


def test_what_a_layer_says_is_bounded():
    said = {f"setting {number}": number for number in range(1000)}
    assert len(plain(said)) == MOST_SETTINGS
    assert plain({"long": "x" * (LONGEST + 1), "many": (1,) * 1000, "object": object(), "array": np.ones(3)}) == {}
    assert plain({"infinite": float("inf"), "large": 2**70, "none": None}) == {
        "infinite": "inf",
        "large": str(2**70),
        "none": "none",
    }


def norms(eps, names):
    return Sequential(**{name: LayerNorm(2, eps=eps) for name in names})


def test_one_fact_is_one_line(tmp_path):
    names = [f"norm{number}" for number in range(20)]
    report = loaded(norms(1e-5, names), norms(1e-3, names), tmp_path / "net.safetensors")
    assert len(report.differences) == 20
    lines = [line for line in str(report).splitlines() if not line.startswith("loaded")]
    assert " ".join(line.strip() for line in lines) == (
        "differs: eps 1e-05 in the file, 0.001 here, in 20 layers: norm0, norm1, norm2, … norm19"
    )
    assert report._repr_html_().count("<tr>") == 2  # a head and a row
    differences = mp.diff(norms(1e-5, names), norms(1e-3, names))
    assert len(differences.settings) == 20
    assert str(differences).count("eps") == 1


def test_lines_are_wrapped(tmp_path):
    names = [f"a_layer_with_quite_a_name_{number}" for number in range(20)]
    report = loaded(norms(1e-5, names), norms(1e-3, names), tmp_path / "net.safetensors")
    assert max(map(len, str(report).splitlines())) <= 80
    assert names[-1] in str(report)


def test_kinds_that_differ_in_many_layers_are_one_line():
    kinds = [(f"{number}", "ReLU", "GELU", "") for number in range(9)]
    assert str(MismatchReport(missing=["a"], kinds=kinds)).splitlines() == [
        "kind of 9 layers: 0, 1, 2, … 8: ReLU expected, GELU given",
        "missing: a",
    ]


def foreign(path, writer=None):
    metadata = None if writer is None else {"format": writer}
    safetensors.numpy.save_file({"0.weight": np.ones(2, "f4"), "0.bias": np.zeros(2, "f4")}, path, metadata)
    return path


def test_a_file_without_settings_is_said_to_carry_none(tmp_path):
    default, other = Sequential(LayerNorm(2)), Sequential(LayerNorm(2, eps=1e-3))
    report = mp.load(foreign(tmp_path / "a.safetensors", "pt"), into=default)
    assert (report.carries_settings, report.untold) == (False, [])
    assert str(report).splitlines()[1:] == ["settings: the file carries none, so that none was compared"]
    assert "carries none" in report._repr_html_()
    report = mp.load(tmp_path / "a.safetensors", into=other)
    assert report.untold == [("0", "eps", 1e-5, 1e-3)]
    assert "  eps 0.001, not 1e-05, in 0" in str(report).splitlines()
    assert "by default" in report._repr_html_()


def test_nothing_is_said_of_settings_where_there_are_none(tmp_path):
    safetensors.numpy.save_file({"0.weight": np.ones((2, 2), "f4")}, tmp_path / "a.safetensors", {"format": "pt"})
    report = mp.load(tmp_path / "a.safetensors", into=Sequential(Linear(2, 2, bias=False), ReLU()))
    assert (report.carries_settings, str(report)) == (True, "loaded 1 tensors")


def test_a_comparison_says_that_it_had_no_settings(tmp_path):
    path, model = foreign(tmp_path / "a.safetensors", "pt"), Sequential(LayerNorm(2))
    assert mp.diff(path, model).without_settings == "a"
    assert "settings: b carries none, so that none was compared" in str(mp.diff(model, path))
    assert "carries none" not in str(mp.diff(model, model))
    assert "carries none" not in str(mp.diff(path, path))


def test_what_a_writer_sets_by_itself():
    about = {"kind": "BatchNorm2d", "eps": 1e-3, "momentum": 0.1}
    assert untold([("a", about)], {}) == [("a", "eps", 1e-5, 1e-3)]
    assert untold([("a", about)], {"BatchNorm": {"eps": 1e-3}}) == []
    # what a model leaves out has its own default, which may not be the writer's
    pool = {"kind": "AvgPool2d", "padding": [1, 1]}
    assert untold([("a", pool)], {"AvgPool": {"count_include_pad": False}}) == [("a", "count_include_pad", False, True)]
    assert untold([("a", {**pool, "padding": [0, 0]})], {"AvgPool": {"count_include_pad": False}}) == []
    # and what one says for oneself is no default of anybody's
    assert untold([("a", {"kind": "Conv2d", "padding": [3, 3], "stride": [2, 2], "activation": "relu"})], {}) == [
        ("a", "activation", "linear", "relu")
    ]
    assert canonical("AdaptiveAvgPool2d", "output_size") is None
