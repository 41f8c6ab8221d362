"""Each kind of anomaly, planted into a serial execution, is named, and nothing else is."""

from __future__ import annotations

from random import Random

import pytest
import stores
from stores import at_once, registers, serial

from checker import Budget, History, check, make_model
from checker.history import Op

# What is planted uses keys x, y, z; kinds are those that the issue and Elle name.
APPENDS = {
    "internal": at_once("ax1 rx1 rx"),
    "G1a": serial("!ax1", "rx1"),
    "G1b": at_once("ax1 ax2", "rx1", "rx12"),
    "dirty-update": serial("!ax1", "ax2", "rx12"),
    "lost-update": at_once("rx ax1", "rx ax2"),
    "duplicate-elements": at_once("ax1", "rx11"),
    "incompatible-order": at_once("ax1", "ax2", "rx12", "rx21"),
    "garbage-read": at_once("rx7"),
    "future-read": at_once("rx1 ax1"),
    "G0": at_once("ax1 ay1", "ax2 ay2", "rx12", "ry21"),
    "G1c": at_once("ax1 ry1", "ay1 rx1"),
    "G-single": at_once("ax1 ay1", "rx1 ry"),
    "G-nonadjacent": at_once("ax1", "rx1 ry", "ay1", "ry1 rx"),
    "G2-item": at_once("rx ay1", "ry ax1"),
    "G0-realtime": serial("ax1", "ax2", "rx21"),
    "G1c-realtime": serial("rx1", "ax1"),
    "G-single-realtime": serial("ax1", "rx"),
}
ALSO = {
    # What an anomaly brings with it of itself.
    "G1b": {"G-single"},  # the reader comes before the second append, and after the first one
    "internal": set(),
    "dirty-update": {"G1a"},
    "lost-update": {"G2-item"},
    "G0": {"G-single"},
    "future-read": set(),
}


def kinds(history: History, **options: str) -> set[str]:
    return set(check(history, make_model("list-append", **options)).anomalies)


@pytest.mark.parametrize("kind", APPENDS)
def test_each_kind_is_named_and_nothing_else(kind: str) -> None:
    assert kinds(APPENDS[kind]) - ALSO.get(kind, set()) == {kind}


@pytest.mark.parametrize("kind", APPENDS)
@pytest.mark.parametrize("seed", range(3))
def test_each_kind_is_found_among_others_that_are_right(kind: str, seed: int) -> None:
    """The planted transactions run in the middle of a strictly serializable history of other keys."""
    around = stores.run(Random(seed), "strict", transactions=60, clients=5)
    middle = max(op.returned or 0 for op in around.operations) // 2
    planted = APPENDS[kind]
    width = 2 * len(planted)
    moved = [_moved(op, middle, width) for op in around.operations]
    inside = [_shifted(op, middle + 1) for op in planted.operations]
    assert kinds(History([*moved, *inside])) == kinds(planted)


def _moved(op: Op, middle: int, width: int) -> Op:
    """Places after the middle make room."""
    places = [place if place is None or place <= middle else place + width for place in (op.invoked, op.returned)]
    assert places[0] is not None
    return stores.op(op.result or op.value, places[0], places[1], op.type, int(op.process))


def _shifted(op: Op, by: int) -> Op:
    answered = op.result if op.result is not None else op.value
    returned = None if op.returned is None else op.returned + by
    return stores.op(answered, op.invoked + by, returned, op.type, 5_000 + op.invoked)


def test_an_append_that_stands_before_an_earlier_one_of_its_transaction_is_a_cycle_of_writes() -> None:
    assert kinds(at_once("ax1 ax2", "rx21")) == {"G0", "G1b"}


def test_a_process_that_goes_back_in_time_is_a_cycle_of_its_process() -> None:
    """T1 < T2 by process, and T2 did not see what T1 saw: the same at two processes would only break real time."""
    one = History(
        [
            stores.op(stores.steps("ax1"), 0, 1, process=0),
            stores.op(stores.steps("rx1"), 2, 3, process=1),
            stores.op(stores.steps("rx"), 4, 5, process=1),
        ]
    )
    assert kinds(one) == {"G-single-process"}
    two = History([stores.op(op.result, op.invoked, op.returned) for op in one.operations])
    assert kinds(two) == {"G-single-realtime"}


