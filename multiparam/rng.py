"""Random numbers that depend on a seed, a parameter's name and a block, and on nothing else.

Every block of 65,536 elements (in canonical order) has a generator of its own, so that the values do not depend on
the framework, the traversal order, the number of threads, or on which slice is asked for.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["BLOCK", "Sampler", "fill", "generator"]

BLOCK = 65_536
_THREADED = 16 * BLOCK

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
    digest = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")
    key = () if block is None else (block,)
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, digest], spawn_key=key)))


def fill(seed: int, name: str, shape: tuple[int, ...], sample: Sampler) -> npt.NDArray[np.float32]:
    """A float32 array of the shape, each block drawn by `sample(generator, block)`, which fills the block in place."""
    values = np.empty(shape, np.float32)
    flat = values.reshape(-1)

    def draw(block: int) -> None:
        sample(generator(seed, name, block), flat[block * BLOCK : (block + 1) * BLOCK])

    blocks: Any = range(math.ceil(flat.size / BLOCK))
    if flat.size < _THREADED:
        for block in blocks:
            draw(block)
    else:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(draw, blocks))
    return values
