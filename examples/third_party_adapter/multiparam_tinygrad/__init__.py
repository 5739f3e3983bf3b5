"""tinygrad for multiparam: what the entry point names. It imports no framework, so that listing backends is fast."""

from multiparam.plugin import Capability, Plugin

__all__ = ["plugin"]

plugin = Plugin(
    name="tinygrad",
    roots=frozenset({"tinygrad"}),
    adapter="multiparam_tinygrad.adapter:TinygradAdapter",
    capabilities=frozenset(Capability) - {Capability.BUILD, Capability.LAZY},
    reasons={
        Capability.BUILD: "this example leaves it out; build the model from tinygrad's own classes",
        Capability.LAZY: "tinygrad's layers have their parameters from the start",
    },
    distribution="tinygrad",
    install="multiparam-tinygrad",
    any_class=True,  # a model is any object that is called and holds tensors; there is no class to inherit
)
