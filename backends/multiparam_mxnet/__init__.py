"""Apache MXNet's Gluon."""

from multiparam.plugin import Capability, Plugin

__all__ = ["plugin"]

plugin = Plugin(
    name="mxnet",
    roots=frozenset({"mxnet"}),
    adapter="multiparam_mxnet.adapter:MXNetAdapter",
    defaults="multiparam_mxnet.defaults",
    capabilities=frozenset(Capability),
    distribution="mxnet",
    demo="multiparam_mxnet.demo",
    natives="multiparam_mxnet.natives",
    install='"multiparam[mxnet]"',
)
