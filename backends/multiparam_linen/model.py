"""A Linen module with its variables, and the places in them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.core import FrozenDict, unfreeze

from multiparam.adapter import ArgumentError, each_array

Path = tuple[str, ...]

PARAMETERS = "params"
_BOUND = "_multiparam_bound"
LEFT_BEHIND = frozenset({"intermediates", "perturbations", "losses"})  # what a forward pass leaves behind
_AUTOMATIC = re.compile(r"([A-Z]\w*)_\d+")
_UNTOLD = (nn.ConvTranspose, nn.DenseGeneral, nn.Einsum, nn.RNN, nn.Bidirectional)
_COLLECTIONS = frozenset({PARAMETERS, "batch_stats", "cache"})


class Linen:
    """A Linen module and its variables as one model.

    Args:
        module: the module; not bound.
        variables: what `module.init` gave. They are not changed; `.variables` has what was written.
        *sample: what `module` can be called with: a batch (native, channels last), and whatever else it takes, None for
            what is left out. From its trace the layers' classes are known. Without it they are known where the module's
            `setup` makes them, and where they have automatic names such as `Conv_0`; other layers keep their own names
            and layouts.
        **options: what each call is given, `train=False` for instance.

    Attributes:
        module: the module.
        variables: the variables as they are now, a tree of plain dicts.

    Raises:
        ArgumentError: the module is none, or is bound already.

    >>> import jax, jax.numpy as jnp
    >>> import multiparam as mp
    >>> from flax import linen as nn
    >>> module = nn.Dense(8)
    >>> net = Linen(module, module.init(jax.random.key(0), jnp.ones((1, 4))))
    >>> mp.parameters(net)["weight"].shape
    (8, 4)
    """

    def __init__(self, module: nn.Module, variables: Any, *sample: Any, **options: Any) -> None:
        if not isinstance(module, nn.Module):
            raise ArgumentError(f"Linen(module, variables) takes an instance of a Linen module, not {module!r}")
        if module.scope is not None:
            raise ArgumentError(
                "Linen(module, variables) takes a module that is not bound; a bound one is a model itself"
            )
        if not isinstance(variables, Mapping) or not all(isinstance(one, Mapping) for one in variables.values()):
            raise ArgumentError("the variables are what module.init gave: a dict of collections, 'params' and others")
        if variables and not _COLLECTIONS & set(variables):
            there = ", ".join(map(repr, variables))
            raise ArgumentError(
                f"there is no collection 'params', but {there}; is it one itself? Pass {{'params': ...}}"
            )
        self.module = module
        self.options = options
        self.variables: dict[str, Any] = _plain(variables)
        self.classes = _of_setup(module.bind(self.variables))
        if sample:
            self.classes |= _of_trace(module, self.variables, sample, options)
        self._places: dict[Path, Place] = {}
        self.rows: dict[Path, Any] = {}

    def __call__(self, *inputs: Any) -> Any:
        """What the module gives for the inputs, with the variables as they are now."""
        return self.module.apply(self.variables, *inputs, **self.options)

    def with_variables(self, variables: Any) -> Linen:
        """The same model with other variables, which may be those that a transform traces."""
        other = object.__new__(Linen)
        other.__dict__.update(self.__dict__, variables=variables, _places={})
        return other

    def place(self, path: Path = ()) -> Place:
        """The place at a path; asked again it is the same object."""
        if path not in self._places:
            self._places[path] = Place(self, path)
        return self._places[path]


class Bound(Linen):
    """A module that is bound to its variables, which are changed in place.

    Args:
        module: the bound module.
    """

    def __init__(self, module: nn.Module) -> None:
        scope = module.scope
        if scope is None:
            raise ArgumentError(
                f"this {type(module).__name__} has no variables: pass multiparam_linen.Linen(module, variables), "
                f"or module.bind(variables)"
            )
        self.module = module
        self.options: dict[str, Any] = {}
        self.variables = scope.root._variables
        self.classes = _of_setup(module)
        self.path: Path = tuple(scope.path)
        self._places: dict[Path, Place] = {}
        self.rows: dict[Path, Any] = {}

    def __call__(self, *inputs: Any) -> Any:
        """What the bound module gives for the inputs."""
        return self.module(*inputs)


@dataclasses.dataclass(frozen=True)
class Layer:
    """A module's class and the arguments it was made with, and `input_rank` where a call was traced.

    Attributes:
        shapes: of a call that was traced, the shapes of the variables as the module itself saw them there.
    """

    cls: type
    arguments: dict[str, Any]
    shapes: dict[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)


class Place:
    """A layer of a Linen model: a path in its variables.

    Attributes:
        model: the model.
        path: the keys that lead there.
    """

    def __init__(self, model: Linen, path: Path) -> None:
        self.model = model
        self.path = path
        self.leaves: dict[tuple[str, str], Leaf] = {}

    @property
    def layer(self) -> Layer | None:
        """Its class and arguments, where they are known."""
        return self.model.classes.get(self.path)

    @property
    def cls(self) -> type | None:
        """Its class: what is known of it, or what its name tells."""
        return self.layer.cls if self.layer is not None else _told(self)

    def argument(self, name: str, default: Any = None) -> Any:
        """What the module was made with; the default where that is not known."""
        return default if self.layer is None else self.layer.arguments.get(name, default)

    def entries(self) -> dict[str, dict[str, Any]]:
        """What lies here, by collection and name."""
        return {
            name: dict(found)
            for name, collection in self.model.variables.items()
            if name not in LEFT_BEHIND and isinstance(found := _at(collection, self.path), Mapping)
        }

    def leaf(self, collection: str, name: str) -> Leaf:
        """A variable here; asked again it is the same object."""
        return self.leaves.setdefault((collection, name), Leaf(self, collection, name))


class Leaf:
    """One variable of a Linen model, wherever its value is replaced.

    Attributes:
        place: the layer.
        collection: `"params"`, `"batch_stats"`, ...
        name: its key there.
    """

    def __init__(self, place: Place, collection: str, name: str) -> None:
        self.place, self.collection, self.name = place, collection, name

    @property
    def value(self) -> Any:
        """The array."""
        return nn.meta.unbox(self._holder()[self.name])

    @value.setter
    def value(self, value: Any) -> None:
        holder = self._holder()
        if isinstance(holder, FrozenDict):
            raise ArgumentError("the variables are a FrozenDict: bind flax.core.unfreeze(variables) to change them")
        old = holder[self.name]
        holder[self.name] = old.replace_boxed(value) if isinstance(old, nn.meta.AxisMetadata) else value

    def _holder(self) -> Any:
        return _at(self.place.model.variables[self.collection], self.place.path)


def _at(tree: Any, path: Path) -> Any:
    for key in path:
        if not isinstance(tree, Mapping) or key not in tree:
            return None
        tree = tree[key]
    return tree


def _plain(tree: Any) -> Any:
    """Dicts of one's own, with the same arrays."""
    return {key: _plain(one) for key, one in unfreeze(tree).items()} if isinstance(tree, Mapping) else tree


