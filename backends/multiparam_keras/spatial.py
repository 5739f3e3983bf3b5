"""Keras layers with PyTorch's padding, which Keras itself knows only as "valid" and "same"."""

from __future__ import annotations

from typing import Any

import keras

from multiparam.adapter import UnsupportedError

layers = keras.layers


class _Padded:
    """A convolution over an input with `pad` zeros on both sides of each axis."""

    def __init__(self, *arguments: Any, pad: tuple[int, ...], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.pad = tuple(pad)

    def call(self, x: Any) -> Any:
        return super().call(keras.ops.pad(x, [(0, 0), *((one, one) for one in self.pad), (0, 0)]))

    def compute_output_shape(self, shape: Any) -> Any:
        between = [None if one is None else one + 2 * pad for one, pad in zip(shape[1:-1], self.pad, strict=True)]
        return super().compute_output_shape((shape[0], *between, shape[-1]))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "pad": self.pad}


class _PaddedPool:
    """A pool over an input with `pad` elements on both sides of each axis: zeros, or less than any where it is max."""

    def __init__(self, *arguments: Any, pad: tuple[int, ...], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.pad = tuple(pad)

    def call(self, x: Any) -> Any:
        least = float("-inf") if self.pool_mode == "max" else 0.0
        around = [(0, 0), *((one, one) for one in self.pad), (0, 0)]
        return super().call(keras.ops.pad(x, around, constant_values=least))

    def compute_output_shape(self, shape: Any) -> Any:
        between = [None if one is None else one + 2 * pad for one, pad in zip(shape[1:-1], self.pad, strict=True)]
        return super().compute_output_shape((shape[0], *between, shape[-1]))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "pad": self.pad}


