"""Each argument of each constructor that has a row, framework by framework: compared, told by the weights, or moot."""

import inspect
import os
import typing
from typing import ClassVar

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax.numpy as jnp
import keras
import multiparam_flax.arguments
import multiparam_keras.arguments
import multiparam_linen.arguments
import multiparam_numpy.arguments
import multiparam_numpy.layers
import multiparam_paddle.arguments
import multiparam_torch.arguments
import numpy as np
import paddle
import pytest
from flax import linen, nnx
from multiparam_linen import Linen
from torch import nn

import multiparam as mp
from multiparam.layer_table.settings import differing
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
        **{
            f"{lazy}Conv{rank}d.{what}": 2 for lazy in ("", "Lazy") for rank in RANKS for what in ("stride", "dilation")
        },
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

    chosen: ClassVar = {"UpsamplingBilinear2d": [("", "align_corners", False, True)]}

    def classes(self):
        return [one for one in vars(nn).values() if isinstance(one, type)]

    def signature(self, native):
        if not issubclass(native, nn.RNNBase):
            return super().signature(native)
        overloads = [inspect.signature(one) for one in typing.get_overloads(native.__init__)]
        return list(max(overloads, key=lambda one: len(one.parameters)).parameters.values())[1:]


class TestNumpy(SettingsTests):
    backend = "numpy"
    arguments = Arguments.of(multiparam_numpy.arguments)
    samples: ClassVar = {
        **dict.fromkeys(("in_features", "out_features", "num_embeddings", "embedding_dim", "normalized_shape"), 4),
        "function": abs,
        "shape": (2, 2),
    }
    others: ClassVar = {
        **dict.fromkeys(("eps", "negative_slope", "alpha"), 0.7),
        "approximate": "tanh",
        "dim": 1,
        "shape": (4, 1),
    }

    def classes(self):
        return [one for one in vars(multiparam_numpy.layers).values() if isinstance(one, type)]


class TestPaddle(SettingsTests):
    backend = "paddle"
    arguments = Arguments.of(multiparam_paddle.arguments)
    samples: ClassVar = {
        **dict.fromkeys(("in_features", "out_features", "in1_features", "in2_features", "in_channels"), 4),
        **dict.fromkeys(("out_channels", "num_embeddings", "embedding_dim", "num_features", "num_channels"), 4),
        **dict.fromkeys(("input_size", "hidden_size", "embed_dim", "normalized_shape"), 4),
        **dict.fromkeys(("kernel_size", "num_groups", "num_heads", "groups", "output_size", "padding", "size"), 2),
        **dict.fromkeys(("upscale_factor", "downscale_factor", "axis", "value"), 2),
        "shape": (2, 2),
        **{name: paddle.nn.SimpleRNNCell(4, 4) for name in ("cell", "cell_fw", "cell_bw")},
    }
    others: ClassVar = {
        **dict.fromkeys(("stride", "padding", "dilation", "kernel_size", "num_groups", "output_size"), 1),
        **dict.fromkeys(("upscale_factor", "downscale_factor", "groups", "num_heads", "divisor_override"), 1),
        **dict.fromkeys(("epsilon", "momentum", "negative_slope", "alpha", "beta", "threshold", "scale"), 0.7),
        **dict.fromkeys(("value", "lower", "min", "k"), 0.2),
        **dict.fromkeys(("ceil_mode", "return_mask", "approximate", "time_major", "is_reverse", "need_weights"), True),
        **dict.fromkeys(("use_global_stats", "trainable_statistics"), True),
        **{f"Conv{rank}D.{what}": 2 for rank in RANKS for what in ("stride", "dilation")},
        **{
            f"Conv{rank}DTranspose.{what}": With(value, {"stride": 3})
            for rank in RANKS
            for what, value in (("stride", 2), ("dilation", 2), ("output_padding", 1), ("padding", 1))
        },
        **{f"AvgPool{rank}D.exclusive": With(False, {"padding": 1}) for rank in RANKS},
        "padding_mode": "circular",
        "padding_idx": 1,
        "max_norm": 1.0,
        "Embedding.norm_type": With(1.0, {"max_norm": 1.0}),
        "act": "relu",
        "upper": 0.5,
        "max": 2.0,
        "axis": 1,
        "SELU.scale": 2.0,
        "SELU.alpha": 2.0,
        "start_axis": 2,
        "stop_axis": 2,
        "shape": (4, 1),
        "size": With([3, 3], {"scale_factor": None}),
        "LocalResponseNorm.size": 3,
        "scale_factor": With([3, 3], {"size": None}),
        "mode": With("bilinear", {"scale_factor": [2, 2]}),
        **{f"Pad{rank}D.mode": "reflect" for rank in RANKS},
        "Dropout.mode": "downscale_in_infer",
        "align_corners": With(True, {"mode": "bilinear", "scale_factor": [2, 2]}),
        "align_mode": With(1, {"mode": "bilinear", "scale_factor": [2, 2]}),
        "recompute_scale_factor": With(True, {"scale_factor": [2.5, 2.5]}),
        "activation": "relu",
    }

    chosen: ClassVar = {"UpsamplingBilinear2D": [("", "align_corners", False, True)]}

    def classes(self):
        return [one for one in vars(paddle.nn).values() if isinstance(one, type)]


