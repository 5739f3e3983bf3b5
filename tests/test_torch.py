"""The conformance kit on PyTorch, and what only PyTorch has."""

import copy
import math
import pickle
import warnings

import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors.torch import load_file
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.optim.swa_utils import AveragedModel

import multiparam as mp
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

    def inventory(self, model):
        return {name: one.numpy() for name, one in model.state_dict().items()}

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


@pytest.fixture
def zoo():
    return {
        "attention": nn.MultiheadAttention(8, 2),
        "transformer": nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
        "lstm": nn.LSTM(4, 8, num_layers=2, bidirectional=True),
        "convolutions": nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ConvTranspose2d(8, 3, 3)),
        "parametrized": nn.utils.parametrizations.weight_norm(nn.Linear(4, 8)),
        "parameters": nn.ParameterDict({"a": nn.Parameter(torch.ones(2)), "b%": nn.Parameter(torch.ones(3))}),
        "list": nn.ParameterList([nn.Parameter(torch.ones(2))] * 2),
        "shared": TestTorch().shared(),
        "tied": tied_transformer(),
    }


def tied_transformer():
    model = LanguageModel()
    model.head.weight = model.embedding.weight
    return model


def test_names_and_order_are_named_parameters(zoo):
    for what, model in zoo.items():
        assert list(mp.parameters(model)) == [name for name, _ in model.named_parameters()], what
        every = {name for name, _ in model.named_parameters(remove_duplicate=False)}
        params = mp.parameters(model)
        assert {name for one in params.values() for name in (one.name, *one.aliases)} == every, what
        assert all(params[name].native is one for name, one in model.named_parameters()), what


def test_buffers_and_state_are_named_as_in_state_dict(zoo):
    for what, model in zoo.items():
        assert list(mp.buffers(model)) == [name for name, _ in model.named_buffers()], what
        everything = [name for one in mp.state(model).values() for name in (one.name, *one.aliases)]
        assert sorted(everything) == sorted(model.state_dict()), what


def test_a_file_is_a_state_dict_for_people_without_multiparam(zoo, tmp_path):
    for what, model in zoo.items():
        path = tmp_path / f"{what}.safetensors"
        mp.save(model, path)
        clone = copy.deepcopy(model)
        with torch.no_grad():
            for one in clone.parameters():
                one.zero_()
        if mp.tied(model):
            missing, unexpected = safetensors.torch.load_model(clone, path)
            assert (missing, unexpected) == (set(), []), what
        else:
            clone.load_state_dict(safetensors.torch.load_file(path), strict=True)
        for name, one in model.state_dict().items():
            assert torch.equal(one, clone.state_dict()[name]), (what, name)


def test_values_are_read_and_written_for_whole_model_classes(zoo, tmp_path):
    for what, model in zoo.items():
        mp.initialize(model, {"*": mp.init.Normal()}, seed=1)
        expected = mp.init.Normal().values(1, "linear1.weight", (16, 8))
        if what == "transformer":
            assert np.array_equal(model.linear1.weight.detach().numpy(), expected)
        other = copy.deepcopy(model)
        mp.initialize(other, {"*": mp.init.Zeros()})
        mp.save(model, tmp_path / "file.safetensors")
        mp.load(tmp_path / "file.safetensors", into=other)
        for (name, one), two in zip(model.state_dict().items(), other.state_dict().values(), strict=True):
            assert torch.equal(one, two), (what, name)


def test_buffers_that_are_not_persistent_are_not_in_files(tmp_path):
    model = nn.Linear(2, 2)
    model.register_buffer("scratch", torch.ones(3), persistent=False)
    assert list(mp.buffers(model)) == ["scratch"]
    mp.save(model, tmp_path / "model.safetensors")
    assert sorted(safetensors.torch.load_file(tmp_path / "model.safetensors")) == ["bias", "weight"]
    mp.load(tmp_path / "model.safetensors", into=model)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.float8_e4m3fn, torch.complex64])
