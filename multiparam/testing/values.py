"""Same layout: values read and written in canonical form, in the framework's own objects."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import multiparam as mp

from .models import NativeModels, same


class ValueTests(NativeModels):
    """Reads and writes, checked with the framework's own means."""

    def test_values_are_what_the_framework_has(self) -> None:
        model = self.mlp()
        assert same(self.snapshot(model), dict(self.raw_mlp(model)))

    def test_embedding_and_projection_share_one_layout(self) -> None:
        model = self.language_model()
        assert same(self.snapshot(model), dict(self.raw_language_model(model)))
        assert {name: one.shape for name, one in mp.parameters(model).items()} == {
            "embedding.weight": (7, 4),
            "head.weight": (7, 4),
        }

    def test_a_value_is_a_read_only_snapshot(self) -> None:
        param = mp.parameters(self.mlp())["0.weight"]
        value = param.value
        kept = value.copy()
        with pytest.raises(ValueError, match="read-only"):
            value[0, 0] = 1
        param[...] = 0
        assert np.array_equal(value, kept)
        assert type(value) is np.ndarray

    def test_writes_land_in_the_framework_and_in_the_forward_pass(self) -> None:
        model = self.mlp()
        rng = np.random.default_rng(3)
        params = mp.parameters(model)
        new = {name: rng.standard_normal(one.value.shape).astype(np.float32) for name, one in params.items()}
        for name, value in new.items():
            params[name][...] = value
        assert same(dict(self.raw_mlp(model)), new)
        x = self.batch(3, 4)
        expected = np.maximum(x @ new["0.weight"].T + new["0.bias"], 0) @ new["2.weight"].T + new["2.bias"]
        np.testing.assert_allclose(self.forward(model, x), expected, rtol=1e-5, atol=1e-5)

    def test_parts_can_be_written(self) -> None:
        model = self.mlp()
        param = mp.parameters(model)["0.weight"]
        expected = param.value.copy()
        param[:] += 1
        param[0, 0] = 42
        param[2] *= 2
        param[:, 3] = [1, 2, 3, 4, 5, 6, 7, 8]
        expected += 1
        expected[0, 0] = 42
        expected[2] *= 2
        expected[:, 3] = [1, 2, 3, 4, 5, 6, 7, 8]
        assert np.array_equal(param.value, expected)
        assert np.array_equal(self.raw_mlp(model)["0.weight"], expected)

    def test_a_write_that_would_be_lost_raises(self) -> None:
        param = mp.parameters(self.mlp())["0.weight"]
        with pytest.raises(ValueError, match="read-only"):
            param[0][0] = 42
        row = param[0]
        row += 1  # makes a new array; the parameter is as it was
        assert not np.array_equal(row, param[0])

    def test_assign_takes_exactly_the_shape(self) -> None:
        model = self.mlp()
        param = mp.parameters(model)["0.weight"]
        param.assign(np.arange(32).reshape(8, 4))
        assert np.array_equal(self.raw_mlp(model)["0.weight"], np.arange(32, dtype=np.float32).reshape(8, 4))
        before = self.snapshot(model)
        wrong: list[Any] = [np.ones((4, 8)), np.ones(4), 3.0, np.ones((1, 8, 4))]
        for value in wrong:
            with pytest.raises(mp.MismatchError, match=r"shape of 0.weight: \(8, 4\) expected"):
                param.assign(value)
        assert same(self.snapshot(model), before)

    @pytest.mark.parametrize(
        "value", [np.ones((4, 8)), np.ones((7, 9)), np.ones((8, 4)) * 1j, "text", None, np.array([object()])]
    )
    def test_what_does_not_fit_is_refused(self, value: Any) -> None:
        model = self.mlp()
        before = self.snapshot(model)
        with pytest.raises(mp.MismatchError, match=r"0\.weight"):
            mp.parameters(model)["0.weight"][...] = value
        assert same(self.snapshot(model), before)

    def test_writes_keep_dtype_device_and_trainability(self) -> None:
        param = mp.parameters(self.mlp())["0.weight"]
        before = (param.dtype, param.device, param.trainable, param.shape)
        param[...] = np.ones((8, 4), np.float64)
        param[0] = 3
        assert (param.dtype, param.device, param.trainable, param.shape) == before

    def test_a_write_keeps_no_hold_of_the_array(self) -> None:
        param = mp.parameters(self.mlp())["0.weight"]
        value = np.ones((8, 4), np.float32)
        param.assign(value)
        value[...] = 7
        assert np.array_equal(param.value, np.ones((8, 4)))

    def test_a_tied_parameter_is_written_under_any_name(self) -> None:
        params = mp.parameters(self.shared())
        params["4.weight"][0, 0] = 100
        assert params["2.weight"][0, 0] == 100
