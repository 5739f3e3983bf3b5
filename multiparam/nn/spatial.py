"""Builders of layers that work on images and the like: (batch, channels, *spatial), channels first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import ArgumentError
from .build import flag, new, number, sizes

Size = int | Sequence[int]


def Conv1d(
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
    """A convolution over one axis of (batch, channels, length).

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
    return _conv(1, in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, backend)


def ConvTranspose1d(
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
    """The transpose of a convolution over one axis of (batch, channels, length).

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
    return _conv_transpose(
        *(1, in_channels, out_channels, kernel_size, stride, padding, output_padding, groups, bias, dilation, backend)
    )


def BatchNorm1d(num_features: int, eps: float = 1e-5, momentum: float = 0.1, *, backend: str | None = None) -> Any:
    """Normalizes each channel over the batch, (batch, features) or (batch, channels, length).

    Args:
        num_features: channels.
        eps: added to the variance.
        momentum: the weight of a batch's statistics in the running ones.
        backend: whose layer; None is the active backend's.
    """
    sizes(num_features=num_features)
    arguments = {"num_features": num_features, "eps": number("eps", eps), "momentum": number("momentum", momentum)}
    return new("BatchNorm1d", backend, **arguments)


def InstanceNorm1d(num_features: int, eps: float = 1e-5, affine: bool = False, *, backend: str | None = None) -> Any:
    """Normalizes each channel of each sample of (batch, channels, length).

    Args:
        num_features: channels.
        eps: added to the variance.
        affine: whether there are a weight and a bias.
        backend: whose layer; None is the active backend's.
    """
    sizes(num_features=num_features)
    return new(
        "InstanceNorm1d", backend, num_features=num_features, eps=number("eps", eps), affine=flag("affine", affine)
    )


def MaxPool1d(kernel_size: Size, stride: Size | None = None, padding: Size = 0, *, backend: str | None = None) -> Any:
    """The largest of each window of (batch, channels, length).

    Args:
        kernel_size: extents of the window, one for all axes or one each.
        stride: steps of the window; None is its extents.
        padding: what is put around the input on both sides, at most half the window.
        backend: whose layer; None is the active backend's.
    """
    return _pool("MaxPool", 1, kernel_size, stride, padding, backend)


def AvgPool1d(kernel_size: Size, stride: Size | None = None, padding: Size = 0, *, backend: str | None = None) -> Any:
    """The mean of each window of (batch, channels, length).

    Args:
        kernel_size: extents of the window, one for all axes or one each.
        stride: steps of the window; None is its extents.
        padding: what is put around the input on both sides, at most half the window.
        backend: whose layer; None is the active backend's.
    """
    return _pool("AvgPool", 1, kernel_size, stride, padding, backend)


def Conv2d(
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
    """A convolution over two axes of (batch, channels, height, width).

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
    return _conv(2, in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, backend)


def ConvTranspose2d(
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
    """The transpose of a convolution over two axes of (batch, channels, height, width).

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
    return _conv_transpose(
        *(2, in_channels, out_channels, kernel_size, stride, padding, output_padding, groups, bias, dilation, backend)
    )


def BatchNorm2d(num_features: int, eps: float = 1e-5, momentum: float = 0.1, *, backend: str | None = None) -> Any:
    """Normalizes each channel over the batch of (batch, channels, height, width).

    Args:
        num_features: channels.
        eps: added to the variance.
        momentum: the weight of a batch's statistics in the running ones.
        backend: whose layer; None is the active backend's.
    """
    sizes(num_features=num_features)
    arguments = {"num_features": num_features, "eps": number("eps", eps), "momentum": number("momentum", momentum)}
    return new("BatchNorm2d", backend, **arguments)


def InstanceNorm2d(num_features: int, eps: float = 1e-5, affine: bool = False, *, backend: str | None = None) -> Any:
    """Normalizes each channel of each sample of (batch, channels, height, width).

    Args:
        num_features: channels.
        eps: added to the variance.
        affine: whether there are a weight and a bias.
        backend: whose layer; None is the active backend's.
    """
    sizes(num_features=num_features)
    return new(
        "InstanceNorm2d", backend, num_features=num_features, eps=number("eps", eps), affine=flag("affine", affine)
    )


def MaxPool2d(kernel_size: Size, stride: Size | None = None, padding: Size = 0, *, backend: str | None = None) -> Any:
    """The largest of each window of (batch, channels, height, width).

    Args:
        kernel_size: extents of the window, one for all axes or one each.
        stride: steps of the window; None is its extents.
        padding: what is put around the input on both sides, at most half the window.
        backend: whose layer; None is the active backend's.
    """
    return _pool("MaxPool", 2, kernel_size, stride, padding, backend)


def AvgPool2d(kernel_size: Size, stride: Size | None = None, padding: Size = 0, *, backend: str | None = None) -> Any:
    """The mean of each window of (batch, channels, height, width).

    Args:
        kernel_size: extents of the window, one for all axes or one each.
        stride: steps of the window; None is its extents.
        padding: what is put around the input on both sides, at most half the window.
        backend: whose layer; None is the active backend's.
    """
    return _pool("AvgPool", 2, kernel_size, stride, padding, backend)


def Conv3d(
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
    """A convolution over three axes of (batch, channels, depth, height, width).

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
    return _conv(3, in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, backend)


def ConvTranspose3d(
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
    """The transpose of a convolution over three axes of (batch, channels, depth, height, width).

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
    return _conv_transpose(
        *(3, in_channels, out_channels, kernel_size, stride, padding, output_padding, groups, bias, dilation, backend)
    )


def BatchNorm3d(num_features: int, eps: float = 1e-5, momentum: float = 0.1, *, backend: str | None = None) -> Any:
    """Normalizes each channel over the batch of (batch, channels, depth, height, width).

    Args:
        num_features: channels.
        eps: added to the variance.
        momentum: the weight of a batch's statistics in the running ones.
        backend: whose layer; None is the active backend's.
    """
    sizes(num_features=num_features)
    arguments = {"num_features": num_features, "eps": number("eps", eps), "momentum": number("momentum", momentum)}
    return new("BatchNorm3d", backend, **arguments)


def InstanceNorm3d(num_features: int, eps: float = 1e-5, affine: bool = False, *, backend: str | None = None) -> Any:
    """Normalizes each channel of each sample of (batch, channels, depth, height, width).

    Args:
        num_features: channels.
        eps: added to the variance.
        affine: whether there are a weight and a bias.
        backend: whose layer; None is the active backend's.
    """
    sizes(num_features=num_features)
    return new(
        "InstanceNorm3d", backend, num_features=num_features, eps=number("eps", eps), affine=flag("affine", affine)
    )


def MaxPool3d(kernel_size: Size, stride: Size | None = None, padding: Size = 0, *, backend: str | None = None) -> Any:
    """The largest of each window of (batch, channels, depth, height, width).

    Args:
        kernel_size: extents of the window, one for all axes or one each.
        stride: steps of the window; None is its extents.
        padding: what is put around the input on both sides, at most half the window.
        backend: whose layer; None is the active backend's.
    """
    return _pool("MaxPool", 3, kernel_size, stride, padding, backend)


def AvgPool3d(kernel_size: Size, stride: Size | None = None, padding: Size = 0, *, backend: str | None = None) -> Any:
    """The mean of each window of (batch, channels, depth, height, width).

    Args:
        kernel_size: extents of the window, one for all axes or one each.
        stride: steps of the window; None is its extents.
        padding: what is put around the input on both sides, at most half the window.
        backend: whose layer; None is the active backend's.
    """
    return _pool("AvgPool", 3, kernel_size, stride, padding, backend)


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


def AdaptiveAvgPool1d(output_size: int = 1, *, backend: str | None = None) -> Any:
    """The mean of each channel of (batch, channels, length), which keeps extents of 1.

    Args:
        output_size: 1; PyTorch's other sizes have no like in every framework.
        backend: whose layer; None is the active backend's.
    """
    return _global_pool(1, output_size, backend)


def AdaptiveAvgPool2d(output_size: int = 1, *, backend: str | None = None) -> Any:
    """The mean of each channel of (batch, channels, height, width), which keeps extents of 1.

    Args:
        output_size: 1; PyTorch's other sizes have no like in every framework.
        backend: whose layer; None is the active backend's.
    """
    return _global_pool(2, output_size, backend)


def AdaptiveAvgPool3d(output_size: int = 1, *, backend: str | None = None) -> Any:
    """The mean of each channel of (batch, channels, depth, height, width), which keeps extents of 1.

    Args:
        output_size: 1; PyTorch's other sizes have no like in every framework.
        backend: whose layer; None is the active backend's.
    """
    return _global_pool(3, output_size, backend)


def SeparableConv1d(
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
    """A depthwise convolution over one axis of (batch, channels, length), then one across the channels.

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
    return _separable(
        *(1, in_channels, out_channels, kernel_size, stride, padding, dilation, depth_multiplier, bias, backend)
    )


def SeparableConv2d(
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
    """A depthwise convolution over two axes of (batch, channels, height, width), then one across the channels.

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
    return _separable(
        *(2, in_channels, out_channels, kernel_size, stride, padding, dilation, depth_multiplier, bias, backend)
    )


def _conv(
    rank: int,
    in_channels: int,
    out_channels: int,
    kernel_size: Size,
    stride: Size,
    padding: Size,
    dilation: Size,
    groups: int,
    bias: bool,
    backend: str | None,
) -> Any:
    _check_channels(in_channels, out_channels, groups)
    return new(
        f"Conv{rank}d",
        backend,
        in_channels=in_channels,
        out_channels=out_channels,
        kernel_size=_each("kernel_size", rank, kernel_size),
        stride=_each("stride", rank, stride),
        padding=_each("padding", rank, padding, least=0),
        dilation=_each("dilation", rank, dilation),
        groups=groups,
        bias=flag("bias", bias),
    )


def _conv_transpose(
    rank: int,
    in_channels: int,
    out_channels: int,
    kernel_size: Size,
    stride: Size,
    padding: Size,
    output_padding: Size,
    groups: int,
    bias: bool,
    dilation: Size,
    backend: str | None,
) -> Any:
    _check_channels(in_channels, out_channels, groups)
    return new(
        f"ConvTranspose{rank}d",
        backend,
        in_channels=in_channels,
        out_channels=out_channels,
        kernel_size=_each("kernel_size", rank, kernel_size),
        stride=_each("stride", rank, stride),
        padding=_each("padding", rank, padding, least=0),
        output_padding=_each("output_padding", rank, output_padding, least=0),
        groups=groups,
        bias=flag("bias", bias),
        dilation=_each("dilation", rank, dilation),
    )


def _separable(
    rank: int,
    in_channels: int,
    out_channels: int,
    kernel_size: Size,
    stride: Size,
    padding: Size,
    dilation: Size,
    depth_multiplier: int,
    bias: bool,
    backend: str | None,
) -> Any:
    sizes(in_channels=in_channels, out_channels=out_channels, depth_multiplier=depth_multiplier)
    return new(
        f"SeparableConv{rank}d",
        backend,
        in_channels=in_channels,
        out_channels=out_channels,
        kernel_size=_each("kernel_size", rank, kernel_size),
        stride=_each("stride", rank, stride),
        padding=_each("padding", rank, padding, least=0),
        dilation=_each("dilation", rank, dilation),
        depth_multiplier=depth_multiplier,
        bias=flag("bias", bias),
    )


def _check_channels(in_channels: int, out_channels: int, groups: int) -> None:
    sizes(in_channels=in_channels, out_channels=out_channels, groups=groups)
    for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
        if channels % groups:
            raise ArgumentError(f"{name}={channels} is no multiple of groups={groups}")


def _pool(name: str, rank: int, kernel_size: Size, stride: Size | None, padding: Size, backend: str | None) -> Any:
    window = _each("kernel_size", rank, kernel_size)
    steps = window if stride is None else _each("stride", rank, stride)
    around = _each("padding", rank, padding, least=0)
    if any(2 * pad > extent for pad, extent in zip(around, window, strict=True)):
        raise ArgumentError(f"padding is at most half the window {window}, and is {around}")
    return new(f"{name}{rank}d", backend, kernel_size=window, stride=steps, padding=around)


def _global_pool(rank: int, output_size: int, backend: str | None) -> Any:
    if output_size != 1:
        raise ArgumentError(f"output_size is 1, the mean of everything, not {output_size!r}")
    return new(f"AdaptiveAvgPool{rank}d", backend, output_size=1)


def _each(name: str, rank: int, size: Size, least: int = 1) -> tuple[int, ...]:
    """One size for each axis."""
    each = (size,) * rank if isinstance(size, int) else tuple(size)
    sound = len(each) == rank and all(isinstance(one, int) and not isinstance(one, bool) for one in each)
    if not sound or min(each) < least:
        raise ArgumentError(f"{name} is an integer of at least {least}, or {rank} of them, not {size!r}")
    return each
