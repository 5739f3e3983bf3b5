"""Whole published model classes: no architecture needs code of its own.

Every family of `keras.applications`, what PyTorch's users write, and the models of Flax's examples. One pair of a model
serves four promises. Then two networks, a ResNet-18 and a transformer, written as one writes them in each framework: a
file goes round all of them.
"""

import inspect
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import flax.linen as linen
import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
import torch
from flax import nnx
from keras import layers, ops
from multiparam_linen import Linen
from torch import nn
from torch.nn import functional

import multiparam as mp

# Keras's own convert_to_numpy and get_weights do this with numpy 2.4; multiparam's adapter uses neither
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

IMAGE = np.random.default_rng(0).standard_normal((1, 32, 32, 3)).astype(np.float32)
TOKENS = np.random.default_rng(1).integers(0, 50, (2, 7))


def first(images):
    """The channels first, as PyTorch has them."""
    return np.ascontiguousarray(np.moveaxis(images, -1, 1))


@dataclass
class Published:
    """A model class, and what its framework itself says of it.

    Attributes:
        make: makes one of its own initialization by a seed.
        forward: the framework's own forward pass on a batch.
        natives: the framework's own weights as it lists them, shared ones once.
        recipe: the framework's own initialization.
        own: rules for the tensors that no layer of the table has, by pattern.
    """

    make: Callable[[int], Any]
    forward: Callable[[Any], Any]
    natives: Callable[[Any], list[Any]]
    recipe: str
    own: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Half of the time is spent on compiling what runs once."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


# --- Keras ---------------------------------------------------------------------------------------------------------


def application(name, size=32, own=None, **options):
    images = np.random.default_rng(0).uniform(0, 255, (1, size, size, 3)).astype(np.float32)

    def make(seed):
        keras.utils.set_random_seed(seed)
        return getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3), **options)

    def forward(model):
        return np.asarray(model(images, training=False))

    return Published(make, forward, lambda model: [np.array(one) for one in model.weights], "keras", own or {})


TOP = {"classes": 10, "classifier_activation": None}

KERAS = {
    "ConvNeXtTiny": application("ConvNeXtTiny", own={"*.gamma": mp.init.Constant(1e-1)}, **TOP),
    "DenseNet121": application("DenseNet121", **TOP),
    "EfficientNetB0": application("EfficientNetB0", **TOP),
    "EfficientNetV2B0": application("EfficientNetV2B0", **TOP),
    "InceptionResNetV2": application("InceptionResNetV2", 75, **TOP),
    "InceptionV3": application("InceptionV3", 75, **TOP),
    "MobileNet": application("MobileNet", **TOP),
    "MobileNetV2": application("MobileNetV2", **TOP),
    "MobileNetV3Small": application("MobileNetV3Small", **TOP),
    "NASNetMobile": application("NASNetMobile", **TOP),
    "ResNet50": application("ResNet50", **TOP),
    "ResNet50V2": application("ResNet50V2", **TOP),
    "VGG16": application("VGG16", include_top=False),
    "VGG19": application("VGG19", include_top=False),
    "Xception": application("Xception", 71, **TOP),
}


# --- PyTorch -------------------------------------------------------------------------------------------------------


class BasicBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(out)) + identity)


class ResNet18(nn.Module):
    """As torchvision has it."""

    def __init__(self, classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        self.layer1 = nn.Sequential(BasicBlock(64, 64, 1), BasicBlock(64, 64, 1))
        self.layer2 = nn.Sequential(BasicBlock(64, 128, 2), BasicBlock(128, 128, 1))
        self.layer3 = nn.Sequential(BasicBlock(128, 256, 2), BasicBlock(256, 256, 1))
        self.layer4 = nn.Sequential(BasicBlock(256, 512, 2), BasicBlock(512, 512, 1))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(512, classes)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class LanguageModel(nn.Module):
    """PyTorch's word language model, its head tied to its embedding."""

    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.2)
        self.encoder = nn.Embedding(50, 24)
        self.rnn = nn.LSTM(24, 24, num_layers=2, dropout=0.2)
        self.decoder = nn.Linear(24, 50)
        self.decoder.weight = self.encoder.weight

    def forward(self, tokens):
        output, _ = self.rnn(self.drop(self.encoder(tokens)))
        return functional.log_softmax(self.decoder(self.drop(output)), -1)


class DoubleConv(nn.Sequential):
    def __init__(self, inputs, outputs):
        super().__init__(
            *(nn.Conv2d(inputs, outputs, 3, padding=1), nn.GroupNorm(4, outputs), nn.SiLU()),
            *(nn.Conv2d(outputs, outputs, 3, padding=1), nn.GroupNorm(4, outputs), nn.SiLU()),
        )


