"""The adapter surface: what a backend implements, and all of the core that it may import.

Data flows one way: native model -> `Adapter.members` walks it -> neutral tree (`multiparam.model`) -> verb ->
`Adapter.write`. An adapter knows its framework and its layer table; it knows no verb.
"""

from ..arrays.copying import ALIGNMENT, copy, fresh
from ..arrays.nested import each_array, leaves
from ..arrays.types import Array, Shape
from ..errors import AmbiguousMatchError, ArgumentError, MultiparamError, UninitializedError, UnsupportedError
from ..layer_table.dense import attention_sources, einsum_sources, general_sources
from ..layer_table.kinds import GATES, KINDS, base_role, image_ranks
from ..layer_table.layout import At, Block, Concat, Handle, Source, Transposed, out_in_first
from ..layer_table.recurrent import RecurrentCell, cell_row, recurrent_row
from ..layer_table.settings import axes_of, convolution, input_padded, pooling, transposed_convolution
from ..layer_table.steps import Flatten, Flip, Insert, Merge, Reorder, Split, Take, Transpose
from ..layer_table.table import Fold, LayerTable, LazyShape, Row, Setting, each_rank, told_kind
from ..names.pattern import escape
from .attributes import check_replaceable, collect, entries, is_container, replace, resolve
from .base import Adapter, Inventory, LeftOut
from .by_identity import ByIdentity
from .capabilities import (
    Bridges,
    Carries,
    Computed,
    Computes,
    Differentiates,
    Freezes,
    KeepsOwnState,
    Lazy,
    Runs,
    SavesNames,
    Ties,
    TieSide,
    evaluating,
    unused_net,
)
from .members import NOTHING, Members, same_children, same_variables
from .plugin import Capability, Plugin
from .transposed import see, unsee

__all__ = [
    "ALIGNMENT",
    "Adapter",
    "AmbiguousMatchError",
    "ArgumentError",
    "Array",
    "At",
    "Block",
    "Bridges",
    "ByIdentity",
    "Capability",
    "Carries",
    "Computed",
    "Computes",
    "Concat",
    "Differentiates",
    "Flatten",
    "Flip",
    "Fold",
    "Freezes",
    "GATES",
    "Handle",
    "Insert",
    "Inventory",
    "KINDS",
    "KeepsOwnState",
    "NOTHING",
    "LayerTable",
    "Lazy",
    "LazyShape",
    "LeftOut",
    "Members",
    "Merge",
    "MultiparamError",
    "Plugin",
    "RecurrentCell",
    "Reorder",
    "Row",
    "Runs",
    "SavesNames",
    "Setting",
    "Shape",
    "Source",
    "Split",
    "Take",
    "TieSide",
    "Ties",
    "Transpose",
    "Transposed",
    "UninitializedError",
    "UnsupportedError",
    "attention_sources",
    "axes_of",
    "base_role",
    "cell_row",
    "check_replaceable",
    "collect",
    "convolution",
    "copy",
    "each_array",
    "each_rank",
    "einsum_sources",
    "entries",
    "escape",
    "evaluating",
    "fresh",
    "general_sources",
    "image_ranks",
    "input_padded",
    "is_container",
    "leaves",
    "out_in_first",
    "pooling",
    "recurrent_row",
    "replace",
    "resolve",
    "same_children",
    "same_variables",
    "see",
    "told_kind",
    "transposed_convolution",
    "unsee",
    "unused_net",
]
