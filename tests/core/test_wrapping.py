"""Names of wrapped models' files, without what the wrappers put before them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multiparam.matching.wrapping import unwrapping, without

NAMES = ["0.weight", "0.bias", "2.0.weight"]


def alone(names):
    return [[name] for name in names]


@pytest.mark.parametrize(
    ("names", "places"),
    [
        ([f"module.{name}" for name in NAMES], ["module"]),
        ([f"_orig_mod.module.{name}" for name in NAMES], ["_orig_mod", "_orig_mod.module"]),
        (["0._orig_mod.weight", "0._orig_mod.bias", "2.0.weight"], ["0._orig_mod"]),
        (["0.weight", "0.bias", "2.module.0.weight"], ["2.module"]),
        (["0.weight", "0.bias", "2._checkpoint_wrapped_module.0.weight"], ["2._checkpoint_wrapped_module"]),
        ([f"_fsdp_wrapped_module.{name}" for name in NAMES], ["_fsdp_wrapped_module"]),
        ([f"_layers.{name}" for name in NAMES], ["_layers"]),
        ([*(f"module.{name}" for name in NAMES), "n_averaged"], ["module"]),
        # all fit as they are, some would be left or missing, or would be two of one name
        (NAMES, []),
        ([f"module.{name}" for name in NAMES[:2]], []),
        ([*(f"module.{name}" for name in NAMES), "module.epoch"], []),
        ([*(f"module.{name}" for name in NAMES), "epoch"], []),
        ([*(f"module.{name}" for name in NAMES), "0.weight"], []),
        # no wrapper is called so, and what wraps one tensor of a layer is none
        ([f"model.{name}" for name in NAMES], []),
        (["0.module.weight", "0.bias", "2.0.weight"], []),
        (["0.weight", "0.module", "2.0.weight"], []),
    ],
)
def test_wrappers_are_found_where_all_fits_without_them(names, places):
    assert sorted(unwrapping(names, alone(NAMES))) == places
    assert places == [] or {without(places)(name) for name in names} - {"n_averaged"} == {*NAMES}


def test_what_a_model_itself_calls_so_stays():
    own = ["module.fc.weight", "module.module.weight"]
    assert unwrapping(own, alone(own)) == []
    taken = without(unwrapping([f"module.{name}" for name in own], alone(own)))
    assert [taken(f"module.{name}") for name in own] == own


def test_of_tied_names_one_is_enough_and_what_is_neutral_may_be_there():
    wanted = [["tok.weight", "head.weight"], ["bn.weight"]]
    names = ["module.tok.weight", "module.bn.weight", "module.bn.num_batches_tracked"]
    assert unwrapping(names, wanted) == []
    assert unwrapping(names, wanted, ["bn.num_batches_tracked", "head.weight"]) == ["module"]


def test_names_with_thousands_of_components_are_left_alone():
    deep = ".".join(["module"] * 20_000)
    assert unwrapping([deep, "module.a"], [["a"]]) == []
    assert without(["module"])(deep) == deep


component = st.sampled_from(["0", "fc", "module", "_orig_mod", "weight"])
names = st.lists(st.lists(component, min_size=1, max_size=4).map(".".join), min_size=1, max_size=5, unique=True)


@settings(deadline=None)
@given(names, names)
def test_all_fits_after_it_or_nothing_is_done(file, model):
    places = unwrapping(file, alone(model))
    if places:
        assert sorted(map(without(places), file)) == sorted(model)
