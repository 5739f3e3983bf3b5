"""What becomes of each field of Linen's modules, by its name, or by class and name where that matters."""

COMPARED = (
    *("strides", "padding", "kernel_dilation", "input_dilation", "mask", "axis", "momentum", "epsilon"),
    *("num_groups", "group_size", "reduction_axes", "feature_axes", "dtype", "precision", "preferred_element_type"),
    *("dot_general", "dot_general_cls", "conv_general_dilated", "conv_general_dilated_cls", "promote_dtype"),
    *("gate_fn", "activation_fn", "residual", "merge_fn", "time_major", "return_carry", "reverse", "keep_order"),
    *("num_heads", "attention_fn", "decode", "qkv_dot_general", "out_dot_general", "qkv_dot_general_cls"),
    *("out_dot_general_cls", "qk_attn_weights_einsum_cls", "attn_weights_value_einsum_cls", "carry_init"),
    *("force_fp32_for_softmax", "BatchNorm.use_running_average"),
)
STRUCTURE = (
    *("features", "num_embeddings", "kernel_size", "use_bias", "use_scale", "param_dtype", "feature_group_count"),
    *("transpose_kernel", "batch_dims", "einsum_str", "shape", "forward_rnn", "backward_rnn", "cell", "layers"),
    *("qkv_features", "out_features", "normalize_qk"),
)
_TRAINING = "it does nothing in eval mode"
_FIRST = "it is what the weights begin with"
_DEVICES = "it is for statistics over several devices"
_STATE = "it is for transforms of the cell's own state"
_PARTS = ("kernel", "bias", "scale", "embedding", "recurrent_kernel", "out_kernel", "out_bias", "negative_slope")
IRRELEVANT = {
    "parent": "the module that it is a part of",
    "name": "a label",
    "dropout_rate": _TRAINING,
    "broadcast_dropout": _TRAINING,
    "deterministic": "the model's call says it",
    "axis_name": _DEVICES,
    "axis_index_groups": _DEVICES,
    "use_fast_variance": "the same variance by another formula",
    "force_float32_reductions": "the same numbers, but for their rounding",
    "unroll": "the output is the same",
    "variable_axes": _STATE,
    "variable_broadcast": _STATE,
    "variable_carry": _STATE,
    "split_rngs": _STATE,
    **{f"{name}_init": _FIRST for name in _PARTS},
}