class UNet(nn.Module):
    def __init__(self, widths=(8, 16, 32)):
        super().__init__()
        pairs = list(itertools.pairwise(widths))
        self.stem = DoubleConv(3, widths[0])
        self.downs = nn.ModuleList(nn.Sequential(nn.MaxPool2d(2), DoubleConv(low, high)) for low, high in pairs)
        self.ups = nn.ModuleDict()
        for level, (low, high) in reversed(list(enumerate(pairs))):
            self.ups[f"up{level}"] = nn.ConvTranspose2d(high, low, 2, 2)
            self.ups[f"conv{level}"] = DoubleConv(2 * low, low)
        self.head = nn.Conv2d(widths[0], 2, 1)

    def forward(self, x):
        kept = [self.stem(x)]
        for down in self.downs:
            kept.append(down(kept[-1]))
        x = kept.pop()
        for level in reversed(range(len(kept))):
            x = self.ups[f"conv{level}"](torch.cat([kept[level], self.ups[f"up{level}"](x)], 1))
        return self.head(x)


def of_torch(module, *batch, **options):
    def make(seed):
        torch.manual_seed(seed)
        return module(**options)

    def forward(model):
        with torch.no_grad():
            return model.eval()(*(torch.from_numpy(one) for one in batch)).numpy()

    def natives(model):
        unique = {one.data_ptr(): one for one in model.state_dict().values()}
        return [one.numpy().copy() for one in unique.values()]

    return Published(make, forward, natives, "pytorch")


SEQUENCE = np.random.default_rng(2).standard_normal((5, 2, 32)).astype(np.float32)
SMALL = {"d_model": 32, "nhead": 4, "dim_feedforward": 64}


def encoder():
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(**SMALL), 3, nn.LayerNorm(32), enable_nested_tensor=False)


TORCH = {
    "ResNet18": of_torch(ResNet18, first(IMAGE)),
    "Transformer": of_torch(
        nn.Transformer, SEQUENCE, SEQUENCE[:, :3], num_encoder_layers=2, num_decoder_layers=2, batch_first=True, **SMALL
    ),
    "TransformerEncoder": of_torch(encoder, SEQUENCE),
    "LanguageModel": of_torch(LanguageModel, TOKENS),
    "UNet": of_torch(UNet, first(IMAGE)),
}


# --- Flax NNX ------------------------------------------------------------------------------------------------------


class CNN(nnx.Module):
    """Of the MNIST tutorial."""

    def __init__(self, *, rngs):
        self.conv1 = nnx.Conv(1, 32, kernel_size=(3, 3), rngs=rngs)
        self.batch_norm1 = nnx.BatchNorm(32, rngs=rngs)
        self.dropout1 = nnx.Dropout(rate=0.025, rngs=rngs)
        self.conv2 = nnx.Conv(32, 64, kernel_size=(3, 3), rngs=rngs)
        self.batch_norm2 = nnx.BatchNorm(64, rngs=rngs)
        self.avg_pool = partial(nnx.avg_pool, window_shape=(2, 2), strides=(2, 2))
        self.linear1 = nnx.Linear(3136, 256, rngs=rngs)
        self.dropout2 = nnx.Dropout(rate=0.025, rngs=rngs)
        self.linear2 = nnx.Linear(256, 10, rngs=rngs)

    def __call__(self, x):
        x = self.avg_pool(nnx.relu(self.batch_norm1(self.dropout1(self.conv1(x)))))
        x = self.avg_pool(nnx.relu(self.batch_norm2(self.conv2(x))))
        x = nnx.relu(self.dropout2(self.linear1(x.reshape(x.shape[0], -1))))
        return self.linear2(x)


class MlpBlock(nnx.Module):
    def __init__(self, features, *, rngs):
        self.linear1 = nnx.Linear(features, 2 * features, rngs=rngs)
        self.linear2 = nnx.Linear(2 * features, features, rngs=rngs)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)

    def __call__(self, x):
        return self.dropout(self.linear2(self.dropout(nnx.relu(self.linear1(x)))))


class DecoderBlock(nnx.Module):
    def __init__(self, features, *, rngs):
        self.ln1 = nnx.LayerNorm(features, rngs=rngs)
        self.ln2 = nnx.LayerNorm(features, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(
            *(4, features),
            kernel_init=nnx.initializers.xavier_uniform(),
            use_bias=False,
            dropout_rate=0.1,
            decode=False,
            rngs=rngs,
        )
        self.mlp = MlpBlock(features, rngs=rngs)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)

    def __call__(self, x, mask):
        x = x + self.dropout(self.attention(self.ln1(x), mask=mask))
        return x + self.mlp(self.ln2(x))


