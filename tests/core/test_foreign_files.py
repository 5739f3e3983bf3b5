"""Files of other frameworks, made here byte by byte: what they say comes out, and nothing else can happen."""

import contextlib
import importlib.metadata
import io
import os
import pickle
import struct
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from effort import effort
from made_files import (
    BFLOAT16,
    MSHADOW,
    NONE,
    PARAMS,
    V1,
    V2,
    V3,
    Tensor,
    marked,
    nd,
    nd_dict,
    nd_list,
    numbers,
    opened,
    row_sparse,
    same,
    state_dict,
)
from multiparam_numpy import Module, Variable
from multiparam_numpy.layers import Embedding, Linear

import multiparam as mp
from multiparam.adapter import registry
from multiparam.checkpoint import checkpoint
from multiparam.formats import Choice, Contents, Entry, Format, Model


def unwrapped(found):
    """What is printed of a file, with its long lines in one."""
    return str(found).replace("\n  ", " ")


def values(given):
    return {name: entry.value for name, entry in given.items()}


# --- MXNet: NDArray::Save of ndarray.cc, in struct's words ---------------------------------------------------------


@pytest.mark.parametrize("version", [0, V1, V2, V3])
@pytest.mark.parametrize("dtype", MSHADOW, ids=str)
def test_arrays_of_every_version_and_dtype_are_read(tmp_path, version, dtype):
    given = {"a": np.arange(6).reshape(2, 3).astype(dtype), "b": np.arange(3).astype(dtype)}
    found = opened(tmp_path, nd_dict(given, version))
    assert found.format == "mxnet"
    assert all(same(found[name].value, array) for name, array in given.items())
    assert list(found) == list(given)


def test_scalars_and_empty_arrays_are_read(tmp_path):
    given = {"s": np.float32(3), "z": np.zeros((0, 3), "f4"), "a": np.ones(1, "f4")}
    found = opened(tmp_path, nd_dict(given, V3))
    assert all(same(found[name].value, array) for name, array in given.items())


def test_lists_come_back_as_lists(tmp_path):
    given = [numbers(2, 3), numbers(4)]
    assert [*opened(tmp_path, nd_list([nd(one) for one in given]))] == ["0", "1"]
    back = mp.load(tmp_path / "file")
    assert isinstance(back, list)
    assert all(map(same, back, given))


def test_an_array_that_is_none_is_left_out_and_said(tmp_path):
    found = opened(tmp_path, nd_list([nd(numbers(2)), NONE], ["a", "b"]))
    assert list(found) == ["a"]
    assert found.left_out == {"b": "None"}
    assert "left out: b, None" in str(found)


def test_a_sparse_array_is_refused_by_its_name_and_the_others_are_read(tmp_path):
    sparse = row_sparse(numbers(2, 3), [0, 2], (4, 3))
    found = opened(tmp_path, nd_list([nd(numbers(3)), sparse, nd(numbers(2))], ["a", "0.weight", "b"]))
    assert same(found["b"].value, numbers(2))
    assert found["0.weight"].shape == (4, 3)
    with pytest.raises(mp.CheckpointError, match=r"file: '0.weight' cannot be read: it is sparse \(row_sparse\)"):
        found["0.weight"].read()


def test_a_sparse_array_stops_a_load_before_it_writes(tmp_path):
    net = mp.nn.Sequential(mp.nn.Linear(3, 4), backend="numpy")
    before = {name: one.value for name, one in mp.state(net).items()}
    data = nd_list([nd(numbers(4)), row_sparse(numbers(2, 3), [0, 2], (4, 3))], ["0.bias", "0.weight"])
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(mp.MismatchError, match=r"0.weight cannot be represented: it is sparse"):
        mp.load(tmp_path / "file", into=net)
    assert all(same(one.value, before[name]) for name, one in mp.state(net).items())


GATES = [("RNN", 1), ("GRU", 3), ("LSTM", 4)]


def cell_of(gates, prefix, inputs=5, hidden=6):
    return {
        f"{prefix}i2h_weight": numbers(gates * hidden, inputs),
        f"{prefix}h2h_weight": numbers(gates * hidden, hidden),
        f"{prefix}i2h_bias": numbers(gates * hidden),
        f"{prefix}h2h_bias": numbers(gates * hidden) + 1,
    }


def canonical_of(native, prefix, to, suffix=""):
    """What becomes of a cell's tensors."""
    roles = {"i2h_weight": "weight_ih", "h2h_weight": "weight_hh", "i2h_bias": "bias_ih", "h2h_bias": "bias_hh"}
    return {f"{to}{role}{suffix}": native[f"{prefix}{name}"] for name, role in roles.items()}


def test_gluons_layers_get_pytorchs_names(tmp_path):
    given = {
        "0.weight": numbers(8, 4),
        "0.bias": numbers(8),
        "1.gamma": numbers(3),
        "1.beta": numbers(3) + 1,
        "1.running_mean": numbers(3) + 2,
        "1.running_var": numbers(3) + 3,
        "2.gamma": numbers(5),
        "2.beta": numbers(5) + 1,
        "3.alpha": numbers(1),
        "4.weight": numbers(4, 3, 3, 3),
        "5.weight": numbers(9, 4),
        "own.thing": numbers(2, 2),
    }
    found = opened(tmp_path, nd_dict(given))
    renamed = {"gamma": "weight", "beta": "bias", "alpha": "weight"}
    wanted = {".".join(renamed.get(part, part) for part in name.split(".")): one for name, one in given.items()}
    wanted["1.num_batches_tracked"] = np.zeros((), np.int64)
    assert found.keys() == wanted.keys()
    assert all(same(found[name].value, one) for name, one in wanted.items())
    assert found.kinds == {
        "0": "Linear",
        "1": "BatchNorm",
        "2": "LayerNorm or GroupNorm or InstanceNorm",
        "3": "PReLU",
        "4": "Conv2d or ConvTranspose2d",
        "5": "Linear or Embedding",
    }
    assert found["1.weight"].original == ("1.gamma",)
    assert found["0.weight"].original == ()
    assert found.own == {"own.thing"}
    assert "own.thing" in str(found)
    assert "as in the file" in str(found)


@pytest.mark.parametrize(("kind", "gates"), GATES)
def test_gluons_recurrent_layers_get_pytorchs_names(tmp_path, kind, gates):
    # between the stacked layers stands a dropout, which has a number too
    paths = [("_unfused.0.l_cell.", 5, "_l0"), ("_unfused.0.r_cell.", 5, "_l0_reverse")]
    paths += [("_unfused.2.l_cell.", 12, "_l1"), ("_unfused.2.r_cell.", 12, "_l1_reverse")]
    native, wanted = {}, {}
    for path, inputs, suffix in paths:
        native.update(cell_of(gates, f"rnn.{path}", inputs))
        wanted.update(canonical_of(native, f"rnn.{path}", "rnn.", suffix))
    found = opened(tmp_path, nd_dict(native))
    assert found.kinds == {"rnn": kind}
    assert found.keys() == wanted.keys()
    assert all(same(found[name].value, one) for name, one in wanted.items())
    cell = opened(tmp_path, nd_dict(cell_of(gates, "")))
    assert cell.kinds == {"": f"{kind}Cell"}
    assert list(cell) == ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]


def test_a_projection_of_gluons_is_read(tmp_path):
    native = {
        **cell_of(4, "_unfused.0."),
        "_unfused.0.h2h_weight": numbers(24, 3),
        "_unfused.0.h2r_weight": numbers(3, 6),
    }
    found = opened(tmp_path, nd_dict(native))
    assert found.kinds == {"": "LSTM"}
    assert found["weight_hr_l0"].shape == (3, 6)


