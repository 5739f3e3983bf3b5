"""What Gluon's constructors set by themselves where PyTorch's set another thing, by canonical kind."""

SETTINGS = {"RNN": {"nonlinearity": "relu"}}
