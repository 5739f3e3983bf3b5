"""What becomes of each argument of PyTorch's constructors, by its name, or by class and name where that matters."""

COMPARED = (
    *("stride", "padding", "padding_mode", "dilation", "output_padding"),
    *("eps", "momentum", "num_groups", "track_running_stats"),
    *("max_norm", "norm_type"),
    *("ceil_mode", "count_include_pad", "divisor_override", "return_indices", "output_size"),
    *("approximate", "negative_slope", "alpha", "beta", "threshold", "value", "lambd", "lower", "upper"),
    *("min_val", "max_val", "dim", "start_dim", "end_dim", "unflattened_size"),
    *("size", "scale_factor", "mode", "align_corners", "recompute_scale_factor", "k"),
    *("upscale_factor", "downscale_factor", "ChannelShuffle.groups"),
    *("nonlinearity", "batch_first", "num_heads", "add_zero_attn"),
    *(f"{name}Pool{rank}d.kernel_size" for name in ("Max", "Avg") for rank in (1, 2, 3)),
)
STRUCTURE = (
    *("in_features", "out_features", "in1_features", "in2_features", "in_channels", "out_channels", "kernel_size"),
    *("groups", "bias", "num_embeddings", "embedding_dim", "num_features", "num_channels", "num_parameters"),
    *("affine", "elementwise_affine", "normalized_shape", "InstanceNorm1d.track_running_stats"),
    *("InstanceNorm2d.track_running_stats", "InstanceNorm3d.track_running_stats"),
    *(f"LazyInstanceNorm{rank}d.track_running_stats" for rank in (1, 2, 3)),
    *("input_size", "hidden_size", "num_layers", "bidirectional", "proj_size"),
    *("embed_dim", "add_bias_kv", "kdim", "vdim"),
)
_TRAINING = "it does nothing in eval mode"
_GRADIENTS = "it changes gradients only"
_FIRST = "it is what the weights begin with"
_ZEROS = "it can be zeros only"
IRRELEVANT = {
    "device": "it says where the numbers lie",
    "dtype": "the weights tell it",
    "inplace": "the output is the same",
    "p": _TRAINING,
    "dropout": _TRAINING,
    "padding_idx": _GRADIENTS,
    "scale_grad_by_freq": _GRADIENTS,
    "sparse": _GRADIENTS,
    "init": _FIRST,
    "_weight": _FIRST,
    "_freeze": _GRADIENTS,
    "process_group": _TRAINING,
    "min_value": "an older name of min_val",
    "max_value": "an older name of max_val",
    **{f"{lazy}ConvTranspose{rank}d.padding_mode": _ZEROS for lazy in ("", "Lazy") for rank in (1, 2, 3)},
}
