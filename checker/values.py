"""Values of histories as small numbers: equal ones share a code, and nothing is coerced on the way."""

from __future__ import annotations

import enum
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeAlias, TypeGuard

import msgspec
import numpy as np
import numpy.typing as npt

Integers: TypeAlias = npt.NDArray[np.int64]
Flags: TypeAlias = npt.NDArray[np.bool_]
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


def is_list(frozen: Hashable) -> TypeGuard[tuple[Hashable, ...]]:
    """Whether a frozen value is a list: maps and sets are frozen to tuples as well, which begin with what they are."""
    return isinstance(frozen, tuple) and not (frozen and isinstance(frozen[0], Shape))


def thaw(frozen: Hashable) -> Any:
    """A value that `freeze` turns into this one; sets come back as frozen sets, keys of maps as they are."""
    if isinstance(frozen, Truth):
        return frozen is Truth.TRUE
    if not isinstance(frozen, tuple):
        return frozen
    if frozen and frozen[0] is Shape.MAP:
        return {key if isinstance(key, tuple) else thaw(key): thaw(value) for key, value in frozen[1]}
    return frozenset(frozen[1]) if frozen and frozen[0] is Shape.SET else [thaw(item) for item in frozen]


_SINGLE = frozenset({int, str, float, bool, type(None), Truth})
_CONTAINERS = (list, tuple, Mapping, set, frozenset)


class Values:
    """A table of values: `code` gives a value its number, `values[code]` gives the value back as it first came.

    Two values have one code if and only if they are equal when frozen. Code 0 is None. Codes are given in the order in
    which values come, so the same history has the same codes.
    """

    def __init__(self) -> None:
        self._codes: dict[Hashable, int] = {None: NOTHING_CODE}
        # Lists of two, such as those of cas, are kept as the codes of their elements in one number: a third of the memory.
        self._pair_codes: dict[int, int] = {}
        self._objects: list[Any] = [None]
        self._packed = bytearray(1)
        # Longer lists, such as the steps of transactions, are kept as bytes, which take a quarter of the lists' memory.
        self._list_codes: dict[bytes, int] = {}
        self._others: dict[int, tuple[int, int]] = {}
        self._nested: list[int] = []
        self._pairs: tuple[Integers, Integers] | None = None

    def __len__(self) -> int:
        return len(self._objects)

    def __getitem__(self, code: int) -> Any:
        value = self._objects[code]
        packed = self._packed[code]
        if packed == _AS_PAIR:
            return [self._objects[value >> _HALF], self._objects[value & _LOW]]
        return _unpack(value) if packed == _AS_BYTES else value

    def code(self, value: Any) -> int:
        """The code of a value, a new one if it never came before. Raises `TypeError` for what can't be hashed."""
        kind = type(value)
        if kind is int or kind is str:
            code = self._codes.get(value)
            return self._new(value, value) if code is None else code
        if (kind is list or kind is tuple) and len(value) == 2 and _is_single(value[0]) and _is_single(value[1]):
            number = self.code(value[0]) << _HALF | self.code(value[1])
            code = self._pair_codes.get(number)
            return self._new_pair(number, value) if code is None else code
        if kind is list or kind is tuple:
            key = _bytes_of(value)
            if key is not None:
                code = self._list_codes.get(key)
                return self._new_list(key, value) if code is None else code
        frozen = freeze(value)
        code = self._codes.get(frozen)
        return self._new(frozen, value) if code is None else code

    def find(self, value: Any) -> int | None:
        """The code of a value if it ever came."""
        if isinstance(value, list | tuple) and len(value) == 2 and _is_single(value[0]) and _is_single(value[1]):
            first, second = self.find(value[0]), self.find(value[1])
            return None if first is None or second is None else self._pair_codes.get(first << _HALF | second)
        key = _bytes_of(value) if isinstance(value, list | tuple) else None
        if key is not None:
            return self._list_codes.get(key)
        return self._codes.get(freeze(value))

    def may_hold(self, value: Any) -> bool:
        """False only if the value never came, neither by itself nor within another one."""
        return self.find(value) is not None or bool(self._list_codes) or tuple in set(map(type, self._codes))

    def frozen(self, code: int) -> Hashable:
        """The frozen twin of the value of a code."""
        return freeze(self[code])

    def pairs(self) -> tuple[Integers, Integers]:
        """By code: the codes of the first and of the second element of a list of exactly two, -1 for all other values.

        Elements have codes of their own: for a cas [expected, new] these are the codes of the states.
        """
        if self._pairs is not None and len(self._pairs[0]) == len(self):
            return self._pairs
        while self._nested:
            nested, self._nested = self._nested, []
            for code in nested:
                one, other = self[code]
                self._others[code] = self.code(one), self.code(other)
        first = np.full(len(self), -1, dtype=np.int64)
        second = first.copy()
        codes = np.flatnonzero(np.frombuffer(self._packed, dtype=np.uint8) == _AS_PAIR)
        numbers = np.fromiter((self._objects[code] for code in codes.tolist()), dtype=np.int64, count=len(codes))
        first[codes] = numbers >> _HALF
        second[codes] = numbers & _LOW
        for code, (one, other) in self._others.items():
            first[code], second[code] = one, other
        self._pairs = first, second
        return self._pairs

    def _new(self, frozen: Hashable, value: Any) -> int:
        code = self._codes[frozen] = len(self._objects)
        self._objects.append(value)
        self._packed.append(0)
        if isinstance(value, list | tuple) and len(value) == 2:
            self._nested.append(code)  # lists in lists wait until somebody asks: steps of transactions are many
        return code

    def _new_pair(self, number: int, value: Any) -> int:
        code = self._pair_codes[number] = len(self._objects)
        packed = isinstance(value, list) and not any(isinstance(item, Truth) for item in value)
        self._objects.append(number if packed else value)
        self._packed.append(_AS_PAIR if packed else _AS_IT_IS)
        if not packed:
            self._nested.append(code)
        return code

    def _new_list(self, key: bytes, value: Any) -> int:
        code = self._list_codes[key] = len(self._objects)
        packed = isinstance(value, list) and _is_plain(value)
        self._objects.append(key if packed else value)
        self._packed.append(_AS_BYTES if packed else _AS_IT_IS)
        if len(value) == 2:
            self._nested.append(code)  # lists in lists wait until somebody asks: steps of transactions are many
        return code


