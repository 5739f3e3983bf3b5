"""What becomes of each argument of Paddle's constructors, by its name, or by class and name where that matters."""

COMPARED = (
    *("stride", "padding", "padding_mode", "dilation", "output_padding"),
    *("epsilon", "momentum", "num_groups", "act", "use_global_stats", "trainable_statistics"),
    *("max_norm", "norm_type", "padding_idx"),
    *("ceil_mode", "exclusive", "divisor_override", "return_mask", "output_size"),
    *("approximate", "negative_slope", "alpha", "beta", "threshold", "value", "lower", "upper", "min", "max", "scale"),
    *("axis", "start_axis", "stop_axis", "shape", "Dropout.mode"),
    *("size", "scale_factor", "mode", "align_corners", "align_mode", "recompute_scale_factor", "k"),
    *("upscale_factor", "downscale_factor", "ChannelShuffle.groups"),
    *("activation", "time_major", "is_reverse", "num_heads", "need_weights"),
    *(f"{name}Pool{rank}D.kernel_size" for name in ("Max", "Avg") for rank in (1, 2, 3)),
)
STRUCTURE = (
    *("in_features", "out_features", "in1_features", "in2_features", "in_channels", "out_channels", "kernel_size"),
    *("groups", "bias", "weight_attr", "bias_attr", "param_attr", "num_embeddings", "embedding_dim", "num_features"),
    *("num_channels", "num_parameters", "affine", "elementwise_affine", "normalized_shape", "direction", "proj_size"),
    *(
        "input_size",
        "hidden_size",
        "num_layers",
        "embed_dim",
        "kdim",
        "vdim",
        "cell",
        "cell_fw",
        "cell_bw",
        "sublayers",
    ),
    *("weight_ih_attr", "weight_hh_attr", "bias_ih_attr", "bias_hh_attr"),
)
_TRAINING = "it does nothing in eval mode"
_GRADIENTS = "it changes gradients only"
_FIRST = "it is what the weights begin with"
_STATISTICS = "an instance norm keeps no statistics"
IRRELEVANT = {
    "name": "a label",
    "device": "it says where the numbers lie",
    "dtype": "the weights tell it",
    "data_format": "the order of an image's axes, which is turned",
    "data_layout": "the order of an image's axes, which is turned",
    "inplace": "the output is the same",
    "in_place": "the output is the same",
    "p": _TRAINING,
    "dropout": _TRAINING,
    "Dropout.axis": _TRAINING,
    "scale_grad_by_freq": _GRADIENTS,
    "sparse": _GRADIENTS,
    "init": _FIRST,
    "_weight": _FIRST,
    "_freeze": _GRADIENTS,
    "is_test": "eval() says it",
    "moving_mean_name": "a label",
    "moving_variance_name": "a label",
    "do_model_average_for_mean_and_var": _TRAINING,
    **{f"InstanceNorm{rank}D.momentum": _STATISTICS for rank in (1, 2, 3)},
}
