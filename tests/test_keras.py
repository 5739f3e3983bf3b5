"""The conformance kit on Keras, run once per Keras backend, and what only Keras has."""

import copy
import inspect
import os
import subprocess
import sys
import tempfile

import h5py
import keras
import numpy as np
import pytest
from keras import layers, ops

import multiparam as mp
from multiparam.adapter.registry import infer
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


def read_h5(path):
    names = []
    with h5py.File(path) as file:
        file.visit(names.append)
        yield from [(name, file[name][()]) for name in names if isinstance(file[name], h5py.Dataset)]


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

    def inventory(self, model):
        with tempfile.TemporaryDirectory() as folder:
            model.built = True  # its layers are
            model.save_weights(f"{folder}/a.weights.h5")
            found = {}
            with h5py.File(f"{folder}/a.weights.h5") as file:
                file.visititems(
                    lambda name, one: found.update({name: one[()]}) if isinstance(one, h5py.Dataset) else None
                )
        return found

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


def test_the_engine_under_test_is_the_one_that_was_asked_for():
    assert keras.backend.backend() == os.environ.get("KERAS_BACKEND", keras.backend.backend())
    assert type(infer(dense(4, 8))).__name__ == "KerasAdapter"  # a torch Module too, on PyTorch


def test_functional_models_count_positions_without_inputs():
    first, second = keras.Input((4,)), keras.Input((4,))
    hidden = layers.Dense(8)(layers.Concatenate()([first, second]))
    out = layers.Dense(1, name="price")(layers.Dropout(0.5)(hidden))
    model = keras.Model([first, second], out)
    names = ["1.weight", "1.bias", "price.weight", "price.bias"]
    assert list(mp.parameters(model)) == names
    x = np.ones((2, 4), np.float32)
    np.testing.assert_allclose(mp.run(model, (x, 2 * x)), model.predict([x, 2 * x], verbose=0), rtol=1e-5)


def test_names_of_users_are_kept_and_automatic_ones_are_positions():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(8), layers.Dense(4, name="code"), layers.Dense(8)])
    assert mp.parameters(model).select("*.weight").names == ["0.weight", "code.weight", "2.weight"]


def test_names_that_look_like_positions_are_refused():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(8), layers.Dense(4, name="0")])
    with pytest.raises(mp.AmbiguousMatchError, match="'0'"):
        mp.parameters(model)


def test_siblings_of_one_name_are_told_apart_by_their_attributes():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.one, self.two = layers.Dense(2, name="same"), layers.Dense(2, name="same")

        def call(self, x):
            return self.two(self.one(x))

    model = Net()
    mp.materialize(model, np.ones((1, 2)))
    mp.initialize(model, {"one.*": mp.init.Constant(1), "two.*": mp.init.Constant(2)})
    assert [value.max() for value in model.get_weights()] == [1, 1, 2, 2]


def test_a_functional_subclass_names_its_attributes_first():
    class Net(keras.Model):
        def __init__(self):
            inputs = keras.Input((4,))
            hidden = layers.Dense(8)
            out = layers.Dense(1)
            super().__init__(inputs, out(hidden(inputs)))
            self.hidden = hidden

    assert mp.parameters(Net()).select("*.weight").names == ["hidden.weight", "1.weight"]


def test_a_model_compiled_and_fitted_before_a_tie_trains_and_predicts_the_tie():
    model = TestKeras().language_model()
    index, target = np.array([[0, 6, 3]]), np.ones((1, 3, 7), np.float32)
    model.compile(keras.optimizers.Adam(0.05), "mse")
    model.fit(index, target, epochs=2, verbose=0)
    model.predict(index, verbose=0)
    report = mp.tie(model, "head.weight", to="embedding.weight")
    assert "optimizer was replaced" in str(report)
    assert float(model.optimizer.learning_rate.value) == pytest.approx(0.05)
    before = mp.parameters(model)["embedding.weight"].value
    np.testing.assert_allclose(model.predict(index, verbose=0), before[index] @ before.T, rtol=1e-5, atol=1e-6)
    model.fit(index, target, epochs=3, verbose=0)
    after = mp.parameters(model)["embedding.weight"].value
    assert not np.array_equal(before, after)
    np.testing.assert_allclose(model.predict(index, verbose=0), after[index] @ after.T, rtol=1e-5, atol=1e-6)
    assert len(model.trainable_variables) == 1
    assert model.count_params() == 28


