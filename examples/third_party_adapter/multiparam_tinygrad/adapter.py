"""The tinygrad backend's adapter: its layer table, and what the core asks of a framework."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from types import FunctionType, MethodType
from typing import Any
from unittest.mock import patch

import ml_dtypes
import numpy as np
from tinygrad import Context, Tensor, dtypes, nn
from tinygrad.dtype import _to_np_dtype
from tinygrad.engine.jit import _TinyJit
from tinygrad.nn.state import get_state_dict

import multiparam.adapter as core
from multiparam.adapter import At, Handle, Row

from . import plugin

_AFFINE = {"weight": At("weight"), "bias": At("bias")}
_CELL = {role: At(role) for role in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
_RUNNING = {name: At(name) for name in ("running_mean", "running_var", "num_batches_tracked")}
_NO_LAYERS = (type, FunctionType, MethodType, partial, Tensor, _TinyJit)
_BITS = {  # what numpy has from ml_dtypes goes to and fro as integers
    dtypes.bfloat16: (np.dtype(ml_dtypes.bfloat16), dtypes.uint16),
    dtypes.fp8e4m3: (np.dtype(ml_dtypes.float8_e4m3fn), dtypes.uint8),
    dtypes.fp8e5m2: (np.dtype(ml_dtypes.float8_e5m2), dtypes.uint8),
}


def _convolution(native: Any) -> dict[str, Any]:
    padding = native.padding
    if isinstance(padding, (tuple, list)) and len(padding) > len(native.kernel_size):  # both sides, last axis first
        padding = [*zip(padding[::2], padding[1::2], strict=True)][::-1]
    sizes = (native.kernel_size, native.stride, padding, native.dilation, native.groups)
    transposed = isinstance(native, nn.ConvTranspose2d)
    return core.transposed_convolution(*sizes, native.output_padding) if transposed else core.convolution(*sizes)


def _norm(native: Any) -> dict[str, Any]:
    return {name: getattr(native, name) for name in ("eps", "momentum", "num_groups") if hasattr(native, name)}


def _rows() -> list[Row]:
    """The rows; layouts are PyTorch's, the canonical ones, so that none has to turn a tensor."""
    norms = ("LayerNorm", "LayerNorm2d", "GroupNorm", "InstanceNorm")
    return [
        Row("Linear", nn.Linear, _AFFINE),
        Row("Embedding", nn.Embedding, {"weight": At("weight")}),
        Row(lambda it: f"Conv{len(it.kernel_size)}d", nn.Conv2d, _AFFINE, settings=_convolution),
        Row(lambda it: f"ConvTranspose{len(it.kernel_size)}d", nn.ConvTranspose2d, _AFFINE, settings=_convolution),
        Row("RMSNorm", nn.RMSNorm, {"weight": At("weight")}, settings=_norm),
        Row("BatchNorm", nn.BatchNorm, _AFFINE, _RUNNING, settings=_norm),
        *(Row(name, getattr(nn, name), _AFFINE, settings=_norm) for name in norms),
        Row("LSTMCell", nn.LSTMCell, _CELL),
    ]


