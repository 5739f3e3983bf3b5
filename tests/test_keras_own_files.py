"""Keras's files, loaded into the very model that wrote them: as Keras itself would, to the bit."""

import keras
import numpy as np
import pytest

import multiparam as mp

L = keras.layers
pytestmark = [  # what Keras does when it saves
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]
FORMATS = [".keras", ".weights.h5"]


def sequential():
    return keras.Sequential([L.Input((4,)), L.Dense(4), L.ReLU(), L.Dense(4), L.BatchNormalization(), L.Dense(4)])


def named():
    return keras.Sequential([L.Input((4,)), L.Dense(4, name="b"), L.Dense(4), L.Dense(4, name="a")])


def nested():
    blocks = [keras.Sequential([L.Dense(4), L.LayerNormalization(), L.Dropout(0.5, seed=3)]) for _ in range(2)]
    return keras.Sequential([L.Input((4,)), *blocks, keras.Sequential([L.Dense(4)], name="head"), L.Dense(4)])


def functional():
    x = L.Input((4,))
    shared = L.Dense(4)
    one, other = shared(L.Dense(4)(x)), shared(L.Dense(4, name="mine")(x))
    return keras.Model(x, L.Dense(2)(L.Concatenate()([one, other])))


def recurrent():
    layers = [L.Bidirectional(L.LSTM(3, return_sequences=True)), L.LSTM(3, return_sequences=True)]
    layers += [L.GRU(3, return_sequences=True), L.GRU(3, reset_after=False, return_sequences=True)]
    return keras.Sequential([L.Input((5, 4)), *layers, L.Bidirectional(L.GRU(3))])


def stacked():
    return keras.Sequential([L.Input((5, 4)), L.RNN([L.LSTMCell(3), L.LSTMCell(3)], return_sequences=True), L.LSTM(3)])


def attention():
    x = L.Input((5, 4))
    y = L.MultiHeadAttention(2, 3)(x, x)
    return keras.Model(x, L.LayerNormalization()(L.MultiHeadAttention(2, 3, dropout=0.1)(y, x)))


def convolutions():
    layers = [L.Conv2D(3, 3), L.DepthwiseConv2D(3), L.SeparableConv2D(3, 3), L.Conv2DTranspose(3, 3), L.Flatten()]
    return keras.Sequential([L.Input((12, 12, 3)), *layers, L.Dense(4), L.EinsumDense("ab,bc->ac", 4)])


class After(keras.Model):
    """Has attributes that Keras comes to after it met their layers in its list of layers."""

    def __init__(self):
        super().__init__()
        self.enc = L.Dense(4)
        self.norm = L.LayerNormalization()
        self.proj2 = L.Dense(4)
        self.proj1 = L.Dense(4)
        self.dropout = L.Dropout(0.2)

    def call(self, x):
        return self.dropout(self.proj1(self.proj2(self.norm(self.enc(x)))))


