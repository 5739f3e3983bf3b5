"""One deliberate mistake in one of two models, and what verify says of it: the right cause, or that it is not known."""

import copy
import os
from collections import OrderedDict
from dataclasses import dataclass

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - as everybody has it
from flax import nnx
from keras import layers
from torch import nn

import multiparam as mp

RNG = np.random.default_rng(0)
X = RNG.standard_normal((4, 6)).astype(np.float32)
SEQUENCE = RNG.standard_normal((3, 5, 6)).astype(np.float32)
IMAGES = RNG.standard_normal((3, 3, 8, 8)).astype(np.float32)


class Net(nn.Module):
    """Layers by name, and a function for the forward pass."""

    def __init__(self, call, **layers):
        super().__init__()
        self.call = call
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, *inputs):
        return self.call(self, *inputs)


def twins(net):
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.from_numpy(RNG.uniform(-0.5, 0.5, tuple(parameter.shape))))
    return net.eval(), copy.deepcopy(net).eval()


def added(net, name):
    mp.parameters(net)[name][:] += 1
    return [f"{name} differs by 1"]


def loaded(source, target, sample, tmp_path, **options):
    mp.materialize(target, sample)
    mp.save(source, tmp_path / "net.safetensors")
    return mp.load(tmp_path / "net.safetensors", into=target, **options)


# --- within a framework ----------------------------------------------------------------------------------------------


def test_a_branch_that_agrees_does_not_make_another_good():
    def inception(net, x):
        return net.out(torch.cat([net.b1(x), net.b2(x), net.b3(F.avg_pool2d(x, 3, 1, 1))], 1))

    a, b = twins(
        Net(
            inception,
            b1=nn.Conv2d(3, 4, 1),
            b2=nn.Conv2d(3, 4, 3, padding=1),
            b3=nn.Conv2d(3, 4, 1),
            out=nn.Conv2d(12, 2, 1),
        )
    )
    why = added(b, "b1.weight")
    report = mp.verify(a, b, IMAGES)
    assert (report.first, report.why) == ("b1", why)


def test_a_shortcut_that_agrees_does_not_make_the_way_around_it_good():
    def residual(net, x):
        return net.head((F.relu(net.c2(F.relu(net.c1(x)))) + net.down(x)).mean((2, 3)))

    parts = {name: nn.Conv2d(3, 3, 3, padding=1) for name in ("c1", "c2")}
    a, b = twins(Net(residual, **parts, down=nn.Conv2d(3, 3, 1), head=nn.Linear(3, 2)))
    why = added(b, "c1.bias")
    report = mp.verify(a, b, IMAGES)
    assert (report.first, report.why) == ("c1", why)


@pytest.mark.parametrize(
    "hidden",
    [
        lambda net, x: net.l(x) * 0 + net.m(x),
        lambda net, x: net.m(x) + 0 * net.l(x).argmax(),
        lambda net, x: torch.where(torch.tensor(False), net.l(x), net.m(x)),
    ],
)
def test_a_layer_that_is_not_seen_in_the_outputs_is_told(hidden):
    a, b = twins(Net(hidden, l=nn.Linear(6, 4), m=nn.Linear(6, 4)))
    added(b, "l.bias")
    report = mp.verify(a, b, X)
    assert (report.agrees, report.first, report.passed) == (True, None, ["l"])
    assert [name for name, _ in report.weights] == ["l.bias"]
    assert "outputs of l differ all the same" in str(report)


def test_a_layer_that_nothing_calls_is_told():
    a, b = twins(Net(lambda net, x: net.l(x), l=nn.Linear(6, 4), unused=nn.Linear(6, 4)))
    assert mp.verify(a, b, X).unseen == ["unused"]
    added(b, "unused.bias")
    report = mp.verify(a, b, X)
    assert report.agrees
    assert "unused.bias by 1" in str(report)
    assert "outputs not compared: unused" in str(report)


