"""Which renaming would make a file's names fit, and where that is said."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import multiparam as mp
from multiparam.errors import misfits
from multiparam.names.rename import renamer, suggested

NAMES = ["0.weight", "0.bias", "2.weight", "2.bias"]


@pytest.mark.parametrize(
    ("missing", "unexpected", "rename"),
    [
        (NAMES, [f"module.{name}" for name in NAMES], {r"^module\.": ""}),
        (NAMES, [f"_orig_mod.{name}" for name in NAMES], {r"^_orig_mod\.": ""}),
        (NAMES, [f"model.net.{name}" for name in NAMES], {r"^model\.net\.": ""}),
        ([f"backbone.{name}" for name in NAMES], NAMES, {"^": "backbone."}),
        ([f"backbone.{name}" for name in NAMES], [f"model.{name}" for name in NAMES], {r"^model\.": "backbone."}),
        # most of them
        (NAMES, [f"module.{name}" for name in NAMES[:3]] + ["epoch"], {r"^module\.": ""}),
        # all that are missing, from a file that has much more
        (NAMES, [f"encoder.{name}" for name in NAMES] + [f"decoder.{n}.w" for n in range(99)], {r"^encoder\.": ""}),
        # no prefix but a part of one, and no one's half
        (NAMES, [f"module{name}" for name in NAMES], {}),
        (NAMES, [f"module.{name}" for name in NAMES[:1]] + ["a", "b", "c"], {}),
        ([], ["module.0.weight"], {}),
        (NAMES, [], {}),
    ],
)
def test_a_prefix_that_differs_is_found(missing, unexpected, rename):
    assert suggested(missing, unexpected) == rename


def test_what_fits_is_not_renamed():
    assert suggested(["a"], ["x.a"], ["x.b"]) == {}
    assert suggested(["x.a"], ["a"], ["b"]) == {}
    # module.a would become what another tensor is called
    assert suggested(["b"], ["module.a", "module.b"], ["a"]) == {}
    assert suggested(["a", "b"], ["module.a", "module.b", "c"], ["d"]) == {r"^module\.": ""}


def test_names_with_thousands_of_components_take_no_time():
    deep = ".".join("a" * 20_000)
    assert suggested([deep], [f"module.{deep}"]) == {r"^module\.": ""}


components = st.text(st.characters(blacklist_characters="."), min_size=1, max_size=5)
paths = st.lists(components, min_size=1, max_size=3).map(".".join)


@given(
    names=st.lists(paths, min_size=1, max_size=6, unique=True),
    old=st.one_of(st.just(""), paths.map("{}.".format)),
    new=st.one_of(st.just(""), paths.map("{}.".format)),
)
def test_what_is_suggested_makes_names_fit(names, old, new):
    missing, unexpected = [new + name for name in names], [old + name for name in names]
    both = set(missing) & set(unexpected)
    missing, unexpected = ([one for one in many if one not in both] for many in (missing, unexpected))
    found = suggested(missing, unexpected, both)
    moved = [renamer(found)(name) for name in unexpected]
    assert len({*moved, *both}) == len(moved) + len(both)
    assert [renamer(found)(name) for name in both] == list(both)
    if found:
        assert 2 * len(set(moved) & set(missing)) > len(missing)
    elif re.sub(r"\d+", "", old) != re.sub(r"\d+", "", new):  # what another number counts is not known
        assert both or "%" in "".join(moved)  # then one prefix would not do, or a name is spelled in two ways


@pytest.fixture
def nets():
    with mp.use("numpy"):
        inner = [mp.nn.Sequential(mp.nn.Linear(4, 8), mp.nn.ReLU(), mp.nn.Linear(8, 1)) for _ in range(2)]
        yield mp.nn.Sequential({"body": inner[0]}), inner[1]


def test_the_error_says_what_to_pass(tmp_path, nets):
    wrapped, plain = nets
    mp.save(wrapped, tmp_path / "net.safetensors")
    hint = 'a prefix differs: pass rename={r"^body\\.": ""}'
    with pytest.raises(mp.MismatchError, match=re.escape(hint)) as caught:
        mp.load(tmp_path / "net.safetensors", into=plain)
    assert caught.value.report.suggestion == {r"^body\.": ""}
    mp.load(tmp_path / "net.safetensors", into=plain, rename=caught.value.report.suggestion)
    assert np.array_equal(mp.parameters(plain)["0.weight"].value, mp.parameters(wrapped)["body.0.weight"].value)


@pytest.mark.parametrize("wraps", [True, False])
def test_ties_are_renamed_with_what_they_are_tied_to(tmp_path, wraps):
    with mp.use("numpy"):
        made = []
        for _ in range(2):
            shared = mp.nn.Linear(8, 8)
            made.append(mp.nn.Sequential(mp.nn.Linear(4, 8), shared, shared))
        wrapped = mp.nn.Sequential({"body": made[1]})
    one, other = (wrapped, made[0]) if wraps else (made[0], wrapped)
    mp.save(one, tmp_path / "net.safetensors")
    report = mp.load(tmp_path / "net.safetensors", into=other, strict=False)
    assert report.suggestion == ({r"^body\.": ""} if wraps else {"^": "body."})
    assert len(mp.load(tmp_path / "net.safetensors", into=other, rename=report.suggestion).loaded) == 4
    assert mp.diff(tmp_path / "net.safetensors", other, rename=report.suggestion).equal


def test_the_report_says_it_too(tmp_path, nets):
    wrapped, plain = nets
    mp.save(plain, tmp_path / "net.safetensors")
    report = mp.load(tmp_path / "net.safetensors", into=wrapped, strict=False)
    assert report.suggestion == {"^": "body."}
    assert 'a prefix differs: pass rename={"^": "body."}' in str(report)
    assert "missing: body.0.weight (close: 0.weight)" in str(report)
    assert not mp.load(tmp_path / "net.safetensors", into=wrapped, rename=report.suggestion).suggestion


def test_a_renaming_that_is_there_is_kept(tmp_path, nets):
    _, plain = nets
    values = {f"body.body.{name}": one.value for name, one in mp.state(plain).items()}
    mp.save(values, tmp_path / "twice.safetensors")
    given = {r"^body\.": ""}
    report = mp.load(tmp_path / "twice.safetensors", into=plain, strict=False, rename=given)
    assert report.suggestion == {**given, r"(?:^body\.)": ""}
    assert len(mp.load(tmp_path / "twice.safetensors", into=plain, rename=report.suggestion).loaded) == 4


def test_what_would_not_fit_or_was_renamed_away_is_not_suggested(tmp_path):
    mp.save(mp.nn.Sequential(mp.nn.Linear(4, 8), mp.nn.ReLU(), mp.nn.Linear(8, 10)), tmp_path / "net.safetensors")
    other = mp.nn.Sequential({"hidden": mp.nn.Linear(4, 8), "act": mp.nn.ReLU(), "head": mp.nn.Linear(8, 3)})
    report = mp.load(tmp_path / "net.safetensors", into=other, rename={r"^0\.": "hidden."}, strict=False)
    assert report.suggestion == {}  # the head's shapes differ
    same = mp.nn.Sequential(mp.nn.Linear(4, 8), mp.nn.ReLU(), mp.nn.Linear(8, 10))
    report = mp.load(tmp_path / "net.safetensors", into=same, rename={r"^2\.": "left out."}, strict=False)
    assert (report.missing, report.suggestion) == (["2.weight", "2.bias"], {})
    assert mp.diff(tmp_path / "net.safetensors", other).suggestion == {}


def test_near_names_are_those_of_near_layers(tmp_path, nets):
    mp.save({"encoder.weight": np.ones((1, 1)), "decoder.gain": np.ones((1, 1))}, tmp_path / "other.safetensors")
    net = mp.nn.Sequential({"encoders": mp.nn.Linear(1, 1), "0": mp.nn.Linear(1, 1)})
    with pytest.raises(mp.MismatchError) as caught:
        mp.load(tmp_path / "other.safetensors", into=net)
    assert "missing: encoders.weight (close: encoder.weight)" in str(caught.value)
    assert "missing: 0.weight\n" in str(caught.value)


def test_a_partial_load_says_how_to_leave_out_what_does_not_fit(tmp_path):
    mp.save(mp.nn.Sequential({"body": mp.nn.Linear(4, 8), "head": mp.nn.Linear(8, 10)}), tmp_path / "net.safetensors")
    net = mp.nn.Sequential({"body": mp.nn.Linear(4, 8), "head": mp.nn.Linear(8, 3)})
    with pytest.raises(mp.MismatchError) as caught:
        mp.load(tmp_path / "net.safetensors", into=net, strict=False)
    assert (
        str(caught.value)
        .splitlines()[1]
        .endswith(r'rename what does not fit away: rename={r"^head\.": "left out.head."}')
    )
    report = mp.load(tmp_path / "net.safetensors", into=net, strict=False, rename={r"^head\.": "left out.head."})
    assert (report.loaded, report.missing) == (["body.weight", "body.bias"], ["head.weight", "head.bias"])
    assert not report.suggestion


@pytest.fixture
def files(tmp_path):
    """A model, a file of it under other names, and which is which."""
    with mp.use("numpy"):
        net = mp.nn.Sequential({"norm": mp.nn.LayerNorm(4), "fc": mp.nn.Linear(4, 2)})
        other = mp.nn.Sequential({"ln": mp.nn.LayerNorm(4, eps=1e-3), "head": mp.nn.Linear(4, 2)})
    mp.initialize(other, mp.init.Normal(), seed=1)
    mp.save(other, tmp_path / "other.safetensors")
    names = {name: name.replace("ln", "norm").replace("head", "fc") for name in mp.state(other)}
    return net, other, tmp_path / "other.safetensors", names


@pytest.mark.parametrize("by", ["a function", "a table's own method"])
def test_a_function_renames_too(files, by):
    net, other, path, names = files
    rename = names.__getitem__ if by == "a table's own method" else lambda name: names[name]
    assert mp.diff(path, net, rename=rename).changed
    report = mp.load(path, into=net, rename=rename)
    assert report.loaded == list(names.values())
    assert report.differences == [("norm", "eps", 1e-3, 1e-5)]  # layers are called as their tensors are
    for a in (path, other):
        found = mp.diff(a, net, rename=rename)
        assert (found.changed, found.removed, found.added) == ([], [], [])
        assert found.settings == [("norm", "eps", 1e-3, 1e-5)]
    assert mp.diff(net, path, rename={new: old for old, new in names.items()}.get).settings
    assert list(mp.open(path).renamed(rename)) == list(names.values())
    mp.parameters(net)["fc.bias"][:] += 1
    found = mp.verify(other, net, np.ones((1, 4)), rename=rename)
    assert (found.first, [name for name, _ in found.layers]) == ("fc", ["norm", "fc", ""])


def test_after_a_function_the_suggestion_stands_alone(files, tmp_path):
    net, _, path, names = files
    values = {f"module.{name.upper()}": entry.value for name, entry in mp.open(path).items()}
    mp.save(values, tmp_path / "upper.safetensors")
    report = mp.load(tmp_path / "upper.safetensors", into=net, strict=False, rename=lambda name: name.lower())
    assert report.suggestion == {}  # ln is not norm
    lower = {f"x.{names[name]}": entry.value for name, entry in mp.open(path).items()}
    mp.save({name.upper(): one for name, one in lower.items()}, tmp_path / "upper.safetensors")
    report = mp.load(tmp_path / "upper.safetensors", into=net, strict=False, rename=str.lower)
    assert report.suggestion == {r"^x\.": ""}


@pytest.mark.parametrize(
    ("rename", "message"),
    [
        ({}.get, "makes None of 'ln.weight': it returns a name"),
        ({}.__getitem__, "fails on 'ln.weight': KeyError: 'ln.weight'"),
        (lambda name: "x", "turns both 'ln.weight' and 'ln.bias' into 'x'"),
        (lambda: "x", "fails on 'ln.weight': TypeError"),
        (["x"], "a dict of regular expressions and replacements, or a function of a name"),
    ],
)
def test_a_function_that_makes_no_name_changes_nothing(files, rename, message):
    net, other, path, _ = files
    before = mp.parameters(net)["fc.weight"].value
    for call in (lambda: mp.load(path, into=net, rename=rename), lambda: mp.diff(path, net, rename=rename)):
        with pytest.raises(mp.ArgumentError, match=re.escape(message)):
            call()
    if message != "turns both 'ln.weight' and 'ln.bias' into 'x'":
        with pytest.raises(mp.ArgumentError, match=re.escape(message.split(" '")[0])):
            mp.verify(other, net, np.ones((1, 4)), rename=rename)
    assert np.array_equal(mp.parameters(net)["fc.weight"].value, before)


def test_near_names_are_those_of_tensors_that_could_fit(tmp_path):
    def block(norm, linear):
        return mp.nn.Sequential({norm: mp.nn.LayerNorm(6), linear: mp.nn.Linear(6, 24)})

    mp.save(mp.nn.Sequential({"blocks": block("norm1", "linear1")}), tmp_path / "net.safetensors")
    net = mp.nn.Sequential({"layers": block("ln1", "fc1"), "more": mp.nn.Linear(6, 6)})
    report = mp.load(tmp_path / "net.safetensors", into=net, strict=False)
    for missing, close in (("ln1", "norm1"), ("fc1", "linear1")):  # by names fc1 is nearer to norm1
        for role in ("weight", "bias"):
            assert f"missing: layers.{missing}.{role} (close: blocks.{close}.{role})" in str(report)
            assert f"unexpected: blocks.{close}.{role} (close: layers.{missing}.{role})" in str(report)
    assert "missing: more.weight\n" in str(report)  # nothing has its shape


def test_of_near_names_those_of_the_same_kind_come_first():
    kinds = {"norm_b": "GroupNorm", "norm_a": "GroupNorm", "norm_bb": "LayerNorm"}
    about = {f"{layer}.weight": ((4,), kind) for layer, kind in kinds.items()}
    assert misfits(["norm_b.weight"], ["norm_bb.weight", "norm_a.weight"], about) == [
        "missing: norm_b.weight (close: norm_a.weight)",
        "unexpected: norm_bb.weight (close: norm_b.weight)",  # no other is left
        "unexpected: norm_a.weight (close: norm_b.weight)",
    ]
    unknown = misfits(["norm_b.weight"], ["norm_bb.weight", "norm_a.weight"], {})
    assert unknown[0] == "missing: norm_b.weight (close: norm_bb.weight)"


def test_layers_that_differ_are_compared_by_shape():
    net = mp.nn.Sequential({"a": mp.nn.LayerNorm(4), "b": mp.nn.Linear(4, 4, bias=False)})
    with pytest.raises(mp.MismatchError, match=r"unexpected: a\.bias") as caught:
        mp.tie(net, "a", to="b")
    assert caught.value.report.about == {"a.weight": ((4, 4), "Linear"), "a.bias": ((4,), "LayerNorm")}
