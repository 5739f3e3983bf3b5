"""Which backends there are, which one is meant, and which one an object belongs to."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..entry_points import discovered
from ..errors import ArgumentError, BackendError, close_names
from .base import Adapter
from .plugin import Plugin

__all__ = [
    "BackendInfo",
    "active",
    "adapter",
    "backends",
    "claimants",
    "foreign",
    "infer",
    "owner",
    "plugins",
    "recognized",
    "use",
]

GROUP = "multiparam.backends"
VARIABLE = "MULTIPARAM_BACKEND"

_chosen: ContextVar[str | None] = ContextVar("multiparam_backend", default=None)
_adapters: dict[str, Adapter] = {}
_loading = threading.RLock()


@dataclass(frozen=True)
class BackendInfo:
    """A line of `backends()`.

    Attributes:
        name: the backend's name.
        installed: whether its framework is installed.
        version: the framework's version, or None.
        capabilities: what the backend can do beyond reading and writing, sorted.
        problem: why the plug-in could not be loaded; empty if it could.
    """

    name: str
    installed: bool
    version: str | None
    capabilities: tuple[str, ...] = ()
    problem: str = ""


def backends() -> list[BackendInfo]:
    """Lists the backends: name, installed or not, version, capabilities. Imports no framework.

    >>> [line.name for line in backends() if line.name == "numpy"]
    ['numpy']
    """
    found, broken = _discover()
    lines = [_info(plugin) for plugin in found.values()]
    lines += [BackendInfo(name, False, None, problem=problem) for name, problem in broken.items()]
    return sorted(lines, key=lambda line: (line.name != "numpy", line.name))


def plugins() -> dict[str, Plugin]:
    """The declared backends by name, broken plug-ins left out."""
    return dict(_discover()[0])


@contextmanager
def use(backend: str) -> Iterator[None]:
    """Makes a backend the active one inside a `with` block, for this thread and task only.

    Args:
        backend: the backend's name.

    Raises:
        BackendError: there is no such backend, or its framework is not installed.

    >>> with use("numpy"):
    ...     active()
    'numpy'
    """
    adapter(backend)
    token = _chosen.set(backend)
    try:
        yield
    finally:
        _chosen.reset(token)


def active() -> str:
    """The name of the backend that is used where there is nothing to infer one from."""
    return _chosen.get() or os.environ.get(VARIABLE) or "numpy"


def adapter(backend: str | None = None) -> Adapter:
    """The adapter of a backend; None means the active one.

    Raises:
        BackendError: there is no such backend, it is broken, or its framework is not installed.
    """
    name = active() if backend is None else backend
    if not isinstance(name, str):
        raise ArgumentError(f"a backend is named by a string, not by {type(name).__name__}")
    with _loading:
        if name not in _adapters:
            _adapters[name] = _load(name)
        return _adapters[name]


def infer(native: Any, what: str = "a model") -> Adapter:
    """The adapter of the backend that an object belongs to.

    Args:
        native: a framework's model, layer or tensor.
        what: what the object should have been, for the error.

    Raises:
        BackendError: it belongs to none.
    """
    found = recognized(native)
    if found is not None:
        return found
    names = ", ".join(sorted(plugins()))
    raise BackendError(f"expected {what} of one of the backends {names}; got {_described(native)}")


def recognized(native: Any) -> Adapter | None:
    """As `infer`; None of an object that belongs to none."""
    native_type: type = type(native)
    for backend in claimants(native_type):
        candidate = adapter(backend)
        if candidate.is_model(native) or candidate.is_tensor(native):
            return candidate
    return None


def infer_model(native: Any) -> Adapter:
    """As `infer`, for models and layers only."""
    found = infer(native)
    if not found.is_model(native):
        raise BackendError(f"expected a model or a layer; got a {found.name} tensor, {_described(native)}")
    return found


def common(natives: Iterable[Any]) -> Adapter | None:
    """The one backend that all the objects belong to; None if there are none.

    Raises:
        BackendError: they belong to different ones, or one belongs to none.
    """
    found: Adapter | None = None
    for native in natives:
        try:
            other = infer(native, "a layer")
        except BackendError as error:
            if callable(native) and not isinstance(native, type):
                raise BackendError(f"{error}; multiparam.nn.Lambda makes a layer of a function") from None
            raise
        if found is not None and other is not found:
            raise BackendError(f"layers of different backends: {found.name} and {other.name}")
        found = other
    return found


def foreign(native: Any, around: Adapter) -> Adapter | None:
    """The adapter of a layer that is another framework's than the model around it; None if it is not."""
    native_type: type = type(native)
    name = owner(native_type)
    if name is None or name == around.name:
        return None
    found = adapter(name)
    return found if found.is_model(native) else None


