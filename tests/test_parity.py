"""The layer table, both directions: weights go from each framework into each other, and outputs agree.

PyTorch is the reference; its outputs are computed by PyTorch from the very file that the others read.
"""

import itertools

import jax.numpy as jnp
import keras
import numpy as np
import pytest
import safetensors.torch
import torch
from flax import nnx
from keras import layers
from torch import nn

import multiparam as mp

TOLERANCE = 1e-5


def rngs():
    return nnx.Rngs(np.random.randint(2**31))


def built(layer, channels, rank):
    layer.build((None, *(9,) * rank, channels))
    return layer


def conv(rank, groups=1, stride=1, dilation=1, outputs=8):
    where = ["", "1D", "2D", "3D"][rank]
    return {
        "torch": lambda: getattr(nn, f"Conv{rank}d")(4, outputs, 3, stride, groups=groups, dilation=dilation),
        "keras": lambda: built(
            getattr(layers, f"Conv{where}")(outputs, 3, stride, groups=groups, dilation_rate=dilation), 4, rank
        ),
        "flax": lambda: nnx.Conv(
            *(4, outputs, (3,) * rank, stride),
            padding="VALID",
            feature_group_count=groups,
            kernel_dilation=dilation,
            rngs=rngs(),
        ),
    }


def conv_transpose(rank, transpose_kernel, stride=2):
    where = ["", "1D", "2D", "3D"][rank]
    return {
        "torch": lambda: getattr(nn, f"ConvTranspose{rank}d")(4, 8, 3, stride),
        "keras": lambda: built(getattr(layers, f"Conv{where}Transpose")(8, 3, stride), 4, rank),
        "flax": lambda: nnx.ConvTranspose(
            *(4, 8, (3,) * rank, (stride,) * rank), padding="VALID", transpose_kernel=transpose_kernel, rngs=rngs()
        ),
    }


def norm(torch_layer, keras_layer, flax_layer):
    return {"torch": torch_layer, "keras": lambda: built(keras_layer(), 4, 2), "flax": flax_layer}


# kind -> (native layers by framework, the input's shape, channels first)
KINDS = {
    "Conv1d": (conv(1), (2, 4, 9)),
    "Conv2d": (conv(2), (2, 4, 9, 9)),
    "Conv2d strided, dilated": (conv(2, dilation=2), (2, 4, 9, 9)),
    "Conv2d grouped": (conv(2, groups=2, stride=2), (2, 4, 9, 9)),
    "Conv3d": (conv(3), (2, 4, 6, 7, 8)),
    "Conv2d depthwise": (
        {
            **conv(2, groups=4, outputs=12),
            "keras": lambda: built(layers.DepthwiseConv2D(3, depth_multiplier=3), 4, 2),
        },
        (2, 4, 9, 9),
    ),
    "Conv1d depthwise": (
        {
            **conv(1, groups=4, outputs=8),
            "keras": lambda: built(layers.DepthwiseConv1D(3, depth_multiplier=2), 4, 1),
        },
        (2, 4, 9),
    ),
    "ConvTranspose1d": (conv_transpose(1, transpose_kernel=True), (2, 4, 5)),
    "ConvTranspose2d": (conv_transpose(2, transpose_kernel=True), (2, 4, 5, 5)),
    "ConvTranspose2d, Flax's default": (conv_transpose(2, transpose_kernel=False), (2, 4, 5, 5)),
    "ConvTranspose3d": (conv_transpose(3, transpose_kernel=False, stride=1), (2, 4, 5, 5, 5)),
    "BatchNorm2d": (
        norm(
            lambda: nn.BatchNorm2d(4),
            lambda: layers.BatchNormalization(epsilon=1e-5),
            lambda: nnx.BatchNorm(4, epsilon=1e-5, rngs=rngs()),
        ),
        (2, 4, 5, 5),
    ),
    "GroupNorm": (
        norm(
            lambda: nn.GroupNorm(2, 4),
            lambda: layers.GroupNormalization(2, epsilon=1e-5),
            lambda: nnx.GroupNorm(4, num_groups=2, epsilon=1e-5, rngs=rngs()),
        ),
        (2, 4, 5, 5),
    ),
    "InstanceNorm2d": (
        norm(
            lambda: nn.InstanceNorm2d(4, affine=True),
            lambda: layers.GroupNormalization(-1, epsilon=1e-5),
            lambda: nnx.InstanceNorm(4, epsilon=1e-5, rngs=rngs()),
        ),
        (2, 4, 5, 5),
    ),
    "RMSNorm": (
        norm(
            lambda: nn.RMSNorm(4, eps=1e-6),
            lambda: layers.RMSNormalization(epsilon=1e-6),
            lambda: nnx.RMSNorm(4, epsilon=1e-6, rngs=rngs()),
        ),
        (7, 4),
    ),
    "PReLU": (
        {
            "torch": lambda: nn.PReLU(),
            "keras": lambda: built(layers.PReLU(shared_axes=[1, 2, 3]), 4, 2),
            "flax": lambda: nnx.PReLU(),
        },
        (2, 4, 5, 5),
    ),
    "PReLU per channel": (
        {"torch": lambda: nn.PReLU(4), "keras": lambda: built(layers.PReLU(shared_axes=[1, 2]), 4, 2)},
        (2, 4, 5, 5),
    ),
}
PAIRS = [
    (kind, source, target) for kind, (made, _) in KINDS.items() for source, target in itertools.product(made, repeat=2)
]


