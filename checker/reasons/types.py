"""Types that were mixed up: whether an object would be linearizable if numbers in strings counted as numbers.

Values are never converted: 6 and "6" are different values, and a client that mixes them breaks its promise. But where all of
a violation is that, an engineer must not have to look for a fault in the store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from checker import ways
from checker.budget import Meter
from checker.history import Op
from checker.models.base import Model
from checker.reasons import phrases
from checker.selections import Selected
from checker.verdict import Valid

_SCALARS = (int, float, str)


def says(model: Model, impossible: Op, everything: Sequence[Op], meter: Meter) -> str:
    """A sentence, if some value was asked in one type and answered in another; empty if none was.

    Whether that is all is found out by a check of the converted operations.
    """
    pair = _mixed(impossible, everything)
    if pair is None:
        return ""
    asked, answered = pair
    text = (
        f"{phrases.value(asked)} was written as {_kind(asked)} and read back as {_kind(answered)}, which are different "
        "values: values are never converted here"
    )
    converted = [_converted(op) for op in everything]
    if model.init == _plain(model.init) and isinstance(ways.decide(model, converted, meter), Valid):
        return f"{text}. If they were, this object would be linearizable: types are all that is wrong with it"
    return text


def _mixed(impossible: Op, everything: Sequence[Op]) -> tuple[Any, Any] | None:
    """A value that was asked, and the same in another type that the operation met and that nobody asked."""
    met = [*_leaves(impossible.result), *_leaves(impossible.error)]
    met += _leaves(impossible.value[0]) if impossible.f == "cas" else []
    twins = {_tagged(twin): leaf for leaf in met if (twin := _twin(leaf)) is not None}
    asked: dict[tuple[str, Any], Any] = {}
    values = everything.columns.values if twins and isinstance(everything, Selected) else None
    if values is not None and not any(values.may_hold(twin) for _, twin in twins):
        return None
    for op in everything if twins else ():
        value = op.value
        if op.f == "cas" and op is not impossible:
            asked.update((_tagged(leaf), leaf) for leaf in _leaves(value))
        elif type(value) in _SCALARS:
            asked[type(value).__name__, value] = value
        elif value is not None and op is not impossible:
            asked.update((_tagged(leaf), leaf) for leaf in _leaves(value))
    pairs = ((asked[twin], leaf) for twin, leaf in twins.items() if twin in asked and _tagged(leaf) not in asked)
    return next(pairs, None)


def _tagged(leaf: Any) -> tuple[str, Any]:
    return type(leaf).__name__, leaf


def _leaves(value: Any) -> list[Any]:
    """The numbers and strings in a value."""
    if isinstance(value, Mapping):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    if isinstance(value, list | tuple | set | frozenset):
        return [leaf for item in value for leaf in _leaves(item)]
    return [value] if isinstance(value, int | float | str) else []


def _twin(leaf: Any) -> Any:
    """The number for a string that is one, and the other way round; None for what has no twin."""
    if isinstance(leaf, bool):
        return None
    if not isinstance(leaf, str):
        return str(leaf)
    number = _plain(leaf)
    return None if isinstance(number, str) else number


def _plain(value: Any) -> Any:
    """The value with strings that are whole numbers, written as these are, as numbers."""
    if isinstance(value, str):
        digits = value.removeprefix("-")
        return int(value) if digits.isascii() and digits.isdigit() and str(int(value)) == value else value
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return type(value)(_plain(item) for item in value) if isinstance(value, list | tuple) else value


def _converted(op: Op) -> Op:
    return msgspec.structs.replace(op, value=_plain(op.value), result=_plain(op.result), error=_plain(op.error))


def _kind(leaf: Any) -> str:
    return "a string" if isinstance(leaf, str) else "a number"
