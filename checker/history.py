"""Histories: what clients asked and were answered, paired, ordered and found well formed.

An event is a mapping as one line of `history.jsonl` holds it; an operation (`Op`) is an invocation with its completion.
Order is the order of the events, never that of their times: times of one recorder can be equal, times of several
machines can't be compared at all, and an interval that is too narrow accuses an innocent store. Opinions about what an
operation means do not live here (`models.py`), nor do files (`recorder.py`, `formats.py`).
"""

from __future__ import annotations

import importlib
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, overload

import msgspec
import numpy as np

from checker.columns import FAIL_CODE, INFO_CODE, NEVER, OK_CODE, UNKNOWN, Columns, ColumnsBuilder, Row
from checker.values import Integers, Truth, freeze, thaw

__all__ = [
    "FAIL",
    "INFO",
    "INVOKE",
    "NEMESIS",
    "OK",
    "TYPES",
    "History",
    "HistoryBuilder",
    "HistoryError",
    "Op",
    "Operations",
    "Pairing",
    "Truth",
    "freeze",
]

INVOKE, OK, FAIL, INFO = "invoke", "ok", "fail", "info"
TYPES = (INVOKE, OK, FAIL, INFO)
NEMESIS = "nemesis"
"""The process whose events are no operations of a client."""


class HistoryError(ValueError):
    """A history that is not well formed: says where (`line`, from 1), what is wrong and what was expected."""

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(problem if line is None else f"line {line}: {problem}")
        self.problem = problem
        self.line = line


class Op(msgspec.Struct, frozen=True, kw_only=True):
    """One operation: what was asked (`value`), and what is known of its answer (`type`, `result`).

    `invoked` and `returned` are places in the order of events; `returned` is None for an operation that never
    returned (`info`), which may take effect at any time after its invocation, or never. `line` is where its invocation
    stands in the file that it was read from.
    """

    process: int | str
    f: str
    key: Hashable = None
    value: Any = None
    type: str = INFO
    result: Any = None
    error: Any = None
    invoked: int
    returned: int | None = None
    invoke_index: int | None = None
    return_index: int | None = None
    invoke_time: int | None = None
    return_time: int | None = None
    node: str | None = None
    op: str | None = None
    workload: str = ""  # which of a run's workloads asked, where there are several
    line: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """The operation as JSON: `invoke_index` and `return_index` are its events' `i`, times are in nanoseconds."""
        return {
            "process": self.process,
            "f": self.f,
            "key": self.key,
            "value": self.value,
            "type": self.type,
            "result": self.result,
            "error": self.error,
            "invoke_index": self.invoke_index,
            "return_index": self.return_index,
            "invoke_time": self.invoke_time,
            "return_time": self.return_time,
            "node": self.node,
            "op": self.op,
        }


class _Open(msgspec.Struct):
    """An invocation that waits for its completion."""

    position: int
    line: int | None
    event: Mapping[str, Any]


