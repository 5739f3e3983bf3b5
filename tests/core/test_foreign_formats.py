"""Files of PyTorch, numpy, Keras and Flax, made here byte by byte: what they say comes out, and nothing else."""

import contextlib
import io
import os
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from effort import effort
from made_files import (
    BFLOAT16,
    CONFIGS,
    DATA,
    NET,
    STATE,
    STORAGES,
    TREE,
    WHOLE,
    A,
    B,
    Hdf5,
    Raw,
    call,
    code,
    extension,
    h5,
    headed,
    keras_file,
    layer,
    legacy,
    message,
    named,
    npy,
    npz,
    numbers,
    opened,
    ordered,
    persistent,
    pickled,
    same,
    saved,
    storage,
    tensor,
    zipped,
)

import multiparam as mp
from multiparam.zip_file import Zip

# --- PyTorch: pickles of its functions' names, and storages beside them --------------------------------------------


SAVES = {"zip": saved, "legacy": legacy}


@pytest.mark.parametrize("save", SAVES)
def test_a_state_dict_of_pytorch_is_read(tmp_path, save):
    found = opened(tmp_path, SAVES[save](STATE, DATA))
    assert (found.format, found.backend, found.content) == ("torch", "torch", "dict")
    assert list(found) == ["0.weight", "0.bias"]
    assert same(found["0.weight"].value, A)
    assert same(found["0.weight"][1:3], A[1:3])
    assert same(found["0.bias"].value, B)
    assert not found["0.bias"].value.flags.writeable
    assert (found.ties, found.own, found.left_out) == ([], frozenset(), {})
    net = mp.nn.Sequential(mp.nn.Linear(3, 4), backend="numpy")
    assert str(mp.load(tmp_path / "file", into=net)) == "loaded 2 tensors"
    assert same(mp.parameters(net)["0.weight"].value, A)


@pytest.mark.parametrize("save", SAVES)
def test_strided_and_shared_storages_are_read(tmp_path, save):
    whole = numbers(24)
    views = {
        "transposed": tensor("0", (6, 4), (1, 6), count=24),
        "again": tensor("0", (6, 4), (1, 6), count=24),
        "offset": tensor("0", (3, 4), (6, 1), 8, count=24),
        "expanded": tensor("0", (3, 5), (0, 0), 2, count=24),
        "scalar": tensor("0", (), offset=23, count=24),
        "empty": tensor("0", (0, 3), (3, 1), 24, count=24),
        "cuda": tensor("0", (24,), place="cuda:0"),
    }
    found = opened(tmp_path, SAVES[save](views, {"0": whole.tobytes()}))
    assert same(found["transposed"].value, whole.reshape(4, 6).T)
    assert same(found["offset"].value, whole.reshape(4, 6)[1:, 2:])
    assert same(found["expanded"].value, np.full((3, 5), whole[2]))
    assert same(found["scalar"].value, whole[23])
    assert same(found["empty"].value, np.empty((0, 3), "f4"))
    assert same(found["cuda"].value, whole)
    assert found.ties == [("transposed", "again")]


@pytest.mark.parametrize("dtype", [*STORAGES, BFLOAT16], ids=str)
@pytest.mark.parametrize("order", [b"little", b"big", None])
def test_every_dtype_in_either_byte_order_is_read(tmp_path, dtype, order):
    given = np.arange(6).reshape(2, 3).astype(dtype)
    raw = given.view("u2") if dtype == BFLOAT16 else given
    raw = raw.astype(raw.dtype.newbyteorder(">" if order == b"big" else "<"))
    found = opened(tmp_path, saved({"x": tensor("0", (2, 3), dtype=dtype)}, {"0": raw.tobytes()}, order=order))
    assert same(found["x"].value, given)


def test_dtypes_without_a_storage_class_parameters_and_classes(tmp_path):
    raw = persistent("storage", named("torch.storage", "UntypedStorage"), "0", "cpu", 24)
    given = np.arange(6, dtype="u2")
    inner = raw, 2, (4,), (1,), False, ordered([]), named("torch", "uint16")
    state = {
        "v3": call("torch._utils", "_rebuild_tensor_v3", *inner),
        "v0": call("torch._utils", "_rebuild_tensor", storage("1", 3), 1, (2,), (1,)),
        "p": call("torch._utils", "_rebuild_parameter", tensor("1", (3,)), True, ordered([])),
        "buffer": call(
            *("torch._tensor", "_rebuild_from_type_v2", named("torch._utils", "_rebuild_tensor_v2")),
            *(named("torch", "Tensor"), (storage("1", 3), 0, (1,), (1,), False, ordered([])), {"_is_buffer": True}),
        ),
        "theirs": call(
            *("torch._tensor", "_rebuild_from_type_v2", named("torch._utils", "_rebuild_tensor_v2")),
            *(named("their.module", "Masked"), (storage("1", 3), 0, (1,), (1,), False, ordered([])), {}),
        ),
        "conjugate": tensor("2", (2,), dtype="c8", about=({"conj": True},)),
        "negative": tensor("1", (1,), count=3, about=({"neg": True},)),
    }
    z = np.array([1 + 2j, 3 - 4j], "c8")
    data = {"0": given.tobytes() * 2, "1": numbers(3).tobytes(), "2": z.tobytes()}
    found = opened(tmp_path, saved(state, data))
    assert same(found["v3"].value, given[2:])
    assert same(found["v0"].value, numbers(3)[1:])
    assert same(found["p"].value, numbers(3))
    assert same(found["buffer"].value, numbers(3)[:1])
    assert same(found["conjugate"].value, z.conj())
    assert same(found["negative"].value, -numbers(3)[:1])
    with pytest.raises(mp.CheckpointError, match=r"'theirs' cannot be read: it is of the class their.module.Masked"):
        found["theirs"].read()


