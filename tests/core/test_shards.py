"""Checkpoints in several files: readable by others, whole at any moment, and never from elsewhere."""

import json
import os

import made_files
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import multiparam as mp
from multiparam.checkpoint import checkpoint, shards
from multiparam.checkpoint.shards import parsed_size

SCALE = int(os.environ.get("MULTIPARAM_TEST_SCALE", "1"))


@pytest.fixture
def net():
    with mp.use("numpy"):
        layers = [mp.nn.Linear(20, 20) for _ in range(4)]
        net = mp.nn.Sequential(*layers, layers[0])
    mp.initialize(net, mp.init.Normal(), seed=0)
    return net


def values(net):
    return {name: one.value for name, one in mp.parameters(net).items()}


def same(first, second):
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


def test_shards_are_what_others_read(tmp_path, net):
    path = tmp_path / "model.safetensors"
    mp.save(net, path, shard_size="2KB")
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert sorted(set(index["weight_map"].values())) == [f"model-0000{n}-of-00004.safetensors" for n in range(1, 5)]
    assert index["metadata"]["total_size"] == sum(one.nbytes for one in values(net).values())
    found = {name: load_file(tmp_path / file)[name] for name, file in index["weight_map"].items()}
    assert same(found, values(net))
    assert not path.exists()


def test_a_shard_that_is_opened_alone_says_what_it_is(tmp_path, net):
    mp.save(net, tmp_path / "model.safetensors", shard_size="2KB")
    alone = mp.open(tmp_path / "model-00001-of-00004.safetensors")
    assert "one shard of a checkpoint" in str(alone)
    with pytest.raises(mp.MismatchError, match="one shard of a checkpoint"):
        mp.load(alone.path, into=net)
    assert mp.open(tmp_path / "model.safetensors").notes == []
    mp.save(alone, tmp_path / "own.safetensors")
    own = mp.open(tmp_path / "own.safetensors")
    assert (own.content, own.notes, list(own)) == ("dict", [], list(alone))


@pytest.mark.parametrize("name", ["", "model.safetensors", "model.safetensors.index.json"])
def test_a_sharded_checkpoint_is_opened_by_any_of_its_names(tmp_path, net, name):
    mp.save(net, tmp_path / "model.safetensors", shard_size=2000)
    expected = values(net)
    opened = mp.open(tmp_path / name)
    assert same({key: one.value for key, one in opened.items()}, expected)
    assert opened.verify() == (8, 0)
    assert opened.kinds["0"] == "Linear"
    mp.initialize(net, {"*": mp.init.Zeros()})
    mp.load(tmp_path / name, into=net)
    assert same(values(net), expected)


def test_what_fits_is_one_file(tmp_path, net):
    mp.save(net, tmp_path / "model.safetensors", shard_size="1GB")
    assert [one.name for one in tmp_path.iterdir()] == ["model.safetensors"]
    assert len(mp.open(tmp_path)) == 8


def test_a_checkpoint_takes_the_place_of_another_whatever_its_files(tmp_path, net):
    path = tmp_path / "model.safetensors"
    for number, size in enumerate(("2KB", None, "3KB", "2KB", "2KB", "1GB")):
        mp.initialize(net, mp.init.Normal(), seed=number)
        mp.save(net, path, shard_size=size)
        assert same({name: one.value for name, one in mp.open(path).items()}, values(net))
        index = [json.loads(one.read_text())["weight_map"] for one in tmp_path.glob("*.json")]
        named = {name for places in index for name in places.values()} or {path.name}
        assert {one.name for one in tmp_path.glob("*.safetensors")} == named


