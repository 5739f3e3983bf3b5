"""What goes wrong changes nothing, and what would be lost silently is refused."""

import os
from pathlib import Path

import numpy as np
import pytest
from multiparam_numpy import Buffer, Module, Sequential, Variable
from multiparam_numpy.layers import Linear

import multiparam as mp


class Holding(Module):
    """Whatever variables it is given."""

    def __init__(self, **variables):
        vars(self).update(variables)


def values(model):
    return {name: one.value for name, one in mp.state(model).items()}


def equal(first, second):
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("dtype", "given"),
    [
        ("int8", [300, 1]),
        ("uint8", [-1, 1]),
        ("int32", np.array([2**40, 1])),
        ("float16", [1e6, 1]),
        ("float32", [1e300, 1]),
    ],
)
def test_numbers_that_do_not_fit_are_refused(dtype, given, tmp_path):
    model = Holding(w=Variable(np.zeros(2, dtype)))
    param = mp.parameters(model)["w"]
    mp.save({"w": np.asarray(given)}, tmp_path / "wide.safetensors")
    for attempt in (
        lambda: param.assign(given),
        lambda: param.__setitem__(slice(None), given),
        lambda: mp.load(tmp_path / "wide.safetensors", into=model),
        lambda: mp.initialize(model, {"w": lambda shape, rng: np.asarray(given)}),
    ):
        with pytest.raises(mp.MismatchError, match="do not fit into its dtype"):
            attempt()
    assert not param.value.any()


def test_infinities_and_nans_are_numbers_too():
    param = mp.parameters(Holding(w=Variable(np.zeros(3, np.float16))))["w"]
    param.assign(np.array([np.inf, np.nan, -np.inf]))
    assert np.isinf(param.value[0])
    assert np.isnan(param.value[1])


def test_constants_are_exact_in_every_dtype():
    model = Holding(w=Variable(np.zeros(2)), n=Variable(np.zeros(2, np.int64)))
    mp.initialize(model, {"w": mp.init.Constant(0.1), "n": mp.init.Constant(16_777_217)})
    assert (values(model)["w"] == 0.1).all()
    assert (values(model)["n"] == 16_777_217).all()


def test_a_rule_of_the_users_that_fails_changes_nothing():
    class Failing(mp.init.Rule):
        def values(self, seed, name, shape, parameter=None):
            if name != "0.weight":
                raise RuntimeError(name)
            return np.ones(shape)

    model = Sequential(Linear(2, 2), Linear(2, 2))
    before = values(model)
    with pytest.raises(RuntimeError):
        mp.initialize(model, {"*": Failing()})
    assert equal(before, values(model))


def test_a_tie_that_cannot_be_made_stops_the_whole_load(tmp_path):
    def model(holder):
        return Holding(first=Holding(z=Variable(np.zeros(2))), second=Holding(z=holder))

    source = model([Variable(np.ones(2))])
    mp.tie(source, "second.z.0", to="first.z")
    mp.save(source, tmp_path / "tied.safetensors")
    target = model((Variable(np.full(2, 5.0)),))
    before = values(target)
    with pytest.raises(mp.ArgumentError, match="lies in a tuple"):
        mp.load(tmp_path / "tied.safetensors", into=target)
    assert equal(before, values(target))
    assert mp.tied(target) == []


def test_a_layers_ties_are_all_made_or_none():
    def layer(holder):
        return Holding(a=Variable(np.zeros(2)), z=holder)

    model = Holding(x=layer([Variable(np.ones(3))]), y=layer((Variable(np.ones(3)),)))
    with pytest.raises(mp.ArgumentError, match="lies in a tuple"):
        mp.tie(model, "y", to="x")
    assert mp.tied(model) == []


