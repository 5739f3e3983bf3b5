"""The reference backend: small layers on numpy arrays, forward only, no framework needed."""

from multiparam.plugin import Capability, Plugin

from .layers import Buffer, Embedding, LayerNorm, Linear, Module, Sequential, Variable

__all__ = ["Buffer", "Embedding", "LayerNorm", "Linear", "Module", "Sequential", "Variable", "plugin"]

plugin = Plugin(
    name="numpy",
    roots=frozenset({"numpy", "multiparam_numpy"}),
    adapter="multiparam_numpy.adapter:NumpyAdapter",
    capabilities=frozenset(Capability) - {Capability.GRADIENTS},
    reasons={Capability.GRADIENTS: "it runs forward only; use torch, keras or flax for gradients"},
    distribution="numpy",
    install="numpy",
)