def test_a_tie_inside_a_compiled_model_of_models():
    inner = keras.Sequential([dense(4, 4), layers.ReLU(), dense(4, 4)])
    model = keras.Sequential([inner, dense(4, 1)])
    x, y = np.random.rand(8, 4).astype(np.float32), np.random.rand(8, 1).astype(np.float32)
    model.compile("sgd", "mse")
    model.fit(x, y, verbose=0)
    mp.tie(model, "0.2", to="0.0")
    model.fit(x, y, epochs=2, verbose=0)
    values = {name: one.value for name, one in mp.parameters(model).items()}
    assert list(values) == ["0.0.weight", "0.0.bias", "1.weight", "1.bias"]
    hidden = (
        np.maximum(x @ values["0.0.weight"].T + values["0.0.bias"], 0) @ values["0.0.weight"].T + values["0.0.bias"]
    )
    expected = hidden @ values["1.weight"].T + values["1.bias"]
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-4, atol=1e-5)


def test_freezing_after_fitting_is_obeyed():
    model = TestKeras().mlp()
    x, y = np.random.rand(8, 4).astype(np.float32), np.random.rand(8, 1).astype(np.float32)
    model.compile("adam", "mse")
    model.fit(x, y, verbose=0)
    mp.parameters(model)["0.weight"].trainable = False
    before = mp.parameters(model)["0.weight"].value
    model.fit(x, y, epochs=2, verbose=0)
    assert np.array_equal(mp.parameters(model)["0.weight"].value, before)


def test_one_parameter_of_a_frozen_model_can_be_thawed():
    model = TestKeras().mlp()
    model.trainable = False
    params = mp.parameters(model)
    assert not any(one.trainable for one in params.values())
    params["2.weight"].trainable = True
    assert [one.path for one in model.trainable_variables] == [params["2.weight"].native.path]
    assert params.select(trainable=True).names == ["2.weight"]


