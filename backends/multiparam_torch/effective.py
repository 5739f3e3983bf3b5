"""Weights that PyTorch computes from other parameters: parametrizations, and the hooks that came before them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import _WeightNorm
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from multiparam.adapter import Computed

from .tensors import from_numpy, to_numpy

_HOOKS = (WeightNorm, SpectralNorm, BasePruningMethod)
_QUANTIZED = ("torch.ao.nn.quantized", "torch.nn.quantized", "torch.ao.nn.intrinsic.quantized")
_BEFORE = "Initialize the model before it is quantized, and quantize it then"
_AGREE = 100  # units in the last place of the largest number, which computing the weight anew may cost


class Effective:
    """A weight that a module computes.

    Args:
        module: the module.
        name: the weight's name in it.
        compute: gives the weight as the module would have it now.
        assign: sets what it is computed from.
    """

    def __init__(
        self,
        module: nn.Module,
        name: str,
        compute: Callable[[], torch.Tensor],
        assign: Callable[[torch.Tensor], None],
    ) -> None:
        self.module, self.name = module, name
        self._compute, self._assign = compute, assign

    def value(self) -> torch.Tensor:
        """The weight, of a pass that changes nothing."""
        training = [one for one in self.module.modules() if one.training]
        for one in training:
            one.training = False
        try:
            with torch.no_grad():
                return self._compute()
        finally:
            for one in training:
                one.training = True

    def set(self, value: Any) -> None:
        """Makes an array the weight, as far as it can be computed."""
        with torch.no_grad():
            like = self.value()
            self._assign(from_numpy(np.array(value)).to(like.device))

    def problem(self, value: Any) -> str:
        """Why the weight cannot become an array; found by trying, and all is as it was."""
        held = [*self.module.parameters(), *self.module.buffers()]
        before = [(one, one.detach().clone()) for one in held]
        old = self.module.__dict__.get(self.name)
        try:
            self.set(value)
            made = to_numpy(self.value())
        except (NotImplementedError, RuntimeError, ValueError, TypeError) as error:
            return f"they cannot be computed from it ({str(error).splitlines()[0]})"
        finally:
            with torch.no_grad():
                for one, numbers in before:
                    one.data.copy_(numbers)
            if old is not None:
                self.module.__dict__[self.name] = old
        wide = np.asarray(made, np.complex128 if made.dtype.kind == "c" else np.float64)
        most = _AGREE * torch.finfo(self.value().dtype).eps * max(np.abs(value).max(initial=0), 1e-30)
        return "" if (np.abs(wide - value) <= most).all() else "it would be made other numbers than those"


def computed(module: nn.Module) -> Iterator[Computed]:
    """The weights that a module computes from parameters of its own."""
    if parametrize.is_parametrized(module):
        for name, each in module.parametrizations.items():
            if own := list(each._parameters.values()):
                what = " and ".join(type(one).__name__.lstrip("_") for one in each)
                yield Computed(name, own, what, _parametrized(module, name))
    quantized = any(base.__module__.startswith(_QUANTIZED) for base in type(module).__mro__)
    if quantized and any(hasattr(module, name) for name in ("weight", "_packed_params", "_all_weight_values")):
        yield Computed("weight", (), "quantization", why=_BEFORE)
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, _HOOKS):
            name = hook._tensor_name if isinstance(hook, BasePruningMethod) else hook.name
            own = [module._parameters.get(f"{name}_{end}") for end in ("orig", "g", "v")]
            yield Computed(
                name, [one for one in own if one is not None], type(hook).__name__, _hooked(module, name, hook)
            )


def effective(module: nn.Module, name: str) -> Effective | None:
    """The weight of that name, if the module computes it."""
    return next((one.variable for one in computed(module) if one.role == name), None)


def _parametrized(module: nn.Module, name: str) -> Effective:
    each: Any = module.parametrizations[name]
    dim = each[0].dim if len(each) == 1 and isinstance(each[0], _WeightNorm) else None

    def assign(value: torch.Tensor) -> None:
        setattr(module, name, value if dim is None else _with_direction(value, dim))
        if dim is not None:
            each.original0.copy_(torch.norm_except_dim(value, 2, dim))

    return Effective(module, name, lambda: getattr(module, name), assign)


def _with_direction(value: torch.Tensor, dim: int) -> torch.Tensor:
    """A weight with ones in place of zeros that have no direction: their norm makes them zeros again."""
    return torch.where(torch.norm_except_dim(value, 2, dim) == 0, torch.ones_like(value), value)


def _hooked(module: nn.Module, name: str, hook: Any) -> Effective:
    def compute() -> torch.Tensor:
        if isinstance(hook, BasePruningMethod):
            return hook.apply_mask(module)
        more = {"do_power_iteration": False} if isinstance(hook, SpectralNorm) else {}
        found: torch.Tensor = hook.compute_weight(module, **more)
        return found

    def assign(value: torch.Tensor) -> None:
        if isinstance(hook, WeightNorm):
            getattr(module, f"{name}_g").copy_(torch.norm_except_dim(value, 2, hook.dim))
            value = _with_direction(value, hook.dim)
        getattr(module, f"{name}_v" if isinstance(hook, WeightNorm) else f"{name}_orig").copy_(value)
        setattr(module, name, compute())

    return Effective(module, name, compute, assign)
