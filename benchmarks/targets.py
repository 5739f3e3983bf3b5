"""What the ratios, our time divided by theirs, should at most be."""

from __future__ import annotations

TRANSPOSING = ("keras", "flax", "paddle")  # whose dense kernels lie (in, out), and files hold them (out, in)
CHEAPEST = ("enumerate-fewer", "enumerate-more", "enumerate-nested")  # only the cheapest of the native calls counts
RAW = "raw write, fsync"

# numpy has no call of its own to be compared with, and three frameworks list what they hold without naming it
_NAMES = {"numpy": None, "keras": 10.0, "mxnet": 10.0, "paddle": 10.0}
_LIVE = {
    ("keras", ".weights.h5"): 0.5,
    ("flax", "safetensors.flax"): 0.5,
    ("flax", "Orbax"): 0.3,
}
_MAPPED = (("torch", "safetensors.torch"), ("numpy", "safetensors mmap, copy"))

_BOUNDS: dict[str, dict[tuple[str, str], float]] = {
    "normal": {("torch", "normal_"): 1 / 0.85, ("numpy", "torch, normal_"): 1 / 0.85},
    "uniform": {("torch", "uniform_"): 0.5, ("numpy", "torch, uniform_"): 0.5},
    "live-unchecked": _LIVE | dict.fromkeys(_MAPPED, 1.1),
    "live-checked": _LIVE | dict.fromkeys(_MAPPED, 1.8),
    "small-live": {("torch", "safetensors.torch"): 1 / 20, ("keras", ".weights.h5"): 1 / 3},
}


def bound(table: str, backend: str, peer: str) -> float | None:
    """The largest ratio that is well, or None where nothing was promised."""
    if table in CHEAPEST:
        return _NAMES.get(backend, {"enumerate-nested": 2.5}.get(table, 1.5))
    if table == "save" and peer == RAW:
        return 1.5 if backend in TRANSPOSING else 1.1
    return _BOUNDS.get(table, {}).get((backend, peer))