class TinygradAdapter(core.Runs, core.Differentiates, core.Freezes, core.Ties):
    """Objects that are called and hold tensors, which is all that tinygrad asks of a model."""

    plugin = plugin
    table = core.LayerTable(_rows())

    def is_model(self, native: Any) -> bool:
        return _is_layer(native) and bool(get_state_dict(native, tensor_type=(Tensor, Handle)))

    def is_tensor(self, native: Any) -> bool:
        return isinstance(native, Tensor)

    def members(self, native: Any) -> core.Members:
        attributes = core.entries(native) if core.is_container(native) else vars(native).items()
        variables, children = core.collect(attributes, _is_layer, lambda one: isinstance(one, (Tensor, Handle)))
        row = self.row(native)
        known = set() if row is None else {part for source in row.sources_of(native).values() for part in source.parts}
        buffers = {name: one for name, one in variables.items() if name not in known and _is_buffer(one)}
        return core.Members({name: one for name, one in variables.items() if name not in buffers}, buffers, children)

    # --- variables ---------------------------------------------------------------------------------------------

    def read(self, variable: Tensor) -> Any:
        return self.array(variable.realize())  # or the model would compute it anew in each forward pass

    def write(self, variable: Tensor, value: Any) -> None:
        # in place, so that a captured TinyJit sees it; what is still to be computed has no place
        variable.realize().assign(self.tensor(value).to(variable.device)).realize()

    def shape(self, variable: Tensor) -> tuple[int, ...]:
        return tuple(variable.shape)

    def dtype(self, variable: Tensor) -> np.dtype[Any]:
        return _BITS[variable.dtype][0] if variable.dtype in _BITS else np.dtype(_to_np_dtype(variable.dtype))

    def device(self, variable: Tensor) -> str:
        return str(variable.device)

    def tensor(self, value: Any) -> Tensor:
        for dtype, (known, _) in _BITS.items():
            if value.dtype == known:
                return Tensor(core.fresh(value).view(f"u{known.itemsize}")).bitcast(dtype).realize()
        return Tensor(core.fresh(value).reshape(-1)).reshape(value.shape).realize()

    def array(self, tensor: Tensor) -> Any:
        known, bits = _BITS.get(tensor.dtype, (None, None))
        return tensor.numpy() if bits is None else tensor.bitcast(bits).numpy().view(known)

    def trainable(self, variable: Tensor) -> bool:
        return bool(variable.is_param)

    def set_trainable(self, model: Any, layers: Sequence[Any], variable: Tensor, value: bool) -> None:
        variable.is_param_(value).multiparam_frozen = not value  # or it would look like a buffer

    # --- running -----------------------------------------------------------------------------------------------

    def run(self, model: Any, inputs: Sequence[Any]) -> Any:
        with Context(TRAINING=0):
            return model(*map(self.tensor, inputs))

    @contextmanager
    def watch(self, layers: Sequence[Any], seen: Callable[[Any, Any], None]) -> Iterator[None]:
        watched = {id(layer) for layer in layers}

        def watching(cls: type) -> Callable[..., Any]:
            original = cls.__call__

            def call(layer: Any, *inputs: Any, **named: Any) -> Any:
                output = original(layer, *inputs, **named)
                if id(layer) in watched and type(layer) is cls:
                    seen(layer, output)
                return output

            return call

        with ExitStack() as patches:
            for cls in {type(layer) for layer in layers if callable(layer)}:
                patches.enter_context(patch.object(cls, "__call__", watching(cls)))
            yield

    def gradients(self, model: Any, loss: Callable[..., Any], inputs: Sequence[Any], variables: Sequence[Any]) -> Any:
        value = loss(model, *map(self.tensor, inputs))
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise self.no_scalar(value)
        found = value.reshape(()).gradient(*variables)
        if found and all(one.device is None for one in found):  # constant zeros, which lie nowhere
            raise core.unused_net()
        for variable, one in zip(variables, found, strict=True):
            variable.grad = (one.clone(device=variable.device) if one.device is None else one).realize()
        return [self.array(variable.grad) for variable in variables]

    def grad(self, variable: Tensor) -> Any:
        return None if variable.grad is None else self.array(variable.grad)

    def set_grad(self, variable: Tensor, value: Any) -> bool:
        if value is None:
            variable.grad = None
        return True

    # --- ties --------------------------------------------------------------------------------------------------

    def tie(self, model: Any, side: core.TieSide, handle: Handle) -> None:
        self._put(side, handle.variable if handle.axes is None else handle)

    def untie(self, model: Any, side: core.TieSide, value: Any) -> None:
        old = side.handle.variable
        own = self.tensor(value).to(old.device)
        self.set_trainable(model, (), own, self.trainable(old))
        self._put(side, own)

    def _put(self, side: core.TieSide, tensor: Tensor | Handle) -> None:
        if isinstance(vars(side.layer).get(side.part), Handle):
            core.unsee(side.layer, side.part, _view)
        if isinstance(tensor, Tensor):
            core.replace(side.layer, side.part, tensor)
        else:
            vars(side.layer)[side.part] = tensor  # behind the property that `see` makes
            core.see(side.layer, side.part, _view)

    def notes_on_change(self, model: Any) -> list[str]:
        return ["An optimizer or TinyJit made before this holds the old tensors: make it anew."]


def _is_layer(native: Any) -> bool:
    return callable(native) and hasattr(native, "__dict__") and not isinstance(native, _NO_LAYERS)


def _is_buffer(tensor: Tensor | Handle) -> bool:
    return isinstance(tensor, Tensor) and not tensor.is_param and not getattr(tensor, "multiparam_frozen", False)


def _view(layer: Any, part: str) -> Tensor:
    return vars(layer)[part].variable.permute(vars(layer)[part].axes)
