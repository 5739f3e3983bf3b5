"""Files of every format that is read, made byte by byte, with none of the frameworks."""

import io
import json
import pickle
import struct
import zipfile

import ml_dtypes
import numpy as np

import multiparam as mp

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def opened(tmp_path, data):
    (tmp_path / "file").write_bytes(data)
    return mp.open(tmp_path / "file")


def same(first, second):
    first, second = np.asarray(first), np.asarray(second)
    return (first.shape, first.dtype, first.tobytes()) == (second.shape, second.dtype, second.tobytes())


def numbers(*shape, dtype="f4"):
    return np.random.default_rng(len(shape) + sum(shape)).normal(size=shape).astype(dtype)


# --- MXNet: NDArray::Save of ndarray.cc, in struct's words ------------------------------------------------------------

MSHADOW = [*map(np.dtype, ("f4", "f8", "f2", "u1", "i4", "i1", "i8", "b1", "i2", "u2", "u4", "u8")), BFLOAT16]
V1, V2, V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA


def nd(array, version=V2):
    """One array as MXNet of one age or another writes it."""
    code = struct.pack("<iii", 1, 0, MSHADOW.index(array.dtype))
    raw = np.ascontiguousarray(array).tobytes()
    if version == 0:
        return struct.pack(f"<I{array.ndim}I", array.ndim, *array.shape) + code + raw
    shape = struct.pack(f"<i{array.ndim}q", array.ndim, *array.shape)
    storage = struct.pack("<i", 0) if version != V1 else b""
    return struct.pack("<I", version) + storage + shape + code + raw


def nd_list(arrays, names=()):
    keys = b"".join(struct.pack("<Q", len(name.encode())) + name.encode() for name in names)
    head = struct.pack("<QQQ", 0x112, 0, len(arrays))
    return head + b"".join(arrays) + struct.pack("<Q", len(names)) + keys


def nd_dict(given, version=V2):
    return nd_list([nd(array, version) for array in given.values()], list(given))


NONE = struct.pack("<Iii", V2, 0, 0)


def row_sparse(rows, indices, shape):
    """A sparse array that keeps some of its rows."""
    head = struct.pack("<Ii", V2, 1) + struct.pack(f"<i{rows.ndim}q", rows.ndim, *rows.shape)
    head += struct.pack(f"<i{len(shape)}q", len(shape), *shape) + struct.pack("<iii", 1, 0, 0)
    head += struct.pack("<iiq", 6, 1, len(indices))
    return head + rows.astype("f4").tobytes() + np.asarray(indices, "i8").tobytes()


PARAMS = nd_list(
    [
        nd(numbers(2, 3)),
        nd(numbers(2), 0),
        nd(numbers(2), V1),
        nd(np.float32(1), V3),
        NONE,
        row_sparse(numbers(1, 2), [1], (3, 2)),
    ],
    ["0.weight", "0.bias", "1.gamma", "1.beta", "x", "y"],
)


# --- Paddle: pickles, as paddle.save has Python write them ------------------------------------------------------------


class Tensor:
    """What a Paddle tensor is to its pickler: a pair of its parameter's name and its array."""

    def __init__(self, name, array):
        self.pair = (name, array)

    def __reduce__(self):
        return tuple, (self.pair,)


def marked(given):
    """A dict as Paddle saves one of tensors whose parameters have no names to be told."""
    return state_dict(given, {})


def state_dict(given, names=None):
    """A state_dict as `paddle.save` turns it into arrays, with its parameters' names."""
    return given if names is None else {**given, "StructuredToParameterName@@": names}


PDPARAMS = pickle.dumps(
    state_dict({"0.weight": numbers(2, 3), "0.bias": numbers(3)}, {"0.weight": "linear_0.w_0"}), protocol=4
)


# --- zip files --------------------------------------------------------------------------------------------------------


def zipped(members, method=zipfile.ZIP_STORED, **options):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method, **options) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return out.getvalue()


