"""Files of every format, changed in ways that their readers must not trust: each is read or refused, and no more.

Each file is a valid one with a few changes, made where they hurt: in bytes, in numbers, in a header's JSON, in a zip
file's members, in a pickle's operations, in a folder's files.
"""

import contextlib
import io
import json
import os
import pickle
import pickletools
import re
import shutil
import tempfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from effort import effort
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_files import (
    DATA,
    STATE,
    WHOLE,
    A,
    B,
    Tensor,
    call,
    h5,
    message,
    nd_dict,
    npz,
    numbers,
    ordered,
    saved,
    state_dict,
    storage,
    tensor,
)
from safetensors.numpy import save

import multiparam as mp
from multiparam.cli.show import tree
from multiparam.formats import data_size

FILES = 2_000 * int(os.environ.get("MULTIPARAM_TEST_SCALE", "1"))
MEMORY, CALLS = 60e6, 1_000_000  # that a file of a few kilobytes may take; a tenth of this is usual

# --- valid files -----------------------------------------------------------------------------------------------------


def ours(**options):
    """What is in a folder into which a model was saved, with ties, kinds, settings and digests."""
    with tempfile.TemporaryDirectory() as folder:
        shared = mp.nn.Linear(3, 3, backend="numpy")
        norm = mp.nn.LayerNorm(3, backend="numpy")
        mp.save(mp.nn.Sequential(shared, norm, shared, backend="numpy"), f"{folder}/net.safetensors", **options)
        return {one.name: one.read_bytes() for one in sorted(Path(folder).iterdir())}


def theirs():
    """Shards of another library, with no digests and no token."""
    names = {"a": np.ones((2, 3), "f4"), "b": np.ones(3, "f2"), "c": np.ones((), "i8")}
    places = {name: f"model-{name}.safetensors" for name in names}
    index = json.dumps({"metadata": {"total_size": 38}, "weight_map": places}).encode()
    return {"model.safetensors.index.json": index, **{places[name]: save({name: one}) for name, one in names.items()}}


EMPTY = np.zeros((0, 2), "f4")
CELL = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
PADDLES = {
    **{f"rnn.{part}_l0": numbers(4, 4) if "weight" in part else numbers(4) for part in CELL},
    **{f"rnn.0.cell.{part}": numbers(4, 4) if "weight" in part else numbers(4) for part in CELL},
    **{f"attn.{part}_proj.weight": numbers(4, 4) for part in ("q", "k", "v", "out")},
    **{f"attn.{part}_proj.bias": numbers(4) for part in ("q", "k", "v", "out")},
    "bn._mean": numbers(3),
    "bn._variance": numbers(3),
    "table.weight": (table := numbers(5, 4)),
    "head.weight": table,
    "half": numbers(3).astype("f2"),
    "none": EMPTY,
    "big@@.0": numbers(4),
    "big@@.1": numbers(2),
    "UnpackBigParamInfor@@": {"big": {"OriginShape": (2, 3), "slices": ["big@@.0", "big@@.1"]}},
}
GLUONS = {
    **{f"net0_lstm0_l0_{part}": numbers(8, 2) for part in ("i2h_weight", "h2h_weight")},
    **{f"net0_lstm0_l0_{part}": numbers(8) for part in ("i2h_bias", "h2h_bias")},
    **{f"_unfused.0.{part}": numbers(8, 2) for part in ("i2h_weight", "h2h_weight")},
    **{f"bn.{part}": numbers(3) for part in ("gamma", "beta", "running_mean", "running_var")},
    "arg:dense0_weight": numbers(2, 3),
    "arg:dense0_bias": numbers(2),
    "none": EMPTY,
}
NESTED = {
    "state_dict": STATE,
    "again": [tensor("0", (3, 4), (1, 3), count=12), tensor("0", (2, 2), (0, 0), 3, count=12)],
    "p": call("torch._utils", "_rebuild_parameter", tensor("1", (4,)), True, ordered([])),
    "old": call("torch._utils", "_rebuild_tensor", storage("1", 4), 1, (2,), (1,)),
    "none": tensor("1", (0, 2), count=4),
    "epoch": 3,
    "size": call("torch", "Size", (1, 2)),
}
SEEDS = {
    **{name: {"file": data} for name, data in WHOLE.items()},
    "nested torch": {"file": saved(NESTED, DATA)},
    "gluon": {"file": nd_dict(GLUONS)},
    "paddle 2": {"file": pickle.dumps(state_dict(PADDLES, {"head.weight": "x", "table.weight": "x"}), protocol=2)},
    "paddle pairs": {"file": pickle.dumps([Tensor("linear_0.w_0", numbers(2, 3)), {"a": numbers(2)}], protocol=4)},
    "safetensors": {
        "file": save({"a": np.ones((2, 3), "f4"), "b.c": np.ones(3, "f2"), "d": np.ones((), "?"), "none": EMPTY})
    },
    "empty npz": {"file": npz({"none": EMPTY, "one": EMPTY.sum()})},
    "empty h5": {"file": h5({"x": {"none": EMPTY, "one": EMPTY.sum()}})},
    "empty flax": {"file": message({"none": EMPTY, "step": 3})},
    "ours": ours(),
    "shards": ours(shard_size=40),
    "their shards": theirs(),
}

