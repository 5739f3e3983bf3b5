"""What a backend declares about itself before its framework is imported."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

__all__ = ["Capability", "Plugin"]


class Capability(str, Enum):
    """What a backend can do beyond reading and writing parameters."""

    BUILD = "build"
    RUN = "run"
    LAZY = "lazy"
    BUFFERS = "buffers"
    GRADIENTS = "gradients"
    TRAINABLE = "trainable"
    TIE = "tie"
    TIE_TRANSPOSED = "tie_transposed"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Plugin:
    """A backend's declaration, the object that an entry point in the group `multiparam.backends` names.

    Attributes:
        name: the backend's name, `"torch"`.
        roots: root packages of the framework's classes; an object belongs to the backend whose root comes first
            along the MRO of the object's class. Of two, one within the other, the inner one counts.
        adapter: where the `Adapter` subclass is, `"package.module:Class"`; imported only when needed.
        capabilities: what the adapter can do beyond reading and writing.
        reasons: for a capability that is missing, why.
        distribution: the installed package whose version is shown; empty if the backend needs none.
        demo: a module with `loss(net, x, y)`, the native mean cross-entropy of integer classes, and
            `train(net, x, y, epochs, each)`, which trains with the framework's own optimizer and calls `each(epoch)`
            after each epoch; empty if the backend does not train.
        natives: a module with `natives()`, the framework's own layers for the parity table's cases, and perhaps
            `save(layer, path)`, the framework's own way to write a file; empty for none.
        defaults: a module with `SETTINGS`, what the framework's constructors set by themselves where PyTorch's set
            another thing, by canonical kind; it imports no framework. Empty for none.
        safetensors: what safetensors files that have PyTorch's layouts say of their format where the framework's own
            tools wrote them; a reader of others says it in its `Format`.
        precedes: root packages of other frameworks that crash the process if they are imported before this one.
        install: what pip is told to get the framework, `'"multiparam[torch]"'`.
        wrappers: what the framework's wrappers, compiled and data-parallel ones, call the model inside of them, and put
            before names in files.
        kept_by_wrappers: names of tensors that such wrappers keep for themselves.
        any_class: models may be objects of classes that inherit nothing from the framework, as tinygrad's are. What no
            root claims is shown to the adapter's `is_model`, once the framework itself is imported.
    """

    name: str
    roots: frozenset[str]
    adapter: str
    capabilities: frozenset[Capability]
    reasons: Mapping[Capability, str] = field(default_factory=dict)
    distribution: str = ""
    install: str = ""
    demo: str = ""
    natives: str = ""
    defaults: str = ""
    safetensors: frozenset[str] = frozenset()
    precedes: frozenset[str] = frozenset()
    wrappers: frozenset[str] = frozenset()
    kept_by_wrappers: frozenset[str] = frozenset()
    any_class: bool = False

    def settings(self) -> Mapping[str, Mapping[str, Any]]:
        """What the framework's constructors set by themselves where PyTorch's set another thing, by canonical kind."""
        found: Mapping[str, Mapping[str, Any]] = (
            importlib.import_module(self.defaults).SETTINGS if self.defaults else {}
        )
        return found
