"""Same numbers: one seed gives the same bits in every framework."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import multiparam as mp
from multiparam.adapter import Array, Capability

from .models import NativeModels, same

# SHA-256 of the little-endian float32 bytes of `0.weight` (8, 4), seed 7: any other bits are another initialization
GOLDEN: dict[str, tuple[mp.init.Rule, str]] = {
    "Normal(std=0.01, mean=0.0)": (mp.init.Normal(std=0.01), "f494d9b86c5983ee"),
    "Normal(std=1.0, mean=2.0)": (mp.init.Normal(std=1.0, mean=2.0), "2545063e45b075f4"),
    "Uniform(low=-1.0, high=1.0)": (mp.init.Uniform(-1.0, 1.0), "a7a514ecfda200b0"),
    "XavierUniform(gain=1.0)": (mp.init.XavierUniform(), "e23b7fb1605a0d11"),
    "XavierNormal(gain=2.0)": (mp.init.XavierNormal(gain=2.0), "8988c56b25ff867a"),
    "KaimingUniform(a=0.1)": (mp.init.KaimingUniform(a=0.1), "8ac66371a4cde43a"),
    "KaimingNormal(fan_out)": (mp.init.KaimingNormal(mode="fan_out", nonlinearity="relu"), "8919f638eef96eda"),
    "Constant(value=42.0)": (mp.init.Constant(42), "c712c871db9857bd"),
}
GOLDEN_MIXTURE = "522636c8c50a4f91"  # of the function below, seed 0


def mixture(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """U(5, 10) or U(-10, -5) with probability 1/4 each, else 0."""
    values = rng.uniform(-10, 10, shape)
    return values * (np.abs(values) >= 5)


class InitializationTests(NativeModels):
    """Rules, patterns, custom functions, lazy layers."""

    @pytest.mark.parametrize("rule", GOLDEN)
    def test_golden_bits(self, rule: str) -> None:
        made, expected = GOLDEN[rule]
        model = self.mlp()
        mp.initialize(model, made, seed=7)
        assert digest(mp.parameters(model)["0.weight"].value) == expected
        assert digest(self.raw_mlp(model)["0.weight"]) == expected

    def test_one_rule_means_the_weights(self) -> None:
        model = self.mlp()
        report = mp.initialize(model, mp.init.Normal(std=0.01), seed=0)
        values = self.snapshot(model)
        assert not values["0.bias"].any()
        assert not values["2.bias"].any()
        assert 0.001 < values["0.weight"].std() < 0.02
        assert [(name, shape) for name, shape, _ in report] == [(name, value.shape) for name, value in values.items()]
        assert report.deferred == []
        assert report.seed == 0

    def test_the_same_seed_gives_the_same_and_another_another(self) -> None:
        first, second = self.nested(), self.nested()
        mp.initialize(first, mp.init.XavierUniform(), seed=5)
        report = mp.initialize(second, mp.init.XavierUniform())
        assert not same(self.snapshot(first), self.snapshot(second))
        mp.initialize(first, mp.init.XavierUniform(), seed=report.seed)
        assert same(self.snapshot(first), self.snapshot(second))

    def test_the_first_matching_pattern_wins(self) -> None:
        model = self.mlp()
        rules = {"0.*weight": mp.init.XavierUniform(), "2.weight": mp.init.Constant(42), "*": mp.init.Zeros()}
        report = mp.initialize(model, rules, seed=0)
        after = self.snapshot(model)
        assert (after["2.weight"] == 42).all()
        assert 0 < np.abs(after["0.weight"]).max() <= np.sqrt(6 / 12)
        assert not after["0.bias"].any()
        assert [line.rule for line in report] == [rules["0.*weight"], rules["*"], rules["2.weight"], rules["*"]]

    def test_unmatched_parameters_stay(self) -> None:
        model = self.mlp()
        before = self.snapshot(model)
        mp.initialize(model, {"2.*": mp.init.Ones()}, seed=0)
        after = self.snapshot(model)
        assert same({k: before[k] for k in ("0.weight", "0.bias")}, {k: after[k] for k in ("0.weight", "0.bias")})
        assert (after["2.bias"] == 1).all()

    def test_a_selection_is_keyed_by_the_whole_models_names(self) -> None:
        whole, part = self.mlp(), self.mlp()
        mp.initialize(whole, mp.init.Normal(0.01), seed=4)
        mp.initialize(mp.parameters(part).select(kind="Linear"), mp.init.Normal(0.01), seed=4)
        assert same(self.snapshot(whole), self.snapshot(part))

    def test_a_pattern_without_a_match_is_refused(self) -> None:
        model = self.mlp()
        before = self.snapshot(model)
        with pytest.raises(
            mp.ParameterNotFoundError, match=r"no parameter matches '2\.weigth'; did you mean '2.weight'"
        ):
            mp.initialize(model, {"0.weight": mp.init.Ones(), "2.weigth": mp.init.Ones()})
        assert same(self.snapshot(model), before)

    def test_a_rule_without_a_fan_is_refused_before_the_first_write(self) -> None:
        model = self.mlp()
        before = self.snapshot(model)
        with pytest.raises(mp.ArgumentError, match=r"undefined for '0.bias' of shape \(8,\)"):
            mp.initialize(model, {"*": mp.init.XavierUniform()}, seed=0)
        assert same(self.snapshot(model), before)

    def test_custom_functions(self) -> None:
        model = self.mlp()
        mp.initialize(model, mixture, seed=0)
        value = self.snapshot(model)["0.weight"]
        assert ((value == 0) | ((np.abs(value) >= 5) & (np.abs(value) <= 10))).all()
        assert digest(value) == GOLDEN_MIXTURE
        asked: list[str] = []

        def by_name(shape: Any, rng: Any, param: Any) -> Any:
            asked.append(param.name)
            return np.full(shape, len(asked))

        mp.initialize(model, {"*": by_name}, seed=0)
        assert asked == list(mp.parameters(model))

    def test_a_custom_function_that_fails_changes_nothing(self) -> None:
        model = self.mlp()
        before = self.snapshot(model)

        def wrong(shape: Any, rng: Any) -> Any:
            return np.ones(shape) if shape == (8, 4) else np.ones(3)

        with pytest.raises(mp.MismatchError, match=r"2\.weight"):
            mp.initialize(model, wrong, seed=0)
        assert same(self.snapshot(model), before)

    @pytest.mark.parametrize("recipe", ["pytorch", "keras", "flax", "paddle", "mxnet"])
    def test_a_frameworks_default_is_the_same_on_every_backend(self, recipe: str) -> None:
        model, reference = self.mlp(), self.reference(4, 8, 1)
        for one in (model, reference):
            mp.initialize(one, recipe, seed=6)
        assert same(self.snapshot(model), self.snapshot(reference))
        assert self.snapshot(model)["0.weight"].any()

    @pytest.mark.parametrize("rule", [3.0, "pytorhc", None, mp.init.Normal, {}, {"*": 1}])
    def test_what_is_no_rule_is_refused(self, rule: Any) -> None:
        model = self.mlp()
        before = self.snapshot(model)
        with pytest.raises(mp.ArgumentError):
            mp.initialize(model, rule, seed=0)
        assert same(self.snapshot(model), before)

    @pytest.mark.parametrize("seed", [-1, 1.5, "0", True])
    def test_what_is_no_seed_is_refused(self, seed: Any) -> None:
        with pytest.raises(mp.ArgumentError, match="seed is a non-negative integer"):
            mp.initialize(self.mlp(), mp.init.Ones(), seed=seed)

    def test_tied_parameters_are_initialized_once_by_their_first_name(self) -> None:
        tied, single = self.shared(), self.shared()
        mp.initialize(tied, mp.init.Normal(), seed=1)
        mp.initialize(single, {"4.weight": mp.init.Normal(), "2.bias": mp.init.Ones()}, seed=1)
        assert np.array_equal(mp.parameters(tied)["2.weight"].value, mp.parameters(single)["2.weight"].value)

    def test_lazy_parameters_say_what_to_do(self) -> None:
        self.require(Capability.LAZY)
        model = self.lazy()
        params = mp.parameters(model)
        assert list(params) == ["0.weight", "0.bias", "2.weight", "2.bias"]
        assert [name for name, one in params.items() if not one.initialized] == list(self.waiting)
        assert params["0.weight"].shape == (8, None)
        assert params["0.bias"].shape == (8,)
        for attempt in (
            lambda: params["0.weight"].value,
            lambda: params["0.weight"].assign(np.ones((8, 4))),
            lambda: mp.save(model, "never"),
            lambda: mp.tie(model, "0.weight", to="2.weight"),
        ):
            with pytest.raises(mp.UninitializedError, match="materialize"):
                attempt()
        mp.materialize(model, self.batch(2, 4))
        assert [one.initialized for one in params.values()] == [True] * 4
        assert [one.shape for one in params.values()] == [(8, 4), (8,), (1, 8), (1,)]

    def test_lazy_layers_remember_their_initialization(self) -> None:
        self.require(Capability.LAZY)
        known = self.mlp()
        mp.initialize(known, mp.init.Normal(0.3), seed=2)
        ways: dict[str, Callable[[Any, Any], Any]] = {
            "materialize": lambda model, x: mp.materialize(model, x),
            "run": lambda model, x: mp.run(model, x),
            "the native forward pass": lambda model, x: self.forward(model, x),
        }
        for way, first_batch in ways.items():
            model = self.lazy()
            report = mp.initialize(model, mp.init.Normal(0.3), seed=2)
            assert report.deferred == list(self.waiting), way
            first_batch(model, self.batch(2, 4))
            assert same(self.snapshot(model), self.snapshot(known)), way

    def test_the_first_batch_sees_the_remembered_initialization(self) -> None:
        self.require(Capability.LAZY)
        known, model = self.mlp(), self.lazy()
        for one in (known, model):
            mp.initialize(one, mp.init.Normal(0.3), seed=2)
        x = self.batch(2, 4)
        np.testing.assert_allclose(self.forward(model, x), self.forward(known, x), rtol=1e-6)

    def test_two_remembered_initializations_add_up(self) -> None:
        self.require(Capability.LAZY)
        model = self.lazy()
        mp.initialize(model, {"0.weight": mp.init.Constant(2)})
        mp.initialize(model, {"0.bias": mp.init.Constant(3), "2.weight": mp.init.Constant(4)})
        mp.materialize(model, self.batch(2, 4))
        values = self.snapshot(model)
        assert [values[name].flat[0] for name in ("0.weight", "0.bias", "2.weight")] == [2, 3, 4]


def digest(value: Array) -> str:
    """SHA-256 of an array's bytes."""
    return hashlib.sha256(np.ascontiguousarray(value, "<f4").tobytes()).hexdigest()[:16]
