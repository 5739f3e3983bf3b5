"""A byte that changed is an error, and is found before anything is written."""

import os

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

import multiparam as mp

SCALE = int(os.environ.get("MULTIPARAM_TEST_SCALE", "1"))


@pytest.fixture
def net():
    with mp.use("numpy"):
        return mp.nn.Sequential(mp.nn.Linear(4, 8), mp.nn.ReLU(), mp.nn.Linear(8, 1))


def flipped(path, position, bit=0):
    data = bytearray(path.read_bytes())
    data[position] ^= 1 << bit
    path.write_bytes(bytes(data))


def test_every_flipped_byte_of_the_data_is_found(tmp_path, net):
    path = tmp_path / "net.safetensors"
    mp.save(net, path)
    sound = path.read_bytes()
    before = {name: one.value for name, one in mp.parameters(net).items()}
    start = 8 + int.from_bytes(sound[:8], "little")
    for position in range(start, len(sound)):
        path.write_bytes(sound)
        flipped(path, position, position % 8)
        with pytest.raises(mp.CheckpointError, match=r"is damaged.*check=False"):
            mp.load(path, into=net)
        with pytest.raises(mp.CheckpointError, match="is damaged"):
            mp.open(path).verify()
    assert all(np.array_equal(one.value, before[name]) for name, one in mp.parameters(net).items())
    mp.load(path, into=net, check=False)
    assert mp.open(path, check=False).verify() == (0, 4)


def test_an_entry_is_checked_when_it_is_first_read_whole(tmp_path):
    path = tmp_path / "x.safetensors"
    mp.save({"x": np.arange(10.0), "y": np.ones(3)}, path)
    flipped(path, -1)
    opened = mp.open(path)
    names = [name for name in opened if _is_damaged(opened, name)]
    assert len(names) == 1
    assert opened[names[0]][:1].shape == (1,)  # a part cannot be checked


def _is_damaged(opened, name):
    try:
        opened[name].verify()
    except mp.CheckpointError:
        return True
    return False


def test_files_without_digests_are_read(tmp_path):
    from safetensors.numpy import save_file

    save_file({"x": np.ones(3)}, tmp_path / "x.safetensors")
    assert mp.open(tmp_path / "x.safetensors").verify() == (0, 1)


def test_real_numbers_are_converted_while_they_are_written(tmp_path, net):
    mp.save(net, tmp_path / "half.safetensors", dtype="bf16")
    for name, one in mp.open(tmp_path / "half.safetensors").items():
        assert one.dtype == ml_dtypes.bfloat16
        assert np.array_equal(one.value, mp.parameters(net)[name].value.astype(ml_dtypes.bfloat16))
    mp.save({"n": np.arange(3), "x": np.ones(3)}, tmp_path / "x.safetensors", dtype=np.float16)
    assert [one.dtype.name for one in mp.open(tmp_path / "x.safetensors").values()] == ["int64", "float16"]
    with pytest.raises(mp.MismatchError, match="do not fit"):
        mp.save({"x": np.array([1e30])}, tmp_path / "x.safetensors", dtype="fp16")
    assert load_file(tmp_path / "x.safetensors")["n"].tolist() == [0, 1, 2]  # as it was
    for wrong in ("int8", "float31", object, "complex64"):
        with pytest.raises(mp.ArgumentError, match="dtype of real numbers"):
            mp.save(net, tmp_path / "net.safetensors", dtype=wrong)


def test_a_file_is_saved_as_another_with_all_that_it_tells(tmp_path, net):
    mp.tie(net, "2.bias", to="2.bias")
    mp.save(net, tmp_path / "one.safetensors")
    mp.save(mp.open(tmp_path / "one.safetensors"), tmp_path / "two.safetensors")
    first, second = ((tmp_path / f"{name}.safetensors").read_bytes() for name in ("one", "two"))
    assert first == second


SAVING = """
import sys, numpy as np, multiparam as mp
number, path = int(sys.argv[1]), sys.argv[2]
tensors = {f"{i}": np.full((300, 400 + number), number, np.float32).T for i in range(12)}
print("ready", flush=True)
while True:
    mp.save(tensors, path)
"""


def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path, killed):
    path = tmp_path / "net.safetensors"
    mp.save({"0": np.zeros(3)}, path)
    for _ in killed(SAVING, path, times=min(20 * SCALE, 200), within=0.05):
        found = mp.open(path)
        assert found.verify()[1] == 0
        values = {float(one.value.flat[0]) for one in found.values()}
        assert len(values) == 1
        assert all((one.value == values.copy().pop()).all() for one in found.values())
        for left in tmp_path.glob(".*.tmp"):
            left.unlink()
