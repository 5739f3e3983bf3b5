"""Files of our own formats that are broken or made to do harm: an error that says why, and nothing else."""

import json
import os
import tracemalloc

import numpy as np
import pytest
from effort import effort
from safetensors.numpy import save_file

import multiparam as mp
from multiparam.cli import main


def headed(header, data=b""):
    """A safetensors file of this header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def tensor(first, last, shape=None, dtype="U8"):
    return {"dtype": dtype, "shape": [last - first] if shape is None else shape, "data_offsets": [first, last]}


def raw(shape, more=""):
    return f'{{"x":{{"dtype":"U8","shape":{shape},"data_offsets":[0,1]{more}}}}}'.encode()


TWICE = b'"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}'
BROKEN = {
    "overlapping": headed({"x": tensor(0, 2), "y": tensor(1, 3)}, b"abc"),
    "the same place": headed({"x": tensor(0, 2), "y": tensor(0, 2)}, b"ab"),
    "a gap": headed({"x": tensor(0, 1), "y": tensor(2, 3)}, b"abc"),
    "a gap at the start": headed({"x": tensor(1, 3)}, b"abc"),
    "behind the end": headed({"x": tensor(0, 4)}, b"abc"),
    "far behind the end": headed({"x": tensor(2**63, 2**64 - 1)}, b"abc"),
    "turned round": headed({"x": tensor(3, 0, [3])}, b"abc"),
    "negative offsets": headed({"x": tensor(-1, 2, [3])}, b"abc"),
    "another size": headed({"x": tensor(0, 3, [2])}, b"abc"),
    "a size that overflows": headed({"x": tensor(0, 3, [2**62, 2**62])}, b"abc"),
    "bytes too many": headed({"x": tensor(0, 3)}, b"abcd"),
    "NaN": headed(raw("[NaN]"), b"a"),
    "Infinity": headed(raw("[Infinity]"), b"a"),
    "a fraction": headed(raw("[1.0]"), b"a"),
    "negative": headed(raw("[-1]"), b"a"),
    "text": headed(raw('["1"]'), b"a"),
    "null": headed(raw("null"), b"a"),
    "many digits": headed(raw("[" + "1" * 5_000 + "]"), b"a"),
    "a name twice": headed(b"{" + TWICE + b"," + TWICE + b"}", b"a"),
    "a field twice": headed(raw("[1]", ',"shape":[1]'), b"a"),
    "metadata twice": headed(b'{"__metadata__":{},"__metadata__":{},' + TWICE + b"}", b"a"),
    "a key of metadata twice": headed(b'{"__metadata__":{"a":"1","a":"2"},' + TWICE + b"}", b"a"),
    "what metadata say twice": headed({"__metadata__": {"multiparam": '{"ties": [], "ties": []}'}}),
    "metadata that are no text": headed({"__metadata__": {"multiparam": 3}}),
    "half of a character": headed(rb'{"\ud800":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"a"),
    "no text": headed(b'{"\xff":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"a"),
    "no object": headed(b"{]"),
    "nested deeply": headed(b'{"x":' * 100_000),
    "a header that ends early": headed(raw("[1]"))[:-1],
    "a header of 100 MB that is not there": (100_000_000).to_bytes(8, "little") + b"{",
    "a header of 2**63": (2**63).to_bytes(8, "little") + b"{",
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_header_is_refused_with_the_file_and_the_reason(tmp_path, case):
    (tmp_path / "net.safetensors").write_bytes(BROKEN[case])
    tracemalloc.start()
    with pytest.raises(
        mp.CheckpointError, match=r"net\.safetensors: (no valid safetensors file|of no known|its multi)"
    ):
        mp.open(tmp_path / "net.safetensors")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10e6


@pytest.mark.parametrize("shape", [[0, 2**64 - 1], [2**62, 0, 2**62], [1] * 99])
def test_a_shape_that_no_array_has_is_refused_by_name_and_the_others_read(tmp_path, shape):
    size = 0 if 0 in shape else 1
    data = headed({"odd": tensor(0, size, shape), "fine": tensor(size, size + 1)}, b"ab"[: size + 1])
    (tmp_path / "net.safetensors").write_bytes(data)
    found = mp.open(tmp_path / "net.safetensors")
    assert found["fine"].value.size == 1
    assert "cannot be read: numpy can have no array of its shape" in str(found)
    with pytest.raises(mp.CheckpointError, match=r"'odd' cannot be read: numpy can have no array of its shape"):
        found["odd"].read()


def test_a_file_cut_anywhere_is_refused(tmp_path):
    with mp.use("numpy"):
        net = mp.nn.Sequential(mp.nn.Linear(3, 2), mp.nn.ReLU(), mp.nn.Linear(2, 1))
    path = tmp_path / "net.safetensors"
    mp.save(net, path)
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        with pytest.raises(mp.CheckpointError, match=r"net\.safetensors: (no valid|of no known format|is empty)"):
            mp.load(path, into=net)


def test_a_shard_or_an_index_cut_anywhere_is_refused(tmp_path):
    mp.save({"x": np.ones(2), "y": np.ones(2)}, tmp_path / "net.safetensors", shard_size=16)
    for one in sorted(tmp_path.iterdir()):
        whole = one.read_bytes()
        for cut in range(len(whole)):
            one.write_bytes(whole[:cut])
            with pytest.raises(mp.CheckpointError, match=one.name):
                mp.load(tmp_path)
        one.write_bytes(whole)
    assert len(mp.load(tmp_path)) == 2


def test_a_long_header_of_one_name_takes_no_work_for_each_letter(tmp_path):
    name = "x" * 10_000_000
    (tmp_path / "net.safetensors").write_bytes(headed({name: tensor(0, 1)}, b"a"))
    with effort() as taken:
        found = mp.open(tmp_path / "net.safetensors")
        assert len(str(found)) < 1_000
        with pytest.raises(mp.ParameterNotFoundError):
            found["y"]
    assert taken.calls < 100_000
    assert taken.memory < 200e6


# --- folders ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """A checkpoint of two shards, as another library writes it, with no token that would tell them apart."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in "ab":
        save_file({name: np.ones(3)}, folder / f"{name}.safetensors")
    index(folder, {name: f"{name}.safetensors" for name in "ab"})
    return folder


