"""Calls that cannot be meant as they are: an error of ours, which says what can."""

import inspect
import os

import numpy as np
import pytest
from multiparam_numpy.layers import Module, Variable

import multiparam as mp
from multiparam.formats import disk


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def net():
    return mp.nn.Linear(3, 4, backend="numpy")


@pytest.mark.parametrize(
    ("missing", "near"),
    [
        ("nett.safetensors", "net.safetensors"),
        ("net.safetensor", "net.safetensors"),
        ("net.pt", "net.safetensors"),
        ("Net.safetensors", "net.safetensors"),
        ("enc0der.npz", "encoder.npz"),
        ("encoder.pt", "encoder.npz"),
    ],
)
def test_a_file_that_is_not_there_has_a_near_one(net, missing, near):
    mp.save(net, "net.safetensors")
    np.savez("encoder.npz", x=np.ones(1))
    for attempt in (mp.open, mp.load, lambda path: mp.load(path, into=net), lambda path: mp.diff(net, path)):
        with pytest.raises(mp.CheckpointError, match=rf"^{missing}: no such file; did you mean '{near}'\?$"):
            attempt(missing)


def test_a_file_that_has_no_near_one_has_none_named(net, folder):
    mp.save(net, "net.safetensors")  # which has the suffix in common, and no more
    for path, why in (
        ("zzz.safetensors", "no such file"),
        ("nowhere/net.safetensors", "no such file, nor its folder"),
        ("~/net.safetensors", "no such file, nor its folder; ~ is no home before os.path.expanduser"),
    ):
        with pytest.raises(mp.CheckpointError) as caught:
            mp.open(path)
        assert caught.value.why == why


def test_of_a_great_folder_a_part_is_looked_at(monkeypatch):
    for index in range(50):
        open(f"net{index}.safetensors", "w").close()
    asked = []
    monkeypatch.setattr(disk, "MOST_NAMES", 10)
    monkeypatch.setattr(disk, "close_names", lambda name, names, count: asked.extend(names) or [])
    with pytest.raises(mp.CheckpointError, match=r"no such file$"):
        mp.open("net.safetensors")
    assert len(asked) == 10


def test_arguments_in_another_order_are_told_the_right_one(net):
    mp.save(net, "net.safetensors")
    for wrong in (
        lambda: mp.load(net, "net.safetensors"),
        lambda: mp.load("net.safetensors", net),
        lambda: mp.load(net),
        lambda: mp.load(net, into="net.safetensors"),
        lambda: mp.load(into=net),
        lambda: mp.load("net.safetensors", model=net),
    ):
        with pytest.raises(mp.ArgumentError, match=r"multiparam\.load\(path, into=net\)$"):
            wrong()
    for wrong in (
        lambda: mp.save("net.safetensors", net),
        lambda: mp.save("net.safetensors", "other.safetensors"),
        lambda: mp.save(os.curdir, net),
        lambda: mp.save(net),
        lambda: mp.save(net, net),
        lambda: mp.save(net, "other.safetensors", "bf16"),
    ):
        with pytest.raises(mp.ArgumentError, match=r"multiparam\.save\(net, path\)$"):
            wrong()
    assert [one.name for one in os.scandir()] == ["net.safetensors"]


def test_the_signatures_are_what_is_documented():
    parameters = ["path", "into", "strict", "only", "ignore", "rename", "match", "backend", "check"]
    assert [*inspect.signature(mp.load).parameters] == parameters
    assert [*inspect.signature(mp.save).parameters] == ["thing", "path", "dtype", "shard_size"]
    assert mp.load.__doc__.startswith("Loads a file")


def test_an_empty_path_is_not_the_folder_that_one_is_in(net):
    mp.save(net, "net.safetensors")
    for wrong in (
        lambda: mp.open(""),
        lambda: mp.load("", into=net),
        lambda: mp.save(net, ""),
        lambda: mp.diff("", net),
    ):
        with pytest.raises(mp.ArgumentError, match="this one is empty"):
            wrong()
    assert len(mp.open(".")) == 2