def last(x):
    return np.moveaxis(x, 1, -1)


def first(x):
    return np.moveaxis(np.asarray(x), -1, 1)


def forward(backend, layer, x):
    if backend == "torch":
        with torch.no_grad():
            return layer.eval()(torch.from_numpy(x)).numpy()
    if backend == "keras":
        return first(layer(np.ascontiguousarray(last(x)), training=False))
    layer.eval()
    return first(layer(jnp.asarray(last(x))))


def drawn(layer):
    """The layer with positive random numbers everywhere, running variances included."""
    for name, one in mp.state(layer).items():
        if one.dtype.kind == "f":
            one.assign(mp.init.Uniform(0.2, 1).values(1, name, one.shape))
    return layer


@pytest.mark.parametrize(("kind", "source", "target"), PAIRS, ids=lambda value: value)
def test_weights_go_there_and_back_and_outputs_agree(kind, source, target, tmp_path):
    made, shape = KINDS[kind]
    original, path = drawn(made[source]()), tmp_path / "there.safetensors"
    mp.save(original, path)
    other = made[target]()
    mp.load(path, into=other)
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    np.testing.assert_allclose(forward(target, other, x), forward(source, original, x), rtol=TOLERANCE, atol=TOLERANCE)
    mp.save(other, tmp_path / "back.safetensors")
    there, back = (safetensors.torch.load_file(tmp_path / name) for name in ("there.safetensors", "back.safetensors"))
    assert there.keys() == back.keys()
    assert all(torch.equal(there[name], back[name]) for name in there)


@pytest.mark.parametrize(
    ("kind", "source"),
    [(kind, source) for kind, (made, _) in KINDS.items() for source in made if source != "torch"],
)
def test_pytorch_takes_the_file_as_it_is(kind, source, tmp_path):
    made, shape = KINDS[kind]
    original = drawn(made[source]())
    mp.save(original, tmp_path / "file.safetensors")
    reference = made["torch"]()
    reference.load_state_dict(safetensors.torch.load_file(tmp_path / "file.safetensors"), strict=True)
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    np.testing.assert_allclose(
        forward(source, original, x), forward("torch", reference, x), rtol=TOLERANCE, atol=TOLERANCE
    )


@pytest.mark.parametrize("kind", KINDS)
def test_initialization_is_the_same_bits(kind):
    made, _ = KINDS[kind]
    values = []
    for make in made.values():
        layer = make()
        mp.initialize(layer, mp.init.KaimingNormal(), seed=3)
        values.append({name: one.value for name, one in mp.parameters(layer).items()})
    for other in values[1:]:
        assert other.keys() == values[0].keys()
        assert all(np.array_equal(other[name], values[0][name]) for name in other)


