"""Random numbers that depend on a seed, a parameter's name and a block, and on nothing else.

Every block of 65,536 elements (in canonical order) has a generator of its own, so that the values do not depend on
the framework, the traversal order, the number of threads, or on which slice is asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from .threads import each

__all__ = ["BLOCK", "Sampler", "draw_integers", "fill", "generator"]

BLOCK = 65_536
SHARE = 8 * BLOCK  # that a thread draws at a time

Sampler = Callable[[np.random.Generator, npt.NDArray[np.float32]], None]


def generator(seed: int, name: str, block: int | None = None) -> np.random.Generator:
    """The generator of one block of one parameter; None is the one for whole-tensor rules.

    Args:
        seed: a non-negative integer.
        name: the parameter's canonical name.
        block: the block's number, from 0.

    The bit generator is SFC64, seeded by numpy's SeedSequence from (seed, first 128 bits of the name's SHA-256) with
    the block as spawn key; both are covered by numpy's stream compatibility policy (NEP 19).
    """
    return _generator(_entropy(seed, name), () if block is None else (block,))


def fill(seed: int, name: str, values: npt.NDArray[np.float32], sample: Sampler) -> None:
    """Fills an array in C order, each block drawn by `sample(generator, block)`, which fills the block in place."""
    flat = values.reshape(-1)
    entropy = _entropy(seed, name)

    def draw(first: int) -> None:
        for start in range(first, min(first + SHARE, flat.size), BLOCK):
            sample(_generator(entropy, (start // BLOCK,)), flat[start : start + BLOCK])

    shares = range(0, flat.size, SHARE)
    if len(shares) > 1:
        each(draw, shares)
    else:
        draw(0)


def draw_integers(rng: np.random.Generator, block: npt.NDArray[np.float32]) -> None:
    """Fills a block with whole numbers below 2**24, those of which `rng.random(dtype=numpy.float32)` makes its own."""
    raw = rng.bit_generator.random_raw((block.size + 1) // 2)
    halves = raw.astype("<u8", copy=False).view("<u4")[: block.size]  # the lower one comes first
    np.right_shift(halves, 8, out=halves)
    np.copyto(block, halves.view("<i4"), casting="unsafe")  # signed ones are converted faster


def _entropy(seed: int, name: str) -> npt.NDArray[np.uint32]:
    digest = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")
    words = [word for number in (seed, digest) for word in _words(number)]
    return np.array(words, np.uint32)  # as SeedSequence makes of [seed, digest], and three times as fast when repeated


def _words(number: int) -> list[int]:
    """A number's 32-bit words, the lowest first, as many as it needs and at least one."""
    return [number >> shift & 0xFFFFFFFF for shift in range(0, max(1, number.bit_length()), 32)]


def _generator(entropy: npt.NDArray[np.uint32], key: tuple[int, ...]) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(entropy, spawn_key=key)))
