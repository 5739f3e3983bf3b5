"""What Paddle's constructors set by themselves where PyTorch's set another thing, by canonical kind."""

SETTINGS = {
    "AvgPool": {"count_include_pad": False},
    "RNN": {"batch_first": True},
    "LSTM": {"batch_first": True},
    "GRU": {"batch_first": True},
    "MultiheadAttention": {"batch_first": True},
}
