"""Keras layers with PyTorch's padding, which Keras itself knows only as "valid" and "same"."""

from __future__ import annotations

from typing import Any

import keras

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


class _Cropped:
    """A transposed convolution whose output loses `pad` elements on both sides of each axis.

    Where the stride exceeds the kernel Keras appends zeros, which PyTorch does not; they are cut off too.
    """

    def __init__(self, *arguments: Any, pad: tuple[int, ...], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.pad = tuple(pad)

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
        return {**super().get_config(), "pad": self.pad}

    def _cuts(self) -> list[tuple[int, int]]:
        sizes = zip(self.pad, self.strides, self.kernel_size, strict=True)
        return [(pad, pad + max(0, stride - extent)) for pad, stride, extent in sizes]


def _registered(base: type, mixin: type, name: str) -> Any:
    made = type(name, (mixin, base), {"__module__": __name__, "__doc__": mixin.__doc__})
    return keras.saving.register_keras_serializable(package="multiparam")(made)


PaddedConv1D = _registered(layers.Conv1D, _Padded, "PaddedConv1D")
PaddedConv2D = _registered(layers.Conv2D, _Padded, "PaddedConv2D")
PaddedConv3D = _registered(layers.Conv3D, _Padded, "PaddedConv3D")
CroppedConv1DTranspose = _registered(layers.Conv1DTranspose, _Cropped, "CroppedConv1DTranspose")
CroppedConv2DTranspose = _registered(layers.Conv2DTranspose, _Cropped, "CroppedConv2DTranspose")
CroppedConv3DTranspose = _registered(layers.Conv3DTranspose, _Cropped, "CroppedConv3DTranspose")


@keras.saving.register_keras_serializable(package="multiparam")
class ImageFlatten(layers.Flatten):
    """Everything but the first axis as one, in C, H, W order.

    Attributes:
        from_images: what comes in is an image with channels last; a Sequential of `multiparam.nn` sees to it.
    """

    def __init__(self, from_images: bool = False, **options: Any) -> None:
        super().__init__(**options)
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


def conv_transpose(
    in_channels: int,
    out_channels: int,
    kernel_size: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    bias: bool,
) -> Any:
    """A built transposed convolution."""
    rank = len(kernel_size)
    if any(padding) or any(step > extent for step, extent in zip(stride, kernel_size, strict=True)):
        made = globals()[f"CroppedConv{rank}DTranspose"]
        layer = made(out_channels, kernel_size, stride, pad=padding, use_bias=bias)
    else:
        layer = getattr(layers, f"Conv{rank}DTranspose")(out_channels, kernel_size, stride, use_bias=bias)
    layer.build((None, *(None,) * rank, in_channels))
    return layer


def pool(name: str, kernel_size: tuple[int, ...], stride: tuple[int, ...]) -> Any:
    """A pooling layer."""
    return getattr(layers, f"{name}{len(kernel_size)}D")(kernel_size, stride)


def for_any_rank(layer: Any, channels: int) -> Any:
    """Builds a layer whose weights are one for each channel, for inputs of any number of axes."""
    layer.build((None, channels))
    layer.input_spec = None  # Keras would hold it to the two axes it was built with
    return layer
