"""Initialization rules.

A rule turns a seed, a parameter's name and its canonical shape into numbers, the same bits in every framework: random
numbers are drawn in float32 and converted to the parameter's dtype, so that a model has the same initialization in
every precision.
"""

from typing import TYPE_CHECKING, NoReturn

from ..errors import no_attribute
from .distributions import (
    Constant,
    KaimingNormal,
    KaimingUniform,
    LecunNormal,
    LecunUniform,
    Normal,
    Ones,
    TruncatedNormal,
    Uniform,
    VarianceScaling,
    XavierNormal,
    XavierUniform,
    Zeros,
)
from .rule import Custom, Rule, RuleLike, as_rule
from .structured import Dirac, Identity, Orthogonal, Sparse

__all__ = [
    "Constant",
    "Custom",
    "Dirac",
    "Identity",
    "KaimingNormal",
    "KaimingUniform",
    "LecunNormal",
    "LecunUniform",
    "Normal",
    "Ones",
    "Orthogonal",
    "Rule",
    "RuleLike",
    "Sparse",
    "TruncatedNormal",
    "Uniform",
    "VarianceScaling",
    "XavierNormal",
    "XavierUniform",
    "Zeros",
    "as_rule",
]

# what others call them
_OTHERS = {"Glorot": "Xavier", "He": "Kaiming", "Random": ""}

if not TYPE_CHECKING:  # or a type checker would take any name

    def __getattr__(name: str) -> NoReturn:
        ours = next((name.replace(other, own, 1) for other, own in _OTHERS.items() if name.startswith(other)), name)
        raise AttributeError(no_attribute("multiparam.init", ours, name, __all__))
