"""Compiled loops and plain ones give the same verdicts, and a build leaves nothing to compile."""

from __future__ import annotations

from random import Random
from typing import Any

import stores

from checker import History, check, make_model
from checker.transactions import build, compiled
from checker.transactions.loops import compiling_from

LEVELS = ("strict", "stale", "snapshot", "committed")


def _counts(history: History) -> dict[str, int]:
    verdict = check(history, make_model("list-append"))
    return {kind: row["count"] for kind, row in verdict.anomalies.items()} | {verdict.verdict: 1}


def _histories() -> list[History]:
    random = Random(7)
    return [stores.run(random, level, 40, unanswered=0.1) for level in LEVELS for _ in range(12)]


def test_compiled_loops_find_what_plain_ones_find() -> None:
    with compiling_from(1 << 62):
        plain = [_counts(history) for history in _histories()]
    with compiling_from(0):
        assert [_counts(history) for history in _histories()] == plain
    assert {kind for counts in plain for kind in counts} >= {"valid", "invalid", "G-single", "G2-item"}


def test_histories_of_columns_are_judged_as_those_of_operations() -> None:
    """A loaded history is columns, one that was made by hand a list of operations."""
    for history in _histories():
        loaded = History.of_columns(history.columns)
        assert check(loaded, make_model("list-append")).anomalies == check(history, make_model("list-append")).anomalies
        as_registers = _as_registers(history)
        one, other = History.of_columns(as_registers.columns), as_registers
        assert check(one, make_model("rw-register")).anomalies == check(other, make_model("rw-register")).anomalies


def test_what_a_build_compiles_is_all_that_checks_need() -> None:
    """Each loop is called with columns of one set of types: others would be compiled in silence, in the middle of a check."""
    build.build()
    with compiling_from(0):
        for history in _histories():
            check(history, make_model("list-append"))
            check(_as_registers(history), make_model("rw-register"))
    loops: dict[str, Any] = compiled.LOOPS
    assert {name: len(loop.signatures) for name, loop in loops.items()} == dict.fromkeys(loops, 1)


def _as_registers(history: History) -> History:
    """The same transactions, with the last element of a list for its value."""
    operations = []
    for op in history.operations:
        steps = [
            ["w", key, value] if function == "append" else ["r", key, value[-1] if value else None]
            for function, key, value in op.result or [step for step in op.value if step[0] == "append"]
        ]
        operations.append(stores.op(steps, op.invoked, op.returned, op.type, int(op.process)))
    return History(operations)
