"""How large the models are that everything is measured with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Sizes of all operations.

    Attributes:
        layers: of the big model: square dense layers with biases.
        width: theirs.
        fewer: parameters of the smaller model to be enumerated.
        more: parameters of the larger one, and the number of small tensors; of 64 floats each.
        measured: layers of the model that peak memory is measured with, of the same width.
        rounds: how often everything is measured.
        least: seconds that each measurement should take; shorter calls are repeated.
        blocks: of the nested model to be enumerated, four layers with six parameters each.
    """

    layers: int
    width: int
    fewer: int
    more: int
    measured: int
    rounds: int
    least: float
    blocks: int = 110

    @property
    def values(self) -> int:
        """Numbers in the big model."""
        return self.layers * self.width * (self.width + 1)

    @property
    def nbytes(self) -> int:
        """Its size."""
        return 4 * self.values

    @property
    def largest(self) -> int:
        """The bytes of its largest tensor."""
        return 4 * self.width * self.width


FULL = Sizes(layers=75, width=2_000, fewer=1_000, more=20_000, measured=10, rounds=5, least=0.02)
QUICK = Sizes(layers=12, width=500, fewer=20, more=200, measured=4, rounds=2, least=0.0, blocks=4)
NORM = 64
