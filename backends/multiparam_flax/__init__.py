"""Flax NNX."""

from multiparam.plugin import Capability, Plugin

__all__ = ["plugin"]

plugin = Plugin(
    name="flax",
    roots=frozenset({"flax", "jax", "jaxlib"}),
    adapter="multiparam_flax.adapter:FlaxAdapter",
    defaults="multiparam_flax.defaults",
    capabilities=frozenset(Capability),
    distribution="flax",
    demo="multiparam_flax.demo",
    natives="multiparam_flax.natives",
    install='"multiparam[flax]"',
)
