"""PyTorch."""

from multiparam.plugin import Capability, Plugin

__all__ = ["plugin"]

plugin = Plugin(
    name="torch",
    roots=frozenset({"torch"}),
    adapter="multiparam_torch.adapter:TorchAdapter",
    safetensors=frozenset({"pt"}),
    capabilities=frozenset(Capability),
    distribution="torch",
    demo="multiparam_torch.demo",
    natives="multiparam_torch.natives",
    install='"multiparam[torch]"',
)