def test_what_numpy_has_no_like_of_is_refused_by_name_and_the_rest_read(tmp_path):
    chalf = persistent("storage", named("torch.storage", "UntypedStorage"), "0", "cpu", 8)
    state = {
        "quantized": call("torch._utils", "_rebuild_qtensor", storage("0", 2), 0, (2,), (1,), (), False, ordered([])),
        "sparse": call(
            "torch._utils",
            "_rebuild_sparse_tensor",
            call("torch.serialization", "_get_layout", "torch.sparse_coo"),
            (tensor("0", (1, 2)), tensor("0", (2,)), call("torch", "Size", (3, 4))),
        ),
        "meta": call("torch._utils", "_rebuild_meta_tensor_no_storage", named("torch", "float32"), (5,), (1,), False),
        "half": call(
            "torch._utils", "_rebuild_tensor_v3", chalf, 0, (2,), (1,), False, ordered([]), named("torch", "complex32")
        ),
        "fine": tensor("0", (2,)),
    }
    found = opened(tmp_path, saved(state, {"0": numbers(2).tobytes()}))
    assert same(found["fine"].value, numbers(2))
    assert [found[name].shape for name in ("quantized", "sparse", "meta", "half")] == [(2,), (3, 4), (5,), (2,)]
    for name, why in (("quantized", "dequantize"), ("sparse", "to_dense"), ("meta", "meta"), ("half", "complex32")):
        with pytest.raises(mp.CheckpointError, match=rf"{name!r} cannot be read: .*{why}"):
            found[name].read()


@pytest.mark.parametrize("save", SAVES)
def test_nested_checkpoints_have_dotted_names_and_say_what_is_left_out(tmp_path, save):
    checkpoint = {
        "state_dict": STATE,
        "optimizer": {"state": {0: {"exp_avg": tensor("1", (4,))}}, "param_groups": [{"params": [0, 1]}]},
        "epoch": 3,
        "args": Raw(named("argparse", "Namespace").code + b")\x81" + code({"lr": 1}) + b"b"),
        "size": call("torch", "Size", (1, 2)),
        "device": call("torch", "device", "cpu"),
        "their": Raw(call("their.module", "make", 3).code + b"(" + code("x") + code(1) + b"u"),
        "names": ["a", "b"],
        "list": [tensor("0", (12,)), None],
    }
    found = opened(tmp_path, SAVES[save](checkpoint, DATA))
    assert list(found) == ["state_dict.0.weight", "state_dict.0.bias", "list.0"]
    assert found.ties == [("state_dict.0.bias", "optimizer.state.0.exp_avg")]
    assert found.left_out == {
        "optimizer.param_groups": "list of 1",
        "epoch": "int",
        "args": "an object of argparse.Namespace",
        "size": "tuple of 2",
        "device": "an object of torch.device",
        "their": "an object of their.module.make",
        "names": "list of 2",
        "list.1": "NoneType",
    }
    net = mp.nn.Sequential(mp.nn.Linear(3, 4), backend="numpy")
    mp.load(tmp_path / "file", into=net, rename={r"^state_dict\.": ""}, strict=False)
    assert same(mp.parameters(net)["0.bias"].value, B)


def test_a_flipped_byte_in_a_file_of_pytorch_is_found_before_a_load_writes(tmp_path):
    path = tmp_path / "net.pt"
    with mp.use("numpy"):
        net = mp.nn.Sequential(mp.nn.Linear(3, 4))
    sound = saved(STATE, DATA)
    path.write_bytes(sound)
    assert mp.open(path).verify() == (2, 0)
    before = {name: one.value for name, one in mp.parameters(net).items()}
    for position in (sound.index(DATA["0"]) + 5, sound.index(DATA["1"]) + 15):
        data = bytearray(sound)
        data[position] ^= 1
        path.write_bytes(data)
        for attempt in (lambda: mp.load(path, into=net), mp.open(path).verify, lambda: mp.load(path)):
            with pytest.raises(mp.CheckpointError, match=r"storage 'archive/data/\d' is damaged: .* check=False"):
                attempt()
        assert all(same(one.value, before[name]) for name, one in mp.parameters(net).items())
        assert mp.open(path, check=False).verify() == (0, 2)
    path.write_bytes(sound.replace(b"0.bias", b"0.bass"))
    with pytest.raises(mp.CheckpointError, match=r"'archive/data\.pkl' is damaged: its checksum is wrong"):
        mp.open(path)