def test_a_choice_does_not_show_how_close_the_numbers_are():
    a, b = twins(Net(lambda net, x: net.l(x).argmax(-1), l=nn.Linear(6, 4)))
    with torch.no_grad():
        for parameter in b.parameters():
            parameter *= 2
    report = mp.verify(a, b, X)
    assert report.agrees
    assert any("whole numbers" in one for one in report.weak)
    assert report.passed == ["l"]


def test_code_between_layers_is_looked_for_where_it_is():
    def scaled(factor, behind):
        return lambda net, x: net.b(net.a(x) * (1 if behind else factor)) * (factor if behind else 1)

    a, b = twins(Net(scaled(1, False), a=nn.Linear(6, 5), b=nn.Linear(5, 2)))
    b.call = scaled(2, False)
    report = mp.verify(a, b, X)
    assert (report.first, report.why) == ("b", [])
    assert "not given the same" in str(report).replace("\n  ", " ")
    b.call = scaled(2, True)
    report = mp.verify(a, b, X)
    assert (report.first, report.why) == ("", [])
    assert "the layers in it agree" in str(report)


def test_a_container_is_not_blamed_for_what_it_is_called():
    class Block(nn.Sequential):
        pass

    class Other(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.add_module("0", inner)

        def forward(self, x):
            return getattr(self, "0")(x)

    a, b = twins(nn.Sequential(Block(nn.Linear(6, 4))))
    c = nn.Sequential(Other(b[0][0]))
    assert mp.verify(a, c, X).agrees
    why = added(c, "0.0.bias")
    report = mp.verify(a, c, X)
    assert (report.first, report.why) == ("0.0", why)
    assert "kind" not in str(report)


def test_of_layers_with_other_names_in_a_container_nothing_is_claimed():
    a, b = (Net(lambda net, x: net.block(x), block=nn.Sequential(OrderedDict({n: nn.Linear(6, 6)}))) for n in "pq")
    report = mp.verify(a, b, X)
    assert report.first == "block"
    assert "agree:" not in str(report)
    assert {"block.p.weight", "block.q.weight"} <= set(report.uncompared)
    assert 'pass rename={r"^block\\.p\\.": "block.q."}' in str(report)


def test_one_layer_at_two_places_pairs_with_two(tmp_path):
    shared = nn.Linear(6, 6)
    a = nn.Sequential(shared, nn.Tanh(), shared)
    b = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6))
    b.load_state_dict(a.state_dict())
    for one, other in ((a, b), (b, a)):
        report = mp.verify(one, other, X)
        assert report.agrees
        assert (len(report.layers), report.unpaired, report.unseen) == (4, [], [])
    why = added(b, "2.bias")
    assert mp.verify(b, a, X).first == "2"
    assert mp.verify(b, a, X).why == why


def test_one_fact_of_many_layers_is_one_line():
    a = Net(lambda net, x: net.block(x), block=nn.Sequential(*(nn.LayerNorm(6) for _ in range(20)))).eval()
    b = Net(lambda net, x: net.block(x), block=nn.Sequential(*(nn.LayerNorm(6, eps=1e-2) for _ in range(20)))).eval()
    compiled(b.block)
    report = mp.verify(a, b, X)
    assert report.first == ""
    assert report.why == ["eps 1e-05, and 0.01 in 20 layers: block.0, block.1, block.2, … block.19"]


def test_a_layer_of_ones_own_is_not_blamed_for_its_class():
    class Own(nn.Linear):
        pass

    class Other(nn.Module):
        def __init__(self, factor):
            super().__init__()
            self.weight, self.bias, self.factor = nn.Parameter(torch.ones(4, 6)), nn.Parameter(torch.ones(4)), factor

        def forward(self, x):
            return F.linear(x, self.weight, self.bias) * self.factor

    for factor in (1, 2):
        a, b = nn.Sequential(Own(6, 4)), nn.Sequential(Other(factor))
        b.load_state_dict(a.state_dict())
        report = mp.verify(a, b, X)
        assert report.agrees == (factor == 1)
    assert report.first == "0"
    assert "what the latter computes is not known" in str(report).replace("\n  ", " ")


