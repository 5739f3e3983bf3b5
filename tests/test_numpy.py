"""The conformance kit on the numpy backend."""

import copy

import numpy as np
import pytest
from multiparam_numpy import Buffer, Module, Sequential, Variable
from multiparam_numpy.layers import Embedding, LazyLinear, Linear, ReLU

from multiparam.testing import ConformanceSuite


class Named(Module):
    def __init__(self):
        self.hidden, self.head = Linear(4, 8), Linear(8, 3)

    def forward(self, x):
        return self.head(np.maximum(self.hidden(x), 0))


class Fancy(Module):
    def __init__(self, constant):
        self.constant = constant
        self.linear = Linear(20, 20)

    def forward(self, x):
        x = self.linear(np.maximum(self.linear(x) @ self.constant + 1, 0))
        while np.abs(x).sum() > 1:
            x = x / 2
        return (x * 10 if np.abs(x).sum() < 0.8 else x).sum()


class Containers(Module):
    def __init__(self):
        self.blocks = [Linear(4, 4), Linear(4, 4)]
        self.heads = {"a": Linear(4, 2), "b": Linear(4, 2)}

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.heads["a"](x) + self.heads["b"](x)


class Twice(Module):
    def __init__(self):
        self.first = self.second = Linear(4, 4)

    def forward(self, x):
        return self.second(self.first(x))


class LanguageModel(Module):
    def __init__(self):
        self.embedding, self.head = Embedding(7, 4), Linear(4, 7, bias=False)

    def forward(self, x):
        return self.head(self.embedding(x))


class Buffered(Module):
    def __init__(self):
        self.linear, self.mean = Linear(4, 2), Buffer(np.zeros(4, np.float32))

    def forward(self, x):
        return self.linear(x - self.mean.value)


class Pair(Module):
    def __init__(self):
        self.left, self.right = Linear(4, 2), Linear(4, 2)

    def forward(self, left, right):
        return self.left(left) + self.right(right)


def block():
    return Sequential(Linear(4, 8), ReLU(), Linear(8, 4), ReLU())


class TestNumpy(ConformanceSuite):
    backend = "numpy"

    def mlp(self):
        return Sequential(Linear(4, 8), ReLU(), Linear(8, 1))

    def named(self):
        return Named()

    def nested(self):
        return Sequential(Sequential(**{"block 0": block(), "block 1": block()}), Linear(4, 1))

    def shared(self):
        layer = Linear(8, 8)
        return Sequential(Linear(4, 8), ReLU(), layer, ReLU(), layer, ReLU(), Linear(8, 1))

    def fancy(self, constant):
        return Fancy(constant)

    def custom(self):
        class Inner(Module):
            def __init__(self):
                self.w = Variable(np.random.rand(4, 3).astype(np.float32))

            def forward(self, x):
                return x @ self.w.value

        class Custom(Module):
            def __init__(self):
                self.offset, self.inner = Variable(np.ones(3, np.float32)), Inner()

            def forward(self, x):
                return self.inner(x) + self.offset.value

        return Custom()

    def containers(self):
        return Containers()

    def twice(self):
        return Twice()

    def language_model(self):
        return LanguageModel()

    def lazy(self):
        return Sequential(LazyLinear(8), ReLU(), LazyLinear(1))

    def buffered(self):
        return Buffered()

    def pair(self):
        return Pair()

    def raw_mlp(self, model):
        return {f"{index}.{role}": getattr(model[index], role).value for index in (0, 2) for role in ("weight", "bias")}

    def raw_language_model(self, model):
        return {"embedding.weight": model.embedding.weight.value, "head.weight": model.head.weight.value}

    def inventory(self, model):
        memo = {}
        copy.deepcopy(model, memo)  # which reaches all that there is, and keeps it in mind
        return {str(id(one)): one.value for one in memo[id(memo)] if isinstance(one, Variable)}

    def forward(self, model, x):
        return model(x)

    def loss(self, model, x):
        return 0.5 * (model(x) ** 2).sum()

    def train(self, model, x, steps):
        pytest.fail("the numpy backend does not train")

    def frozen_natively(self, native):
        return not native.trainable