def test_a_file_of_pytorch_without_checksums_is_read(tmp_path):
    sound = saved(STATE, DATA)
    for info in zipfile.ZipFile(io.BytesIO(sound)).infolist():
        sound = sound.replace(struct.pack("<I", info.CRC), bytes(4))
    (tmp_path / "net.pt").write_bytes(sound)
    found = mp.open(tmp_path / "net.pt")
    assert found.verify() == (0, 2)
    assert same(found["0.weight"].value, A)


def test_tensors_and_lists_of_pytorch_come_back_as_such(tmp_path):
    (tmp_path / "file").write_bytes(saved(tensor("0", (4, 3)), DATA))
    assert same(mp.load(tmp_path / "file"), A)
    (tmp_path / "file").write_bytes(saved([tensor("0", (4, 3)), tensor("1", (4,))], DATA))
    assert [one.shape for one in mp.load(tmp_path / "file")] == [(4, 3), (4,)]


def test_views_of_legacy_storages_are_read(tmp_path):
    part = storage("0", 12, "f4", ("1", 4, 6))
    state = {"x": call("torch._utils", "_rebuild_tensor", part, 1, (2,), (1,))}
    assert same(opened(tmp_path, legacy(state, {"0": A.tobytes()}))["x"].value, A.reshape(-1)[5:7])