@dataclass
class Out:
    logits: object
    hidden: object = None


@pytest.mark.parametrize(
    ("one", "other", "left"),
    [
        (lambda y: Out(y, (y.sum(1), y.sum(0))), lambda y: y, 1),
        (lambda y: Out(y), lambda y: Out(y), 0),
        (lambda y: (y, (y[:1], y[:1])), lambda y: y, 1),
        (lambda y: (y, y.sum(1)), lambda y: {"y": y, "sum": y.sum(1)}, 0),
        (lambda y: torch.max(y, 1), lambda y: tuple(torch.max(y, 1)), 0),
    ],
)
def test_outputs_of_other_structures(one, other, left):
    a, b = twins(Net(lambda net, x: net.give(net.l(x)), l=nn.Linear(6, 4)))
    a.give, b.give = one, other
    report = mp.verify(a, b, X)
    assert report.agrees
    assert len([note for note in report.notes if "of the outputs of the first model" in note]) == left
    added(b, "l.bias")
    assert mp.verify(a, b, X).first == "l"


def test_run_keeps_a_dataclass():
    net = Net(lambda net, x: Out(net.l(x), [net.l(x)]), l=nn.Linear(6, 4))
    found = mp.run(net, X)
    assert isinstance(found, Out)
    assert isinstance(found.hidden[0], np.ndarray)


def packed(net, x):
    lengths = torch.tensor([5, 4, 3])
    given = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
    return nn.utils.rnn.pad_packed_sequence(net.rnn(given)[0], batch_first=True)[0]


def test_packed_sequences_between_layers():
    a, b = twins(Net(packed, rnn=nn.GRU(6, 4, batch_first=True)))
    assert mp.verify(a, b, SEQUENCE).agrees
    why = added(b, "rnn.bias_ih_l0")
    report = mp.verify(a, b, SEQUENCE)
    assert (report.first, report.why) == ("rnn", why)


def compiled(net):
    net.compile(backend="eager")
    return net


def compiled_part(net):
    net[2].compile(backend="eager")
    return net


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "compiling",
    [
        compiled,
        compiled_part,
        torch.jit.script,
        lambda net: torch.jit.trace(net, torch.from_numpy(X)),
        torch.fx.symbolic_trace,
    ],
)
def test_compiled_parts_are_not_compared_and_their_weights_are(compiling):
    a, b = twins(nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2)))
    why = added(b, "2.bias")
    c = compiling(b)
    report = mp.verify(a, c, X)
    assert report.first in ("", "2")
    assert report.why == why
    assert mp.verify(c, c, X).agrees
    assert not any(layer._forward_hooks for layer in b.modules())


def test_layers_inside_of_vmap_have_no_numbers():
    a, b = twins(Net(lambda net, x: torch.func.vmap(net.l)(x), l=nn.Linear(6, 4)))
    report = mp.verify(a, b, X)
    assert report.agrees
    assert report.unseen == ["l"]