def test_dtypes_are_read_written_and_saved(dtype, tmp_path):
    model = nn.Linear(4, 8)
    model.weight = nn.Parameter(model.weight.detach().to(dtype))
    param = mp.parameters(model)["weight"]
    assert param.dtype.name == str(dtype).removeprefix("torch.")
    param[...] = np.eye(8, 4)
    assert torch.equal(model.weight.detach().to(torch.complex64), torch.eye(8, 4).to(torch.complex64))
    assert model.weight.dtype == dtype
    mp.save(model, tmp_path / "model.safetensors")
    assert torch.equal(
        safetensors.torch.load_file(tmp_path / "model.safetensors")["weight"].to(torch.complex64),
        model.weight.detach().to(torch.complex64),
    )
    before = param.value
    param[...] = 0
    mp.load(tmp_path / "model.safetensors", into=model)
    assert param.value.tobytes() == before.tobytes()


def test_writes_are_not_recorded_by_autograd():
    model = nn.Linear(4, 8)
    loss = model(torch.ones(1, 4)).sum()
    mp.parameters(model)["weight"][...] = 3
    assert model.weight.grad_fn is None
    assert model.weight.is_leaf
    loss.backward()


def test_gradients_of_the_framework_show_through():
    model = nn.Linear(4, 8)
    params = mp.parameters(model)
    assert params["weight"].grad is None
    model(torch.ones(1, 4)).sum().backward()
    assert np.array_equal(params["weight"].grad, np.ones((8, 4)))
    mp.gradients(model, lambda net, x: 2 * net(x).sum(), np.ones((1, 4)))
    assert torch.equal(model.weight.grad, torch.full((8, 4), 2.0))


def test_run_leaves_the_mode_as_it_was():
    model = nn.Sequential(nn.Dropout(0.9), nn.BatchNorm1d(4), nn.Dropout(0.9).eval())
    before = [module.training for module in model.modules()]
    x = np.ones((3, 4), np.float32)
    assert np.array_equal(mp.run(model, x), mp.run(model, x))
    assert [module.training for module in model.modules()] == before
    assert model[1].num_batches_tracked == 0


def test_a_copy_of_a_lazy_model_keeps_its_initialization():
    model = TestTorch().lazy()
    mp.initialize(model, mp.init.Constant(3), seed=0)
    clone = copy.deepcopy(model)
    for one in (model, clone):
        one(torch.ones(1, 4))
        assert (one[0].weight == 3).all()
        with torch.no_grad():
            one[0].weight.zero_()
        one(torch.ones(1, 4))
        assert not one[0].weight.any()  # once, not at every batch
        assert not one[0]._forward_pre_hooks


class MyLinear(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(4, 7))

    def forward(self, x):
        return x @ self.w


@pytest.fixture
def projecting():
    mp.register_layer(MyLinear, "Linear", weight=mp.Transposed("w"))
    model = nn.Sequential(nn.Embedding(7, 4), MyLinear())
    mp.tie(model, "1.weight", to="0.weight")
    return model


def test_a_transposed_tie_is_one_parameter_to_pytorch(projecting):
    assert [name for name, _ in projecting.named_parameters()] == ["0.weight"]
    assert torch.equal(projecting[1].w, projecting[0].weight.T)
    before = projecting[0].weight.detach().clone()
    optimizer = torch.optim.SGD(projecting.parameters(), lr=0.1)
    projecting(torch.tensor([0, 3])).square().sum().backward()
    optimizer.step()
    assert not torch.equal(projecting[0].weight, before)
    assert torch.equal(projecting[1].w, projecting[0].weight.T)


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_of_a_transposed_tie_is_tied_to_itself(projecting, clone):
    other = clone(projecting)
    assert mp.tied(other) == [("0.weight", "1.weight")]
    mp.parameters(other)["0.weight"][...] = 5
    assert (other[1].w == 5).all()
    assert not (projecting[1].w == 5).any()


def test_converting_a_model_keeps_a_transposed_tie(projecting):
    projecting.double()
    assert projecting[1].w.dtype == torch.float64
    assert mp.tied(projecting) == [("0.weight", "1.weight")]


def test_when_the_owner_of_a_tie_goes_an_heir_has_it(projecting):
    value = projecting[0].weight.detach().clone()
    mp.untie(projecting, "0.weight")
    assert isinstance(projecting[1]._parameters["w"], nn.Parameter)
    assert type(projecting[1]) is MyLinear
    assert torch.equal(projecting[1].w, value.T)
    assert [name for name, _ in projecting.named_parameters()] == ["0.weight", "1.w"]