class _Cropped:
    """A transposed convolution whose output loses `pad` elements on both sides of each axis, `kept` fewer at its end.

    Where the stride exceeds the kernel Keras appends zeros, which PyTorch does not; they are cut off too.
    """

    def __init__(self, *arguments: Any, pad: tuple[int, ...], kept: tuple[int, ...] = (), **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.pad = tuple(pad)
        self.kept = tuple(kept) or (0,) * len(self.pad)

    def call(self, x: Any) -> Any:
        full = super().call(x)
        cuts = [slice(before, -after if after else None) for before, after in self._cuts()]
        return full[(slice(None), *cuts, slice(None))]

    def compute_output_shape(self, shape: Any) -> Any:
        full = super().compute_output_shape(shape)
        between = [
            None if one is None else one - before - after
            for one, (before, after) in zip(full[1:-1], self._cuts(), strict=True)
        ]
        return (full[0], *between, full[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "pad": self.pad, "kept": self.kept}

    def _cuts(self) -> list[tuple[int, int]]:
        sizes = zip(self.pad, self.kept, self.strides, self.kernel_size, strict=True)
        return [(pad, pad - kept + max(0, stride - extent)) for pad, kept, stride, extent in sizes]


def _registered(base: type, mixin: type, name: str) -> Any:
    made = type(name, (mixin, base), {"__module__": __name__, "__doc__": mixin.__doc__})
    return keras.saving.register_keras_serializable(package="multiparam")(made)


PaddedConv1D = _registered(layers.Conv1D, _Padded, "PaddedConv1D")
PaddedConv2D = _registered(layers.Conv2D, _Padded, "PaddedConv2D")
PaddedMaxPooling1D = _registered(layers.MaxPooling1D, _PaddedPool, "PaddedMaxPooling1D")
PaddedMaxPooling2D = _registered(layers.MaxPooling2D, _PaddedPool, "PaddedMaxPooling2D")
PaddedMaxPooling3D = _registered(layers.MaxPooling3D, _PaddedPool, "PaddedMaxPooling3D")
PaddedAveragePooling1D = _registered(layers.AveragePooling1D, _PaddedPool, "PaddedAveragePooling1D")
PaddedAveragePooling2D = _registered(layers.AveragePooling2D, _PaddedPool, "PaddedAveragePooling2D")
PaddedAveragePooling3D = _registered(layers.AveragePooling3D, _PaddedPool, "PaddedAveragePooling3D")
PaddedSeparableConv1D = _registered(layers.SeparableConv1D, _Padded, "PaddedSeparableConv1D")
PaddedSeparableConv2D = _registered(layers.SeparableConv2D, _Padded, "PaddedSeparableConv2D")
PaddedConv3D = _registered(layers.Conv3D, _Padded, "PaddedConv3D")
CroppedConv1DTranspose = _registered(layers.Conv1DTranspose, _Cropped, "CroppedConv1DTranspose")
CroppedConv2DTranspose = _registered(layers.Conv2DTranspose, _Cropped, "CroppedConv2DTranspose")
CroppedConv3DTranspose = _registered(layers.Conv3DTranspose, _Cropped, "CroppedConv3DTranspose")


@keras.saving.register_keras_serializable(package="multiparam")
class ImageReshape(layers.Reshape):
    """Each sample in another shape, channels first.

    Attributes:
        from_images: what comes in is an image with channels last.
        to_images: what comes out is one; a Sequential of `multiparam.nn` sees to both.
    """

    def orient(self, from_images: bool, to_images: bool) -> None:
        """Says what comes in and what goes out."""
        self.from_images, self.to_images = from_images, to_images

    def __init__(self, shape: Any = None, from_images: bool = False, to_images: bool = False, **options: Any) -> None:
        super().__init__(options.pop("target_shape", shape), **options)
        self.from_images, self.to_images = from_images, to_images

    def call(self, x: Any) -> Any:
        """The batch in its new shape."""
        x = super().call(keras.ops.moveaxis(x, -1, 1) if self.from_images else x)
        return keras.ops.moveaxis(x, 1, -1) if self.to_images else x

    def compute_output_shape(self, shape: Any) -> Any:
        """The shape that comes out."""
        made = super().compute_output_shape(shape)
        return (made[0], *made[2:], made[1]) if self.to_images else made

    def compute_output_spec(self, x: Any) -> Any:
        """As `call`, for symbolic inputs."""
        return keras.KerasTensor(self.compute_output_shape(x.shape), dtype=x.dtype)

    def get_config(self) -> dict[str, Any]:
        """What makes the same layer again."""
        return {**super().get_config(), "from_images": self.from_images, "to_images": self.to_images}


@keras.saving.register_keras_serializable(package="multiparam")
class ImageFlatten(layers.Flatten):
    """Everything but the first axis as one, in C, H, W order.

    Attributes:
        from_images: what comes in is an image with channels last; a Sequential of `multiparam.nn` sees to it.
    """

    def __init__(self, from_images: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.from_images = from_images

    def orient(self, from_images: bool, to_images: bool) -> None:
        """Says what comes in; what goes out is flat."""
        self.from_images = from_images

    def call(self, x: Any) -> Any:
        """The flattened batch."""
        return super().call(keras.ops.moveaxis(x, -1, 1) if self.from_images else x)

    def get_config(self) -> dict[str, Any]:
        """What makes the same layer again."""
        return {**super().get_config(), "from_images": self.from_images}


def conv(
    in_channels: int,
    out_channels: int,
    kernel_size: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
    bias: bool,
) -> Any:
    """A built convolution."""
    rank = len(kernel_size)
    options = {"strides": stride, "dilation_rate": dilation, "groups": groups, "use_bias": bias}
    if any(padding):
        layer = globals()[f"PaddedConv{rank}D"](out_channels, kernel_size, pad=padding, **options)
    else:
        layer = getattr(layers, f"Conv{rank}D")(out_channels, kernel_size, **options)
    layer.build((None, *(None,) * rank, in_channels))
    return layer


def separable_conv(
    in_channels: int,
    out_channels: int,
    kernel_size: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    depth_multiplier: int,
    bias: bool,
) -> Any:
    """A built depthwise convolution followed by one of extent 1."""
    rank = len(kernel_size)
    options = {"strides": stride, "dilation_rate": dilation, "depth_multiplier": depth_multiplier, "use_bias": bias}
    if any(padding):
        layer = globals()[f"PaddedSeparableConv{rank}D"](out_channels, kernel_size, pad=padding, **options)
    else:
        layer = getattr(layers, f"SeparableConv{rank}D")(out_channels, kernel_size, **options)
    layer.build((None, *(None,) * rank, in_channels))
    return layer


def conv_transpose(
    in_channels: int,
    out_channels: int,
    kernel_size: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    output_padding: tuple[int, ...],
    groups: int,
    bias: bool,
    dilation: tuple[int, ...],
) -> Any:
    """A built transposed convolution."""
    if groups > 1:
        raise UnsupportedError("keras", "building ConvTranspose", "Keras's transposed convolutions have no groups")
    if any(gap > 1 for gap in dilation):
        raise UnsupportedError("keras", "building ConvTranspose", "not every engine of Keras dilates a transposed one")
    if any(kept > pad for kept, pad in zip(output_padding, padding, strict=True)):
        raise UnsupportedError("keras", "building ConvTranspose", "it can keep no more of the output than padding cuts")
    rank = len(kernel_size)
    if any(padding) or any(step > extent for step, extent in zip(stride, kernel_size, strict=True)):
        made = globals()[f"CroppedConv{rank}DTranspose"]
        layer = made(out_channels, kernel_size, stride, pad=padding, kept=output_padding, use_bias=bias)
    else:
        layer = getattr(layers, f"Conv{rank}DTranspose")(out_channels, kernel_size, stride, use_bias=bias)
    layer.build((None, *(None,) * rank, in_channels))
    return layer


def pool(name: str, kernel_size: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...]) -> Any:
    """A pooling layer."""
    if any(padding):
        return globals()[f"Padded{name}{len(kernel_size)}D"](kernel_size, stride, pad=padding)
    return getattr(layers, f"{name}{len(kernel_size)}D")(kernel_size, stride)


def global_pool(layer: Any, output_size: int) -> Any:
    """A pooling layer over everything, which keeps extents of 1."""
    return layer(keepdims=True)


def for_any_rank(layer: Any, channels: int) -> Any:
    """Builds a layer whose weights are one for each channel, for inputs of any number of axes."""
    layer.build((None, channels))
    layer.input_spec = None  # Keras would hold it to the two axes it was built with
    return layer