class Lm1b(nnx.Module):
    """Of the lm1b example: blocks set by name, logits through the embedding."""

    def __init__(self, *, rngs):
        self.embed = nnx.Embed(50, 32, rngs=rngs)
        self.pos_embedding = nnx.Param(jax.random.normal(rngs.params(), (1, 16, 32)))
        for layer in range(2):
            setattr(self, f"encoderdecoderblock_{layer}", DecoderBlock(32, rngs=rngs))
        self.encoderdecoder_norm = nnx.LayerNorm(32, rngs=rngs)

    def __call__(self, tokens):
        x = self.embed(tokens) + self.pos_embedding[:, : tokens.shape[1]]
        for layer in range(2):
            x = getattr(self, f"encoderdecoderblock_{layer}")(x, nnx.make_causal_mask(tokens))
        return self.embed.attend(self.encoderdecoder_norm(x)) / math.sqrt(32)


class Loss(nnx.Variable):
    pass


class Encoder(nnx.Module):
    """Of the VAE example: it leaves its loss behind, and draws from the generator that it holds."""

    def __init__(self, din, dmid, dout, *, rngs):
        self.linear1 = nnx.Linear(din, dmid, rngs=rngs)
        self.linear_mean = nnx.Linear(dmid, dout, rngs=rngs)
        self.linear_std = nnx.Linear(dmid, dout, rngs=rngs)
        self.rngs = rngs

    def __call__(self, x):
        x = nnx.relu(self.linear1(x.reshape(x.shape[0], -1)))
        mean, std = self.linear_mean(x), jnp.exp(self.linear_std(x))
        self.kl_loss = Loss(jnp.mean(0.5 * jnp.sum(-jnp.log(std**2) - 1.0 + std**2 + mean**2, axis=-1)))
        return mean + std * jax.random.normal(self.rngs.noise(), mean.shape)


class Decoder(nnx.Module):
    def __init__(self, din, dmid, dout, *, rngs):
        self.linear1 = nnx.Linear(din, dmid, rngs=rngs)
        self.linear2 = nnx.Linear(dmid, dout, rngs=rngs)

    def __call__(self, z):
        return self.linear2(nnx.relu(self.linear1(z)))


class VAE(nnx.Module):
    def __init__(self, *, rngs):
        self.output_shape = (8, 8)
        self.encoder = Encoder(64, 32, 6, rngs=rngs)
        self.decoder = Decoder(6, 32, 64, rngs=rngs)

    def __call__(self, x):
        return self.decoder(self.encoder(x)).reshape(-1, *self.output_shape)


def of_nnx(module, *batch, own=None):
    def make(seed):
        return module(rngs=nnx.Rngs(params=seed, dropout=0, noise=0))

    def forward(model):
        model.eval()
        for _, stream in nnx.iter_graph(model):
            if isinstance(stream, nnx.RngCount):
                stream[...] = jnp.zeros_like(stream[...])  # the same noise each time
        return np.asarray(model(*map(jnp.asarray, batch)))

    def natives(model):
        return [np.array(one) for one in jax.tree.leaves(nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat)))]

    return Published(make, forward, natives, "flax", own or {})


DIGIT = np.random.default_rng(3).standard_normal((1, 28, 28, 1)).astype(np.float32)

NNX = {
    "CNN": of_nnx(CNN, DIGIT),
    "Lm1b": of_nnx(Lm1b, TOKENS, own={"pos_embedding": mp.init.Normal(0.02)}),
    "VAE": of_nnx(VAE, DIGIT[:, :8, :8, 0]),
}


# --- Flax Linen ----------------------------------------------------------------------------------------------------


class LinenCNN(linen.Module):
    """Of the MNIST example."""

    @linen.compact
    def __call__(self, x):
        x = linen.avg_pool(linen.relu(linen.Conv(features=32, kernel_size=(3, 3))(x)), (2, 2), (2, 2))
        x = linen.avg_pool(linen.relu(linen.Conv(features=64, kernel_size=(3, 3))(x)), (2, 2), (2, 2))
        x = linen.relu(linen.Dense(features=256)(x.reshape((x.shape[0], -1))))
        return linen.Dense(features=10)(x)


class ResNetBlock(linen.Module):
    filters: int
    conv: Any
    norm: Any
    strides: tuple[int, int] = (1, 1)

    @linen.compact
    def __call__(self, x):
        residual = x
        y = linen.relu(self.norm()(self.conv(self.filters, (3, 3), self.strides)(x)))
        y = self.norm(scale_init=linen.initializers.zeros_init())(self.conv(self.filters, (3, 3))(y))
        if residual.shape != y.shape:
            residual = self.conv(self.filters, (1, 1), self.strides, name="conv_proj")(residual)
            residual = self.norm(name="norm_proj")(residual)
        return linen.relu(residual + y)