def test_the_optimizer_note_is_given():
    assert "optimizer" in str(mp.tie(TestTorch().nested(), "0.block 1.0", to="0.block 0.0"))


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature:UserWarning")
def test_every_lazy_layer_says_what_is_known_of_its_shapes():
    model = nn.Sequential(nn.LazyConv2d(8, 3, groups=2), nn.LazyBatchNorm2d(), nn.LazyConvTranspose2d(6, 3, groups=2))
    params = mp.parameters(model)
    assert {name: one.shape for name, one in params.items()} == {
        "0.weight": (8, None, 3, 3),
        "0.bias": (8,),
        "1.weight": (None,),
        "1.bias": (None,),
        "2.weight": (None, 3, 3, 3),
        "2.bias": (6,),
    }
    assert [one.kind for one in params.values()][::2] == ["Conv2d", "BatchNorm2d", "ConvTranspose2d"]
    mp.initialize(model, mp.init.KaimingNormal(), seed=0)
    mp.materialize(model, np.ones((1, 4, 9, 9)))
    assert params["2.weight"].shape == (8, 3, 3, 3)
    # each output sees 4 of the 8 channels, through 9 elements of the kernel
    expected = mp.init.Normal(math.sqrt(2 / 36)).values(0, "2.weight", (8, 3, 3, 3))
    assert np.array_equal(params["2.weight"].value, expected)
    assert (params["1.weight"].value == 1).all()
    assert list(mp.buffers(model)) == ["1.running_mean", "1.running_var", "1.num_batches_tracked"]


def test_a_mapping_sees_what_was_changed_natively():
    net = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    params = mp.parameters(net)
    old = params["1.weight"]
    net[1] = nn.Linear(3, 5)
    assert params["1.weight"].shape == (5, 3)
    assert old.shape == (2, 3)
    net.append(nn.Linear(5, 1))
    assert params["2.bias"].shape == (1,)
    assert len(params) == 6
    net.append(nn.Linear(1, 1))
    assert "3.weight" in list(params)
    net[3].weight = net[2].weight = nn.Parameter(torch.ones(1, 1))
    assert [one.name for one in params.values()][-3:] == ["2.weight", "2.bias", "3.bias"]


class Position(nn.Module):
    def __init__(self, learned):
        super().__init__()
        if learned:
            self.place = nn.Parameter(torch.zeros(3))
        else:
            self.register_buffer("place", torch.zeros(3))


@pytest.mark.parametrize("first", [True, False])
def test_names_alone_tell_a_parameter_from_another_layers_buffer_of_its_name(first):
    net = nn.Sequential(Position(first), Position(not first))
    params = mp.parameters(net)
    assert list(params) == [name for name, _ in net.named_parameters()]
    net[0], net[1] = net[1], net[0]
    assert list(params) == [name for name, _ in net.named_parameters()]


def test_names_alone_follow_native_changes_too():
    net = nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.LayerNorm(3), nn.BatchNorm1d(3)), nn.Linear(3, 3))
    params = mp.parameters(net)

    def follows():
        return list(params) == [name for name, _ in net.named_parameters()]

    assert follows()
    assert len(params) == 8
    net[0] = nn.Linear(4, 3, bias=False)
    assert follows()
    net[1][0].bias = None
    assert follows()
    net[1].append(nn.ParameterList([torch.zeros(1), torch.ones(1)]))
    assert follows()
    del net[1][1]
    assert follows()
    net[1].append(nn.Sequential())
    assert follows()
    net[1].append(nn.Sequential())
    net[1][2].append(nn.Linear(2, 2, bias=False))
    assert follows()
    net[1][2], net[1][3] = nn.Sequential(), net[1][2]
    assert follows()
    net[1][3]._modules, net[1][2]._modules = net[1][2]._modules, net[1][3]._modules
    assert follows()
    del net[1][2:]
    net[1].above = net  # a layer that refers back is no child of its own
    assert follows()
    net[2].weight = net[0].weight
    assert follows()
    assert mp.tied(net) == [("0.weight", "2.weight")]
    assert len(params) == 5


def test_names_alone_of_a_layer_that_was_taken_out():
    net = nn.Sequential(nn.Sequential(nn.Linear(1, 1)), nn.Linear(1, 1))
    net[0].add_module("up", net)
    layer = mp.layers(net)[0]
    del net[0]
    assert list(mp.parameters(layer)) == ["0.weight", "0.bias"]