def index(folder, places):
    text = places if isinstance(places, str) else json.dumps({"metadata": {}, "weight_map": places})
    (folder / "model.safetensors.index.json").write_text(text)


def refused(folder, why):
    with pytest.raises(mp.CheckpointError, match=why):
        mp.open(folder)


def test_an_index_that_leads_out_of_its_folder_is_refused(folder):
    save_file({"a": np.ones(3)}, folder.parent / "out.safetensors")
    for place in ("../out.safetensors", str(folder.parent / "out.safetensors"), "./a.safetensors", "..", ".", "a/", ""):
        index(folder, {"a": place})
        refused(folder, r"model\.safetensors\.index\.json: no valid index .*is no file in its folder")
    for place in ("\\\\server\\a", "a\0b", "\ud800.safetensors"):
        index(folder, {"a": place})
        refused(folder, "is no file in its folder")


def test_a_name_that_an_index_has_twice_is_refused(folder):
    index(folder, '{"weight_map": {"a": "a.safetensors", "a": "b.safetensors"}}')
    refused(folder, r"model\.safetensors\.index\.json: no valid index of a sharded checkpoint: 'a' is there twice")


def test_a_shard_that_is_missing_or_has_other_tensors_is_named(folder):
    os.rename(folder / "b.safetensors", folder / "c.safetensors")
    refused(folder, r"b\.safetensors: no such file")
    save_file({"old": np.ones(3)}, folder / "b.safetensors")
    refused(folder, r"b\.safetensors: lacks 'b', which model\.safetensors\.index\.json says it has")
    os.unlink(folder / "b.safetensors")
    (folder / "b.safetensors").mkdir()
    refused(folder, r"b\.safetensors: is a folder")