@lru_cache(maxsize=4096)
def owner(native: type) -> str | None:
    """The name of the backend whose root comes first along the MRO of a class, or None."""
    roots = {root: plugin.name for plugin in _discover()[0].values() for root in plugin.roots}
    for base in native.__mro__:
        module = base.__module__ or ""
        while module:  # the nearest package: flax.linen before flax
            if module in roots:
                return roots[module]
            module = module.rpartition(".")[0]
    return None


def claimants(native: type) -> list[str]:
    """The backends that objects of a class may belong to: its owner, or those whose models are of any class."""
    found = owner(native)
    if found is not None:
        return [found]
    return [one.name for one in _discover()[0].values() if one.any_class and not one.roots.isdisjoint(sys.modules)]


@lru_cache(maxsize=1)
def _discover() -> tuple[dict[str, Plugin], dict[str, str]]:
    return discovered(GROUP, Plugin, "backend")


def _load(name: str) -> Adapter:
    found, broken = _discover()
    if name in broken:
        raise BackendError(f"the backend {name!r} cannot be loaded: {broken[name]}")
    if name not in found:
        close = close_names(name, found)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise BackendError(f"no backend {name!r}; there are {', '.join(sorted(found))}{hint}")
    plugin = found[name]
    if not _info(plugin).installed:
        raise BackendError(f"the backend {name!r} needs {plugin.distribution}: pip install {plugin.install}")
    early = sorted(plugin.precedes & sys.modules.keys())
    if early and plugin.roots.isdisjoint(sys.modules):
        raise BackendError(
            f"importing {plugin.distribution} after {early[0]} crashes the process: start anew, and "
            f'import {min(plugin.roots)} (or call multiparam.use("{name}")) before {early[0]}'
        )
    module, _, attribute = plugin.adapter.partition(":")
    try:
        made: Adapter = getattr(importlib.import_module(module), attribute)()
    except ImportError as error:
        raise BackendError(f"the backend {name!r} cannot be imported: {error}") from error
    return made


def _info(plugin: Plugin) -> BackendInfo:
    capabilities = tuple(sorted(str(capability) for capability in plugin.capabilities))
    if not plugin.distribution:
        return BackendInfo(plugin.name, True, None, capabilities)
    try:
        version = importlib.metadata.version(plugin.distribution)
    except importlib.metadata.PackageNotFoundError:
        found = _distributed(plugin)
        return BackendInfo(plugin.name, found is not None, found, capabilities)
    return BackendInfo(plugin.name, True, version, capabilities)


def _distributed(plugin: Plugin) -> str | None:
    """The version of a framework that another distribution brought, one built for a GPU say; None without it."""
    for package in {root.partition(".")[0] for root in plugin.roots} - {plugin.adapter.partition(".")[0]}:
        spec = None if package in sys.modules else importlib.util.find_spec(package)
        if package in sys.modules or (spec is not None and spec.origin is not None):
            names = importlib.metadata.packages_distributions().get(package, ())
            return importlib.metadata.version(names[0]) if names else None
    return None


def _described(native: Any) -> str:
    if isinstance(native, type):
        return f"the class {native.__name__} itself (make an instance first)"
    described = f"{type(native).__module__}.{type(native).__qualname__}"
    if hasattr(native, "native") and recognized(native) is None and recognized(native.native) is not None:
        return f"{described} (pass its .native)"
    if isinstance(native, (list, tuple)) and native and recognized(native[0]) is not None:
        return f"a {type(native).__name__} (pass what is in it one by one)"
    return described