def test_names_of_a_model_of_great_depth():
    net = nn.Linear(1, 1)
    for _ in range(400):
        net = nn.Sequential(net)
    assert list(mp.parameters(net)) == [name for name, _ in net.named_parameters()]


def test_a_buffer_called_like_a_parameter_is_refused_wherever_it_is():
    class Scaled(MyLinear):
        pass

    mp.register_layer(Scaled, "Linear", weight=mp.Transposed("w"))
    net = nn.Sequential(Scaled(), Scaled())
    assert list(mp.parameters(net)) == ["0.weight", "1.weight"]
    net[1].register_buffer("weight", torch.zeros(1))
    with pytest.raises(mp.AmbiguousMatchError, match="weight"):
        mp.parameters(net)


def norms():
    return nn.Sequential(nn.LayerNorm(4), nn.LayerNorm(4))


def test_a_tie_and_an_untie_leave_the_order_of_parameters():
    model = norms()
    names = [name for name, _ in model.named_parameters()]
    mp.tie(model, "1.weight", to="0.weight")
    mp.untie(model, "1.weight")
    assert [name for name, _ in model.named_parameters()] == names


def test_a_transposed_tie_and_its_untie_leave_the_order_of_parameters():
    mp.register_layer(MyLinear, "Linear", weight=mp.Transposed("w"))
    layer = MyLinear()
    layer.b = nn.Parameter(torch.zeros(7))
    model = nn.Sequential(nn.Embedding(7, 4), layer)
    names = [name for name, _ in model.named_parameters()]
    mp.tie(model, "1.weight", to="0.weight")
    mp.untie(model, "1.weight")
    assert [name for name, _ in model.named_parameters()] == names


def test_numbers_that_came_after_a_remembered_initialization_stay():
    made = TestTorch().mlp()
    for value in (1, 2):
        model = TestTorch().lazy()
        mp.initialize(model, mp.init.Constant(9), seed=0)
        model.load_state_dict(made.state_dict())
        if value == 2:
            mp.initialize(model, {"*": mp.init.Constant(value)})
        model(torch.ones(1, 4))
        expected = made[0].weight if value == 1 else torch.full((8, 4), 2.0)
        assert torch.equal(model[0].weight, expected)
        assert not model[0]._forward_pre_hooks


def test_a_remembered_initialization_that_fails_fails_again():
    model = TestTorch().lazy()

    def wrong(shape, rng):
        return np.ones(3)

    mp.initialize(model, {"0.weight": wrong})
    for _ in range(2):
        with pytest.raises(mp.MismatchError, match=r"0\.weight"):
            mp.run(model, np.ones((1, 4)))


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature:UserWarning")
@pytest.mark.parametrize("name", [name for name in vars(nn) if name.startswith("Lazy")])
def test_a_lazy_layer_is_initialized_as_the_layer_that_it_becomes(name):
    lazy = getattr(nn, name)
    if "Norm" in name:
        options = {"affine": True} if "Instance" in name else {}
        layer, sample = lazy(**options), np.ones((2, 4, *(5,) * int(name[-2])), np.float32)
    elif "Conv" in name:
        layer, sample = lazy(8, 3), np.ones((2, 4, *(5,) * int(name[-2])), np.float32)
    else:
        layer, sample = lazy(8), np.ones((2, 4), np.float32)
    mp.initialize(layer, mp.init.Normal(5), seed=0)
    if "Norm" in name:
        sample = np.random.default_rng(0).standard_normal(sample.shape).astype(np.float32)
    mp.materialize(layer, sample)
    weight = mp.parameters(layer)["weight"]
    assert weight.kind == lazy.cls_to_become.__name__
    assert (weight.value == 1).all() if "Norm" in name else weight.value.std() > 2
    assert not mp.parameters(layer)["bias"].value.any()


def test_parameters_on_the_meta_device_have_no_numbers(tmp_path):
    mp.save(nn.Linear(2, 2), tmp_path / "linear.safetensors")
    with torch.device("meta"):
        model = nn.Linear(2, 2)
    param = mp.parameters(model)["weight"]
    assert (param.initialized, param.shape) == (False, (2, 2))
    with pytest.raises(mp.UninitializedError):
        mp.load(tmp_path / "linear.safetensors", into=model)
    with pytest.raises(mp.UninitializedError):
        _ = param.value


