"""Builders of layers that work on images and the like: (batch, channels, *spatial), channels first.

Those that exist over one, two and three axes are written once, for any number of them.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec

from ..errors import ArgumentError
from .build import flag, new, number, sizes

Size = int | Sequence[int]
P = ParamSpec("P")

_AXES = ("one axis", "two axes", "three axes")
_SPATIAL = ("length", "height, width", "depth, height, width")


def _over(rank: int, build: Callable[Concatenate[int, P], Any]) -> Callable[P, Any]:
    """A builder over so many axes, made of one for any number, with what its own name, signature and docstring say."""
    name, signature = f"{build.__name__}{rank}d", inspect.signature(build)
    signature = signature.replace(parameters=[*signature.parameters.values()][1:])

    @functools.wraps(build)
    def over(*arguments: P.args, **options: P.kwargs) -> Any:
        try:
            signature.bind(*arguments, **options)
        except TypeError as error:  # which would tell of the builder for any number of axes
            raise TypeError(f"{name}(): {error}") from None
        return build(rank, *arguments, **options)

    told: Any = over
    del told.__wrapped__  # whose signature is another
    told.__signature__ = signature
    told.__name__ = told.__qualname__ = name
    text = (build.__doc__ or "").replace("{axes}", _AXES[rank - 1])
    told.__doc__ = text.replace("{shape}", f"(batch, channels, {_SPATIAL[rank - 1]})")
    return over


def Conv(
    _rank: int,
    in_channels: int,
    out_channels: int,
    kernel_size: Size,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
    groups: int = 1,
    bias: bool = True,
    *,
    backend: str | None = None,
) -> Any:
    """A convolution over {axes} of {shape}.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output; weight (out_channels, in_channels / groups, *kernel_size).
        kernel_size: extents of the kernel, one for all axes or one each; so are the next three.
        stride: steps of the kernel.
        padding: zeros on both sides.
        dilation: distances between the kernel's elements.
        groups: in how many groups the channels are convolved apart.
        bias: whether there is a bias.
        backend: whose layer; None is the active backend's.

    Raises:
        ArgumentError: a size is not positive, or channels are no multiple of groups.
    """
    _check_channels(in_channels, out_channels, groups)
    return new(
        f"Conv{_rank}d",
        backend,
        in_channels=in_channels,
        out_channels=out_channels,
        **_kernel(_rank, kernel_size, stride, padding, dilation),
        groups=groups,
        bias=flag("bias", bias),
    )


def ConvTranspose(
    _rank: int,
    in_channels: int,
    out_channels: int,
    kernel_size: Size,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    bias: bool = True,
    dilation: Size = 1,
    *,
    backend: str | None = None,
) -> Any:
    """The transpose of a convolution over {axes} of {shape}.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output; weight (in_channels, out_channels / groups, *kernel_size).
        kernel_size: extents of the kernel, one for all axes or one each; so are the next three, and dilation.
        stride: steps of the kernel in the output.
        padding: what is cut off the output on both sides.
        output_padding: what of the cut at the end is kept.
        groups: in how many groups the channels are convolved apart.
        bias: whether there is a bias.
        dilation: distances between the kernel's elements.
        backend: whose layer; None is the active backend's.
    """
    _check_channels(in_channels, out_channels, groups)
    return new(
        f"ConvTranspose{_rank}d",
        backend,
        in_channels=in_channels,
        out_channels=out_channels,
        **_kernel(_rank, kernel_size, stride, padding, dilation),
        output_padding=_each("output_padding", _rank, output_padding, least=0),
        groups=groups,
        bias=flag("bias", bias),
    )


def SeparableConv(
    _rank: int,
    in_channels: int,
    out_channels: int,
    kernel_size: Size,
    stride: Size = 1,
    padding: Size = 0,
    dilation: Size = 1,
    depth_multiplier: int = 1,
    bias: bool = True,
    *,
    backend: str | None = None,
) -> Any:
    """A depthwise convolution over {axes} of {shape}, then one across the channels.

    They are the sublayers `depthwise` and `pointwise`; the first has no bias.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: extents of the depthwise kernel, one for all axes or one each; so are the next three.
        stride: steps of the kernel.
        padding: zeros on both sides.
        dilation: distances between the kernel's elements.
        depth_multiplier: how many channels the depthwise convolution makes of each.
        bias: whether there is a bias.
        backend: whose layer; None is the active backend's.
    """
    sizes(in_channels=in_channels, out_channels=out_channels, depth_multiplier=depth_multiplier)
    return new(
        f"SeparableConv{_rank}d",
        backend,
        in_channels=in_channels,
        out_channels=out_channels,
        **_kernel(_rank, kernel_size, stride, padding, dilation),
        depth_multiplier=depth_multiplier,
        bias=flag("bias", bias),
    )


def BatchNorm(
    _rank: int, num_features: int, eps: float = 1e-5, momentum: float = 0.1, *, backend: str | None = None
) -> Any:
    """Normalizes each channel over the batch of {shape}.

    Over one axis a batch may be (batch, features) too.

    Args:
        num_features: channels.
        eps: added to the variance.
        momentum: the weight of a batch's statistics in the running ones.
        backend: whose layer; None is the active backend's.
    """
    sizes(num_features=num_features)
    arguments = {"num_features": num_features, "eps": number("eps", eps), "momentum": number("momentum", momentum)}
    return new(f"BatchNorm{_rank}d", backend, **arguments)


def InstanceNorm(
    _rank: int, num_features: int, eps: float = 1e-5, affine: bool = False, *, backend: str | None = None
) -> Any:
    """Normalizes each channel of each sample of {shape}.

    Args:
        num_features: channels.
        eps: added to the variance.
        affine: whether there are a weight and a bias.
        backend: whose layer; None is the active backend's.
    """
    sizes(num_features=num_features)
    arguments = {"num_features": num_features, "eps": number("eps", eps), "affine": flag("affine", affine)}
    return new(f"InstanceNorm{_rank}d", backend, **arguments)


def MaxPool(
    _rank: int, kernel_size: Size, stride: Size | None = None, padding: Size = 0, *, backend: str | None = None
) -> Any:
    """The largest of each window of {shape}.

    Args:
        kernel_size: extents of the window, one for all axes or one each.
        stride: steps of the window; None is its extents.
        padding: what is put around the input on both sides, at most half the window.
        backend: whose layer; None is the active backend's.
    """
    return new(f"MaxPool{_rank}d", backend, **_window(_rank, kernel_size, stride, padding))


def AvgPool(
    _rank: int, kernel_size: Size, stride: Size | None = None, padding: Size = 0, *, backend: str | None = None
) -> Any:
    """The mean of each window of {shape}.

    Args:
        kernel_size: extents of the window, one for all axes or one each.
        stride: steps of the window; None is its extents.
        padding: what is put around the input on both sides, at most half the window.
        backend: whose layer; None is the active backend's.
    """
    return new(f"AvgPool{_rank}d", backend, **_window(_rank, kernel_size, stride, padding))


def AdaptiveAvgPool(_rank: int, output_size: int = 1, *, backend: str | None = None) -> Any:
    """The mean of each channel of {shape}, which keeps extents of 1.

    Args:
        output_size: 1; PyTorch's other sizes have no like in every framework.
        backend: whose layer; None is the active backend's.
    """
    if output_size != 1:
        raise ArgumentError(f"output_size is 1, the mean of everything, not {output_size!r}")
    return new(f"AdaptiveAvgPool{_rank}d", backend, output_size=1)


Conv1d, Conv2d, Conv3d = (_over(rank, Conv) for rank in (1, 2, 3))
ConvTranspose1d, ConvTranspose2d, ConvTranspose3d = (_over(rank, ConvTranspose) for rank in (1, 2, 3))
SeparableConv1d, SeparableConv2d = (_over(rank, SeparableConv) for rank in (1, 2))
BatchNorm1d, BatchNorm2d, BatchNorm3d = (_over(rank, BatchNorm) for rank in (1, 2, 3))
InstanceNorm1d, InstanceNorm2d, InstanceNorm3d = (_over(rank, InstanceNorm) for rank in (1, 2, 3))
MaxPool1d, MaxPool2d, MaxPool3d = (_over(rank, MaxPool) for rank in (1, 2, 3))
AvgPool1d, AvgPool2d, AvgPool3d = (_over(rank, AvgPool) for rank in (1, 2, 3))
AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveAvgPool3d = (_over(rank, AdaptiveAvgPool) for rank in (1, 2, 3))


def GroupNorm(num_groups: int, num_channels: int, eps: float = 1e-5, *, backend: str | None = None) -> Any:
    """Normalizes each group of channels of each sample of (batch, channels, *spatial).

    Args:
        num_groups: groups of channels.
        num_channels: channels, a multiple of the groups.
        eps: added to the variance.
        backend: whose layer; None is the active backend's.
    """
    sizes(num_groups=num_groups, num_channels=num_channels)
    if num_channels % num_groups:
        raise ArgumentError(f"num_channels={num_channels} is no multiple of num_groups={num_groups}")
    return new("GroupNorm", backend, num_groups=num_groups, num_channels=num_channels, eps=number("eps", eps))


def PReLU(num_parameters: int = 1, init: float = 0.25, *, backend: str | None = None) -> Any:
    """max(x, 0) + weight · min(x, 0), with a learned weight.

    Args:
        num_parameters: 1, or the number of channels for a weight each.
        init: what the weight starts with.
        backend: whose layer; None is the active backend's.

    Raises:
        UnsupportedError: the framework has no such layer with a weight for each channel.
    """
    sizes(num_parameters=num_parameters)
    return new("PReLU", backend, num_parameters=num_parameters, init=number("init", init))


def _check_channels(in_channels: int, out_channels: int, groups: int) -> None:
    sizes(in_channels=in_channels, out_channels=out_channels, groups=groups)
    for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
        if channels % groups:
            raise ArgumentError(f"{name}={channels} is no multiple of groups={groups}")


def _kernel(rank: int, kernel_size: Size, stride: Size, padding: Size, dilation: Size) -> dict[str, tuple[int, ...]]:
    """The sizes of a convolution, each for every axis."""
    return {
        "kernel_size": _each("kernel_size", rank, kernel_size),
        "stride": _each("stride", rank, stride),
        "padding": _each("padding", rank, padding, least=0),
        "dilation": _each("dilation", rank, dilation),
    }


def _window(rank: int, kernel_size: Size, stride: Size | None, padding: Size) -> dict[str, tuple[int, ...]]:
    """The sizes of a pool, each for every axis."""
    window = _each("kernel_size", rank, kernel_size)
    steps = window if stride is None else _each("stride", rank, stride)
    around = _each("padding", rank, padding, least=0)
    if any(2 * pad > extent for pad, extent in zip(around, window, strict=True)):
        raise ArgumentError(f"padding is at most half the window {window}, and is {around}")
    return {"kernel_size": window, "stride": steps, "padding": around}


def _each(name: str, rank: int, size: Size, least: int = 1) -> tuple[int, ...]:
    """One size for each axis."""
    each = (size,) * rank if isinstance(size, int) else tuple(size)
    sound = len(each) == rank and all(isinstance(one, int) and not isinstance(one, bool) for one in each)
    if not sound or min(each) < least:
        raise ArgumentError(f"{name} is an integer of at least {least}, or {rank} of them, not {size!r}")
    return each
