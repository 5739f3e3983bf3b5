"""What a backend can do beyond reading and writing: a class each, of which its adapter inherits those that it can."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..arrays.types import Array
from ..errors import ArgumentError
from ..layer_table.layout import Handle
from .attributes import check_replaceable
from .base import Adapter
from .by_identity import ByIdentity
from .plugin import Capability

__all__ = [
    "CAPABILITIES",
    "Bridges",
    "Carries",
    "Computed",
    "Computes",
    "Differentiates",
    "Freezes",
    "KeepsOwnState",
    "Lazy",
    "Runs",
    "SavesNames",
    "TieSide",
    "Ties",
    "evaluating",
    "unused_net",
]


class Runs(Adapter):
    """A backend that runs models."""

    capability = Capability.RUN

    @abstractmethod
    def run(self, model: Any, inputs: Sequence[Array]) -> Any:
        """The forward pass in eval mode without gradient, as native tensors; lazy layers get their shapes."""

    def watch(self, layers: Sequence[Any], seen: Callable[..., None]) -> AbstractContextManager[None]:
        """A context in which `seen(layer, output, inputs)` is called after each call of one of the layers.

        Calls inside of a compiled part, which have no numbers yet, are left out. An adapter without it lets `verify`
        compare whole models only; one that does not tell the inputs, which may be left out, lets it know less of where
        a difference comes from.
        """
        return nullcontext()


class Differentiates(Adapter):
    """A backend that has gradients."""

    capability = Capability.GRADIENTS

    @abstractmethod
    def gradients(
        self, model: Any, loss: Callable[..., Any], inputs: Sequence[Array], variables: Sequence[Any]
    ) -> list[Array]:
        """The loss's gradients for the given variables, in their order; zeros for those the loss does not use.

        Raises:
            ArgumentError: the loss is no scalar (`no_scalar`), or `unused_net()`.
        """

    def no_scalar(self, loss: Any) -> ArgumentError:
        """The error for a loss that is no scalar."""
        what = f"of shape {tuple(loss.shape)}" if self.is_tensor(loss) else type(loss).__name__
        return ArgumentError(f"the loss must be a scalar tensor, and is {what}")

    def grad(self, variable: Any) -> Array | None:
        """The gradient that the framework keeps with a variable, of the variable's shape; None if there is none."""
        return None

    def set_grad(self, variable: Any, value: Array | None) -> bool:
        """Hears what `gradients` gave for a variable, or that there is nothing, so that the framework's own goes.

        Returns:
            Whether the framework keeps gradients with its variables, in which `gradients` has set them; where it does
            not, they are kept beside the layers.
        """
        return False

    @cached_property
    def gradients_of(self) -> ByIdentity[dict[str, Array]]:
        """What `gradients` gave for a layer's tensors, by their native names, where no variable keeps it."""
        return ByIdentity()


class Freezes(Adapter):
    """A backend whose variables tell whether optimizers may change them."""

    capability = Capability.TRAINABLE

    @abstractmethod
    def trainable(self, variable: Any) -> bool:
        """Whether optimizers may change the variable."""

    @abstractmethod
    def set_trainable(self, model: Any, layers: Sequence[Any], variable: Any, value: bool) -> None:
        """Freezes or thaws a variable.

        Args:
            model: the model it was reached through.
            layers: the native layers from the model down to the variable's owner, for each place that holds it.
            variable: the native variable.
            value: whether optimizers may change it.
        """


class Lazy(Adapter):
    """A backend with layers that get their parameters with the first batch."""

    capability = Capability.LAZY

    @abstractmethod
    def when_ready(self, layer: Any, call: Callable[[Any], None]) -> None:
        """Calls `call(layer)` once a lazy layer has its parameters, before its first forward pass uses them.

        Several calls for one layer are carried out in their order.
        """

    def begin(self, model: Any) -> None:
        """Gives first numbers to what has a shape and only waits to be told to, before a verb sets others."""
        return


@dataclass(frozen=True)
class TieSide:
    """One end of a tie: a native tensor of a layer.

    Attributes:
        layer: the native layer.
        part: the native tensor's name in it.
        handle: the variable it is now.
    """

    layer: Any
    part: str
    handle: Handle


