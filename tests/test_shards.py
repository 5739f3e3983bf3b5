"""Tensors whose numbers are not all in this process, or nowhere."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import multiparam as mp

X = np.ones((2, 6), np.float32)


@pytest.fixture
def distributed(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


VERBS = {
    "value": lambda net, path: mp.parameters(net)["0.weight"].value,
    "grad": lambda net, path: mp.parameters(net)["0.weight"].grad,
    "an element": lambda net, path: mp.parameters(net)["0.weight"][0],
    "assign": lambda net, path: mp.parameters(net)["0.weight"].assign(np.ones((5, 6))),
    "initialize": lambda net, path: mp.initialize(net, mp.init.Ones()),
    "initialize by pattern": lambda net, path: mp.initialize(net, {"0.weight": mp.init.Ones()}),
    "save": lambda net, path: mp.save(net, path / "net.safetensors"),
    "load": lambda net, path: mp.load(path / "plain.safetensors", into=net),
    "diff": lambda net, path: mp.diff(net, net),
    "verify": lambda net, path: mp.verify(net, net, X),
    "run": lambda net, path: mp.run(net, X),
    "gradients": lambda net, path: mp.gradients(net, lambda net, x: net(x).sum(), X),
    "tie": lambda net, path: mp.tie(net, "1.weight", to="0.weight"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_refuses_shards_by_name(verb, distributed, tmp_path):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    def made():
        return nn.Sequential(nn.Linear(6, 5), nn.Linear(6, 5))

    mp.save(made(), tmp_path / "plain.safetensors")
    net = fully_shard(made(), mesh=init_device_mesh("cpu", (1,)))
    assert list(mp.parameters(net)) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert mp.parameters(net)["0.weight"].shape == (5, 6)
    with pytest.raises(mp.UnsupportedError, match=r"(0|1)\.weight.*DTensor.*full_tensor"):
        VERBS[verb](net, tmp_path)


META = {name: call for name, call in VERBS.items() if name not in ("grad", "run")}


@pytest.mark.parametrize("verb", META)
def test_every_verb_refuses_a_meta_model(verb, tmp_path):
    mp.save(nn.Sequential(nn.Linear(6, 5), nn.Linear(6, 5)), tmp_path / "plain.safetensors")
    with torch.device("meta"):
        net = nn.Sequential(nn.Linear(6, 5), nn.Linear(6, 5))
    with pytest.raises(mp.UninitializedError, match="to_empty"):
        META[verb](net, tmp_path)
    net.to_empty(device="cpu")
    mp.initialize(net, mp.init.Constant(3))
    assert (net[0].weight == 3).all()


SHARDED = """
import jax, numpy as np, multiparam as mp
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec
mesh = jax.make_mesh((8,), ("x",))
model = nnx.Linear(8, 16, rngs=nnx.Rngs(0))
plain = mp.parameters(model)["weight"].value
model.kernel.set_value(jax.device_put(model.kernel.get_value(), NamedSharding(mesh, PartitionSpec(None, "x"))))
weight = mp.parameters(model)["weight"]
assert np.array_equal(weight.value, plain)
mp.initialize(model, mp.init.Normal(), seed=0)
assert np.array_equal(weight.value, mp.init.Normal().values(0, "weight", (16, 8)))
assert len(model.kernel.get_value().sharding.device_set) == 8
"""


def test_an_array_on_several_devices_of_this_process_is_read_and_written(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
    subprocess.run([sys.executable, "-c", SHARDED], check=True)
