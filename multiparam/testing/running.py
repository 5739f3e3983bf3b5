"""Forward passes and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import multiparam as mp
from multiparam.adapter import Array, Capability

from .models import NativeModels, same


class RunningTests(NativeModels):
    """`run` against the framework's own call; `gradients` against formulas and finite differences."""

    def test_run_is_the_native_forward_pass(self) -> None:
        self.require(Capability.RUN)
        for model in (self.mlp(), self.named(), self.nested(), self.containers(), self.twice()):
            x = self.batch(3, 4)
            assert np.array_equal(mp.run(model, x), self.forward(model, x))

    def test_run_takes_what_numpy_takes(self) -> None:
        self.require(Capability.RUN)
        model = self.mlp()
        x = self.batch(3, 4)
        for given in (x.astype(np.float64), x.tolist(), np.asfortranarray(x), x[:, ::-1][:, ::-1]):
            np.testing.assert_allclose(mp.run(model, given), self.forward(model, x), rtol=1e-6)

    def test_several_inputs_are_a_tuple(self) -> None:
        self.require(Capability.RUN)
        model = self.pair()
        values = self.snapshot(model)
        left, right = self.batch(2, 4), self.batch(2, 4, seed=1)
        expected = left @ values["left.weight"].T + values["left.bias"]
        expected += right @ values["right.weight"].T + values["right.bias"]
        np.testing.assert_allclose(mp.run(model, (left, right)), expected, rtol=1e-5, atol=1e-6)

    def test_no_batch_at_all_is_refused(self) -> None:
        self.require(Capability.RUN)
        for given in ("text", None, [[1, 2], [3]]):
            with pytest.raises(mp.ArgumentError, match="no numeric batch"):
                mp.run(self.mlp(), given)

    def test_any_control_flow(self) -> None:
        self.require(Capability.RUN)
        constant = np.random.default_rng(5).random((20, 20)).astype(np.float32)
        model = self.fancy(constant)
        mp.initialize(model, mp.init.Normal(0.05), seed=3)
        x = self.batch(2, 20)
        assert float(mp.run(model, x)) == pytest.approx(self._fancy(self.snapshot(model), constant, x), rel=1e-4)

    def test_gradients_of_any_control_flow(self) -> None:
        self.require(Capability.GRADIENTS)
        constant = np.random.default_rng(5).random((20, 20)).astype(np.float32)
        model = self.fancy(constant)
        mp.initialize(model, mp.init.Normal(0.05), seed=3)
        x = self.batch(2, 20)
        found = mp.gradients(model, lambda net, batch: net(batch), x)
        values = {name: value.astype(np.float64) for name, value in self.snapshot(model).items()}

        def of(changed: dict[str, Array]) -> float:
            return self._fancy(changed, constant.astype(np.float64), x.astype(np.float64))

        for name, index in (("linear.weight", (3, 5)), ("linear.weight", (0, 0)), ("linear.bias", (7,))):
            assert found[name][index] == pytest.approx(_slope(of, values, name, index), rel=1e-2, abs=1e-4)

    def _fancy(self, values: dict[str, Array], constant: Array, x: Array) -> float:
        weight, bias = values["linear.weight"], values["linear.bias"]
        x = np.maximum((x @ weight.T + bias) @ constant + 1, 0) @ weight.T + bias
        while np.abs(x).sum() > 1:
            x = x / 2
        if np.abs(x).sum() < 0.8:
            x = x * 10
        return float(x.sum())

    def test_gradients_are_those_of_the_formula(self) -> None:
        self.require(Capability.GRADIENTS)
        model = self.mlp()
        x = self.batch(5, 4)
        params = mp.parameters(model)
        assert all(one.grad is None for one in params.values())
        found = mp.gradients(model, self.loss, x)
        values = self.snapshot(model)
        hidden = x @ values["0.weight"].T + values["0.bias"]
        active = np.maximum(hidden, 0)
        out = active @ values["2.weight"].T + values["2.bias"]
        back = (out @ values["2.weight"]) * (hidden > 0)
        expected = {"0.weight": back.T @ x, "0.bias": back.sum(0), "2.weight": out.T @ active, "2.bias": out.sum(0)}
        assert list(found) == list(expected)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5)
            np.testing.assert_array_equal(np.asarray(params[name].grad), found[name])

    def test_gradients_overwrite_and_are_read_only(self) -> None:
        self.require(Capability.GRADIENTS)
        model = self.mlp()
        first = mp.gradients(model, self.loss, self.batch(5, 4))
        again = mp.gradients(model, self.loss, self.batch(5, 4))
        assert same(first, again)
        with pytest.raises(ValueError, match="read-only"):
            first["0.weight"][...] = 0

    def test_gradients_of_tied_layers_add_up(self) -> None:
        self.require(Capability.GRADIENTS)
        model = self.shared()
        x = self.batch(3, 4)
        found = mp.gradients(model, self.loss, x)
        values = {name: value.astype(np.float64) for name, value in self.snapshot(model).items()}

        def of(changed: dict[str, Array]) -> float:
            y = x.astype(np.float64)
            for position in ("0", "2", "2"):
                y = np.maximum(y @ changed[f"{position}.weight"].T + changed[f"{position}.bias"], 0)
            return float(0.5 * ((y @ changed["6.weight"].T + changed["6.bias"]) ** 2).sum())

        assert list(found) == ["0.weight", "0.bias", "2.weight", "2.bias", "6.weight", "6.bias"]
        for index in ((0, 0), (3, 5), (7, 7)):
            assert found["2.weight"][index] == pytest.approx(_slope(of, values, "2.weight", index), rel=1e-2, abs=1e-4)
        np.testing.assert_array_equal(np.asarray(mp.parameters(model)["4.weight"].grad), found["2.weight"])

    def test_unused_parameters_have_zeros_and_frozen_ones_nothing(self) -> None:
        self.require(Capability.GRADIENTS)
        self.require(Capability.TRAINABLE)
        model = self.pair()
        mp.gradients(model, self._both_losses, self.batch(2, 4), self.batch(2, 4, seed=1))
        mp.parameters(model)["right.bias"].trainable = False
        found = mp.gradients(model, self._left_loss, self.batch(2, 4), self.batch(2, 4, seed=1))
        assert list(found) == ["left.weight", "left.bias", "right.weight"]
        assert not found["right.weight"].any()
        assert found["left.weight"].any()
        assert mp.parameters(model)["right.bias"].grad is None

    def _both_losses(self, net: Any, left: Any, right: Any) -> Any:
        return self.loss(net.left, left) + self.loss(net.right, right)

    def _left_loss(self, net: Any, left: Any, right: Any) -> Any:
        return self.loss(net.left, left)

    def test_a_loss_that_uses_another_net_is_refused(self) -> None:
        self.require(Capability.GRADIENTS)
        model, other = self.mlp(), self.mlp()
        before = mp.gradients(model, self.loss, self.batch(3, 4))
        with pytest.raises(mp.ArgumentError, match=r"loss\(net, \*inputs\)"):
            mp.gradients(model, lambda net, x: self.loss(other, x), self.batch(3, 4))
        with pytest.raises(mp.ArgumentError, match=r"loss\(net, \*inputs\), with 2 inputs here"):
            mp.gradients(model, lambda net, x: self.loss(net, x), self.batch(3, 4), self.batch(3, 1))
        assert same(mp.gradients(model, self.loss, self.batch(3, 4)), before)

    def test_a_loss_that_is_no_scalar_is_refused(self) -> None:
        self.require(Capability.GRADIENTS)
        with pytest.raises(mp.ArgumentError, match="the loss must be a scalar"):
            mp.gradients(self.mlp(), lambda net, x: net(x), self.batch(3, 4))
        with pytest.raises(mp.ArgumentError, match="the loss must be a scalar"):
            mp.gradients(self.mlp(), lambda net, x: None, self.batch(3, 4))


def _slope(of: Any, values: dict[str, Array], name: str, index: tuple[int, ...], step: float = 1e-6) -> float:
    """The central difference quotient for one element, in float64."""
    ends = []
    for sign in (1, -1):
        changed = {key: value.copy() for key, value in values.items()}
        changed[name][index] += sign * step
        ends.append(of(changed))
    return float((ends[0] - ends[1]) / (2 * step))
