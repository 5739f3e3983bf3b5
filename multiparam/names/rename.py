"""Renaming: what turns a file's names into a model's, and which renaming would make the two fit."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..errors import ArgumentError
from .pattern import join

__all__ = ["Rename", "extended", "renamed_layer", "renamer", "roles_of", "suggested", "with_layers"]

DEEPEST = 8  # components that a prefix may have; names with thousands of them would take for ever

Rename = Mapping[str, str] | Callable[[str], str]


def renamer(rename: Rename, known: Collection[str] = ()) -> Callable[[str], str]:
    r"""What turns a name of a file into one of a model.

    Args:
        rename: regular expressions and their replacements, applied in turn; or a function of a name.
        known: the names that the model has.

    Raises:
        ArgumentError: it is neither; a replacement that does not suit its expression, and a function that makes no
            name, are found at the first use.

    >>> renamer({r"^module\.": ""})("module.0.weight"), renamer(str.lower)("FC.weight")
    ('0.weight', 'fc.weight')
    """
    step = _by_expressions(rename) if isinstance(rename, Mapping) else _by_function(rename)

    def renamed(name: str) -> str:
        name = step(name)
        if "%" in name and name not in known:
            # PyTorch leaves a % in a name as it is, where the others' is escaped
            other = (name.replace("%25", "%"), name.replace("%", "%25"))
            name = next((spelling for spelling in other if spelling in known), name)
        return name

    return renamed


def _by_function(rename: Callable[[str], str]) -> Callable[[str], str]:
    if not callable(rename):
        raise ArgumentError(
            f"rename= takes a dict of regular expressions and replacements, or a function of a name, not {rename!r}"
        )

    def renamed(name: str) -> str:
        try:
            made: Any = rename(name)
        except Exception as error:  # whatever a function of somebody else's raises
            raise ArgumentError(f"the function rename= fails on {name!r}: {type(error).__name__}: {error}") from error
        if not isinstance(made, str):
            raise ArgumentError(
                f"the function rename= makes {made!r} of {name!r}: it returns a name, the same where nothing changes"
            )
        return made

    return renamed


def _by_expressions(rename: Mapping[str, str]) -> Callable[[str], str]:
    try:
        steps = [(re.compile(pattern), replacement) for pattern, replacement in rename.items()]
    except (re.error, TypeError) as error:
        raise ArgumentError(f"rename= takes regular expressions: {error}") from error

    replacements: list[tuple[str, Any]] = [*rename.items()]
    for pattern, given in replacements:
        if not (isinstance(given, str) or callable(given)):
            raise ArgumentError(f"rename= takes strings as replacements; {pattern!r} has {given!r}")

    def renamed(name: str) -> str:
        for pattern, replacement in steps:
            try:
                name = pattern.sub(replacement, name)
            except (re.error, IndexError, TypeError) as error:
                raise ArgumentError(
                    f"rename= cannot put {replacement!r} in the place of {pattern.pattern!r}: {error}"
                ) from None
        return name

    return renamed


def renamed_layer(renamed: Callable[[str], str], layer: str, role: str | None = None) -> str:
    """A layer's name in the model, for renames that are about the names of tensors.

    Args:
        renamed: what turns names of tensors.
        layer: the layer's name.
        role: what one of its tensors is called in it; None of a layer that has none, or of which it is not known.

    >>> renamed_layer({"lstm.weight_hh_l0": "rnn.weight_hh_l0"}.__getitem__, "lstm", "weight_hh_l0")
    'rnn'
    >>> renamed_layer({"a.scales.0": "b.scales.0"}.__getitem__, "a", "scales.0")
    'b'
    """
    own = role or "weight"
    try:
        name = renamed(join(layer, own))
        if name == own or name.endswith(f".{own}"):  # which may have dots itself, as what lies in a list has
            return name[: -len(own) - 1]
        above, dot, _ = name.rpartition(".")
        return above if dot else layer and renamed(layer)
    except ArgumentError:
        if role is None:  # a function need not know more than tensors
            return layer
        raise


def roles_of(names: Iterable[str]) -> dict[str, str]:
    """What a tensor of each layer is called in it.

    >>> roles_of(["fc.weight", "lstm.weight_hh_l0"])
    {'fc': 'weight', 'lstm': 'weight_hh_l0'}
    """
    found: dict[str, str] = {}
    for name in names:
        layer, _, role = name.rpartition(".")
        found.setdefault(layer, role)
    return found


def suggested(
    missing: Sequence[str],
    unexpected: Sequence[str],
    fitting: Collection[str] = (),
    alike: Callable[[str, str], bool] = lambda unexpected, missing: True,
) -> dict[str, str]:
    r"""The renaming of one prefix after which most unexpected names are missing ones; empty if there is none.

    Args:
        missing: names that the model has and the file lacks.
        unexpected: names that the file has and the model lacks.
        fitting: names that both have; a renaming that would change one of them is none.
        alike: whether what has an unexpected name could be what is missing; a renaming after which a name is found and
            does not fit is none.

    Returns:
        What to pass as `rename=`.

    >>> suggested(["0.weight", "0.bias"], ["module.0.weight", "module.0.bias"])
    {'^module\\.': ''}
    >>> suggested(["0.weight", "0.bias"], ["epoch"])
    {}
    """
    wanted = set(missing)
    best, most = ("", ""), min(len(missing), len(unexpected)) / 2
    # of those that make equally many fit, the one that takes away and adds least
    for old, new in sorted(_candidates(missing, unexpected), key=lambda pair: (len(pair[0]) + len(pair[1]), pair)):
        if re.sub(r"\d+", "#", old) == re.sub(r"\d+", "#", new):
            continue  # what another number counts is not known
        moved = {name: new + name[len(old) :] for name in unexpected if name.startswith(old)}
        found = [(name, new) for name, new in moved.items() if new in wanted]
        hits = len(found) if all(alike(*pair) for pair in found) else 0
        if hits > most and _harmless(old, moved, unexpected, fitting):
            best, most = (old, new), hits
    return {f"^{re.escape(best[0])}": best[1].replace("\\", r"\\")} if any(best) else {}


def extended(rename: Rename, further: Mapping[str, str]) -> dict[str, str]:
    """A renaming and then another, as one; empty if the other is, and the other alone where the first is a function.

    >>> extended({"^a": "b"}, {"^a": "c"})
    {'^a': 'b', '(?:^a)': 'c'}
    """
    if not isinstance(rename, Mapping):
        return dict(further)
    # a prefix that is there twice is taken away twice
    again = {f"(?:{pattern})" if pattern in rename else pattern: new for pattern, new in further.items()}
    return {**rename, **again} if further else {}


def with_layers(rename: Any, layers: Mapping[str, str]) -> Any:
    r"""A renaming, and then that of layers: their own tensors', not those of layers in them.

    Args:
        rename: a dict of regular expressions, or a function.
        layers: new names of layers, by what `rename` makes of the old ones.

    >>> with_layers({"^module[.]": ""}, {"fc": "0"})
    {'^module[.]': '', '^fc\\.(?=[^.]*$)': '0.'}
    >>> renamed = renamer(with_layers({}, {"a": "b", "b": "a"}))
    >>> renamed("a.weight"), renamed("b.weight"), renamed("a.c.weight")
    ('b.weight', 'a.weight', 'a.c.weight')
    """
    if not layers:
        return rename
    if not isinstance(rename, Mapping):
        return lambda name: renamer(with_layers({}, layers))(rename(name))
    # one that another is called like then would be renamed again
    again = {new: f"{new} (new)" for new in layers.values() if new in layers}
    steps = {_own(old): _before(again.get(new, new)) for old, new in layers.items()}
    return {**rename, **steps, **{_own(between): _before(new) for new, between in again.items()}}


def _own(layer: str) -> str:
    """A regular expression for what is before the name of a layer's own tensor."""
    return f"^{re.escape(f'{layer}.') if layer else ''}(?=[^.]*$)"


