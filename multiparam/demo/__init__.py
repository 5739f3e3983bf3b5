"""The main job, on real input: one model, trained in every framework, its file loaded into every other."""

from .run import demo

__all__ = ["demo"]
