"""Two models are compared layer by layer, whatever frameworks they are of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import multiparam as mp
from multiparam.adapter import Capability

from .models import NativeModels


class VerifyingTests(NativeModels):
    """Beside the numpy backend, which stands for any other."""

    def pairs(self) -> tuple[Any, Any]:
        """A native model and a numpy one with the same numbers."""
        self.require(Capability.RUN)
        model, reference = self.mlp(), self.reference(4, 8, 1)
        for name, one in mp.parameters(reference).items():
            one.assign(mp.parameters(model)[name].value)
        return model, reference

    def test_equal_models_agree(self) -> None:
        model, reference = self.pairs()
        for a, b in ((model, reference), (reference, model), (model, model)):
            report = mp.verify(a, b, self.batch(3, 4))
            assert report.agrees, report
            assert report.first is None
            assert {"0", "2"} <= {name for name, _ in report.layers}
            assert "outputs agree" in str(report)

    def test_the_first_layer_that_diverges_is_named(self) -> None:
        model, reference = self.pairs()
        mp.parameters(reference)["0.bias"][:] += 1
        mp.parameters(reference)["2.bias"][:] += 1
        report = mp.verify(model, reference, np.ones((3, 4)))
        assert not report.agrees
        assert report.first == "0"
        assert dict(report.layers)["0"] == pytest.approx(1, rel=1e-5)
        assert "first to diverge: 0, by 1" in str(report)
        assert "0.bias differs by 1" in str(report)
        mp.parameters(model)["0.bias"][:] += 1
        assert mp.verify(model, reference, np.ones((3, 4))).first == "2"

    def test_a_layer_that_is_used_twice_pairs_by_its_calls(self) -> None:
        self.require(Capability.RUN)
        model = self.shared()
        report = mp.verify(model, model, self.batch(3, 4))
        assert report.agrees
        assert [name for name, _ in report.layers].count("2") == 2

    def test_watching_leaves_nothing_behind(self) -> None:
        model, reference = self.pairs()
        before = self.forward(model, self.batch(3, 4))
        with pytest.raises(Exception):  # noqa: B017, PT011 - the framework's own error about the shape
            mp.verify(model, reference, self.batch(3, 5))
        assert np.array_equal(self.forward(model, self.batch(3, 4)), before)
        assert mp.verify(model, reference, self.batch(3, 4)).agrees

    def test_wrong_uses_are_refused(self, tmp_path: Path) -> None:
        model, reference = self.pairs()
        with pytest.raises(mp.ArgumentError, match="needs a batch"):
            mp.verify(model, reference)
        with pytest.raises(mp.ArgumentError, match="pair of samples"):
            mp.verify(model, reference, native=(1, 2, 3))
        with pytest.raises(mp.ArgumentError, match="tolerance"):
            mp.verify(model, reference, self.batch(3, 4), tolerance="a")  # type: ignore[arg-type]
        with pytest.raises(mp.ArgumentError, match="tolerance"):
            mp.verify(model, reference, self.batch(3, 4), tolerance=-1)
        with pytest.raises(mp.ArgumentError, match="takes the place of x"):
            mp.verify(model, reference, self.batch(3, 4), native=(1, 2))
        with pytest.raises(mp.MismatchError, match="cannot be compared"):
            mp.verify(model, self.reference(4, 8, 2), self.batch(3, 4))
        with pytest.raises(mp.BackendError):
            mp.verify(model, "a model", self.batch(3, 4))

    def test_a_pair_of_samples_is_passed_on_as_it_is(self) -> None:
        model, reference = self.pairs()
        x = self.batch(3, 4)
        assert mp.verify(model, reference, native=(x, x)).agrees
        assert not mp.verify(model, reference, native=(x, x + 1)).agrees

    def test_nan_is_a_difference_with_a_reason(self) -> None:
        model, reference = self.pairs()
        mp.parameters(reference)["0.weight"][0, 0] = np.nan
        report = mp.verify(model, reference, self.batch(3, 4))
        assert not report.agrees
        assert (report.first, report.why) == ("0", ["0.weight differs by nan"])
        assert mp.verify(reference, reference, self.batch(3, 4)).agrees

    def test_a_batch_that_proves_little_is_said_to(self) -> None:
        model, reference = self.pairs()
        assert not mp.verify(model, reference, self.batch(3, 4)).weak
        report = mp.verify(model, reference, np.zeros((3, 4)))
        assert report.agrees
        assert any("all zeros" in one for one in report.weak)
        assert "this proves little" in str(report)

    def test_weights_that_the_outputs_do_not_show_are_told(self) -> None:
        model, reference = self.pairs()
        for one in (model, reference):
            mp.parameters(one)["0.bias"][:] = -20  # behind it all units are dead
        mp.parameters(reference)["0.weight"][0, 0] += 1
        report = mp.verify(model, reference, self.batch(3, 4))
        assert report.agrees
        assert [name for name, _ in report.weights] == ["0.weight"]
        assert "0" in report.passed
        assert any("are all 0" in one for one in report.weak)

    def test_outputs_are_compared_by_their_own_scale(self) -> None:
        model, reference = self.pairs()
        for one in (model, reference):
            mp.parameters(one)["2.weight"][:] *= 1e-7
            mp.parameters(one)["2.bias"][:] = 0
        assert mp.verify(model, reference, self.batch(3, 4)).agrees
        mp.parameters(reference)["2.weight"][:] *= 2
        report = mp.verify(model, reference, self.batch(3, 4))
        assert (report.agrees, report.first) == (False, "2")
