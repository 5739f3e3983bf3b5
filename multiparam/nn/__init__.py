"""Builders: PyTorch's layer names and arguments, native objects of the chosen backend.

Nothing is wrapped: `Linear(4, 8)` is a `torch.nn.Linear`, a `keras.layers.Dense` or an `nnx.Linear`. Every builder
takes `backend=`; None is the active one (see `multiparam.use`).
"""

from typing import TYPE_CHECKING, NoReturn

from ..errors import no_attribute
from .activations import (
    ELU,
    GELU,
    SELU,
    LeakyReLU,
    LogSoftmax,
    Mish,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from .attention import Bilinear, MultiheadAttention
from .layers import (
    Dropout,
    Embedding,
    Flatten,
    Identity,
    Lambda,
    LayerNorm,
    LazyLinear,
    Linear,
    Reshape,
    RMSNorm,
    Sequential,
)
from .recurrent import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell
from .spatial import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveAvgPool3d,
    AvgPool1d,
    AvgPool2d,
    AvgPool3d,
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
    GroupNorm,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
    MaxPool1d,
    MaxPool2d,
    MaxPool3d,
    PReLU,
    SeparableConv1d,
    SeparableConv2d,
)

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "Bilinear",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "Dropout",
    "ELU",
    "Embedding",
    "Flatten",
    "GELU",
    "GRU",
    "GRUCell",
    "GroupNorm",
    "Identity",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LSTM",
    "LSTMCell",
    "Lambda",
    "LayerNorm",
    "LazyLinear",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "Mish",
    "MultiheadAttention",
    "PReLU",
    "RMSNorm",
    "RNN",
    "RNNCell",
    "ReLU",
    "ReLU6",
    "Reshape",
    "SELU",
    "SeparableConv1d",
    "SeparableConv2d",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
]


# what others call them
_OTHERS = {"BatchNormalization": "BatchNorm2d", "Dense": "Linear", "LayerNormalization": "LayerNorm"}

if not TYPE_CHECKING:  # or a type checker would take any name

    def __getattr__(name: str) -> NoReturn:
        raise AttributeError(no_attribute("multiparam.nn", _OTHERS.get(name, name), name, __all__))
