"""Files that do not tell whose axes they have: nothing is turned on a guess, and what fits both ways is said."""

import pickle
import warnings

import numpy as np
import pytest
from made_files import npz, numbers
from multiparam_numpy import Module, Variable
from safetensors.numpy import save_file

import multiparam as mp
from multiparam.checkpoint.checkpoint import Checkpoint
from multiparam.formats import Contents, Entry


def two(first=(4, 4), second=(4, 4)):
    """A model of two Linears, whose weights have these shapes."""
    layers = [mp.nn.Linear(*shape[::-1], bias=False, backend="numpy") for shape in (first, second)]
    return mp.nn.Sequential(*layers, backend="numpy")


def values(net):
    return {name: one.value for name, one in mp.parameters(net).items()}


def pickled(path, given):
    path.write_bytes(pickle.dumps(given, protocol=4))


WRITERS = {
    "pickle": pickled,
    "pickle of a model among other things": lambda path, given: pickled(path, {"model": given, "__author__": "x"}),
    "npz": lambda path, given: path.write_bytes(npz(given)),
    "safetensors": lambda path, given: save_file(given, path),
    "safetensors of MLX": lambda path, given: save_file(given, path, metadata={"format": "mlx"}),
    "safetensors of TensorFlow": lambda path, given: save_file(given, path, metadata={"format": "tf"}),
}
writers = pytest.mark.parametrize("writer", WRITERS)


@writers
def test_a_square_matrix_of_nobodys_is_loaded_as_it_is_and_warned_of(tmp_path, writer):
    given = {"0.weight": numbers(4, 4), "1.weight": numbers(4, 4) + 1}
    WRITERS[writer](tmp_path / "file", given)
    net, rename = two(), {r"^model\.": ""}
    with pytest.warns(mp.UncertainLayoutWarning, match=r"0\.weight, 1\.weight$") as said:
        report = mp.load(tmp_path / "file", into=net, rename=rename)
    assert said[0].message.names == ["0.weight", "1.weight"]
    assert said[0].filename == __file__
    assert all(np.array_equal(value, given[name]) for name, value in values(net).items())
    assert any(note.startswith("0.weight, 1.weight: ") for note in report.notes)


def test_a_warning_that_is_an_error_leaves_the_model_as_it_was(tmp_path):
    pickled(tmp_path / "file", {"0.weight": numbers(4, 4), "1.weight": numbers(4, 4)})
    net = two()
    before = values(net)
    with pytest.raises(mp.UncertainLayoutWarning):  # as the tests have all warnings
        mp.load(tmp_path / "file", into=net)
    assert all(np.array_equal(value, before[name]) for name, value in values(net).items())


@writers
def test_a_matrix_that_fits_one_way_only_tells_the_order_of_its_kind(tmp_path, writer):
    given = {"0.weight": numbers(4, 6), "1.weight": numbers(4, 4)}
    WRITERS[writer](tmp_path / "file", given)
    net = two((4, 6), (4, 4))
    mp.load(tmp_path / "file", into=net, rename={r"^model\.": ""})
    assert np.array_equal(values(net)["1.weight"], given["1.weight"])


class Own(Module):
    """A layer of a user's."""

    def __init__(self, *extents):
        self.w = Variable(np.zeros(extents, np.float32))


def test_one_kind_tells_nothing_of_another(tmp_path):
    net = mp.nn.Sequential(Own(4, 6), mp.nn.Linear(4, 4, backend="numpy"), Own(3, 3), backend="numpy")
    pickled(tmp_path / "file", values(net))
    with pytest.warns(mp.UncertainLayoutWarning, match=r"says: 1\.weight$"):  # of Own one tells the other
        mp.load(tmp_path / "file", into=net)


def test_what_all_frameworks_have_in_one_order_is_certain(tmp_path):
    net = mp.nn.Sequential(mp.nn.Embedding(4, 4, backend="numpy"), mp.nn.LayerNorm(4, backend="numpy"), backend="numpy")
    pickled(tmp_path / "file", values(net))
    mp.load(tmp_path / "file", into=net)


def test_what_pytorch_or_multiparam_wrote_is_certain(tmp_path):
    net = two()
    save_file(values(net), tmp_path / "pt.safetensors", metadata={"format": "pt"})
    mp.save(net, tmp_path / "ours.safetensors")
    for name in ("pt", "ours"):
        assert mp.open(tmp_path / f"{name}.safetensors").doubts == {}
        mp.load(tmp_path / f"{name}.safetensors", into=net)


