"""Histories: what clients asked and were answered, paired, ordered and found well formed.

An event is a mapping as one line of `history.jsonl` holds it; an operation (`Op`) is an invocation with its completion.
Order is the order of the events, never that of their times: times of one recorder can be equal, times of several
machines can't be compared at all, and an interval that is too narrow accuses an innocent store. Opinions about what an
operation means do not live here (`models.py`), nor do files (`recorder.py`, `formats.py`).
"""

from __future__ import annotations

import enum
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

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


class Truth(enum.Enum):
    """Booleans as they appear in frozen values: in Python True equals 1, in a history it does not."""

    FALSE = "false"
    TRUE = "true"


def freeze(value: Any) -> Hashable:
    """A hashable twin of a JSON or EDN value, equal to another one if and only if the values are the same.

    Nothing is coerced: 6 and "6" differ, and so do true and 1. Lists become tuples, maps sorted tuples of pairs.
    """
    if value is True or value is False:
        return Truth.TRUE if value else Truth.FALSE
    if isinstance(value, list | tuple):
        return tuple(freeze(item) for item in value)
    if isinstance(value, Mapping):
        return ("map", tuple(sorted(((freeze(k), freeze(v)) for k, v in value.items()), key=repr)))
    if isinstance(value, set | frozenset):
        return ("set", tuple(sorted((freeze(item) for item in value), key=repr)))
    return value  # type: ignore[no-any-return]


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


class History:
    """A well-formed history: its operations in the order of their invocations, each with its place in the order of events."""

    def __init__(self, operations: Iterable[Op]) -> None:
        self.operations: list[Op] = sorted(operations, key=lambda op: op.invoked)
        self.warnings: list[str] = []

    def __len__(self) -> int:
        return len(self.operations)

    def __iter__(self) -> Iterator[Op]:
        return iter(self.operations)

    def of_workload(self, name: str) -> History:
        """The operations of one workload, in the places that they have among all."""
        part = History(op for op in self.operations if op.workload == name)
        part.warnings = self.warnings
        return part

    @staticmethod
    def from_events(events: Iterable[Mapping[str, Any]], lines: Iterable[int] | None = None) -> History:
        """Pairs events, given in the order in which they happened; `lines` are their places in a file, for errors.

        An invocation without a completion becomes `info`. Raises `HistoryError` on what is not well formed.
        """
        pairing = Pairing()
        numbers: Iterator[int | None] = iter(lines) if lines is not None else iter(range(1, 1 << 62))
        done = [
            op for event, line in zip(events, numbers, strict=False) if (op := pairing.take(event, line)) is not None
        ]
        return History(done + pairing.unfinished())

    @staticmethod
    def from_intervals(operations: Sequence[Op]) -> History:
        """Orders operations of which only times are known: `invoke_time`, and `return_time` (None: never returned).

        Intervals are closed, so at equal times invocations come before returns: an operation that returned in the very
        tick in which another one was invoked may have run beside it. The other order raises false alarms on coarse clocks.
        """
        moments = [((op.invoke_time or 0), 0, number) for number, op in enumerate(operations)]
        moments += [
            (op.return_time, 1, number)
            for number, op in enumerate(operations)
            if op.return_time is not None and op.type != INFO
        ]
        places = {(end, number): place for place, (_, end, number) in enumerate(sorted(moments))}
        return History(
            msgspec.structs.replace(op, invoked=places[0, number], returned=places.get((1, number)))
            for number, op in enumerate(operations)
        )


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