def test_a_save_that_fails_leaves_the_old_checkpoint(tmp_path, net):
    path = tmp_path / "model.safetensors"
    mp.save(net, path, shard_size="2KB")
    before = {one.name: one.read_bytes() for one in tmp_path.iterdir()}
    with pytest.raises(mp.MismatchError):
        mp.save({"a": np.zeros(1000), "b": np.full(1000, 1e30)}, path, shard_size="2KB", dtype="fp16")
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        '{"weight_map": []}',
        '{"weight_map": {"a": "../a.safetensors"}}',
        '{"weight_map": {"a": "/etc/passwd"}}',
        '{"weight_map": {"a": "x/a.safetensors"}}',
        '{"weight_map": {"a": ".."}}',
        '{"weight_map": {"a": 3}}',
        '{"weight_map": {"a": ""}}',
        '{"weight_map": {"a": "missing.safetensors"}}',
        '{"weight_map": {"a": "loop.safetensors"}}',
        '{"weight_map": {"a": "sound.safetensors"}}',
        '{"weight_map": {"x": "sound.safetensors"}, "metadata": {"multiparam": "{\\"checkpoint\\": \\"1\\"}"}}',
        '{"weight_map": {"x": "sound.safetensors"}, "metadata": {"multiparam": "["}}',
        '{"weight_map": {"x": "sound.safetensors"}, "metadata": 3}',
        '{"weight_map": {"a": ' + "1" * 10_000 + "}}",
    ],
)
def test_an_index_that_is_none_is_refused(tmp_path, text):
    mp.save({"x": np.ones(3)}, tmp_path / "sound.safetensors")
    (tmp_path / "loop.safetensors").symlink_to("loop.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(mp.CheckpointError):
        mp.open(tmp_path)


def test_an_index_of_another_library_is_read(tmp_path):
    from safetensors.numpy import save_file

    for number in (1, 2):
        save_file({f"x{number}": np.full(3, number)}, tmp_path / f"model-{number}.safetensors")
    places = {f"x{number}": f"model-{number}.safetensors" for number in (1, 2)}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    assert {name: one.value[0] for name, one in mp.open(tmp_path).items()} == {"x1": 1, "x2": 2}


def test_a_shard_of_another_checkpoint_is_found(tmp_path, net):
    mp.save(net, tmp_path / "model.safetensors", shard_size="2KB")
    (tmp_path / "other").mkdir()
    mp.save(net, tmp_path / "other" / "model.safetensors", shard_size="2KB")
    os.replace(tmp_path / "other" / "model-00002-of-00004.safetensors", tmp_path / "model-00002-of-00004.safetensors")
    with pytest.raises(mp.CheckpointError, match="of another checkpoint"):
        mp.open(tmp_path)


@pytest.mark.parametrize("wrong", [0, -1, "2 apples", "", True, "GB"])
def test_wrong_sizes_are_refused(tmp_path, net, wrong):
    with pytest.raises(mp.ArgumentError, match="positive number of bytes"):
        mp.save(net, tmp_path / "model.safetensors", shard_size=wrong)


def test_sizes_with_units():
    assert [parsed_size(one) for one in (5, "5", "1kb", "1 MiB", "2GB", "1T")] == [5, 5, 1000, 2**20, 2 * 10**9, 10**12]


SAVING = """
import sys, numpy as np, multiparam as mp
number, path = int(sys.argv[1]), sys.argv[2]
tensors = {f"{i}": np.full((200, 300), number, np.float32) for i in range(6)}
print("ready", flush=True)
for size in ("400KB", "1GB", "600KB") * 1000:
    mp.save(tensors, path, shard_size=size)
"""


@pytest.mark.bounds
def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path, killed):
    path = tmp_path / "model.safetensors"
    mp.save({"0": np.zeros(3)}, path)
    for _ in killed(SAVING, path, times=min(20 * SCALE, 200), turns=4_000_000):
        found = mp.open(path)
        assert found.verify()[1] == 0
        assert len({float(one) for entry in found.values() for one in entry.value.ravel()[::50]}) == 1


