"""Steps from a native tensor to a canonical one: `multiparam.layer_table.steps`."""

from .arrays.types import Array, Shape
from .layer_table.steps import Flatten, Flip, Insert, Merge, Reorder, Split, Step, Take, Transpose, behind, invert

__all__ = [
    "Array",
    "Flatten",
    "Flip",
    "Insert",
    "Merge",
    "Reorder",
    "Shape",
    "Split",
    "Step",
    "Take",
    "Transpose",
    "behind",
    "invert",
]