class LinenResNet(linen.Module):
    """Of the ImageNet example, narrower."""

    @linen.compact
    def __call__(self, x, train=True):
        conv = partial(linen.Conv, use_bias=False)
        norm = partial(linen.BatchNorm, use_running_average=not train, momentum=0.9, epsilon=1e-5, axis_name="batch")
        x = conv(16, (7, 7), (2, 2), padding=[(3, 3), (3, 3)], name="conv_init")(x)
        x = linen.max_pool(linen.relu(norm(name="bn_init")(x)), (3, 3), strides=(2, 2), padding="SAME")
        for i in range(3):
            for j in range(2):
                strides = (2, 2) if i > 0 and j == 0 else (1, 1)
                x = ResNetBlock(16 * 2**i, strides=strides, conv=conv, norm=norm)(x)
        return linen.Dense(10)(jnp.mean(x, axis=(1, 2)))


class DecoderCell(linen.RNNCellBase):
    features: int
    vocabulary: int

    @linen.compact
    def __call__(self, carry, x):
        state, y = linen.LSTMCell(features=self.features)(carry, x)
        return state, linen.Dense(features=self.vocabulary)(y)

    def initialize_carry(self, rng, input_shape):
        return linen.LSTMCell(self.features, parent=None).initialize_carry(rng, input_shape)

    @property
    def num_feature_axes(self):
        return 1


class Seq2seq(linen.Module):
    """Of the seq2seq example."""

    @linen.compact
    def __call__(self, source, target):
        embed = linen.Embed(50, 16, name="embed")
        recurrent = linen.RNN(linen.LSTMCell(24), return_carry=True, name="encoder")
        carry, _ = recurrent(embed(source))
        return linen.RNN(DecoderCell(24, 50), name="decoder")(embed(target), initial_carry=carry)


class Encoder1DBlock(linen.Module):
    @linen.compact
    def __call__(self, inputs, mask, deterministic):
        x = linen.LayerNorm()(inputs)
        x = linen.MultiHeadDotProductAttention(
            num_heads=4,
            qkv_features=32,
            kernel_init=linen.initializers.xavier_uniform(),
            use_bias=False,
            dropout_rate=0.1,
            deterministic=deterministic,
        )(x, mask=mask)
        x = linen.Dropout(rate=0.1)(x, deterministic=deterministic) + inputs
        y = linen.relu(linen.Dense(64)(linen.LayerNorm()(x)))
        return x + linen.Dropout(rate=0.1)(linen.Dense(32)(y), deterministic=deterministic)


class WmtEncoder(linen.Module):
    """Of the WMT example, its position embedding learned."""

    @linen.compact
    def __call__(self, tokens, train=True):
        x = linen.Embed(50, 32, name="shared_embedding")(tokens)
        x = x + self.param("pos_embedding", linen.initializers.normal(stddev=0.02), (1, 16, 32))[:, : x.shape[1]]
        for layer in range(2):
            block = Encoder1DBlock(name=f"encoderblock_{layer}")
            x = block(x, linen.make_attention_mask(tokens > 0, tokens > 0), deterministic=not train)
        return linen.LayerNorm(name="encoder_norm")(x)


def of_linen(module, *batch, own=None, **options):
    def make(seed):
        return Linen(module, module.init(jax.random.key(seed), *batch, **options), *batch, **options)

    def forward(model):
        return np.asarray(model.module.apply(model.variables, *batch, **options))

    def natives(model):
        return [np.array(one) for one in jax.tree.leaves(model.variables)]

    return Published(make, forward, natives, "flax", own or {})


LINEN = {
    "CNN": of_linen(LinenCNN(), DIGIT),
    "ResNet": of_linen(LinenResNet(), IMAGE, train=False),
    "Seq2seq": of_linen(Seq2seq(), TOKENS, TOKENS[:, :5]),
    "WmtEncoder": of_linen(WmtEncoder(), TOKENS, train=False, own={"pos_embedding": mp.init.Normal(0.02)}),
}


# --- the promises --------------------------------------------------------------------------------------------------

MODELS = {
    f"{framework}-{name}": one
    for framework, models in (("keras", KERAS), ("torch", TORCH), ("nnx", NNX), ("linen", LINEN))
    for name, one in models.items()
}


@dataclass
class Pair:
    published: Published
    model: Any
    other: Any


# one pair for all the promises, since making it is what takes the time
@pytest.fixture(scope="module", params=MODELS, ids=str)
def pair(request):
    published = MODELS[request.param]
    return Pair(published, published.make(1), published.make(2))


def values(model):
    return {name: one.value for name, one in mp.state(model).items()}


def draw(model):
    """Numbers as a training leaves them: no bias is 0, no scale and no running statistic as it was."""
    rng = np.random.default_rng(3)
    for one in mp.state(model).values():
        if one.dtype.kind == "f" and len(one.shape) < 2:
            one.assign((one.value + rng.uniform(-0.2, 0.2, one.shape)).astype(one.dtype))