def test_sparse_gradients_are_made_dense():
    model = nn.Embedding(5, 3, sparse=True)
    found = mp.gradients(model, lambda net, x: net(x).sum(), np.array([0, 2]))
    assert found["weight"].sum(1).tolist() == [3, 0, 3, 0, 0]
    assert np.array_equal(mp.parameters(model)["weight"].grad, found["weight"])


def test_tensors_are_written_as_they_are():
    model = nn.Linear(2, 2)
    param = mp.parameters(model)["weight"]
    param.assign(nn.Parameter(torch.eye(2)))
    param[0] = torch.ones(2, dtype=torch.bfloat16)
    assert param.value.tolist() == [[1, 1], [0, 1]]


def test_ties_within_one_layer_can_be_undone():
    model = nn.LSTM(4, 4, num_layers=2)
    mp.tie(model, "weight_hh_l1", to="weight_hh_l0")
    assert mp.tied(model) == [("weight_hh_l0", "weight_hh_l1")]
    mp.untie(model, "weight_hh_l1")
    assert mp.tied(model) == []
    model(torch.ones(1, 1, 4))


def test_buffers_that_are_shared_in_the_file_only_are_loaded_into_each(tmp_path):
    def model(share):
        first = nn.BatchNorm1d(3)
        return nn.ModuleDict({"a": first, "b": first if share else nn.BatchNorm1d(3)})

    shared, apart = model(True), model(False)
    mp.buffers(shared)["a.running_mean"][...] = 5
    mp.save(shared, tmp_path / "shared.safetensors")
    mp.load(tmp_path / "shared.safetensors", into=apart)
    assert (apart["b"].running_mean == 5).all()
    assert apart["b"].weight is apart["a"].weight
    assert apart["b"].running_mean is not apart["a"].running_mean


def test_names_that_pytorch_cannot_have_are_refused():
    with pytest.raises(mp.ArgumentError, match=r"'a\.b'"):
        mp.nn.Sequential({"a.b": nn.Linear(2, 2)})


def test_a_percent_sign_in_a_name_is_found_under_either_spelling(tmp_path):
    with mp.use("numpy"):
        escaped = mp.nn.Sequential({"50%": mp.nn.Linear(4, 8)})
    model = nn.Sequential()
    model.add_module("50%", nn.Linear(4, 8))
    assert list(mp.parameters(escaped)) == ["50%25.weight", "50%25.bias"]
    for source, target in ((escaped, model), (model, escaped)):
        mp.initialize(source, mp.init.Normal())
        mp.save(source, tmp_path / "file.safetensors")
        mp.load(tmp_path / "file.safetensors", into=target)
        values = [[one.value for one in mp.parameters(net).values()] for net in (source, target)]
        assert all(np.array_equal(first, second) for first, second in zip(*values, strict=True))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripted_modules_are_models_too():
    model = torch.jit.script(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1)))
    mp.parameters(model)["2.bias"][:] = 3
    assert float(model[2].bias.detach()) == 3
    report = mp.verify(model, model, np.ones((2, 4)))
    assert report.agrees


def test_a_view_of_a_parameters_own_memory_can_be_assigned():
    net = nn.Linear(300, 300)
    expected = net.weight.detach().T.clone()
    mp.parameters(net)["weight"].assign(net.weight.detach().T)
    assert torch.equal(net.weight, expected)


def test_an_expanded_parameter_is_refused_before_anything_is_written(tmp_path):
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3))
    mp.save(net, tmp_path / "net.safetensors")
    net[1].bias = nn.Parameter(torch.zeros(1).expand(3))
    before = {name: one.detach().clone() for name, one in net.state_dict().items()}
    for write in (
        lambda: mp.load(tmp_path / "net.safetensors", into=net),
        lambda: mp.initialize(net, mp.init.Constant(3.0)),
        lambda: mp.initialize(net, mp.init.Normal(), seed=0),
        lambda: mp.parameters(net)["1.bias"].assign(np.ones(3, np.float32)),
    ):
        with pytest.raises(mp.MismatchError, match=r"(?s)1\.bias.*expanded.*clone"):
            write()
    assert all(torch.equal(one, before[name]) for name, one in net.state_dict().items())


def test_storages_can_be_resized_after_reading_and_writing(tmp_path):
    net = nn.Linear(30, 30)
    mp.initialize(net, mp.init.Normal(), seed=0)
    mp.save(net, tmp_path / "net.safetensors")
    mp.load(tmp_path / "net.safetensors", into=net)
    assert mp.parameters(net)["weight"].value.any()
    net.weight.data.untyped_storage().resize_(0)  # as FSDP does


