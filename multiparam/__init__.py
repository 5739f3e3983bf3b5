"""One API for a neural network's parameters - access, initialize, tie, save, load - in every framework.

>>> import multiparam as mp
>>> net = mp.nn.Sequential(mp.nn.Linear(4, 8), mp.nn.ReLU(), mp.nn.Linear(8, 1))
>>> report = mp.initialize(net, mp.init.Normal(std=0.01), seed=0)
>>> mp.parameters(net)["2.weight"].shape
(1, 8)
"""

import importlib
from typing import TYPE_CHECKING, Any

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

# where each name comes from: it is imported when it is first asked for, so that a program pays for what it uses
_FROM = {
    "adapter.registry": "BackendInfo backends use",
    "checkpoint.checkpoint": "Checkpoint open",
    "errors": (
        "AmbiguousMatchError ArgumentError BackendError CheckpointError MismatchError MismatchReport "
        "MultiparamError ParameterNotFoundError UncertainLayoutWarning UninitializedError UnsupportedError"
    ),
    "formats.entry": "Entry",
    "layer_table.layout": "At Concat Transposed",
    "model.parameter": "Parameter",
    "model.parameters": "Parameters Selection",
    "verbs.access": "Layer buffers layers parameters state",
    "verbs.diff": "DiffReport diff",
    "verbs.initialize": "InitializationReport InitializedParameter initialize",
    "verbs.register": "register_layer",
    "verbs.run": "gradients materialize run",
    "verbs.load": "LoadReport load",
    "verbs.save": "SaveReport save",
    "verbs.summary": "Summary summary",
    "verbs.tie": "TieReport tie tied untie",
    "verbs.verify": "VerifyReport verify",
}
_MODULES = ("init", "nn", "steps")
_WHERE = {name: module for module, names in _FROM.items() for name in names.split()}


def __dir__() -> list[str]:
    return [*__all__, *(name for name in globals() if name.startswith("__"))]


if TYPE_CHECKING:
    __version__: str
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
    )
    from .formats.entry import Entry
    from .layer_table.layout import At, Concat, Transposed
    from .model.parameter import Parameter
    from .model.parameters import Parameters, Selection
    from .verbs.access import Layer, buffers, layers, parameters, state
    from .verbs.diff import DiffReport, diff
    from .verbs.initialize import InitializationReport, InitializedParameter, initialize
    from .verbs.load import LoadReport, load
    from .verbs.register import register_layer
    from .verbs.run import gradients, materialize, run
    from .verbs.save import SaveReport, save
    from .verbs.summary import Summary, summary
    from .verbs.tie import TieReport, tie, tied, untie
    from .verbs.verify import VerifyReport, verify

else:  # a type checker would take any name

    def __getattr__(name: str) -> Any:
        if name in _WHERE:
            found = getattr(importlib.import_module(f".{_WHERE[name]}", __name__), name)
        elif name in _MODULES:
            found = importlib.import_module(f".{name}", __name__)
        elif name == "__version__":
            from importlib.metadata import version

            found = version("multiparam")
        else:
            from .errors import no_attribute

            raise AttributeError(no_attribute("multiparam", name, name, __all__))
        globals()[name] = found
        return found
