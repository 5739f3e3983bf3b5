"""What becomes of each argument of NNX's constructors, by its name, or by class and name where that matters."""

COMPARED = (
    *("strides", "padding", "kernel_dilation", "input_dilation", "mask", "axis", "momentum", "epsilon"),
    *("num_groups", "group_size", "reduction_axes", "feature_axes", "dtype", "precision", "preferred_element_type"),
    *("dot_general", "dot_general_cls", "conv_general_dilated", "einsum_op", "promote_dtype", "carry_init"),
    *("gate_fn", "activation_fn", "residual", "merge_fn", "time_major", "return_carry", "reverse", "keep_order"),
    *("num_heads", "attention_fn", "decode", "qkv_dot_general", "out_dot_general", "qkv_dot_general_cls"),
    *("out_dot_general_cls", "qkv_promote_dtype", "out_promote_dtype", "ln_promote_dtype"),
)
STRUCTURE = (
    *("in_features", "out_features", "features", "num_embeddings", "num_features", "kernel_size", "use_bias"),
    *("use_scale", "param_dtype", "feature_group_count", "transpose_kernel", "batch_axis", "einsum_str"),
    *("kernel_shape", "bias_shape", "hidden_features", "forward_rnn", "backward_rnn", "cell"),
    *("qkv_features", "num_kv_heads", "in_kv_features", "normalize_qk"),
)
_TRAINING = "it does nothing in eval mode"
_FIRST = "it is what the weights begin with"
_LABEL = "a label"
_PARTS = ("kernel", "bias", "scale", "embedding", "recurrent_kernel", "out_kernel", "out_bias", "negative_slope")
IRRELEVANT = {
    "rngs": _FIRST,
    "keep_rngs": _TRAINING,
    "rate": _TRAINING,
    "dropout_rate": _TRAINING,
    "broadcast_dims": _TRAINING,
    "broadcast_dropout": _TRAINING,
    "broadcast_rngs": _TRAINING,
    "rng_collection": _TRAINING,
    "deterministic": "eval() says it",
    "use_running_average": "eval() says it",
    "axis_name": "it is for statistics over several devices",
    "axis_index_groups": "it is for statistics over several devices",
    "use_fast_variance": "the same variance by another formula",
    "unroll": "the output is the same",
    "state_axes": "it is for transforms of the cell's own state",
    "PReLU.dtype": "there is one number, which is told",
    **{f"{name}_init": _FIRST for name in _PARTS},
    **{f"{name}_metadata": _LABEL for name in (*_PARTS, "query_ln_scale", "key_ln_scale")},
}