def test_a_shared_batch_norm_counts_its_batches_once(tmp_path):
    layer = built(layers.BatchNormalization(), 4, 2)
    model = keras.Sequential([layer, layers.ReLU(), layer])
    mp.save(model, tmp_path / "shared.safetensors")
    names = sorted(safetensors.torch.load_file(tmp_path / "shared.safetensors"))
    assert names == ["0.bias", "0.num_batches_tracked", "0.running_mean", "0.running_var", "0.weight"]
    mp.load(tmp_path / "shared.safetensors", into=model)


def test_a_convolutional_network_goes_from_pytorch_to_keras_and_flax(tmp_path):
    original = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.ConvTranspose2d(8, 3, 3))
    mp.initialize(original, mp.init.KaimingNormal(), seed=0)
    mp.save(original, tmp_path / "net.safetensors")
    others = {
        "keras": keras.Sequential(
            [
                keras.Input((9, 9, 3)),
                layers.Conv2D(8, 3),
                layers.BatchNormalization(epsilon=1e-5),
                layers.ReLU(),
                layers.Conv2DTranspose(3, 3),
            ]
        ),
        "flax": nnx.Sequential(
            nnx.Conv(3, 8, (3, 3), padding="VALID", rngs=rngs()),
            nnx.BatchNorm(8, rngs=rngs()),
            nnx.relu,
            nnx.ConvTranspose(8, 3, (3, 3), padding="VALID", rngs=rngs()),
        ),
    }
    x = np.random.default_rng(0).standard_normal((2, 3, 9, 9)).astype(np.float32)
    expected = forward("torch", original, x)
    for backend, model in others.items():
        mp.load(tmp_path / "net.safetensors", into=model)
        np.testing.assert_allclose(forward(backend, model, x), expected, rtol=1e-4, atol=TOLERANCE)
        other = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.ConvTranspose2d(8, 3, 3))
        mp.save(model, tmp_path / "back.safetensors")
        other.load_state_dict(safetensors.torch.load_file(tmp_path / "back.safetensors"), strict=True)
        assert np.array_equal(forward("torch", other, x), expected)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "Norm" in kind])
def test_other_settings_are_told_when_a_file_is_loaded(kind, tmp_path):
    made, _ = KINDS[kind]
    defaults = {
        "BatchNorm2d": layers.BatchNormalization,
        "GroupNorm": lambda: layers.GroupNormalization(2),
        "InstanceNorm2d": lambda: layers.GroupNormalization(-1),
        "RMSNorm": lambda: layers.RMSNormalization(epsilon=1e-3),
    }
    original = nn.Sequential(made["torch"]())
    mp.save(original, tmp_path / "file.safetensors")
    same = mp.load(tmp_path / "file.safetensors", into=nn.Sequential(made["torch"]()))
    assert same.differences == []
    eps = made["torch"]().eps
    report = mp.load(tmp_path / "file.safetensors", into=keras.Sequential([built(defaults[kind](), 4, 2)]))
    expected = [("0", "eps", eps, 1e-3)]
    if kind == "BatchNorm2d":
        expected.append(("0", "momentum", 0.1, pytest.approx(0.01)))
    assert report.differences == expected
    assert f"0 was saved with eps {eps}, and has 0.001 here" in str(report)


def test_forms_of_activations_are_told_too(tmp_path):
    mp.save(nn.Sequential(nn.GELU(), nn.LeakyReLU()), tmp_path / "file.safetensors")
    with mp.use("keras"):
        model = mp.nn.Sequential(mp.nn.GELU("tanh"), layers.LeakyReLU())
    report = mp.load(tmp_path / "file.safetensors", into=model)
    assert report.differences == [
        ("0", "approximate", "none", "tanh"),
        ("1", "negative_slope", 0.01, pytest.approx(0.3)),
    ]
