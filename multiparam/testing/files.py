"""Same file, nothing lost: what is saved by any backend is a PyTorch state_dict, and loads into any."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import multiparam as mp
from multiparam.adapter import Capability

from .models import NativeModels, same


class FileTests(NativeModels):
    """Save and load, read and written independently through safetensors' own numpy functions."""

    def test_a_saved_model_is_a_state_dict(self, tmp_path: Path) -> None:
        model = self.mlp()
        mp.save(model, tmp_path / "mlp.safetensors")
        assert same(load_file(tmp_path / "mlp.safetensors"), dict(self.raw_mlp(model)))
        with safe_open(tmp_path / "mlp.safetensors", "np") as file:
            assert file.metadata()["format"] == "pt"

    def test_transposed_layouts_are_written_as_they_are_read(self, tmp_path: Path) -> None:
        model = self.language_model()
        mp.save(model, tmp_path / "lm.safetensors")
        assert same(load_file(tmp_path / "lm.safetensors"), dict(self.raw_language_model(model)))

    def test_a_clone_computes_the_same_to_the_bit(self, tmp_path: Path) -> None:
        for name in ("mlp", "named", "nested", "shared", "containers", "buffered"):
            model, clone = getattr(self, name)(), getattr(self, name)()
            mp.save(model, tmp_path / "model.safetensors")
            report = mp.load(tmp_path / "model.safetensors", into=clone)
            assert same(self.snapshot(model), self.snapshot(clone))
            for other in (model, tmp_path / "model.safetensors"):
                assert mp.diff(other, clone).equal, mp.diff(other, clone)
                assert mp.diff(clone, other).same == len(report.loaded)
            assert sorted(report.loaded) == sorted(mp.state(clone))
            x = self.batch(3, 4)
            assert np.array_equal(self.forward(model, x), self.forward(clone, x))

    def test_a_file_of_the_reference_backend_computes_the_same(self, tmp_path: Path) -> None:
        reference, model = self.reference(4, 8, 1), self.mlp()
        mp.save(reference, tmp_path / "reference.safetensors")
        mp.load(tmp_path / "reference.safetensors", into=model)
        x = self.batch(16, 4)
        np.testing.assert_allclose(self.forward(model, x), mp.run(reference, x), rtol=1e-5, atol=1e-5)
        mp.save(model, tmp_path / "back.safetensors")
        assert same(load_file(tmp_path / "reference.safetensors"), load_file(tmp_path / "back.safetensors"))

    def test_ties_are_stored_once_and_restored(self, tmp_path: Path) -> None:
        self.require(Capability.TIE_TRANSPOSED)
        model = self.language_model()
        mp.tie(model, "head.weight", to="embedding.weight")
        mp.save(model, tmp_path / "tied.safetensors")
        assert list(load_file(tmp_path / "tied.safetensors")) == ["embedding.weight"]
        with safe_open(tmp_path / "tied.safetensors", "np") as file:
            assert json.loads(file.metadata()["multiparam"])["ties"] == [["embedding.weight", "head.weight"]]
        clone = self.language_model()
        report = mp.load(tmp_path / "tied.safetensors", into=clone)
        assert report.tied == [("embedding.weight", "head.weight")]
        assert mp.tied(clone) == [("embedding.weight", "head.weight")]
        index = np.array([[0, 6, 3]])
        assert np.array_equal(self.forward(model, index), self.forward(clone, index))

    def test_a_shared_layer_is_stored_once(self, tmp_path: Path) -> None:
        mp.save(self.shared(), tmp_path / "shared.safetensors")
        expected = ["0.bias", "0.weight", "2.bias", "2.weight", "6.bias", "6.weight"]
        assert sorted(load_file(tmp_path / "shared.safetensors")) == expected

    def test_tied_names_that_differ_in_the_file_are_refused(self, tmp_path: Path) -> None:
        model = self.shared()
        tensors = {name: value.copy() for name, value in self.snapshot(model).items()}
        tensors |= {f"4.{role}": tensors[f"2.{role}"].copy() for role in ("weight", "bias")}
        save_file(tensors, tmp_path / "equal.safetensors")
        mp.load(tmp_path / "equal.safetensors", into=model)
        tensors["4.weight"] += 1
        save_file(tensors, tmp_path / "unequal.safetensors")
        before = self.snapshot(model)
        with pytest.raises(mp.MismatchError, match="one tied parameter"):
            mp.load(tmp_path / "unequal.safetensors", into=model)
        assert same(self.snapshot(model), before)

    def test_every_difference_is_named_at_once_and_nothing_written(self, tmp_path: Path) -> None:
        model = self.mlp()
        tensors: dict[str, Any] = {name: value.copy() + 1 for name, value in self.snapshot(model).items()}
        del tensors["2.bias"]
        tensors["2.weight"] = tensors["2.weight"].T.copy()
        tensors["0.bias"] = np.arange(8)
        tensors["3.bias"] = np.ones(1, np.float32)
        save_file(tensors, tmp_path / "wrong.safetensors")
        before = self.snapshot(model)
        with pytest.raises(mp.MismatchError) as caught:
            mp.load(tmp_path / "wrong.safetensors", into=model)
        report = caught.value.report
        assert list(report.missing) == ["2.bias"]
        assert list(report.unexpected) == ["3.bias"]
        assert report.misshaped == [("2.weight", (1, 8), (8, 1))]
        assert [name for name, *_ in report.mistyped] == ["0.bias"]
        assert "nothing was written" in str(caught.value)
        assert same(self.snapshot(model), before)

    def test_a_partial_load_says_what_it_left(self, tmp_path: Path) -> None:
        model = self.mlp()
        save_file({"0.weight": np.ones((8, 4), np.float32), "head": np.ones(2)}, tmp_path / "part.safetensors")
        before = self.snapshot(model)
        report = mp.load(tmp_path / "part.safetensors", into=model, strict=False)
        assert report.loaded == ["0.weight"]
        assert report.missing == ["0.bias", "2.weight", "2.bias"]
        assert report.unexpected == ["head"]
        assert (self.snapshot(model)["0.weight"] == 1).all()
        assert np.array_equal(self.snapshot(model)["2.weight"], before["2.weight"])

    def test_names_can_be_changed_on_the_way(self, tmp_path: Path) -> None:
        model = self.mlp()
        values = {f"module.{name}": np.ones(value.shape, value.dtype) for name, value in self.snapshot(model).items()}
        save_file(values, tmp_path / "wrapped.safetensors")
        mp.load(tmp_path / "wrapped.safetensors", into=model, rename={r"^module\.": ""})
        assert all((value == 1).all() for value in self.snapshot(model).values())
        mp.load(tmp_path / "wrapped.safetensors", into=model, rename=lambda name: name.partition(".")[2])

    def test_what_wrappers_put_before_names_is_taken_away(self, tmp_path: Path) -> None:
        model = self.mlp()
        for wrapped in ({"0.": "module.0.", "2.": "module.2."}, {"0.": "0._orig_mod.", "2.": "2."}):
            values = {
                f"{wrapped[name[:2]]}{name[2:]}": np.full(value.shape, len(wrapped["0."]), value.dtype)
                for name, value in self.snapshot(model).items()
            }
            save_file(values, tmp_path / "wrapped.safetensors")
            report = mp.load(tmp_path / "wrapped.safetensors", into=model)
            assert (len(report.loaded), len(report.notes)) == (4, 1)
            assert all((value == len(wrapped["0."])).all() for value in self.snapshot(model).values())
            values = {name: value for name, value in values.items() if name != f"{wrapped['2.']}bias"}
            save_file(values, tmp_path / "wrapped.safetensors")
            with pytest.raises(mp.MismatchError, match=r"missing: 0\.weight"):  # then nothing is known of wrappers
                mp.load(tmp_path / "wrapped.safetensors", into=model)

    def test_layers_of_other_names_are_found_by_what_they_hold(self, tmp_path: Path) -> None:
        model = self.mlp()
        before = {name: one.copy() for name, one in self.snapshot(model).items()}
        renamed = {name.replace("0.", "fc1.").replace("2.", "fc2."): one for name, one in before.items()}
        save_file({name: one + 1 for name, one in renamed.items()}, tmp_path / "other.safetensors")
        with pytest.raises(mp.MismatchError, match="match='auto' pairs fc1 with 0, fc2 with 2"):
            mp.load(tmp_path / "other.safetensors", into=model)
        report = mp.load(tmp_path / "other.safetensors", into=model, match="auto")
        assert report.matched == [("fc1", "0"), ("fc2", "2")]
        assert same(self.snapshot(model), {name: one + 1 for name, one in before.items()})

    def test_what_differs_is_told(self, tmp_path: Path) -> None:
        model, reference = self.mlp(), self.reference(4, 8, 1)
        for name, one in mp.parameters(reference).items():
            one.assign(mp.parameters(model)[name].value)
        assert mp.diff(model, reference).equal, mp.diff(model, reference)
        mp.parameters(model)["2.bias"][:] += 1
        mp.save(reference, tmp_path / "reference.safetensors")
        for other in (reference, tmp_path / "reference.safetensors"):
            report = mp.diff(model, other)
            assert [name for name, _ in report.changed] == ["2.bias"]
            assert report.changed[0][1] == pytest.approx(1, rel=1e-5)
            assert report.same == 3

    def test_a_tie_of_one_only_is_told(self, tmp_path: Path) -> None:
        model = self.shared()
        values: dict[str, Any] = dict(self.snapshot(model))
        values |= {f"4.{role}": values[f"2.{role}"] for role in ("weight", "bias")}
        mp.save(values, tmp_path / "apart.safetensors")
        report = mp.diff(model, tmp_path / "apart.safetensors")
        assert sorted(report.ties) == [(("2.bias", "4.bias"), "a"), (("2.weight", "4.weight"), "a")]
        assert not any((report.changed, report.added, report.removed))

    def test_other_widths_are_converted_and_said(self, tmp_path: Path) -> None:
        model = self.mlp()
        values = {name: value.astype(np.float64) for name, value in self.snapshot(model).items()}
        save_file(values, tmp_path / "wide.safetensors")
        report = mp.load(tmp_path / "wide.safetensors", into=model)
        assert [name for name, *_ in report.converted] == list(mp.parameters(model))
        assert mp.parameters(model)["0.weight"].dtype == np.float32

    def test_tensors_lists_and_dicts_come_back_as_such(self, tmp_path: Path) -> None:
        with mp.use(self.backend):
            tensor = self.adapter.tensor(np.arange(6, dtype=np.float32).reshape(2, 3))
            other = self.adapter.tensor(np.arange(4, dtype=np.int32))
            for thing in (tensor, [tensor, other], {"x": tensor, "y.z": other}, [], {}):
                mp.save(thing, tmp_path / "thing.safetensors")
                back = mp.load(tmp_path / "thing.safetensors")
                assert isinstance(back, type(thing))
                pairs = zip(_tensors(thing), _tensors(back), strict=True)
                assert len(_tensors(thing)) == len(_tensors(back))
                for saved, loaded in pairs:
                    first, second = self.adapter.array(saved), self.adapter.array(loaded)
                    assert self.adapter.is_tensor(loaded)
                    assert (first.dtype, first.shape, first.tobytes()) == (second.dtype, second.shape, second.tobytes())

    def test_a_model_file_without_a_model_is_a_dict(self, tmp_path: Path) -> None:
        model = self.mlp()
        mp.save(model, tmp_path / "mlp.safetensors")
        back = mp.load(tmp_path / "mlp.safetensors", backend=self.backend)
        assert {name: self.adapter.array(one).shape for name, one in back.items()} == {
            name: one.shape for name, one in mp.parameters(model).items()
        }


def _tensors(thing: Any) -> list[Any]:
    if isinstance(thing, dict):
        return [thing[name] for name in sorted(thing)]
    return list(thing) if isinstance(thing, list) else [thing]