# --- PyTorch: pickles of its functions' names, and storages beside them -----------------------------------------------


class Raw:
    """Operations of a pickle."""

    def __init__(self, code):
        self.code = code


def code(thing):
    """The operations, of protocol 2, that make a thing."""
    if isinstance(thing, Raw):
        return thing.code
    if isinstance(thing, dict):
        return b"}(" + b"".join(code(key) + code(value) for key, value in thing.items()) + b"u"
    if isinstance(thing, (list, tuple)):
        inside = b"(" + b"".join(map(code, thing))
        return b"]" + inside + b"e" if isinstance(thing, list) else inside + b"t"
    if isinstance(thing, str):
        return b"X" + struct.pack("<I", len(thing.encode())) + thing.encode()
    if isinstance(thing, bool) or thing is None:
        return {None: b"N", True: b"\x88", False: b"\x89"}[thing]
    size = thing.bit_length() // 8 + 1
    return b"\x8a" + bytes([size]) + thing.to_bytes(size, "little", signed=True)


def pickled(thing):
    return b"\x80\x02" + code(thing) + b"."


def named(module, name):
    return Raw(f"c{module}\n{name}\n".encode())


def call(module, name, *arguments):
    return Raw(named(module, name).code + code(arguments) + b"R")


def persistent(*given):
    return Raw(code(given) + b"Q")


STORAGES = {"f4": "Float", "f8": "Double", "f2": "Half", "i8": "Long", "u1": "Byte", "b1": "Bool", "c8": "ComplexFloat"}


def storage(key, count, dtype="f4", *view, place="cpu"):
    kind = "BFloat16" if dtype == BFLOAT16 else STORAGES[dtype]
    return persistent("storage", named("torch", f"{kind}Storage"), key, place, count, *view)


def ordered(pairs, attributes=None):
    """An OrderedDict, with the attributes that a state_dict has."""
    made = named("collections", "OrderedDict").code + b")R(" + b"".join(code(one) for pair in pairs for one in pair)
    return Raw(made + b"u" + (b"" if attributes is None else code(attributes) + b"b"))


def tensor(key, shape, strides=None, offset=0, dtype="f4", count=None, about=(), **options):
    if strides is None:
        strides = tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))
    count = int(np.prod(shape)) if count is None else count
    arguments = storage(key, count, dtype, **options), offset, tuple(shape), tuple(strides), False, ordered([]), *about
    return call("torch._utils", "_rebuild_tensor_v2", *arguments)


def saved(thing, storages, *, order=b"little", folder="archive/", more=None, method=zipfile.ZIP_STORED):
    """A file of torch.save."""
    members = {f"{folder}data.pkl": pickled(thing)}
    members |= {} if order is None else {f"{folder}byteorder": order}
    members |= {f"{folder}data/{key}": bytes(data) for key, data in storages.items()}
    return zipped({**members, f"{folder}version": b"3\n", **(more or {})}, method)


SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


