"""What becomes of each argument of Keras's constructors, by its name, or by class and name where that matters."""

COMPARED = (
    *("activation", "recurrent_activation", "strides", "padding", "output_padding", "dilation_rate", "pool_size"),
    *("axis", "momentum", "epsilon", "keepdims", "GroupNormalization.groups"),
    *("mask_zero", "logit_soft_cap", "reverse_dtype"),
    *("max_value", "negative_slope", "threshold", "alpha", "target_shape", "UpSampling1D.size", "UpSampling2D.size"),
    *("UpSampling3D.size", "interpolation"),
    *("return_sequences", "return_state", "go_backwards", "stateful", "zero_output_for_mask", "merge_mode"),
    *("num_heads", "attention_axes", "sliding_window"),
)
STRUCTURE = (
    *("units", "filters", "use_bias", "bias_axes", "kernel_size", "groups", "depth_multiplier", "center", "scale"),
    *("input_dim", "output_dim", "tie_weights", "lora_rank", "lora_alpha", "quantization_config", "shared_axes"),
    *("gptq_unpacked_column_size", "key_dim", "value_dim", "output_shape", "use_gate", "cell", "layer"),
    *("backward_layer", "reset_after", "equation"),
)
_TRAINING = "it does nothing in eval mode"
_FIRST = "it is what the weights begin with"
_TURNED = "the order of an image's axes, which is turned"
_SAME = "the output is the same"
_FUNCTION = "a function of somebody's own says nothing of itself"
_TRAINED = ("kernel", "bias", "beta", "gamma", "embeddings", "depthwise", "pointwise", "recurrent", "alpha")
IRRELEVANT = {
    "name": "a label",
    "dtype": "the weights tell it, and where a policy computes in another one that is compared for all layers",
    "seed": _TRAINING,
    "rate": _TRAINING,
    "noise_shape": _TRAINING,
    "dropout": _TRAINING,
    "recurrent_dropout": _TRAINING,
    "synchronized": _TRAINING,
    "renorm": _TRAINING,
    "renorm_clipping": _TRAINING,
    "renorm_momentum": _TRAINING,
    "data_format": _TURNED,
    "unroll": _SAME,
    "use_cudnn": _SAME,
    "flash_attention": _SAME,
    "unit_forget_bias": _FIRST,
    "weights": _FIRST,
    "function": _FUNCTION,
    "mask": _FUNCTION,
    "arguments": _FUNCTION,
    "Lambda.output_shape": _FUNCTION,
    "activity_regularizer": _TRAINING,
    **{f"{name}_initializer": _FIRST for name in (*_TRAINED, "moving_mean", "moving_variance")},
    **{f"{name}_{end}": _TRAINING for name in _TRAINED for end in ("regularizer", "constraint")},
}
