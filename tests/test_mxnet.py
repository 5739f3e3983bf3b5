"""The conformance kit on MXNet's Gluon with both of its interfaces, and what only Gluon has."""

import warnings

import numpy as np
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # MXNet 1.9 was made for older releases of numpy
    import mxnet as mx
    from mxnet import autograd, gluon
    from mxnet.gluon import nn, rnn
    from mxnet.util import is_np_array

import multiparam as mp
from multiparam.testing import ConformanceSuite

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def relu(x):
    return mx.npx.relu(x) if is_np_array() else mx.nd.relu(x)


def array(x):
    return mx.np.array(x, dtype=x.dtype) if is_np_array() else mx.nd.array(x, dtype=x.dtype)


class Block(gluon.Block):
    """Blocks with given children, made and initialized in one go."""

    def __init__(self, **children):
        super().__init__()
        with self.name_scope():
            for name, make in children.items():
                setattr(self, name, make())
        self.initialize()


class Named(Block):
    def __init__(self):
        super().__init__(hidden=lambda: nn.Dense(8, in_units=4), head=lambda: nn.Dense(3, in_units=8))

    def forward(self, x):
        return self.head(relu(self.hidden(x)))


class Fancy(Block):
    def __init__(self, constant):
        super().__init__(linear=lambda: nn.Dense(20, in_units=20))
        self.constant = array(constant)

    def forward(self, x):
        dot = mx.np.dot if is_np_array() else mx.nd.dot
        x = self.linear(relu(dot(self.linear(x), self.constant) + 1))
        size = mx.np.abs if is_np_array() else mx.nd.abs
        while float(size(x).sum().asnumpy()) > 1:
            x = x / 2
        return (x * 10 if float(size(x).sum().asnumpy()) < 0.8 else x).sum()


class Containers(gluon.Block):
    def __init__(self):
        super().__init__()
        self.blocks, self.heads = nn.Sequential(), nn.Sequential()
        self.blocks.add(nn.Dense(4, in_units=4), nn.Dense(4, in_units=4))
        for name in "ab":
            self.heads.register_child(nn.Dense(2, in_units=4), name)
        self.initialize()

    def forward(self, x):
        return sum(head(self.blocks(x)) for head in self.heads._children.values())


class Twice(Block):
    def __init__(self):
        super().__init__(first=lambda: nn.Dense(4, in_units=4))
        self.second = self.first

    def forward(self, x):
        return self.second(self.first(x))


class LanguageModel(Block):
    def __init__(self):
        super().__init__(
            embedding=lambda: nn.Embedding(7, 4),
            head=lambda: nn.Dense(7, in_units=4, use_bias=False, flatten=False),
        )

    def forward(self, x):
        return self.head(self.embedding(x))


class Buffered(gluon.Block):
    def __init__(self):
        super().__init__()
        self.linear = nn.Dense(2, in_units=4)
        self.mean = self.params.get_constant("mean", np.zeros(4, np.float32))
        self.initialize()

    def forward(self, x):
        return self.linear(x - self.mean.data())


class Pair(Block):
    def __init__(self):
        super().__init__(left=lambda: nn.Dense(2, in_units=4), right=lambda: nn.Dense(2, in_units=4))

    def forward(self, left, right):
        return self.left(left) + self.right(right)


def sequential(*children, names=None, made=nn.Sequential):
    net = made()
    for position, child in enumerate(children):
        net.register_child(child, names[position] if names else str(position))
    return net


def begun(net):
    net.initialize()
    return net


def block():
    return sequential(nn.Dense(8, in_units=4), nn.Activation("relu"), nn.Dense(4, in_units=8), nn.Activation("relu"))


class TestMXNet(ConformanceSuite):
    backend = "mxnet"
    containers_are = ("Sequential", "Sequential")  # Gluon has no other

    def mlp(self):
        return begun(sequential(nn.Dense(8, in_units=4), nn.Activation("relu"), nn.Dense(1, in_units=8)))

    def named(self):
        return Named()

    def nested(self):
        blocks = sequential(block(), block(), names=["block 0", "block 1"])
        return begun(sequential(blocks, nn.Dense(1, in_units=4)))

    def shared(self):
        layer, first, last = nn.Dense(8, in_units=8), nn.Dense(8, in_units=4), nn.Dense(1, in_units=8)
        between = [nn.Activation("relu") for _ in range(3)]
        return begun(sequential(first, between[0], layer, between[1], layer, between[2], last))

    def fancy(self, constant):
        return Fancy(constant)

    def custom(self):
        class Inner(gluon.Block):
            def __init__(self):
                super().__init__()
                self.w = self.params.get("w", shape=(4, 3))

            def forward(self, x):
                return (mx.np.dot if is_np_array() else mx.nd.dot)(x, self.w.data())

        class Custom(gluon.Block):
            def __init__(self):
                super().__init__()
                self.offset = self.params.get("offset", shape=(3,), init="ones")
                self.inner = Inner()
                self.initialize()

            def forward(self, x):
                return self.inner(x) + (
                    self.offset.data() if is_np_array() else self.offset.data().broadcast_to((len(x), 3))
                )

        return Custom()

    def containers(self):
        return Containers()

    def twice(self):
        return Twice()

    def language_model(self):
        return LanguageModel()

    def lazy(self):
        return sequential(nn.Dense(8), nn.Activation("relu"), nn.Dense(1))  # its biases too wait for initialize()

    def buffered(self):
        return Buffered()

    def pair(self):
        return Pair()

    def raw_mlp(self, model):
        return {name: one.data().asnumpy() for name, one in model._collect_params_with_prefix().items()}

    raw_language_model = raw_mlp

    def forward(self, model, x):
        return model(array(x)).asnumpy()

    def loss(self, model, x):
        return 0.5 * (model(x) ** 2).sum()

    def train(self, model, x, steps):
        trainer = gluon.Trainer(model.collect_params(), "adam", {"learning_rate": 0.01})
        for _ in range(steps):
            with autograd.record():
                loss = self.loss(model, array(x))
            loss.backward()
            trainer.step(1)

    def frozen_natively(self, native):
        return native.grad_req == "null"


class TestMXNetNumpy(TestMXNet):
    """The same with the arrays of `mx.np`."""

    @pytest.fixture(autouse=True)
    def numpy_interface(self):
        mx.npx.set_np()
        yield
        mx.npx.reset_np()