def test_a_file_that_is_there_goes_before_an_index_of_its_name(tmp_path):
    path = tmp_path / "model.safetensors"
    index = tmp_path / "model.safetensors.index.json"
    mp.save({"a": np.zeros(100), "b": np.zeros(100)}, path, shard_size="1KB")
    save_file({"a": np.ones(100)}, path)  # as a download does
    for one in (path, tmp_path):
        assert {name: value.sum() for name, value in mp.load(one).items()} == {"a": 100}
    assert mp.load(index)["a"].sum() == 0
    for one in tmp_path.glob("model-*"):
        one.unlink()
    assert mp.load(path).keys() == {"a"}
    with pytest.raises(mp.CheckpointError, match=r"no such file, which model\.safetensors\.index\.json names"):
        mp.open(index)
    mp.save({"c": np.ones(1)}, path)
    assert [one.name for one in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("size", [None, "1KB"])
def test_a_kill_between_two_steps_leaves_one_checkpoint_by_every_name(tmp_path, monkeypatch, size):
    path = tmp_path / "model.safetensors"
    mp.save({"a": np.zeros(100), "b": np.zeros(100)}, path, shard_size=None if size else "1KB")
    monkeypatch.setattr(shards, "_remove", lambda *_, **__: None)  # as where it ends in front of the cleaning up
    monkeypatch.setattr(shards, "_give_way", lambda *_: None)
    mp.save({"a": np.ones(100), "b": np.ones(100)}, path, shard_size=size)
    assert len({float(value) for one in (path, tmp_path) for value in mp.load(one).values() for value in value}) == 1
    monkeypatch.undo()
    mp.save({"a": np.full(100, 2), "b": np.full(100, 2)}, path, shard_size=size)
    assert mp.load(path)["a"].sum() == 200
    assert len(list(tmp_path.iterdir())) == (3 if size else 1)


def test_a_single_file_that_cannot_be_removed_is_said(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    mp.save({"a": np.zeros(100)}, path)
    real = os.unlink

    def unlink(given, *more, **options):
        if os.path.basename(given) == path.name:
            raise PermissionError(13, "Permission denied", str(given))
        real(given, *more, **options)

    monkeypatch.setattr(os, "unlink", unlink)
    monkeypatch.setattr("pathlib.Path.unlink", lambda self, missing_ok=False: unlink(self))
    with pytest.raises(mp.CheckpointError, match=r"cannot be removed: Permission denied; .* model\.safetensors\.index"):
        mp.save({"a": np.ones(100), "b": np.ones(100)}, path, shard_size="1KB")
    assert mp.load(path)["a"].sum() == 0
    assert mp.load(tmp_path / "model.safetensors.index.json")["a"].sum() == 100


def test_a_shard_that_has_more_than_the_index_names_is_refused(tmp_path, net):
    mp.save(net, tmp_path / "model.safetensors", shard_size="2KB")
    index = tmp_path / "model.safetensors.index.json"
    text = json.loads(index.read_text())
    del text["weight_map"]["1.bias"]
    index.write_text(json.dumps(text))
    with pytest.raises(mp.CheckpointError, match=r"index\.json: is damaged"):
        mp.open(tmp_path)
    assert "1.bias" in mp.open(tmp_path, check=False)


def test_a_shard_of_another_library_that_has_more_than_the_index_names_is_refused(tmp_path):
    save_file({"x": np.ones(3), "y": np.ones(3)}, tmp_path / "model-1.safetensors")
    places = {"metadata": {"total_size": 48}, "weight_map": {"x": "model-1.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(places))
    with pytest.raises(mp.CheckpointError, match=r"has 'y', and not by model\.safetensors\.index\.json.*check=False"):
        mp.open(tmp_path)
    assert [*mp.open(tmp_path, check=False)] == ["x", "y"]


def test_pickled_shards_are_opened_as_others_are(tmp_path, pickled):
    for one in (tmp_path, tmp_path / "pytorch_model.bin", tmp_path / "pytorch_model.bin.index.json"):
        found = mp.open(one)
        assert (found.format, found.backend, [*found]) == ("torch", "torch", ["0.weight", "0.bias", "1.weight"])
        assert all(np.array_equal(found[name].value, value) for name, value in pickled.items())
        assert found.ties == [("1.weight", "2.weight")]
    mp.save(mp.open(tmp_path), tmp_path / "one.safetensors")
    assert mp.load(tmp_path / "one.safetensors").keys() == {"0.weight", "0.bias", "1.weight"}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"0.bias": "../shard"}, "no file in its folder"),
        ({"0.bias": "missing.bin"}, "no such file, which"),
        ({"other": "pytorch_model-00001-of-00002.bin"}, "lacks 'other'"),
        ({"0.bias": "pytorch_model-00002-of-00002.bin"}, "lacks '0.bias'|has '0.bias'"),
        ({"0.bias": None}, "has '0.bias', and not by"),
        ({"x": "x.safetensors"}, "of the format safetensors, and other shards are of torch"),
        ({"x": "pytorch_model.bin.index.json"}, "of no known format"),
    ],
)
def test_an_index_of_pickled_shards_is_checked_as_others_are(tmp_path, pickled, change, why):
    mp.save({"x": np.ones(1)}, tmp_path / "x.safetensors")
    index = tmp_path / "pytorch_model.bin.index.json"
    places = {**json.loads(index.read_text())["weight_map"], **change}
    index.write_text(json.dumps({"weight_map": {name: place for name, place in places.items() if place}}))
    with pytest.raises(mp.CheckpointError, match=why):
        mp.open(index)


