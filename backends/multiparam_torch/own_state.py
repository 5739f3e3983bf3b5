"""What a module saves by methods of its own: its extra state, and what else its class puts into a state_dict."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from multiparam.adapter import Inventory, LeftOut, MultiparamError

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

    def get(self) -> Any:
        """What the module would save now."""
        module = self._alive()
        return module.get_extra_state() if self.key == EXTRA else _own(module)[self.key]

    def put(self, value: torch.Tensor) -> None:
        """Has the module take it from a state_dict, by its own method."""
        module = self._alive()
        if self.key == EXTRA:
            module.set_extra_state(value)
            return
        errors: list[str] = []
        state, metadata = {**_own(module), self.key: value}, {"version": module._version}
        module._load_from_state_dict(state, "", metadata, True, [], [], errors)
        if errors:
            raise MultiparamError(f"{type(module).__name__} does not take {self.key!r}: {'; '.join(errors)}")

    def _alive(self) -> nn.Module:
        module = self._module()
        if module is None:
            raise MultiparamError(f"the module that kept {self.key!r} is gone")
        return module


_made: weakref.WeakKeyDictionary[nn.Module, dict[str, Kept]] = weakref.WeakKeyDictionary()


def plain(variable: Any) -> Any:
    """The tensor that a variable is, or stands for."""
    return variable.get() if type(variable) is Kept else variable


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


def keeps_more(module: nn.Module) -> bool:
    """Whether a module's class saves anything by methods of its own."""
    return any(_methods(type(module)))


@functools.lru_cache(maxsize=4096)
def _methods(cls: type[nn.Module]) -> tuple[bool, bool]:
    """Whether a class has extra state, and whether it saves its own tensors in its own way."""
    return (
        cls.get_extra_state is not nn.Module.get_extra_state,
        cls._save_to_state_dict is not nn.Module._save_to_state_dict,
    )


def _kept(module: nn.Module, key: str) -> Kept:
    made = _made.setdefault(module, {})
    return made.setdefault(key, Kept(module, key))


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
    try:
        found = _state_dict(model)
    except Exception as error:  # a user's method may fail in any way
        failed = LeftOut(f"the model's own state_dict() fails, {type(error).__name__}: {error}")
        return Inventory(backend, {"state_dict": failed}, loading=_loads_otherwise(model))
    tensors, wrappers = dict(_tensors(model)), _wrappers(model)
    stand_ins = dict(_stand_ins(model))
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
    notes = [
        *_note("the model's own state_dict leaves out, and the file has", left),
        *_note("the model's own state_dict changes the numbers of", changed),
        *_note("the model's own state_dict calls", [f"{name} {other}" for name, other in renamed.items()]),
    ]
    return Inventory(
        backend, {_inside(name, wrappers): one for name, one in listed.items()}, notes, _loads_otherwise(model)
    )


def _wrappers(model: nn.Module) -> list[tuple[str, str]]:
    """What wrappers put into the names of what they wrap, the innermost first: a name's beginning, without and with."""
    found = []
    for prefix, module in model.named_modules(remove_duplicate=False):
        if key := wrapping(type(module)):
            start = f"{prefix}." if prefix else ""
            found.append((start, f"{start}{key}."))
    return found[::-1]


def _inside(name: str, wrappers: list[tuple[str, str]]) -> str:
    """A name without what wrappers put into it."""
    for start, around in wrappers:
        if name.startswith(around):
            name = start + name[len(around) :]
    return name


def _note(what: str, names: list[str]) -> list[str]:
    shown = f"{', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"
    return [f"{what} {shown}: load_state_dict and this file differ there"] if names else []


def _state_dict(model: nn.Module) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = model.state_dict(keep_vars=True)
    except TypeError:  # a method of the user's that takes no such argument
        found = model.state_dict()
    return found


def _tensors(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """The parameters and persistent buffers by all of their names."""
    for prefix, module in model.named_modules(remove_duplicate=False):
        start = f"{prefix}." if prefix else ""
        held = {**module._parameters, **module._buffers}
        yield from (
            (start + name, one)
            for name, one in held.items()
            if one is not None and name not in module._non_persistent_buffers_set
        )


def _stand_ins(model: nn.Module) -> Iterator[tuple[str, Kept]]:
    for prefix, module in model.named_modules(remove_duplicate=False):
        if keeps_more(module):
            tensors, _ = kept(module)
            yield from ((f"{prefix}.{key}" if prefix else key, one) for key, one in tensors.items())


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


def _loads_otherwise(model: nn.Module) -> list[str]:
    """That modules do something of their own in load_state_dict; PyTorch's own classes only read old files so."""
    found = [name or "the model" for name, module in model.named_modules() if any(map(_is_others, _loaders(module)))]
    shown = f"{', '.join(found[:3])}{f' and {len(found) - 3} more' if len(found) > 3 else ''}"
    return [f"load_state_dict has methods or hooks of its own in {shown}, which were not called"] if found else []


def _loaders(module: nn.Module) -> Iterator[Any]:
    """What a module's load_state_dict calls."""
    yield type(module).load_state_dict
    yield type(module)._load_from_state_dict
    yield from module._load_state_dict_post_hooks.values()
    yield from (getattr(hook, "hook", hook) for hook in module._load_state_dict_pre_hooks.values())


def _is_others(function: Any) -> bool:
    function = getattr(function, "func", function)  # a partial's
    where = getattr(function, "__module__", None) or type(function).__module__
    return not (where == "torch" or where.startswith("torch."))