def test_prefixed_and_exported_names_become_a_layer_a_dot_and_pytorchs(tmp_path):
    given = {
        "arg:net0_dense0_weight": numbers(8, 4),
        "arg:net0_dense0_bias": numbers(8),
        "arg:net0_embedding0_weight": numbers(9, 4),
        "arg:net0_batchnorm0_gamma": numbers(3),
        "aux:net0_batchnorm0_moving_mean": numbers(3) + 1,
        "aux:net0_batchnorm0_moving_var": numbers(3) + 2,
        **cell_of(4, "arg:net0_lstm0_l0_"),
        **cell_of(4, "arg:net0_lstm0_r0_"),
        "arg:net0_packed_parameters": numbers(300),
    }
    found = opened(tmp_path, nd_dict(given))
    lstm = [
        f"{role}_l0{suffix}" for suffix in ("", "_reverse") for role in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ]
    assert list(found) == [
        *("net0_dense0.weight", "net0_dense0.bias", "net0_embedding0.weight", "net0_batchnorm0.weight"),
        *(f"net0_batchnorm0.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")),
        *(f"net0_lstm0.{role}" for role in lstm),
        "arg:net0_packed_parameters",
    ]
    assert list(found.kinds.values()) == ["Linear", "Embedding", "BatchNorm", "LSTM"]
    assert found.own == {"arg:net0_packed_parameters"}
    assert found["net0_dense0.bias"].original == ("arg:net0_dense0_bias",)


def test_names_that_would_become_one_stay_as_they_are(tmp_path):
    found = opened(tmp_path, nd_dict({"0.gamma": numbers(3), "0.beta": numbers(3), "0.weight": numbers(3)}))
    assert list(found) == ["0.gamma", "0.beta", "0.weight"]
    found = opened(tmp_path, nd_dict({"arg:x": numbers(3), "aux:x": numbers(2)}))
    assert list(found) == ["arg:x", "aux:x"]


def test_an_mxnet_file_is_loaded_into_a_model(tmp_path):
    net = mp.nn.Sequential(mp.nn.Linear(4, 8), mp.nn.ReLU(), mp.nn.Linear(8, 1), backend="numpy")
    given = {"0.weight": numbers(8, 4), "0.bias": numbers(8), "2.weight": numbers(1, 8), "2.bias": numbers(1)}
    (tmp_path / "net.params").write_bytes(nd_dict(given))
    assert str(mp.load(tmp_path / "net.params", into=net)) == "loaded 4 tensors"
    assert mp.diff(tmp_path / "net.params", net).equal
    assert all(same(one.value, given[name]) for name, one in mp.parameters(net).items())
    before = values(mp.state(net))
    (tmp_path / "net.params").write_bytes(nd_dict({**given, "2.weight": numbers(2, 8), "3.weight": numbers(1)}))
    with pytest.raises(mp.MismatchError, match=r"unexpected: 3.weight\nshape of 2.weight: \(1, 8\) expected, \(2, 8\)"):
        mp.load(tmp_path / "net.params", into=net)
    assert all(same(one, before[name]) for name, one in values(mp.state(net)).items())


@pytest.mark.parametrize("rename", [{"^": "0."}, {"^weight": "0.weight"}])
def test_a_top_level_layer_is_renamed_into_a_model_and_turned(tmp_path, rename):
    (tmp_path / "file").write_bytes(pickle.dumps(marked({"weight": numbers(4, 4)})))
    model = mp.nn.Sequential(mp.nn.Linear(4, 4, bias=False), backend="numpy")
    with pytest.warns(mp.UncertainLayoutWarning, match=r"report says: 0\.weight$"):
        mp.load(tmp_path / "file", into=model, rename=rename)
    assert same(mp.parameters(model)["0.weight"].value, numbers(4, 4).T)
    (tmp_path / "file").write_bytes(pickle.dumps(marked({"net.weight": numbers(4, 4)})))
    model = Linear(4, 4, bias=False)
    with pytest.warns(mp.UncertainLayoutWarning, match="report says: weight$"):
        mp.load(tmp_path / "file", into=model, rename={r"^net\.": ""})
    assert same(model.weight.value, numbers(4, 4).T)


def test_prefixed_names_are_renamed_into_a_model(tmp_path):
    net = mp.nn.Sequential(mp.nn.Linear(4, 8), backend="numpy")
    (tmp_path / "file").write_bytes(nd_dict({"net0_dense0_weight": numbers(8, 4), "net0_dense0_bias": numbers(8)}))
    mp.load(tmp_path / "file", into=net, rename={r"^net0_dense0\.": "0."})
    assert mp.diff(tmp_path / "file", net, rename={r"^net0_dense0\.": "0."}).equal
    assert same(mp.parameters(net)["0.weight"].value, numbers(8, 4))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (PARAMS + b"x", "1 bytes too many at its end"),
        (struct.pack("<QQQ", 0x112, 0, 2**63), "claims 9223372036854775808 arrays"),
        (nd_list([nd(numbers(2))], ["a", "b"]), "1 arrays and 2 names"),
        (nd_list([nd(numbers(2)), nd(numbers(2))], ["a", "a"]), "two arrays are called 'a'"),
        (nd_list([struct.pack("<Iii2qiii", V2, 0, 2, 2**40, 2**40, 1, 0, 0)]), "array 0: claims more numbers"),
        (nd_list([struct.pack("<Iii2qiii", V2, 0, 2, 2**20, 2**20, 1, 0, 0)]), "array 0: ends within it"),
        (nd_list([struct.pack("<Iiiqiii", V2, 0, 1, -1, 1, 0, 0)]), "array 0: claims 1 axes of extents"),
        (nd_list([struct.pack("<Iii", V2, 0, 99)]), "array 0: claims 99 axes"),
        (nd_list([struct.pack("<Iiiqiii", V2, 0, 1, 1, 1, 0, 77)]), "array 0: has dtype 77"),
        (nd_list([struct.pack("<Iiiqiii", V2, 5, 1, 1, 1, 0, 0)]), "array 0: has storage type 5"),
        (
            nd_list([nd(numbers(1))])[:-8] + struct.pack("<QQ", 1, 1) + b"\xff",
            "names",
        ),
    ],
)
def test_a_damaged_mxnet_file_says_why(tmp_path, data, why):
    with pytest.raises(mp.CheckpointError, match=r"no valid MXNet params file") as caught:
        opened(tmp_path, data)
    assert why in str(caught.value)


# --- Paddle: pickles, as paddle.save has Python write them ---------------------------------------------------------


NET = {
    "emb.weight": (numbers(7, 5), "embedding_0.w_0"),
    "fc.weight": (numbers(5, 5), "linear_0.w_0"),
    "fc.bias": (numbers(5), "linear_0.b_0"),
    "head.weight": (numbers(5, 7), "linear_1.w_0"),
    "bn._mean": (numbers(4), "batch_norm2d_0.w_1"),
    "bn._variance": (numbers(4) + 1, "batch_norm2d_0.w_2"),
    "bn.weight": (numbers(4) + 2, "batch_norm2d_0.w_0"),
    "norm.scale": (numbers(4), "instance_norm2d_0.w_0"),
    "act._weight": (numbers(1), "p_re_lu_0.w_0"),
    "conv.weight": (numbers(4, 3, 3, 3), "conv2d_0.w_0"),
    "bi.weight": (numbers(2, 3, 4), "bilinear_0.w_0"),
    "bi.bias": (numbers(1, 2), "bilinear_0.b_0"),
    "own": (numbers(3, 4), "net_0.w_0"),
}
ARRAYS, NAMES = ({name: both[which] for name, both in NET.items()} for which in (0, 1))
CANONICAL = {
    **ARRAYS,
    "fc.weight": ARRAYS["fc.weight"].T,
    "head.weight": ARRAYS["head.weight"].T,
    "bi.bias": ARRAYS["bi.bias"].reshape(2),
}
RENAMED = {
    "bn._mean": "bn.running_mean",
    "bn._variance": "bn.running_var",
    "norm.scale": "norm.weight",
    "act._weight": "act.weight",
}
CANONICAL = {RENAMED.get(name, name): one for name, one in CANONICAL.items()}
CANONICAL = {
    name: one
    for key, value in CANONICAL.items()
    for name, one in ((key, value), ("bn.num_batches_tracked", np.zeros((), np.int64)))[: 1 + (key == "bn.running_var")]
}