def same(found, expected):
    assert len(found) == len(expected)
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_names_are_unique_and_complete(pair):
    state, own = mp.state(pair.model), pair.published.natives(pair.model)
    names = [*state, *state.aliases()]
    assert len(names) == len(set(names))
    assert all(part for name in names for part in name.split("."))
    assert sum(one.value.size for one in state.values()) == sum(one.size for one in own)
    assert list(state) == list(mp.state(pair.other))  # whatever was made in between
    assert set(state) == {*mp.parameters(pair.model), *mp.buffers(pair.model)}


def test_every_value_is_read_and_written(pair):
    before, own = values(pair.model), pair.published.natives(pair.model)
    for name, one in mp.state(pair.model).items():
        one.assign(before[name] + np.ones((), before[name].dtype))
    # each of the framework's numbers one higher, in whatever layout it has them
    same(pair.published.natives(pair.model), [one + np.ones((), one.dtype) for one in own])
    for name, one in mp.state(pair.model).items():
        one.assign(before[name])
    same(pair.published.natives(pair.model), own)


def test_a_change_of_one_parameter_shows_in_the_frameworks_object(pair):
    own = pair.published.natives(pair.model)
    parameter = list(mp.parameters(pair.model).values())[-1]
    before = parameter.value
    parameter[...] = before + 1
    changed = [
        (old, new)
        for old, new in zip(own, pair.published.natives(pair.model), strict=True)
        if not np.array_equal(old, new)
    ]
    assert sum(new.size for _, new in changed) == before.size
    assert all(np.array_equal(new, old + 1) for old, new in changed)
    parameter.assign(before)
    same(pair.published.natives(pair.model), own)


def test_the_frameworks_own_recipe_initializes_it_whole(pair):
    own, recipe = pair.published.own, pair.published.recipe
    before = values(pair.other)
    for model in (pair.model, pair.other):
        parameters = mp.parameters(model)
        if own:
            apart = {line.name for line in mp.initialize(model, own, seed=7)}
            with pytest.raises(mp.ArgumentError, match="has no rule for") as error:
                mp.initialize(model, recipe)
            assert all(name in str(error.value) for name in apart)
            report = mp.initialize([one for name, one in parameters.items() if name not in apart], recipe, seed=7)
            assert apart | {line.name for line in report} == set(parameters)
        else:
            assert [line.name for line in mp.initialize(model, recipe, seed=7)] == list(parameters)
    # the same numbers from the same names; buffers are left alone
    same([one.value for one in mp.parameters(pair.model).values()], [one.value for one in parameters.values()])
    same([one.value for one in mp.buffers(pair.other).values()], [before[name] for name in mp.buffers(pair.other)])
    drawn = [(name, one.value) for name, one in parameters.items() if "weight" in one.role and one.value.std() > 0]
    assert all(not np.array_equal(value, before[name]) for name, value in drawn)
    assert len(drawn) > 1


def test_a_file_makes_a_fresh_one_give_the_same_bits(pair, tmp_path):
    published = pair.published
    draw(pair.model)
    for layer in getattr(pair.model, "layers", ()):
        if (
            isinstance(layer, layers.Normalization) and layer.input_mean is None
        ):  # EfficientNetB0's, which is not trained
            layer.adapt(IMAGE / 4 + 0.5)
    expected = published.forward(pair.model)
    assert np.isfinite(expected).all()
    assert expected.std() > 0
    assert not np.array_equal(published.forward(pair.other), expected)
    mp.save(pair.model, tmp_path / "model.safetensors")
    report = mp.load(tmp_path / "model.safetensors", into=pair.other)
    for found in (report.missing, report.unexpected, report.converted, report.folded, report.differences):
        assert found == []
    same(published.natives(pair.other), published.natives(pair.model))
    np.testing.assert_array_equal(published.forward(pair.other), expected)


def test_there_is_one_of_every_family_of_keras_applications():
    modules = {name for name, one in vars(keras.applications).items() if inspect.ismodule(one)}
    used = {getattr(keras.applications, name).__module__.rpartition(".")[2] for name in KERAS}
    assert modules - used == {"imagenet_utils", "resnet50"}  # no models, and another name for resnet


# --- one network, in each framework ---------------------------------------------------------------------------------


class KerasBlock(layers.Layer):
    def __init__(self, outputs, stride):
        super().__init__()
        self.conv1 = layers.Conv2D(outputs, 3, stride, padding="valid", use_bias=False)
        self.bn1 = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)
        self.conv2 = layers.Conv2D(outputs, 3, padding="same", use_bias=False)
        self.bn2 = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)
        self.downsample = None
        if stride != 1:
            self.downsample = keras.Sequential(
                [
                    layers.Conv2D(outputs, 1, stride, use_bias=False),
                    layers.BatchNormalization(momentum=0.9, epsilon=1e-5),
                ]
            )

    def call(self, x, training=False):
        identity = x if self.downsample is None else self.downsample(x, training=training)
        out = ops.relu(self.bn1(self.conv1(around(x, 1)), training=training))
        return ops.relu(self.bn2(self.conv2(out), training=training) + identity)


