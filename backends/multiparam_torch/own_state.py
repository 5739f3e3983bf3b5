"""What a module saves by methods of its own: its extra state, and what else its class puts into a state_dict."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from multiparam.adapter import ByIdentity, Inventory, LeftOut, MultiparamError
from multiparam.formats import listed

from .tensors import from_numpy
from .wrappers import wrapping

EXTRA = "_extra_state"


class Kept:
    """Stands for what a module saves under a key by methods of its own, wherever it keeps it.

    Args:
        module: the module; it is not kept alive.
        key: the name behind the module's own.
    """

    def __init__(self, module: nn.Module, key: str) -> None:
        self._module = weakref.ref(module)
        self.key = key

    def value(self) -> Any:
        """What the module would save now."""
        module = self._alive()
        return module.get_extra_state() if self.key == EXTRA else _own(module)[self.key]

    def set(self, value: Any) -> None:
        """Has the module take an array from a state_dict, by its own method."""
        self._put(from_numpy(np.array(value)))

    def restorer(self) -> Callable[[], None]:
        """What has the module take again what it would save now, a tensor or not."""
        before = self.value()
        kept = before.detach().clone() if isinstance(before, torch.Tensor) else before
        return lambda: self._put(kept)

    def _put(self, thing: Any) -> None:
        module = self._alive()
        if self.key == EXTRA:
            module.set_extra_state(thing)
            return
        errors: list[str] = []
        state, metadata = {**_own(module), self.key: thing}, {"version": module._version}
        module._load_from_state_dict(state, "", metadata, True, [], [], errors)
        if errors:
            raise MultiparamError(f"{type(module).__name__} does not take {self.key!r}: {'; '.join(errors)}")

    def _alive(self) -> nn.Module:
        module = self._module()
        if module is None:
            raise MultiparamError(f"the module that kept {self.key!r} is gone")
        return module


_made: ByIdentity[dict[str, Kept]] = ByIdentity()


def kept(module: nn.Module) -> tuple[dict[str, Kept], dict[str, Kept]]:
    """What a module saves by methods of its own: the tensors, and what may become one when it is loaded."""
    has_extra, has_own = _methods(type(module))
    tensors: dict[str, Kept] = {}
    others: dict[str, Kept] = {}
    if has_extra:
        there = isinstance(_value(module), torch.Tensor)
        (tensors if there else others)[EXTRA] = _kept(module, EXTRA)
    for key, value in _own(module).items() if has_own else ():
        known = key in module._parameters or key in module._buffers or key == EXTRA
        if isinstance(value, torch.Tensor) and not known:
            tensors[key] = _kept(module, key)
    return tensors, others


@functools.lru_cache(maxsize=4096)
def keeps_more(cls: type[nn.Module]) -> bool:
    """Whether a class of modules saves anything by methods of its own."""
    return any(_methods(cls))


@functools.lru_cache(maxsize=4096)
def _methods(cls: type[nn.Module]) -> tuple[bool, bool]:
    """Whether a class has extra state, and whether it saves its own tensors in its own way."""
    return (
        cls.get_extra_state is not nn.Module.get_extra_state,
        cls._save_to_state_dict is not nn.Module._save_to_state_dict,
    )


def _kept(module: nn.Module, key: str) -> Kept:
    return _made.made(module, dict).setdefault(key, Kept(module, key))


def _value(module: nn.Module) -> Any:
    try:
        return module.get_extra_state()
    except Exception:  # whatever a user's method does before it is ready; saving will tell
        return None


def _own(module: nn.Module) -> dict[str, Any]:
    """What a module itself puts into a state_dict, without its children."""
    found: dict[str, Any] = {}
    module._save_to_state_dict(found, "", True)
    return found


# --- the inventory --------------------------------------------------------------------------------------------------


def inventory(model: nn.Module, backend: str) -> Inventory:
    """What the model's own `state_dict` has.

    Args:
        model: the model.
        backend: the backend's name.
    """
    modules = [(f"{prefix}." if prefix else "", one) for prefix, one in model.named_modules(remove_duplicate=False)]
    loading = _loads_otherwise(modules)
    try:
        found = _state_dict(model)
    except Exception as error:  # a user's method may fail in any way
        failed = LeftOut(f"the model's own state_dict() fails, {type(error).__name__}: {error}")
        return Inventory(backend, {"state_dict": failed}, loading=loading)
    tensors, stand_ins, wrappers = dict(_tensors(modules)), dict(_stand_ins(modules)), _wrappers(modules)
    plain = found.keys() == tensors.keys() and all(found[name] is one for name, one in tensors.items())
    listed, notes = (tensors, []) if plain else _compared(found, tensors, stand_ins)
    if wrappers:
        listed = {_inside(name, wrappers): one for name, one in listed.items()}
    return Inventory(backend, listed, notes, loading)


def _compared(
    found: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], stand_ins: Mapping[str, Kept]
) -> tuple[dict[str, Any], list[str]]:
    """What a state_dict has that is not simply a module's tensors, and in what else it differs from these."""
    places = {_place(one): name for name, one in tensors.items()}
    listed: dict[str, Any] = {}
    renamed: dict[str, str] = {}
    changed: list[str] = []
    for name, value in found.items():
        if name in stand_ins:
            listed[name] = stand_ins[name]
        elif not isinstance(value, torch.Tensor):
            listed[name] = LeftOut.of(value, weights=name.rpartition(".")[2] != EXTRA and _has_tensors(value))
        elif (own := tensors.get(name)) is not None:
            listed[name] = own
            changed += [] if _place(own) == _place(value) else [name]
        elif _place(value) in places:
            listed[name] = tensors[places[_place(value)]]
            renamed[places[_place(value)]] = name
        else:
            listed[name] = LeftOut("a tensor that only the model's own state_dict makes")
    left = [name for name in tensors if name not in found and name not in renamed]
    return listed, [
        *_note("the model's own state_dict leaves out, and the file has", left),
        *_note("the model's own state_dict changes the numbers of", changed),
        *_note("the model's own state_dict calls", [f"{name} {other}" for name, other in renamed.items()]),
    ]


