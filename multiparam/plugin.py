"""What a backend declares about itself: `multiparam.adapter.plugin`."""

from .adapter.plugin import Capability, Plugin

__all__ = ["Capability", "Plugin"]