@pytest.mark.parametrize("shard_size", [None, 80])
def test_a_converted_file_is_no_more_certain_than_what_it_was_made_of(tmp_path, shard_size):
    pickled(tmp_path / "file", {"0.weight": numbers(4, 4), "1.weight": numbers(4, 4)})
    mp.save(mp.open(tmp_path / "file"), tmp_path / "out.safetensors", shard_size=shard_size)
    assert [*mp.open(tmp_path / "out.safetensors").doubts] == ["0.weight", "1.weight"]
    with pytest.warns(mp.UncertainLayoutWarning):
        mp.load(tmp_path / "out.safetensors", into=two())


def test_names_change_and_doubts_stay(tmp_path):
    pickled(tmp_path / "file", {"a.weight": numbers(4, 4)})
    assert [*mp.open(tmp_path / "file").renamed({"^a": "b"}).doubts] == ["b.weight"]


def test_a_difference_that_may_be_one_of_axes_is_said(tmp_path):
    net = two()
    given = values(net)
    pickled(tmp_path / "file", {"0.weight": given["0.weight"].T.copy(), "1.weight": given["1.weight"]})
    with pytest.warns(mp.UncertainLayoutWarning, match=r"says: 0\.weight$"):
        report = mp.diff(tmp_path / "file", net)
    assert [name for name, _ in report.changed] == [name for name, _ in report.uncertain] == ["0.weight"]
    assert "Turned it would be the same" in str(report).replace("\n  ", " ")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert mp.diff(tmp_path / "file", tmp_path / "file").equal


def test_safetensors_of_paddles_and_flaxs_have_their_own_layouts(tmp_path):
    paddles = {"0.weight": numbers(4, 4), "0.bias": numbers(4), "1._mean": numbers(3), "1._variance": numbers(3)}
    save_file(paddles, tmp_path / "pd.safetensors", metadata={"format": "pd"})
    found = mp.open(tmp_path / "pd.safetensors")
    assert (found.format, found.backend, found.kinds) == ("safetensors", "paddle", {"0": "Linear", "1": "BatchNorm"})
    assert np.array_equal(found["0.weight"].value, paddles["0.weight"].T)
    flaxs = {"fc.kernel": numbers(4, 4), "fc.bias": numbers(4), "own.kernel": numbers(2, 2, 2)}
    save_file(flaxs, tmp_path / "flax.safetensors", metadata={"format": "flax"})
    found = mp.open(tmp_path / "flax.safetensors")
    assert np.array_equal(found["fc.weight"].value, flaxs["fc.kernel"].T)
    assert np.array_equal(found["own.kernel"].value, flaxs["own.kernel"])


def test_a_pickle_is_paddles_where_it_has_its_marks(tmp_path):
    array = numbers(4, 4)
    kinds = {
        "nobody's": ({"0.weight": array, "0.bias": numbers(4)}, "pickle"),
        "items of a dict": ([("0.weight", array), ("0.bias", numbers(4))], "pickle"),
        "a dict of another framework": ({"linear": {"w": array, "b": numbers(4)}}, "pickle"),
        "a table": ({"0.weight": array, "StructuredToParameterName@@": {}}, "paddle"),
        "a table within": ({"model": {"0.weight": array, "StructuredToParameterName@@": {}}}, "paddle"),
        "a pair": ({"model": {"0.weight": ("linear_0.w_0", array)}}, "paddle"),
        "a list of pairs": ([("linear_0.w_0", array)], "paddle"),
        "a pair alone": (("w", array), "paddle"),
        "parameters' names": ({"linear_0.w_0": array}, "paddle"),
    }
    for thing, name in kinds.values():
        pickled(tmp_path / "file", thing)
        assert mp.open(tmp_path / "file").format == name


def test_the_file_that_a_warning_names_is_the_one_that_does_not_tell(tmp_path):
    long, square, other = (np.arange(n * m, dtype=np.float32).reshape(n, m) for n, m in ((2, 3), (3, 3), (3, 3)))
    first = [Entry("a.w", long.dtype, long.shape, long.copy), Entry("b.w", square.dtype, square.shape, square.copy)]
    second = [first[0], Entry("b.w", other.dtype, other.shape, (other + 1).copy)]
    a = Checkpoint(tmp_path / "a", "own", Contents(first, doubts={"a.w": "a's reason"}))
    b = Checkpoint(tmp_path / "b", "own", Contents(second, doubts={"b.w": "b's reason"}))
    with pytest.warns(mp.UncertainLayoutWarning) as caught:
        assert mp.diff(a, b).uncertain == [("b.w", "b's reason")]
    assert caught[0].message.path == tmp_path / "b"