@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_paddles_layers_get_pytorchs_names_and_layouts(tmp_path, protocol, core):
    data = pickle.dumps(state_dict(ARRAYS, NAMES), protocol=protocol)
    if protocol < 4:  # later ones count the letters
        data = data.replace(b"numpy._core.", b"numpy.core.").replace(b"numpy.core.", core.encode() + b".")
    found = opened(tmp_path, data)
    assert found.format == "paddle"
    assert list(found) == list(CANONICAL)
    assert "in PyTorch's, with a neutral value: bn.num_batches_tracked" in str(found)
    assert all(same(found[name].value, one) for name, one in CANONICAL.items())
    assert found.kinds == {
        "emb": "Embedding",
        "fc": "Linear",
        "head": "Linear",
        "bn": "BatchNorm2d",
        "norm": "InstanceNorm2d",
        "act": "PReLU",
        "conv": "Conv2d",
        "bi": "Bilinear",
    }
    assert found.own == {"own"}
    assert found["fc.weight"].original == ("fc.weight",)
    assert "Linear, rearranged" in str(found)
    assert not found["fc.weight"].value.flags.writeable


def test_without_the_parameters_names_only_what_is_certain_is_turned(tmp_path):
    found = opened(tmp_path, pickle.dumps(marked(ARRAYS), protocol=4))
    for name in ("fc.weight", "fc.bias", "bn.running_mean", "act.weight", "norm.weight", "bi.bias"):
        assert same(found[name].value, CANONICAL[name])
    for name in ("emb.weight", "head.weight"):
        assert name in found.own
        assert same(found[name].value, ARRAYS[name])
    assert "emb.weight, head.weight: may be a Linear's, which PyTorch keeps transposed, or not" in unwrapped(found)
    assert found.kinds["fc"] == "Linear"
    assert found.kinds["bn"] == "BatchNorm"


def test_only_linear_layers_are_turned_whatever_users_call_theirs(tmp_path):
    given = {"w.weight": numbers(2, 3), "w.bias": numbers(2)}
    found = opened(tmp_path, pickle.dumps(state_dict(given, {"w.weight": "mine_0.w_0", "w.bias": "mine_0.b_0"})))
    assert same(found["w.weight"].value, given["w.weight"])
    assert found.own == set(given)


def model_of(**layers):
    """A module that holds these under their names; one of the user's own has variables of these shapes."""

    class Own(Module):
        def __init__(self, shapes):
            for name, shape in shapes.items():
                setattr(self, name, Variable(np.zeros(shape, np.float32)))

    model = Module()
    for name, layer in layers.items():
        setattr(model, name, Own(layer) if isinstance(layer, dict) else layer)
    return model


@pytest.mark.parametrize("extents", [(4, 4), (4, 5)])
def test_a_class_that_is_not_paddles_is_never_taken_for_one_of_its(tmp_path, extents):
    given = {"own.weight": numbers(*extents), "own.bias": numbers(extents[1])}
    names = {"own.weight": "pc_0.w_0", "own.bias": "pc_0.b_0"}
    found = opened(tmp_path, pickle.dumps(state_dict(given, names)))
    assert found.own == set(given)
    assert found.kinds == {}
    assert "own.weight: may be a Linear's" in str(found)
    model = model_of(own={"weight": extents, "bias": extents[1]})
    square = extents == (4, 4)
    doubt = pytest.warns(mp.UncertainLayoutWarning, match="own") if square else contextlib.nullcontext()
    with doubt:
        mp.load(tmp_path / "file", into=model)
    assert same(model.own.weight.value, given["own.weight"])
    # a subclass of Linear has a family of its own too: the model tells
    model = model_of(own=Linear(*extents))
    with doubt:
        mp.load(tmp_path / "file", into=model)
    assert same(model.own.weight.value, given["own.weight"].T)


def test_what_a_layer_of_the_users_own_calls_its_tensors_is_no_norms(tmp_path):
    given = {"a.scale": numbers(4), "b._weight": numbers(4), "c._mean": numbers(4), "c._variance": numbers(4)}
    given |= {"d.weight_ih": numbers(4, 4), "d.weight_hh": numbers(4, 4), "d.weight_ho": numbers(4, 4)}
    names = {name: f"mine_{name[0]}_{index}.w_0" for index, name in enumerate(given)}
    found = opened(tmp_path, pickle.dumps(state_dict(given, names)))
    assert found.own == set(found) == set(given)
    assert found.kinds == {}
    mp.load(tmp_path / "file", into=model_of(a={"scale": 4}), strict=False)
    # and where the model has a norm, it is one: a subclass of Paddle's
    kinds = {"b": "PReLU", "c": "BatchNorm2d", "d": "RNNCell"}
    model = Model(names=lambda name: True, kind=lambda layer: kinds.get(layer, ""), native=False)
    assert [*found.suiting(model)] == [
        *("a.scale", "b.weight", "c.running_mean", "c.running_var", "c.num_batches_tracked"),
        *("d.weight_ih", "d.weight_hh", "d.weight_hr"),
    ]


def test_a_weight_that_is_taken_apart_is_turned_as_a_linears(tmp_path):
    given = {
        "a.weight_orig": numbers(4, 4),
        "a.weight_u": numbers(4),
        "a.weight_v": numbers(4) + 1,
        "b.weight_v": numbers(4, 4),
        "b.weight_g": numbers(4),
        "c.weight_orig": numbers(4, 4) + 1,
        "d.weight_orig": numbers(4, 3, 2, 2),
    }
    names = {"a.weight_orig": "linear_0.w_0", "b.weight_v": "linear_1.w_1", "b.weight_g": "linear_1.w_2"}
    names |= {"d.weight_orig": "conv2d_0.w_0", "c.weight_orig": "w"}
    found = opened(tmp_path, pickle.dumps(state_dict(given, names)))
    assert list(found) == list(given)
    turned = ("a.weight_orig", "b.weight_v")
    assert all(same(found[name].value, one.T if name in turned else one) for name, one in given.items())
    assert "c.weight_orig: may be a Linear's" in str(found)
    # the model tells; in one of Paddle's own they are as Paddle has them
    for native in (False, True):
        model = Model(names=lambda name: True, kind=lambda layer: "Linear", native=native)
        read = found.suiting(model)
        assert all(
            same(read[name].value, given[name] if native else given[name].T) for name in (*turned, "c.weight_orig")
        )


def test_a_matrix_whose_bias_tells_its_axes_is_not_turned(tmp_path):
    given = {"head.weight": numbers(7, 4), "head.bias": numbers(7)}
    names = {"head.weight": "head_0.w_0", "head.bias": "head_0.b_0"}
    (tmp_path / "file").write_bytes(pickle.dumps(state_dict(given, names)))
    model = model_of(head=Linear(4, 7))
    assert mp.load(tmp_path / "file", into=model).notes == []
    assert same(model.head.weight.value, given["head.weight"])


def test_what_a_square_matrix_leaves_open_is_said_when_it_is_loaded(tmp_path):
    given = {"a.weight": numbers(4, 4), "b.weight": numbers(4, 4), "c.weight": numbers(3, 4)}
    (tmp_path / "file").write_bytes(pickle.dumps(marked(given)))
    model = model_of(a=Linear(4, 4, bias=False), b={"weight": (4, 4)}, c={"weight": (3, 4)})
    with pytest.warns(mp.UncertainLayoutWarning) as said:
        first, second = mp.load(tmp_path / "file", into=model).notes
    assert said[0].message.names == ["a.weight", "b.weight"]
    assert first.startswith("a.weight: turned, as a Linear's is, since the model has one there")
    assert second.startswith("b.weight: may be a Linear's")
    told = Model(lambda name: True, lambda layer: "Linear", native=True)
    assert mp.open(tmp_path / "file").suiting(told).doubts == {}
    model = model_of(a=Embedding(4, 4), b=Embedding(4, 4), c=Embedding(3, 4))
    assert mp.load(tmp_path / "file", into=model).notes == []


def test_a_table_in_the_place_of_a_linear_is_said(tmp_path):
    given, names = {"a.weight": numbers(4, 4)}, {"a.weight": "embedding_0.w_0"}
    (tmp_path / "file").write_bytes(pickle.dumps(state_dict(given, names)))
    report = mp.load(tmp_path / "file", into=model_of(a=Linear(4, 4, bias=False)))
    assert report.differences == [("a", "kind", "Embedding", "Linear")]
    names["a.weight"] = "linear_0.w_0"
    (tmp_path / "file").write_bytes(pickle.dumps(state_dict(given, names)))
    report = mp.load(tmp_path / "file", into=model_of(a=Embedding(4, 4)))
    assert report.differences == [("a", "kind", "Linear", "Embedding")]


