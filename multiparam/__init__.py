"""One API for a neural network's parameters - access, initialize, tie, save, load - in every framework.

>>> import multiparam as mp
>>> net = mp.nn.Sequential(mp.nn.Linear(4, 8), mp.nn.ReLU(), mp.nn.Linear(8, 1))
>>> report = mp.initialize(net, mp.init.Normal(std=0.01), seed=0)
>>> mp.parameters(net)["2.weight"].shape
(1, 8)
"""

from importlib.metadata import version as _version
from typing import TYPE_CHECKING, NoReturn

from . import init, nn, steps
from .adapter.registry import BackendInfo, backends, use
from .checkpoint.checkpoint import Checkpoint, open
from .errors import (
    AmbiguousMatchError,
    ArgumentError,
    BackendError,
    CheckpointError,
    MismatchError,
    MismatchReport,
    MultiparamError,
    ParameterNotFoundError,
    UncertainLayoutWarning,
    UninitializedError,
    UnsupportedError,
    no_attribute,
)
from .formats.entry import Entry
from .layer_table.layout import At, Concat, Transposed
from .model.parameter import Parameter
from .model.parameters import Parameters, Selection
from .verbs.access import Layer, buffers, layers, parameters, state
from .verbs.diff import DiffReport, diff
from .verbs.initialize import InitializationReport, InitializedParameter, initialize
from .verbs.register import register_layer
from .verbs.run import gradients, materialize, run
from .verbs.serialize import LoadReport, SaveReport, load, save
from .verbs.summary import Summary, summary
from .verbs.tie import TieReport, tie, tied, untie
from .verbs.verify import VerifyReport, verify

__version__ = _version("multiparam")

__all__ = [
    "AmbiguousMatchError",
    "ArgumentError",
    "At",
    "BackendError",
    "BackendInfo",
    "Checkpoint",
    "CheckpointError",
    "Concat",
    "DiffReport",
    "Entry",
    "InitializationReport",
    "InitializedParameter",
    "Layer",
    "LoadReport",
    "MismatchError",
    "MismatchReport",
    "MultiparamError",
    "Parameter",
    "ParameterNotFoundError",
    "Parameters",
    "SaveReport",
    "Selection",
    "Summary",
    "TieReport",
    "Transposed",
    "UncertainLayoutWarning",
    "UninitializedError",
    "UnsupportedError",
    "VerifyReport",
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


def __dir__() -> list[str]:
    return [*__all__, *(name for name in globals() if name.startswith("__"))]


if not TYPE_CHECKING:  # or a type checker would take any name

    def __getattr__(name: str) -> NoReturn:
        raise AttributeError(no_attribute("multiparam", name, name, __all__))