class Pairing:
    """Pairs events as they come, and refuses the first one that breaks a rule of well-formed histories.

    The rules: a process has at most one open operation; a completion belongs to an open invocation of the same
    function; a process whose operation ended as `info` never appears again; indices grow.
    """

    def __init__(self) -> None:
        self.position = 0
        self.open: dict[Any, _Open] = {}
        self._ended: set[Any] = set()
        self._index: int | None = None

    def take(self, event: Mapping[str, Any], line: int | None = None) -> Op | None:
        """Takes the next event and returns the operation that it completes, if it does; what it refuses changes nothing.

        Events of the nemesis are passed over. Raises `HistoryError`: a client whose process is no number would else be
        passed over, too, and a history without its clients is always valid.
        """
        if not isinstance(event, Mapping):
            raise HistoryError(f"an event must be a map, this is {_short(event)}", line)
        process = event.get("process")
        if process == NEMESIS:
            return None
        if not isinstance(process, int) or isinstance(process, bool):
            raise HistoryError(
                f'an event needs a "process" (a number, or "{NEMESIS}"), this one has {_short(process)}', line
            )
        kind = event.get("type")
        if kind not in TYPES:
            raise HistoryError(f"unknown type {_short(kind)}, expected one of {', '.join(TYPES)}", line)
        index = self._checked_index(event, line)
        time = event.get("t", event.get("time"))
        if time is not None and (not isinstance(time, int | float) or isinstance(time, bool)):
            raise HistoryError(f"the time of an event must be a number of nanoseconds, this is {_short(time)}", line)
        completed = None
        if kind == INVOKE:
            self._invoke(process, _Open(self.position, line, event))
        else:
            completed = self._complete(process, self.position, line, event)
        self._index = index
        self.position += 1
        return completed

    def unfinished(self) -> list[Op]:
        """The operations whose completion never came, in the order of their invocations."""
        left = sorted(self.open.items(), key=lambda item: item[1].position)
        return [_operation(process, start, None, INFO, {}) for process, start in left]

    def _checked_index(self, event: Mapping[str, Any], line: int | None) -> int | None:
        index = event.get("i", event.get("index"))
        if index is None:
            return self._index
        if not isinstance(index, int) or isinstance(index, bool):
            raise HistoryError(f"the index of an event must be a whole number, this is {_short(index)}", line)
        if self._index is not None and index <= self._index:
            raise HistoryError(
                f"index {index} after {self._index}: events must stand in the order of their index", line
            )
        return index

    def _invoke(self, process: int, start: _Open) -> None:
        if not isinstance(start.event.get("f"), str):
            raise HistoryError(
                f'an event needs an "f" (what was asked), this one has {_short(start.event.get("f"))}', start.line
            )
        before = self.open.get(process)
        if before is not None:
            raise HistoryError(
                f"process {process} invokes {start.event['f']} while its {before.event['f']}{_at(before.line)} is still open: "
                "expected the completion of that one first",
                start.line,
            )
        if process in self._ended:
            raise HistoryError(
                f"process {process} is used again after one of its operations ended as info: expected a new process number",
                start.line,
            )
        self.open[process] = start

    def _complete(self, process: int, position: int, line: int | None, event: Mapping[str, Any]) -> Op:
        start = self.open.get(process)
        kind = event["type"]
        if start is None:
            raise HistoryError(
                f"{kind} of process {process} completes nothing: expected an invoke of that process before it", line
            )
        asked, answered = start.event["f"], event.get("f", start.event["f"])
        if asked != answered:
            raise HistoryError(
                f"process {process} invoked {asked}{_at(start.line)}, but this completes {_short(answered)}", line
            )
        key, given = start.event.get("key"), event.get("key")
        if given is not None and given != key:
            raise HistoryError(
                f"process {process} invoked {asked} of key {_short(key)}{_at(start.line)}, but this completes one of key {_short(given)}",
                line,
            )
        began, ended = (each.get("t", each.get("time")) for each in (start.event, event))
        if began is not None and ended is not None and ended < began:
            raise HistoryError(
                f"this completes {asked} of process {process} at {_short(ended)}, before it was invoked{_at(start.line)}, at {_short(began)}",
                line,
            )
        del self.open[process]
        if kind == INFO:
            self._ended.add(process)
        return _operation(process, start, position, kind, event)


class Operations(Sequence[Op]):
    """The operations of columns, each made when it is asked for.

    `kept` holds those that columns can't hold exactly, such as times that are no whole numbers, by row.
    """

    def __init__(self, columns: Columns, kept: Mapping[int, Op]) -> None:
        self._columns = columns
        self._kept = kept

    @property
    def columns(self) -> Columns:
        """The columns that they are made of."""
        return self._columns

    def __len__(self) -> int:
        return len(self._columns)

    @overload
    def __getitem__(self, place: int) -> Op: ...
    @overload
    def __getitem__(self, place: slice) -> list[Op]: ...
    def __getitem__(self, place: int | slice) -> Op | list[Op]:
        if isinstance(place, slice):
            start, stop, step = place.indices(len(self))
            if step == 1:
                return self._made(start, max(start, stop))
            return [self[each] for each in range(start, stop, step)]
        at = place + len(self) if place < 0 else place
        if not 0 <= at < len(self):
            raise IndexError(f"operation {place} of {len(self)}")
        return self._made(at, at + 1)[0]

    def __iter__(self) -> Iterator[Op]:
        return chain.from_iterable(self._made(start, start + BLOCK) for start in range(0, len(self), BLOCK))

    def _made(self, start: int, stop: int) -> list[Op]:
        columns = self._columns
        length = min(stop, len(self)) - start
        nothing = [0] * length
        arrays = columns.arrays()
        lists = [nothing if (column := arrays[name]) is None else column[start:stop].tolist() for name in _FIELDS]
        rows = zip(*lists, strict=True)
        return [self._kept.get(number) or operation_of(Row(*row), columns) for number, row in enumerate(rows, start)]


class HistoryBuilder:
    """Collects operations as columns, in any order: what a loader hands over instead of a list of all of them."""

    def __init__(self) -> None:
        self.columns = ColumnsBuilder()
        self._kept: dict[int, Op] = {}
        self._rows = 0

    def add(self, op: Op) -> None:
        """Takes an operation."""
        if not _fits(op):
            self._kept[self._rows] = op
        self.columns.add(_row_of(op, self.columns))
        self._rows += 1

    def finish(self) -> History:
        """The history of all that were taken; the builder must not be used any more."""
        columns, order = self.columns.finish()
        kept = self._kept
        if order is not None and kept:
            kept = {place: kept[row] for place, row in enumerate(order.tolist()) if row in kept}
        return History.of_columns(columns, kept)


