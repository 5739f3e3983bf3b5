"""Every argument of every constructor that has a row, framework by framework: compared, told by the weights, or moot."""

import inspect
import typing
from typing import ClassVar

import multiparam_torch.arguments
import paddle  # noqa: F401  (before TensorFlow, or the process crashes)
from torch import nn

from multiparam.testing.settings import Arguments, SettingsTests, With

RANKS = (1, 2, 3)


class TestTorch(SettingsTests):
    backend = "torch"
    arguments = Arguments.of(multiparam_torch.arguments)
    samples: ClassVar = {
        **dict.fromkeys(("in_features", "out_features", "in1_features", "in2_features", "in_channels"), 4),
        **dict.fromkeys(("out_channels", "num_embeddings", "embedding_dim", "num_features", "num_channels"), 4),
        **dict.fromkeys(("input_size", "hidden_size", "embed_dim", "normalized_shape"), 4),
        **dict.fromkeys(("kernel_size", "num_groups", "num_heads", "groups", "output_size", "padding", "size"), 2),
        **dict.fromkeys(("upscale_factor", "downscale_factor", "threshold", "value"), 2),
        "dim": 1,
        "GLU.dim": -1,
        "unflattened_size": (2, 2),
    }
    others: ClassVar = {
        **dict.fromkeys(("stride", "padding", "dilation", "kernel_size", "num_groups", "output_size", "size"), 1),
        **dict.fromkeys(("upscale_factor", "downscale_factor", "groups", "num_heads", "divisor_override"), 1),
        **dict.fromkeys(("eps", "momentum", "norm_type", "negative_slope", "alpha", "beta", "threshold"), 0.7),
        **dict.fromkeys(("value", "lambd", "lower", "min_val", "k"), 0.2),
        **dict.fromkeys(("ceil_mode", "return_indices", "add_zero_attn", "batch_first"), True),
        **dict.fromkeys(("count_include_pad", "track_running_stats"), False),
        **{f"{lazy}Conv{rank}d.{what}": 2 for lazy in ("", "Lazy") for rank in RANKS for what in ("stride", "dilation")},
        **{f"MaxPool{rank}d.dilation": 2 for rank in RANKS},
        **{
            f"{lazy}ConvTranspose{rank}d.{what}": With(value, {"stride": 3})
            for lazy in ("", "Lazy")
            for rank in RANKS
            for what, value in (("stride", 2), ("dilation", 2), ("output_padding", 1), ("padding", 1))
        },
        "padding_mode": "circular",
        "max_norm": 1.0,
        "Embedding.norm_type": With(1.0, {"max_norm": 1.0}),
        "approximate": "tanh",
        "upper": 0.5,
        "max_val": 2.0,
        "dim": -1,
        "Unflatten.dim": 2,
        "GLU.dim": 1,
        "start_dim": 2,
        "end_dim": 2,
        "unflattened_size": (4, 1),
        "scale_factor": 2.0,
        "Upsample.size": 3,
        "mode": "bilinear",
        "align_corners": With(True, {"mode": "bilinear", "scale_factor": 2.0}),
        "recompute_scale_factor": With(True, {"scale_factor": 2.5}),
        "nonlinearity": "relu",
    }

    def classes(self):
        return [one for one in vars(nn).values() if isinstance(one, type)]

    def signature(self, native):
        if not issubclass(native, nn.RNNBase):
            return super().signature(native)
        overloads = [inspect.signature(one) for one in typing.get_overloads(native.__init__)]
        return list(max(overloads, key=lambda one: len(one.parameters)).parameters.values())[1:]
