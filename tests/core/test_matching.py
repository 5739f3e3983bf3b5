"""Layers of other names, paired by what they hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import multiparam as mp
from multiparam.matching.by_contents import matched
from multiparam.names.rename import renamer


def linear(*names, shape=(8, 8)):
    return {f"{name}.{role}": extents for name in names for role, extents in (("weight", shape), ("bias", shape[:1]))}


def test_layers_of_one_kind_are_paired_in_the_order_of_their_numbers():
    given = linear("block10.fc", "block2.fc", "block1.fc")
    assert matched(given, linear("0", "2", "4")) == {"block10.fc": "4", "block2.fc": "2", "block1.fc": "0"}


def test_kerass_automatic_names_are_numbered_from_the_second():
    given = linear("layers.dense", "layers.dense_1", "layers.dense_10", "layers.dense_2")
    found = matched(given, linear("0", "2", "4", "6"))
    assert list(found.items()) == [
        ("layers.dense", "0"),
        ("layers.dense_1", "2"),
        ("layers.dense_10", "6"),
        ("layers.dense_2", "4"),
    ]


def test_what_ends_alike_belongs_together():
    given = linear(*(f"encoder.{block}.attn.{name}" for block in (0, 10, 9) for name in ("query", "key", "out")))
    wanted = linear(*(f"blocks_{block}.{name}" for name in ("query", "key", "out") for block in (1, 2, 3)))
    found = matched(given, wanted)
    assert len(found) == 9
    assert (found["encoder.0.attn.query"], found["encoder.10.attn.key"]) == ("blocks_1.query", "blocks_3.key")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ([0, 2, 4], [0, 1, 2]),  # activations count on one side
        (["layer0", "layer1"], ["layer1", "layer2"]),
        (["layers.0.fc1", "layers.0.fc2", "layers.1.fc1", "layers.1.fc2"], ["fc1.0", "fc1.1", "fc2.0", "fc2.1"]),
        (["h0.l0", "h0.l1", "h1.l0", "h1.l1"], ["l0.h0", "l0.h1", "l1.h0", "l1.h1"]),
        (["fc1", "fc2", "fc"], [0, 1, 2]),
        (["x.q", "x.k"], ["y.q", "y.v"]),
        (["a.q", "b.q"], ["c.q", "d.q"]),
        (["wte.0", "wte.1"], ["wte.1", "out"]),
    ],
)
def test_what_could_be_wrong_is_refused(given, wanted):
    with pytest.raises(mp.AmbiguousMatchError):
        matched(linear(*given), linear(*wanted))


def test_several_numbers_on_one_side_are_paired_with_one_on_the_other():
    given = linear(*(f"layer{stage}.{block}.conv{number}" for stage in (1, 2) for block in (0, 1) for number in (1, 2)))
    assert list(matched(given, linear(*range(8))).values()) == [str(index) for index in range(8)]


def test_kinds_that_are_known_have_to_agree():
    norms = {"n1.weight": (4,), "n1.bias": (4,)}
    wanted = {"m1.weight": (4,), "m1.bias": (4,)}
    assert matched(norms, wanted, ({"n1": "LayerNorm"}, {"m1": "LayerNorm"})) == {"n1": "m1"}
    with pytest.raises(mp.AmbiguousMatchError, match="they are a LayerNorm and a GroupNorm"):
        matched(norms, wanted, ({"n1": "LayerNorm"}, {"m1": "GroupNorm"}))


def test_matrices_that_may_be_turned_are_left_alone(tmp_path):
    np.savez(tmp_path / "net.npz", **{"enc.weight": np.ones((4, 8)), "dec.weight": np.ones((8, 4))})
    net = mp.nn.Sequential({"down": mp.nn.Linear(4, 8, bias=False), "up": mp.nn.Linear(8, 4, bias=False)})
    with pytest.raises(mp.MismatchError, match=r"missing: down\.weight"):
        mp.load(tmp_path / "net.npz", into=net, match="auto")


def test_nothing_is_guessed():
    with pytest.raises(mp.AmbiguousMatchError, match="rename=") as caught:
        matched(linear("q", "k", "v"), linear("query", "key", "value"))
    assert caught.value.candidates[0] == "'q' of the file"
    with pytest.raises(mp.AmbiguousMatchError):
        matched(linear("fc1", "fc2"), linear("0", "2", "4"))  # which one is missing?


def test_layers_of_one_name_and_other_contents_are_left_alone():
    given = {**linear("fc1"), **linear("fc2", shape=(4, 8)), "head.weight": (3, 3)}
    wanted = {**linear("fc1"), **linear("2", shape=(4, 4)), "head.bias": (3, 3)}
    assert matched(given, wanted) == {}


def test_a_counter_that_some_frameworks_lack_does_not_matter():
    norm = {f"bn.{role}": (4,) for role in ("weight", "bias", "running_mean", "running_var")}
    given = {**norm, "bn.num_batches_tracked": ()}
    assert matched(given, {name.replace("bn", "1"): shape for name, shape in norm.items()}) == {"bn": "1"}


@given(st.lists(st.sampled_from([(2, 3), (3, 2), (4, 4)]), max_size=12), st.randoms(use_true_random=False))
def test_numbered_layers_find_their_own_in_any_order_of_the_file(shapes, random):
    wanted = {
        name: shape for index, extents in enumerate(shapes) for name, shape in linear(f"{index}", shape=extents).items()
    }
    names = {f"fc{index + 1}": str(index) for index in range(len(shapes))}
    items = [item for name, index in names.items() for item in linear(name, shape=shapes[int(index)]).items()]
    random.shuffle(items)
    assert matched(dict(items), wanted) == names


def test_a_load_pairs_layers_and_their_settings_and_keeps_ties(tmp_path):
    shared = mp.nn.Linear(8, 8)
    named = {"inp": mp.nn.Linear(4, 8), "norm": mp.nn.LayerNorm(8, eps=1e-3), "hid1": shared, "hid2": shared}
    mp.save(mp.nn.Sequential(named), tmp_path / "named.safetensors")
    net = mp.nn.Sequential(mp.nn.Linear(4, 8), mp.nn.LayerNorm(8), mp.nn.Linear(8, 8), mp.nn.Linear(8, 8))
    report = mp.load(tmp_path / "named.safetensors", into=net, match="auto")
    assert report.matched == [("inp", "0"), ("norm", "1"), ("hid1", "2"), ("hid2", "3")]
    assert mp.tied(net) == [("2.weight", "3.weight"), ("2.bias", "3.bias")]
    assert report.differences == [("1", "eps", 1e-3, 1e-5)]
    assert "matched: inp with 0" in str(report)


def test_a_refused_match_leaves_the_model_as_it_was(tmp_path):
    mp.save(mp.nn.Sequential({"a": mp.nn.Linear(4, 4), "b": mp.nn.Linear(4, 4)}), tmp_path / "ab.safetensors")
    net = mp.nn.Sequential({"c": mp.nn.Linear(4, 4), "d": mp.nn.Linear(4, 4)})
    before = [one.value for one in mp.parameters(net).values()]
    with pytest.raises(mp.AmbiguousMatchError, match="in the model: 'c', 'd'") as caught:
        mp.load(tmp_path / "ab.safetensors", into=net, match="auto")
    assert caught.value.candidates == ["'a' of the file", "'b' of the file", "'c' of the model", "'d' of the model"]
    with pytest.raises(mp.ArgumentError, match="match="):
        mp.load(tmp_path / "ab.safetensors", into=net, match="shape")
    with pytest.raises(mp.ArgumentError, match="into=net"):
        mp.load(tmp_path / "ab.safetensors", match="auto")
    assert all(np.array_equal(one.value, old) for one, old in zip(mp.parameters(net).values(), before, strict=True))


def test_a_refusal_that_has_pairs_names_no_others_beside_them(tmp_path):
    net = mp.nn.Sequential(mp.nn.Linear(4, 4), mp.nn.ReLU(), mp.nn.Linear(4, 4))
    mp.save(mp.nn.Sequential({"f2": mp.nn.Linear(4, 4), "f3": mp.nn.Linear(4, 4)}), tmp_path / "net.safetensors")
    with pytest.raises(mp.MismatchError) as caught:
        mp.load(tmp_path / "net.safetensors", into=net)
    assert "match='auto' pairs f2 with 0, f3 with 2" in str(caught.value)
    assert "(close: " not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "wanted", "pairs"),
    [
        (["VGG16_0.Conv_5", "VGG16_0.Conv_6"], ["slice3.0", "slice3.2"], {"VGG16_0.Conv_5": "slice3.0"}),
        (["net2.dense", "net2.dense_1", "net2.dense_2"], ["4x4.1", "4x4.2", "4x4.9"], {"net2.dense_2": "4x4.9"}),
        # what a name without a number stands for comes first among its own only
        (["a0.fc", "a0.fc_1", "a1.fc", "a1.fc_1"], [0, 1, 2, 3], {"a0.fc": "0", "a0.fc_1": "1", "a1.fc": "2"}),
    ],
)
def test_numbers_that_do_not_vary_do_not_count(given, wanted, pairs):
    assert pairs.items() <= matched(linear(*given), linear(*wanted)).items()


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (["v2.a0.b0", "v2.a0.b1", "v2.a1.b0"], ["x3.0.0", "x3.0.1", "x3.1.0"]),
        (["v2.q", "v2.k"], ["v3.query", "v3.key"]),
    ],
)
def test_beside_numbers_that_do_not_vary_nothing_is_guessed(given, wanted):
    with pytest.raises(mp.AmbiguousMatchError):
        matched(linear(*given), linear(*wanted))


def test_layers_that_are_tied_are_one():
    def tied(*names):
        return [[f"{name}.{role}" for name in names] for role in ("weight", "bias")]

    assert matched(linear("tok", "head"), linear("embed"), ties=(tied("tok", "head"), ())) == {"tok": "embed"}
    assert matched(linear("embed"), linear("tok", "head"), ties=((), tied("tok", "head"))) == {"embed": "tok"}
    both = matched(linear("a", "b"), linear("c", "d"), ties=(tied("a", "b"), tied("c", "d")))
    assert both == {"a": "c"}
    assert matched(linear("h1", "h2", "h3"), linear("0", "2"), ties=(tied("h1", "h3"), ())) == {"h1": "0", "h2": "2"}
    for ties in ((tied("a", "b")[:1], ()), ((), ())):  # a bias of its own makes another layer
        with pytest.raises(mp.AmbiguousMatchError):
            matched(linear("a", "b"), linear("c"), ties=ties)
    with pytest.raises(mp.AmbiguousMatchError):  # which of two is the one that is tied
        matched(linear("a", "b"), linear("c", "d"), ties=(tied("a", "b"), ()))


def test_all_that_is_open_is_told_at_once_to_be_filled_in(tmp_path):
    def net(*names):
        wide, thin = (
            {name: mp.nn.Linear(*of) for name in some} for some, of in ((names[:2], (4, 4)), (names[2:], (2, 2)))
        )
        return mp.nn.Sequential({**wide, **thin})

    saved, into = net("query", "key", "left", "right"), net("q", "k", "l", "r")
    mp.initialize(saved, mp.init.Normal(), seed=0)
    mp.save(saved, tmp_path / "net.safetensors")
    with pytest.raises(mp.AmbiguousMatchError) as caught:
        mp.load(tmp_path / "net.safetensors", into=into, match="auto")
    text = str(caught.value)
    assert max(map(len, text.splitlines())) <= 80
    rename = eval(text[text.index("rename=") :].removeprefix("rename="))
    assert list(rename) == [r"^query\.", r"^key\.", r"^left\.", r"^right\."]
    with pytest.raises(mp.MultiparamError):  # as it is it fits nothing
        mp.load(tmp_path / "net.safetensors", into=into, match="auto", rename=rename)
    told = dict(zip(rename, ("q.", "k.", "l.", "r."), strict=True))
    mp.load(tmp_path / "net.safetensors", into=into, match="auto", rename=told)
    assert np.array_equal(mp.parameters(into)["r.weight"].value, mp.parameters(saved)["right.weight"].value)


def test_what_is_filled_in_is_a_layer_without_those_below_it():
    given = {**linear("a", "b"), **linear("a.in", shape=(3, 3)), "weight": (5,), "c.weight": (5,)}
    wanted = {**linear("x", "y"), "z.weight": (5,), "other.weight": (5,)}
    with pytest.raises(mp.AmbiguousMatchError) as caught:
        matched(given, wanted)
    rename = eval(str(caught.value).partition("rename=")[2])
    assert list(rename) == [r"^a\.(?=[^.]+$)", r"^b\.", "^(?=[^.]+$)", r"^c\."]
    moved = [renamer(rename)(name) for name in ("a.weight", "a.in.weight", "weight")]
    assert moved == ["?.weight", "a.in.weight", "?.weight"]


def test_of_very_many_that_are_open_some_are_told():
    given, wanted = (linear(*(f"{side}{chr(0x4E00 + one)}" for one in range(500))) for side in ("a.", "b."))
    with pytest.raises(mp.AmbiguousMatchError) as caught:
        matched(given, {name.replace("b.", "b.x"): shape for name, shape in wanted.items()})
    lines = str(caught.value).splitlines()
    assert len(lines) < 80
    assert lines[-2].strip() == "# ... and 440 more layers of the file"
    assert "and 488 more" in " ".join(lines)
    assert len(eval(str(caught.value).partition("rename=")[2])) == 60
