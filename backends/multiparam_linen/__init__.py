"""Flax Linen, whose modules hold no parameters: `Linen(module, variables)` is a model of both."""

from typing import Any

from multiparam.plugin import Capability, Plugin

__all__ = ["Linen", "plugin"]

_ONE_PLACE = "Linen's variables are a plain tree, in which each has one place: share the submodule in the module's code"
_OPTIMIZER = "a Linen variable has no such flag: tell the optimizer, with optax.masked or optax.multi_transform"
_MAKE = "make the module and its variables, and pass multiparam_linen.Linen(module, variables)"

plugin = Plugin(
    name="linen",
    roots=frozenset({"flax.linen", "multiparam_linen"}),
    adapter="multiparam_linen.adapter:LinenAdapter",
    defaults="multiparam_linen.defaults",
    capabilities=frozenset({Capability.RUN, Capability.BUFFERS, Capability.GRADIENTS}),
    reasons={
        Capability.TIE: _ONE_PLACE,
        Capability.TIE_TRANSPOSED: _ONE_PLACE,
        Capability.TRAINABLE: _OPTIMIZER,
        Capability.BUILD: _MAKE,
        Capability.LAZY: "a Linen module has its shapes from the start, in the variables that init makes",
    },
    distribution="flax",
    natives="multiparam_linen.natives",
    install='"multiparam[flax]"',
)


def __getattr__(name: str) -> Any:
    if name == "Linen":  # found when asked for, so that the declaration above imports no framework
        from .model import Linen

        return Linen
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
