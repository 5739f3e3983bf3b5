"""Rules beside the initializers of the frameworks that they are the counterparts of."""

import jax
import keras
import numpy as np
import pytest
import torch
from scipy import stats

import multiparam as mp

SHAPE = (200, 300)  # canonical: 300 inputs, 200 outputs


def by_torch(name, **options):
    def make():
        torch.manual_seed(0)
        return getattr(torch.nn.init, name)(torch.empty(SHAPE), **options).numpy()

    return make


def by_keras(name, **options):
    return lambda: np.asarray(getattr(keras.initializers, name)(seed=0, **options)(SHAPE[::-1])).T


def by_jax(name, *arguments, **options):
    make = getattr(jax.nn.initializers, name)
    return lambda: np.asarray(make(*arguments, **options)(jax.random.key(0), SHAPE[::-1])).T


COUNTERPARTS = {
    "torch uniform": (mp.init.Uniform(-2, 3), by_torch("uniform_", a=-2, b=3)),
    "torch normal": (mp.init.Normal(0.5, 2), by_torch("normal_", mean=2, std=0.5)),
    "torch trunc_normal": (
        mp.init.TruncatedNormal(1.5, 0.5, -2, 2),
        by_torch("trunc_normal_", mean=0.5, std=1.5, a=-2, b=2),
    ),
    "torch xavier_uniform": (mp.init.XavierUniform(2.0), by_torch("xavier_uniform_", gain=2.0)),
    "torch xavier_normal": (mp.init.XavierNormal(), by_torch("xavier_normal_")),
    "torch kaiming_uniform": (mp.init.KaimingUniform(a=5**0.5), by_torch("kaiming_uniform_", a=5**0.5)),
    "torch kaiming_normal": (
        mp.init.KaimingNormal(mode="fan_out", nonlinearity="relu"),
        by_torch("kaiming_normal_", mode="fan_out", nonlinearity="relu"),
    ),
    "keras random_uniform": (mp.init.Uniform(-0.05, 0.05), by_keras("RandomUniform")),
    "keras random_normal": (mp.init.Normal(0.05), by_keras("RandomNormal")),
    "keras truncated_normal": (mp.init.TruncatedNormal(0.05), by_keras("TruncatedNormal")),
    "keras variance_scaling": (
        mp.init.VarianceScaling(2.0, "fan_avg", "untruncated_normal"),
        by_keras("VarianceScaling", scale=2.0, mode="fan_avg", distribution="untruncated_normal"),
    ),
    "keras glorot_uniform": (mp.init.XavierUniform(), by_keras("GlorotUniform")),
    "keras glorot_normal": (mp.init.VarianceScaling(1.0, "fan_avg"), by_keras("GlorotNormal")),
    "keras he_normal": (mp.init.VarianceScaling(2.0), by_keras("HeNormal")),
    "keras he_uniform": (mp.init.KaimingUniform(), by_keras("HeUniform")),
    "keras lecun_normal": (mp.init.LecunNormal(), by_keras("LecunNormal")),
    "keras lecun_uniform": (mp.init.LecunUniform(), by_keras("LecunUniform")),
    "jax uniform": (mp.init.Uniform(0, 0.01), by_jax("uniform")),
    "jax normal": (mp.init.Normal(0.01), by_jax("normal")),
    "jax truncated_normal": (mp.init.TruncatedNormal(0.01), by_jax("truncated_normal")),
    "jax variance_scaling": (
        mp.init.VarianceScaling(0.5, "fan_out", "uniform"),
        by_jax("variance_scaling", 0.5, "fan_out", "uniform"),
    ),
    "jax glorot_normal": (mp.init.VarianceScaling(1.0, "fan_avg"), by_jax("glorot_normal")),
    "jax glorot_uniform": (mp.init.XavierUniform(), by_jax("glorot_uniform")),
    "jax he_normal": (mp.init.VarianceScaling(2.0), by_jax("he_normal")),
    "jax he_uniform": (mp.init.KaimingUniform(), by_jax("he_uniform")),
    "jax lecun_normal": (mp.init.LecunNormal(), by_jax("lecun_normal")),
    "jax lecun_uniform": (mp.init.LecunUniform(), by_jax("lecun_uniform")),
}


