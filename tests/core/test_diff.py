"""What differs between models and files, in any combination."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import save_file

import multiparam as mp
from multiparam.arrays.dtypes import difference
from multiparam.checkpoint.safetensors import DTYPES

SMALL = [dtype for dtype in DTYPES.values() if dtype.isbuiltin != 1]
PLAIN = [dtype for dtype in DTYPES.values() if dtype not in SMALL]


def net(tied=False, seed=0):
    with mp.use("numpy"):
        shared = mp.nn.Linear(8, 8)
        made = mp.nn.Sequential(shared, mp.nn.ReLU(), shared if tied else mp.nn.Linear(8, 8))
    mp.initialize(made, mp.init.XavierUniform(), seed=seed)
    return made


@pytest.fixture
def saved(tmp_path):
    """Saves what it is given; each time another file."""
    count = iter(range(99))

    def save(thing):
        path = tmp_path / f"{next(count)}.safetensors"
        mp.save(thing, path)
        return path

    return save


def test_models_paths_and_open_files_in_any_combination(saved):
    first, second = net(), net()
    mp.parameters(second)["2.bias"][3] = 0.5
    sides = [[one, saved(one), str(saved(one)), mp.open(saved(one))] for one in (first, second)]
    for a in sides[0]:
        assert all(mp.diff(a, other).equal for other in sides[0])
        for b in sides[1]:
            report = mp.diff(a, b)
            assert (report.changed, report.same, report.equal) == ([("2.bias", 0.5)], 3, False)
            assert not any(
                (report.added, report.removed, report.reshaped, report.retyped, report.ties, report.settings)
            )


def test_everything_that_can_differ_is_told(saved):
    a = {
        "gone": np.ones(1),
        "shape": np.ones((2, 3)),
        "dtype": np.ones(2, "f4"),
        "both": np.ones(1),
        "same": np.ones(1),
    }
    b = {"new": np.ones(1), "shape": np.ones((3, 2)), "dtype": np.ones(2, "f8"), "both": np.full(1, 3, "i4")}
    report = mp.diff(saved(a), saved({**b, "same": np.ones(1)}))
    assert report.added == ["new"]
    assert report.removed == ["gone"]
    assert report.reshaped == [("shape", (2, 3), (3, 2))]
    assert report.retyped == [("dtype", np.float32, np.float64), ("both", np.float64, np.int32)]
    assert report.changed == [("both", 2.0)]
    assert report.same == 1
    assert not report.equal


def test_nan_is_nan_where_it_stands_in_the_same_place(saved):
    nan, inf = math.nan, math.inf
    a = {"same": np.array([nan, 1, inf, -inf]), "moved": np.array([nan, 1.0]), "over": np.array([1.0, inf])}
    b = {"same": np.array([nan, 1, inf, -inf]), "moved": np.array([1.0, nan]), "over": np.array([1.0, -inf])}
    report = mp.diff(saved(a), saved({**b, "less": np.ones(1)}))
    assert [name for name, _ in report.changed] == ["moved", "over"]
    assert math.isnan(report.changed[0][1])
    assert report.changed[1][1] == inf
    assert report.same == 1


def test_the_largest_change_comes_first(saved):
    changes = [0.5, math.inf, 2.0, math.nan, 1.0]
    zeros = saved({str(one): np.zeros(()) for one in changes})
    report = mp.diff(zeros, saved({str(one): np.array(one) for one in changes}))
    assert [name for name, _ in report.changed] == ["nan", "inf", "2.0", "1.0", "0.5"]


arrays = st.sampled_from([*PLAIN, *SMALL]).flatmap(
    lambda dtype: hnp.arrays(np.uint8, st.tuples(st.integers(0, 3), st.just(dtype.itemsize))).map(
        lambda raw: (raw & 1 if dtype.kind == "b" else raw).view(dtype)[:, 0]
    )
)


@settings(max_examples=60)
@given(data=st.dictionaries(st.text(min_size=1, max_size=5), arrays, max_size=4))
def test_what_is_the_same_bit_for_bit_is_equal(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("diff") / "data.safetensors"
    mp.save(data, path)
    report = mp.diff(path, mp.open(path))
    assert report.equal
    assert report.same == len(data)


@settings(max_examples=200)
@given(arrays, st.data())
def test_a_difference_is_the_largest_of_all_elements(first, data):
    second = data.draw(hnp.arrays(np.uint8, (len(first), first.itemsize)))
    second = (second & 1 if first.dtype.kind == "b" else second).view(first.dtype)[:, 0]

    def apart(x, y):
        if first.dtype.kind in "iub":
            return float(abs(int(x) - int(y)))
        x, y = (complex(one) if first.dtype.kind == "c" else float(one) for one in (x, y))
        if x == y or (x != x and y != y):
            return 0.0
        # as numpy does: of an infinite part and a part that is no number the distance is infinite
        with np.errstate(all="ignore"):
            return float(np.abs(np.subtract(x, y)))

    expected = [apart(x, y) for x, y in zip(first, second, strict=True)]
    assert difference(first, second) == pytest.approx(
        math.nan if any(map(math.isnan, expected)) else max(expected, default=0.0), rel=1e-12, nan_ok=True
    )


@pytest.mark.parametrize("dtypes", [("i8", "i8"), ("u8", "u8"), ("i8", "u8"), ("u8", "i4")])
def test_large_integers_are_compared_exactly(dtypes):
    large = 2**53 if dtypes[1] != "i4" else 2**20
    first, second = np.array([large + 1], dtypes[0]), np.array([large], dtypes[1])
    assert difference(first, second) == difference(second, first) == 1


def test_empty_tensors_scalars_and_views(saved):
    a = {"empty": np.ones((0, 3)), "scalar": np.array(2.0), "turned": np.arange(6.0).reshape(2, 3).T}
    b = {**a, "empty": np.ones((0, 4)), "scalar": np.array(3.0), "turned": np.ascontiguousarray(a["turned"])}
    report = mp.diff(saved(a), saved(b))
    assert report.reshaped == [("empty", (0, 3), (0, 4))]
    assert report.changed == [("scalar", 1.0)]
    assert mp.diff(saved(a), saved(a)).same == 3


def test_large_tensors_are_compared_in_blocks(monkeypatch):
    monkeypatch.setattr("multiparam.arrays.dtypes.BLOCK", 7)
    first = np.arange(100.0).reshape(10, 10)
    second = first.copy()
    second[9, 9] += 2
    second[0, 1] -= 1
    assert difference(first, second) == 2
    assert difference(first.T, first.T) == 0


def test_ties_of_one_only_are_told_and_their_values_compared(saved):
    tied, apart = net(tied=True), net()
    for name in ("0.weight", "0.bias"):
        mp.parameters(apart)[f"2.{name[2:]}"].assign(mp.parameters(tied)[name].value)
        mp.parameters(apart)[name].assign(mp.parameters(tied)[name].value)
    expected = [("0.weight", "2.weight"), ("0.bias", "2.bias")]
    for a in (tied, saved(tied)):
        for b in (apart, saved(apart)):
            report = mp.diff(a, b)
            assert report.ties == [(names, "a") for names in expected]
            assert (report.changed, report.removed, report.added, report.same) == ([], [], [], 4)
            assert mp.diff(b, a).ties == [(names, "b") for names in expected]
            assert not report.equal
    mp.parameters(apart)["2.bias"][:] = 1
    assert mp.diff(tied, apart).changed == [("2.bias", 1.0)]


def test_what_is_tied_in_both_is_compared_once(saved):
    first, second = net(tied=True), net(tied=True)
    mp.parameters(second)["0.bias"][:] = 1
    for b in (second, saved(second)):
        report = mp.diff(first, b)
        assert (report.changed, report.same, report.ties) == ([("0.bias", 1.0)], 1, [])


def test_ties_to_what_the_other_lacks_are_no_difference_of_ties(saved):
    path = saved({"0.weight": np.ones((8, 8), "f4"), "0.bias": np.zeros(8, "f4")})
    report = mp.diff(net(tied=True), path)
    assert report.ties == []
    assert report.removed == ["2.weight", "2.bias"]


def test_kinds_and_settings(saved):
    with mp.use("numpy"):
        nets = [
            mp.nn.Sequential(mp.nn.LayerNorm(4, eps=eps), activation)
            for eps, activation in ((1e-5, mp.nn.ReLU()), (1e-3, mp.nn.Tanh()))
        ]
    for a in (nets[0], saved(nets[0])):
        for b in (nets[1], saved(nets[1])):
            report = mp.diff(a, b)
            assert report.settings == [("0", "eps", 1e-5, 1e-3), ("1", "kind", "ReLU", "Tanh")]
            assert (report.same, report.equal) == (2, False)
            assert "  1  kind ReLU, then Tanh" in str(report)


def test_a_file_that_tells_no_settings_differs_in_none(tmp_path):
    with mp.use("numpy"):
        norm = mp.nn.LayerNorm(4, eps=1e-3)
    save_file({name: one.value for name, one in mp.state(norm).items()}, tmp_path / "plain.safetensors")
    assert mp.diff(norm, tmp_path / "plain.safetensors").equal


def test_names_can_be_changed_before(saved):
    first, second = net(tied=True), net(tied=True)
    with mp.use("numpy"):
        wrapped = mp.nn.Sequential({"body": first})
    for a in (wrapped, saved(wrapped)):
        for b in (second, saved(second)):
            assert mp.diff(a, b, rename={r"^body\.": ""}).equal
            assert mp.diff(b, a, rename={"^": "body."}).equal
            assert not mp.diff(a, b).equal
            assert mp.diff(a, b).suggestion == {r"^body\.": ""}
            assert 'a prefix differs: pass rename={"^": "body."}' in str(mp.diff(b, a))
    with pytest.raises(mp.ArgumentError, match=r"rename= turns both '0.weight' and '0.bias' into 'x'"):
        mp.diff(first, second, rename={"^0.*": "x"})
    with pytest.raises(mp.ArgumentError, match="takes a dict"):
        mp.diff(first, second, rename="x")


def test_one_tensor_of_each_is_in_memory_at_a_time(saved):
    path = saved({str(index): np.full(1000, float(index)) for index in range(5)})
    live = []

    def reads(checkpoint):
        return checkpoint.watched(lambda: live.append(None))

    report = mp.diff(reads(mp.open(path)), reads(mp.open(path)))
    assert report.same == 5
    assert len(live) == 10
    # what has another shape is not read at all
    live.clear()
    assert mp.diff(reads(mp.open(path)), saved({"0": np.ones(3)})).reshaped
    assert live == []


def test_what_cannot_be_compared_says_why(tmp_path):
    with pytest.raises(mp.BackendError, match="a model, a path or an open file"):
        mp.diff(net(), {"x": np.ones(2)})
    with pytest.raises(mp.CheckpointError, match="no such file"):
        mp.diff(net(), tmp_path / "none")
    with mp.use("numpy"):
        lazy = mp.nn.Sequential(mp.nn.LazyLinear(4))
    with pytest.raises(mp.UninitializedError, match=r"'0.weight' .*materialize"):
        mp.diff(net(), lazy)


def test_a_report_is_readable_in_eighty_columns(saved):
    names = [f"encoder.layers.{index}.{'attention.' * 12}weight\n" for index in range(40)]
    a = {**{name: np.zeros(2) for name in names}, "same": np.ones(1)}
    b = {**{name: np.full(2, index + 1.0) for index, name in enumerate(names)}, "same": np.ones(1)}
    report = mp.diff(saved(a), saved({**b, "重み" * 100: np.ones(1)}))
    lines = str(report).splitlines()
    assert lines[:2] == ["differ: 40 changed, 1 added", "1 tensor the same"]
    assert lines[3].endswith("weight\\n  by 40")
    assert "  … and 28 more" in lines
    assert max(len(line) for line in lines) <= 80
    assert "…" in lines[3]


def test_an_equal_report_says_so():
    assert str(mp.diff(net(), net())) == "equal\n4 tensors the same"