def test_a_norm_over_several_axes_takes_its_shape_from_the_model(tmp_path):
    given = {"norm.weight": numbers(12), "norm.bias": numbers(12) + 1}
    found = opened(tmp_path, pickle.dumps(state_dict(given, {"norm.weight": "layer_norm_0.w_0"})))
    model = Model(lambda name: True, lambda layer: "LayerNorm", native=True, shape=lambda name: (3, 4))
    assert all(same(entry.value, given[name].reshape(3, 4)) for name, entry in found.suiting(model).items())
    other = Model(lambda name: True, lambda layer: "LayerNorm", native=True, shape=lambda name: (3, 5))
    assert all(entry.shape == (12,) for entry in found.suiting(other).values())


def test_a_norm_of_the_users_own_gets_no_counter(tmp_path, monkeypatch):
    paddles = pickle.dumps(marked({"own._mean": numbers(3), "own._variance": numbers(3) + 1}))
    gluons = nd_dict({"own.running_mean": numbers(3), "own.running_var": numbers(3) + 1})
    names = (("paddle", "_mean", "_variance", paddles), ("mxnet", "running_mean", "running_var", gluons))
    for backend, first, second, data in names:
        (tmp_path / "file").write_bytes(data)
        monkeypatch.setattr(type(registry.adapter("numpy")), "name", backend)
        model = model_of(own={first: 3, second: 3})
        mp.load(tmp_path / "file", into=model)
        assert same(getattr(model.own, second).value, numbers(3) + 1)


def test_tensors_of_nested_dicts_are_named_by_their_paths(tmp_path):
    given = {
        "model": {name: Tensor(NAMES[name], array) for name, array in ARRAYS.items()},
        "steps": [Tensor("x_0", numbers(2)), 3],
        "epoch": 7,
        "best": np.float64(0.5),
        "text": None,
    }
    found = opened(tmp_path, pickle.dumps(marked(given), protocol=4))
    assert all(same(found[f"model.{name}"].value, one) for name, one in CANONICAL.items())
    assert same(found["steps.0"].value, numbers(2))
    assert same(found["best"].value, np.float64(0.5))
    assert found.left_out == {"steps.1": "int", "epoch": "int", "text": "NoneType"}


def test_single_tensors_and_lists_come_back_as_such(tmp_path):
    for thing in (Tensor("linear_0.w_0", numbers(2, 3)), numbers(2, 3)):
        (tmp_path / "file").write_bytes(pickle.dumps(thing, protocol=4))
        assert same(mp.load(tmp_path / "file"), numbers(2, 3))
    (tmp_path / "file").write_bytes(pickle.dumps([Tensor("eager_tmp_0", numbers(2)), numbers(3)], protocol=4))
    assert [one.shape for one in mp.load(tmp_path / "file")] == [(2,), (3,)]
    (tmp_path / "file").write_bytes(pickle.dumps(OrderedDict(a=numbers(2)), protocol=2))
    assert same(mp.load(tmp_path / "file")["a"], numbers(2))


def test_a_tensor_of_a_static_graph_is_read_and_nothing_evaluated(tmp_path):
    class Static:
        def __reduce__(self):
            return eval, ("data", {"data": numbers(2, 3)})

    (tmp_path / "file").write_bytes(pickle.dumps(Static(), protocol=4))
    assert same(mp.load(tmp_path / "file"), numbers(2, 3))


def test_parameters_of_static_graphs_become_a_layer_a_dot_and_pytorchs(tmp_path):
    given = {
        "fc_0.w_0": numbers(3, 4),
        "fc_0.b_0": numbers(4),
        "batch_norm_0.w_1": numbers(4),
        "mine_0.w_0": numbers(2),
    }
    found = opened(tmp_path, pickle.dumps(given, protocol=2))
    assert [name for name in found if "tracked" not in name] == [
        *("fc_0.weight", "fc_0.bias", "batch_norm_0.running_mean", "mine_0.w_0")
    ]
    assert same(found["fc_0.weight"].value, given["fc_0.w_0"].T)


def test_bfloat16_is_what_paddle_keeps_as_uint16(tmp_path):
    given = numbers(3, 4).astype(BFLOAT16)
    found = opened(
        tmp_path,
        pickle.dumps(marked({"fc.weight": given.view("u2"), "fc.bias": numbers(4).astype(BFLOAT16).view("u2")})),
    )
    assert found["fc.weight"].dtype == BFLOAT16
    assert same(found["fc.weight"].value, given.T)


@pytest.mark.parametrize("dtype", ["b1", "i1", "i2", "i4", "i8", "u1", "f2", "f4", "f8", "c8", "c16", ">f4", ">i8"])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_dtypes_orders_scalars_and_empty_arrays_are_read(tmp_path, dtype, protocol):
    given = {
        "c": np.arange(6).reshape(2, 3).astype(dtype),
        "f": np.asfortranarray(np.arange(6).reshape(2, 3).astype(dtype)),
        "s": np.array(1, dtype),
        "z": np.zeros((0, 3), dtype),
    }
    found = opened(tmp_path, pickle.dumps(marked(given), protocol=protocol))
    native = np.dtype(dtype).newbyteorder("=")
    assert all(
        same(found[name].value, np.ascontiguousarray(one).reshape(one.shape).astype(native))
        for name, one in given.items()
    )