def _before(layer: str) -> str:
    return f"{layer}.".replace("\\", r"\\") if layer else ""


def _candidates(missing: Sequence[str], unexpected: Sequence[str]) -> set[tuple[str, str]]:
    """Pairs of a prefix and what may stand in its place."""
    wanted, given = set(missing), set(unexpected)
    away = Counter(prefix for name in unexpected for prefix, rest in _splits(name) if rest in wanted)
    added = Counter(prefix for name in missing for prefix, rest in _splits(name) if rest in given)
    found = {(old, "") for old, _ in away.most_common(DEEPEST)} | {("", new) for new, _ in added.most_common(DEEPEST)}
    return found | {(old, new) for old in _shared(unexpected) for new in _shared(missing)}


def _harmless(old: str, moved: Mapping[str, str], unexpected: Sequence[str], fitting: Collection[str]) -> bool:
    """Whether a renaming touches nothing that fits, and makes no two names one."""
    taken = {*fitting, *(name for name in unexpected if name not in moved)}
    return not any(name.startswith(old) for name in fitting) and taken.isdisjoint(moved.values())


def _splits(name: str) -> Iterator[tuple[str, str]]:
    """A name's prefixes, each with its dot, and what follows it."""
    at = name.find(".")
    for _ in range(DEEPEST):
        if at < 0:
            return
        yield name[: at + 1], name[at + 1 :]
        at = name.find(".", at + 1)


def _shared(names: Sequence[str]) -> list[str]:
    """The prefixes that all names have."""
    first = [prefix for prefix, _ in _splits(min(names, default=""))]
    last = max(names, default="")  # what the first and the last in order share, all do
    return [prefix for prefix in first if last.startswith(prefix)]