def _described(module: nn.Module) -> Layer:
    names = [field.name for field in dataclasses.fields(module) if field.name not in ("parent", "name")]
    return Layer(type(module), {name: getattr(module, name, None) for name in names})


def _of_setup(module: nn.Module) -> dict[Path, Layer]:
    """The layers that `setup` makes, and those that are arguments."""
    module._try_setup(shallow=False)
    scope = module.scope
    found = {tuple(scope.path) if scope is not None else (): _described(module)}
    for child in module._state.children.values():
        if isinstance(child, nn.Module) and child.scope is not None:
            for path, layer in _of_setup(child).items():
                found.setdefault(path, layer)  # one that shares its parent's scope is not what lies there
    return found


def _of_trace(module: nn.Module, variables: Any, sample: Any, options: Mapping[str, Any]) -> dict[Path, Layer]:
    """The layers that a call passes through, from a trace that computes nothing where that is possible."""
    found: dict[Path, Layer] = {}

    def record(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        scope = context.module.scope
        if scope is not None and context.method_name != "<lambda>":  # which is a copy that belongs nowhere
            layer = _described(context.module)
            layer.arguments["input_rank"] = len(getattr(args[0], "shape", ())) if args else None
            layer.shapes.update(_seen_shapes(scope.variables()))
            found.setdefault(tuple(scope.path), layer)
        return call(*args, **kwargs)

    def call(tree: Any) -> Any:
        return module.apply(tree, *(each_array(_input, one) for one in sample), **options)

    with nn.intercept_methods(record):
        try:
            jax.eval_shape(call, variables)
        except jax.errors.ConcretizationTypeError:
            call(variables)  # the way through the module depends on the numbers
    return found


def is_array(value: Any) -> bool:
    """Whether a variable's value is one array, boxed or not, or stands for one."""
    plain = nn.meta.unbox(value)
    return isinstance(plain, (bool, int, float, complex)) or (hasattr(plain, "shape") and hasattr(plain, "dtype"))


def _seen_shapes(collections: Any) -> dict[str, tuple[int, ...]]:
    """The shapes of a scope's own variables, by name."""
    return {
        name: tuple(jnp.shape(nn.meta.unbox(one)))
        for collection in collections.values()
        for name, one in collection.items()
        if not isinstance(one, Mapping) and is_array(one)
    }


def _input(one: Any) -> Any:
    """An input of a trace: arrays, also those written as lists; what is none, a flag or a word, stays."""
    return one if isinstance(one, (bool, str, bytes)) or callable(one) else jnp.asarray(one)


def model_of(native: Any) -> Linen:
    """The model of whatever stands for one: itself, or what a bound module is bound to."""
    if isinstance(native, Linen):
        return native
    if isinstance(native, Place):
        raise ArgumentError(f"{'.'.join(native.path)!r} is a layer of a Linen model and cannot be called by itself")
    held = native.__dict__.get(_BOUND)
    if held is None:
        held = Bound(native)
        object.__setattr__(native, _BOUND, held)  # the module itself is frozen
    found: Linen = held
    return found


def place_of(native: Any) -> Place:
    """The place of a layer, or of a model's root."""
    if isinstance(native, Place):
        return native
    model = model_of(native)
    return model.place(model.path if isinstance(model, Bound) else ())


def _told(place: Place) -> type | None:
    """The class that an automatic name tells; not of those whose arguments decide about their layouts."""
    automatic = _AUTOMATIC.fullmatch(place.path[-1]) if place.path else None
    found = getattr(nn, automatic[1], None) if automatic else None
    return found if isinstance(found, type) and issubclass(found, nn.Module) and found not in _UNTOLD else None