class TestKeras(SettingsTests):
    backend = "keras"
    arguments = Arguments.of(multiparam_keras.arguments)
    samples: ClassVar = {
        **dict.fromkeys(("units", "filters", "kernel_size", "pool_size", "input_dim", "output_dim"), 4),
        **dict.fromkeys(("num_heads", "key_dim"), 2),
        "rate": 0.5,
        "activation": "relu",
        "function": abs,
        "cell": keras.layers.LSTMCell(4),
        "layer": keras.layers.LSTM(4),
        "equation": "ab,bc->ac",
        "output_shape": 4,
        "target_shape": (2, 2),
    }
    others: ClassVar = {
        **dict.fromkeys(("strides", "pool_size", "axis", "num_heads"), 1),
        **{
            f"{name}{rank}D.{what}": 2
            for name in ("Conv", "DepthwiseConv")
            for rank in RANKS
            for what in ("strides", "dilation_rate")
        },
        **{f"SeparableConv{rank}D.{what}": 2 for rank in RANKS for what in ("strides", "dilation_rate")},
        **{
            f"Conv{rank}DTranspose.{what}": With(2, {"kernel_size": 5})
            for rank in RANKS
            for what in ("strides", "dilation_rate")
        },
        **{f"Conv{rank}DTranspose.output_padding": With(1, {"strides": 2}) for rank in RANKS},
        **{f"ConvLSTM{rank}D.{what}": 2 for rank in RANKS for what in ("strides", "dilation_rate")},
        **dict.fromkeys(("momentum", "epsilon", "negative_slope", "alpha", "logit_soft_cap", "max_value"), 0.7),
        **dict.fromkeys(
            ("return_sequences", "return_state", "go_backwards", "stateful", "mask_zero", "keepdims"), True
        ),
        "GroupNormalization.groups": 2,
        "zero_output_for_mask": True,
        "padding": "same",
        **{f"ZeroPadding{rank}D.padding": 2 for rank in RANKS},
        "threshold": 0.5,
        "activation": "tanh",
        "recurrent_activation": "hard_sigmoid",
        "reverse_dtype": "float16",
        "target_shape": (4, 1),
        "size": 3,
        "interpolation": "bilinear",
        "merge_mode": "sum",
        "attention_axes": (1, 2),
        "sliding_window": 3,
    }
    others |= {  # what has a tanh already
        f"{name}.activation": "relu"
        for name in (
            "LSTM",
            "GRU",
            "SimpleRNN",
            "LSTMCell",
            "GRUCell",
            "SimpleRNNCell",
            *(f"ConvLSTM{rank}D" for rank in RANKS),
        )
    }

    def classes(self):
        return [one for one in vars(keras.layers).values() if isinstance(one, type)]

    def described(self, native, options):
        if "Normalization" not in native.__name__:
            return super().described(native, options)
        # which axis has the channels is known where it is known what comes in
        return self.told(keras.Sequential([keras.Input((32, 32, 32)), native(**options)]))


def test_the_dtype_in_which_a_keras_layer_computes():
    plain, mixed = (mp.layers(keras.layers.Dense(4, dtype=one)).node.described() for one in (None, "mixed_bfloat16"))
    assert differing(plain, mixed) == [("compute_dtype", "as the weights", "bfloat16")]


def other_function(*arguments, **options):
    """Stands for a function of somebody's own, by its name."""