def test_a_load_keeps_the_ties_that_the_model_has(tmp_path):
    def model():
        return Holding(**{name: Variable(np.zeros(2)) for name in "abc"})

    source, target = model(), model()
    mp.tie(source, "b", to="a")
    mp.parameters(source)["a"][...] = 3
    mp.parameters(source)["c"][...] = 3
    mp.tie(target, "c", to="b")
    mp.save(source, tmp_path / "tied.safetensors")
    mp.load(tmp_path / "tied.safetensors", into=target)
    assert mp.tied(target) == [("a", "b", "c")]


def test_a_selection_made_before_a_tie_is_still_meant():
    model = Sequential(Linear(2, 2), Linear(2, 2))
    selection = mp.parameters(model).select("1.weight")
    mp.tie(model, "1.weight", to="0.weight")
    assert mp.parameters(model).select(selection).names == ["0.weight"]
    assert len(mp.initialize(selection, mp.init.Constant(5))) == 1
    assert (values(model)["0.weight"] == 5).all()


def test_an_exact_name_is_no_glob():
    model = Holding(**{"a*": Variable(np.zeros(2)), "ab": Variable(np.zeros(2))})
    mp.initialize(model, {"a*": mp.init.Ones()})
    assert values(model)["a*"].all()
    assert not values(model)["ab"].any()


def test_empty_selections():
    params = mp.parameters(Linear(2, 2))
    assert params.select(params.select("nothing")).names == []
    with pytest.raises(mp.ArgumentError, match="nothing to initialize"):
        mp.initialize(params.select("nothing"), mp.init.Ones())
    with pytest.raises(mp.ParameterNotFoundError):
        mp.initialize(params.select("bias"), {"weight": mp.init.Ones()})


def test_one_parameter_and_all_parameters_can_be_initialized():
    model = Linear(2, 2)
    mp.initialize(mp.parameters(model)["bias"], mp.init.Constant(2))
    assert (values(model)["bias"] == 2).all()
    assert len(mp.initialize(mp.parameters(model), mp.init.Ones())) == 2


def test_a_parameter_is_a_name_where_one_is_wanted():
    model = Sequential(Linear(2, 2), Linear(2, 2))
    params = mp.parameters(model)
    mp.tie(model, params["1.weight"], to=params["0.weight"])
    assert mp.tied(model) == [("0.weight", "1.weight")]
    for wrong in (None, 3, model):
        with pytest.raises(mp.ArgumentError, match="named by a string"):
            mp.tie(model, wrong, to="0.weight")


def test_tensors_of_one_name_are_refused():
    mp.register_layer(Holding, "Holding", x="y")
    try:
        with pytest.raises(mp.AmbiguousMatchError, match="are called 'x'"):
            mp.parameters(Holding(y=Variable(np.ones(2)), x=Buffer(np.ones(2))))
    finally:
        mp.register_layer(Holding)
    with pytest.raises(mp.AmbiguousMatchError):
        mp.parameters(Holding(z={1: Variable(np.ones(2)), "1": Variable(np.ones(2))}))


def test_variables_of_a_sequential_subclass_are_found():
    class Scaled(Sequential):
        def __init__(self):
            super().__init__(Linear(2, 2))
            self.scale = Variable(np.ones(2))

    assert list(mp.parameters(Scaled())) == ["scale", "0.weight", "0.bias"]


def test_a_lazy_layer_built_by_hand_has_its_initialization():
    with mp.use("numpy"):
        layer = mp.nn.LazyLinear(3)
    mp.initialize(layer, mp.init.Constant(4))
    layer.build(2)
    assert (layer.weight.value == 4).all()


def test_a_copy_of_what_was_read_is_the_users_own():
    copied = mp.parameters(Linear(2, 2))["weight"][:].copy()
    row = copied[0]
    row += 1
    assert np.array_equal(copied[0], row)


def test_names_that_the_format_keeps_are_refused(tmp_path):
    with pytest.raises(mp.CheckpointError, match="'__metadata__'"):
        mp.save({"__metadata__": np.ones(2)}, tmp_path / "file.safetensors")
    assert not list(tmp_path.iterdir())


