"""Same names: canonical names do not depend on the framework."""

from __future__ import annotations

import numpy as np
import pytest

import multiparam as mp

from .models import NativeModels


class NameTests(NativeModels):
    """The names of every model of the kit."""

    def test_positions_name_the_layers_of_a_sequential_model(self) -> None:
        assert list(mp.parameters(self.mlp())) == ["0.weight", "0.bias", "2.weight", "2.bias"]

    def test_positions_do_not_depend_on_what_was_built_before(self) -> None:
        first = list(mp.parameters(self.mlp()))
        for _ in range(3):
            self.nested()
        assert list(mp.parameters(self.mlp())) == first

    def test_attributes_name_the_layers_of_a_custom_model(self) -> None:
        assert list(mp.parameters(self.named())) == ["hidden.weight", "hidden.bias", "head.weight", "head.bias"]

    def test_nested_blocks_keep_their_names(self) -> None:
        expected = [
            f"0.block {block}.{layer}.{role}" for block in (0, 1) for layer in (0, 2) for role in ("weight", "bias")
        ]
        assert list(mp.parameters(self.nested())) == [*expected, "1.weight", "1.bias"]

    def test_lists_and_dicts_are_part_of_the_name(self) -> None:
        expected = [
            f"{layer}.{role}" for layer in ("blocks.0", "blocks.1", "heads.a", "heads.b") for role in ("weight", "bias")
        ]
        model = self.containers()
        assert list(mp.parameters(model)) == expected
        assert [child.kind for child in mp.layers(model)] == list(self.containers_are)

    def test_parameters_of_custom_layers_keep_their_own_names(self) -> None:
        params = mp.parameters(self.custom())
        assert {name: one.shape for name, one in params.items()} == {"offset": (3,), "inner.w": (4, 3)}

    def test_a_constant_is_no_parameter(self) -> None:
        assert list(mp.parameters(self.fancy(np.ones((20, 20), np.float32)))) == ["linear.weight", "linear.bias"]

    def test_a_layer_under_two_names_is_one_parameter(self) -> None:
        params = mp.parameters(self.twice())
        assert list(params) == ["first.weight", "first.bias"]
        assert params["first.weight"].aliases == ("second.weight",)
        assert params["second.weight"] is params["first.weight"]

    def test_a_layer_used_twice_in_a_sequential_model_has_both_positions(self) -> None:
        params = mp.parameters(self.shared())
        assert list(params) == ["0.weight", "0.bias", "2.weight", "2.bias", "6.weight", "6.bias"]
        assert mp.tied(self.shared()) == [("2.weight", "4.weight"), ("2.bias", "4.bias")]

    def test_what_a_listing_gives_is_what_each_layer_has(self) -> None:
        makers = (self.mlp, self.named, self.nested, self.shared, self.custom, self.containers, self.twice)
        models = [make() for make in (*makers, self.language_model, self.lazy, self.buffered, self.pair)]
        models += [mp.layers(self.nested())[0].native, mp.layers(self.mlp())[0].native]
        for model in models:
            names = list(mp.parameters(model))
            assert names == [one.name for one in mp.parameters(model).values()]
            assert len(mp.parameters(model)) == len(names)
            found = {name for layer in mp.layers(model).walk() for name in _full_names(layer)}
            assert found == {*names, *mp.parameters(model).aliases()}

    def test_a_child_is_found_as_it_is_listed(self) -> None:
        for model in (self.mlp(), self.nested(), self.containers(), self.twice(), self.shared(), self.custom()):
            for layer in mp.layers(model).walk():
                for key, child in self.adapter.members(layer.native).children:
                    assert self.adapter.lookup(layer.native, key) is child
                assert self.adapter.lookup(layer.native, "no such child") is None

    def test_a_part_of_a_model_is_a_model(self) -> None:
        layer = mp.layers(self.named())["hidden"].native
        assert list(mp.parameters(layer)) == ["weight", "bias"]

    def test_an_unknown_name_is_refused_with_the_close_ones(self) -> None:
        params = mp.parameters(self.named())
        with pytest.raises(
            mp.ParameterNotFoundError, match=r"no parameter 'hiden.weight'; did you mean 'hidden.weight'"
        ):
            params["hiden.weight"]
        with pytest.raises(KeyError):
            params["hiden.weight"]

    def test_a_user_declares_what_a_custom_layer_is(self) -> None:
        model = self.custom()
        inner = mp.layers(model)["inner"].native
        mp.register_layer(self.adapter.layer_class(inner), "Linear", weight=mp.Transposed("w"))
        param = mp.parameters(model)["inner.weight"]
        assert (param.shape, param.kind, param.role) == ((3, 4), "Linear", "weight")
        x = self.batch(2, 4)
        expected = x @ param.value.T + mp.parameters(model)["offset"].value
        np.testing.assert_allclose(self.forward(model, x), expected, rtol=1e-5, atol=1e-6)


def _full_names(layer: mp.Layer) -> list[str]:
    return [f"{layer.name}.{role}" if layer.name else role for role in layer.parameters]
