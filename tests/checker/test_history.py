"""Histories: what is refused, how events pair, in which order they stand, and that a recorder's lines survive."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from checker.history import History, HistoryError, Op, freeze
from checker.recorder import HistoryWriter


def event(kind: str, process: Any = 0, f: str = "write", value: Any = 1, **more: Any) -> dict[str, Any]:
    return {"type": kind, "process": process, "f": f, "value": value, **more}


@pytest.mark.parametrize(
    "events,line,sentence",
    [
        ([event("invoke"), event("invoke")], 2, r"process 0 invokes write while its write \(line 1\) is still open"),
        ([event("ok")], 1, "ok of process 0 completes nothing: expected an invoke"),
        ([event("invoke"), event("ok"), event("ok")], 3, "ok of process 0 completes nothing"),
        ([event("started")], 1, "unknown type 'started', expected one of invoke, ok, fail, info"),
        ([event("invoke"), event("info"), event("invoke")], 3, "used again after one of its operations ended as info"),
        ([event("invoke"), event("ok", f="read")], 2, r"process 0 invoked write \(line 1\), but this completes 'read'"),
        ([event("invoke", process=None)], 1, 'an event needs a "process"'),
        ([event("invoke", process="3")], 1, "a number, or \"nemesis\"\\), this one has '3'"),
        ([event("invoke", process=True)], 1, "this one has True"),
        ([event("invoke", f=None)], 1, 'an event needs an "f"'),
        ([event("invoke", i=4), event("ok", i=4)], 2, "index 4 after 4"),
        ([event("invoke", i="x")], 1, "the index of an event must be a whole number"),
        ([event("invoke", t="noon")], 1, "the time of an event must be a number of nanoseconds, this is 'noon'"),
        ([event("invoke"), event("ok", time=True)], 2, "the time of an event must be a number"),
        (["write"], 1, "an event must be a map"),
    ],
)
def test_what_is_not_well_formed_is_refused_with_its_line(events: list[Any], line: int, sentence: str) -> None:
    """Issue: "two open operations of one process, a completion without an invocation, an unknown type: line number and what was expected"."""
    with pytest.raises(HistoryError, match=sentence) as refused:
        History.from_events(events)
    assert refused.value.line == line
    assert str(refused.value).startswith(f"line {line}: ")


def test_events_of_the_nemesis_are_passed_over() -> None:
    history = History.from_events([event("info", process="nemesis", f="partition"), event("invoke"), event("ok")])
    assert [op.f for op in history] == ["write"]


def test_an_invocation_without_completion_never_returned() -> None:
    """checker.md: "an invoke without a completion is info"."""
    history = History.from_events([event("invoke", process=3), event("invoke", process=4), event("info", process=4)])
    assert [(op.process, op.type, op.returned) for op in history] == [(3, "info", None), (4, "info", None)]


def test_an_operation_keeps_what_was_asked_and_what_came_back() -> None:
    history = History.from_events(
        [event("invoke", 1, "read", None, i=7, t=100, key="k"), event("ok", 1, "read", 5, i=9, t=250, node="n2")]
    )
    assert history.operations[0].as_dict() == {
        "process": 1,
        "f": "read",
        "key": "k",
        "value": None,
        "type": "ok",
        "result": 5,
        "error": None,
        "invoke_index": 7,
        "return_index": 9,
        "invoke_time": 100,
        "return_time": 250,
        "node": "n2",
        "op": None,
    }


def test_at_equal_times_invocations_come_before_returns() -> None:
    """checker.md: "Intervals are closed: a return and an invoke at the same stamp are concurrent"."""
    first = Op(process=0, f="write", value=1, type="ok", invoked=0, invoke_time=0, return_time=5)
    second = Op(process=1, f="read", type="ok", result=None, invoked=0, invoke_time=5, return_time=9)
    one, two = History.from_intervals([first, second]).operations
    assert two.invoked < (one.returned or 0)


def test_the_order_is_that_of_the_events_whatever_their_times_say() -> None:
    history = History.from_events(
        [event("invoke", t=50), event("ok", t=60), event("invoke", 1, t=10), event("ok", 1, t=20)]
    )
    first, second = history.operations
    assert (first.returned or 0) < second.invoked


@pytest.mark.parametrize("a,b", [(6, "6"), (1, True), (0, False), ([1], [[1]]), (None, "nil"), ({"a": 1}, {"a": "1"})])
def test_values_of_different_types_differ(a: Any, b: Any) -> None:
    """checker.md: "Types: never coerce silently"."""
    assert freeze(a) != freeze(b)


def test_equal_values_freeze_alike() -> None:
    assert freeze({"b": [1, {"c": None}], "a": 2}) == freeze({"a": 2, "b": (1, {"c": None})})


def test_each_event_is_on_disk_when_it_was_recorded(tmp_path: Path) -> None:
    """Issue, part 6: "flushed line by line; survives kill -9 of the harness"."""
    path = tmp_path / "history.jsonl"
    writer = HistoryWriter(path)
    assert writer.append(event("invoke", t=1)) == {"i": 0, **event("invoke", t=1)}
    assert len(path.read_text().splitlines()) == 1
    writer.append(event("ok", t=2))
    assert [line.split(",")[0] for line in path.read_text().splitlines()] == ['{"i":0', '{"i":1']
    assert path.read_text().endswith("\n")
    writer.close()


def test_the_recorder_refuses_what_is_not_well_formed_and_writes_nothing_of_it(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    writer = HistoryWriter(path)
    writer.append(event("invoke"))
    with pytest.raises(HistoryError, match="still open"):
        writer.append(event("invoke"))
    writer.append(event("ok"))
    writer.close()
    assert [op.type for op in History.from_events(_lines(path))] == ["ok"]


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