class History:
    """A well-formed history: its operations in the order of their invocations, each with its place in the order of events.

    The same history twice: `operations` are objects, `columns` are arrays of integers; which of the two is kept and
    which is made when it is asked for depends on where the history came from.
    """

    def __init__(self, operations: Iterable[Op]) -> None:
        self._listed: list[Op] | None = sorted(operations, key=lambda op: op.invoked)
        self._columns: Columns | None = None
        self._kept: Mapping[int, Op] = {}
        self.warnings: list[str] = []

    @staticmethod
    def of_columns(columns: Columns, kept: Mapping[int, Op] | None = None) -> History:
        """The history that columns hold; `kept` are the operations that they can't hold exactly, by row."""
        history = History(())
        history._listed, history._columns, history._kept = None, columns, kept or {}
        return history

    @property
    def operations(self) -> Sequence[Op]:
        """The operations in the order of their invocations."""
        if self._listed is not None:
            return self._listed
        assert self._columns is not None
        return Operations(self._columns, self._kept)

    @property
    def columns(self) -> Columns:
        """The operations as columns of integers."""
        if self._columns is None:
            assert self._listed is not None
            builder = HistoryBuilder()
            for op in self._listed:
                builder.add(op)
            built = builder.finish()
            self._columns, self._kept = built.columns, built.kept
        return self._columns

    @property
    def kept(self) -> Mapping[int, Op]:
        """The operations that columns can't hold exactly, such as those with times that are no whole numbers, by row."""
        assert self.columns is not None  # they are found when the columns are made
        return self._kept

    def to_frame(self) -> Any:
        """A pandas `DataFrame`, a row an operation; see `formats.tables.to_frame`."""
        return importlib.import_module("checker.formats.tables").to_frame(self)

    @staticmethod
    def from_frame(frame: Any) -> History:
        """The history that a pandas `DataFrame` holds; see `formats.tables.from_frame`. Raises `HistoryError`."""
        history: History = importlib.import_module("checker.formats.tables").from_frame(frame)
        return history

    def __len__(self) -> int:
        return len(self.operations)

    def __iter__(self) -> Iterator[Op]:
        return iter(self.operations)

    def workloads(self) -> list[str]:
        """The names of the workloads that asked, sorted; without the empty name."""
        if self._listed is not None:
            return sorted({op.workload for op in self._listed} - {""})
        columns = self.columns
        if columns.workload is None:
            return []
        return sorted({str(columns.values[code]) for code in np.unique(columns.workload).tolist() if code})

    def functions(self) -> list[str]:
        """What was asked, sorted."""
        if self._listed is not None:
            return sorted({op.f for op in self._listed})
        return sorted(self.columns.names[number] for number in np.unique(self.columns.f).tolist())

    def of_workload(self, name: str) -> History:
        """The operations of one workload, in the places that they have among all."""
        if self._listed is not None:
            part = History(op for op in self._listed if op.workload == name)
        else:
            columns = self.columns
            code = columns.values.find(name or None)
            named = np.zeros(len(columns), dtype=np.int64) if columns.workload is None else columns.workload
            rows: Integers = np.flatnonzero(named == (-1 if code is None else code))
            kept = {place: self._kept[row] for place, row in enumerate(rows.tolist()) if row in self._kept}
            part = History.of_columns(columns.take(rows), kept)
        part.warnings = self.warnings
        return part

    @staticmethod
    def from_events(events: Iterable[Mapping[str, Any]], lines: Iterable[int] | None = None) -> History:
        """Pairs events, given in the order in which they happened; `lines` are their places in a file, for errors.

        An invocation without a completion becomes `info`. Raises `HistoryError` on what is not well formed.
        """
        numbers: Iterable[int | None] = range(1, NEVER) if lines is None else lines
        return History.paired(zip(numbers, events, strict=False))

    @staticmethod
    def paired(numbered: Iterable[tuple[int | None, Mapping[str, Any]]]) -> History:
        """Pairs events, each with its line; see `from_events`."""
        pairing = Pairing()
        builder = HistoryBuilder()
        for line, event in numbered:
            op = pairing.take(event, line)
            if op is not None:
                builder.add(op)
        for op in pairing.unfinished():
            builder.add(op)
        return builder.finish()

    @staticmethod
    def from_intervals(operations: Sequence[Op]) -> History:
        """Orders operations of which only times are known: `invoke_time`, and `return_time` (None: never returned).

        Intervals are closed, so at equal times invocations come before returns: an operation that returned in the very
        tick in which another one was invoked may have run beside it. The other order raises false alarms on coarse clocks.
        """
        spans = [(op.invoke_time or 0, None if op.type == INFO else op.return_time) for op in operations]
        return History.placed(operations, spans)

    @staticmethod
    def placed(operations: Sequence[Op], spans: Sequence[tuple[int, int | None]]) -> History:
        """Orders operations by closed intervals on any scale: (invocation, return or None), one for each."""
        moments = [(start, 0, number) for number, (start, _) in enumerate(spans)]
        moments += [(end, 1, number) for number, (_, end) in enumerate(spans) if end is not None]
        places = {(end, number): place for place, (_, end, number) in enumerate(sorted(moments))}
        return History(
            msgspec.structs.replace(op, invoked=places[0, number], returned=places.get((1, number)))
            for number, op in enumerate(operations)
        )


