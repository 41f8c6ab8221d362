"""Pairs events at full speed, straight into columns; whatever looks unusual is left to the general reader.

The general reader (`files.py`, `history.Pairing`) knows all formats' odd ways and has the sentences of all errors. This one
knows the usual history only, a hundred bytes and two microseconds an operation, and raises `DoubtfulError` at the first event
of which it is not sure; then the general reader begins anew. So both give the same history, or the same error.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from checker.columns import FAIL_CODE, INFO_CODE, NEVER, OK_CODE, OPTIONAL, UNKNOWN, Columns, ColumnsBuilder
from checker.history import FAIL, INFO, INVOKE, NEMESIS, OK
from checker.values import NOTHING_CODE

_KINDS = {OK: OK_CODE, FAIL: FAIL_CODE, INFO: INFO_CODE}
_OF_INVOCATIONS = ("invoked", "invoke_index", "invoke_time", "line")
_OF_COMPLETIONS = {
    "result": NOTHING_CODE,
    "type": INFO_CODE,
    "returned": NEVER,
    "return_index": UNKNOWN,
    "return_time": UNKNOWN,
}
_RARE = ("key", "error", *OPTIONAL)
"""Columns that take no memory as long as nobody gives any."""
"""What completions tell, and what stands there as long as none came."""


class DoubtfulError(Exception):
    """An event that the general reader must look at."""


class Event(msgspec.Struct, gc=False):
    """An event as the usual lines hold it; UNSET is what is not there, which for some fields is not the same as null."""

    type: str
    process: int | str
    f: str | UnsetType | None = UNSET
    key: Any = None
    value: Any = None
    error: Any = None
    i: int | UnsetType | None = UNSET
    index: int | None = None
    t: int | UnsetType | None = UNSET
    time: int | None = None
    node: str | UnsetType | None = UNSET
    op: str | None = None
    workload: str | None = None


class QuickPairing:
    """Takes events in their order, block by block; `finish` gives the columns."""

    def __init__(self) -> None:
        self._builder = ColumnsBuilder()
        for name in _RARE:
            del self._builder.columns[name]
        self._rows = 0
        self._place = 0
        self._index = -1
        self._open: dict[int, int] = {}
        self._ended: set[int] = set()
        self._differs = False

    def take(self, events: Sequence[Event], lines: Iterable[int]) -> None:
        """Takes events and the lines in which they stand. Raises `DoubtfulError`."""
        self._make_room(len(events))
        columns, code = self._builder.columns, self._builder.values.code
        opened, place, last = self._open, self._place, self._index
        processes, names, values = (columns[name].append for name in ("process", "f", "value"))
        asked, asked_index, asked_time, asked_line = (columns[name].append for name in _OF_INVOCATIONS)
        row, note = self._rows, self._note
        for event, line in zip(events, lines, strict=False):
            process = event.process
            if type(process) is not int:
                if process != NEMESIS:
                    raise DoubtfulError
                continue
            index = event.index if event.i is UNSET else event.i
            time = event.time if event.t is UNSET else event.t
            if index is None:
                index = UNKNOWN
            elif last < index < NEVER:
                last = index
            else:
                raise DoubtfulError
            if time is None:
                time = UNKNOWN
            elif not 0 <= time < NEVER:
                raise DoubtfulError
            if event.type == INVOKE:
                f = event.f
                if process in opened or process in self._ended or type(f) is not str or abs(process) >= NEVER:
                    raise DoubtfulError
                opened[process] = row
                processes(process)
                names(self._name(f))
                values(0 if event.value is None else code(event.value))
                asked(place)
                asked_index(index)
                asked_time(time)
                asked_line(line)
                if event.key is not None:
                    note("key", row, event.key)
                if event.node is not UNSET and event.node is not None:
                    note("node", row, event.node)
                if event.op is not None:
                    note("op", row, event.op)
                if event.workload:
                    note("workload", row, event.workload)
                row += 1
            elif process in opened:
                self._complete(opened.pop(process), event, place, index, time)
            else:
                raise DoubtfulError
            place += 1
        self._rows, self._place, self._index = row, place, last

    def _make_room(self, count: int) -> None:
        """What a completion will tell of an operation, for as many rows as there can be; until then it is unknown."""
        columns = self._builder.columns
        missing = max(0, self._rows + count - len(columns["type"]))
        for name, default in _OF_COMPLETIONS.items():
            columns[name].extend(array(columns[name].typecode, [default]) * missing)
        for name in _RARE:
            if name in columns:
                columns[name].frombytes(bytes(8 * missing))

    def _complete(self, row: int, event: Event, place: int, index: int, time: int) -> None:
        columns, builder = self._builder.columns, self._builder
        kind = _KINDS.get(event.type)
        if (
            kind is None
            or (event.f is not UNSET and builder.names.get(event.f) != columns["f"][row])  # type: ignore[arg-type]
            or (event.key is not None and not self._is_key(row, event.key))
            or 0 <= time < columns["invoke_time"][row]
        ):
            raise DoubtfulError
        columns["type"][row] = kind
        columns["return_index"][row] = index
        columns["return_time"][row] = time
        if kind == INFO_CODE:
            self._ended.add(event.process)  # type: ignore[arg-type]
        else:
            columns["returned"][row] = place
        if kind == OK_CODE:
            if event.value is not None:
                columns["result"][row] = builder.values.code(event.value)
        elif isinstance(event.value, list) and builder.values.code(event.value) != columns["value"][row]:
            self._differs = True
        if event.error is not None:
            self._note("error", row, event.error)
        if event.node is not UNSET:
            self._note("node", row, event.node)

    def _name(self, f: str) -> int:
        number = self._builder.names.get(f)
        if number is None:
            if f.startswith(":"):
                raise DoubtfulError
            number = self._builder.name(f)
        return number

    def _is_key(self, row: int, key: Any) -> bool:
        keys = self._builder.columns.get("key")
        return keys is not None and self._builder.values.code(key) == keys[row]

    def _note(self, name: str, row: int, given: Any) -> None:
        """Notes what few histories have."""
        column = self._builder.columns.get(name)
        if column is None:
            column = self._builder.columns[name] = array("q", bytes(8 * len(self._builder.columns["type"])))
        column[row] = self._builder.values.code(given)
        if name in OPTIONAL and given and given[0] == ":":
            raise DoubtfulError

    def finish(self) -> Columns:
        """The columns; [key value] pairs are split as the general reader splits them. Raises `DoubtfulError`."""
        for name, column in self._builder.columns.items():
            if len(column) > self._rows:
                del self._builder.columns[name][self._rows :]
        for name in ("key", "error"):
            if name not in self._builder.columns:
                self._builder.columns[name] = array("q", bytes(8 * self._rows))
        columns, _ = self._builder.finish()
        if asks_for_keys(columns):
            if self._differs:
                raise DoubtfulError
            _split_keys(columns)
        return columns


def asks_for_keys(columns: Columns) -> bool:
    """Whether values are [key value] pairs, as Jepsen's independent histories have them.

    Known by its reads: every invocation of a read carries [key nil], where one of a single register carries nothing, and
    every answer to one carries its key as well: where it does not, the pairs are values.
    """
    read = columns.f == columns.place_of("read")
    if not read.any():
        return False
    asked = columns.value[read]
    if not asked.all():
        return False
    first, second = columns.values.pairs()
    answers = columns.result[read & (columns.type == OK_CODE)]
    return bool(np.all((first[asked] >= 0) & (second[asked] == NOTHING_CODE)) and np.all(first[answers] >= 0))


def _split_keys(columns: Columns) -> None:
    first, second = columns.values.pairs()
    pairs = first[columns.value] >= 0
    columns.key = np.where(pairs, first[columns.value], columns.key)
    columns.value = np.where(pairs, second[columns.value], columns.value)
    answered = first[columns.result] >= 0
    given = first[columns.result]
    if bool(np.any(answered & (given != NOTHING_CODE) & (given != columns.key))):
        raise DoubtfulError
    columns.result = np.where(answered, second[columns.result], columns.result)
