"""File formats: what a reader hands over, and all that it may import beside the adapter surface.

A reader turns a file into `Contents`: its tensors as `Entry` objects that read their numbers when they are asked for,
under canonical names and in canonical layouts where it knows the layers, and under the file's own where it does not.
"""

from ..errors import CheckpointError
from ..names.pattern import join
from ..text import listed
from .contents import Choice, Contents, Model, Originals, nobodys
from .convention import Known, described, translated
from .disk import from_json, mapped, opened, unreadable
from .entry import Entry, data_size, stored, verified
from .format import Format

__all__ = [
    "CheckpointError",
    "Choice",
    "Contents",
    "Entry",
    "Format",
    "Known",
    "Model",
    "Originals",
    "data_size",
    "described",
    "from_json",
    "join",
    "listed",
    "mapped",
    "nobodys",
    "opened",
    "stored",
    "translated",
    "unreadable",
    "verified",
]
