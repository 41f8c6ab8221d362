"""What the writers of all formats share: the events of a history in their order, and what a format can't hold."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from checker.columns import INFO_CODE, NEVER, UNKNOWN, Columns
from checker.formats.quick import asks_for_keys
from checker.formats.reading import is_transaction
from checker.history import INFO, INVOKE, OK, History, HistoryError, Op
from checker.values import NOTHING_CODE, Integers, thaw

PARTS = {
    "index": "the index of its events",
    "time": "times",
    "error": "an error",
    "node": "a node",
    "op": "an identifier",
    "workload": "a workload",
    "key": "a key",
}
"""What an operation may have besides a process, a function, values and a type, in words."""


def events_of(history: History) -> Iterator[dict[str, Any]]:
    """The events of a history in their order, named as ours are; what is None is left out.

    Operations of which places are equal run at once, so invocations come first. Raises `HistoryError` for a history that no
    reader would take back, such as one with two open operations of one process.
    """
    if asks_for_keys(history.columns):
        raise HistoryError("every read asks for a list [key nil]: it would be read back as a history with keys")
    rows, ends = _ordered(history.columns)
    with_end = np.zeros(len(history), dtype=np.bool_)
    with_end[rows[ends]] = True
    operations = iter(history)
    awaited = with_end.tolist()
    open_: dict[int, Op] = {}
    busy: set[Any] = set()
    for row, end in zip(rows.tolist(), ends.tolist(), strict=True):
        if end:
            op = open_.pop(row)
            if op.type != INFO:
                busy.remove(op.process)
            yield _completion(op)
            continue
        op = next(operations)
        if op.process in busy:
            raise HistoryError(
                f"process {op.process} invokes {op.f} while another of its operations is open or was never answered: "
                "such a history could not be read back",
                op.line,
            )
        busy.add(op.process)
        if awaited[row]:
            open_[row] = op
        yield _invocation(op)


def _ordered(columns: Columns) -> tuple[Integers, npt.NDArray[np.bool_]]:
    """The rows of the events in their order, and which of these are completions."""
    answered = np.flatnonzero(columns.returned < NEVER)
    unanswered = _told(columns)
    rows = np.concatenate([np.arange(len(columns)), answered, unanswered])
    places = np.concatenate([columns.invoked, columns.returned[answered], _gaps(columns, unanswered)])
    ends = np.arange(len(rows)) >= len(columns)
    order = np.lexsort((ends, places))
    return rows[order], ends[order]


def _told(columns: Columns) -> Integers:
    """The rows of unanswered operations that a completion told of, in the order of these completions."""
    known = (columns.return_index != UNKNOWN) | (columns.return_time != UNKNOWN) | (columns.error != NOTHING_CODE)
    rows = np.flatnonzero((columns.type == INFO_CODE) & known)
    return rows[np.lexsort((columns.return_time[rows], columns.return_index[rows]))]


def _gaps(columns: Columns, rows: Integers) -> Integers:
    """A place for each completion that says "unknown": those that pairing events left free, as far as they go.

    Nothing depends on these places but that they come after the invocation; in a history of events these are the old ones.
    """
    taken = np.concatenate([columns.invoked, columns.returned[columns.returned < NEVER]])
    last = int(taken.max(initial=-1)) + 1
    free = np.setdiff1d(np.arange(min(last, 2 * len(taken) + len(rows))), taken)
    if len(free) < len(rows):
        free = np.concatenate([free, np.arange(last, last + len(rows) - len(free))])
    places = free[: len(rows)]
    return np.where(places > columns.invoked[rows], places, last + len(rows))


def _invocation(op: Op) -> dict[str, Any]:
    return _without_none(op, INVOKE, op.value, op.invoke_index, op.invoke_time, None)


def _completion(op: Op) -> dict[str, Any]:
    value = op.result if op.type == OK else op.value
    return _without_none(op, op.type, value, op.return_index, op.return_time, op.error)


def _without_none(op: Op, kind: str, value: Any, index: int | None, time: int | None, error: Any) -> dict[str, Any]:
    event = {
        "i": index,
        "t": time,
        "type": kind,
        "process": op.process,
        "node": op.node,
        "f": op.f,
        "key": thaw(op.key),
        "value": value,
        "op": op.op,
        "workload": op.workload or None,
        "error": error,
    }
    return {name: part for name, part in event.items() if part is not None}


def losses(history: History, name: str, holds: Collection[str]) -> list[str]:
    """What a format without these parts (of `PARTS`) would lose, in sentences."""
    columns = history.columns
    has: Mapping[str, npt.NDArray[np.bool_] | None] = {
        "index": (columns.invoke_index != UNKNOWN) | (columns.return_index != UNKNOWN),
        "time": (columns.invoke_time != UNKNOWN) | (columns.return_time != UNKNOWN),
        "error": columns.error != NOTHING_CODE,
        "node": None if columns.node is None else columns.node != NOTHING_CODE,
        "op": None if columns.op is None else columns.op != NOTHING_CODE,
        "workload": None if columns.workload is None else columns.workload != NOTHING_CODE,
        "key": columns.key != NOTHING_CODE,
    }
    found = []
    for part, mask in has.items():
        count = 0 if mask is None else int(mask.sum())
        if count and part not in holds:
            found.append(f"{name} does not hold {PARTS[part]}: {count:,} of {len(history):,} operations lose it")
    return found


def keys_as_pairs(history: History) -> bool:
    """Whether values written as [key value], Jepsen's way, would be read back as keys and values."""
    columns = history.columns
    asked = columns.value[columns.f == columns.place_of("read")]
    return bool(len(asked) and np.all(columns.key != NOTHING_CODE) and np.all(asked == NOTHING_CODE))


def require_json(value: Any, name: str, line: int | None) -> None:
    """Raises `HistoryError` for a value that JSON would change: a set, or a map whose keys are no strings."""
    if isinstance(value, Mapping):
        strange = next((key for key in value if not isinstance(key, str)), None)
        if strange is not None:
            raise HistoryError(f"{name} can't hold a map with the key {strange!r}: its keys are strings", line)
        for item in value.values():
            require_json(item, name, line)
    elif isinstance(value, list | tuple):
        for item in value:
            require_json(item, name, line)
    elif not isinstance(value, str | int | float | bool | None):
        raise HistoryError(f"{name} can't hold {value!r}: expected numbers, strings, lists and maps", line)


def with_step_names(f: str, value: Any, *, keywords: bool) -> Any:
    """The steps of a transaction with their names as keywords, as EDN has them, or as plain strings, as JSON has them."""
    if f != "txn" or not is_transaction(value):
        return value
    names = [step[0].removeprefix(":") for step in value]
    return [[f":{name}" if keywords else name, *step[1:]] for name, step in zip(names, value, strict=True)]