def test_a_folder_without_a_checkpoint_says_so(net):
    os.mkdir("empty")
    with pytest.raises(
        mp.CheckpointError,
        match=r"^empty: is a folder with neither a safetensors file nor a model\.bin",
    ):
        mp.open("empty")
    for name in "ab":
        mp.save(net, f"empty/{name}.safetensors")
    with pytest.raises(mp.CheckpointError, match=r"with several files: name one of a.safetensors, b.safetensors$"):
        mp.open("empty")


def test_what_lies_in_each_other_is_told_how_it_can_be_saved(net):
    for thing, name in (({"a": {"b": np.ones(1)}}, "a.b"), ({"a": [1, 2]}, "a.0"), ([[1]], "0.0"), ({"a": {}}, "a.0")):
        with pytest.raises(mp.ArgumentError, match=rf"what is in it can, under names such as '{name}'$"):
            mp.save(thing, "x.safetensors")
    with pytest.raises(
        mp.BackendError, match=r"'net' cannot be saved: .* got the model Linear, which is saved by itself"
    ):
        mp.save({"net": net}, "x.safetensors")


def test_half_a_byte_is_no_size(net):
    for wrong in (1.5, "0.5", "1.5 B"):
        with pytest.raises(mp.ArgumentError, match="a size is a positive number of bytes"):
            mp.save(net, "net.safetensors", shard_size=wrong)


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda net: mp.init.Normal(0, 0.01), r"std comes first and is 0 here.*std=0\.01"),
        (lambda net: mp.init.TruncatedNormal(0, 0.02), r"std comes first and is 0 here.*std=0\.02"),
        (lambda net: mp.parameters(net).select(kind=mp.nn.Linear), "kind='Linear' say, not"),
        (lambda net: mp.parameters(net).select(role=0), "role='weight' say, not 0"),
        (lambda net: mp.layers(net)["weight"], "'weight' is a parameter"),
        (lambda net: mp.save(mp.layers(net), "net.safetensors"), r"Layer \(pass its \.native\)"),
        (lambda net: mp.nn.Sequential([net]), "a list \\(pass what is in it one by one\\)"),
        (lambda net: mp.nn.Sequential(net, np.tanh), r"multiparam\.nn\.Lambda makes a layer of a function"),
        (lambda net: mp.parameters(net).__setitem__("weight", 1), r"params\['weight'\]\[:\] = value"),
        (lambda net: mp.nn.Dense, "no 'Dense'; did you mean 'Linear'"),
        (lambda net: mp.nn.Conv2D, "no 'Conv2D'; did you mean 'Conv2d'"),
        (lambda net: mp.init.GlorotUniform, "did you mean 'XavierUniform'"),
        (lambda net: mp.layers(mp.nn.Sequential(net, net))[3], "has 2 layers below it"),
        (lambda net: mp.save({"m": np.ma.masked_array([1], [1])}, "m.safetensors"), "'m' is a masked array"),
        (lambda net: mp.save(net, "m.safetensors", dtype="torch.int8"), "not 'torch.int8'"),
    ],
)
def test_the_error_says_what_can_be_meant(net, call, why):
    with pytest.raises((mp.MultiparamError, AttributeError, IndexError), match=why):
        call(net)


def test_a_rule_that_is_undefined_names_what_it_is_defined_for():
    class Scaled(Module):
        def __init__(self):
            self.w, self.scales = Variable(np.zeros((3, 4), np.float32)), Variable(np.zeros(4, np.float32))

    with pytest.raises(mp.ArgumentError, match=r"(?s)'0\.scales'.*Scaled.*register_layer.*'0\.w' for instance"):
        mp.initialize(mp.nn.Sequential(Scaled()), mp.init.XavierUniform())
