"""Values of histories as small numbers: equal ones share a code, and nothing is coerced on the way."""

from __future__ import annotations

import enum
from array import array
from collections.abc import Hashable, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Integers: TypeAlias = npt.NDArray[np.int64]
NOTHING_CODE = 0
"""The code of None: nothing was given, or nothing was answered."""


class Truth(enum.Enum):
    """Booleans as they appear in frozen values: in Python True equals 1, in a history it does not."""

    FALSE = "false"
    TRUE = "true"


class Shape(enum.Enum):
    """What marks a frozen map or set, so that no list in a history can equal it: ["set", [1]] is no set."""

    MAP = "map"
    SET = "set"


def freeze(value: Any) -> Hashable:
    """A hashable twin of a JSON or EDN value, equal to another one if and only if the values are the same.

    Nothing is coerced: 6 and "6" differ, and so do true and 1. Lists become tuples, maps sorted tuples of pairs.
    """
    if value is True or value is False:
        return Truth.TRUE if value else Truth.FALSE
    if isinstance(value, list | tuple):
        return tuple(freeze(item) for item in value)
    if isinstance(value, Mapping):
        return (Shape.MAP, tuple(sorted(((freeze(k), freeze(v)) for k, v in value.items()), key=repr)))
    if isinstance(value, set | frozenset):
        return (Shape.SET, tuple(sorted((freeze(item) for item in value), key=repr)))
    return value  # type: ignore[no-any-return]


def thaw(frozen: Hashable) -> Any:
    """A value that `freeze` turns into this one; sets come back as frozen sets, keys of maps as they are."""
    if isinstance(frozen, Truth):
        return frozen is Truth.TRUE
    if not isinstance(frozen, tuple):
        return frozen
    if frozen and frozen[0] is Shape.MAP:
        return {key if isinstance(key, tuple) else thaw(key): thaw(value) for key, value in frozen[1]}
    return frozenset(frozen[1]) if frozen and frozen[0] is Shape.SET else [thaw(item) for item in frozen]


class Values:
    """A table of values: `code` gives a value its number, `values[code]` gives the value back as it first came.

    Two values have one code if and only if they are equal when frozen. Code 0 is None. Codes are given in the order in
    which values come, so the same history has the same codes.
    """

    def __init__(self) -> None:
        self._objects: list[Any] = [None]
        self._codes: dict[Hashable, int] = {None: NOTHING_CODE}
        self._first = array("q", [-1])
        self._second = array("q", [-1])
        self._nested: list[int] = []

    def __len__(self) -> int:
        return len(self._objects)

    def __getitem__(self, code: int) -> Any:
        return self._objects[code]

    def code(self, value: Any) -> int:
        """The code of a value, a new one if it never came before. Raises `TypeError` for what can't be hashed."""
        kind = type(value)
        frozen = value if kind is int or kind is str else freeze(value)
        code = self._codes.get(frozen)
        return self._new(frozen, value) if code is None else code

    def find(self, value: Any) -> int | None:
        """The code of a value if it ever came."""
        return self._codes.get(freeze(value))

    def frozen(self, code: int) -> Hashable:
        """The frozen twin of the value of a code."""
        return freeze(self._objects[code])

    def pairs(self) -> tuple[Integers, Integers]:
        """By code: the codes of the first and of the second element of a list of exactly two, -1 for all other values.

        Elements have codes of their own: for a cas [expected, new] these are the codes of the states.
        """
        nested, self._nested = self._nested, []
        while nested:
            for code in nested:
                first, second = self._objects[code]
                self._first[code], self._second[code] = self.code(first), self.code(second)
            nested, self._nested = self._nested, []
        return np.array(self._first, dtype=np.int64), np.array(self._second, dtype=np.int64)

    def _new(self, frozen: Hashable, value: Any) -> int:
        code = self._codes[frozen] = len(self._objects)
        self._objects.append(value)
        self._first.append(-1)
        self._second.append(-1)
        if isinstance(value, list | tuple) and len(value) == 2:
            if any(isinstance(item, list | tuple | Mapping | set | frozenset) for item in value):
                # Lists in lists wait until somebody asks: of the steps of transactions nobody does, and they are many.
                self._nested.append(code)
            else:
                self._first[code], self._second[code] = self.code(value[0]), self.code(value[1])
        return code