FITTING = {"0.weight": A, "0.bias": B}
LOADED = {
    "safetensors": save(FITTING),
    "torch": WHOLE["torch"],
    "old torch": WHOLE["old torch"],
    "npz": npz(FITTING),
    "packed npz": npz(FITTING, np.savez_compressed),
    "mxnet": nd_dict(FITTING),
    "paddle": pickle.dumps({"0.weight": A.T, "0.bias": B}, protocol=2),
    "flax": message({"params": {"0": {"kernel": A.T, "bias": B}}}),
}

# --- changes ---------------------------------------------------------------------------------------------------------

NUMBERS = [0, 1, 2, 3, 7, 8, 32, 33, 127, 128, 255, 256, 2**15, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40]
NUMBERS += [2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 2**70]
VALUES = [*NUMBERS, -1, -(2**63), 0.5, 1e300, float("nan"), float("inf"), None, True, "", "x", "../x", "\0", "é" * 99]
VALUES += [
    [],
    {},
    [[]],
    [0],
    [1] * 40,
    [2**62] * 3,
    {"a": {}},
    "F64",
    "BOOL",
    "BF16",
    "C64",
    "F8_E8M0",
    "I4",
    "{}",
    "[",
]
VALUES += [
    "Linear",
    "MultiheadAttention",
    "Sequential",
    "GRU",
    "model",
    "list",
    "tensor",
    "0" * 16,
    json.loads("[" * 90 + "]" * 90),
]
positions, few, choices = st.integers(0, 2**20), st.integers(1, 40), st.sampled_from


def changed_bytes(draw, data, others):
    """Bytes, one way or another; `others` are files to take a part from."""
    at, size = draw(positions) % (len(data) + 1), draw(few)
    way = draw(choices(["flip", "byte", "cut", "insert", "remove", "repeat", "swap", "splice", "number", "number"]))
    head, part, rest = data[:at], data[at : at + size], data[at + size :]
    if way == "flip":
        return head + bytes(byte ^ (1 << size % 8) for byte in part[:1]) + data[at + 1 :]
    if way == "byte":
        return head + bytes([draw(st.integers(0, 255))]) + data[at + 1 :]
    if way == "cut":
        return head
    if way == "insert":
        return head + draw(st.binary(min_size=1, max_size=8)) + part + rest
    if way == "remove":
        return head + rest
    if way == "repeat":
        return head + part * draw(st.integers(2, 50)) + rest
    other = draw(choices(others))
    there = draw(positions) % (len(other) + 1)
    if way == "swap":
        start, end = sorted((at, draw(positions) % (len(data) + 1)))
        middle = data[start + size : end]
        return data[:start] + data[end : end + size] + middle + data[start : start + size] + data[end + size :]
    if way == "splice":
        return head + other[there : there + 10 * size]
    width = draw(choices([1, 2, 4, 8]))
    value = draw(choices([*NUMBERS, len(data), len(data) - 1, there])) % 256**width
    at -= at % draw(choices([1, width]))
    return data[:at] + value.to_bytes(width, draw(choices(["little", "little", "big"]))) + data[at + width :]


def leaves(thing):
    inside = thing.values() if isinstance(thing, dict) else thing if isinstance(thing, list) else ()
    return sum(map(leaves, inside)) or 1


def changed_json(draw, thing):
    """What JSON holds, with something in it taken away, added or replaced; JSON in its texts too."""
    if isinstance(thing, str) and thing[:1] == "{" and draw(st.booleans()):
        with contextlib.suppress(ValueError):
            return json.dumps(changed_json(draw, json.loads(thing)))
    if not isinstance(thing, (dict, list)) or not thing or not draw(st.integers(0, 9)):
        return draw(choices(NUMBERS if isinstance(thing, int) and draw(st.booleans()) else VALUES))
    items = [*thing.items()] if isinstance(thing, dict) else [*enumerate(thing)]
    # one of the leaves, and not of the branches, is as likely as any other
    sizes = [leaves(value) for _, value in items]
    at = draw(choices([index for index, size in enumerate(sizes) for _ in range(size)]))
    key, value = items[at]
    way = draw(choices(["inside"] * 12 + ["remove", "add", "move"]))
    if way == "inside":
        items[at] = key, changed_json(draw, value)
    elif way == "remove":
        del items[at]
    elif way == "add":
        items.insert(at, (draw(choices(["", "x", "0", "__metadata__", "shape", "a.b", key])), value))
    else:
        other, _ = items[draw(positions) % len(items)]
        items[at] = other, value
    return Pairs(items) if isinstance(thing, dict) else [value for _, value in items]