@pytest.mark.parametrize("transform", [nnx.jit, nnx.remat])
def test_layers_inside_of_a_transformation_have_no_numbers(transform):
    class Block(nnx.Module):
        def __init__(self):
            self.l = nnx.Linear(6, 4, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return transform(lambda net, x: net.l(x))(self, x)

    a, b = Block(), Block()
    assert mp.verify(a, b, X).unseen == ["l"]
    why = added(b, "l.bias")
    assert mp.verify(a, b, X).why == why


# --- between frameworks ----------------------------------------------------------------------------------------------


class KerasNet(keras.Model):
    def __init__(self, run, **parts):
        super().__init__()
        self.run = run
        for name, layer in parts.items():
            setattr(self, name, layer)

    def call(self, x):
        return self.run(self, x)


def test_activations_that_are_fused_in_one_of_them_are_no_cause(tmp_path):
    parts = {"c1": nn.Conv2d(3, 4, 3), "c2": nn.Conv2d(4, 4, 3)}
    a, _ = twins(Net(lambda net, x: F.relu(net.c2(F.relu(net.c1(x)))), **parts))
    fused = {name: layers.Conv2D(4, 3, activation="relu") for name in parts}
    b = KerasNet(lambda net, x: net.c2(net.c1(x)), **fused)
    loaded(a, b, IMAGES, tmp_path)
    report = mp.verify(a, b, IMAGES)
    assert (report.agrees, report.passed) == (True, ["c1", "c2"])
    why = added(b, "c2.weight")
    report = mp.verify(a, b, IMAGES)
    assert (report.first, report.passed) == ("c2", ["c1"])
    assert set(why) <= set(report.why)


def test_a_padding_by_hand_is_no_cause(tmp_path):
    def by_hand(net, x):
        for conv, norm in ((net.c1, net.n1), (net.c2, net.n2)):
            x = norm(F.relu(conv(F.pad(x, (1, 1, 1, 1)))))
        return x

    def same(net, x):
        return net.n2(net.c2(net.n1(net.c1(x))))

    a, _ = twins(Net(by_hand, c1=nn.Conv2d(3, 3, 3), n1=nn.BatchNorm2d(3), c2=nn.Conv2d(3, 3, 3), n2=nn.BatchNorm2d(3)))
    convolutions = {name: layers.Conv2D(3, 3, padding="same", activation="relu") for name in ("c1", "c2")}
    norms = {name: layers.BatchNormalization(epsilon=1e-5) for name in ("n1", "n2")}
    b = KerasNet(same, **convolutions, **norms)
    loaded(a, b, IMAGES, tmp_path)
    assert mp.verify(a, b, IMAGES).agrees
    why = added(b, "c2.weight")
    report = mp.verify(a, b, IMAGES)
    assert (report.first, report.passed) == ("c2", ["c1"])
    assert set(why) <= set(report.why)


def test_a_flatten_whose_order_the_weights_make_good_is_no_cause(tmp_path):
    a, _ = twins(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 5), nn.Linear(5, 2)))
    b = keras.Sequential([layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(5), layers.Dense(2)])
    loaded(a, b, IMAGES, tmp_path)
    report = mp.verify(a, b, IMAGES)
    assert report.first == "1"
    assert "the same numbers in another order" in str(report).replace("\n  ", " ")
    weight = mp.parameters(b)["2.weight"]
    weight.assign(weight.value.reshape(5, 4, 6, 6).transpose(0, 2, 3, 1).reshape(5, -1))
    report = mp.verify(a, b, IMAGES)
    assert (report.agrees, report.passed) == (True, ["1"])
    assert [name for name, _ in report.weights] == ["2.weight"]
    why = added(b, "3.bias")
    report = mp.verify(a, b, IMAGES)
    assert (report.first, report.why) == ("3", why)


def test_a_weight_of_a_layer_that_is_two_elsewhere_is_named(tmp_path):
    two = nn.GRU(6, 4, 2, batch_first=True)
    a, _ = twins(Net(lambda net, x: net.head(net.rnn(x)[0]), rnn=two, head=nn.Linear(4, 2)))
    b = keras.Sequential([*(layers.GRU(4, return_sequences=True) for _ in range(2)), layers.Dense(2)])
    names = {r"^rnn\.(.*)_l0": r"0.\1_l0", r"^rnn\.(.*)_l1": r"1.\1_l0", r"^head\.": "2."}
    loaded(a, b, SEQUENCE, tmp_path, rename=names)
    assert mp.verify(a, b, SEQUENCE, rename=names).agrees
    why = added(b, "1.weight_hh_l0")
    report = mp.verify(a, b, SEQUENCE, rename=names)
    assert report.first == "2"
    assert report.why[:1] == why
    # and the other way round
    names = {r"^0\.(.*)_l0": r"rnn.\1_l0", r"^1\.(.*)_l0": r"rnn.\1_l1", r"^2\.": "head."}
    report = mp.verify(b, a, SEQUENCE, rename=names)
    assert (report.first, report.why[:1]) == ("head", ["rnn.weight_hh_l1 differs by 1"])