class Custom(layers.Layer):
    """A layer whose variables and sublayers come with its first batch."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones")
        self.inner = layers.Dense(3)
        self.inner.build(shape)

    def call(self, x):
        return self.inner(x * self.scale)


def test_a_layer_that_cannot_be_known_before_its_first_batch():
    model = keras.Sequential([Custom(), layers.Dense(2)])
    params = mp.parameters(model)
    assert list(params) == ["1.weight", "1.bias"]
    with pytest.raises(mp.UninitializedError, match="'0' has no parameters yet"):
        mp.save(model, "never")
    mp.initialize(
        model, {"0.scale": mp.init.Constant(3), "0.inner.weight": mp.init.Normal(), "*": mp.init.Ones()}, seed=1
    )
    mp.materialize(model, np.ones((1, 4)))
    assert list(params) == ["0.scale", "0.inner.weight", "0.inner.bias", "1.weight", "1.bias"]
    assert (params["0.scale"].value == 3).all()
    assert np.array_equal(params["0.inner.weight"].value, mp.init.Normal().values(1, "0.inner.weight", (3, 4)))


def test_fitting_is_a_first_batch_too():
    model, known = TestKeras().lazy(), TestKeras().mlp()
    for one in (model, known):
        mp.initialize(one, mp.init.Normal(0.3), seed=2)
        one.compile(keras.optimizers.SGD(0.1), "mse")
        one.fit(np.ones((4, 4), np.float32), np.ones((4, 1), np.float32), verbose=0)
    for name, param in mp.parameters(known).items():
        np.testing.assert_allclose(mp.parameters(model)[name].value, param.value, rtol=1e-5, atol=1e-7)


def test_bfloat16_parameters(tmp_path):
    model = keras.Sequential([dense(4, 8, dtype="bfloat16")])
    param = mp.parameters(model)["0.weight"]
    assert param.dtype.name == "bfloat16"
    param[...] = np.eye(8, 4)
    param[0, 1] = 0.5
    before = param.value
    assert before[0, 1] == 0.5
    mp.save(model, tmp_path / "model.safetensors")
    param[...] = 0
    mp.load(tmp_path / "model.safetensors", into=model)
    assert np.array_equal(param.value, before)
    assert model.layers[0].kernel.dtype == "bfloat16"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize(("inputs", "outputs"), [(300, 301), (301, 256), (256, 300), (512, 256), (1, 40_000)])
def test_a_large_kernel_is_written_and_loaded_as_a_copy(tmp_path, inputs, outputs, dtype):
    layer = dense(inputs, outputs, dtype=dtype)
    held = ops.stop_gradient(layer.kernel)
    before = np.array(ops.convert_to_numpy(held))
    param = mp.parameters(layer)["weight"]
    given = np.random.default_rng(0).standard_normal((outputs, inputs)).astype(param.dtype)
    for value in (given, np.asfortranarray(given), given[::-1, ::-1]):
        expected = value.T.copy()
        param.assign(value)
        assert np.array_equal(ops.convert_to_numpy(layer.kernel), expected)
        value[...] = 0
        assert np.array_equal(ops.convert_to_numpy(layer.kernel), expected)
        value[...] = expected.T
    mp.save(layer, tmp_path / "layer.safetensors")
    expected = np.array(ops.convert_to_numpy(layer.kernel))
    param.assign(np.zeros_like(given))
    mp.load(tmp_path / "layer.safetensors", into=layer)
    assert np.array_equal(ops.convert_to_numpy(layer.kernel), expected)
    if keras.backend.backend() != "torch":  # whose parameters are one memory all their lives
        assert np.array_equal(ops.convert_to_numpy(held), before)


def test_random_state_is_neither_parameter_nor_buffer():
    model = keras.Sequential([dense(4, 4), layers.Dropout(0.5, seed=1)])
    assert list(mp.state(model)) == ["0.weight", "0.bias"]


def test_a_model_made_anew_from_its_configuration_is_untied():
    model = keras.Sequential([keras.Input((3,)), layers.Embedding(7, 4), layers.Dense(7, use_bias=False)])
    mp.tie(model, "1.weight", to="0.weight")
    other = keras.models.clone_model(model)
    assert mp.tied(other) == []
    assert mp.run(other, np.zeros((1, 3), np.int32)).shape == (1, 3, 7)


def test_layers_that_share_a_variable_natively_are_tied():
    model = TestKeras().nested()
    first, second = (model.layers[0].layers[index].layers[0] for index in (0, 1))
    second._tracker.unlock()
    second._kernel = first._kernel
    assert mp.tied(model) == [("0.block 0.0.weight", "0.block 1.0.weight")]


def test_names_alone_follow_native_changes():
    model = keras.Sequential([dense(4, 4), layers.BatchNormalization(name="norm"), layers.Dropout(0.5)])
    model.build((None, 4))
    params = mp.parameters(model)
    assert list(params) == ["0.weight", "0.bias", "norm.weight", "norm.bias"]
    model.add(dense(4, 2))
    assert list(params) == ["0.weight", "0.bias", "norm.weight", "norm.bias", "3.weight", "3.bias"]
    model.layers[0]._tracker.unlock()
    model.layers[0].extra = keras.Variable(np.zeros(2))
    assert list(params)[:3] == ["0.weight", "0.bias", "0.extra"]
    model.pop()
    model.add(layers.LayerNormalization())  # of the size of what comes in: it has nothing yet
    model.layers[-1].built = False
    assert list(params)[-2:] == ["3.weight", "3.bias"]


def test_importing_the_adapter_moves_no_counter_of_automatic_names():
    code = "import keras, multiparam as mp; mp.nn.ReLU(backend='keras'); print(keras.Sequential().name)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "sequential"


def test_whatever_keras_tracks_is_found():
    class Unassigned(layers.Layer):
        def build(self, shape):
            self.add_weight(shape=(shape[-1],), name="scale", initializer="ones")

        def call(self, x):
            return x * self.weights[0]

    class Public(layers.Layer):
        def __init__(self):
            super().__init__()
            self.loss, self.history, self.names = dense(2, 2), dense(2, 2), [dense(2, 2)]
            self._hidden = dense(2, 2)

        def call(self, x):
            return self._hidden(self.names[0](self.history(self.loss(x))))

    first, second = Unassigned(), Public()
    for layer in (first, second):
        layer(np.ones((1, 2), np.float32))
        natives = {id(one.native) for one in mp.parameters(layer).values()}
        assert natives == {id(one) for one in layer.weights}
    assert list(mp.parameters(first)) == ["scale"]
    mp.parameters(first)["scale"][...] = 3
    assert (first.get_weights()[0] == 3).all()
    assert mp.parameters(second).select("*.weight").names == [
        *("loss.weight", "history.weight", "names.0.weight", "_hidden.weight")
    ]


def normed():
    model = keras.Sequential([layers.LayerNormalization(), layers.LayerNormalization()])
    model(np.ones((1, 4), np.float32))
    return model


def test_a_tie_and_an_untie_leave_the_order_of_weights(tmp_path):
    model = normed()
    before = [one.name for one in model.weights]
    mp.tie(model, "1.weight", to="0.weight")
    mp.untie(model, "1.weight")
    assert [one.name for one in model.weights] == before
    assert len({one.path for one in model.weights}) == 4
    mp.initialize(model, {"*.weight": mp.init.Constant(2), "*.bias": mp.init.Constant(3)})
    model.save_weights(tmp_path / "norm.weights.h5")
    other = normed()
    other.load_weights(tmp_path / "norm.weights.h5")
    assert [value[0] for value in other.get_weights()] == [2, 3, 2, 3]


def test_weights_of_a_transposed_tie_are_saved_and_loaded_by_keras(tmp_path):
    models = []
    for _ in range(2):
        model = TestKeras().language_model()
        mp.tie(model, "head.weight", to="embedding.weight")
        model(np.zeros((1, 1), np.int32))
        models.append(model)
    models[0].save_weights(tmp_path / "tied.weights.h5")
    models[1].load_weights(tmp_path / "tied.weights.h5")
    for name, one in mp.parameters(models[0]).items():
        assert np.array_equal(one.value, mp.parameters(models[1])[name].value)
    mp.untie(models[0], "head.weight")
    models[0].save_weights(tmp_path / "untied.weights.h5")
    other = TestKeras().language_model()
    other(np.zeros((1, 1), np.int32))
    other.load_weights(tmp_path / "untied.weights.h5")


def test_a_parameter_untied_while_frozen_can_be_thawed():
    model = TestKeras().nested()
    mp.tie(model, "0.block 1.0.weight", to="0.block 0.0.weight")
    mp.parameters(model)["0.block 0.0.weight"].trainable = False
    mp.untie(model, "0.block 1.0.weight")
    param = mp.parameters(model)["0.block 1.0.weight"]
    assert param.trainable is False
    param.trainable = True
    mp.initialize(model, mp.init.Constant(0.1))
    assert mp.gradients(model, TestKeras().loss, np.ones((2, 4)))["0.block 1.0.weight"].any()


def test_an_untied_parameter_keeps_its_regularizer():
    model = keras.Sequential([dense(4, 4, kernel_regularizer="l2"), dense(4, 4)])
    mp.tie(model, "1.weight", to="0.weight")
    mp.untie(model, "0.weight")
    assert model.layers[0]._kernel.regularizer is not None


class Double(layers.Layer):
    def __init__(self):
        super().__init__()
        self.a = self.add_weight(shape=(4,), name="a")
        self.b = self.add_weight(shape=(4,), name="b")

    def call(self, x):
        return x * self.a + self.b


def test_two_tensors_of_one_layer_can_be_tied_and_untied():
    model = keras.Sequential([Double(), Double()])
    model(np.ones((1, 4), np.float32))
    mp.tie(model, "0.b", to="0.a")
    assert mp.tied(model) == [("0.a", "0.b")]
    mp.tie(model, "0.b", to="1.a")
    assert mp.tied(model) == [("0.b", "1.a")]
    assert {id(one) for one in model.trainable_variables} == {id(p.native) for p in mp.parameters(model).values()}
    mp.untie(model, "0.b")
    assert mp.tied(model) == []
    assert [one.path.rpartition("/")[2] for one in model.weights] == ["a", "b", "a", "b"]


def test_a_remembered_initialization_leaves_what_was_there_already():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.embedding = layers.Embedding(5, 4)
            self.embedding.build((None,))

        def build(self, shape):
            self.gain = self.add_weight(shape=(4,), name="gain")

        def call(self, x):
            return self.embedding(x) * self.gain

    model = Net()
    mp.initialize(model, {"*": mp.init.Constant(2)})
    mp.parameters(model)["embedding.weight"].assign(np.full((5, 4), 7))
    mp.run(model, np.arange(5))
    assert (mp.parameters(model)["embedding.weight"].value == 7).all()
    assert (mp.parameters(model)["gain"].value == 2).all()


def test_a_layer_unknown_before_its_first_batch_is_told_before_loading_and_differentiating(tmp_path):
    model = keras.Sequential([Custom()])
    mp.save({"0.scale": np.ones(4)}, tmp_path / "file.safetensors")
    for attempt in (
        lambda: mp.load(tmp_path / "file.safetensors", into=model, strict=False),
        lambda: mp.gradients(model, TestKeras().loss, np.ones((1, 4))),
    ):
        with pytest.raises(mp.UninitializedError, match="'0'"):
            attempt()
    with pytest.raises(mp.ParameterNotFoundError, match=r"9\.kernl"):
        mp.initialize(model, {"9.kernl": mp.init.Ones()})


def test_a_shared_lazy_layer_is_keyed_by_its_first_name():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.a = self.b = Custom()

        def call(self, x):
            return self.b(self.a(x)[:, :1] * x)

    lazy, eager = Net(), Net()
    mp.materialize(eager, np.ones((1, 4)))
    for model in (lazy, eager):
        mp.initialize(model, {"*": mp.init.Normal()}, seed=0)
    mp.materialize(lazy, np.ones((1, 4)))
    for name, one in mp.parameters(eager).items():
        assert np.array_equal(mp.parameters(lazy)[name].value, one.value)


def test_freezing_through_a_layer_reaches_the_compiled_model():
    model = TestKeras().mlp()
    x, y = np.random.rand(8, 4).astype(np.float32), np.random.rand(8, 1).astype(np.float32)
    model.compile("adam", "mse")
    model.fit(x, y, verbose=0)
    mp.parameters(mp.layers(model)[0])["weight"].trainable = False
    before = mp.parameters(model)["0.weight"].value
    model.fit(x, y, epochs=2, verbose=0)
    assert np.array_equal(mp.parameters(model)["0.weight"].value, before)


def test_a_layer_built_again_is_not_initialized_again():
    layer = layers.Dense(3)
    original = layer.build
    model = keras.Sequential([layer])
    for value in (1, 2):
        mp.initialize(model, {"*": mp.init.Constant(value)})
    mp.run(model, np.ones((1, 4)))
    assert layer.build is original
    assert (mp.parameters(model)["0.weight"].value == 2).all()


def test_a_model_with_named_children_is_saved_copied_and_extended(tmp_path):
    with mp.use("keras"):
        model = mp.nn.Sequential({"first": mp.nn.Linear(4, 8), "second": mp.nn.Linear(8, 2)})
    x = np.ones((1, 4), np.float32)
    expected = mp.run(model, x)
    model.save(tmp_path / "model.keras")
    for other in (keras.models.load_model(tmp_path / "model.keras"), copy.deepcopy(model)):
        assert list(mp.parameters(other)) == ["first.weight", "first.bias", "second.weight", "second.bias"]
        np.testing.assert_allclose(mp.run(other, x), expected, rtol=1e-6)
    model.add(dense(2, 3))
    assert list(mp.parameters(model))[-1] == "2.bias"
    for _ in range(2):
        model.pop()
    assert list(mp.parameters(model)) == ["first.weight", "first.bias"]
    model.add(dense(8, 3))
    assert list(mp.parameters(model))[-1] == "1.bias"


class Recurrent(keras.Model):
    def __init__(self, layer):
        super().__init__()
        self.recurrent, self.head = layer, keras.layers.Dense(1)

    def call(self, x):
        return self.head(self.recurrent(x))


@pytest.mark.parametrize(
    "make",
    [
        lambda: keras.layers.GRU(3),
        lambda: keras.layers.Bidirectional(keras.layers.GRU(3)),
        lambda: keras.layers.RNN([keras.layers.GRUCell(3), keras.layers.GRUCell(3)]),
        lambda: keras.layers.LSTM(3),
        lambda: keras.layers.GRU(3, reset_after=False),
        lambda: keras.layers.MultiHeadAttention(2, 4),
    ],
)
@pytest.mark.parametrize("way", ["call", "fit", "run"])
def test_an_initialization_waits_for_every_part_of_a_lazy_layer(make, way):
    x = np.ones((2, 5, 4), np.float32)
    layer = make()
    attention = isinstance(layer, keras.layers.MultiHeadAttention)
    model = Attending(layer) if attention else Recurrent(layer)
    mp.initialize(model, {"*": mp.init.Constant(0.25)}, seed=0)
    if way == "call":
        model(x)
    elif way == "run":
        mp.run(model, x)
    else:
        model.compile(keras.optimizers.SGD(0.0), "mse")
        model.fit(x, np.ones((2, 5, 4) if attention else (2, 1)), verbose=0)
    assert all((one.value == 0.25).all() for one in mp.parameters(model).values())
    assert len(mp.parameters(model)) == (4 if attention else len(model.weights) + (2 * count_of_gru(layer)) // 2)


def count_of_gru(layer):
    """How many GRU cells with two biases in one variable there are."""
    cells = [c for c in layer._flatten_layers() if isinstance(c, keras.layers.GRUCell)]
    return len([cell for cell in cells if cell.reset_after])


class Attending(keras.Model):
    def __init__(self, layer):
        super().__init__()
        self.attention = layer

    def call(self, x):
        return self.attention(x, x)


def test_a_lazy_gru_that_only_keras_has_is_not_passed_over(tmp_path):
    model = keras.Sequential([keras.layers.GRU(3, reset_after=False), keras.layers.Dense(2)])
    with pytest.raises(mp.UninitializedError, match="'0' has no parameters yet"):
        mp.save(model, tmp_path / "net.safetensors")


def test_a_sequence_is_not_turned_for_the_sake_of_a_pool():
    x = np.random.default_rng(0).standard_normal((2, 5, 4)).astype(np.float32)
    layers = keras.layers
    for model in (
        keras.Sequential([layers.LSTM(8, return_sequences=True), layers.GlobalAveragePooling1D(), layers.Dense(1)]),
        keras.Sequential([layers.SpatialDropout1D(0.1), layers.LSTM(3, return_sequences=True)]),
    ):
        mp.materialize(model, x)
        native = keras.ops.convert_to_tensor(model(x, training=False))
        np.testing.assert_allclose(mp.run(model, x), mp.run(model, x, native=True), rtol=1e-5, atol=1e-6)
        assert mp.run(model, x).shape == tuple(native.shape)
    assert mp.parameters(model)["1.weight_ih_l0"].shape == (12, 4)


def test_a_cell_that_is_held_by_itself_too_is_one_layer():
    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.cell = keras.layers.LSTMCell(6)
            self.rnn = keras.layers.RNN(self.cell)

        def call(self, x):
            return self.rnn(x)

    lazy, built = Model(), Model()
    built(np.ones((1, 5, 4)))
    for model in (lazy, built):
        mp.initialize(model, mp.init.XavierUniform(), seed=0)
    lazy(np.ones((1, 5, 4)))
    for name, one in mp.parameters(built).items():
        assert np.array_equal(one.value, mp.parameters(lazy)[name].value), name
    assert mp.tied(built)[0] == ("cell.weight_ih", "rnn.weight_ih_l0")
    with pytest.raises(mp.UnsupportedError, match="one layer object used twice"):
        mp.untie(built, "rnn")


def test_what_a_stateful_layer_keeps_between_batches_is_not_saved(tmp_path):
    layer = keras.layers.LSTM(3, stateful=True)
    model = keras.Sequential([keras.Input((5, 4), batch_size=2), layer])
    mp.save(model, tmp_path / "net.safetensors")
    other = keras.Sequential([keras.Input((5, 4)), keras.layers.LSTM(3)])
    mp.load(tmp_path / "net.safetensors", into=other)


def test_relus_with_a_limit_are_what_they_are():
    for make, kind in (
        (lambda: keras.layers.ReLU(), "ReLU"),
        (lambda: keras.layers.ReLU(6.0), "ReLU6"),
        (lambda: keras.layers.ReLU(negative_slope=0.1), "LeakyReLU"),
    ):
        assert mp.layers(make()).kind == kind


def test_an_activation_that_is_a_layer_has_a_name(tmp_path):
    layer = keras.layers.SimpleRNN(3, activation=keras.layers.LeakyReLU())
    layer.build((None, 5, 4))
    mp.save(layer, tmp_path / "net.safetensors")
    mp.initialize(layer, "keras", seed=0)


def test_gates_of_a_gru_are_tied_and_frozen_as_one_native_tensor():
    def layer():
        made = keras.layers.GRU(3)
        made.build((None, 5, 3))
        return made

    model = keras.Sequential([layer(), layer()])
    with pytest.raises(mp.UnsupportedError, match="are one native tensor: name their layer, '1'"):
        mp.tie(model, "1.bias_ih_l0", to="0.bias_ih_l0")
    mp.tie(model, "1", to="0")
    assert [group[0] for group in mp.tied(model)] == [
        f"0.{role}" for role in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    ]
    mp.parameters(model)["1.bias_hh_l0"][:] = 3
    assert (mp.parameters(model)["0.bias_hh_l0"].value == 3).all()
    assert not mp.parameters(model)["0.bias_ih_l0"].value.any()
    with pytest.raises(mp.UnsupportedError, match="are one native tensor"):
        mp.untie(model, "1.bias_ih_l0")
    mp.untie(model, "1")
    assert mp.tied(model) == []
    assert (mp.parameters(model)["1.bias_hh_l0"].value == 3).all()


def test_what_a_normalization_computes_with_follows_its_variables(tmp_path):
    def model():
        return keras.Sequential([keras.Input((3,)), keras.layers.Normalization(), keras.layers.Dense(2)])

    x = np.random.default_rng(0).normal(5, 3, (64, 3)).astype(np.float32)
    original, other = model(), model()
    original.layers[0].adapt(x)
    mp.save(original, tmp_path / "net.safetensors")
    mp.load(tmp_path / "net.safetensors", into=other)
    np.testing.assert_array_equal(mp.run(other, x), mp.run(original, x))


def test_a_function_that_calls_numpys_methods_is_a_layer(tmp_path):
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    functions = [
        lambda x: x - x.mean(axis=1, keepdims=True),
        lambda x: x if x.mean() > 100 else -x,
        lambda x: 1 / (2 + x.max()) + float(x.min()),
    ]
    if keras.backend.backend() != "torch":  # whose tensors have some of these under other names
        functions.append(lambda x: x.reshape(-1, 6).transpose(1, 0).T.flatten().astype("float32") * x.size)
    for function in functions:
        np.testing.assert_allclose(mp.run(mp.nn.Lambda(function, backend="keras"), x), function(x), rtol=1e-6)
    with pytest.raises(AttributeError, match="nonsense"):
        mp.run(mp.nn.Lambda(lambda x: (x * 1, None.nonsense), backend="keras"), x)


def images_of(rank):
    return np.random.default_rng(0).random((2, 3, *range(6, 6 + rank))).astype(np.float32)


@pytest.mark.parametrize(
    ("make", "rank"),
    [
        *((lambda rank=rank: getattr(keras.layers, f"UpSampling{rank}D")(2), rank) for rank in (1, 2, 3)),
        *((lambda rank=rank: getattr(keras.layers, f"Cropping{rank}D")(1), rank) for rank in (1, 2, 3)),
        *((lambda rank=rank: getattr(keras.layers, f"ZeroPadding{rank}D")(1), rank) for rank in (1, 2, 3)),
        *((lambda rank=rank: getattr(keras.layers, f"SpatialDropout{rank}D")(0.5), rank) for rank in (1, 2, 3)),
        (lambda: keras.layers.UpSampling2D((2, 3), interpolation="bilinear"), 2),
        (lambda: keras.layers.MaxPooling2D(2), 2),
        (lambda: keras.layers.GlobalAveragePooling2D(), 2),
        (lambda: keras.layers.Resizing(4, 5), 2),
        (lambda: keras.layers.CenterCrop(4, 5), 2),
        (lambda: keras.layers.RandomCrop(4, 5), 2),
        (lambda: keras.layers.RandomFlip(), 2),
        (lambda: keras.layers.Rescaling([1.0, 2.0, 3.0]), 2),
        (lambda: keras.layers.Normalization(mean=[0.0, 1.0, 2.0], variance=[1.0, 4.0, 9.0]), 2),
        (lambda: keras.layers.BatchNormalization(gamma_initializer="random_normal"), 2),
    ],
)
def test_images_are_turned_for_every_layer_that_takes_them(make, rank):
    layer, x = make(), images_of(rank)
    turned = np.moveaxis(x, 1, -1)
    layer.build(turned.shape)
    expected = keras.ops.convert_to_numpy(
        layer(turned, training=False) if "training" in inspect.signature(layer.call).parameters else layer(turned)
    )
    if expected.ndim == x.ndim:
        expected = np.moveaxis(expected, -1, 1)
    for net in (layer, keras.Sequential([layer]), keras.Sequential([layer, keras.layers.ReLU()])):
        want = np.maximum(expected, 0) if len(getattr(net, "layers", ())) == 2 else expected
        given = mp.run(net, x)
        assert given.shape == want.shape
        assert np.allclose(given, want, atol=1e-5)
    assert np.allclose(
        np.moveaxis(mp.run(layer, turned, native=True), -1, 1) if expected.ndim == x.ndim else expected,
        expected,
        atol=1e-5,
    )


def test_what_has_its_channels_first_or_is_no_image_is_left_as_it_is():
    x = images_of(2)
    layer = keras.layers.ZeroPadding2D(1, data_format="channels_first")
    assert mp.run(layer, x).shape == (2, 3, 8, 9)
    sequence = np.random.default_rng(0).random((2, 5, 3)).astype(np.float32)
    dense = keras.Sequential([keras.layers.Dense(3), keras.layers.BatchNormalization()])
    dense.build((None, 5, 3))
    assert np.allclose(mp.run(dense, sequence), keras.ops.convert_to_numpy(dense(sequence, training=False)), atol=1e-6)


def test_an_input_may_be_left_out_or_be_a_dict_of_arrays():
    class Masked(keras.layers.Layer):
        def call(self, x, scale=None):
            return x["a"] + 1 if scale is None else x["a"] * scale

    x = np.ones((2, 3), np.float32)
    assert (mp.run(Masked(), ({"a": x}, None)) == 2).all()
    assert (mp.run(Masked(), ({"a": x}, x * 3)) == 3).all()


class Unnamed(keras.layers.Layer):
    """Weights that Keras names by a counter of the process: alone, in a layer of its own, and beside named ones."""

    def __init__(self, inner=True):
        super().__init__()
        self.held = [keras.Variable(np.ones(2, np.float32)), keras.Variable(np.zeros(2, np.float32))]
        self.inner = Unnamed(False) if inner else keras.layers.Dropout(0.5)

    def build(self, shape):
        self.add_weight(shape=(2,))
        self.add_weight(shape=(2,), name="named")
        self.add_weight(shape=(2,), trainable=False)
        self.add_weight(shape=(2,))
        self.built = True

    def call(self, x):
        return x


def test_names_have_no_counters_of_the_process(tmp_path):
    first, second = (keras.Sequential([Unnamed(), Unnamed()]) for _ in range(2))
    for net in (first, second):
        net.build((None, 2))
        for layer in net.layers:
            layer.inner.build((None, 2))
    names = [*mp.state(first)]
    assert names == [*mp.state(second)]
    own = ["held.0", "held.1", "variable", "named", "variable_1", "variable_2"]
    assert [name for name in names if name.startswith("1.") and "inner" not in name] == [f"1.{name}" for name in own]
    assert "0.inner.variable_1" in names
    mp.initialize(first, {"*": mp.init.Normal()}, seed=0)
    mp.save(first, tmp_path / "net.safetensors")
    mp.load(tmp_path / "net.safetensors", into=second)
    assert mp.diff(first, second).equal


@pytest.mark.parametrize("tied", ["variable", "variable_1", "named"])
def test_a_tie_leaves_the_other_names_as_they_are(tied):
    net = keras.Sequential([Unnamed(False), Unnamed(False)])
    net.build((None, 2))
    names = [*mp.state(net), *(alias for one in mp.state(net).values() for alias in one.aliases)]
    for other in ("named", "variable_1"):
        mp.tie(net, f"1.{tied}", to=f"0.{other}")
        state = mp.state(net)
        assert {*state, *(alias for one in state.values() for alias in one.aliases)} == {*names}
        assert mp.tied(net) == [(f"0.{other}", f"1.{tied}")]
        mp.untie(net, f"1.{tied}")
        assert {*mp.state(net)} == {*names}


if keras.backend.backend() == "torch":
    import torch

    class Mixed(torch.nn.Module):
        """A PyTorch module with Keras layers in it."""

        def __init__(self):
            super().__init__()
            self.hidden = keras.layers.Dense(5)
            self.hidden.build((None, 6))
            self.block = keras.Sequential([keras.layers.Dense(3), keras.layers.BatchNormalization()])
            self.block.build((None, 5))
            self.head = torch.nn.Linear(3, 2)

        def forward(self, x):
            return self.head(self.block(self.hidden(x)))

    def test_keras_layers_in_a_torch_module_are_keras_layers(tmp_path):
        net, other, x = Mixed(), Mixed(), np.ones((2, 6), np.float32)
        names = ["hidden.weight", "hidden.bias", "block.0.weight", "block.0.bias", "block.1.weight", "block.1.bias"]
        assert list(mp.parameters(net)) == [*names, "head.weight", "head.bias"]
        assert list(mp.buffers(net)) == ["block.1.running_mean", "block.1.running_var"]
        mp.initialize(net, mp.init.Normal(), seed=0)
        kernel = mp.parameters(net)["hidden.weight"]
        assert np.array_equal(kernel.value, ops.convert_to_numpy(net.hidden.kernel).T)
        assert not mp.save(net, tmp_path / "net.safetensors").left_out
        mp.load(tmp_path / "net.safetensors", into=other)
        with torch.no_grad():
            assert np.allclose(mp.run(other, x), net.eval()(torch.from_numpy(x)).numpy(), atol=1e-6)
        assert mp.verify(net, other, x).agrees
        found = mp.gradients(net, lambda net, x: net(x).sum(), x)
        net(torch.from_numpy(x)).sum().backward()
        assert [*found] == list(mp.parameters(net))
        assert np.allclose(found["head.bias"], [2, 2])
        assert kernel.grad.shape == (5, 6)
        kernel.trainable = False
        assert not net.hidden.kernel.value.requires_grad
        assert "hidden.weight" not in mp.gradients(net, lambda net, x: net(x).sum(), x)
        with pytest.raises(mp.UnsupportedError, match=r"'block\.0\.weight' is keras's, in a model that is torch's"):
            mp.tie(net, "block.0.weight", to="head.weight")

    def test_a_wrapped_torch_module_has_its_own_names(tmp_path):
        def make():
            module = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Linear(5, 5))
            return keras.Sequential([keras.layers.TorchModuleWrapper(module)])

        first, second = make(), make()
        assert list(mp.parameters(second)) == ["0.0.weight", "0.0.bias", "0.1.weight", "0.1.bias"]
        mp.save(first, tmp_path / "net.safetensors")
        mp.load(tmp_path / "net.safetensors", into=second)
        assert torch.equal(first.layers[0].module[1].weight, second.layers[0].module[1].weight)


def test_a_summary_shows_a_layers_own_name_and_its_position():
    net = keras.Sequential([keras.layers.Dense(3, name="first"), keras.layers.Dense(2), keras.layers.Dense(2)])
    net.build((None, 4))
    shown = [line.split("  ")[1].strip() for line in str(mp.summary(net)).splitlines() if "Linear" in line]
    automatic = [layer.name for layer in net.layers[1:]]
    assert shown == ["first (0)", f"1 ({automatic[0]})", f"2 ({automatic[1]})"]
    assert f"1 ({automatic[0]}) " in mp.summary(net)._repr_html_()