FLAX: dict = {
    **dict.fromkeys(("strides", "kernel_dilation", "input_dilation"), (2,)),
    "padding": "VALID",
    "mask": np.zeros((3, 4, 4), np.float32),
    "axis": 1,
    "LinearGeneral.axis": 0,
    **dict.fromkeys(("momentum", "epsilon"), 0.7),
    **dict.fromkeys(("num_groups", "num_heads"), 1),
    "group_size": With(8, {"num_groups": None, "group_size": 4}),
    "reduction_axes": (1,),
    "feature_axes": (1,),
    "dtype": jnp.bfloat16,
    "precision": "highest",
    "preferred_element_type": jnp.float16,
    **dict.fromkeys(
        ("dot_general", "dot_general_cls", "conv_general_dilated", "einsum_op", "carry_init"), other_function
    ),
    **dict.fromkeys(("promote_dtype", "gate_fn", "activation_fn", "merge_fn", "attention_fn"), other_function),
    **dict.fromkeys(
        ("qkv_dot_general", "out_dot_general", "qkv_dot_general_cls", "out_dot_general_cls"), other_function
    ),
    **dict.fromkeys(("qkv_promote_dtype", "out_promote_dtype", "ln_promote_dtype"), other_function),
    **dict.fromkeys(("residual", "time_major", "return_carry", "reverse"), True),
    "keep_order": With(True, {"reverse": True}),
    "decode": True,
}


@pytest.mark.filterwarnings("ignore:carry_init is provided")
class TestFlax(SettingsTests):
    backend = "flax"
    arguments = Arguments.of(multiparam_flax.arguments)
    samples: ClassVar = {
        **dict.fromkeys(("in_features", "out_features", "features", "num_embeddings"), 4),
        "num_features": 64,
        "rate": 0.5,
        **dict.fromkeys(("hidden_features", "qkv_features"), 4),
        "num_heads": 2,
        "kernel_size": (3,),
        "einsum_str": "ab,bc->ac",
        "kernel_shape": (4, 4),
        "rngs": nnx.Rngs(0),
        "cell": nnx.LSTMCell(4, 4, rngs=nnx.Rngs(0)),
        **{name: nnx.RNN(nnx.LSTMCell(4, 4, rngs=nnx.Rngs(0))) for name in ("forward_rnn", "backward_rnn")},
    }
    others: ClassVar = FLAX

    def classes(self):
        # one that adds to the linear layer beneath it is none
        return [one for one in vars(nnx).values() if isinstance(one, type) and one is not nnx.LoRALinear]


class TestLinen(SettingsTests):
    backend = "linen"
    arguments = Arguments.of(multiparam_linen.arguments)
    samples: ClassVar = {
        **dict.fromkeys(("features", "num_embeddings"), 4),
        "num_heads": 2,
        "kernel_size": (3,),
        "shape": (4, 4),
        "einsum_str": "ab,bc->ac",
        "layers": [],
        "cell": linen.LSTMCell(4),
        **{name: linen.RNN(linen.LSTMCell(4)) for name in ("forward_rnn", "backward_rnn")},
    }
    others: ClassVar = {
        **FLAX,
        **dict.fromkeys(("conv_general_dilated_cls", "qk_attn_weights_einsum_cls"), other_function),
        "attn_weights_value_einsum_cls": other_function,
        "force_fp32_for_softmax": True,
        "BatchNorm.use_running_average": False,
    }

    def classes(self):
        return [one for one in vars(linen).values() if isinstance(one, type)]

    # of the variables without which a module's kind would not be known, or its setup would fail
    shapes: ClassVar = {
        **{native: {"kernel": (3, 4, 4)} for native in (linen.Conv, linen.ConvTranspose)},
        linen.Embed: {"embedding": (4, 4)},
        linen.GroupNorm: {"scale": (64,)},
        **{
            native: {name: {"kernel": (4, 2, 2)} for name in ("query", "key", "value", "out")}
            for native in (linen.MultiHeadAttention, linen.MultiHeadDotProductAttention, linen.SelfAttention)
        },
    }

    def described(self, native, options):
        shapes = self.shapes.get(native, {})
        params = {
            name: {role: np.zeros(one) for role, one in shape.items()} if isinstance(shape, dict) else np.zeros(shape)
            for name, shape in shapes.items()
        }
        return self.told(Linen(native(**options), {"params": params} if params else {}))
