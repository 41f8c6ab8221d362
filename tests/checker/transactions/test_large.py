"""Large histories: deep chains, components that are the whole history, a million reads of one key stay within time and memory."""

from __future__ import annotations

from random import Random

import stores

from checker import History, check, make_model
from checker.history import Op


def test_a_chain_as_long_as_the_history_is_no_recursion() -> None:
    """5,000 transactions, each of which depends on the one before it, and the first one on the last."""
    count = 5_000
    operations = []
    for place in range(count):
        before, key = (place - 1) % count, place
        steps = [["r", before, [1]], ["append", key, 1]]
        operations.append(stores.op(steps, place, count + place))
    verdict = check(History(operations), make_model("list-append"))
    assert verdict.verdict == "invalid"
    assert {kind: row["count"] for kind, row in verdict.anomalies.items()} == {"G1c": 1}
    assert len(verdict.core) == count
    assert len(verdict.explanation.splitlines()) < 50  # people are told of its beginning and its end


def test_one_component_that_is_the_whole_history_shows_a_short_cycle_of_each_kind() -> None:
    random = Random(3)
    history = stores.run(random, "committed", transactions=4_000, clients=40, keys=4)
    verdict = check(history, make_model("list-append"))
    assert verdict.verdict == "invalid"
    for row in verdict.anomalies.values():
        assert len(row.get("cycle", [])) <= 4


def test_many_reads_of_nothing_before_many_appends_that_nobody_read_take_linear_space() -> None:
    """All pairs would be 25 million edges."""
    operations: list[Op] = []
    for place in range(5_000):
        operations.append(stores.op([["r", "x", []]], place, 20_000 + place))
        operations.append(stores.op([["append", "x", place]], 5_000 + place, 30_000 + place))
    assert check(History(operations), make_model("list-append")).verdict == "valid"
    late = stores.op([["r", "x", []]], 50_000, 50_001)
    verdict = check(History([*operations, late]), make_model("list-append"))
    assert set(verdict.anomalies) == {"G-single-realtime"}
    assert len(verdict.core) == 2