MODEL = Raw(named("torch.nn.modules.linear", "Linear").code + b")\x81" + code({"_parameters": {}}) + b"b")
REFUSED = {
    "a model": (saved(MODEL, {}), r"no tensors, but an object of torch.nn.modules.linear.Linear: .* state_dict"),
    "a model beside other things": (saved({"epoch": 1, "model": MODEL}, {}), r"torch.save\(model.state_dict\(\), path"),
    "an old model": (
        legacy(
            Raw(
                persistent("module", named("torch.nn.modules.linear", "Linear"), "linear.py", "class").code + b")\x81}b"
            ),
            {},
        ),
        r"an object of torch.nn.modules.linear.Linear",
    ),
    "TorchScript": (saved(STATE, DATA, more={"archive/constants.pkl": b""}), "TorchScript archive"),
    "a byte order": (saved(STATE, DATA, order=b"middle"), "byte order is b'middle'"),
    "a storage that is not there": (saved(STATE, {"0": A.tobytes()}), "its storage '1' is not there"),
    "a storage outside": (saved({"x": tensor("../x", (2,))}, DATA), "its storage '../x' is not there"),
    "a compressed one": (saved(STATE, DATA, method=zipfile.ZIP_DEFLATED), "is compressed"),
    "a short storage": (saved(STATE, {**DATA, "1": b"1234"}), "claims 16 bytes, and has 4"),
    "a tensor that is too long": (saved({"x": tensor("1", (5,), count=4)}, DATA), "'x' needs 20 bytes"),
    "a far offset": (saved({"x": tensor("1", (1,), offset=4, count=4)}, DATA), "'x' needs 20 bytes"),
    "a long stride": (saved({"x": tensor("1", (2,), (2**40,), count=4)}, DATA), "'x' needs"),
    "a negative stride": (saved({"x": tensor("1", (2,), (-1,), count=4)}, DATA), "shape or strides are none"),
    "a negative extent": (saved({"x": tensor("1", (-2,), count=4)}, DATA), "shape or strides are none"),
    "a negative offset": (saved({"x": tensor("1", (2,), offset=-1, count=4)}, DATA), "without a storage"),
    "a shape that is none": (saved({"x": tensor("1", ("a",), (1,), count=4)}, DATA), "shape or strides are none"),
    "fewer strides": (saved({"x": tensor("1", (2, 2), (1,), count=4)}, DATA), "another number of extents"),
    "many axes": (saved({"x": tensor("1", (1,) * 40, count=4)}, DATA), "40 axes"),
    "a great shape": (saved({"x": tensor("1", (2**60, 2**60), (0, 0), count=4)}, DATA), "more numbers"),
    "no storage": (saved({"x": call("torch._utils", "_rebuild_tensor_v2", 1, 0, (), ())}, DATA), "without a storage"),
    "no arguments": (saved({"x": call("torch._utils", "_rebuild_tensor_v2")}, DATA), "without a storage"),
    "another dtype": (
        saved(
            {
                "x": call(
                    *("torch._utils", "_rebuild_tensor_v3", storage("0", 4), 0, (1,), (1,)),
                    *(0, 0, named("torch", "int64")),
                )
            },
            DATA,
        ),
        "dtype int64 in a storage of float32",
    ),
    "an id that is none": (saved({"x": Raw(code("x") + b"Q")}, DATA), "beside it that is no storage"),
    "a kind that is none": (
        saved({"x": persistent("storage", named("os.path", "x"), "0", "cpu", 1)}, DATA),
        "os.path.x.*not run",
    ),
    "a negative count": (saved({"x": tensor("1", (0,), count=-1)}, DATA), "beside it that is no storage"),
    "os.system": (saved({"a": call("posix", "system", "touch hacked"), "x": STATE}, DATA), r"posix.system.*not run"),
    "eval": (saved({"a": call("__builtin__", "eval", "1")}, DATA), r"eval.*not run"),
    "getattr": (saved(call("builtins", "getattr", named("os", "x"), "system"), DATA), r"getattr.*not run"),
    "a bound function": (saved(named("torch._utils", "_rebuild_tensor_v2"), DATA), "no tensors"),
    "a class called by NEWOBJ": (
        saved(Raw(named("collections", "OrderedDict").code + b")\x81"), DATA),
        "NEWOBJ.*not run",
    ),
    "a number": (saved(3, {}), "no tensors, but int"),
    "two of one name": (saved({"a.b": tensor("1", (4,)), "a": {"b": tensor("1", (4,))}}, DATA), "two things of the"),
    "no pickle": (zipped({"archive/data.pkl": b""}), "its pickle ends within it"),
    "a protocol": (legacy(STATE, DATA, protocol=1002), "its protocol is 1002"),
    "a list that is none": (legacy(STATE, DATA, keys=["0"]), "list of storages"),
    "bytes too many": (legacy(STATE, DATA) + b"x", "1 bytes too many"),
    "a legacy size": (legacy(STATE, DATA, width=8), "its storage '0' claims 48 bytes"),
    "two sizes": (legacy({"a": tensor("0", (4, 3)), "b": tensor("0", (3,))}, DATA), "has two sizes"),
    "a view of more": (
        legacy(
            {"x": call("torch._utils", "_rebuild_tensor", storage("0", 12, "f4", ("1", 8, 6)), 0, (1,), (1,))}, DATA
        ),
        "a view of more",
    ),
    "a view of nothing": (
        legacy({"x": call("torch._utils", "_rebuild_tensor", storage("0", 12, "f4", (1, 2)), 0, (1,), (1,))}, DATA),
        "a view of a storage that is none",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_with_a_file_of_pytorch_is_said_and_nothing_run(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    data, why = REFUSED[case]
    with pytest.raises(mp.CheckpointError, match=rf"file: no valid PyTorch file: .*({why})"):
        opened(tmp_path, data)
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_tensors_far_bigger_than_their_file_are_not_read(tmp_path):
    state = {
        "fine": tensor("0", (1000, 1000), (0, 0), count=12),
        "great": tensor("0", (2**20, 2**20), (0, 0), count=12),
        **{str(index): tensor("0", (2000, 1000), (0, 0), index, count=12) for index in range(5)},
    }
    found = opened(tmp_path, saved(state, DATA))
    assert same(found["fine"].value, np.full((1000, 1000), A[0, 0]))
    assert "it repeats numbers so often" in found["great"].refusal
    assert found["4"].refusal


def test_a_model_of_the_same_names_gets_a_file_of_another_byte_order(tmp_path):
    net = mp.nn.Sequential(mp.nn.Linear(3, 4), backend="numpy")
    data = {key: np.frombuffer(raw, "<f4").astype(">f4").tobytes() for key, raw in DATA.items()}
    (tmp_path / "file").write_bytes(saved(STATE, data, order=b"big", folder=""))
    mp.load(tmp_path / "file", into=net)
    assert same(mp.parameters(net)["0.weight"].value, A)


# --- zip files -----------------------------------------------------------------------------------------------------


def test_what_a_zip_file_holds_is_checked_before_it_is_used(tmp_path):
    whole = saved(STATE, DATA)
    at = whole.rindex(b"PK\x05\x06")
    first = whole.index(b"PK\x01\x02")

    def changed(position, form, value):
        data = bytearray(whole)
        struct.pack_into(form, data, position, value)
        return bytes(data)

    second = whole.index(b"PK\x01\x02", first + 1)
    cases = {
        "encrypted": changed(first + 8, "<H", 1),
        "packed by method": changed(first + 10, "<H", 12),
        r"claims \d+ bytes, and has": changed(first + 24, "<I", 2**31),
        "behind the end": changed(first + 20, "<I", 2**31)[: first + 24]
        + struct.pack("<I", 2**31)
        + whole[first + 28 :],
        "lie in each other": changed(second + 42, "<I", 0),
        "where the directory says": changed(second + 42, "<I", 7),
        "damaged zip file": changed(at + 16, "<I", 2**31),
        "two members are called": whole.replace(b"archive/data/1", b"archive/data/0"),
    }
    for why, data in cases.items():
        (tmp_path / "file").write_bytes(data)
        with pytest.raises(mp.CheckpointError, match=f"a damaged zip file: .*{why}|{why}"):
            Zip(tmp_path / "file")
        with pytest.raises(mp.CheckpointError, match="file: a damaged zip file"):
            mp.open(tmp_path / "file")


def test_a_zip_file_of_nothing_known_is_refused_with_what_is_in_it(tmp_path):
    with pytest.raises(mp.CheckpointError, match=r"a zip file of no known format, with 'a.txt', 'b.txt' in it"):
        opened(tmp_path, zipped({"a.txt": b"1", "b.txt": b"2"}))


def test_a_zip_file_with_sizes_of_64_bits_is_read(tmp_path):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, data in {"x/data.pkl": pickled(STATE), **{f"x/data/{key}": raw for key, raw in DATA.items()}}.items():
            with file.open(name, "w", force_zip64=True) as member:
                member.write(data)
    assert same(opened(tmp_path, out.getvalue())["0.weight"].value, A)


# --- numpy ---------------------------------------------------------------------------------------------------------


NUMBERS = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16", ">f4", ">i8")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_of_numpy_are_read(tmp_path, save):
    given = {
        **{f"x.{dtype}": np.arange(6).reshape(2, 3).astype(dtype) for dtype in NUMBERS},
        "fortran": np.asfortranarray(numbers(2, 3)),
        "scalar": np.float32(3),
        "empty": np.zeros((0, 3), "f4"),
        "folder/name": numbers(2),
    }
    found = opened(tmp_path, npz(given, save))
    assert (found.format, found.content) == ("npz", "dict")
    assert list(found) == list(given)
    assert found.own == given.keys()
    for name, one in given.items():
        one = np.ascontiguousarray(one).reshape(np.shape(one))
        assert same(found[name].value, one.astype(one.dtype.newbyteorder("=")))
    assert same(found["x.f4"][1:], given["x.f4"][1:])


def test_an_array_of_numpy_comes_back_as_such_and_empty_files_too(tmp_path):
    (tmp_path / "file").write_bytes(npy(numbers(2, 3)))
    assert mp.open(tmp_path / "file").format == "npy"
    assert same(mp.load(tmp_path / "file"), numbers(2, 3))
    assert list(opened(tmp_path, npz({}))) == []
    python2 = headed("{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 3L), }\n", numbers(2, 3).tobytes(), 2)
    assert same(opened(tmp_path, python2)["tensor"].value, numbers(2, 3))


def test_a_model_gets_what_numpy_saved(tmp_path):
    net = mp.nn.Sequential(mp.nn.Linear(3, 4), backend="numpy")
    (tmp_path / "file").write_bytes(npz({"0.weight": A, "0.bias": B}))
    mp.load(tmp_path / "file", into=net)
    assert same(mp.parameters(net)["0.weight"].value, A)


def test_arrays_of_more_than_numbers_are_refused_and_the_others_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    class Running:
        def __reduce__(self):
            return os.system, ("touch hacked",)

    given = {
        "objects": np.array([Running(), 1], dtype=object),
        "raw": numbers(3).astype(BFLOAT16),
        "text": np.array(["ab"]),
        "records": np.zeros(2, [("a", "f4")]),
        "date": np.array(["2020-01-01"], "M8[D]"),
        "long": np.zeros(2, np.longdouble),
        "fine": numbers(2),
    }
    found = opened(tmp_path, npz(given))
    assert same(found["fine"].value, numbers(2))
    for name, why in (("objects", "a pickle"), ("raw", "bfloat16|raw bytes|V2"), ("text", "text"), ("date", "dates")):
        with pytest.raises(mp.CheckpointError, match=rf"{name!r} cannot be read: it .*({why})"):
            found[name].read()
    assert found["records"].refusal
    assert found["long"].refusal
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


FLOATS = "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (headed(FLOATS % "2,", b"1234"), "claims .* bytes, and has"),
        (headed(FLOATS % "2,", b"123456789"), "claims .* bytes, and has"),
        (headed(FLOATS % "9999999999999999999, 9"), "claims more numbers"),
        (headed(FLOATS % "99999999999999999999,"), "an extent that is none"),
        (headed(FLOATS % ("1, " * 40)), "40 axes"),
        (headed(FLOATS % "-1,"), "without an order and a shape"),
        (headed("__import__('os').system('touch hacked')"), "without an order and a shape"),
        (headed("(" * 9000), "without an order and a shape"),
        (headed(" " * 60_000), "claims a header of"),
        (headed("")[:9] + b"\xff\xff\xff\x7f", "header"),
        (b"\x93NUMPY\x09\0\x01\0{", "no header"),
    ],
)
def test_a_damaged_file_of_numpy_says_why(tmp_path, data, why):
    for whole in (data, zipped({"x.npy": data})):
        with pytest.raises(mp.CheckpointError, match=f"file: no valid numpy file: .*{why}"):
            opened(tmp_path, whole)


def test_a_packed_array_is_unpacked_no_further_than_it_claims(tmp_path):
    bomb = zipped({"x.npy": npy(np.zeros(30_000_000, "u1"))}, zipfile.ZIP_DEFLATED)
    small = npy(np.zeros(10, "u1"))
    at = bomb.index(b"PK\x01\x02")
    for size in (len(small), 2**31):
        data = bytearray(bomb)
        struct.pack_into("<I", data, at + 24, size)
        (tmp_path / "file").write_bytes(bytes(data))
        assert taken_by_reading(tmp_path / "file").memory < 5e6
    lying = zipped({"x.npy": small + bytes(30_000_000)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(mp.CheckpointError, match="claims 138 bytes, and has 30000138"):
        opened(tmp_path, lying)


def test_damaged_numbers_of_numpy_are_found_out(tmp_path):
    for save in (np.savez, np.savez_compressed):
        data = npz({"x": numbers(100)}, save)
        at = data.index(b"PK\x01\x02") - 20
        found = opened(tmp_path, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(mp.CheckpointError, match=r"file: 'x.npy' (is damaged|cannot be unpacked|does not unpack)"):
            found["x"].verify()
        with pytest.raises(mp.CheckpointError, match=r"file: 'x\.npy'"):
            _ = found["x"].value
        with pytest.raises(mp.CheckpointError, match=r"file: 'x\.npy'"):
            _ = found["x"][3]  # which is read with all the rest
    assert opened(tmp_path, npz({"x": numbers(100)})).verify() == (1, 0)


def test_damaged_numbers_of_numpy_are_read_all_the_same_if_wanted(tmp_path):
    x = numbers(100)
    data = npz({"x": x})
    at = data.index(b"PK\x01\x02") - 20
    (tmp_path / "file").write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    found = mp.open(tmp_path / "file", check=False)
    assert found.verify() == (0, 1)
    assert np.count_nonzero(found["x"].value != x) == 1
    assert np.count_nonzero(mp.load(tmp_path / "file", check=False)["x"] != x) == 1


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_array_of_numpy_stops_a_load_before_it_writes(tmp_path, save):
    net = mp.nn.Sequential(mp.nn.Linear(3, 4), backend="numpy")
    before = {name: one.value for name, one in mp.parameters(net).items()}
    data = npz({"0.weight": A, "0.bias": B}, save)
    at = data.index(b"PK\x01\x02") - 6  # in what is the last to be written
    (tmp_path / "file").write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    with pytest.raises(mp.CheckpointError, match=r"file: '0.bias.npy' (is damaged|cannot be unpacked|does not unpack)"):
        mp.load(tmp_path / "file", into=net)
    assert all(same(one.value, before[name]) for name, one in mp.parameters(net).items())


# --- Keras: HDF5 of the older form, as h5py writes it, and a configuration beside it -------------------------------


def test_a_keras_file_gets_pytorchs_names_and_layouts(tmp_path):
    found = opened(tmp_path, keras_file(NET, *CONFIGS))
    assert (found.format, found.backend) == ("keras", "keras")
    held = {key: one.get("vars", {}) for key, one in NET["layers"].items()}
    assert same(found["mine.weight"].value, held["dense"]["0"].T)
    assert same(found["mine.bias"].value, held["dense"]["1"])
    assert same(found["2.running_var"].value, held["batch_normalization"]["3"])
    assert same(found["3.weight"].value, held["dense_1"]["0"].T)
    z, r, h = np.split(numbers(3, 12), 3, axis=1)
    assert same(found["4.weight_ih_l0"].value, np.concatenate([r, z, h], axis=1).T)
    assert found["4.bias_hh_l0"].shape == (12,)
    assert found.own == {"layers.own.vars.0"}
    assert found.left_out == {"optimizer": "the state of an optimizer, 2 arrays"}
    assert found.kinds == {"mine": "Linear", "2": "BatchNorm", "3": "Linear", "4": "GRU"}
    assert found.layers["2"] == {"kind": "BatchNorm", "eps": 0.001}
    assert found.layers["mine"]["activation"] == "relu"


def test_of_weights_alone_only_what_is_certain_is_translated(tmp_path):
    found = opened(tmp_path, h5(NET))
    assert found.format == "h5"
    assert found.kinds == {
        "layers.batch_normalization": "BatchNorm",
        "mine": "Linear",
        "layers.dense_1": "Linear",
        "layers.gru": "GRU",
    }
    assert same(found["layers.dense_1.weight"].value, numbers(3, 2).T)
    assert "does not tell the order of its layers" in str(found)
    uncertain = {"layers": {"layer_normalization": layer(numbers(3)), "dense": layer(numbers(3, 2), numbers(3))}}
    assert list(opened(tmp_path, h5(uncertain))) == [
        *("layers.dense.vars.0", "layers.dense.vars.1", "layers.layer_normalization.vars.0"),
    ]


def test_attributes_and_lists_of_a_subclassed_model_are_its_names(tmp_path):
    tree = {
        "first": layer(numbers(4, 3), numbers(3), name="dense"),
        "blocks": {"dense": layer(numbers(3, 3)), "dense_1": layer(numbers(3, 2))},
        "mixed": {"dense": layer(numbers(3, 3)), "embedding": layer(numbers(3, 2))},
        "lstm": layer(cell=layer(numbers(3, 16), numbers(4, 16), numbers(16)), name="lstm_3"),
        "vars": {"": "net", "0": numbers(2)},
    }
    found = opened(tmp_path, h5(tree))
    names = {name.rpartition(".")[0] for name in found}
    assert names == {"first", "blocks.0", "blocks.1", "mixed.dense", "mixed.embedding", "lstm", "vars"}
    assert same(found["lstm.bias_hh_l0"].value, np.zeros(16, "f4"))


@pytest.mark.parametrize(
    "dtype", ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u4", ">f4", ">i8", BFLOAT16], ids=str
)
def test_dtypes_of_hdf5(tmp_path, dtype):
    given = {"a": np.arange(6).reshape(2, 3).astype(dtype), "s": np.array(3, dtype), "e": np.zeros((0, 2), dtype)}
    found = opened(tmp_path, h5({"x": given}))
    for name, one in given.items():
        assert same(found[f"x.{name}"].value, one.astype(one.dtype.newbyteorder("=")))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x89HDF\r\n\x1a\n\2" + bytes(100), "newer form of HDF5"),
        (h5(NET)[:200], "ends within itself"),
        (h5({"a": {}}).replace(b"SNOD", b"SNOT"), "no SNOD"),
        (h5({"a": {}}).replace(b"HEAP", b"HEAT"), "no HEAP"),
        (h5({"a": numbers(3)}).replace(struct.pack("<QQ", 3, 0)[:8], struct.pack("<Q", 2**61)), "claims|more numbers"),
        (zipped({"config.json": b"{", "model.weights.h5": h5(NET)}), "config.json is damaged"),
        (zipped({"config.json": b"[" * 100_000, "model.weights.h5": h5(NET)}), "config.json is damaged"),
        (zipped({"config.json": b"[]", "model.weights.h5": h5(NET)}), "config.json is no configuration"),
        (zipped({"config.json": b"{}", "model.weights.h5": h5(NET)}, zipfile.ZIP_DEFLATED), "compressed"),
        (zipped({"config.json": b"{}", "model.weights.h5": b"x" * 200}), "no valid HDF5 file"),
    ],
)
def test_a_damaged_file_of_keras_says_why(tmp_path, data, why):
    with pytest.raises(mp.CheckpointError, match=f"file: .*({why})"):
        opened(tmp_path, data)


def test_weights_of_keras_whose_checksum_is_wrong_are_refused(tmp_path):
    data = keras_file(NET, *CONFIGS)
    at = data.index(b"\x89HDF") + 5_000
    with pytest.raises(mp.CheckpointError, match=r"file: its 'model.weights.h5' is damaged: its checksum is wrong"):
        opened(tmp_path, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


def test_groups_in_themselves_are_refused(tmp_path):
    made = Hdf5({"a": {"b": {}}})
    root = struct.unpack_from("<Q", made.data, 64)[0]
    at = made.data.index(b"SNOD") + 16  # the address of b
    struct.pack_into("<Q", made.data, at, root)
    with pytest.raises(mp.CheckpointError, match="it comes twice to byte"):
        opened(tmp_path, bytes(made.data))


# --- Flax: MessagePack with its extensions -------------------------------------------------------------------------


def test_variables_of_flax_get_pytorchs_names_where_that_is_certain(tmp_path):
    found = opened(tmp_path, message(TREE))
    assert (found.format, found.backend) == ("flax", "flax")
    assert same(found["Conv_0.weight"].value, numbers(3, 3, 2, 4).transpose(3, 2, 0, 1))
    assert same(found["fc.weight"].value, numbers(4, 3).T)
    assert same(found["BatchNorm_0.running_var"].value, numbers(4) + 3)
    assert found.kinds == {"Conv_0": "Conv2d", "BatchNorm_0": "BatchNorm", "fc": "Linear", "Embed_0": "Embedding"}
    assert found.own == {"params.deconv.kernel", "params.lstm.ii.kernel", "params.own.thing"}
    assert "3 tensors of whose layers nothing is certain are as in the file" in str(found)


def test_dtypes_chunks_and_other_things_of_flax(tmp_path):
    given = {
        name: np.arange(6).reshape(2, 3).astype(name) for name in ("bool", "float16", "int8", "uint64", "complex64")
    }
    given["bfloat16"] = numbers(2, 3).astype(BFLOAT16)
    chunks = {"0": numbers(4), "1": numbers(2)}
    more = {
        "chunked": {"__msgpack_chunked_array__": True, "shape": {"0": 2, "1": 3}, "chunks": chunks},
        "step": 3,
        "rate": 0.5,
        "none": None,
        "list": [numbers(2), True],
    }
    data = message({**given, **more}).replace(message("none") + b"\xc0", message("z") + extension(2, [1.0, 2.0]))
    found = opened(tmp_path, data)
    assert all(same(found[name].value, one) for name, one in given.items())
    assert same(found["chunked"].value, np.concatenate([numbers(4), numbers(2)]).reshape(2, 3))
    assert same(found["list.0"].value, numbers(2))
    assert found.left_out == {"step": "int", "rate": "float", "z": "complex", "list.1": "bool"}
    (tmp_path / "file").write_bytes(message(numbers(3)))
    assert same(mp.load(tmp_path / "file"), numbers(3))


START = b"\x81\xa1a"
WRONG = {
    "bytes too many": (message(TREE) + b"x", "1 bytes behind its tree"),
    "a claim": (START + b"\xdf\xff\xff\xff\xff", "claims a dict of 4294967295"),
    "a long list": (START + b"\xdd\xff\xff\xff\xff", "claims a list of 4294967295"),
    "long text": (START + b"\xdb\xff\xff\xff\xff", "ends within it"),
    "many things": (START + b"\xdd" + struct.pack(">I", 2_100_000) + b"\x90" * 2_100_000, "more than 2,000,000 things"),
    "depth": (b"\x81\xa1a" * 100_000, "in each other"),
    "depth of extensions": (START + b"\x91" * 100_000, "in each other"),
    "a code": (START + b"\xc1", "the code 0xc1"),
    "an extension": (START + extension(5, [1]), "of type 5"),
    "a key": (b"\x82\xa1a\xc0\x90\xc0", "no name"),
    "a key twice": (b"\x82\xa1a\xc0\xa1a\xc0", "or one twice"),
    "an object": (START + extension(1, [[1], "object", b"12345678"]), "dtype 'object'"),
    "a shape": (START + extension(1, [[-1], "float32", b""]), "an array that is none"),
    "a great shape": (START + extension(1, [[2**40, 2**40], "float32", b""]), "more numbers"),
    "few bytes": (START + extension(1, [[2], "float32", b"1234"]), "of 4 bytes"),
    "no array": (START + extension(1, 3), "an array that is none"),
    "chunks": (message({"a": {"__msgpack_chunked_array__": True, "shape": {"0": 2}, "chunks": {}}}), "of what parts"),
    "other chunks": (
        message({"a": {"__msgpack_chunked_array__": True, "shape": {"0": 2}, "chunks": {"0": numbers(3)}}}),
        "do not make up its shape",
    ),
    "two of one name": (message({"a": {"b": numbers(1)}, "a.b": numbers(1)}), "two things of the name"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_damaged_file_of_flax_says_why(tmp_path, case):
    data, why = WRONG[case]
    with pytest.raises(mp.CheckpointError, match=f"file: no valid Flax file: its MessagePack .*{why}"):
        opened(tmp_path, data)


# --- bombs ---------------------------------------------------------------------------------------------------------


def nested(depth, inner):
    return inner if not depth else {"a": nested(depth - 1, inner)}


SHARED = Raw(code(tensor("1", (4,))) + b"q\1")
BOMBS = {
    "lists": Raw(b"](" + SHARED.code + b"eq\2" + b"".join(b"](h%ch%ceq%c" % (i, i, i + 1) for i in range(2, 60))),
    "names": {"x" * 100_000: [SHARED, *([Raw(b"h\1")] * 20_000)]},
    "depth": nested(100, tensor("1", (4,))),
    "calls": Raw(b"](" + call("torch._utils", "_rebuild_tensor", storage("1", 4), 0, (4,), (1,)).code * 4_000 + b"e"),
    "strangers": Raw(b"](" + call("their", "thing").code * 15_000 + SHARED.code + b"e"),
}


def taken_by_reading(path):
    with effort() as taken, contextlib.suppress(mp.CheckpointError):
        for entry in mp.open(path).values():
            if not entry.refusal:
                entry.read()
    return taken


@pytest.mark.bounds
@pytest.mark.parametrize("save", SAVES)
@pytest.mark.parametrize("case", BOMBS)
def test_a_small_file_of_pytorch_takes_no_great_memory_or_work(tmp_path, case, save):
    data = SAVES[save](BOMBS[case], {"1": B.tobytes()})
    (tmp_path / "file").write_bytes(data)
    taken = taken_by_reading(tmp_path / "file")
    assert taken.memory < 100e6
    assert taken.calls < 100_000 + 20 * len(data)
    assert taken.read < len(data)


# --- hostile bytes, the same for each ------------------------------------------------------------------------------


@pytest.mark.parametrize("case", WHOLE)
def test_a_file_cut_anywhere_is_refused(tmp_path, case):
    cuts = range(len(WHOLE[case]))
    for cut in cuts if len(cuts) < 3000 else sorted({*cuts[:500], *cuts[::7], *cuts[-500:]}):
        with pytest.raises(mp.CheckpointError, match=r"file: (no valid|a damaged|is empty|of no known format)"):
            opened(tmp_path, WHOLE[case][:cut])


def test_nothing_is_executed_and_no_framework_imported(tmp_path):
    for name, data in WHOLE.items():
        (tmp_path / name.replace(" ", "_")).write_bytes(data)
    paths = sorted(tmp_path.iterdir())
    code = "import sys, multiparam as mp; [print(mp.open(path)) for path in sys.argv[1:]]; print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True)
    frameworks = {"torch", "keras", "tensorflow", "jax", "flax", "paddle", "mxnet", "safetensors", "h5py", "msgpack"}
    assert not frameworks & set(shown.stdout.split())


def test_a_square_kernel_that_is_renamed_to_a_weight_is_said_to_be_in_doubt(tmp_path):
    np.savez(tmp_path / "net.npz", **{"dense/kernel:0": np.arange(16.0).reshape(4, 4), "dense/bias:0": np.zeros(4)})
    net, rename = mp.nn.Linear(4, 4), {"^dense/kernel:0$": "weight", "^dense/bias:0$": "bias"}
    with pytest.warns(mp.UncertainLayoutWarning, match="weight$"):
        report = mp.load(tmp_path / "net.npz", into=net, rename=rename)
    assert "weight: the file does not tell whose axes it has" in str(report)
