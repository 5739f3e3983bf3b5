"""What becomes of each argument of Gluon's constructors, by its name, or by class and name where that matters."""

COMPARED = (
    *("activation", "recurrent_activation", "strides", "padding", "output_padding", "dilation", "flatten"),
    *("pool_size", "ceil_mode", "count_include_pad", "axis", "momentum", "epsilon", "use_global_stats", "num_groups"),
    *("alpha", "beta", "factor", "state_clip_min", "state_clip_max", "state_clip_nan"),
    *(f"{name}.layout" for name in ("RNN", "LSTM", "GRU")),
)
STRUCTURE = (
    *("units", "in_units", "channels", "in_channels", "kernel_size", "groups", "use_bias", "center", "scale"),
    *("input_dim", "output_dim", "hidden_size", "input_size", "num_layers", "bidirectional", "projection_size"),
    *("l_cell", "r_cell"),
)
_TRAINING = "it does nothing in eval mode"
_FIRST = "it is what the weights begin with"
_LABEL = "a label"
_FUNCTION = "a function of somebody's own says nothing of itself"
_PARTS = ("weight", "bias", "beta", "gamma", "running_mean", "running_variance", "alpha")
_GATES = ("i2h_weight", "h2h_weight", "i2h_bias", "h2h_bias", "h2r_weight")
IRRELEVANT = {
    "prefix": _LABEL,
    "params": "whose parameters it shares, which is a tie",
    "output_prefix": _LABEL,
    "dtype": "the weights tell it",
    "layout": "the order of an image's axes, which is turned",
    "rate": _TRAINING,
    "axes": _TRAINING,
    "dropout": _TRAINING,
    "sparse_grad": "it changes gradients only",
    "num_devices": _TRAINING,
    "function": _FUNCTION,
    "Conv3DTranspose.dilation": "it can be 1 only",
    **{f"{name}_initializer": _FIRST for name in (*_PARTS, *_GATES)},
}
