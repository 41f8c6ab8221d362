"""Whatever an explanation claims of two transactions is so: each step of each cycle is looked up in what they read and wrote."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import networkx as nx
import pytest
import stores
from stores import at_once, registers, serial

from checker import History, check, make_model
from checker.budget import Budget, Meter
from checker.history import Op
from checker.models.transactions import Dependencies
from checker.transactions import kernels, reasons
from checker.transactions.cycles import name_of
from checker.transactions.judge import Analysis, analyse_appends


def _steps(op: Op, function: str) -> list[list[Any]]:
    return [each for each in op.result or op.value if each[0] == function]


def _reads(history: History, key: object) -> list[list[int]]:
    return [value for op in history.operations if op.result for _, name, value in _steps(op, "r") if name == key]


def _is_so(kind: int, one: Op, other: Op, history: History) -> bool:
    """Whether the first transaction precedes the second one by an edge of this kind, by the definition."""
    if kind == kernels.REALTIME:
        return one.returned is not None and one.returned < other.invoked
    if kind == kernels.PROCESS:
        return one.process == other.process and one.invoked < other.invoked
    if kind == kernels.WR:
        written = {(key, value) for _, key, value in _steps(one, "append")}
        return any(value and (key, value[-1]) in written for _, key, value in _steps(other, "r"))
    for _, key, value in _steps(other, "append"):
        unread = all(value not in read for read in _reads(history, key))
        longest = max(_reads(history, key), key=len, default=[])
        if kind == kernels.RW:
            for _, name, read in _steps(one, "r"):
                behind = read == longest if unread else value in longest and read == longest[: longest.index(value)]
                # What a transaction appends in a row is one step, so what it read may end before the first of it.
                own = [each for _, named, each in _steps(other, "append") if named == key]
                if name == key and (
                    behind or (value in longest and set(longest[len(read) : longest.index(value)]) <= set(own))
                ):
                    return True
        else:
            for _, name, earlier in _steps(one, "append"):
                before = earlier in longest and (
                    unread or (value in longest and longest.index(earlier) < longest.index(value))
                )
                if name == key and before:
                    return True
    return False


@pytest.mark.parametrize("level", ["stale", "snapshot", "committed"])
def test_each_step_of_each_cycle_is_so_and_the_last_one_closes_it(level: str) -> None:
    random = Random(level)
    shown = 0
    for _ in range(60):
        history = stores.run(random, level, transactions=30, clients=5)
        analysis: Analysis = analyse_appends(history, Meter(Budget()))
        for kind, cycle in analysis.cycles.shortest.items():
            shown += 1
            assert name_of(cycle.steps) == kind
            for step, following in zip(cycle.steps, [*cycle.steps[1:], cycle.steps[0]], strict=True):
                assert step.target == following.source
                assert _is_so(step.kind, history.operations[step.source], history.operations[step.target], history)
            text = reasons.told(cycle, analysis.findings)
            assert text.count("because") == len(cycle.steps)
            assert text.endswith(": a contradiction!")
    assert shown > 20


def test_the_cycle_is_told_as_elle_does() -> None:
    verdict = check(at_once("ax1 ay1", "rx1 ry"), make_model("list-append"))
    left = "strong-read-committed, parallel-snapshot-isolation, prefix, monotonic-snapshot-read, monotonic-view, cursor-stability"
    assert verdict.explanation.splitlines() == [
        f"Not strict-serializable: G-single (1); it may still be {left}.",
        "G-single:",
        "Let:",
        "  T1 = [append 1 to x, append 1 to y] (process 1000, invoked at event 0)",
        "  T2 = [read x as [1], read y as []] (process 1001, invoked at event 1)",
        "Then:",
        '  - T1 < T2, because T2 observed 1, which T1 appended to key "x".',
        '  - However, T2 < T1, because T2 did not observe 1, which T1 appended to key "y": a contradiction!',
    ]
    assert verdict.way == "dependency graph"
    assert [op["process"] for op in verdict.core] == [1000, 1001]
    row = verdict.anomalies["G-single"]
    assert (row["count"], row["forbidden"]) == (1, True)
    assert [(step["from"], step["kind"], step["to"]) for step in row["cycle"]] == [
        ("T1", "wr", "T2"),
        ("T2", "rw", "T1"),
    ]
    json.dumps(verdict.as_dict())


def test_registers_and_real_time_are_told_alike() -> None:
    verdict = check(serial("wx1", "rx", read=registers), make_model("rw-register"))
    assert '  - T1 < T2, because T1 did not observe 1, which T2 wrote to key "x".' in verdict.explanation
    assert (
        "However, T2 < T1, because T2 returned at event 1, before T1 was invoked at event 2: a contradiction!"
        in verdict.explanation
    )
    skew = check(at_once("rx wy1", "ry wx1", "rx1 wx2", read=registers), make_model("rw-register"))
    assert set(skew.anomalies) == {"G2-item"}


def test_a_cycle_can_be_drawn() -> None:
    model = make_model("list-append")
    assert isinstance(model, Dependencies)
    graph = model.drawn(at_once("ax1 ay1", "rx1 ry"))
    assert isinstance(graph, nx.DiGraph)
    assert sorted(kind for _, _, kind in graph.edges(data="kind")) == ["rw", "wr"]
    assert list(nx.simple_cycles(graph)) == [[0, 1]]
    assert model.drawn(serial("ax1", "rx1")) is None


def test_a_valid_history_with_allowed_anomalies_says_so() -> None:
    verdict = check(at_once("rx ay1", "ry ax1"), make_model("list-append", consistency="snapshot-isolation"))
    assert verdict.verdict == "valid"
    assert verdict.explanation == "snapshot-isolation may hold; there are anomalies that it allows: G2-item (1)"
    assert verdict.consistency["not"] == ["repeatable-read"]