class Pairs(dict):
    """A dict that may have a name twice when it is written."""

    def __init__(self, pairs):
        super().__init__(pairs)
        self.pairs = pairs

    def items(self):
        return self.pairs


def changed_text(draw, text):
    """JSON."""
    try:
        thing = json.loads(text)
    except (ValueError, RecursionError):
        return changed_bytes(draw, text, [text])
    if not draw(st.integers(0, 5)):
        return changed_bytes(draw, text, [text])
    # Python's own encoder in C asks a dict for its length and not for its items
    return "".join(json.JSONEncoder(indent=0).iterencode(changed_json(draw, thing))).encode()


def changed_safetensors(draw, data, others):
    """A header whose length is right, or any bytes."""
    size = int.from_bytes(data[:8], "little")
    if size > len(data) - 8 or not draw(st.integers(0, 3)):
        return changed_bytes(draw, data, others)
    text = changed_text(draw, data[8 : 8 + size])
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def operations(data):
    """The operations of the pickles that bytes begin with, and the bytes behind them."""
    found, stream, end = [], io.BytesIO(data), 0
    with contextlib.suppress(Exception):  # what is behind them is no pickle
        while end < len(data):
            one = [(at, stream.tell()) for _, _, at in pickletools.genops(stream)]
            found += [data[start:stop] for start, stop in one]
            end = stream.tell()
    return [one for one in found if one[:1] != b"\x95"], data[end:]  # frames need not be, and would not fit


ODD = [
    b"0",
    b"1",
    b"2",
    b"(",
    b")",
    b"]",
    b"}",
    b"N",
    b"\x88",
    b"t",
    b"\x85",
    b"\x86",
    b"l",
    b"d",
    b"s",
    b"u",
    b"a",
    b"e",
]
ODD += [
    b"b",
    b"R",
    b"Q",
    b"\x81",
    b"\x93",
    b"\x94",
    b"h\0",
    b"h\1",
    b"h\2",
    b"q\0",
    b"q\1",
    b".",
    b"\x8f",
    b"\x90",
    b"\x91",
]
ODD += [
    b"K\0",
    b"K\1",
    b"K\xff",
    b"J\xff\xff\xff\xff",
    b"J\xff\xff\xff\x7f",
    b"\x8a\x09" + b"\1" * 9,
    b"G" + b"\x7f" * 8,
]
ODD += [
    b"\x8c\1x",
    b"\x8c\0",
    b"X\1\0\0\0a",
    b"C\0",
    b"C\4abcd",
    b"cnumpy\nndarray\n",
    b"cnumpy\ndtype\n",
    b"cos\nsystem\n",
]
ODD += [
    b"cbuiltins\ntuple\n",
    b"c_codecs\nencode\n",
    b"ctorch\nSize\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ca\nb\n",
]


def changed_pickle(draw, data, others):
    """Operations taken away, moved, repeated and put in from other pickles; or any bytes."""
    found, rest = operations(data)
    if not found or not draw(st.integers(0, 3)):
        return changed_bytes(draw, data, others)
    at, size = draw(positions) % len(found), draw(few) % 4 + 1
    way = draw(choices(["remove", "repeat", "swap", "odd", "odd", "insert", "part", "argument"]))
    part = found[at : at + size]
    if way == "remove":
        part = []
    elif way == "repeat":
        part *= draw(few)
    elif way == "swap":
        there = draw(positions) % len(found)
        found[there], part = found[at], [found[there], *found[at + 1 : at + size]]
    elif way == "odd":
        part = [draw(choices(ODD)), *part[1:]]
    elif way == "insert":
        part = [draw(choices(ODD)), *part]
    elif way == "part":
        other, _ = operations(draw(choices([data, *PICKLES])))
        there = draw(positions) % len(other)
        part = other[there : there + draw(few)]
    else:
        part = [changed_bytes(draw, one, others) for one in part]
    return b"".join([*found[:at], *part, *found[at + size :]]) + rest


