"""Constructors' arguments: each is compared, told by the weights, or known not to change an output."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, ClassVar

import multiparam as mp
from multiparam.adapter.registry import adapter, plugins
from multiparam.layer_table.settings import differing, untold

__all__ = ["Arguments", "SettingsTests", "With"]


@dataclass(frozen=True)
class Arguments:
    """What an adapter says of the arguments of its framework's constructors, by `"argument"` or `"Class.argument"`.

    Attributes:
        compared: settings, which two layers that differ in them are known to differ by.
        structure: what the names and the shapes of the weights tell.
        irrelevant: what an output does not depend on, with the reason.
    """

    compared: frozenset[str]
    structure: frozenset[str]
    irrelevant: Mapping[str, str]

    @classmethod
    def of(cls, module: ModuleType) -> Arguments:
        """What a module says under `COMPARED`, `STRUCTURE` and `IRRELEVANT`."""
        return cls(frozenset(module.COMPARED), frozenset(module.STRUCTURE), module.IRRELEVANT)

    def told(self, native: str, argument: str) -> list[str]:
        """What is said of a class's argument; of the class itself before what is said of all."""
        for name in (f"{native}.{argument}", argument):
            found = [what for what in ("compared", "structure", "irrelevant") if name in getattr(self, what)]
            if found:
                return found
        return []


@dataclass(frozen=True)
class With:
    """Another value of an argument, with what has to be set beside it in both layers."""

    value: Any
    also: Mapping[str, Any] = field(default_factory=dict)


class SettingsTests(ABC):
    """Subclass it for a framework whose adapter says what it compares.

    Attributes:
        backend: the backend's name.
        arguments: what its adapter says.
        samples: values of arguments that have no default, by `"argument"` or `"Class.argument"`.
        others: for what is compared another value than the default or the sample, likewise.
        chosen: what `settings.untold` finds where a sample is another than PyTorch's default, by class.
    """

    backend: ClassVar[str]
    arguments: ClassVar[Arguments]
    samples: ClassVar[Mapping[str, Any]]
    others: ClassVar[Mapping[str, Any]]
    chosen: ClassVar[Mapping[str, Any]] = {}

    @abstractmethod
    def classes(self) -> Iterable[type]:
        """The framework's public classes, those that no row describes among them."""

    def described(self, native: type, options: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
        """What a model or a file says of a layer with these arguments, and of each of those that are parts of it."""
        return self.told(native(**options))

    def told(self, model: Any) -> Mapping[str, Mapping[str, Any]]:
        """What is said of each layer of a model."""
        return {one.node.name: one.node.described() for one in mp.layers(model).walk()}

    def rows(self) -> Iterator[tuple[type, list[inspect.Parameter]]]:
        """The classes that rows describe, and the arguments of each."""
        table, seen = adapter(self.backend).table, set()
        for native in self.classes():
            if table.row(native) is None or native in seen:
                continue
            seen.add(native)
            kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
            yield native, [one for one in self.signature(native) if one.kind not in kinds]

    def signature(self, native: type) -> list[inspect.Parameter]:
        """The arguments of a class's constructor."""
        return list(inspect.signature(native.__init__).parameters.values())[1:]  # type: ignore[misc]

    def test_something_is_said_of_each_argument(self) -> None:
        unsaid, twice, met = [], [], set()
        for native, given in self.rows():
            for one in given:
                told = self.arguments.told(native.__name__, one.name)
                met |= {one.name, f"{native.__name__}.{one.name}"}
                unsaid += [] if told else [f"{native.__name__}.{one.name}"]
                twice += [f"{native.__name__}.{one.name}"] if len(told) > 1 else []
        assert (unsaid, twice) == ([], [])
        said = {*self.arguments.compared, *self.arguments.structure, *self.arguments.irrelevant}
        assert met
        assert all(self.arguments.irrelevant.values())
        assert {name for name in said if "." not in name} <= met

    def test_layers_that_differ_in_what_is_compared_are_known_to_differ(self) -> None:
        silent, count = [], 0
        for native, given in self.rows():
            base = {one.name: self._value(self.samples, native, one.name) for one in given if one.default is one.empty}
            for one in given:
                if self.arguments.told(native.__name__, one.name) != ["compared"]:
                    continue
                other = self._value(self.others, native, one.name)
                other = other if isinstance(other, With) else With(other)
                first = self.described(native, {**base, **other.also})
                second = self.described(native, {**base, **other.also, one.name: other.value})
                count += 1
                if not _differ(first, second) or not _differ(second, first):
                    silent.append(f"{native.__name__}.{one.name}: {first} and {second}")
        assert silent == []
        assert count

    def test_a_framework_s_defaults_are_those_that_it_has(self) -> None:
        other: dict[str, Any] = {}
        writers = plugins()[self.backend].settings()
        for native, given in self.rows():
            options = {
                one.name: self._value(self.samples, native, one.name) for one in given if one.default is one.empty
            }
            found = untold(self.described(native, options).items(), writers)
            other |= {native.__name__: found} if found else {}
        assert other == dict(self.chosen), other

    def _value(self, values: Mapping[str, Any], native: type, name: str) -> Any:
        key = f"{native.__name__}.{name}"
        assert key in values or name in values, f"the test has no value for {key}"
        return values.get(key, values.get(name))


def _differ(first: Mapping[str, Mapping[str, Any]], second: Mapping[str, Mapping[str, Any]]) -> bool:
    return any(differing(about, second[name]) for name, about in first.items() if name in second)