def require_history(history: object) -> None:
    """Raises `HistoryError` for what is no history."""
    if not isinstance(history, History):
        raise HistoryError(
            f"expected a History, such as History.from_events(events) makes, this is of the type {type(history).__name__}"
        )


_TYPE_CODES = {OK: OK_CODE, FAIL: FAIL_CODE, INFO: INFO_CODE}
_TYPE_NAMES = (OK, FAIL, INFO)
_FIELDS = Row.__struct_fields__
BLOCK = 4096
"""How many operations are made at once where all are walked through."""


def operation_of(row: Row, columns: Columns) -> Op:
    """The operation that a row of columns stands for."""
    values = columns.values
    return Op(
        process=row.process,
        f=columns.names[row.f],
        key=values.frozen(row.key),
        value=values[row.value],
        type=_TYPE_NAMES[row.type],
        result=values[row.result],
        error=values[row.error],
        invoked=row.invoked,
        returned=None if row.returned == NEVER else row.returned,
        invoke_index=_known(row.invoke_index),
        return_index=_known(row.return_index),
        invoke_time=_known(row.invoke_time),
        return_time=_known(row.return_time),
        node=values[row.node],
        op=values[row.op],
        workload=values[row.workload] or "",
        line=_known(row.line),
    )


def _known(number: int) -> int | None:
    return None if number == UNKNOWN else number


def _row_of(op: Op, builder: ColumnsBuilder) -> tuple[int, ...]:
    """The numbers of an operation; of one that does not fit (`_fits`) what is nearest to them."""
    code = builder.values.code
    process = op.process if _is_whole(op.process) else -2 - code(op.process)
    numbers = (op.invoke_index, op.return_index, op.invoke_time, op.return_time, op.line)
    invoke_index, return_index, invoke_time, return_time, line = (_nearest(number) for number in numbers)
    return (
        int(process),
        builder.name(op.f),
        code(thaw(op.key)),  # else a later value that equals it would come back as frozen as keys are
        code(op.value),
        code(op.result),
        code(op.error),
        _TYPE_CODES[op.type],
        op.invoked,
        NEVER if op.returned is None else op.returned,
        invoke_index,
        return_index,
        invoke_time,
        return_time,
        line,
        code(op.node),
        code(op.op),
        code(op.workload or None),
    )


def _fits(op: Op) -> bool:
    """Whether columns hold the operation exactly."""
    numbers = (op.invoke_index, op.return_index, op.invoke_time, op.return_time, op.line)
    return _is_whole(op.process) and all(
        number is None or (_is_whole(number) and number != UNKNOWN) for number in numbers
    )


def _is_whole(number: Any) -> bool:
    return type(number) is int and -NEVER < number < NEVER


def _nearest(number: Any) -> int:
    """The whole number nearest to an index or a time, UNKNOWN if there is none that an int64 can hold."""
    if number is None or not -NEVER < number < NEVER:
        return UNKNOWN
    return int(number)


def _operation(process: int, start: _Open, position: int | None, kind: str, end: Mapping[str, Any]) -> Op:
    """Makes an operation of an invocation and its completion (empty when it never came)."""
    asked = start.event
    return Op(
        process=process,
        f=asked["f"],
        key=freeze(asked.get("key")),
        value=asked.get("value"),
        type=kind,
        result=end.get("value") if kind == OK else None,
        error=end.get("error"),
        invoked=start.position,
        returned=None if kind == INFO else position,
        invoke_index=asked.get("i", asked.get("index")),
        return_index=end.get("i", end.get("index")),
        invoke_time=asked.get("t", asked.get("time")),
        return_time=end.get("t", end.get("time")),
        node=end.get("node", asked.get("node")),
        op=asked.get("op"),
        workload=str(asked.get("workload") or ""),
        line=start.line,
    )


def _short(value: Any) -> str:
    """A value as it appears in an error: never longer than the error itself."""
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _at(line: int | None) -> str:
    return "" if line is None else f" (line {line})"
