"""Weights that PyTorch computes from other parameters: what a rule means for them."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

import multiparam as mp

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated:FutureWarning")
WAYS = [parametrizations.weight_norm, nn.utils.weight_norm]


class Symmetric(nn.Module):
    def forward(self, x):
        return x.triu() + x.triu(1).mT

    def right_inverse(self, x):
        return x.triu()


class Doubled(nn.Module):
    def forward(self, x):
        return 2 * x


@pytest.mark.parametrize("wrap", WAYS)
@pytest.mark.parametrize(
    "make", [lambda: nn.Linear(6, 5), lambda: nn.Conv2d(4, 6, 3, groups=2), lambda: nn.ConvTranspose1d(4, 6, 3)]
)
@pytest.mark.parametrize("rule", [mp.init.XavierUniform(), mp.init.Zeros(), "pytorch", "flax", {"*": mp.init.Normal()}])
def test_a_weight_normed_layer_gets_the_numbers_of_one_without(wrap, make, rule):
    plain, normed = nn.Sequential(make()), nn.Sequential(wrap(make()))
    for net in (plain, normed):
        report = mp.initialize(net, rule, seed=3)
    assert {name for name, *_ in report} == {"0.weight", "0.bias"}
    normed[0].train()
    x = torch.randn(2, *((6,) if isinstance(plain[0], nn.Linear) else (4, 9, 9)[: plain[0].weight.ndim - 1]))
    torch.testing.assert_close(normed(x), plain(x))
    torch.testing.assert_close(normed[0].weight, plain[0].weight)


@pytest.mark.parametrize("pattern", ["0.parametrizations.weight.original0", "*.original0"])
def test_a_pattern_that_matches_an_original_only_sets_that(pattern):
    net = nn.Sequential(parametrizations.weight_norm(nn.Linear(6, 5)))
    before = net[0].parametrizations.weight.original1.detach().clone()
    report = mp.initialize(net, {pattern: mp.init.Constant(3)})
    assert [name for name, *_ in report] == ["0.parametrizations.weight.original0"]
    assert (net[0].parametrizations.weight.original0 == 3).all()
    assert torch.equal(net[0].parametrizations.weight.original1, before)
    with pytest.raises(mp.ArgumentError, match="both"):
        mp.initialize(net, {pattern: mp.init.Constant(3), "0.weight": mp.init.Ones()})


def test_what_cannot_be_computed_is_refused_and_nothing_changes():
    cases = {
        "SpectralNorm": parametrizations.spectral_norm(nn.Linear(4, 4)),
        "Doubled": nn.Linear(4, 4),
        "Symmetric": nn.Linear(4, 4),
        "RandomUnstructured": prune.random_unstructured(nn.Linear(4, 4), "weight", amount=0.5),
    }
    parametrize.register_parametrization(cases["Doubled"], "weight", Doubled())
    parametrize.register_parametrization(cases["Symmetric"], "weight", Symmetric())
    for what, layer in cases.items():
        net = nn.Sequential(nn.Linear(4, 4), layer)
        before = {name: one.clone() for name, one in net.state_dict().items()}
        with pytest.raises(mp.ArgumentError, match=rf"'1\.weight' is computed by {what}"):
            mp.initialize(net, mp.init.Normal(), seed=0)
        assert all(torch.equal(one, before[name]) for name, one in net.state_dict().items()), what
    net = nn.Sequential(cases["Symmetric"])
    mp.initialize(net, lambda shape, rng: np.ones(shape), seed=0)
    assert (net[0].weight == 1).all()


def test_an_orthogonal_rule_fits_an_orthogonal_parametrization():
    net = nn.Sequential(parametrizations.orthogonal(nn.Linear(5, 5)))
    mp.initialize(net, mp.init.Orthogonal(), seed=0)
    expected = mp.init.Orthogonal().values(0, "0.weight", (5, 5))
    np.testing.assert_allclose(net[0].weight.detach().numpy(), expected, atol=1e-5)
    with pytest.raises(mp.ArgumentError, match="computed by"):
        mp.initialize(net, mp.init.Normal(), seed=0)