def test_a_name_that_was_tied_leads_to_what_is_in_its_place_now():
    net = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)})
    net["b"].weight = net["a"].weight
    params = mp.parameters(net)
    assert params["b.weight"].name == "a.weight"
    net["b"].weight = nn.Parameter(torch.zeros(3, 3))
    params["b.weight"][:] = 7
    assert (net["b"].weight == 7).all()
    assert not (net["a"].weight == 7).any()


def test_scales_of_eight_bits_round_trip(tmp_path):
    net = nn.Linear(2, 2)
    net.register_buffer("scale", torch.tensor([1, 130], dtype=torch.uint8).view(torch.float8_e8m0fnu))
    mp.save(net, tmp_path / "net.safetensors")
    assert safetensors.torch.load_file(tmp_path / "net.safetensors")["scale"].dtype == torch.float8_e8m0fnu
    other = copy.deepcopy(net)
    other.scale.copy_(torch.ones(2).to(torch.float8_e8m0fnu))
    mp.load(tmp_path / "net.safetensors", into=other)
    assert torch.equal(other.scale.view(torch.uint8), net.scale.view(torch.uint8))


def test_a_sparse_tensor_is_refused_by_its_name(tmp_path):
    net = nn.Linear(2, 2)
    net.register_buffer("mask", torch.eye(2).to_sparse())
    for thing, name in ((net, "mask"), ({"eye": torch.eye(2).to_sparse()}, "eye")):
        with pytest.raises(mp.MultiparamError, match=f"'{name}' cannot be saved.*to_dense"):
            mp.save(thing, tmp_path / "net.safetensors")


def test_a_model_without_memory_is_told_what_to_do():
    with torch.device("meta"):
        net = nn.Linear(2, 2)
    for call in (mp.run, mp.materialize):
        with pytest.raises(mp.ArgumentError, match="to_empty"):
            call(net, np.zeros((1, 2)))
    mp.initialize(net.to_empty(device="cpu"), mp.init.Constant(1))
    assert (mp.run(net, np.ones((1, 2), np.float32)) == 2).all()


def deep():
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Sequential(nn.Linear(4, 4)))


def compiled(module):
    return torch.compile(module, backend="eager")


def wrapped_inside(module):
    module[0], module[2] = compiled(module[0]), nn.DataParallel(module[2])
    return module


WRAPPERS = [
    compiled,
    nn.DataParallel,
    AveragedModel,
    checkpoint_wrapper,
    lambda module: AveragedModel(compiled(module)),
    lambda module: compiled(nn.DataParallel(module)),
    wrapped_inside,
]


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_wrappers_are_transparent_to_every_verb(wrap, tmp_path):
    net, x = wrap(deep()), np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    assert list(mp.parameters(net)) == [name for name, _ in deep().named_parameters()]
    assert mp.layers(net)[2][0].weight is not None
    mp.initialize(net, mp.init.Normal(), seed=0)
    plain = deep()
    mp.initialize(plain, mp.init.Normal(), seed=0)
    assert mp.diff(net, plain).changed == []
    with torch.no_grad():
        expected = plain.eval()(torch.from_numpy(x)).numpy()
    assert np.allclose(mp.run(net, x), expected, atol=1e-6)
    found, native = (mp.gradients(one, lambda net, x: net(x).square().sum(), x) for one in (net, plain.eval()))
    assert [*found] == [*native]
    mp.parameters(net)["0.bias"].trainable = False
    assert [one.requires_grad for one in net.parameters()].count(False) == 1
    mp.tie(net, "2.0.weight", to="0.weight")
    assert mp.tied(net) == [("0.weight", "2.0.weight")]
    mp.untie(net, "2.0.weight")
    assert mp.tied(net) == []
    assert "2.0" not in str(mp.summary(net)).splitlines()[0]


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_files_of_wrapped_models_fit_those_that_are_not_and_the_other_way_round(wrap, tmp_path):
    net, plain = wrap(deep()), deep()
    mp.initialize(net, mp.init.Normal(), seed=0)
    mp.save(net, tmp_path / "net.safetensors")
    torch.save(net.state_dict(), tmp_path / "native.pt")
    for path in (tmp_path / "net.safetensors", tmp_path / "native.pt"):
        for into in (deep(), wrap(deep()), compiled(deep())):
            report = mp.load(path, into=into)
            assert report.missing == report.unexpected == []
            assert torch.equal([*into.parameters()][-2], [*net.parameters()][-2])
    if wrap is not checkpoint_wrapper:  # whose own state_dict has none
        assert "names were taken without '" in str(report)
    stored = {name: one for name, one in load_file(tmp_path / "net.safetensors").items() if name != "n_averaged"}
    plain.load_state_dict(stored, strict=True)
    mp.save(plain, tmp_path / "plain.safetensors")
    assert len(mp.load(tmp_path / "plain.safetensors", into=net).loaded) == 9


