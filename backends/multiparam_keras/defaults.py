"""What Keras's constructors set by themselves where PyTorch's set another thing, by canonical kind."""

SETTINGS = {
    "BatchNorm": {"eps": 1e-3},
    "GroupNorm": {"eps": 1e-3},
    "InstanceNorm": {"eps": 1e-3},
    "LayerNorm": {"eps": 1e-3},
    "RMSNorm": {"eps": 1e-6},
    "LeakyReLU": {"negative_slope": 0.3},
    "RNN": {"batch_first": True},
    "LSTM": {"batch_first": True},
    "GRU": {"batch_first": True},
    "MultiheadAttention": {"batch_first": True},
}