def test_links_are_followed_to_files_and_refused_elsewhere(folder):
    # the cache of huggingface_hub is made of links out of the folder
    os.rename(folder / "b.safetensors", folder.parent / "blob")
    (folder / "b.safetensors").symlink_to("../blob")
    assert mp.open(folder)["b"].value.sum() == 3
    for target, why in (("b.safetensors", "symbolic links"), ("nowhere", "no such file"), ("/dev/zero", "no regular")):
        (folder / "b.safetensors").unlink()
        (folder / "b.safetensors").symlink_to(target)
        refused(folder, rf"b\.safetensors: .*{why}")


@pytest.mark.parametrize("size", [None, 8])
def test_a_save_over_an_index_removes_its_shards_and_nothing_else_that_it_names(folder, size):
    (folder / "notes.txt").write_text("mine")
    os.mkfifo(folder / "pipe")
    index(folder, {"a": "a.safetensors", "b": "notes.txt", "c": "pipe", "d": "nowhere"})
    mp.save({"x": np.ones(1), "y": np.ones(1)}, folder / "model.safetensors", shard_size=size)
    left = {one.name for one in folder.iterdir()}
    assert {"notes.txt", "pipe"} < left
    assert "a.safetensors" not in left
    assert len(mp.open(folder / "model.safetensors")) == 2


def test_pipes_are_refused_and_not_waited_for(folder):
    for name in ("b.safetensors", "model.safetensors.index.json"):
        (folder / name).unlink()
        os.mkfifo(folder / name)
        refused(folder, rf"{name}: is no regular file")
        assert main(["verify", str(folder / name)]) == 2
    with pytest.raises(mp.CheckpointError, match="json: is no regular file"):
        mp.save({"a": np.ones(3)}, folder / "model.safetensors")


# --- names -----------------------------------------------------------------------------------------------------------

NAMES = [
    "a",
    "a.b",
    "a.b.c",
    "a.",
    ".a",
    "",
    " ",
    "two words",
    "tab\t",
    "line\n",
    "ü",
    "重み",
    "e\u0301",
    "\u202e",
    "🙂",
]
NAMES += [
    "n" * 300,
    "d." * 150,
    "重" * 300,
    "../x",
    "/etc/passwd",
    "C:\\x",
    "a/b",
    "__metadata",
    "0",
    "-1",
    "*",
    "[a]",
    '"',
]
NAMES += ["\\", "\0", "\x7f", "None", "{}", "%s"]


@pytest.mark.parametrize("size", [None, 100])
def test_names_are_files_own(tmp_path, size):
    path = tmp_path / "net.safetensors"
    given = {name: np.full(index % 5, index) for index, name in enumerate(NAMES)}
    mp.save(given, path, shard_size=size)
    for read in (mp.load(path), {name: one.value for name, one in mp.open(path).items()}):
        assert list(read) == NAMES
        assert all(np.array_equal(read[name], one) for name, one in given.items())
    assert mp.open(path).verify() == (len(NAMES), 0)
    assert mp.diff(path, path).equal
    assert mp.open(path)["a.b"].value[0] == 1
    assert main(["convert", str(path), str(tmp_path / "again")]) == 0
    assert mp.diff(path, tmp_path / "again").equal


def test_a_name_with_half_of_a_character_is_refused_and_named(tmp_path):
    for size in (None, 8):
        with pytest.raises(mp.CheckpointError, match=r"cannot hold 'b\\ud800', which has half of a character"):
            mp.save({"a": np.ones(1), "b\ud800": np.ones(1)}, tmp_path / "net.safetensors", shard_size=size)
    assert not [*tmp_path.iterdir()]
