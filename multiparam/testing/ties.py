"""Same ties: one storage, summed gradients, kept by the framework's own optimizers."""

from __future__ import annotations

import numpy as np
import pytest

import multiparam as mp
from multiparam.adapter import Capability

from .models import NativeModels, same


class TieTests(NativeModels):
    """Tie, tied, untie."""

    def test_a_tie_is_one_storage(self) -> None:
        self.require(Capability.TIE)
        model = self.nested()
        params = mp.parameters(model)
        second = params["0.block 1.0.weight"]
        expected = params["0.block 0.0.weight"].value
        mp.tie(model, "0.block 1.0.weight", to="0.block 0.0.weight")
        assert mp.tied(model) == [("0.block 0.0.weight", "0.block 1.0.weight")]
        assert params["0.block 1.0.weight"] is params["0.block 0.0.weight"]
        assert np.array_equal(params["0.block 1.0.weight"].value, expected)
        assert np.array_equal(second.value, expected)  # a slot is resolved at each access
        params["0.block 0.0.weight"][0, 0] = 100
        assert second[0, 0] == 100
        assert "0.block 1.0.weight" not in list(params)

    def test_the_forward_pass_uses_the_tie(self) -> None:
        self.require(Capability.TIE)
        self.require(Capability.RUN)
        model = self.nested()
        mp.tie(model, "0.block 1", to="0.block 0")
        mp.parameters(model)["0.block 0.2.bias"][...] = [1, 2, 3, 4]
        values = {name: one.value for group in [mp.parameters(model)] for name, one in group.items()}
        x = self.batch(2, 4)
        y = x
        for _ in range(2):
            y = np.maximum(y @ values["0.block 0.0.weight"].T + values["0.block 0.0.bias"], 0)
            y = np.maximum(y @ values["0.block 0.2.weight"].T + values["0.block 0.2.bias"], 0)
        np.testing.assert_allclose(
            self.forward(model, x), y @ values["1.weight"].T + values["1.bias"], rtol=1e-5, atol=1e-5
        )

    def test_layers_are_tied_role_by_role(self) -> None:
        self.require(Capability.TIE)
        model = self.nested()
        mp.tie(model, "0.block 1.2", to="0.block 0.2")
        assert mp.tied(model) == [
            ("0.block 0.2.weight", "0.block 1.2.weight"),
            ("0.block 0.2.bias", "0.block 1.2.bias"),
        ]

    def test_gradients_of_a_tie_add_up(self) -> None:
        self.require(Capability.TIE)
        self.require(Capability.GRADIENTS)
        apart, tied = self.containers(), self.containers()
        for model in (apart, tied):
            mp.initialize(model, mp.init.Normal(0.5), seed=0)
        mp.parameters(apart)["heads.b.weight"].assign(mp.parameters(apart)["heads.a.weight"].value)
        mp.tie(tied, "heads.b.weight", to="heads.a.weight")
        x = self.batch(3, 4)
        each, summed = mp.gradients(apart, self.loss, x), mp.gradients(tied, self.loss, x)
        np.testing.assert_allclose(
            summed["heads.a.weight"], each["heads.a.weight"] + each["heads.b.weight"], rtol=1e-4, atol=1e-6
        )
        assert "heads.b.weight" not in summed

    def test_optimizers_keep_a_tie(self) -> None:
        self.require(Capability.TIE)
        self.require(Capability.GRADIENTS)
        model = self.shared()
        self.train(model, self.batch(5, 4), 2)
        first = self.snapshot(model)
        mp.tie(model, "2.bias", to="0.bias")
        assert mp.tied(model) == [("0.bias", "2.bias", "4.bias"), ("2.weight", "4.weight")]
        self.train(model, self.batch(5, 4), 3)
        after = self.snapshot(model)
        assert not np.array_equal(first["0.bias"], after["0.bias"])
        assert not np.array_equal(first["2.weight"], after["2.weight"])
        assert mp.tied(model) == [("0.bias", "2.bias", "4.bias"), ("2.weight", "4.weight")]
        x = self.batch(2, 4)
        y = x
        for position in ("0", "2", "2"):
            y = np.maximum(y @ after[f"{position}.weight"].T + after["0.bias"], 0)
        np.testing.assert_allclose(
            self.forward(model, x), y @ after["6.weight"].T + after["6.bias"], rtol=1e-4, atol=1e-5
        )

    def test_an_embedding_is_tied_to_the_output_projection(self) -> None:
        self.require(Capability.TIE_TRANSPOSED)
        for name, to in (("head.weight", "embedding.weight"), ("embedding.weight", "head.weight")):
            model = self.language_model()
            index = np.array([[0, 6, 3]])
            expected = mp.parameters(model)[to].value
            mp.tie(model, name, to=to)
            assert mp.tied(model) == [("embedding.weight", "head.weight")]
            assert np.array_equal(mp.parameters(model)["embedding.weight"].value, expected)
            np.testing.assert_allclose(self.forward(model, index), expected[index] @ expected.T, rtol=1e-5, atol=1e-6)
            mp.parameters(model)["head.weight"][...] = 1
            np.testing.assert_allclose(self.forward(model, index), np.full((1, 3, 7), 4.0), rtol=1e-6)

    def test_a_transposed_tie_is_trained_as_one(self) -> None:
        self.require(Capability.TIE_TRANSPOSED)
        self.require(Capability.GRADIENTS)
        model = self.language_model()
        index = np.array([[0, 6, 3], [1, 2, 2]])
        mp.tie(model, "head.weight", to="embedding.weight")
        mp.initialize(model, mp.init.Normal(0.5), seed=0)
        before = mp.parameters(model)["embedding.weight"].value
        gradient = mp.gradients(model, self.loss, index)["embedding.weight"]
        rows = before[index]
        out = rows @ before.T
        expected = np.einsum("bto,btd->od", out, rows)
        np.add.at(expected, index, out @ before)
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(np.asarray(mp.parameters(model)["head.weight"].grad), gradient)
        self.train(model, index, 3)
        after = mp.parameters(model)["embedding.weight"].value
        assert not np.array_equal(before, after)
        assert mp.tied(model) == [("embedding.weight", "head.weight")]
        np.testing.assert_allclose(self.forward(model, index), after[index] @ after.T, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("name", ["embedding.weight", "head.weight"])
    def test_an_untied_parameter_is_its_own_again(self, name: str) -> None:
        self.require(Capability.TIE_TRANSPOSED)
        model = self.language_model()
        mp.tie(model, "head.weight", to="embedding.weight")
        value = mp.parameters(model)["embedding.weight"].value
        mp.untie(model, name)
        assert mp.tied(model) == []
        params = mp.parameters(model)
        assert np.array_equal(params["head.weight"].value, value)
        assert np.array_equal(params["embedding.weight"].value, value)
        assert params["head.weight"].trainable
        params["embedding.weight"][...] = 0
        assert np.array_equal(params["head.weight"].value, value)
        assert same(self.snapshot(model), dict(self.raw_language_model(model)))
        if Capability.GRADIENTS in self.adapter.plugin.capabilities:
            params["embedding.weight"][...] = value
            self.train(model, np.array([[0, 6, 3]]), 2)
            assert not np.array_equal(params["embedding.weight"].value, params["head.weight"].value)

    def test_what_cannot_be_tied_is_refused(self) -> None:
        self.require(Capability.TIE)
        model = self.nested()
        before = self.snapshot(model)
        with pytest.raises(mp.MismatchError, match=r"\(1, 4\) expected, \(8, 4\) given"):
            mp.tie(model, "0.block 0.0.weight", to="1.weight")
        with pytest.raises(mp.ParameterNotFoundError, match="did you mean"):
            mp.tie(model, "0.block 0.0.weigth", to="1.weight")
        with pytest.raises(mp.MismatchError, match="do not have the same parameters"):
            mp.tie(model, "0.block 0", to="1")
        with pytest.raises(mp.ArgumentError, match="not tied"):
            mp.untie(model, "1.weight")
        with pytest.raises(mp.UnsupportedError, match="one layer object used twice"):
            mp.untie(self.shared(), "4.weight")
        assert mp.tied(model) == []
        assert same(self.snapshot(model), before)

    def test_a_tie_to_itself_changes_nothing(self) -> None:
        self.require(Capability.TIE)
        model = self.shared()
        assert mp.tie(model, "4.weight", to="2.weight").names == []
