"""Explanations of queues, stacks, sets, counters, locks and identifiers: what they say, and that their cores are impossible."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
import referee
import simulate

from checker import Budget, check
from checker.history import History, Op
from checker.models.catalog import make_model
from checker.reasons import phrases

_Told = tuple[str, list[tuple[str, Any, Any]], str]


@pytest.mark.parametrize(
    "told",
    [
        (
            "queue",
            [("enqueue", 4, None), ("dequeue", None, 4), ("dequeue", None, 4)],
            "Dequeue by process 2 returned 4 at 5.000 s, but 4 was put in once, and process 1 had taken it at 3.000 s.",
        ),
        (
            "queue",
            [("enqueue", 1, None), ("enqueue", 2, None), ("dequeue", None, 2)],
            (
                "Dequeue by process 2 returned 2 at 5.000 s, but enqueue 1 (process 0, completed at 1.000 s) came before enqueue 2 "
                "(process 1, invoked at 2.000 s), and when 2 was out (at 5.000 s) nobody had dequeued it."
            ),
        ),
        (
            "stack",
            [("push", 1, None), ("pop", None, None)],
            (
                "Pop by process 1 found nothing at 3.000 s, but at each moment something was certainly inside: 1 (put in by process 0, "
                "done at 1.000 s; never taken)."
            ),
        ),
        (
            "stack",
            [("push", "6", None), ("pop", None, 6)],
            'Pop by process 1 returned 6 at 3.000 s, but 6 was never put in; "6" is another value: values are never converted here',
        ),
        (
            "counter",
            [("add", 3, None), ("read", None, 7)],
            "Read by process 1 returned 7 at 3.000 s, but the sum could only be 3, and 7 was read.",
        ),
        (
            "set-full",
            [("add", 1, None), ("add", 2, None), ("read", None, []), ("read", None, [2])],
            (
                "it lacks 1, although add 1 (process 0, completed at 1.000 s) was acknowledged before it began; no later read holds it "
                "(1 lost and 1 stale in this read)."
            ),
        ),
        (
            "mutex",
            [("acquire", None, None), ("acquire", None, None)],
            "the lock was acquired 2 times after 0.000 s (by process 0, by process 1), and no release can lie between.",
        ),
        ("owner-lock", [("acquire", "a", None), ("release", "b", None)], '"b" did not hold the lock.'),
        (
            "fencing-lock",
            [("acquire", None, 5), ("release", None, None), ("acquire", None, 5)],
            "its token 5 is not greater than 5, which acquire (process 0, completed at 1.000 s) got before.",
        ),
        (
            "unique-ids",
            [("generate", None, "x"), ("generate", None, "x")],
            'generate (process 0, completed at 1.000 s) had been given "x" as well.',
        ),
    ],
)
def test_sentences(told: _Told) -> None:
    """The issue: "in one or two sentences an engineer would write by hand"."""
    name, shapes, sentence = told
    same = name == "fencing-lock"
    operations = [
        simulate.stamped(
            Op(
                process=0 if same else n,
                f=f,
                value=value,
                type="ok",
                result=result,
                invoked=2 * n,
                returned=2 * n + 1,
            )
        )
        for n, (f, value, result) in enumerate(shapes)
    ]
    verdict = check(History(operations), make_model(name))
    assert sentence in verdict.explanation
    assert verdict.warnings == []


def test_values_are_shown_as_people_write_them() -> None:
    """Maps by their keys, a lock by name, a transaction with what it read."""
    assert phrases.value({"a": 10, "1": [True, None]}) == '{"1": [true nil], a: 10}'
    assert phrases.value({2, 1}) == "#{1 2}"
    lock = make_model("mutex")
    open_release = Op(process=0, f="release", type="ok", invoked=0, returned=1)
    assert "leaves the lock free" in check(History([open_release]), lock).explanation
    txn = Op(process=0, f="txn", value=[["r", "x", None]], type="ok", result=[["r", "x", 7]], invoked=0, returned=1)
    assert 'Txn [["r" "x" 7]] by process 0' in check(History([txn]), make_model("txn")).explanation


@pytest.mark.parametrize(
    "name",
    ["queue", "stack", "grow-only-set", "counter", "mutex", "owner-lock", "reentrant-lock", "fencing-lock", "set"],
)
def test_cores_are_impossible_by_themselves(name: str) -> None:
    """The issue: "a set of operations that is itself impossible"; nothing goes wrong on the way (that would be a warning)."""
    model = make_model(name)
    shown = 0
    for seed in range(60):
        operations = [simulate.stamped(op) for op in simulate.small_history(Random(seed), model)]
        verdict = check(History(operations), model, Budget(seconds=None), workers=1)
        if verdict.verdict == "invalid":
            assert verdict.warnings == [], seed
            named = {row["invoke_index"]: row["taken_as"] for row in verdict.core}
            core = [op for op in operations if op.invoked in named]
            weak = [op if named[op.invoked] == op.type else _unanswered(op) for op in core]
            assert core, seed
            assert not referee.linearizable(model, weak), seed
            shown += 1
    assert shown > 10


@pytest.mark.parametrize("name", ["queue", "stack"])
def test_a_taking_that_finds_nothing_in_the_end_may_still_take_something_while_it_is_open(name: str) -> None:
    """Until its answer came, an open taking could have taken what others did not find: the first impossible event is one that
    no answer of what was open explains.
    """
    model = make_model(name)
    shown = 0
    for seed in range(300):
        operations = [simulate.stamped(op) for op in simulate.small_history(Random(seed), model, most=6)]
        verdict = check(History(operations), model, Budget(seconds=None), workers=1)
        if verdict.first_impossible is not None:
            returns = sorted(op.returned for op in operations if op.returned is not None)
            bad = next(end for end in returns if not referee.linearizable(model, _known_at(operations, end)))
            told = next(op for op in operations if op.invoke_index == verdict.first_impossible["invoke_index"])
            assert told.returned == bad, seed
            shown += 1
    assert shown > 40


def _known_at(operations: list[Op], end: int) -> list[Op]:
    """What had begun when the event at `end` happened, with the answers that had come by then; what fails in the end did nothing."""
    begun = [op for op in operations if op.invoked <= end]
    known = [op if (op.returned or end) <= end else _unanswered(op) for op in begun]
    return [op for op, whole in zip(known, begun, strict=True) if op is whole or whole.type != "fail"]


def _unanswered(op: Op) -> Op:
    return Op(process=op.process, f=op.f, value=op.value, invoked=op.invoked)
