"""Pickles, with nothing run: `multiparam.formats.pickles`."""

from .formats.pickles import Dialect, Machine, PickledArray, StandIn, Stranger, leaves, plain, plain_at

__all__ = ["Dialect", "Machine", "PickledArray", "StandIn", "Stranger", "leaves", "plain", "plain_at"]
