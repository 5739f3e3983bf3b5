"""Files: every dtype and shape, damaged files, and saves that fail."""

import errno
import json
import os
import subprocess
import sys
import tracemalloc

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from xxhash import xxh3_64

import multiparam as mp
from multiparam.checkpoint.safetensors import DTYPES

SCALE = int(os.environ.get("MULTIPARAM_TEST_SCALE", "1"))
SMALL = [dtype.type for dtype in DTYPES.values() if dtype.isbuiltin != 1]
PLAIN = [dtype for dtype in DTYPES.values() if dtype.isbuiltin == 1]


@pytest.fixture
def net():
    with mp.use("numpy"):
        return mp.nn.Sequential(mp.nn.Linear(4, 8), mp.nn.ReLU(), mp.nn.Linear(8, 1))


@settings(max_examples=50 * SCALE)
@given(
    data=st.dictionaries(
        st.text(max_size=30).filter(lambda name: name != "__metadata__"),
        st.sampled_from(PLAIN).flatmap(
            lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0, max_side=4))
        ),
        max_size=5,
    )
)
def test_dicts_round_trip_to_the_bit(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("dicts") / "data.safetensors"
    mp.save(data, path)
    back = mp.load(path)
    theirs = load_file(path)
    assert back.keys() == data.keys() == theirs.keys()
    for name, value in data.items():
        for other in (back[name], theirs[name]):
            assert (other.dtype, other.shape, other.tobytes()) == (value.dtype, value.shape, value.tobytes())


@pytest.mark.parametrize("dtype", SMALL, ids=lambda dtype: dtype.__name__)
def test_small_floats_round_trip(tmp_path, dtype):
    value = np.arange(6).reshape(2, 3).astype(dtype)
    mp.save([value], tmp_path / "small.safetensors")
    (back,) = mp.load(tmp_path / "small.safetensors")
    assert back.dtype == value.dtype
    assert back.tobytes() == value.tobytes()


def test_what_is_not_contiguous_is_written_as_it_reads(tmp_path):
    # safetensors 0.8.0's numpy writer turns these into garbage (its issue 825)
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    views = {
        "t": base.T,
        "step": base[::2, ::-1],
        "f": np.asfortranarray(base),
        "wide": np.broadcast_to(base[0], (3, 6)),
    }
    mp.save(views, tmp_path / "views.safetensors")
    theirs = load_file(tmp_path / "views.safetensors")
    for name, view in views.items():
        assert np.array_equal(theirs[name], view)


def test_big_endian_arrays_are_written_as_numbers(tmp_path):
    mp.save({"x": np.arange(3, dtype=">f4")}, tmp_path / "big.safetensors")
    assert np.array_equal(load_file(tmp_path / "big.safetensors")["x"], [0, 1, 2])


@pytest.mark.parametrize("thing", ["text", None, object(), {"a": "text"}, {"a": None}, {1: np.ones(2)}, [[1, 2]]])
def test_what_cannot_be_saved_is_refused(tmp_path, thing):
    with pytest.raises(mp.MultiparamError):
        mp.save(thing, tmp_path / "thing.safetensors")
    assert not list(tmp_path.iterdir())


def test_dtypes_without_a_code_are_refused(tmp_path):
    for value in (np.ones(2, np.complex128), np.array(["a"]), np.array([object()], dtype=object)):
        with pytest.raises(mp.MultiparamError, match="'x'"):
            mp.save({"x": value}, tmp_path / "thing.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_save_that_fails_leaves_the_old_file(tmp_path, net):
    path = tmp_path / "net.safetensors"
    mp.save(net, path)
    before = path.read_bytes()

    code = f"""
import resource, signal, sys
import numpy as np
import multiparam as mp
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    mp.save({{"x": np.ones(100_000)}}, {str(path)!r})
except mp.CheckpointError as error:
    print(error)
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "cannot be written: File too large; nothing was changed" in shown.stdout
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["net.safetensors"]


def test_paths_that_cannot_be_written_say_why(tmp_path, net):
    with pytest.raises(mp.CheckpointError, match="is a folder") as caught:
        mp.save(net, tmp_path)
    assert caught.value.path == tmp_path
    with pytest.raises(mp.CheckpointError, match="its folder does not exist"):
        mp.save(net, tmp_path / "no" / "net.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_saved_file_has_the_usual_permissions(tmp_path, net):
    mp.save(net, tmp_path / "net.safetensors")
    (tmp_path / "plain").touch()
    assert (tmp_path / "net.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_paths_that_cannot_be_read_say_why(tmp_path):
    with pytest.raises(mp.CheckpointError, match="no such file"):
        mp.load(tmp_path / "missing.safetensors")
    with pytest.raises(mp.CheckpointError, match="is a folder"):
        mp.load(tmp_path)


def test_a_path_that_no_file_can_have_is_refused(tmp_path):
    for path in ("a\0b", "a\ud800"):
        with pytest.raises(mp.ArgumentError, match="no file can have the name"):
            mp.load(path)
    with pytest.raises(mp.CheckpointError, match="File name too long"):
        mp.load("x" * 5_000)
    (tmp_path / "file").write_bytes(b"abc")
    with pytest.raises(mp.CheckpointError, match="Not a directory"):
        mp.load(tmp_path / "file" / "child")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(mp.CheckpointError, match="is no regular file"):
        mp.load(tmp_path / "pipe")


def test_a_folder_that_may_not_be_looked_into_says_so(tmp_path, monkeypatch):
    def stat(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(os, "stat", stat)
    with pytest.raises(mp.CheckpointError, match="file: Permission denied"):
        mp.open(tmp_path / "file")


def test_a_file_that_changes_while_it_is_open_is_not_read_on(tmp_path, net):
    path = tmp_path / "net.safetensors"
    for change in (lambda: os.truncate(path, 100), lambda: os.utime(path, (1, 1))):
        mp.save(net, path)
        found = mp.open(path)
        assert found["0.weight"].value.size
        change()
        with pytest.raises(mp.CheckpointError, match="was changed since it was opened; open it again"):
            found["0.weight"].read()
    # what takes its place changes nothing about it
    mp.save(net, path)
    found = mp.open(path)
    mp.save(np.ones(1), path)
    assert found["0.weight"].value.size


def test_damaged_files_are_refused_and_change_nothing(tmp_path, net):
    path = tmp_path / "net.safetensors"
    mp.save(net, path)
    whole = path.read_bytes()
    before = {name: one.value for name, one in mp.state(net).items()}
    for damaged in [whole[:cut] for cut in (0, 4, 8, 20, len(whole) // 2, len(whole) - 1)] + [
        b"\xff" * 64,
        whole + b"x",
    ]:
        path.write_bytes(damaged)
        with pytest.raises(mp.CheckpointError, match=r"no valid safetensors file|of no known format|is empty"):
            mp.load(path, into=net)
    assert all(np.array_equal(one.value, before[name]) for name, one in mp.state(net).items())


ABOUT = ["{", "[]", '{"ties": 3}', '{"ties": [[]]}', '{"ties": [[1]]}', '{"version": 9}', '{"content": ["x"]}']


ABOUT += ['{"layers": {"0": {"kind": "Linear", "x": %s}}}' % ("[" * depth + "]" * depth) for depth in (20, 500)]


@pytest.mark.parametrize("about", [*ABOUT, "[" * 100_000 + "]" * 100_000, '{"version": ' + "1" * 5_000 + "}"])
def test_damaged_metadata_is_refused(tmp_path, net, about):
    values = {name: one.value for name, one in mp.state(net).items()}
    save_file(values, tmp_path / "net.safetensors", {"multiparam": about})
    with pytest.raises(mp.CheckpointError, match=r"metadata is damaged|newer multiparam"):
        mp.load(tmp_path / "net.safetensors", into=net)


def test_the_metadata_say_what_the_file_is(tmp_path, net):
    mp.save(net, tmp_path / "net.safetensors")
    with safe_open(tmp_path / "net.safetensors", "np") as file:
        about = json.loads(file.metadata()["multiparam"])
        assert len(about.pop("header")) == 16
        assert about == {
            "version": 1,
            "content": "model",
            "edition": 2,
            "layers": {"0": {"kind": "Linear"}, "1": {"kind": "ReLU"}, "2": {"kind": "Linear"}},
            "digests": {name: xxh3_64(one.value.tobytes()).hexdigest() for name, one in mp.parameters(net).items()},
        }


def test_numbers_that_do_not_fit_anywhere_stop_a_load_before_it_writes(tmp_path, net):
    given = {name: np.zeros(one.shape) for name, one in mp.parameters(net).items()}
    before = {name: one.value for name, one in mp.parameters(net).items()}
    for name in given:
        mp.save({**given, name: np.full(given[name].shape, 1e300)}, tmp_path / "wide.safetensors")
        with pytest.raises(mp.MismatchError, match=rf"'{name}': some numbers do not fit"):
            mp.load(tmp_path / "wide.safetensors", into=net)
        assert all(np.array_equal(one.value, before[key]) for key, one in mp.parameters(net).items())


def test_arguments_that_do_not_go_together_are_refused(tmp_path, net):
    mp.save(net, tmp_path / "net.safetensors")
    for options in (
        {"strict": False},
        {"rename": {"a": "b"}},
        {"into": net, "backend": "numpy"},
        {"into": net, "rename": {"(": ""}},
    ):
        with pytest.raises(mp.ArgumentError):
            mp.load(tmp_path / "net.safetensors", **options)
    with pytest.raises(mp.ArgumentError, match="turns both"):
        mp.load(tmp_path / "net.safetensors", into=net, rename={r"\d": "x"})


def test_parameters_can_be_saved_as_a_dict(tmp_path, net):
    mp.save(mp.parameters(net), tmp_path / "params.safetensors")
    assert list(mp.load(tmp_path / "params.safetensors")) == ["0.weight", "0.bias", "2.weight", "2.bias"]


@pytest.mark.parametrize("given", ["BF16", "torch.bfloat16", ml_dtypes.bfloat16, np.dtype(ml_dtypes.bfloat16)], ids=str)
def test_a_dtype_has_many_names(given, tmp_path):
    mp.save({"x": np.ones(3, np.float32)}, tmp_path / "x.safetensors", dtype=given)
    assert mp.open(tmp_path / "x.safetensors")["x"].dtype == ml_dtypes.bfloat16


def test_a_conversion_takes_no_more_than_what_it_makes(net, tmp_path):
    array, path = np.ones((3000, 3000), np.float32), tmp_path / "x.safetensors"
    model = mp.nn.Linear(3000, 3000, bias=False, backend="numpy")
    mp.save({"weight": array}, path, dtype="bf16")
    tracemalloc.start()
    mp.save({"weight": array}, path, dtype="bf16")
    _, saving = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    mp.load(path, into=model)
    _, loading = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    some = 20 << 20  # blocks and pieces
    assert saving < array.nbytes / 2 + some
    assert loading < array.nbytes + some


def test_all_of_an_entry_is_checked_however_it_is_asked_for(tmp_path):
    path = tmp_path / "x.safetensors"
    mp.save({"x": np.arange(100.0)}, path)
    damaged = bytearray(path.read_bytes())
    damaged[-3] ^= 1
    path.write_bytes(damaged)
    entry = mp.open(path)["x"]
    for index in (slice(None), ..., (slice(None),), slice(None, None, -1)):
        with pytest.raises(mp.CheckpointError, match="'x' is damaged"):
            entry[index]
    assert (entry[:50] == np.arange(50.0)).all()


def test_a_link_to_nothing_is_told(tmp_path):
    (tmp_path / "model.safetensors").symlink_to("gone.safetensors")
    with pytest.raises(
        mp.CheckpointError, match=r"no such file: it is a link to gone\.safetensors, which is not there"
    ):
        mp.open(tmp_path / "model.safetensors")


def test_a_long_list_of_names_is_cut(net, tmp_path):
    mp.save({f"{index}.w": np.zeros(1) for index in range(500)}, tmp_path / "x.safetensors")
    with pytest.raises(mp.MismatchError, match="… and 300 more, which the report has") as raised:
        mp.load(tmp_path / "x.safetensors", into=net)
    assert len(raised.value.report.unexpected) == 500