def test_a_folder_is_opened_as_its_model_and_safetensors_go_first(tmp_path, pickled):
    (tmp_path / "pytorch_model.bin.index.json").rename(tmp_path / "kept")
    (tmp_path / "pytorch_model-00001-of-00002.bin").unlink()
    (tmp_path / "pytorch_model-00002-of-00002.bin").rename(tmp_path / "optimizer.bin")
    with pytest.raises(mp.CheckpointError, match=r"neither a safetensors file nor a model\.bin"):
        mp.open(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(made_files.saved(made_files.STATE, made_files.DATA))
    assert [*mp.open(tmp_path)] == ["0.weight", "0.bias"]
    (tmp_path / "kept").rename(tmp_path / "pytorch_model.bin.index.json")
    assert [*mp.open(tmp_path)] == ["0.weight", "0.bias"]
    mp.save({"a": np.ones(300), "b": np.ones(300)}, tmp_path / "model.safetensors", shard_size="3KB")
    assert [*mp.open(tmp_path)] == ["a", "b"]
    mp.save({"c": np.ones(300)}, tmp_path / "model.safetensors")
    assert [*mp.open(tmp_path)] == ["c"]
    mp.save({"d": np.ones(300)}, tmp_path / "other.safetensors")
    with pytest.raises(mp.CheckpointError, match=r"several files: name one of model\.safetensors, other\.safetensors"):
        mp.open(tmp_path)


@pytest.fixture
def pickled(tmp_path):
    """A checkpoint of torch.save in two shards, with two names of one tensor; its tensors."""
    values = {"0.weight": made_files.A, "0.bias": made_files.B, "1.weight": made_files.numbers(2, 3)}
    tied = made_files.tensor("0", (2, 3))
    shared = made_files.ordered([("1.weight", tied), ("2.weight", tied)])
    shards = [
        made_files.saved(made_files.STATE, made_files.DATA),
        made_files.saved(shared, {"0": values["1.weight"].tobytes()}),
    ]
    names = [["0.weight", "0.bias"], ["1.weight", "2.weight"]]
    places = {}
    for number, (data, inside) in enumerate(zip(shards, names, strict=True), 1):
        place = f"pytorch_model-0000{number}-of-00002.bin"
        (tmp_path / place).write_bytes(data)
        places.update(dict.fromkeys(inside, place))
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return values


def test_a_file_that_gives_way_to_shards_while_it_is_opened_is_no_error(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    mp.save({"a": np.zeros(100)}, path)
    real = checkpoint.index_of
    saves = iter([{"a": np.ones(100), "b": np.ones(100)}])

    def looked(given):
        found = real(given)
        for tensors in saves:
            mp.save(tensors, path, shard_size="800")
        return found

    monkeypatch.setattr(checkpoint, "index_of", looked)
    assert mp.load(path)["a"].sum() == 100