def legacy(thing, storages, *, protocol=1001, magic=0x1950A86A20F9469CFC6C, system=SYSTEM, width=4, keys=None):
    """A file of torch.save before PyTorch 1.6."""
    head = b"".join(map(pickled, (magic, protocol, system, thing, list(storages) if keys is None else keys)))
    return head + b"".join(struct.pack("<Q", len(data) // width) + bytes(data) for data in storages.values())


A, B = numbers(4, 3), numbers(4)
STATE = ordered([("0.weight", tensor("0", (4, 3))), ("0.bias", tensor("1", (4,)))], {"_metadata": ordered([])})
DATA = {"0": A.tobytes(), "1": B.tobytes()}


# --- numpy ------------------------------------------------------------------------------------------------------------


def npy(array):
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def npz(arrays, save=np.savez):
    out = io.BytesIO()
    save(out, **arrays)
    return out.getvalue()


def headed(header, data=b"", version=1):
    size = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + size + header.encode() + data


# --- Keras: HDF5 of the older form, as h5py writes it, and a configuration beside it ----------------------------------


class Hdf5:
    """Writes nested dicts of arrays; a dict's `""` is its attribute `name`."""

    def __init__(self, tree):
        self.data = bytearray(b"\x89HDF\r\n\x1a\n" + bytes([0, 0, 0, 0, 0, 8, 8, 0]) + struct.pack("<HHI", 4, 16, 0))
        self.data += struct.pack("<QQQQ", 0, 2**64 - 1, 0, 2**64 - 1) + bytes(40)
        struct.pack_into("<QQ", self.data, 56, 0, self.group(tree))
        struct.pack_into("<Q", self.data, 40, len(self.data))

    def put(self, data):
        self.data += bytes(-len(self.data) % 8)
        self.data += data
        return len(self.data) - len(data)

    def object(self, messages):
        body = b"".join(
            struct.pack("<HHBxxx", kind, -(-len(one) // 8) * 8, 0) + one + bytes(-len(one) % 8)
            for kind, one in messages
        )
        return self.put(struct.pack("<BxHII4x", 1, len(messages), 1, len(body)) + body)

    def text(self, name, value):
        sizes = len(name) + 1, 8, 8
        body = struct.pack("<BxHHH", 1, *sizes) + name.encode() + bytes(8 - len(name))
        return 12, body + struct.pack("<B3xI", 0x13, len(value)) + bytes([1, 0, 0, 0, 0, 0, 0, 0]) + value.encode()

    def group(self, tree):
        label = tree.get("", "")
        inside = {name: one for name, one in tree.items() if name}
        where = {name: (self.group if isinstance(one, dict) else self.array)(one) for name, one in inside.items()}
        names, offsets = bytearray(8), {}
        for name in sorted(where):
            offsets[name] = len(names)
            names += name.encode() + bytes(8 - len(name.encode()) % 8)
        held = self.put(bytes(names))
        heap = self.put(b"HEAP" + struct.pack("<I", 0) + struct.pack("<QQQ", len(names), 1, held))
        nodes = [
            self.put(
                b"SNOD"
                + struct.pack("<BxH", 1, len(some))
                + b"".join(struct.pack("<QQ24x", offsets[name], where[name]) for name in some)
            )
            for some in ([*sorted(where)][at : at + 8] for at in range(0, len(where), 8))
        ]
        children = b"".join(struct.pack("<QQ", node, 0) for node in nodes)
        tree = self.put(b"TREE" + struct.pack("<BBHQQQ", 0, 0, len(nodes), 2**64 - 1, 2**64 - 1, 0) + children)
        return self.object([(17, struct.pack("<QQ", tree, heap)), *([self.text("name", label)] if label else [])])

    def array(self, array):
        order = int(array.dtype.byteorder == ">")
        size = array.dtype.itemsize
        if array.dtype == BFLOAT16:
            kind, more = struct.pack("<BBBBI", 0x15, 0, 0, 0, 2), [self.text("dtype", "bfloat16")]
        elif array.dtype.kind == "f":
            bits = {2: (10, 5), 4: (23, 8), 8: (52, 11)}[size]
            kind = struct.pack("<BBBBI", 0x11, 0x20 | order, size * 8 - 1, 0, size)
            kind += struct.pack("<HHBBBBI", 0, size * 8, bits[0], bits[1], 0, bits[0], 127)
            more = []
        else:
            kind = struct.pack("<BBBBIHH", 0x10, 8 * (array.dtype.kind == "i") | order, 0, 0, size, 0, size * 8)
            more = []
        shape = struct.pack("<BBBxI", 1, array.ndim, 0, 0) + struct.pack(f"<{array.ndim}Q", *array.shape)
        first = self.put(array.tobytes()) if array.size else 2**64 - 1
        return self.object([(1, shape), (3, kind), (8, struct.pack("<BBQQ", 3, 1, first, array.nbytes)), *more])


def h5(tree):
    return bytes(Hdf5(tree).data)


def layer(*arrays, name="", **groups):
    return {"vars": {"": name, **{str(index): one for index, one in enumerate(arrays)}}, **groups}


def described(cls, **options):
    return {"module": "keras.layers", "class_name": cls, "config": options, "registered_name": None}


def keras_file(tree, *configs, cls="Sequential"):
    config = {"module": "keras", "class_name": cls, "config": {"layers": list(configs)}, "registered_name": None}
    return zipped({"metadata.json": b"{}", "config.json": json.dumps(config), "model.weights.h5": h5(tree)})


NET = {
    "layers": {
        "dense": layer(numbers(4, 3), numbers(3), name="mine"),
        "dense_1": layer(numbers(3, 2), name="dense_7"),
        "batch_normalization": layer(*(numbers(3) + one for one in range(4))),
        "gru": layer(cell=layer(numbers(3, 12), numbers(4, 12), numbers(2, 12))),
        "own": layer(numbers(2, 2)),
    },
    "optimizer": layer(numbers(2), numbers(3)),
}
CONFIGS = (
    described("InputLayer", name="input_layer"),
    described("Dense", name="mine", activation="relu", use_bias=True),
    {"module": "mine", "class_name": "Own", "config": {}, "registered_name": "mine>Own"},
    described("BatchNormalization", name="batch_normalization_3", epsilon=0.001, scale=True, center=True),
    described("Dense", name="dense_7", use_bias=False),
    described("GRU", name="gru"),
)


# --- Flax: MessagePack with its extensions ----------------------------------------------------------------------------


def message(thing):
    if isinstance(thing, dict):
        return (
            b"\xde"
            + struct.pack(">H", len(thing))
            + b"".join(message(key) + message(one) for key, one in thing.items())
        )
    if isinstance(thing, list):
        return bytes([0x90 + len(thing)]) + b"".join(map(message, thing))
    if isinstance(thing, np.ndarray):
        return extension(1, [[*thing.shape], thing.dtype.name, thing.tobytes()])
    if isinstance(thing, str):
        return b"\xd9" + bytes([len(thing)]) + thing.encode()
    if isinstance(thing, bytes):
        return b"\xc6" + struct.pack(">I", len(thing)) + thing
    if thing is None or isinstance(thing, bool):
        return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[thing]
    return b"\xcb" + struct.pack(">d", thing) if isinstance(thing, float) else b"\xd3" + struct.pack(">q", thing)


def extension(kind, thing):
    data = message(thing)
    return b"\xc9" + struct.pack(">I", len(data)) + bytes([kind]) + data


TREE = {
    "params": {
        "Conv_0": {"kernel": numbers(3, 3, 2, 4), "bias": numbers(4)},
        "BatchNorm_0": {"scale": numbers(4), "bias": numbers(4) + 1},
        "fc": {"kernel": numbers(4, 3), "bias": numbers(3)},
        "Embed_0": {"embedding": numbers(7, 4)},
        "deconv": {"kernel": numbers(3, 4, 4)},
        "lstm": {"ii": {"kernel": numbers(4, 4)}},
        "own": {"thing": numbers(2)},
    },
    "batch_stats": {"BatchNorm_0": {"mean": numbers(4) + 2, "var": numbers(4) + 3}},
}


# --- one of each ------------------------------------------------------------------------------------------------------

WHOLE = {"mxnet": PARAMS, "paddle": PDPARAMS, "torch": saved(STATE, DATA), "old torch": legacy(STATE, DATA)}
WHOLE |= {"keras": keras_file(NET, *CONFIGS), "h5": h5(NET), "flax": message(TREE)}
WHOLE |= {"npy": npy(A), "npz": npz({"a": A, "b": B}), "packed npz": npz({"a": A, "b": B}, np.savez_compressed)}