class Block(L.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.zero = L.Dense(4)
        self.also = L.Dense(4)

    def build(self, shape):
        self.scale = self.add_weight(shape=(4,))

    def call(self, x):
        return self.also(self.zero(x)) * self.scale


class Held(keras.Model):
    """Has lists and dicts of layers, before and after Keras's own list of them."""

    def __init__(self):
        super().__init__()
        self.blocks = [Block(), L.Dense(4), Block()]
        self.deep = {"b": L.Dense(4), "a": L.Dense(4)}
        self.numbered = {"1": L.Dense(4), "0": L.Dense(4)}
        self.pairs = [[L.Dense(4), L.Dense(4)], [L.Dense(4)]]
        self.tail = keras.Sequential([L.Dense(4), L.Dense(4)])

    def call(self, x):
        pairs = [one for some in self.pairs for one in some]
        for layer in (*self.blocks, *self.deep.values(), *self.numbered.values(), *pairs, self.tail):
            x = layer(x)
        return x


def subclassed(cls):
    def make():
        net = cls()
        net(np.zeros((1, 4), np.float32))
        return net

    return make


MODELS = {
    "sequential": sequential,
    "named": named,
    "nested": nested,
    "functional": functional,
    "recurrent": recurrent,
    "stacked": stacked,
    "attention": attention,
    "convolutions": convolutions,
    "after": subclassed(After),
    "held": subclassed(Held),
}


def randomized(net, seed=0):
    rng = np.random.default_rng(seed)
    for one in net.weights:
        if "seed" not in one.path:
            one.assign(rng.uniform(0.1, 1, one.shape).astype(one.dtype))
    return net


def saved(net, path):
    net.save_weights(path) if path.name.endswith(".h5") else net.save(path)
    return path


def values(net):
    return [np.asarray(one) for one in net.weights if "seed" not in one.path]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("case", MODELS)
def test_a_file_of_keras_loads_into_its_model(tmp_path, case, suffix):
    net, ours, theirs = (randomized(MODELS[case](), seed) for seed in range(3))
    path = saved(net, tmp_path / f"net{suffix}")
    report = mp.load(path, into=ours)
    theirs.load_weights(path)
    assert (report.missing, report.unexpected, report.differences, report.notes) == ([], [], [], [])
    for here, there, written in zip(values(ours), values(theirs), values(net), strict=True):
        assert np.array_equal(here, there)
        assert np.array_equal(here, written)
    assert mp.diff(path, ours).equal
    assert mp.diff(ours, path).equal


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_of_a_model_that_was_fitted(tmp_path, suffix):
    net, ours = (randomized(sequential(), seed) for seed in range(2))
    net.compile("adam", "mse", metrics=["mae"])
    net.fit(np.ones((4, 4), np.float32), np.ones((4, 4), np.float32), verbose=0)
    mp.load(saved(net, tmp_path / f"net{suffix}"), into=ours)
    assert all(map(np.array_equal, values(net), values(ours)))


def test_the_report_says_which_layers_are_which(tmp_path):
    net = sequential()
    report = mp.load(saved(net, tmp_path / "net.weights.h5"), into=net)
    assert report.matched == [
        ("layers.dense", "0"),
        ("layers.dense_1", "2"),
        ("layers.batch_normalization", "3"),
        ("layers.dense_2", "4"),
    ]
    assert mp.load(saved(named(), tmp_path / "named.keras"), into=named()).matched == []


class Counting(keras.Model):
    """Has weights of its own, a metric and random numbers."""

    def __init__(self):
        super().__init__()
        self.seen = keras.metrics.Mean()
        self.random = keras.random.SeedGenerator(0)
        self.head = L.Dense(4)
        self.tail = L.Dense(4)
        self.scale = self.add_weight(shape=(4,))

    def call(self, x):
        return self.tail(self.head(x)) * self.scale


@pytest.mark.parametrize("suffix", FORMATS)
def test_weights_of_the_model_itself_beside_a_metric_and_random_numbers(tmp_path, suffix):
    net, ours = (randomized(subclassed(Counting)(), seed) for seed in range(2))
    report = mp.load(saved(net, tmp_path / f"net{suffix}"), into=ours)
    for name in ("head", "tail"):
        assert np.array_equal(getattr(net, name).kernel, getattr(ours, name).kernel)
    assert np.array_equal(net.scale, ours.scale)
    assert report.notes == []
    assert report.matched == [("layers.dense_1", "tail")]


@pytest.mark.parametrize("transposed", [False, True])
def test_tied_layers(tmp_path, transposed):
    def make():
        net = keras.Sequential([L.Input((4,)), L.Embedding(4, 4) if transposed else L.Dense(4), L.Dense(4), L.Dense(4)])
        mp.tie(net, "2.weight", to="0.weight")
        return net

    net, ours, theirs = (randomized(make(), seed) for seed in range(3))
    path = saved(net, tmp_path / "net.weights.h5")
    mp.load(path, into=ours)
    theirs.load_weights(path)
    for here, there, written in zip(values(ours), values(theirs), values(net), strict=True):
        assert np.array_equal(here, there)
        assert np.array_equal(here, written)


def test_states_between_batches_stay_as_they_are(tmp_path):
    def make():
        return keras.Sequential([L.Input((5, 4), batch_size=2), L.LSTM(3, stateful=True), L.Dense(3), L.Dense(3)])

    net, ours = (randomized(make(), seed) for seed in range(2))
    before = [np.asarray(one) for one in ours.layers[0].states]
    mp.load(saved(net, tmp_path / "net.weights.h5"), into=ours)
    assert all(map(np.array_equal, net.layers[0].get_weights()[:3], ours.layers[0].get_weights()[:3]))
    assert all(map(np.array_equal, before, ours.layers[0].states))


def layers_named(*names):
    return keras.Sequential([L.Input((4,)), *(L.Dense(4, name=name) for name in names)])


@pytest.mark.parametrize("suffix", FORMATS)
def test_layers_that_users_named_are_told_by_their_names(tmp_path, suffix):
    net, other = randomized(layers_named("a", "b")), randomized(layers_named("b", "a"), 1)
    path = saved(net, tmp_path / f"net{suffix}")
    mp.load(path, into=other)
    for name in ("a", "b"):
        assert np.array_equal(net.get_layer(name).kernel, other.get_layer(name).kernel)
    for names in [("a", "c"), ("enc_1", "enc_2"), (None, "a"), (None, None)]:
        with pytest.raises(mp.MismatchError):
            mp.load(path, into=layers_named(*names))


def test_models_of_another_class_are_not_told_by_places(tmp_path):
    class Other(After):
        pass

    path = saved(randomized(subclassed(After)()), tmp_path / "net.weights.h5")
    before = values(other := randomized(subclassed(Other)(), 1))
    with pytest.raises(mp.MismatchError):
        mp.load(path, into=other)
    assert all(map(np.array_equal, before, values(other)))


def test_names_that_the_user_gives_come_first(tmp_path):
    net, other = randomized(layers_named(None, None)), randomized(layers_named(None, None), 1)
    path = saved(net, tmp_path / "net.weights.h5")
    mp.load(path, into=other, rename={r"^layers\.dense\.": "1.", r"^layers\.dense_1\.": "0."})
    assert np.array_equal(net.layers[0].kernel, other.layers[1].kernel)
    with pytest.raises(mp.MismatchError):
        mp.load(path, into=other, rename={r"^layers\.dense\.": "1."})


def test_a_layer_that_saves_itself_in_its_own_way_is_not_told_by_places(tmp_path):
    class Own(L.Dense):
        def save_own_variables(self, store):
            store["0"] = self.kernel * 2
            store["1"] = self.bias

    net = keras.Sequential([L.Input((4,)), Own(4)])
    with pytest.raises(mp.MismatchError):
        mp.load(saved(net, tmp_path / "net.weights.h5"), into=net)


def test_what_a_layer_saves_beside_its_weights_is_not_loaded_and_said(tmp_path):
    class Own(L.Dense):
        def __init__(self):
            super().__init__(4, name="own")
            self.random = keras.random.SeedGenerator(0)

        def save_own_variables(self, store):
            for key, one in enumerate((self.kernel, self.bias, self.random.state)):
                store[str(key)] = one

    net, ours = (randomized(keras.Sequential([L.Input((4,)), Own()]), seed) for seed in range(2))
    report = mp.load(saved(net, tmp_path / "net.weights.h5"), into=ours)
    assert np.array_equal(net.layers[0].kernel, ours.layers[0].kernel)
    assert report.notes == ["not loaded, since it is no tensor of the model: layers.own.vars.2"]
    found = mp.diff(tmp_path / "net.weights.h5", ours)
    assert found.equal
    assert found.left_out["layers.own.vars.2"] == "no tensor of the model"