class Ties(Adapter):
    """A backend of which one variable can be several layers' tensors."""

    capability = Capability.TIE

    def check_tie(self, side: TieSide, handle: Handle) -> None:
        """Raises a MultiparamError if `tie` or `untie` would fail; called for all of them before the first is made."""
        check_replaceable(side.layer, side.part, attribute=handle.axes is not None)

    @abstractmethod
    def tie(self, model: Any, side: TieSide, handle: Handle) -> None:
        """Makes a layer's tensor be another variable, seen through the handle's axes; the layer's own is let go.

        Args:
            model: the model, whose cached functions must be dropped.
            side: the layer's tensor that changes.
            handle: what it becomes.
        """

    @abstractmethod
    def untie(self, model: Any, side: TieSide, value: Array) -> None:
        """Gives a layer's tensor a variable of its own again, with the given numbers as the layer sees them."""

    def notes_on_change(self, model: Any) -> list[str]:
        """What a user must know after a tie, an untie or a freeze: which optimizer has to be rebuilt, say."""
        return []


class SavesNames(Adapter):
    """A backend whose saver has names of its own, where a reader of its files gives `Contents.originals`."""

    @abstractmethod
    def saved(self, model: Any, labels: Mapping[str, str]) -> Mapping[str, Any]:
        """A model's variables by the names that the framework's own saver gives them in a file.

        What the saver keeps beside parameters is there too. Empty where it cannot be told.

        Args:
            model: the native model.
            labels: the names that a file tells of its layers, by their paths in it; where they contradict the model's,
                the file is another's.
        """


@dataclass(frozen=True)
class Computed:
    """A tensor that a layer computes from parameters, which a rule is about in their place.

    Attributes:
        role: its native name, `"weight"`.
        originals: the native variables of the parameters that it is computed from.
        what: what computes it, `"WeightNorm"`.
        variable: what stands for it: `read`, `write` and `problem` take it, and `lookup` gives it by its name. None
            where it cannot be set.
        why: where it cannot, what to do instead, as an advice.
    """

    role: str
    originals: Sequence[Any]
    what: str
    variable: Any = None
    why: str = ""


class Computes(Adapter):
    """A backend with layers that compute a tensor from parameters, as weight norm does."""

    @abstractmethod
    def computed(self, native: Any) -> Iterable[Computed]:
        """The tensors that a layer computes from parameters, its own or those of layers below."""

    def problem(self, variable: Any, value: Array) -> str:
        """Why a computed tensor cannot become an array; empty if it can. Nothing is changed."""
        return ""


class KeepsOwnState(Adapter):
    """A backend with layers that save and load tensors by methods of their own."""

    @abstractmethod
    def any_shape(self, variable: Any) -> bool:
        """Whether a buffer takes numbers of any shape and dtype, as what a layer saves by methods of its own does."""

    def restorer(self, variable: Any) -> Callable[[], None]:
        """What puts back what a buffer of any shape has now, if a layer does not take what a file has for it."""
        before = np.array(self.read(variable))
        return lambda: self.write(variable, before)


class Bridges(Adapter):
    """A backend whose models other backends' layers may wrap."""

    @abstractmethod
    def model_of(self, definition: Any, state: Any) -> Any:
        """A model made of what a wrapper of another backend's holds of it: its definition, and its tensors."""


class Carries(Adapter):
    """A backend whose layers compute with another framework's tensors, and may lie in a model of that one."""

    @abstractmethod
    def carrier(self, variable: Any) -> Any:
        """The tensor of the other framework that has a variable's numbers."""


CAPABILITIES = (Runs, Differentiates, Freezes, Lazy, Ties)  # which a plug-in declares


def unused_net() -> ArgumentError:
    """The error for a loss that uses none of the variables, of which there are some."""
    return ArgumentError(
        "the loss uses no trainable parameter of the net that it is given: it is called as loss(net, *inputs), "
        "and has to compute with this net, not with another variable for the model"
    )


@contextmanager
def evaluating(model: Any, layers: Iterable[Any]) -> Iterator[None]:
    """A context in which a model is in eval mode, each of its layers as before behind it.

    Args:
        model: what has a method `eval`.
        layers: all of its layers, with `training` of their own.
    """
    training = [layer for layer in layers if layer.training]
    model.eval()
    try:
        yield
    finally:
        for layer in training:
            layer.training = True