def changed_zip(draw, data, others):
    """Members changed, with checksums that are right; or any bytes."""
    members = []
    with contextlib.suppress(Exception), zipfile.ZipFile(io.BytesIO(data)) as file:  # it may be damaged already
        members = [(name, file.read(name)) for name in file.namelist()]
    if not members or not draw(st.integers(0, 3)):
        return changed_bytes(draw, data, others)
    at, there = draw(positions) % len(members), draw(positions) % len(members)
    way = draw(choices(["inside"] * 8 + ["remove", "again", "swap", "name"]))
    name, inside = members[at]
    if way == "inside":
        members[at] = name, changed(draw, inside, others)
    elif way == "remove":
        del members[at]
    elif way == "again":
        members.append(members[there])
    elif way == "swap":
        members[at], members[there] = (name, members[there][1]), (members[there][0], inside)
    else:
        members[at] = (
            draw(choices(["x", "../x", "/x", "x.npy", "data.pkl", "data/0", "é" * 99, name + "/"])),
            inside,
        )
    out = io.BytesIO()
    with zipfile.ZipFile(
        out, "w", draw(choices([zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    ) as file:
        for name, inside in members:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a name that is there twice
                file.writestr(name, inside)
    return out.getvalue()


def changed(draw, data, others):
    """A file, changed as its kind of file suggests."""
    if data[:2] == b"PK":
        return changed_zip(draw, data, others)
    if data[:1] == b"\x80":
        return changed_pickle(draw, data, others)
    if data[8:9] == b"{":
        return changed_safetensors(draw, data, others)
    return changed_text(draw, data) if data[:1] == b"{" else changed_bytes(draw, data, others)


def changed_folder(draw, files):
    """A folder's files: one of them changed, or which they are."""
    names = [*files]
    name, other = draw(choices(names)), draw(choices(names))
    way = draw(choices(["inside"] * 8 + (["remove", "swap", "take"] if len(names) > 1 else [])))
    if way == "inside":
        return {**files, name: changed(draw, files[name], ALL)}
    if way == "remove":
        return {one: data for one, data in files.items() if one != name}
    return {**files, name: files[other], **({other: files[name]} if way == "swap" else {})}


ALL = [data for files in SEEDS.values() for data in files.values()]
PICKLES = [data for data in ALL if data[:1] == b"\x80"]
PICKLES += [
    zipfile.ZipFile(io.BytesIO(SEEDS[name]["file"])).read("archive/data.pkl") for name in ("torch", "nested torch")
]

# --- what must hold --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def refused_at_most(folder):
    """Lets an error pass that names the file and a reason, which is more than what a reader stumbled over."""
    try:
        yield
    except mp.CheckpointError as error:
        told = Path(error.path) == folder or Path(error.path).parent == folder
        if not (told and error.why and str(error).isprintable()) or re.search(r": \w+(Error|Exception): ", error.why):
            raise


def read_whole(path, folder):
    """Opens a file, and asks for all that can be asked for."""
    found = mp.open(path)
    for text in (str(found), *tree(found, [*found], 80)):
        assert all(line.isprintable() for line in text.split("\n"))
    for entry in found.values():
        with refused_at_most(folder):
            value = entry.value
            assert (value.shape, value.dtype) == (entry.shape, entry.dtype)
            assert value.nbytes == data_size(entry.shape, entry.dtype)


@pytest.mark.bounds
@settings(max_examples=-(-FILES // len(SEEDS)), suppress_health_check=[*HealthCheck])
@given(st.data())
@pytest.mark.parametrize("seed", SEEDS)
def test_a_changed_file_is_read_or_refused_and_takes_no_great_memory_or_work(tmp_path, seed, data):
    files = SEEDS[seed]
    for _ in range(data.draw(choices([1, 1, 1, 2, 3]))):
        files = changed_folder(data.draw, files)
    folder = tmp_path / "files"
    shutil.rmtree(folder, ignore_errors=True)  # and not written over, since what is mapped may be in use
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    with effort() as taken, refused_at_most(folder):
        read_whole(folder if len(SEEDS[seed]) > 1 else folder / next(iter(SEEDS[seed])), folder)
    assert taken.memory < MEMORY
    assert taken.calls < CALLS


@settings(max_examples=-(-FILES // 10 // len(LOADED)), suppress_health_check=[*HealthCheck])
@given(st.data())
@pytest.mark.parametrize("seed", LOADED)
def test_a_changed_file_is_loaded_whole_or_not_at_all(tmp_path, seed, data):
    model = mp.nn.Sequential(mp.nn.Linear(3, 4, backend="numpy"), backend="numpy")
    before = {name: one.value.tobytes() for name, one in mp.parameters(model).items()}
    path = tmp_path / "file"
    path.unlink(missing_ok=True)
    path.write_bytes(changed(data.draw, LOADED[seed], ALL))
    try:
        report = mp.load(path, into=model, strict=data.draw(st.booleans()))
    except mp.MultiparamError:
        assert {name: one.value.tobytes() for name, one in mp.parameters(model).items()} == before
        assert mp.tied(model) == []
    else:
        assert len(report.loaded) == 2 or report.missing
        assert str(report)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_files_are_valid_before_they_are_changed(tmp_path, seed):
    for name, content in SEEDS[seed].items():
        (tmp_path / name).write_bytes(content)
    read_whole(tmp_path if len(SEEDS[seed]) > 1 else tmp_path / next(iter(SEEDS[seed])), tmp_path)