def test_dicts_come_back_in_their_order(tmp_path):
    data = {"small": np.ones(1, np.int8), "wide": np.ones(1), "middle": np.ones(1, np.float32)}
    mp.save(data, tmp_path / "file.safetensors")
    assert list(mp.load(tmp_path / "file.safetensors")) == list(data)


def test_links_and_permissions_stay(tmp_path):
    target, link = tmp_path / "target.safetensors", tmp_path / "link.safetensors"
    mp.save([np.ones(1)], target)
    target.chmod(0o640)
    link.symlink_to(target)
    mp.save([np.zeros(1)], link)
    assert link.is_symlink()
    assert mp.load(target)[0] == 0
    assert target.stat().st_mode & 0o777 == 0o640


def test_a_file_that_is_replaced_while_it_is_opened_is_read_whole(tmp_path, monkeypatch):
    import safetensors

    path = tmp_path / "file.safetensors"
    mp.save({"x": np.arange(4.0)}, path)
    real, calls = safetensors.safe_open, []

    def replacing(*arguments):
        calls.append(1)
        if len(calls) == 1:
            mp.save({"other": np.arange(2, dtype=np.int8), "x": np.arange(10, 14, dtype=np.float32)}, path)
        return real(*arguments)

    monkeypatch.setattr(safetensors, "safe_open", replacing)
    assert mp.load(path)["x"].tolist() == [10, 11, 12, 13]
    assert len(calls) > 1


@pytest.mark.parametrize(("start", "kind"), [(b"PK\x03\x04" + b"x" * 99, "zip"), (b"\x89HDF\r\n\x1a\n" * 9, "HDF5")])
def test_files_of_other_formats_are_recognized(tmp_path, start, kind):
    (tmp_path / "file").write_bytes(start)
    with pytest.raises(mp.CheckpointError, match=kind):
        mp.load(tmp_path / "file")


@pytest.mark.parametrize("path", [None, 3, b"\xff\x00" if os.name == "nt" else object()])
def test_what_is_no_path_is_refused(path):
    for attempt in (lambda: mp.load(path), lambda: mp.save([], path)):
        with pytest.raises(mp.ArgumentError, match="named by a path"):
            attempt()


@pytest.mark.parametrize("rename", ["x", ["x"], {"(": ""}, {"^w": r"\9"}, {"^w": 1}, {1: "x"}])
def test_what_is_no_renaming_is_refused(tmp_path, rename):
    mp.save(Linear(2, 2), tmp_path / "file.safetensors")
    with pytest.raises(mp.ArgumentError, match="rename="):
        mp.load(tmp_path / "file.safetensors", into=Linear(2, 2), rename=rename)


def test_a_layer_of_the_tree_is_no_place_to_write_to():
    tree = mp.layers(Sequential(Linear(2, 2)))
    with pytest.raises(AttributeError):
        tree[0].weight = 3
    assert [layer.name for layer in tree[0:1]] == ["0"]
    assert tree[np.int64(0)].name == "0"
    with pytest.raises(mp.ArgumentError):
        tree[None]


def test_the_path_of_a_file_can_be_a_string_or_a_path(tmp_path):
    for path in (str(tmp_path / "a"), Path(tmp_path) / "b"):
        mp.save([np.ones(2)], path)
        assert mp.load(path)[0].tolist() == [1, 1]


def test_a_constant_that_does_not_fit_everywhere_changes_nothing():
    model = Holding(wide=Variable(np.zeros(2)), narrow=Variable(np.zeros(2, np.float32)))
    with pytest.raises(mp.MismatchError, match="'narrow'"):
        mp.initialize(model, {"*": mp.init.Constant(1e39)})
    assert not values(model)["wide"].any()
    for make in (lambda: mp.init.Normal(1e39), lambda: mp.init.Normal(1, -1e39), lambda: mp.init.XavierNormal(1e39)):
        with pytest.raises(mp.ArgumentError, match="float32"):
            make()
