"""Every argument of every constructor of Gluon's that has a row: compared, told by the weights, or moot."""

import warnings
from typing import ClassVar

import multiparam_mxnet.arguments
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from mxnet import gluon
    from mxnet.gluon.contrib import nn as contrib

import multiparam as mp
from multiparam.testing.settings import Arguments, SettingsTests, With

RANKS = (1, 2, 3)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Caution using SyncBatchNorm")


class TestMXNet(SettingsTests):
    backend = "mxnet"
    arguments = Arguments.of(multiparam_mxnet.arguments)
    samples: ClassVar = {
        **dict.fromkeys(("units", "channels", "input_dim", "output_dim", "hidden_size"), 4),
        **dict.fromkeys(("kernel_size", "factor"), 2),
        "activation": "relu",
        "alpha": 0.2,
        "rate": 0.5,
        "function": abs,
        "l_cell": gluon.rnn.LSTMCell(4),
        "r_cell": gluon.rnn.LSTMCell(4),
    }
    others: ClassVar = {
        **dict.fromkeys(("padding", "pool_size", "output_padding"), 1),
        **{f"Conv{rank}D.{what}": 2 for rank in RANKS for what in ("strides", "dilation")},
        **{
            f"Conv{rank}DTranspose.{what}": With(2, {"kernel_size": 5})
            for rank in RANKS
            for what in ("strides", "dilation")
        },
        **{f"Conv{rank}DTranspose.output_padding": With(1, {"strides": 2}) for rank in RANKS},
        **{f"{name}Pool{rank}D.strides": 1 for name in ("Max", "Avg") for rank in RANKS},
        **dict.fromkeys(("momentum", "epsilon", "alpha", "beta"), 0.7),
        **dict.fromkeys(("ceil_mode", "use_global_stats", "state_clip_nan"), True),
        **dict.fromkeys(("flatten", "count_include_pad"), False),
        "state_clip_nan": With(True, {"state_clip_min": -1, "state_clip_max": 1}),
        **{f"state_clip_{end}": With(2, {"state_clip_min": -1, "state_clip_max": 1}) for end in ("min", "max")},
        "activation": "tanh",
        **{f"{name}.activation": "relu" for name in ("LSTMCell", "RNNCell")},
        "RNN.activation": "tanh",
        "recurrent_activation": "tanh",
        "axis": 2,
        "num_groups": 2,
        "factor": 3,
        "layout": "NTC",
    }

    def classes(self):
        return [
            one for space in (gluon.nn, gluon.rnn, contrib) for one in vars(space).values() if isinstance(one, type)
        ]


CONTRIBUTED = {
    "Concurrent": lambda: contrib.HybridConcurrent(),
    "Identity": contrib.Identity,
    "PixelShuffle1D": lambda: contrib.PixelShuffle1D(2),
    "PixelShuffle2D": lambda: contrib.PixelShuffle2D((2, 3)),
    "SparseEmbedding": lambda: contrib.SparseEmbedding(4, 3),
    "SyncBatchNorm": lambda: contrib.SyncBatchNorm(in_channels=4, num_devices=1),
    "LSTMPCell": lambda: gluon.contrib.rnn.LSTMPCell(4, 2, input_size=3),
    "Conv2DLSTMCell": lambda: gluon.contrib.rnn.Conv2DLSTMCell((3, 8, 8), 4, 3, 3),
    "VariationalDropoutCell": lambda: gluon.contrib.rnn.VariationalDropoutCell(gluon.rnn.LSTMCell(4, input_size=3)),
    "ResidualCell": lambda: gluon.rnn.ResidualCell(gluon.rnn.LSTMCell(3, input_size=3)),
    "ZoneoutCell": lambda: gluon.rnn.ZoneoutCell(gluon.rnn.LSTMCell(3, input_size=3)),
    "ReflectionPad2D": lambda: gluon.nn.ReflectionPad2D(1),
}


@pytest.mark.parametrize("name", CONTRIBUTED)
def test_every_verb_takes_contributed_blocks(name, tmp_path):
    one, other = CONTRIBUTED[name](), CONTRIBUTED[name]()
    for block in (one, other):
        block.initialize()
    mp.save(one, tmp_path / "block.safetensors")
    assert mp.load(tmp_path / "block.safetensors", into=other).differences == []
    assert mp.diff(one, other).equal
    assert str(mp.summary(one))