@pytest.mark.parametrize("what", COUNTERPARTS)
def test_the_distribution_is_the_frameworks(what):
    rule, make = COUNTERPARTS[what]
    ours, theirs = rule.values(0, "w", SHAPE).ravel().astype(float), make().ravel().astype(float)
    assert stats.ks_2samp(ours, theirs).pvalue > 0.001
    assert ours.mean() == pytest.approx(theirs.mean(), abs=float(0.02 * theirs.std()))
    assert ours.std() == pytest.approx(theirs.std(), rel=0.01)
    if np.abs(theirs).max() < 2.5 * theirs.std() + abs(theirs.mean()):  # it has bounds
        assert np.abs(ours).max() == pytest.approx(np.abs(theirs).max(), rel=0.01)


@pytest.mark.parametrize("shape", [(5, 8), (8, 5), (4, 3, 2, 2), (6, 2, 2)])
def test_orthogonal_is_orthogonal(shape):
    value = mp.init.Orthogonal(gain=3).values(0, "w", shape).reshape(shape[0], -1)
    product = value @ value.T if shape[0] <= value.shape[1] else value.T @ value
    np.testing.assert_allclose(product, 9 * np.eye(len(product)), atol=1e-5)
    theirs = torch.nn.init.orthogonal_(torch.empty(shape), gain=3).numpy()
    assert value.std() == pytest.approx(theirs.std(), rel=0.2)


def test_orthogonal_matrices_have_no_preferred_sign():
    signs = [np.sign(mp.init.Orthogonal().values(seed, "w", (3, 3))[0, 0]) for seed in range(200)]
    assert abs(sum(signs)) < 50


@pytest.mark.parametrize(
    ("shape", "groups"), [((4, 4, 3), 1), ((6, 2, 3, 3), 1), ((6, 3, 3, 2), 2), ((2, 5, 3, 3, 3), 1)]
)
def test_dirac_is_pytorchs(shape, groups):
    expected = torch.nn.init.dirac_(torch.empty(shape), groups).numpy()
    assert np.array_equal(mp.init.Dirac(groups).values(0, "w", shape), expected)


def test_identity_is_pytorchs():
    for shape in ((3, 3), (2, 4)):
        expected = torch.nn.init.eye_(torch.empty(shape)).numpy()
        assert np.array_equal(mp.init.Identity().values(0, "w", shape), expected)


def test_sparse_is_pytorchs():
    ours = mp.init.Sparse(0.3, std=0.5).values(0, "w", SHAPE)
    theirs = torch.nn.init.sparse_(torch.empty(SHAPE), 0.3, std=0.5).numpy()
    assert ((ours == 0).sum(0) == (theirs == 0).sum(0)).all()
    assert stats.ks_2samp(ours[ours != 0], theirs[theirs != 0]).pvalue > 0.001


@pytest.mark.parametrize(
    ("rule", "shape"),
    [
        (mp.init.Orthogonal(), (3,)),
        (mp.init.Identity(), (3, 3, 3)),
        (mp.init.Dirac(), (3, 3)),
        (mp.init.Dirac(2), (3, 3, 3)),
        (mp.init.Sparse(0.5), (3,)),
        (mp.init.LecunNormal(), (3,)),
    ],
)
def test_a_rule_is_undefined_for_other_shapes(rule, shape):
    with pytest.raises(mp.ArgumentError):
        rule.check(shape)


@pytest.mark.parametrize(
    "make",
    [
        lambda: mp.init.TruncatedNormal(-1),
        lambda: mp.init.TruncatedNormal(1, 0, 2, 1),
        lambda: mp.init.TruncatedNormal(1, 0, 5, 6),
        lambda: mp.init.VarianceScaling(0),
        lambda: mp.init.VarianceScaling(1, "fan"),
        lambda: mp.init.VarianceScaling(1, "fan_in", "normal"),
        lambda: mp.init.Dirac(0),
        lambda: mp.init.Sparse(2),
    ],
)
def test_wrong_arguments_are_refused(make):
    with pytest.raises(mp.ArgumentError):
        make()