_HALF = 32
_LOW = (1 << _HALF) - 1
_AS_IT_IS, _AS_PAIR, _AS_BYTES = range(3)
_PLAIN = frozenset({int, str, bool, type(None)})
_PLAIN_OR_LIST = _PLAIN | {list}
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder().decode


def _is_plain(value: list[Any]) -> bool:
    """Whether a list holds numbers, strings, booleans, nothing, and lists of these: what bytes give back as it was."""
    kinds = set(map(type, value))
    if kinds <= _PLAIN:
        return True
    return kinds <= _PLAIN_OR_LIST and all(_is_plain(item) for item in value if type(item) is list)


def _bytes_of(value: Sequence[Any]) -> bytes | None:
    """The same bytes for two lists if and only if they are equal when frozen; None for what has no such bytes."""
    try:
        return _pack(value if type(value) is list and _is_plain(value) else _canonical(value))
    except (
        TypeError,
        OverflowError,
        UnicodeEncodeError,
    ):  # maps and sets, whole numbers beyond 64 bits, half a character
        return None


def _canonical(value: Any) -> Any:
    """A value in the one form that all its equals have. Raises `TypeError` for maps, sets and what is nothing of JSON."""
    if isinstance(value, Truth):
        return value is Truth.TRUE
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value == value // 1:
        return int(value)  # 1.0 equals 1
    if isinstance(value, bool | str | int | float | None) and value == value:  # noqa: PLR0124 - NaN has no equal
        return value
    raise TypeError


def _is_single(value: Any) -> bool:
    return type(value) in _SINGLE or not isinstance(value, _CONTAINERS)