def test_what_a_wrapper_keeps_for_itself_is_kept_beside_the_model(tmp_path):
    net, other = AveragedModel(deep()), AveragedModel(deep())
    net.update_parameters(deep())
    assert list(mp.buffers(net))[-1] == "n_averaged"
    mp.save(net, tmp_path / "net.safetensors")
    mp.load(tmp_path / "net.safetensors", into=other)
    assert other.n_averaged == 1
    assert "not loaded: n_averaged" in str(mp.load(tmp_path / "net.safetensors", into=deep()))
    mp.save(deep(), tmp_path / "plain.safetensors")
    assert "left as it is: n_averaged" in str(mp.load(tmp_path / "plain.safetensors", into=other))
    assert other.n_averaged == 1


class Holder(nn.Module):
    def __init__(self):
        super().__init__()
        self.module = nn.Linear(2, 2)

    def forward(self, x):
        return self.module(x)


def test_a_child_that_is_called_as_wrappers_call_theirs_makes_no_wrapper(tmp_path):
    assert list(mp.parameters(Holder())) == ["module.weight", "module.bias"]
    torch.save(nn.DataParallel(Holder()).state_dict(), tmp_path / "net.pt")
    for into in (Holder(), nn.DataParallel(Holder())):
        assert list(mp.load(tmp_path / "net.pt", into=into).loaded) == ["module.weight", "module.bias"]


def test_lazy_layers_in_a_wrapper_get_their_shapes():
    net = nn.DataParallel(nn.Sequential(nn.LazyLinear(3)))
    mp.initialize(net, mp.init.Constant(2), seed=0)
    mp.materialize(net, np.ones((1, 4)))
    assert (mp.parameters(net)["0.weight"].value == np.full((3, 4), 2)).all()


def test_an_input_may_be_left_out_or_be_a_dict_of_arrays():
    class Masked(nn.Linear):
        def forward(self, x, scale=None):
            return super().forward(x["x"]) * (2 if scale is None else scale["by"])

    net, x = Masked(2, 2), np.ones((1, 2), np.float32)
    assert np.allclose(mp.run(net, ({"x": x}, None)), mp.run(net, ({"x": x}, {"by": 2 * x})))
    assert mp.gradients(net, lambda net, x, scale: net(x, scale).sum(), {"x": x}, None)["bias"].tolist() == [2, 2]


@pytest.mark.parametrize("thing", [None, "a text"])
def test_a_parameter_that_is_no_tensor_in_the_file_is_missing_there(tmp_path, thing):
    net = nn.Linear(3, 2)
    torch.save({"weight": thing, "bias": torch.ones(2)}, tmp_path / "net.pt")
    before = net.weight.detach().clone(), net.bias.detach().clone()
    with pytest.raises(mp.MismatchError, match="weight"):
        mp.load(tmp_path / "net.pt", into=net)
    assert torch.equal(net.weight, before[0])
    assert torch.equal(net.bias, before[1])
    report = mp.load(tmp_path / "net.pt", into=net, strict=False)
    assert (report.loaded, report.missing) == (["bias"], ["weight"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_scripted_module_is_listed_again_and_again():
    params = mp.parameters(torch.jit.script(nn.Sequential(nn.Linear(3, 2), nn.ReLU())))
    for _ in range(2):
        assert list(params) == ["0.weight", "0.bias"]


def test_what_took_a_tensors_place_is_not_left_out():
    net = nn.Linear(2, 3)
    kept = mp.state(net)
    assert kept.left_out == {}
    net.weight = nn.Parameter(torch.ones(3, 2))
    assert kept.left_out == {}
