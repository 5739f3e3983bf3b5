"""What Flax's constructors set by themselves where PyTorch's set another thing, by canonical kind."""

SETTINGS = {
    "GroupNorm": {"eps": 1e-6},
    "InstanceNorm": {"eps": 1e-6},
    "LayerNorm": {"eps": 1e-6},
    "RMSNorm": {"eps": 1e-6},
    "GELU": {"approximate": "tanh"},
    "RNN": {"batch_first": True},
    "LSTM": {"batch_first": True},
    "GRU": {"batch_first": True},
    "MultiheadAttention": {"batch_first": True},
}