class KerasResNet18(keras.Model):
    def __init__(self, classes=10):
        super().__init__()
        self.conv1 = layers.Conv2D(64, 7, 2, use_bias=False)
        self.bn1 = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)
        self.maxpool = layers.MaxPooling2D(3, 2)
        self.layer1 = [KerasBlock(64, 1), KerasBlock(64, 1)]
        self.layer2 = [KerasBlock(128, 2), KerasBlock(128, 1)]
        self.layer3 = [KerasBlock(256, 2), KerasBlock(256, 1)]
        self.layer4 = [KerasBlock(512, 2), KerasBlock(512, 1)]
        self.fc = layers.Dense(classes)

    def call(self, x, training=False):
        x = ops.relu(self.bn1(self.conv1(around(x, 3)), training=training))
        x = self.maxpool(around(x, 1))  # nothing is below 0
        for block in (*self.layer1, *self.layer2, *self.layer3, *self.layer4):
            x = block(x, training=training)
        return self.fc(ops.mean(x, (1, 2)))


def around(x, extent):
    """Zeros on all sides, as PyTorch pads; Keras's "same" pads a strided convolution on one side."""
    return ops.pad(x, [(0, 0), (extent, extent), (extent, extent), (0, 0)])


class NnxBlock(nnx.Module):
    def __init__(self, inputs, outputs, stride, *, rngs):
        conv = partial(nnx.Conv, use_bias=False, rngs=rngs)
        self.conv1 = conv(inputs, outputs, (3, 3), strides=stride, padding=1)
        self.bn1 = nnx.BatchNorm(outputs, momentum=0.9, epsilon=1e-5, rngs=rngs)
        self.conv2 = conv(outputs, outputs, (3, 3), padding=1)
        self.bn2 = nnx.BatchNorm(outputs, momentum=0.9, epsilon=1e-5, rngs=rngs)
        if stride == 1:
            self.downsample = None
        else:
            self.downsample = nnx.Sequential(
                conv(inputs, outputs, (1, 1), strides=stride, padding="VALID"),
                nnx.BatchNorm(outputs, momentum=0.9, epsilon=1e-5, rngs=rngs),
            )

    def __call__(self, x):
        identity = x if self.downsample is None else self.downsample(x)
        return nnx.relu(self.bn2(self.conv2(nnx.relu(self.bn1(self.conv1(x))))) + identity)


class NnxResNet18(nnx.Module):
    def __init__(self, classes=10, *, rngs):
        self.conv1 = nnx.Conv(3, 64, (7, 7), strides=2, padding=3, use_bias=False, rngs=rngs)
        self.bn1 = nnx.BatchNorm(64, momentum=0.9, epsilon=1e-5, rngs=rngs)
        self.layer1 = nnx.Sequential(NnxBlock(64, 64, 1, rngs=rngs), NnxBlock(64, 64, 1, rngs=rngs))
        self.layer2 = nnx.Sequential(NnxBlock(64, 128, 2, rngs=rngs), NnxBlock(128, 128, 1, rngs=rngs))
        self.layer3 = nnx.Sequential(NnxBlock(128, 256, 2, rngs=rngs), NnxBlock(256, 256, 1, rngs=rngs))
        self.layer4 = nnx.List([NnxBlock(256, 512, 2, rngs=rngs), NnxBlock(512, 512, 1, rngs=rngs)])
        self.fc = nnx.Linear(512, classes, rngs=rngs)

    def __call__(self, x):
        x = nnx.max_pool(nnx.relu(self.bn1(self.conv1(x))), (3, 3), (2, 2), ((1, 1), (1, 1)))
        x = self.layer3(self.layer2(self.layer1(x)))
        for block in self.layer4:
            x = block(x)
        return self.fc(x.mean((1, 2)))


SIZES = {"words": 50, "length": 16, "dim": 32, "heads": 4}


class TorchLayer(nn.Module):
    def __init__(self, dim, heads, causal):
        super().__init__()
        self.causal = causal
        self.attention = nn.MultiheadAttention(dim, heads, dropout=0.1, batch_first=True)
        self.attention_norm = nn.LayerNorm(dim, eps=1e-12)
        self.intermediate = nn.Linear(dim, 4 * dim)
        self.output = nn.Linear(4 * dim, dim)
        self.output_norm = nn.LayerNorm(dim, eps=1e-12)

    def forward(self, x):
        length = x.shape[1]
        hidden = torch.ones(length, length, dtype=torch.bool).triu(1) if self.causal else None
        x = self.attention_norm(x + self.attention(x, x, x, attn_mask=hidden, need_weights=False)[0])
        return self.output_norm(x + self.output(functional.gelu(self.intermediate(x))))


