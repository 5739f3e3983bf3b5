"""A byte that changed is an error, and is found before anything is written."""

import itertools
import json
import os

import ml_dtypes
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from xxhash import xxh3_64

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


@pytest.mark.bounds
def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path, killed):
    path = tmp_path / "net.safetensors"
    mp.save({"0": np.zeros(3)}, path)
    for _ in killed(SAVING, path, times=min(20 * SCALE, 200), turns=2_000_000):
        found = mp.open(path)
        assert found.verify()[1] == 0
        values = {float(one.value.flat[0]) for one in found.values()}
        assert len(values) == 1
        assert all((one.value == values.copy().pop()).all() for one in found.values())
        for left in tmp_path.glob(".*.tmp"):
            left.unlink()


def test_every_flipped_bit_of_the_header_is_found_or_changes_nothing(tmp_path):
    path = tmp_path / "net.safetensors"
    tensors = {"a": np.arange(3, dtype=np.float32), "b": np.arange(3, 6, dtype=np.float32)}
    mp.save(tensors, path)
    sound = path.read_bytes()
    stop = 8 + int.from_bytes(sound[:8], "little")
    silent = set()
    for position, bit in itertools.product(range(stop), range(8)):
        path.write_bytes(sound)
        flipped(path, position, bit)
        try:
            found = mp.load(path)
            checked = mp.open(path).verify()
        except mp.CheckpointError:
            continue
        assert checked == (2, 0)
        assert all(np.array_equal(found[name], value, equal_nan=True) for name, value in tensors.items())
        assert all(found[name].dtype == value.dtype for name, value in tensors.items())
        silent.add(sound[max(0, position - 20) : position + 20])
    # what nobody reads: the name of the header's own digest, the format that other libraries look for, blanks
    assert all(b"header" in one or b"format" in one or b"  " in one for one in silent), silent


def _changed(path, old, new, count=1):
    """Another text of the same length in a header."""
    data = path.read_bytes()
    assert len(old) == len(new)
    assert old in data
    path.write_bytes(data.replace(old, new, count))


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b'"multiparam"', b'"nultiparam"', "multiparam's metadata are called 'nultiparam'"),
        (b'\\"digests\\"', b'\\"digestr\\"', "it has no digests"),
        (b'\\"weight\\"', b'\\"weighs\\"', "it has a digest of 'weighs', and no such tensor"),
        (b'"weight":{', b'"weighs":{', "it has a digest of 'weight', and no such tensor"),
        (b'"F32"', b'"I32"', "dtypes or shapes, are not those that were written"),
        (b"[8,4]", b"[4,8]", "dtypes or shapes, are not those that were written"),
        (b'\\"layers\\"', b'\\"lawers\\"', "its metadata, or its tensors"),
        (b'\\"Linear\\"', b'\\"Sinear\\"', "its metadata, or its tensors"),
    ],
)
def test_damage_to_the_header_is_said(tmp_path, old, new, why):
    path = tmp_path / "net.safetensors"
    with mp.use("numpy"):
        net = mp.nn.Linear(4, 8)
    mp.save(net, path)
    _changed(path, old, new)
    for attempt in (mp.open, lambda path: mp.load(path, into=net)):
        with pytest.raises(mp.CheckpointError, match=rf"its header is damaged: .*{why}.*check=False"):
            attempt(path)
    assert len(mp.open(path, check=False)) == 2


def test_a_tensor_without_a_digest_beside_others_with_one_is_damage(tmp_path):
    path = tmp_path / "x.safetensors"
    about = {"version": 1, "content": "dict", "digests": {"x": "0" * 16}}
    save_file({"x": np.ones(3), "y": np.ones(3)}, path, {"multiparam": json.dumps(about)})
    with pytest.raises(mp.CheckpointError, match="its header is damaged: 'y' has no digest"):
        mp.open(path)


def test_files_without_a_digest_of_their_header_are_read(tmp_path):
    path = tmp_path / "x.safetensors"
    about = {"version": 1, "content": "dict", "digests": {"x": xxh3_64(np.ones(3)).hexdigest()}}
    save_file({"x": np.ones(3)}, path, {"multiparam": json.dumps(about)})
    assert mp.open(path).verify() == (1, 0)


def test_a_file_that_another_library_writes_again_is_sound(tmp_path):
    mp.save({"x": np.ones(3), "y": np.arange(4)}, tmp_path / "x.safetensors")
    with safe_open(tmp_path / "x.safetensors", "np") as file:
        save_file(load_file(tmp_path / "x.safetensors"), tmp_path / "y.safetensors", file.metadata())
    assert mp.open(tmp_path / "y.safetensors").verify() == (2, 0)


@pytest.mark.parametrize(("old", "new"), [(b'\\"ties\\"', b'\\"tier\\"'), (b'\\"Linear\\"', b'\\"Sinear\\"')])
def test_damage_to_an_index_is_said(tmp_path, old, new):
    with mp.use("numpy"):
        tied = mp.nn.Sequential(*[mp.nn.Linear(4, 4)] * 2, mp.nn.Linear(4, 4))
    mp.save(tied, tmp_path / "net.safetensors", shard_size=60)
    index = tmp_path / "net.safetensors.index.json"
    _changed(index, old, new)
    with pytest.raises(mp.CheckpointError, match=r"index\.json: is damaged: its metadata or its map"):
        mp.open(tmp_path)
    assert len(mp.open(tmp_path, check=False)) == 4


def test_metadata_of_others_are_no_damage(tmp_path):
    save_file(
        {"x": np.ones(3)}, tmp_path / "x.safetensors", {"theirs": '{"version": 1, "digests": {}}', "format": "np"}
    )
    assert mp.open(tmp_path / "x.safetensors").verify() == (0, 1)