def test_what_an_unanswered_transaction_appended_is_committed_once_it_was_read() -> None:
    assert kinds(at_once("?ax1 ay1", "rx1 ry")) == {"G-single"}
    assert kinds(at_once("?ax1 ay1", "rx ry")) == set()


def test_kinds_of_real_time_are_found_beside_write_skew() -> None:
    """Write skew closes cycles that strong snapshot isolation allows; the stale read elsewhere it does not."""
    skew = at_once("rx ay1", "ry ax1")
    stale = [_shifted(op, 10) for op in serial("az1", "rz").operations]
    both = History([*skew.operations, *stale])
    assert kinds(both) == {"G2-item", "G-single-realtime"}
    verdict = check(both, make_model("list-append", consistency="strong-snapshot-isolation"))
    assert verdict.verdict == "invalid"
    assert check(skew, make_model("list-append", consistency="strong-snapshot-isolation")).verdict == "valid"


def test_a_value_appended_twice_makes_the_verdict_unknown_and_names_it() -> None:
    verdict = check(at_once("ax1", "ax1", "rx1"), make_model("list-append"))
    assert verdict.verdict == "unknown"
    assert '1 was appended to key "x" twice' in verdict.reason
    tried_again = check(serial("!ax1", "ax1", "rx1"), make_model("list-append"))
    assert tried_again.verdict == "valid"


REGISTERS = {
    "internal": at_once("wx1 rx2", "wx2", read=registers),
    "G1a": serial("!wx1", "rx1", read=registers),
    "G1b": at_once("wx1 wx2", "rx1", read=registers),
    "lost-update": at_once("rx wx1", "rx wx2", read=registers),
    "garbage-read": at_once("rx7", read=registers),
    "future-read": at_once("rx1 wx1", read=registers),
    "cyclic-versions": at_once("rx1 wx2", "rx2 wx1", read=registers),
    "G1c": at_once("wx1 ry1", "wy1 rx1", read=registers),
    "G-single": at_once("wx1 wy1", "rx1 ry", read=registers),
    "G2-item": at_once("rx wy1", "ry wx1", read=registers),
    "G-single-realtime": serial("wx1", "rx", read=registers),
}


@pytest.mark.parametrize("kind", REGISTERS)
def test_each_kind_of_registers_is_named(kind: str) -> None:
    also = {"G1b": {"G-single"}, "lost-update": {"G2-item"}, "cyclic-versions": {"G1c"}, "internal": set()}
    verdict = check(REGISTERS[kind], make_model("rw-register"))
    assert set(verdict.anomalies) - also.get(kind, set()) == {kind}
    assert verdict.verdict == "invalid"


def test_the_order_of_writes_that_nobody_read_is_told_by_real_time_only_where_keys_are_linearizable() -> None:
    history = serial("wx1", "wx2", "rx1", read=registers)
    assert check(history, make_model("rw-register")).verdict == "valid"
    verdict = check(history, make_model("rw-register", linearizable_keys=True))
    assert verdict.verdict == "invalid"
    assert set(verdict.anomalies) == {"cyclic-versions"}


def test_what_was_proved_before_the_budget_ended_stays_proved() -> None:
    """Unknown never hides an invalid: a read inside a transaction is found wrong before there is a graph."""
    right = stores.run(Random(1), "strict", 400)
    wrong = History([*right.operations, stores.op(stores.steps("az1 rz1 rz"), 100_000, 100_001)])
    words = set()
    for steps in range(1_200, 1_320, 10):
        one, other = (check(each, make_model("list-append"), Budget(steps=steps)) for each in (right, wrong))
        words.add((one.verdict, other.verdict))
        assert other.anomalies.keys() <= {"internal"}
    assert ("unknown", "invalid") in words
    assert words <= {("unknown", "unknown"), ("unknown", "invalid"), ("valid", "invalid")}


def test_a_budget_that_ends_leaves_the_verdict_unknown_with_its_reason() -> None:
    history = stores.run(Random(1), "strict", 200)
    for budget in (Budget(steps=10), Budget(bytes=1_000)):
        verdict = check(history, make_model("list-append"), budget)
        assert verdict.verdict == "unknown"
        assert verdict.reason.startswith(("the budget of 10 steps", "the search would hold more than the 1,000 bytes"))
