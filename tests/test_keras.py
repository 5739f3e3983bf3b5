"""The conformance kit on Keras, run once per Keras backend, and what only Keras has."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from multiparam.testing import ConformanceSuite

# Keras's own convert_to_numpy and get_weights do this with numpy 2.4; multiparam's adapter uses neither
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


def dense(inputs, outputs, **options):
    layer = layers.Dense(outputs, **options)
    layer.build((None, inputs))
    return layer


class Named(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden, self.head = dense(4, 8), dense(8, 3)

    def call(self, x):
        return self.head(ops.relu(self.hidden(x)))


class Fancy(keras.Model):
    def __init__(self, constant):
        super().__init__()
        self.constant = ops.convert_to_tensor(constant)
        self.linear = dense(20, 20)

    def call(self, x):
        x = self.linear(ops.relu(self.linear(x) @ self.constant + 1))
        while ops.sum(ops.abs(x)) > 1:
            x = x / 2
        return ops.sum(x * 10 if ops.sum(ops.abs(x)) < 0.8 else x)


class Containers(keras.Model):
    def __init__(self):
        super().__init__()
        self.blocks = [dense(4, 4), dense(4, 4)]
        self.heads = {"a": dense(4, 2), "b": dense(4, 2)}

    def call(self, x):
        for one in self.blocks:
            x = one(x)
        return self.heads["a"](x) + self.heads["b"](x)


class Twice(keras.Model):
    def __init__(self):
        super().__init__()
        self.first = self.second = dense(4, 4)

    def call(self, x):
        return self.second(self.first(x))


class LanguageModel(keras.Model):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = layers.Embedding(7, 4), dense(4, 7, use_bias=False)
        self.embedding.build((None,))

    def call(self, x):
        return self.head(self.embedding(x))


class Buffered(keras.Model):
    def __init__(self):
        super().__init__()
        self.linear = dense(4, 2)
        self.mean = self.add_weight(shape=(4,), initializer="zeros", trainable=False)

    def call(self, x):
        return self.linear(x - self.mean)


class Pair(keras.Model):
    def __init__(self):
        super().__init__()
        self.left, self.right = dense(4, 2), dense(4, 2)

    def call(self, left, right):
        return self.left(left) + self.right(right)


def block(name):
    return keras.Sequential([dense(4, 8), layers.ReLU(), dense(8, 4), layers.ReLU()], name=name)


class TestKeras(ConformanceSuite):
    backend = "keras"

    def mlp(self):
        return keras.Sequential([dense(4, 8), layers.ReLU(), dense(8, 1)])

    def named(self):
        return Named()

    def nested(self):
        blocks = keras.Sequential([block(f"block {index}") for index in range(2)])
        return keras.Sequential([blocks, dense(4, 1)])

    def shared(self):
        layer = dense(8, 8)
        return keras.Sequential([dense(4, 8), layers.ReLU(), layer, layers.ReLU(), layer, layers.ReLU(), dense(8, 1)])

    def fancy(self, constant):
        return Fancy(constant)

    def custom(self):
        class Inner(layers.Layer):
            def __init__(self):
                super().__init__()
                self.w = self.add_weight(shape=(4, 3), initializer="normal")

            def call(self, x):
                return x @ self.w

        class Custom(keras.Model):
            def __init__(self):
                super().__init__()
                self.offset = self.add_weight(shape=(3,), initializer="ones")
                self.inner = Inner()

            def call(self, x):
                return self.inner(x) + self.offset

        return Custom()

    def containers(self):
        return Containers()

    def twice(self):
        return Twice()

    def language_model(self):
        return LanguageModel()

    def lazy(self):
        return keras.Sequential([layers.Dense(8), layers.ReLU(), layers.Dense(1)])

    def buffered(self):
        return Buffered()

    def pair(self):
        return Pair()

    def raw_mlp(self, model):
        values = [np.array(value) for value in model.get_weights()]
        names = ["0.weight", "0.bias", "2.weight", "2.bias"]
        return {name: np.ascontiguousarray(value.T) for name, value in zip(names, values, strict=True)}

    def raw_language_model(self, model):
        return {
            "embedding.weight": np.array(model.embedding.get_weights()[0]),
            "head.weight": np.ascontiguousarray(model.head.get_weights()[0].T),
        }

    def forward(self, model, x):
        return np.array(ops.convert_to_numpy(model(ops.convert_to_tensor(x))))

    def loss(self, model, x):
        return 0.5 * ops.sum(ops.square(model(x)))

    def train(self, model, x, steps):
        if not model.compiled:
            model.compile("adam", "mse")
        target = np.zeros_like(self.forward(model, x))
        model.fit(x, target, epochs=steps, verbose=0)
        np.testing.assert_allclose(model.predict(x, verbose=0), self.forward(model, x), rtol=1e-4, atol=1e-5)

    def frozen_natively(self, native):
        return not native.trainable
