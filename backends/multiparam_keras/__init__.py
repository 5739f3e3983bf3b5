"""Keras 3, on its TensorFlow, JAX and PyTorch backends."""

from multiparam.plugin import Capability, Plugin

__all__ = ["plugin"]

plugin = Plugin(
    name="keras",
    roots=frozenset({"keras", "tensorflow"}),
    adapter="multiparam_keras.adapter:KerasAdapter",
    defaults="multiparam_keras.defaults",
    capabilities=frozenset(Capability),
    distribution="keras",
    demo="multiparam_keras.demo",
    natives="multiparam_keras.natives",
    install='"multiparam[keras]"',
)
