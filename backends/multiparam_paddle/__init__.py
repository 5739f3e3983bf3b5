"""PaddlePaddle."""

from multiparam.plugin import Capability, Plugin

__all__ = ["plugin"]

plugin = Plugin(
    name="paddle",
    roots=frozenset({"paddle"}),
    adapter="multiparam_paddle.adapter:PaddleAdapter",
    defaults="multiparam_paddle.defaults",
    capabilities=frozenset(Capability),
    distribution="paddlepaddle",
    precedes=frozenset({"tensorflow"}),  # importing it second crashes the process
    demo="multiparam_paddle.demo",
    natives="multiparam_paddle.natives",
    wrappers=frozenset({"_layers"}),
    install='"multiparam[paddle]"',
)
