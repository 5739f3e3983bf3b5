"""Which Keras layers take images, beside those that the layer table knows as convolutions, pools and norms."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import keras

_layers = keras.layers
# what makes pictures of pictures, and what the layers that augment them have in common
_PREPROCESSING = tuple(
    base for base in _layers.RandomFlip.__mro__ if base.__name__ == "BaseImagePreprocessingLayer"
) or (_layers.RandomFlip,)
_PICTURES = (*_PREPROCESSING, _layers.Rescaling, _layers.Normalization, _layers.Resizing, _layers.CenterCrop)


def image_ranks_of(layer: Any) -> frozenset[int]:
    """How many axes the images have that a layer takes, wherever it has their channels; empty if it takes none."""
    if isinstance(layer, _layers.Normalization) and layer.axis not in ((-1,), -1):
        return frozenset()
    return _of_class(type(layer))


@lru_cache(maxsize=4096)
def _of_class(native: type) -> frozenset[int]:
    if issubclass(native, (_layers.RNN, _layers.Wrapper)):  # whose second axis is time
        return frozenset()
    if issubclass(native, _PICTURES):
        return frozenset((4, 5))
    own = next((base.__name__ for base in native.__mro__ if base.__module__.startswith("keras.")), "")
    ranks = {f"{rank}D": rank + 2 for rank in (1, 2, 3)}
    if own.startswith("SpatialDropout"):  # which does nothing here, and stands before sequences as well
        return frozenset()
    # UpSampling2D, Cropping2D, ...
    found = ranks.get(own[-2:]) or ranks.get(own.removesuffix("Transpose")[-2:])
    return frozenset(() if found is None else (found,))