def test_both_directions_of_a_layer_against_two(tmp_path):
    parts = {"rnn": nn.GRU(6, 4, batch_first=True, bidirectional=True), "head": nn.Linear(8, 2)}
    a, _ = twins(Net(lambda net, x: net.head(net.rnn(x)[0]), **parts))

    def both(net, x):
        return net.head(keras.ops.concatenate([net.there(x), keras.ops.flip(net.back(x), 1)], -1))

    there, back = (layers.GRU(4, return_sequences=True, go_backwards=turned) for turned in (False, True))
    b = KerasNet(both, there=there, back=back, head=layers.Dense(2))
    names = {r"^rnn\.(.*)_l0_reverse$": r"back.\1_l0", r"^rnn\.(.*)_l0$": r"there.\1_l0"}
    loaded(a, b, SEQUENCE, tmp_path, rename=names)
    assert mp.verify(a, b, SEQUENCE, rename=names).agrees
    why = added(b, "back.weight_ih_l0")
    assert mp.verify(a, b, SEQUENCE, rename=names).why[:1] == why


@pytest.mark.parametrize("states", [False, True])
def test_a_layer_that_gives_its_state_too(tmp_path, states):
    parts = {"rnn": nn.LSTM(6, 4, batch_first=True), "head": nn.Linear(4, 2)}
    a, _ = twins(Net(lambda net, x: net.head(net.rnn(x)[0]), **parts))
    rnn = layers.LSTM(4, return_sequences=True, return_state=states)
    b = KerasNet(lambda net, x: net.head(net.rnn(x)[0] if states else net.rnn(x)), rnn=rnn, head=layers.Dense(2))
    loaded(a, b, SEQUENCE, tmp_path)
    report = mp.verify(a, b, SEQUENCE)
    assert (report.agrees, report.unpaired) == (True, [])
    why = added(b, "rnn.weight_hh_l0")
    report = mp.verify(a, b, SEQUENCE)
    assert (report.first, report.why) == ("rnn", why)


def test_pairs_that_a_load_found_go_into_verify_and_diff(tmp_path):
    a, _ = twins(Net(lambda net, x: net.head(net.stem(x)), stem=nn.Linear(6, 5), head=nn.Linear(5, 2)))
    b = nnx.Sequential(nnx.Linear(6, 5, rngs=nnx.Rngs(0)), nnx.Linear(5, 2, rngs=nnx.Rngs(0)))
    report = loaded(a, b, X, tmp_path, match="auto")
    assert mp.verify(a, b, X, rename=report.rename).agrees
    assert mp.diff(a, b, rename=report.rename).equal
    assert mp.diff(tmp_path / "net.safetensors", b, rename=report.rename).equal
    assert mp.load(tmp_path / "net.safetensors", into=b, rename=report.rename).missing == []
    why = added(b, "1.bias")
    found = mp.verify(a, b, X, rename=report.rename)
    assert (found.first, found.why, found.unpaired) == ("1", why, [])


def test_a_load_that_is_given_a_renaming_passes_it_on(tmp_path):
    a, b = twins(nn.Sequential(nn.Linear(6, 4)))
    wrapped = nn.Sequential(OrderedDict(module=a))
    mp.save(wrapped, tmp_path / "net.safetensors")
    report = mp.load(tmp_path / "net.safetensors", into=b, rename={r"^module\.": ""})
    assert report.rename == {r"^module\.": ""}
    assert mp.verify(wrapped, b, X, rename=report.rename).agrees