class TorchTransformer(nn.Module):
    def __init__(self, words, length, dim, heads, causal):
        super().__init__()
        self.word_embeddings = nn.Embedding(words, dim)
        self.position_embeddings = nn.Embedding(length, dim)
        self.norm = nn.LayerNorm(dim, eps=1e-12)
        self.layer = nn.ModuleList(TorchLayer(dim, heads, causal) for _ in range(2))
        self.head = nn.Linear(dim, words, bias=False)

    def forward(self, tokens):
        places = torch.arange(tokens.shape[1])
        x = self.norm(self.word_embeddings(tokens) + self.position_embeddings(places))
        for layer in self.layer:
            x = layer(x)
        return self.head(x)


class KerasLayer(layers.Layer):
    def __init__(self, dim, heads, causal):
        super().__init__()
        self.causal = causal
        self.attention = layers.MultiHeadAttention(heads, dim // heads, dropout=0.1)
        self.attention_norm = layers.LayerNormalization(epsilon=1e-12)
        self.intermediate = layers.Dense(4 * dim)
        self.output_dense = layers.Dense(dim)  # a layer of Keras has an `output` already
        self.output_norm = layers.LayerNormalization(epsilon=1e-12)

    def call(self, x):
        x = self.attention_norm(x + self.attention(x, x, use_causal_mask=self.causal))
        return self.output_norm(x + self.output_dense(ops.gelu(self.intermediate(x), approximate=False)))


class KerasTransformer(keras.Model):
    def __init__(self, words, length, dim, heads, causal):
        super().__init__()
        self.word_embeddings = layers.Embedding(words, dim)
        self.position_embeddings = layers.Embedding(length, dim)
        self.norm = layers.LayerNormalization(epsilon=1e-12)
        self.layer = [KerasLayer(dim, heads, causal) for _ in range(2)]
        self.head = layers.Dense(words, use_bias=False)

    def call(self, tokens):
        places = ops.arange(tokens.shape[1])
        x = self.norm(self.word_embeddings(tokens) + self.position_embeddings(places))
        for layer in self.layer:
            x = layer(x)
        return self.head(x)


class NnxLayer(nnx.Module):
    def __init__(self, dim, heads, causal, *, rngs):
        self.causal = causal
        self.attention = nnx.MultiHeadAttention(heads, dim, dropout_rate=0.1, decode=False, rngs=rngs)
        self.attention_norm = nnx.LayerNorm(dim, epsilon=1e-12, rngs=rngs)
        self.intermediate = nnx.Linear(dim, 4 * dim, rngs=rngs)
        self.output = nnx.Linear(4 * dim, dim, rngs=rngs)
        self.output_norm = nnx.LayerNorm(dim, epsilon=1e-12, rngs=rngs)

    def __call__(self, x):
        mask = nnx.make_causal_mask(x[..., 0]) if self.causal else None
        x = self.attention_norm(x + self.attention(x, mask=mask))
        return self.output_norm(x + self.output(nnx.gelu(self.intermediate(x), approximate=False)))


class NnxTransformer(nnx.Module):
    def __init__(self, words, length, dim, heads, causal, *, rngs):
        self.word_embeddings = nnx.Embed(words, dim, rngs=rngs)
        self.position_embeddings = nnx.Embed(length, dim, rngs=rngs)
        self.norm = nnx.LayerNorm(dim, epsilon=1e-12, rngs=rngs)
        self.layer = nnx.List([NnxLayer(dim, heads, causal, rngs=rngs) for _ in range(2)])
        self.head = nnx.Linear(dim, words, use_bias=False, rngs=rngs)

    def __call__(self, tokens):
        x = self.norm(self.word_embeddings(tokens) + self.position_embeddings(jnp.arange(tokens.shape[1])))
        for layer in self.layer:
            x = layer(x)
        return self.head(x)


PADDED = ("conv1", *(f"layer{stage}.{block}.conv1" for stage in (1, 2, 3, 4) for block in (0, 1)))


@dataclass
class Written:
    """One network in three frameworks, with what it takes in PyTorch's and in the others' order of axes."""

    models: dict[str, Callable[[], Any]]
    x: Any
    last: Any
    told: list[str]  # layers whose settings differ in Keras, in whose place the network itself pads
    keras_names: dict[str, str] = field(default_factory=dict)


def transformer(causal):
    return Written(
        {
            "torch": lambda: TorchTransformer(**SIZES, causal=causal),
            "keras": lambda: KerasTransformer(**SIZES, causal=causal),
            "flax": lambda: NnxTransformer(**SIZES, causal=causal, rngs=nnx.Rngs(5)),
        },
        TOKENS,
        TOKENS,
        [],
        {r"\.output\.": ".output_dense."},
    )


WRITTEN = {
    "ResNet18": Written(
        {"torch": ResNet18, "keras": KerasResNet18, "flax": lambda: NnxResNet18(rngs=nnx.Rngs(5))},
        np.random.default_rng(4).standard_normal((2, 3, 64, 64)).astype(np.float32),
        np.random.default_rng(4).standard_normal((2, 3, 64, 64)).astype(np.float32).transpose(0, 2, 3, 1),
        ["maxpool", *PADDED],
    ),
    "BERT": transformer(causal=False),
    "GPT": transformer(causal=True),
}


@dataclass
class Three:
    written: Written
    models: dict[str, Any]
    reports: dict[str, Any]
    expected: Any


@pytest.fixture(scope="module", params=WRITTEN, ids=str)
def three(request, tmp_path_factory):
    """The file of a PyTorch model, to Keras, from there to Flax, from there to another PyTorch model."""
    folder, written = tmp_path_factory.mktemp("files"), WRITTEN[request.param]
    torch.manual_seed(0)
    models = {name: make() for name, make in written.models.items()}
    models["back"] = written.models["torch"]().eval()
    models["keras"](written.last)  # which is when Keras makes its variables
    draw(models["torch"].eval())
    back = {new.strip(r"\."): old.replace("\\", "") for old, new in written.keras_names.items()}
    renames = {"keras": written.keras_names, "flax": {rf"\.{new}\.": old for new, old in back.items()}}
    reports, source = {}, "torch"
    for target in ("keras", "flax", "back"):
        mp.save(models[source], folder / f"{source}.safetensors")
        reports[target] = mp.load(folder / f"{source}.safetensors", into=models[target], rename=renames.get(target))
        source = target
    models["flax"].eval()
    with torch.no_grad():
        expected = models["torch"](torch.from_numpy(written.x)).numpy()
    return Three(written, models, reports, expected)


def test_a_file_goes_to_keras_to_flax_and_back_to_the_bit(three):
    first_state, last_state = (three.models[name].state_dict() for name in ("torch", "back"))
    assert first_state.keys() == last_state.keys()
    assert all(torch.equal(first_state[name], last_state[name]) for name in first_state)
    with torch.no_grad():
        assert np.array_equal(three.models["back"](torch.from_numpy(three.written.x)).numpy(), three.expected)
    for report in three.reports.values():
        assert (report.missing, report.unexpected, report.converted, report.folded) == ([], [], [], [])


def test_the_report_tells_of_the_padding_that_the_network_does_itself(three):
    told = [(layer, setting) for layer, setting, *_ in three.reports["keras"].differences]
    assert sorted(told) == sorted((name, "padding") for name in three.written.told)
    back = [(layer, setting) for layer, setting, *_ in three.reports["flax"].differences]
    assert sorted(back) == sorted(one for one in told if one[0] != "maxpool")  # a function in Flax
    assert three.reports["back"].differences == []


@pytest.mark.parametrize("target", ["keras", "flax"])
def test_native_outputs_agree(three, target):
    options = {"training": False} if target == "keras" else {}
    given = np.asarray(three.models[target](jnp.asarray(three.written.last), **options))
    assert np.abs(given - three.expected).max() <= 1e-4 * np.abs(three.expected).max()


@pytest.mark.parametrize("target", ["keras", "flax"])
def test_verify_agrees_and_pairs_the_layers(three, target):
    report = mp.verify(three.models["torch"], three.models[target], three.written.x, tolerance=1e-4)
    assert report.agrees
    assert report.first is None, str(report)
    paired = {name for name, _ in report.layers}
    renamed = target == "keras" and three.written.keras_names
    own = {
        one.name
        for one in mp.layers(three.models["torch"]).walk()
        if one.kind in ("Linear", "Conv2d", "BatchNorm2d", "LayerNorm", "Embedding") and "attention.out" not in one.name
    }
    assert own - paired <= {name for name in own if renamed and name.endswith(".output")}


@pytest.mark.parametrize("target", ["keras", "flax"])
def test_verify_names_the_layer_where_a_weight_differs(three, target):
    broken = "layer2.0.downsample.1.bias" if isinstance(three.models["torch"], ResNet18) else "layer.1.output_norm.bias"
    parameter = mp.parameters(three.models[target])[broken]
    before = parameter.value
    parameter[...] = before + 0.5
    report = mp.verify(three.models["torch"], three.models[target], three.written.x, tolerance=1e-4)
    parameter.assign(before)
    assert not report.agrees
    assert report.first == broken.removesuffix(".bias")
    assert f"{broken} differs by 0.5" in report.why
