"""One API for a neural network's parameters - access, initialize, tie, save, load - in every framework.

>>> import multiparam as mp
>>> net = mp.nn.Sequential(mp.nn.Linear(4, 8), mp.nn.ReLU(), mp.nn.Linear(8, 1))
>>> report = mp.initialize(net, mp.init.Normal(std=0.01), seed=0)
>>> mp.parameters(net)["2.weight"].shape
(1, 8)
"""

from importlib.metadata import version as _version

from . import init, nn, steps
from .access import Layer, buffers, layers, parameters, state
from .checkpoint import Checkpoint, open
from .diff import DiffReport, diff
from .errors import (
    AmbiguousMatchError,
    ArgumentError,
    BackendError,
    CheckpointError,
    MismatchError,
    MultiparamError,
    ParameterNotFoundError,
    UncertainLayoutWarning,
    UninitializedError,
    UnsupportedError,
)
from .initialize import initialize
from .layout import At, Concat, Transposed
from .parameter import Parameter, Parameters
from .register import register_layer
from .registry import backends, use
from .run import gradients, materialize, run
from .serialize import SaveReport, load, save
from .summary import summary
from .tie import tie, tied, untie
from .verify import verify

__version__ = _version("multiparam")

__all__ = [
    "AmbiguousMatchError",
    "ArgumentError",
    "At",
    "BackendError",
    "Checkpoint",
    "CheckpointError",
    "Concat",
    "DiffReport",
    "Layer",
    "MismatchError",
    "MultiparamError",
    "Parameter",
    "ParameterNotFoundError",
    "Parameters",
    "SaveReport",
    "Transposed",
    "UncertainLayoutWarning",
    "UninitializedError",
    "UnsupportedError",
    "backends",
    "buffers",
    "diff",
    "gradients",
    "init",
    "initialize",
    "layers",
    "load",
    "materialize",
    "nn",
    "open",
    "parameters",
    "register_layer",
    "run",
    "save",
    "state",
    "steps",
    "summary",
    "tie",
    "tied",
    "untie",
    "use",
    "verify",
]
