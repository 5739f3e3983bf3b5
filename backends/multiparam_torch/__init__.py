"""PyTorch."""

from multiparam.plugin import Capability, Plugin

__all__ = ["plugin"]

plugin = Plugin(
    name="torch",
    roots=frozenset({"torch"}),
    adapter="multiparam_torch.adapter:TorchAdapter",
    capabilities=frozenset(Capability),
    distribution="torch",
    demo="multiparam_torch.demo",
    natives="multiparam_torch.natives",
    wrappers=frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}),
    kept_by_wrappers=frozenset({"n_averaged"}),
    install='"multiparam[torch]"',
)
