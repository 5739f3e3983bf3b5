"""Files as PyTorch, numpy, Keras and Flax themselves write them: opened without them, and the same numbers."""

import argparse
import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import multiparam as mp  # noqa: E402

SAVES = (True, False)  # zip files, and what PyTorch wrote before 1.6


def batch(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def plain(tensor):
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
    wide = tensor.float() if tensor.dtype in (torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2) else tensor
    return wide.numpy()


def agrees(entry, tensor):
    theirs = plain(tensor)
    return entry.shape == theirs.shape and np.array_equal(entry.value.astype(theirs.dtype), theirs)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(7, 6)
        self.encoder = torch.nn.TransformerEncoderLayer(6, 2, 12, batch_first=True)
        self.lstm = torch.nn.LSTM(6, 5, 2, bidirectional=True, batch_first=True)
        self.norm = torch.nn.BatchNorm1d(5)
        self.head = torch.nn.Linear(6, 7, bias=False)
        self.head.weight = self.embedding.weight


@pytest.mark.parametrize("zipped", SAVES)
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_state_dict_of_pytorch(tmp_path, zipped, protocol):
    net, other = Net(), Net()
    path = tmp_path / "net.pt"
    torch.save(net.state_dict(), path, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    found = mp.open(path)
    state = net.state_dict()
    assert [*found] == [name for name in state if name != "head.weight"]
    assert found.ties == [("embedding.weight", "head.weight")]
    assert all(agrees(found[name], one) for name, one in state.items())
    assert not mp.load(path, into=other).missing
    assert all(torch.equal(one, state[name]) for name, one in other.state_dict().items())
    assert other.head.weight is other.embedding.weight


@pytest.mark.parametrize("zipped", SAVES)
def test_tensors_of_pytorch_of_every_sort(tmp_path, zipped):
    base = torch.arange(24.0).reshape(4, 6)
    z = torch.randn(3, dtype=torch.complex64)
    given = {
        "base": base,
        "transposed": base.T,
        "expanded": torch.ones(1).expand(3, 4),
        "offset": base[1:, 2:],
        "scalar": torch.zeros(()),
        "empty": torch.zeros(0, 3),
        "conjugate": z.conj(),
        "negative": z.clone().conj().imag,
        "parameter": torch.nn.Parameter(torch.randn(2)),
        "buffer": torch.nn.Buffer(torch.randn(2)),
        **{
            str(dtype): torch.randint(0, 2, (2, 3)).to(dtype)
            for dtype in (
                *(torch.float16, torch.bfloat16, torch.float64, torch.complex64, torch.complex128, torch.bool),
                *(torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32),
                *(torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2),
            )
        },
    }
    torch.save(given, tmp_path / "all.pt", _use_new_zipfile_serialization=zipped)
    found = mp.open(tmp_path / "all.pt")
    assert found.keys() == given.keys()
    assert not found.ties
    for name, tensor in given.items():
        assert agrees(found[name], tensor), name


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("zipped", SAVES)
def test_tensors_of_pytorch_that_are_refused(tmp_path, zipped):
    given = {
        "quantized": torch.quantize_per_tensor(torch.randn(3), 0.1, 0, torch.qint8),
        "sparse": torch.eye(3).to_sparse(),
        "csr": torch.eye(3).to_sparse_csr(),
        "complex32": torch.randn(2).to(torch.complex32),
        "fine": torch.ones(3),
    }
    if zipped:
        given["meta"] = torch.empty(3, device="meta")
    torch.save(given, tmp_path / "all.pt", _use_new_zipfile_serialization=zipped)
    found = mp.open(tmp_path / "all.pt")
    for name, tensor in given.items():
        assert found[name].shape == tensor.shape
        assert bool(found[name].refusal) == (name != "fine")


@pytest.mark.parametrize("zipped", SAVES)
def test_a_checkpoint_of_a_training(tmp_path, zipped):
    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    checkpoint = {"state_dict": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}
    checkpoint |= {"args": argparse.Namespace(lr=0.1), "scheduler": None}
    torch.save(checkpoint, tmp_path / "last.ckpt", _use_new_zipfile_serialization=zipped)
    found = mp.open(tmp_path / "last.ckpt")
    assert agrees(found["optimizer.state.0.exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"])
    assert found.left_out["epoch"] == "int"
    assert found.left_out["args"] == "an object of argparse.Namespace"
    keras = pytest.importorskip("keras")
    with mp.use("keras"):
        other = mp.nn.Sequential(mp.nn.Linear(4, 8), mp.nn.Tanh(), mp.nn.Linear(8, 2))
    assert isinstance(other, keras.Model)
    mp.load(tmp_path / "last.ckpt", into=other, rename={r"^state_dict\.": ""}, strict=False)
    assert np.allclose(mp.run(other, batch(3, 4)), plain(net(torch.from_numpy(batch(3, 4)))), atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_models_and_programs_of_pytorch_are_refused(tmp_path):
    net = torch.nn.Sequential(torch.nn.Linear(4, 8))
    for zipped in SAVES:
        torch.save(net, tmp_path / "net.pt", _use_new_zipfile_serialization=zipped)
        with pytest.raises(mp.CheckpointError, match=r"container.Sequential.*torch.save\(model.state_dict\(\), path"):
            mp.open(tmp_path / "net.pt")
    torch.jit.save(torch.jit.script(net), tmp_path / "net.pt")
    with pytest.raises(mp.CheckpointError, match="TorchScript archive"):
        mp.open(tmp_path / "net.pt")


def test_a_subclass_of_a_tensor_is_refused_by_its_name(tmp_path):
    class Masked(torch.Tensor):
        pass

    tensor = torch.ones(3).as_subclass(Masked)
    tensor.mask = 3
    Masked.__qualname__ = "Masked"
    globals()["Masked"] = Masked
    try:
        torch.save({"x": tensor, "y": torch.ones(2)}, tmp_path / "x.pt")
    finally:
        del globals()["Masked"]
    found = mp.open(tmp_path / "x.pt")
    assert "Masked" in found["x"].refusal
    assert agrees(found["y"], torch.ones(2))