def test_arrays_that_python_2_wrote_are_read(tmp_path):
    raw = numbers(2, 3).tobytes()
    data = b"\x80\x02}U\x01xcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    data += b"(K\x01K\x02K\x03\x86cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNN"
    data += b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U" + bytes([len(raw)]) + raw + b"tbs."
    assert same(opened(tmp_path, data)["x"].value, numbers(2, 3))


def test_big_arrays_cut_into_slices_are_put_together(tmp_path):
    whole = numbers(4, 6)
    data = {
        "fc.bias": numbers(6),
        "fc.weight@@.0": whole.reshape(-1)[:10],
        "fc.weight@@.1": whole.reshape(-1)[10:],
        "UnpackBigParamInfor@@": {"fc.weight": {"OriginShape": (4, 6), "slices": ["fc.weight@@.0", "fc.weight@@.1"]}},
        "StructuredToParameterName@@": {"fc.weight": "linear_0.w_0", "fc.bias": "linear_0.b_0"},
    }
    found = opened(tmp_path, pickle.dumps(data, protocol=2))
    assert set(found) == {"fc.weight", "fc.bias"}
    assert same(found["fc.weight"].value, whole.T)
    for about in (
        {"slices": ["x"], "OriginShape": (4, 6)},
        {"slices": ["fc.weight@@.0"], "OriginShape": (4, 6)},
        3,
        {},
    ):
        data["UnpackBigParamInfor@@"]["fc.weight"] = about
        with pytest.raises(mp.CheckpointError, match="parts"):
            opened(tmp_path, pickle.dumps(data, protocol=2))


@pytest.mark.parametrize(("kind", "gates"), GATES)
@pytest.mark.parametrize("directions", [("",), ("fw", "bw")])
def test_paddles_recurrent_layers_are_there_once(tmp_path, kind, gates, directions):
    once, twice = {}, {}
    for layer in range(2):
        for suffix, direction in zip(("", "_reverse"), directions):  # noqa: B905
            cell = cell_of(gates, "", 5 if not layer else 6 * len(directions))
            once.update(canonical_of(cell, "", "rnn.", f"_l{layer}{suffix}"))
            twice.update(canonical_of(cell, "", f"rnn.{layer}.cell{'_' * bool(direction)}{direction}."))
    found = opened(tmp_path, pickle.dumps(marked({**once, **twice}), protocol=4))
    assert list(found) == list(once)
    assert found.kinds == {"rnn": kind}
    assert found.ties == []
    assert "are in the file twice" in str(found)
    (first, *_) = twice
    twice[first] = twice[first] + 1  # not the same after all: nothing is lost
    found = opened(tmp_path, pickle.dumps(marked({**once, **twice}), protocol=4))
    assert list(found) == [*once, first]


def test_a_projection_of_paddles_is_turned(tmp_path):
    cell = {**cell_of(4, ""), "h2h_weight": numbers(24, 3)}
    cells = {**canonical_of(cell, "", "0.cell."), "0.cell.weight_ho": numbers(6, 3)}
    # Paddle counts one tensor too few, so that the names beside the cells' are off by one
    wrong = dict(zip(("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"), [*cells.values()][1:], strict=True))
    given = {**wrong, **cells}
    found = opened(tmp_path, pickle.dumps(marked(given), protocol=4))
    assert found.kinds == {"": "LSTM"}
    assert same(found["weight_hr_l0"].value, numbers(6, 3).T)
    assert {name: one.shape for name, one in found.items()} == {
        "weight_ih_l0": (24, 5),
        "weight_hh_l0": (24, 3),
        "bias_ih_l0": (24,),
        "bias_hh_l0": (24,),
        "weight_hr_l0": (3, 6),
    }


def attention(width=4, keys=4, prefix="attn."):
    shapes = {"q_proj": (width, width), "k_proj": (keys, width), "v_proj": (width, width), "out_proj": (width, width)}
    return {
        f"{prefix}{name}.{part}": numbers(*(shape if part == "weight" else (width,))) + index
        for index, (name, shape) in enumerate(shapes.items())
        for part in ("weight", "bias")
    }


def test_paddles_attention_becomes_pytorchs(tmp_path):
    given = attention()
    found = opened(tmp_path, pickle.dumps(marked(given), protocol=4))
    assert found.kinds == {"attn": "MultiheadAttention"}
    projections = [f"attn.{name}_proj" for name in "qkv"]
    wanted = np.concatenate([given[f"{name}.weight"].T for name in projections])
    assert same(found["attn.in_proj_weight"].value, wanted)
    assert same(found["attn.in_proj_weight"][4:6], wanted[4:6])
    assert same(found["attn.in_proj_bias"].value, np.concatenate([given[f"{name}.bias"] for name in projections]))
    assert same(found["attn.out_proj.weight"].value, given["attn.out_proj.weight"].T)
    assert found["attn.in_proj_weight"].original == tuple(f"{name}.weight" for name in projections)
    apart = opened(tmp_path, pickle.dumps(marked(attention(keys=6)), protocol=4))
    assert same(apart["attn.k_proj_weight"].value, attention(keys=6)["attn.k_proj.weight"].T)


def test_an_attention_that_a_model_has_as_four_layers_is_loaded_as_four(tmp_path):
    class Attention(Module):
        def __init__(self, *extra):
            for name in ("q_proj", "k_proj", "v_proj", "out_proj", *extra):
                setattr(self, name, Linear(4, 4))

    class Model(Module):
        def __init__(self, *extra):
            self.attn, self.fc = Attention(*extra), Linear(4, 4)

    given = {**attention(), "fc.weight": numbers(4, 4), "fc.bias": numbers(4)}
    (tmp_path / "file").write_bytes(pickle.dumps({"model": marked(given)}, protocol=4))
    model = Model()
    report = mp.load(tmp_path / "file", into=model, rename={r"^model\.": ""})
    assert len(report.loaded) == 10
    assert mp.diff(tmp_path / "file", model, rename={r"^model\.": ""}).equal
    assert mp.diff(model, tmp_path / "file", rename={"^": "model."}).equal
    for name, one in mp.parameters(model).items():
        assert same(one.value, given[name].T)
    with pytest.raises(mp.MismatchError, match=r"missing: attn\.o_proj\.weight"):
        mp.load(tmp_path / "file", into=Model("o_proj"), rename={r"^model\.": ""})


def test_the_model_tells_what_a_matrix_is(tmp_path):
    class Model(Module):
        def __init__(self):
            self.embedding, self.head = Embedding(4, 4), Linear(4, 4, bias=False)
            self.own = Own()

    class Own(Module):
        def __init__(self):
            self.weight = Variable(np.zeros((4, 4), np.float32))

    given = {f"{name}.weight": numbers(4, 4) + index for index, name in enumerate(("embedding", "head", "own"))}
    (tmp_path / "file").write_bytes(pickle.dumps(marked(given), protocol=4))
    model = Model()
    with pytest.warns(mp.UncertainLayoutWarning, match=r"head\.weight, own\.weight$"):
        mp.load(tmp_path / "file", into=model)
    assert mp.diff(tmp_path / "file", model).equal
    assert mp.diff(model, mp.open(tmp_path / "file")).equal
    assert same(model.embedding.weight.value, given["embedding.weight"])
    assert same(model.head.weight.value, given["head.weight"].T)
    assert same(model.own.weight.value, given["own.weight"])


def test_a_layer_of_the_users_own_gets_back_what_its_framework_wrote(tmp_path, monkeypatch):
    class Own(Module):
        def __init__(self, *names):
            for name in names:
                setattr(self, name, Variable(np.zeros((4, 4) if name == "weight" else (4,), np.float32)))

    class Model(Module):
        def __init__(self, *names):
            self.own = Own(*names)

    linear = {"own.weight": numbers(4, 4), "own.bias": numbers(4)}
    norm = {"own.gamma": numbers(4), "own.beta": numbers(4) + 1}
    for data, theirs in ((pickle.dumps(marked(linear)), linear), (nd_dict(norm), norm)):
        (tmp_path / "file").write_bytes(data)
        model = Model(*(name.removeprefix("own.") for name in theirs))
        # as if this were the file's framework
        monkeypatch.setattr(type(registry.adapter("numpy")), "name", mp.open(tmp_path / "file").format)
        mp.load(tmp_path / "file", into=model)
        assert mp.diff(tmp_path / "file", model).equal
        assert all(same(one.value, theirs[name]) for name, one in mp.parameters(model).items())
    monkeypatch.undo()
    # from another framework it is what it looks like: a Linear
    (tmp_path / "file").write_bytes(pickle.dumps(marked(linear)))
    model = Model("weight", "bias")
    mp.load(tmp_path / "file", into=model)
    assert same(model.own.weight.value, linear["own.weight"].T)


def test_what_a_model_lacks_does_not_turn_the_rest(tmp_path, monkeypatch):
    given = {"own.weight": numbers(4, 4), "own.bias": numbers(4)}
    (tmp_path / "file").write_bytes(pickle.dumps(marked(given)))
    monkeypatch.setattr(type(registry.adapter("numpy")), "name", "paddle")
    model = model_of(own={"weight": (4, 4)})
    report = mp.load(tmp_path / "file", into=model, strict=False)
    assert report.unexpected == ["own.bias"]
    assert same(model.own.weight.value, given["own.weight"])
    model = model_of(attn=model_of(**{name: Linear(4, 4) for name in ("q_proj", "k_proj", "v_proj")}))
    (tmp_path / "file").write_bytes(pickle.dumps(marked(attention())))
    assert len(mp.load(tmp_path / "file", into=model, strict=False).loaded) == 6


def test_tied_parameters_are_stored_once_and_tied_in_a_model(tmp_path):
    table = numbers(7, 4)
    names = dict.fromkeys(("embedding.weight", "head.weight"), "embedding_0.w_0")
    data = state_dict({"embedding.weight": table, "head.weight": table.copy()}, names)
    found = opened(tmp_path, pickle.dumps(data, protocol=4))
    assert list(found) == ["embedding.weight"]
    assert found.ties == [("embedding.weight", "head.weight")]
    assert same(found["head.weight"].value, table)
    assert "tied: embedding.weight = head.weight" in str(found)

    class Model(Module):
        def __init__(self):
            self.embedding, self.head = Embedding(7, 4), Linear(4, 7, bias=False)

    model = Model()
    mp.load(tmp_path / "file", into=model)
    assert mp.tied(model) == [("embedding.weight", "head.weight")]
    assert same(mp.parameters(model)["head.weight"].value, table)
    # one name is no proof: two processes count from zero each
    data["head.weight"] = table + 1
    assert opened(tmp_path, pickle.dumps(data, protocol=4)).ties == []


def test_zeros_and_names_that_are_counted_twice_prove_no_tie(tmp_path):
    names = {
        f"{layer}.{role}": f"linear_0.{part}" for layer in "ab" for role, part in (("weight", "w_0"), ("bias", "b_0"))
    }
    zeros = np.zeros(4, "f4")
    given = {"a.weight": numbers(4, 4), "a.bias": zeros, "b.weight": numbers(4, 4), "b.bias": zeros.copy()}
    assert opened(tmp_path, pickle.dumps(state_dict(given, names))).ties == [("a.weight", "b.weight")]
    # the file has it once
    given["b.bias"] = given["a.bias"]
    found = opened(tmp_path, pickle.dumps(state_dict(given, names)))
    assert found.ties == [("a.weight", "b.weight"), ("a.bias", "b.bias")]
    # two layers of one name: it was counted from zero twice
    given |= {"a.bias": numbers(4), "b.bias": numbers(4), "b.weight": numbers(4, 4) + 1}
    assert opened(tmp_path, pickle.dumps(state_dict(given, names))).ties == []


def test_a_bias_of_zeros_is_not_missed_where_a_model_has_none(tmp_path):
    model = Linear(4, 8, bias=False)
    given = {"weight": numbers(8, 4), "bias": np.zeros(8, "f4")}
    (tmp_path / "file").write_bytes(nd_dict(given))
    assert mp.load(tmp_path / "file", into=model).notes == ["not loaded, since it changes nothing: bias"]
    assert mp.diff(tmp_path / "file", model).equal
    assert mp.diff(model, tmp_path / "file").equal
    for changed in ({**given, "bias": numbers(8)}, {**given, "other": np.zeros(8, "f4")}):
        (tmp_path / "file").write_bytes(nd_dict(changed))
        assert mp.diff(tmp_path / "file", model).removed in (["bias"], ["other"])
        with pytest.raises(mp.MismatchError, match=r"unexpected: (bias|other)"):
            mp.load(tmp_path / "file", into=model)


def test_ties_of_what_is_read_in_two_ways_are_not_made(tmp_path):
    table = numbers(7, 4)
    both = Contents(
        [Entry("a.weight", table.dtype, table.shape, lambda: table)],
        ties=[["a.weight", "b.weight"]],
        choices=[Choice("a", frozenset(["a.weight"]), Contents([Entry("a.w", table.dtype, table.shape, table.copy)]))],
    )
    read = both.suiting(Model(names=lambda name: name == "a.w", kind=lambda layer: "", native=False))
    assert [entry.name for entry in read.entries] == ["a.w"]
    assert read.ties == []


def test_a_paddle_file_is_loaded_into_a_model(tmp_path):
    net = mp.nn.Sequential(mp.nn.Linear(4, 8), mp.nn.ReLU(), mp.nn.Linear(8, 1), backend="numpy")
    given = {"0.weight": numbers(4, 8), "0.bias": numbers(8), "2.weight": numbers(8, 1), "2.bias": numbers(1)}
    (tmp_path / "net.pdparams").write_bytes(pickle.dumps(marked(given), protocol=4))
    assert str(mp.load(tmp_path / "net.pdparams", into=net)) == "loaded 4 tensors"
    assert mp.diff(tmp_path / "net.pdparams", net).equal
    assert same(mp.parameters(net)["0.weight"].value, given["0.weight"].T)
    mp.save(net, tmp_path / "net.safetensors")
    assert same(mp.open(tmp_path / "net.safetensors")["2.weight"].value, given["2.weight"].T)


# --- hostile pickles -----------------------------------------------------------------------------------------------


class Running:
    """What a pickle of it would have an unpickler call."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def text(value):
    return b"\x8c" + bytes([len(value)]) + value.encode()


PROTO = b"\x80\x04"
DTYPE = b"cnumpy\ndtype\n" + text("f4") + b"\x89\x88\x87R"
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR"
HOSTILE = {
    "os.system": (pickle.dumps({"a": Running(os.system, "touch hacked")}, protocol=4), r"system.*not run"),
    "eval": (pickle.dumps(Running(eval, "open('hacked', 'w')"), protocol=4), "eval"),
    "eval of data": (pickle.dumps(Running(eval, "data", {"data": 3}), protocol=4), "eval"),
    "exec": (pickle.dumps(Running(exec, "open('hacked', 'w')"), protocol=2), r"exec"),
    "dotted": (PROTO + text("os") + text("path.join") + b"\x93.", r"os.path.join"),
    "attribute of a known one": (PROTO + text("numpy") + text("ndarray.tofile") + b"\x93.", r"numpy.ndarray.tofile"),
    "numpy.load": (pickle.dumps(Running(np.load, "hacked"), protocol=4), r"numpy.load"),
    "numpy.memmap": (PROTO + b"cnumpy\nmemmap\n(X\x06\0\0\0hackedt\x81.", r"numpy.memmap"),
    "open": (PROTO + b"c_io\nopen\n(X\x06\0\0\0hackedX\x01\0\0\0wtR.", r"_io.open"),
    "a name that is no text": (PROTO + b"K\x01K\x02\x93.", "no name"),
    "a list for a name": (PROTO + b"]" + text("x") + b"\x93.", "no name"),
    "no line": (PROTO + b"c" + b"x" * 500, "no name"),
    "EXT1": (PROTO + b"\x82\x01.", "EXT1"),
    "EXT4": (PROTO + b"\x84\x01\0\0\0.", "EXT4"),
    "PERSID": (PROTO + b"Px\n.", "PERSID"),
    "BINPERSID": (PROTO + b"K\x01Q.", "BINPERSID"),
    "INST": (PROTO + b"(ios\nsystem\n.", "INST"),
    "OBJ": (PROTO + b"(cnumpy\nndarray\no.", "OBJ"),
    "NEWOBJ": (PROTO + b"cnumpy\nndarray\n)\x81.", "NEWOBJ"),
    "NEXT_BUFFER": (b"\x80\x05\x97.", "NEXT_BUFFER"),
    "no operation": (PROTO + b"\xff.", "0xff"),
    "BUILD on an array with a dict": (PROTO + ARRAY + b"}" + text("x") + b"K\x01sb.", "an array"),
    "BUILD on a dtype with a dict": (PROTO + DTYPE + b"}b.", "numpy.dtype"),
    "BUILD on a dict": (PROTO + b"}}b.", "no state|has none"),
    "BUILD on a function": (PROTO + b"cnumpy\nndarray\n}b.", "has none"),
    "BUILD on nothing": (PROTO + b"}b.", "not there"),
    "a call of a class": (PROTO + b"cnumpy\nndarray\n)R.", "cannot be called"),
    "a call of text": (PROTO + text("x") + b")R.", "cannot be called"),
    "arguments that are none": (PROTO + b"cbuiltins\ntuple\nK\x01R.", "cannot be called"),
    "objects": (pickle.dumps(np.array([os.system, 1], dtype=object), protocol=4), "dtype 'O8'|system"),
    "a record": (pickle.dumps(np.zeros(2, [("a", "f4")]), protocol=4), "dtype|operation"),
    "text in an array": (pickle.dumps(np.array(["ab"]), protocol=4), "dtype 'U2'"),
    "a date": (pickle.dumps(np.array(["2020-01-01"], "M8[D]"), protocol=4), "dtype"),
    "an array without numbers": (PROTO + ARRAY + b".", "no numbers"),
    "a claim": (PROTO + ARRAY + b"(K\x01J\xff\xff\xff\x7f\x85" + DTYPE + b"\x89C\x04abcdtb.", "bytes, and 4 of them"),
    "a negative shape": (PROTO + ARRAY + b"(K\x01J\xff\xff\xff\xff\x85" + DTYPE + b"\x89C\x04abcdtb.", "extents"),
    "a great shape": (
        PROTO + ARRAY + b"(K\x01\x8a\x09" + b"\1" * 9 + b"\x85" + DTYPE + b"\x89C\x04abcdtb.",
        "an array",
    ),
    "a bool for an extent": (PROTO + ARRAY + b"(K\x01\x88\x85" + DTYPE + b"\x89C\x04abcdtb.", "an array"),
    "many axes": (PROTO + ARRAY + b"(K\x01(" + b"K\x01" * 40 + b"t" + DTYPE + b"\x89C\x04abcdtb.", "40 axes"),
    "an array in itself": (PROTO + ARRAY + b"\x94(K\x01)" + DTYPE + b"\x89h\0tb.", "an array"),
    "bytes that are claimed": (PROTO + b"\x8e" + b"\xff" * 7 + b"\x7f.", "ends within it"),
    "text that is claimed": (PROTO + b"X\xff\xff\xff\xff.", "ends within it"),
    "a number that is claimed": (PROTO + b"\x8b\xff\xff\xff\x7f.", "ends within it"),
    "a place that is far": (PROTO + b"Nr\xff\xff\xff\xffj\xfe\xff\xff\xff.", "never had"),
    "no text": (PROTO + b"X\x01\0\0\0\xff.", "utf-8"),
    "a tuple as a key": (PROTO + b"}(K\x01K\x02\x86K\x03u.", "key that is no name"),
    "half an item": (PROTO + b"}(K\x01u.", "no dict"),
    "an item of a list": (PROTO + b"]K\x01K\x02s.", "no dict"),
    "an append to a dict": (PROTO + b"}K\x01a.", "no list"),
    "a stack that is empty": (PROTO + b"0.", "POP"),
    "no mark": (PROTO + b"t.", "not there"),
    "a mark too many": (PROTO + b"}(.", "half done"),
    "two things": (PROTO + b"}}.", "half done"),
    "nothing": (PROTO + b".", "half done"),
    "a second pickle": (pickle.dumps({"a": numbers(2)}) * 2, "behind its first object"),
    "a number": (pickle.dumps(3), "no tensors, but int"),
    "text alone": (pickle.dumps("x"), "no tensors, but str"),
    "a dict of a dict": (PROTO + b"}\x94" + text("a") + b"h\0s.", "no tensors, but dict"),
    "a list of a list": (PROTO + b"]\x94h\0a.", "no tensors, but list"),
    "two keys of one name": (pickle.dumps({1: numbers(1), "1": numbers(1)}), "two things of the name '1' in one dict"),
    "two of one name": (pickle.dumps({"a": {"b": numbers(1)}, "a.b": numbers(1)}), "two things of the name 'a.b'"),
    "a class of ours": (pickle.dumps(Tensor, protocol=4), "Tensor"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_pickle_is_refused_and_nothing_of_it_run(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    data, why = HOSTILE[case]
    with pytest.raises(mp.CheckpointError, match=rf"file: no valid (pickle: it|Paddle file: its pickle) .*({why})"):
        opened(tmp_path, data)
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


BOMBS = {
    # a pair of pairs of pairs ..., as a key, would be hashed for ever
    "keys": PROTO + b"})" + b"\x94h" + b"\x86\x94h".join(bytes([i]) for i in range(60)) + b"\x86Ns.",
    "lists": PROTO + b"]\x94" + b"".join(b"](h" + bytes([i]) + b"h" + bytes([i]) + b"e\x94" for i in range(60)) + b".",
    "dicts": PROTO
    + b"}\x94"
    + b"".join(b"}(" + text("a") + b"h" + bytes([i]) + text("b") + b"h" + bytes([i]) + b"u\x94" for i in range(25))
    + b".",
    "memo": PROTO + b"Nr\xff\xff\xff\x7f.",
    "frame": PROTO + b"\x95" + b"\xff" * 7 + b"\x7f}.",
    "depth": PROTO + b"]" * 100_000 + b"a" * 99_999 + b".",
    "encoded": PROTO
    + b"X\x50\xc3\0\0"
    + "é".encode() * 25_000
    + b"\x94"
    + b"".join(b"c_codecs\nencode\n(h\0" + text("latin1") + b"tR" for _ in range(100))
    + b".",
    "ordered": PROTO
    + b"]("
    + b"K\x01K\x01\x86" * 5_000
    + b"e\x94"
    + b"ccollections\nOrderedDict\n\x94"
    + b"h\1h\0\x85R" * 20_000
    + b".",
}


def sliced(count, elements=25_000, extents=None):
    """One array under many names, all put together."""
    array, names = np.zeros(elements, "f4"), [f"p{index}" for index in range(count)]
    about = {"slices": names, "OriginShape": extents or [count * elements]}
    given = {"weight_ih_l0": array, **dict.fromkeys(names, array), "UnpackBigParamInfor@@": {"0.cell.bias_ih": about}}
    return pickle.dumps(given, protocol=4)


BOMBS["slices"] = sliced(8_000)
BOMBS["digests"] = pickle.dumps(
    marked(
        {
            **dict.fromkeys([f"{index}.0.cell.weight_ih" for index in range(4_000)], big := np.zeros(200_000, "f4")),
            **dict.fromkeys([f"{index}.weight_ih_l0" for index in range(4_000)], big),
        }
    ),
    protocol=4,
)
BOMBS["ties"] = pickle.dumps(
    state_dict(many := dict.fromkeys([f"{index}.weight" for index in range(4_000)], big), dict.fromkeys(many, "x")),
    protocol=4,
)
BOMBS["frozen"] = pickle.dumps(
    marked(
        {
            **dict.fromkeys([f"{index}.0.cell.bias_ih" for index in range(4_000)], big),
            **dict.fromkeys([f"{index}.weight_ih_l0" for index in range(4_000)], big),
        }
    ),
    protocol=4,
)
BOMBS["cells"] = pickle.dumps(
    marked(
        dict.fromkeys([f"x{n}.cell.{role}" for n in range(2_000) for role in ("weight_ih", "weight_hh")], numbers(1, 1))
    )
)
BOMBS["matrices"] = pickle.dumps(
    marked(dict.fromkeys([f"x{index}" for index in range(15_000)], numbers(1, 1))), protocol=4
)
BOMBS["memos"] = PROTO + b"}" + b"\x94" * 700_000 + b"."
BOMBS["memo of dicts"] = PROTO + b"(" + b"}\x94" * 100_000 + b"t."
BOMBS["cells of Gluon"] = nd_dict({f"_unfused.{index}.w": np.zeros(1, "f4") for index in range(30_000)})
BOMBS["digits"] = nd_dict({"1" * 300_000 + "x.weight": numbers(1, 1)})


@pytest.mark.parametrize("extents", [[2**70] * 32, [2**63], [-1]])
def test_a_shape_that_no_array_has_is_refused(tmp_path, extents):
    with pytest.raises(mp.CheckpointError, match="no valid Paddle file: its pickle claims"):
        opened(tmp_path, sliced(1, extents=extents))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_as_many_arrays_as_there_are_are_read(tmp_path, protocol):
    many = {f"n{index}": np.full(1, index) for index in range(10_000)}
    assert len(opened(tmp_path, pickle.dumps(many, protocol=protocol))) == 10_000


@pytest.mark.parametrize(
    ("case", "why"),
    [("memos", "remembers one thing twice in a row"), ("memo of dicts", "more than 150,002 things at a time")],
)
def test_what_a_pickle_keeps_is_bounded_by_its_size(tmp_path, case, why):
    with pytest.raises(mp.CheckpointError, match=f"no valid pickle: it .*{why}"):
        opened(tmp_path, BOMBS[case])


def test_a_file_is_put_together_once(tmp_path):
    with pytest.raises(mp.CheckpointError, match=r"parts of '0\.cell.bias_ih' that are the same again"):
        opened(tmp_path, sliced(2))


@pytest.mark.bounds
@pytest.mark.parametrize("case", BOMBS)
def test_a_small_file_takes_no_great_memory_or_work(tmp_path, case):
    with effort() as taken, contextlib.suppress(mp.CheckpointError):
        opened(tmp_path, BOMBS[case])
    assert taken.memory < 70e6
    assert taken.calls < 100_000 + 40 * len(BOMBS[case])  # two readers look at a pickle that is nobody's
    assert taken.read <= len(BOMBS[case])


def test_a_thing_that_is_remembered_again_and_again_is_refused_at_once(tmp_path):
    opened(tmp_path, pickle.dumps({"0.weight": numbers(2, 3)}))  # the formats are looked for once
    with effort() as taken, contextlib.suppress(mp.CheckpointError):
        opened(tmp_path, BOMBS["memos"])
    assert taken.calls < 2_000
    assert taken.memory < 1e6


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_cut_anywhere_is_refused(tmp_path, protocol):
    whole = pickle.dumps({"0.weight": numbers(2, 3), "0.bias": numbers(3)}, protocol=protocol)
    for cut in range(2, len(whole)):
        with pytest.raises(mp.CheckpointError, match="file: no valid"):
            opened(tmp_path, whole[:cut])


# --- one API for all of them ---------------------------------------------------------------------------------------


@pytest.fixture
def net():
    with mp.use("numpy"):
        shared = mp.nn.Linear(4, 4)
        return mp.nn.Sequential(shared, mp.nn.ReLU(), shared, mp.nn.Linear(4, 1))


def test_our_own_files_are_opened_too(tmp_path, net):
    mp.save(net, tmp_path / "net.anything")
    found = mp.open(str(tmp_path / "net.anything"))
    assert (found.format, found.content, found.path) == ("safetensors", "model", tmp_path / "net.anything")
    assert {name: one.value.tobytes() for name, one in mp.parameters(net).items()} == {
        name: entry.value.tobytes() for name, entry in found.items()
    }
    assert found.kinds == {"0": "Linear", "1": "ReLU", "2": "Linear", "3": "Linear"}
    assert found.ties == [("0.weight", "2.weight"), ("0.bias", "2.bias")]
    assert found["2.weight"].name == "0.weight"
    assert "2.weight" in found
    assert "2.weight" not in list(found)
    assert not found.own
    assert str(found).splitlines()[-1] == "tied: 0.bias = 2.bias"
    assert repr(found) == str(found)


def test_an_entry_is_read_only_and_sliced(tmp_path):
    for name, data in (
        ("a.params", nd_dict({"x.weight": numbers(4, 3)})),
        ("b.pdparams", pickle.dumps({"x": numbers(4, 3)})),
    ):
        (tmp_path / name).write_bytes(data)
        (entry,) = mp.open(tmp_path / name).values()
        assert same(entry[1:3], numbers(4, 3)[1:3])
        assert same(entry[0, 0], numbers(4, 3)[0, 0])
        assert same(np.asarray(entry), numbers(4, 3))
        assert repr(entry) == f"<{entry.name} (4, 3) float32>"
        for array in (entry.value, entry[1:3], entry[[0, 1]]):
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0


def test_what_is_printed_fits_a_terminal_and_does_nothing_to_it(tmp_path):
    norms = {f"n{index}.{name}": numbers(2) for index in range(9) for name in ("_mean", "_variance")}
    found = opened(tmp_path, pickle.dumps(marked({**norms, "head.weight": numbers(2, 3), **attention(prefix="attn.")})))
    assert max(map(len, str(found).splitlines()[1:])) <= 80
    assert "MultiheadAttention, from 3 tensors" in str(found)
    assert "n3.num_batches_tracked and 5 more" in unwrapped(found)
    found = opened(tmp_path, nd_dict({"\x1b[2J\n  weight": numbers(2), "y" * 100_000: numbers(2), "z": numbers(2)}))
    assert "\x1b" not in str(found)
    assert "\\x1b[2J\\n  weight" in str(found)
    assert f" {'y' * 21}…{'y' * 22} " in str(found)
    assert len(str(found)) < 1_000
    with pytest.raises(mp.MismatchError, match=r"unexpected: \\x1b\[2J") as caught:
        mp.load(tmp_path / "file", into=Linear(2, 2))
    assert "\x1b" not in str(caught.value)


def test_a_name_that_is_not_there_has_close_ones(tmp_path):
    found = opened(tmp_path, nd_dict({"0.weight": numbers(2)}))
    with pytest.raises(mp.ParameterNotFoundError, match=r"no tensor '0.wieght'; did you mean '0.weight'\?"):
        found["0.wieght"]
    assert found.get("0.wieght") is None
    assert 3 not in found


def test_paths_that_cannot_be_opened_say_why(tmp_path):
    with pytest.raises(mp.CheckpointError, match="no such file"):
        mp.open(tmp_path / "missing")
    with pytest.raises(mp.CheckpointError, match="is a folder"):
        mp.open(tmp_path)
    with pytest.raises(mp.CheckpointError, match="is empty"):
        opened(tmp_path, b"")
    with pytest.raises(mp.CheckpointError, match=r"of no known format; known are safetensors, .*mxnet.*paddle"):
        opened(tmp_path, b"hello world\n" * 20)
    with pytest.raises(mp.ArgumentError, match="named by a path"):
        mp.open(3)


def test_an_old_file_of_torch_is_told_from_paddles(tmp_path):
    out = io.BytesIO()
    pickle.dump(0x1950A86A20F9469CFC6C, out, protocol=2)
    with pytest.raises(mp.CheckpointError, match=r"no valid PyTorch file"):
        opened(tmp_path, out.getvalue())


def test_a_dtype_of_safetensors_that_numpy_lacks_is_refused_by_name(tmp_path):
    header = b'{"a":{"dtype":"F4","shape":[4],"data_offsets":[0,2]},'
    header += b'"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}'
    found = opened(tmp_path, len(header).to_bytes(8, "little") + header + b"abc")
    assert found["b"].value.tolist() == [99]
    with pytest.raises(mp.CheckpointError, match=r"'a' cannot be read: it has dtype F4"):
        found["a"].read()


# --- formats of others ---------------------------------------------------------------------------------------------


@pytest.fixture
def formats(monkeypatch):
    """Replaces the installed formats."""

    def install(**named):
        points = [importlib.metadata.EntryPoint(name, value, checkpoint.GROUP) for name, value in named.items()]
        monkeypatch.setattr(importlib.metadata, "entry_points", lambda **wanted: points)
        checkpoint._formats.cache_clear()

    yield install
    monkeypatch.undo()
    checkpoint._formats.cache_clear()


def read_mine(path):
    raw = path.read_bytes()
    if raw == b"mine?":
        raise IndexError("beyond")
    array = np.frombuffer(raw[4:], np.uint8)
    return Contents([Entry("bytes", array.dtype, array.shape, lambda: array)] * (1 + (raw[-1:] == b"2")))


mine = Format("mine", lambda start: start.startswith(b"mine"), read_mine)
not_a_format = "text"


def test_a_format_comes_in_from_outside(tmp_path, formats):
    formats(mine=f"{__name__}:mine")
    found = opened(tmp_path, b"mine\1\2")
    assert found.format == "mine"
    assert found["bytes"].value.tolist() == [1, 2]
    assert mp.load(tmp_path / "file")["bytes"].tolist() == [1, 2]
    with pytest.raises(mp.CheckpointError, match="no valid mine file: IndexError: beyond"):
        opened(tmp_path, b"mine?")
    with pytest.raises(mp.CheckpointError, match="two of its tensors are called 'bytes'"):
        opened(tmp_path, b"mine2")


def test_a_file_that_is_replaced_by_one_of_another_format_is_opened_anew(tmp_path, formats):
    (tmp_path / "file").write_bytes(b"mine\1")

    def read(path):
        if path.read_bytes()[:4] == b"mine":
            mp.save([np.ones(2)], path)
            raise IndexError("what it mapped is not what it was told")
        raise AssertionError

    global replaced  # where an entry point finds it
    replaced = Format("mine", mine.recognizes, read)
    formats(mine=f"{__name__}:replaced")
    assert mp.open(tmp_path / "file").format == "safetensors"


def test_a_broken_format_warns_and_fails_only_if_it_is_needed(tmp_path, formats):
    formats(broken="no.such.module:format", wrong=f"{__name__}:not_a_format", mine=f"{__name__}:mine")
    mp.save([np.ones(1)], tmp_path / "ours")
    assert mp.load(tmp_path / "ours")[0] == 1
    with pytest.warns(UserWarning, match="the multiparam format .* cannot be loaded") as caught:
        assert opened(tmp_path, b"mine\1").format == "mine"
    assert len(caught) == 2
    with pytest.raises(mp.CheckpointError, match=r"the format 'broken' cannot be loaded: .*; the format 'wrong'"):
        opened(tmp_path, b"theirs")


def test_a_model_holds_what_a_layer_of_its_own_has_in_a_file(tmp_path):
    class Own(Module):
        def __init__(self):
            self.thing = Variable(np.zeros((2, 2), np.float32))

    model = Own()
    (tmp_path / "file").write_bytes(pickle.dumps(marked({"thing": numbers(2, 2)})))
    mp.load(tmp_path / "file", into=model)
    assert same(model.thing.value, numbers(2, 2))
    assert Path(mp.open(tmp_path / "file").path).name == "file"
