"""The layer table, both directions: weights go from each framework into each other, and outputs agree.

The cases are the kit's. PyTorch is the oracle: it reads the others' files by itself.
"""

import itertools

import numpy as np
import pytest
import safetensors.torch
import torch

import multiparam as mp
from multiparam.testing import layer_docs, parity

FRAMEWORKS = parity.frameworks()  # of the environment that the tests run in
LAYERS = {name: parity.layers_of(name) for name in FRAMEWORKS}

TOLERANCE = 1e-5
CASES = {**parity.CASES, **parity.NATIVE}
WAYS = [
    (case, source, target)
    for case in CASES
    for source, target in itertools.product(FRAMEWORKS, repeat=2)
    if case in LAYERS[source] and case in LAYERS[target]
]

# what cannot be represented, and why; anything else must go through
REFUSED = {
    **{
        ("GRU, native", source, "flax"): "no place for the hidden bias of the new gate"
        for source in ("torch", "keras", "linen", "paddle")
    },
    **{
        ("GRU, reset before the product", *way): "reset gate is applied before the hidden product"
        for other in ("torch", "paddle", "mxnet")
        for way in ((other, "keras"), ("keras", other))
    },
}
LACKING = {
    "torch": set(),
    "paddle": set(),
    "mxnet": {"MultiheadAttention, native"},
    "keras": {"Bilinear", *(f"ConvTranspose{rank}d, grouped" for rank in (1, 2, 3))},
    "flax": {
        *("Bilinear", "PReLU, per channel", "GRU, reset before the product"),
        *(f"ConvTranspose{rank}d, grouped" for rank in (1, 2, 3)),
    },
    # the same layers under NATIVE, for what it has: a Linen module is not built, but called in its own way
    "linen": {
        *("Bilinear", "PReLU, per channel", "GRU, reset before the product", "MultiheadAttention, kdim, vdim"),
        *(f"ConvTranspose{rank}d, grouped" for rank in (1, 2, 3)),
        *("SeparableConv1d", "SeparableConv2d"),
        *(case for case in parity.CASES if case.startswith(("RNN", "LSTM", "GRU"))),
    },
}


def test_no_framework_is_missing():
    assert sorted(FRAMEWORKS) in (["flax", "keras", "linen", "paddle", "torch"], ["keras", "mxnet", "paddle", "torch"])


def test_the_page_about_layers_says_what_the_tables_say():
    sections = {part.split("\n", 1)[0]: part for part in layer_docs.document(list(FRAMEWORKS)).split("\n## ")[1:]}
    assert list(sections) == list(CASES)
    assert "- `weight` (8, 4): `At('weight', axes=(1, 0))`" in sections["Linear"]
    assert "- `bias_hh_l0`: added to `bias_ih_l0`" in sections["LSTM, native"]
    assert "- `num_batches_tracked`: in files only" in sections["BatchNorm2d"]
    assert "settings: eps 1e-05, momentum 0.1" in sections["BatchNorm2d"]
    for framework in FRAMEWORKS:
        lacking = {case for case, text in sections.items() if f"**{framework}**: has none" in text}
        assert lacking == LACKING[framework]


def array(tensor):
    return tensor.detach().numpy() if isinstance(tensor, torch.Tensor) else np.asarray(tensor)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_each_framework_has_every_kind_but_those_known_to_lack(framework):
    assert set(CASES) - set(LAYERS[framework]) == LACKING[framework]


@pytest.mark.parametrize(("case", "source", "target"), WAYS, ids=lambda value: value)
def test_weights_go_there_and_back_and_outputs_agree(case, source, target):
    cell = parity.compare(CASES[case], (source, LAYERS[source][case]), (target, LAYERS[target][case]))
    if (case, source, target) in REFUSED:
        assert REFUSED[case, source, target] in cell.why
        return
    assert cell.difference is not None, cell.why
    assert cell.difference <= TOLERANCE
    two_biases = case.startswith(("LSTM", "RNN")) and "no bias" not in case
    kept = {"torch", "paddle", "mxnet"} | (set() if "native" in case else {"flax"})
    folds = two_biases and source in kept and target not in kept
    # Linen's GRU adds up the biases that its reset gate does not scale
    folds = folds or (case == "GRU, native" and target == "linen" and source in ("torch", "keras", "paddle"))
    assert cell.folded == folds
    assert cell.exact != cell.folded
    # Linen's own takes the batch first, and so another batch than the others of this case
    turned = (
        [("", "batch_first", *(side == "linen" for side in (source, target)))] if "linen" in (source, target) else []
    )
    assert list(cell.differences) == (turned if case == "MultiheadAttention" and source != target else [])


@pytest.mark.parametrize(
    ("case", "source"),
    [(case, source) for case in CASES for source in FRAMEWORKS if source != "torch" and case in LAYERS[source]],
)
def test_pytorch_takes_the_file_as_it_is(case, source, tmp_path):
    layer, reference = LAYERS[source][case], LAYERS["torch"][case]
    original = layer.make()
    parity.draw(original)
    mp.save(original, tmp_path / "file.safetensors")
    other = reference.make()
    if case == "GRU, reset before the product" and source == "keras":
        with pytest.raises(RuntimeError, match="Missing key"):
            other.load_state_dict(safetensors.torch.load_file(tmp_path / "file.safetensors"), strict=True)
        return
    other.load_state_dict(safetensors.torch.load_file(tmp_path / "file.safetensors"), strict=True)
    inputs = parity.inputs(CASES[case])
    with torch.no_grad():
        expected = other.eval()(*(torch.from_numpy(one) for one in inputs))
    expected = expected[0] if isinstance(expected, tuple) else expected
    given = layer.output(mp.run(original, tuple(layer.inputs(*inputs))))
    given = given[0] if isinstance(given, tuple) else given
    np.testing.assert_allclose(given, expected.numpy(), rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("case", parity.CASES)
def test_initialization_is_the_same_bits(case):
    values = []
    for made in LAYERS.values():
        if case in made:
            layer = made[case].make()
            mp.initialize(layer, mp.init.KaimingNormal(), seed=3)
            values.append({name: one.value for name, one in mp.parameters(layer).items()})
    for other in values[1:]:
        # what one framework folds into one tensor is exempt
        assert {name for name in values[0] if "bias_hh" not in name} <= other.keys() <= values[0].keys()
        assert all(np.array_equal(other[name], values[0][name]) for name in other)
