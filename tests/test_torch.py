"""The conformance kit on PyTorch, and what only PyTorch has."""

import warnings

import torch
from torch import nn

from multiparam.testing import ConformanceSuite


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.head = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(torch.relu(self.hidden(x)))


class Fancy(nn.Module):
    def __init__(self, constant):
        super().__init__()
        self.constant = torch.tensor(constant)
        self.linear = nn.Linear(20, 20)

    def forward(self, x):
        x = self.linear(torch.relu(self.linear(x) @ self.constant + 1))
        while x.abs().sum() > 1:
            x = x / 2
        return (x * 10 if x.abs().sum() < 0.8 else x).sum()


class Containers(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.heads = nn.ModuleDict({"a": nn.Linear(4, 2), "b": nn.Linear(4, 2)})

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.heads["a"](x) + self.heads["b"](x)


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = self.second = nn.Linear(4, 4)

    def forward(self, x):
        return self.second(self.first(x))


class LanguageModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(7, 4), nn.Linear(4, 7, bias=False)

    def forward(self, x):
        return self.head(self.embedding(x))


class Buffered(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x):
        return self.linear(x - self.mean)


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, left, right):
        return self.left(left) + self.right(right)


def block():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4), nn.ReLU())


class TestTorch(ConformanceSuite):
    backend = "torch"

    def mlp(self):
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))

    def named(self):
        return Named()

    def nested(self):
        blocks = nn.Sequential()
        for index in range(2):
            blocks.add_module(f"block {index}", block())
        return nn.Sequential(blocks, nn.Linear(4, 1))

    def shared(self):
        layer = nn.Linear(8, 8)
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), layer, nn.ReLU(), layer, nn.ReLU(), nn.Linear(8, 1))

    def fancy(self, constant):
        return Fancy(constant)

    def custom(self):
        class Inner(nn.Module):
            def __init__(self):
                super().__init__()
                self.w = nn.Parameter(torch.rand(4, 3))

            def forward(self, x):
                return x @ self.w

        class Custom(nn.Module):
            def __init__(self):
                super().__init__()
                self.offset, self.inner = nn.Parameter(torch.ones(3)), Inner()

            def forward(self, x):
                return self.inner(x) + self.offset

        return Custom()

    def containers(self):
        return Containers()

    def twice(self):
        return Twice()

    def language_model(self):
        return LanguageModel()

    def lazy(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # PyTorch calls its lazy modules new
            return nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(1))

    def buffered(self):
        return Buffered()

    def pair(self):
        return Pair()

    def raw_mlp(self, model):
        return {name: one.detach().numpy().copy() for name, one in model.named_parameters()}

    raw_language_model = raw_mlp

    def forward(self, model, x):
        with torch.no_grad():
            return model(torch.from_numpy(x)).numpy()

    def loss(self, model, x):
        return 0.5 * (model(x) ** 2).sum()

    def train(self, model, x, steps):
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(steps):
            optimizer.zero_grad()
            self.loss(model, torch.from_numpy(x)).backward()
            optimizer.step()

    def frozen_natively(self, native):
        return not native.requires_grad
