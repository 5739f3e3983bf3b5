"""Reaching parameters: by index, name and pattern; the tree; selections; freezing; buffers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import multiparam as mp
from multiparam.adapter import Capability
from multiparam.adapter.capabilities import CAPABILITIES

from .models import NativeModels


class AccessTests(NativeModels):
    """What can be asked about a parameter, and how it is found."""

    def test_a_parameter_tells_what_it_is(self) -> None:
        param = mp.parameters(self.mlp())["0.weight"]
        assert (param.name, param.aliases, param.role, param.kind) == ("0.weight", (), "weight", "Linear")
        assert (param.shape, str(param.dtype), param.trainable, param.initialized) == ((8, 4), "float32", True, True)
        assert param.device
        assert param.layer.name == "0"
        assert param.native is not None
        assert len(param) == 8
        assert "0.weight" in repr(param)

    def test_the_tree_is_reached_by_index_and_name(self) -> None:
        model = self.nested()
        tree = mp.layers(model)
        assert tree[0][1][0].bias.name == "0.block 1.0.bias"
        assert tree[0]["block 1"]["0"].bias.name == "0.block 1.0.bias"
        assert tree["0.block 1.2"].weight.shape == (4, 8)
        assert [child.name for child in tree.children] == ["0", "1"]
        assert list(tree[1].parameters) == ["weight", "bias"]
        assert tree.native is model
        assert [tree[0][0][index].kind for index in range(4)] == ["Linear", "ReLU", "Linear", "ReLU"]

    def test_the_tree_refuses_what_is_not_there(self) -> None:
        tree = mp.layers(self.named())
        with pytest.raises(mp.ParameterNotFoundError, match="did you mean 'hidden'"):
            tree["hiden"]
        with pytest.raises(AttributeError, match="hidden, head"):
            _ = tree.hiden
        with pytest.raises(IndexError):
            tree[9]

    def test_patterns(self) -> None:
        params = mp.parameters(self.nested())
        assert params.select("0.block ?.2.bias").names == ["0.block 0.2.bias", "0.block 1.2.bias"]
        assert params.select("*.WEIGHT").names == []
        assert params.select(re.compile(r".*weight")).names == params.select("*.weight").names
        assert params.select(re.compile("weight")).names == []
        assert params.select("1.bias").names == ["1.bias"]
        assert params.select(kind="Linear", role="bias").names == params.select("*.bias").names
        assert params.select("1.*", role="weight").names == ["1.weight"]
        assert params.select(params.select("*.bias"), kind="Linear").names == params.select("*.bias").names
        assert params.select("*")["1.bias"] is params["1.bias"]

    def test_patterns_match_aliases(self) -> None:
        params = mp.parameters(self.shared())
        assert params.select("4.*").names == ["2.weight", "2.bias"]

    def test_no_pattern_at_all_is_refused(self) -> None:
        with pytest.raises(mp.ArgumentError, match="a pattern is"):
            mp.parameters(self.mlp()).select(3)  # type: ignore[arg-type]

    def test_freezing_reaches_the_framework(self) -> None:
        self.require(Capability.TRAINABLE)
        model = self.mlp()
        params = mp.parameters(model)
        params["2.weight"].trainable = False
        assert self.frozen_natively(params["2.weight"].native)
        assert not self.frozen_natively(params["0.weight"].native)
        assert list(params) == ["0.weight", "0.bias", "2.weight", "2.bias"]
        assert params.select(trainable=False).names == ["2.weight"]
        before = self.snapshot(model)
        if Capability.GRADIENTS in self.adapter.plugin.capabilities:
            self.train(model, self.batch(5, 4), 2)
            after = self.snapshot(model)
            assert np.array_equal(before["2.weight"], after["2.weight"])
            assert not np.array_equal(before["0.weight"], after["0.weight"])
        with pytest.raises(mp.ArgumentError, match="True or False"):
            params["2.weight"].trainable = "no"  # type: ignore[assignment]
        params["2.weight"].trainable = True
        assert not self.frozen_natively(params["2.weight"].native)

    def test_freezing_a_tied_parameter_freezes_it_everywhere(self) -> None:
        self.require(Capability.TRAINABLE)
        params = mp.parameters(self.shared())
        params["4.weight"].trainable = False
        assert params["2.weight"].trainable is False
        assert params.select(trainable=True).names == ["0.weight", "0.bias", "2.bias", "6.weight", "6.bias"]

    def test_a_selection_is_frozen_and_thawed_as_one(self) -> None:
        self.require(Capability.TRAINABLE)
        model = self.mlp()
        biases = mp.parameters(model).select("*.bias")
        assert biases.trainable is True
        biases.trainable = False
        assert biases.trainable is False
        assert all(self.frozen_natively(one.native) for one in biases)
        assert mp.parameters(model).select(trainable=True).names == ["0.weight", "2.weight"]
        with pytest.raises(mp.MismatchError, match=r"of the 4 parameters 2 are frozen, '0\.bias' for one"):
            _ = mp.parameters(model).select().trainable
        with pytest.raises(mp.ArgumentError, match="True or False"):
            biases.trainable = "no"  # type: ignore[assignment]
        mp.parameters(model).select().trainable = True
        assert not any(self.frozen_natively(one.native) for one in biases)

    def test_a_selection_is_assigned_whole_or_not_at_all(self) -> None:
        model = self.shared()
        selected = mp.parameters(model).select("*.bias")
        given = {"0.bias": np.arange(8.0, dtype="f4"), "4.bias": np.ones(8, "f4"), "6.bias": np.full(1, 2.0, "f4")}
        selected.assign(given)  # a tied parameter goes by any of its names
        after = self.snapshot(model)
        for name, want in (("0.bias", given["0.bias"]), ("2.bias", given["4.bias"]), ("6.bias", given["6.bias"])):
            assert np.array_equal(after[name], want)
        mp.parameters(model).select(re.compile(r"[02]\.bias")).assign(np.zeros(8, "f4"))
        assert not self.snapshot(model)["0.bias"].any()
        assert not self.snapshot(model)["2.bias"].any()
        before = self.snapshot(model)
        wrong = {**given, "6.bias": np.ones(8, "f4")}
        for bad, told in (
            (wrong, r"shape of 6\.bias: \(1,\) expected, \(8,\) given"),
            ({"0.bias": given["0.bias"]}, r"missing: 2\.bias"),
            ({**given, "0.weight": given["0.bias"]}, r"unexpected: 0\.weight"),
            (np.ones(8, "f4"), r"shape of 6\.bias"),
        ):
            with pytest.raises(mp.MismatchError, match=rf"nothing was written\n(.*\n)*{told}"):
                selected.assign(bad)
        assert all(np.array_equal(value, before[name]) for name, value in self.snapshot(model).items())

    def test_a_selection_is_initialized_by_the_whole_models_names(self) -> None:
        one, other = self.mlp(), self.mlp()
        mp.initialize(one, {"*.weight": mp.init.Normal(std=0.1)}, seed=3)
        report = mp.parameters(other).select("*.weight").initialize(mp.init.Normal(std=0.1), seed=3)
        assert [entry.name for entry in report] == ["0.weight", "2.weight"]
        first, second = self.snapshot(one), self.snapshot(other)
        assert all(np.array_equal(first[name], second[name]) for name in ("0.weight", "2.weight"))

    def test_nothing_selected_is_nothing_to_change(self) -> None:
        nothing = mp.parameters(self.mlp()).select("*.scale")
        for attempt in (
            lambda: nothing.assign(np.ones(1)),
            lambda: nothing.initialize(mp.init.Ones()),
            lambda: setattr(nothing, "trainable", False),
        ):
            with pytest.raises(mp.ArgumentError, match="no parameter was selected"):
                attempt()

    def test_a_layer_is_shown_as_the_summary_shows_it(self) -> None:
        layer = mp.layers(self.nested())[0][1]
        shown = layer._repr_html_()
        assert "<table>" in shown
        assert shown.count("Linear") == 2
        assert mp.summary(layer).total == 4 * 8 + 8 + 8 * 4 + 4
        assert "weight" in mp.layers(self.mlp())[0]._repr_html_()

    def test_buffers_are_apart_from_parameters(self) -> None:
        self.require(Capability.BUFFERS)
        model = self.buffered()
        assert list(mp.parameters(model)) == ["linear.weight", "linear.bias"]
        assert list(mp.buffers(model)) == ["mean"]
        assert sorted(mp.state(model)) == ["linear.bias", "linear.weight", "mean"]
        x = self.batch(2, 4)
        before = self.forward(model, x)
        mp.buffers(model)["mean"][:] = 1
        np.testing.assert_allclose(self.forward(model, x + 1), before, rtol=1e-4, atol=1e-5)
        assert mp.buffers(model)["mean"].trainable is False
        with pytest.raises(mp.UnsupportedError, match="buffer"):
            mp.buffers(model)["mean"].trainable = True

    def test_the_summary_shows_names_shapes_and_ties(self) -> None:
        shown = str(mp.summary(self.shared()))
        assert "(8, 8)" in shown
        assert "= 2.weight" in shown
        assert mp.summary(self.shared()).total == 4 * 8 + 8 + 8 * 8 + 8 + 8 + 1
        assert "<table>" in mp.summary(self.shared())._repr_html_()

    def test_what_is_declared_is_what_the_adapter_inherits(self) -> None:
        declared = self.adapter.plugin.capabilities
        inherited = {one.capability for one in CAPABILITIES if isinstance(self.adapter, one)}
        assert inherited == declared & {one.capability for one in CAPABILITIES}

    def test_undeclared_capabilities_are_refused(self) -> None:
        declared = self.adapter.plugin.capabilities
        attempts: dict[Capability, Callable[[], Any]] = {
            Capability.BUILD: lambda: mp.nn.Linear(4, 8, backend=self.backend),
            Capability.RUN: lambda: mp.run(self.mlp(), self.batch(2, 4)),
            Capability.LAZY: lambda: mp.initialize(self.lazy(), mp.init.Ones()),
            Capability.GRADIENTS: lambda: mp.gradients(self.mlp(), self.loss, self.batch(2, 4)),
            Capability.TRAINABLE: lambda: setattr(mp.parameters(self.mlp())["0.weight"], "trainable", False),
            Capability.TIE: lambda: mp.tie(self.nested(), "0.block 1.0.weight", to="0.block 0.0.weight"),
            Capability.TIE_TRANSPOSED: lambda: mp.tie(self.language_model(), "head.weight", to="embedding.weight"),
        }
        for capability in set(attempts) - declared:
            with pytest.raises(mp.UnsupportedError) as caught:
                attempts[capability]()
            assert caught.value.backend == self.backend
            assert caught.value.why
        if Capability.BUFFERS not in declared:
            assert list(mp.buffers(self.mlp())) == []