_Modules = Sequence[tuple[str, nn.Module]]  # the beginning of what is in each, and the module, for each of its names


def _wrappers(modules: _Modules) -> list[tuple[str, str]]:
    """What wrappers put into the names of what they wrap, the innermost first: a name's beginning, without and with."""
    found = [(start, f"{start}{key}.") for start, module in modules if (key := wrapping(type(module)))]
    return found[::-1]


def _inside(name: str, wrappers: list[tuple[str, str]]) -> str:
    """A name without what wrappers put into it."""
    for start, around in wrappers:
        if name.startswith(around):
            name = start + name[len(around) :]
    return name


def _note(what: str, names: list[str]) -> list[str]:
    return [f"{what} {listed(names, most=3)}: load_state_dict and this file differ there"] if names else []


def _state_dict(model: nn.Module) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = model.state_dict(keep_vars=True)
    except TypeError:  # a method of the user's that takes no such argument
        found = model.state_dict()
    return found


def _tensors(modules: _Modules) -> Iterator[tuple[str, torch.Tensor]]:
    """The parameters and persistent buffers by all of their names."""
    for start, module in modules:
        away = module._non_persistent_buffers_set
        yield from [(start + name, one) for name, one in module._parameters.items() if one is not None]
        yield from [
            (start + name, one) for name, one in module._buffers.items() if one is not None and name not in away
        ]


def _stand_ins(modules: _Modules) -> Iterator[tuple[str, Kept]]:
    for start, module in modules:
        if keeps_more(type(module)):
            yield from [(start + key, one) for key, one in kept(module)[0].items()]


def _place(tensor: torch.Tensor) -> Any:
    """What two tensors of one memory have in common, one of which may be detached from the other."""
    try:
        return (tensor.data_ptr() or id(tensor), tuple(tensor.shape), tensor.dtype)
    except (RuntimeError, NotImplementedError, ValueError):  # one without a storage, or without a shape yet
        return id(tensor)


def _has_tensors(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_tensors, value.values()))
    return isinstance(value, torch.Tensor) or (isinstance(value, (list, tuple)) and any(map(_has_tensors, value)))


def _loads_otherwise(modules: _Modules) -> list[str]:
    """That modules do something of their own in load_state_dict; PyTorch's own classes only read old files so."""
    found = [start.removesuffix(".") or "the model" for start, one in modules if any(map(_is_others, _loaders(one)))]
    where = listed(found, most=3)
    return [f"load_state_dict has methods or hooks of its own in {where}, which were not called"] if found else []


def _loaders(module: nn.Module) -> Iterator[Any]:
    """What a module's load_state_dict calls that is not every module's."""
    yield from _methods_to_load(type(module))
    yield from module._load_state_dict_post_hooks.values()
    yield from (getattr(hook, "hook", hook) for hook in module._load_state_dict_pre_hooks.values())


@functools.lru_cache(maxsize=4096)
def _methods_to_load(cls: type[nn.Module]) -> tuple[Any, ...]:
    return tuple(one for one in (cls.load_state_dict, cls._load_from_state_dict) if _is_others(one))


def _is_others(function: Any) -> bool:
    function = getattr(function, "func", function)  # a partial's
    where = getattr(function, "__module__", None) or type(function).__module__
    return not (where == "torch" or where.startswith("torch."))
