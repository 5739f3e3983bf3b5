"""What a load says of itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ...errors import misfits, prefix_hint, printable
from ...html import Section, report
from ...layer_table.settings import facts
from ...model.inventory import told
from ...names.rename import with_layers
from ...text import counted, listed, where, wrapped

__all__ = ["LoadReport"]

_NO_SETTINGS = "settings: the file carries none, so that none was compared"


@dataclass
class LoadReport:
    """What a load did.

    Attributes:
        loaded: names that were written.
        missing: names of the model that the file lacks (with `strict=False`; they stay as they were).
        unexpected: names of the file that the model lacks (with `strict=False`).
        converted: (name, the file's dtype, the model's dtype) where they differ.
        tied: groups of names that the file has tied and the model had not, tied now.
        folded: (name, the name that it was added to) for tensors of the file whose numbers the model keeps in another:
            the forward pass stays, a training would go another way.
        differences: (layer, setting, the file's value, the model's) for settings such as an epsilon that are no weights
            and make outputs differ all the same.
        carries_settings: whether the file tells such settings at all; a framework's own checkpoint mostly does not.
        untold: (layer, setting, the default of the framework that wrote the file, the model's) where the file carries
            none, and the model has another than that default: outputs differ unless the other model had the same.
        ignored: names of the file that `only=` and `ignore=` left out.
        matched: (layer of the file, layer of the model) where layers of different names were paired: by `match="auto"`,
            or since the framework that wrote the file calls the model's layer so in its files.
        left_out: what the model's framework saves of it beside tensors, or what the file's model had beside them, by
            its name, and what it is: the model keeps its own.
        notes: what has to be done now, such as rebuilding an optimizer, and what was not needed.
        suggestion: what to pass as `rename=` where names are missing and unexpected because of a prefix; else empty.
        about: (shape, kind of layer) of what is missing and unexpected, by name, as far as they are known.
        renamed: what was passed as `rename=`.
    """

    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    converted: list[tuple[str, Any, Any]] = field(default_factory=list)
    tied: list[tuple[str, ...]] = field(default_factory=list)
    folded: list[tuple[str, str]] = field(default_factory=list)
    differences: list[tuple[str, str, Any, Any]] = field(default_factory=list)
    carries_settings: bool = True
    untold: list[tuple[str, str, Any, Any]] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    matched: list[tuple[str, str]] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    suggestion: dict[str, str] = field(default_factory=dict)
    about: dict[str, tuple[Any, str]] = field(default_factory=dict, repr=False)
    renamed: Any = field(default_factory=dict, repr=False)

    @property
    def rename(self) -> Any:
        """What turns the names of the file, or of the model that it was saved from, into those of the model.

        To be passed as `rename=` to `verify`, `diff` or another `load`: what was passed to this one, and the pairs of
        layers that it found.
        """
        return with_layers(self.renamed, dict(self.matched))

    def __str__(self) -> str:
        lines = [f"loaded {len(self.loaded)} tensors"]
        lines += [*prefix_hint(self.suggestion), *misfits(self.missing, self.unexpected, self.about)]
        lines += [f"left out by only= and ignore=: {listed(self.ignored)}"] if self.ignored else []
        lines += [f"matched: {layer or 'the model'} with {here or 'the model'}" for layer, here in self.matched]
        lines += [f"converted: {name} from {given} to {wanted}" for name, given, wanted in self.converted]
        lines += [f"tied: {' = '.join(group)}" for group in self.tied]
        lines += [f"folded: {name} was added to {into}" for name, into in self.folded]
        for layers, setting, given, here in facts(self.differences):
            lines += wrapped(printable(f"differs: {setting} {given} in the file, {here} here, in {where(layers)}"))
        lines += self._untold()
        lines += told(self.left_out, "not loaded")
        return "\n".join(map(printable, [*lines, *self.notes]))

    def _untold(self) -> list[str]:
        """What is said of settings where the file carries none."""
        if self.carries_settings:
            return []
        lines = wrapped(_NO_SETTINGS if not self.untold else f"{_NO_SETTINGS}; other than its writer's defaults here:")
        for layers, setting, there, here in facts(self.untold):
            lines += wrapped(printable(f"{setting} {here}, not {there}, in {where(layers)}"), "  ")
        return lines

    def _repr_html_(self) -> str:
        sections: list[Section] = [
            ("missing", ("name",), [(name,) for name in self.missing]),
            ("unexpected", ("name",), [(name,) for name in self.unexpected]),
            ("left out", ("name",), [(name,) for name in self.ignored]),
            ("matched", ("layer of the file", "of the model"), self.matched),
            ("converted", ("name", "the file's dtype", "here"), self.converted),
            ("tied", ("names",), [(" = ".join(group),) for group in self.tied]),
            ("folded", ("name", "added to"), self.folded),
            ("set otherwise", ("layers", "setting", "in the file", "here"), _folded(self.differences)),
            ("set otherwise than by default", ("layers", "setting", "by default", "here"), _folded(self.untold)),
            ("not loaded", ("name", "what it is"), [*self.left_out.items()]),
        ]
        notes = [*([] if self.carries_settings else [_NO_SETTINGS]), *self.notes, *prefix_hint(self.suggestion)]
        return report(f"loaded {counted(len(self.loaded), 'tensor')}", sections, notes)


def _folded(differences: Iterable[tuple[str, str, Any, Any]]) -> list[tuple[str, ...]]:
    return [(where(layers), *fact) for layers, *fact in facts(differences)]
