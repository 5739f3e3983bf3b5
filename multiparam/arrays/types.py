"""What the rest calls an array, and its shape."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

__all__ = ["Array", "Shape"]

Array = npt.NDArray[Any]
Shape = tuple[int, ...]
