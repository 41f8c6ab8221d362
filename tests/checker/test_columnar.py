"""The reasons that are found on arrays are those that are found on all operations, one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import msgspec
import pytest
import simulate

from checker import History, Verdict, check, promises, selections
from checker.history import FAIL, OK, HistoryBuilder
from checker.models.base import Model
from checker.models.registers import Register
from checker.reasons import columnar, explain, phrases
from checker.sessions import columnar as sessions


def faulty(draw: Random, operations: int) -> History | None:
    """A history of unique values in which one answer is wrong: stale, from the future, from nowhere, or of a failed cas."""
    clients, unanswered = draw.choice([2, 5, 10]), draw.choice([0.0, 0.02, 0.2])
    history = simulate.register_history(draw, operations=operations, clients=clients, unanswered=unanswered)
    kind = draw.randrange(3)
    if kind == 0:
        return simulate.stale_read(draw, history)
    ops = list(history.operations)
    wrong = draw.choice([number for number, op in enumerate(ops) if op.f == "read" and op.type == OK])
    if kind == 1:
        failed = [op.value[1] for op in ops if op.f == "cas" and op.type == FAIL]
        result = draw.choice([*failed, None, "1", 10**6])
    else:
        result = draw.choice([op.value if op.f == "write" else op.value[1] for op in ops if op.f != "read"])
    ops[wrong] = msgspec.structs.replace(ops[wrong], result=result)
    return History(ops)


def in_columns(history: History) -> History:
    """The same history as a loader makes it."""
    builder = HistoryBuilder()
    for op in history:
        builder.add(op)
    return builder.finish()


def histories(seeds: range) -> Iterator[History]:
    for seed in seeds:
        draw = Random(seed)
        history = faulty(draw, draw.randrange(50, 400))
        if history is not None:
            yield in_columns(history) if draw.random() < 0.5 else history


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Counter[bool]]:
    """A check by arrays or by operations, and how often arrays sufficed."""
    used: Counter[bool] = Counter()
    telling = explain._explain_quickly

    outcome: list[bool] = []

    def noted(*arguments: Any) -> bool:
        outcome.append(telling(*arguments))
        used[outcome[-1]] += 1
        return outcome[-1]

    monkeypatch.setattr(explain, "_explain_quickly", noted)

    def judged(history: History, model: Model, *, arrays: bool) -> Verdict:
        monkeypatch.setattr(explain, "_columnar", lambda *_: columnar if arrays else None)
        return check(history, model)

    return judged, used


def test_arrays_and_operations_give_the_same_reasons(ways: tuple[Any, Counter[bool]]) -> None:
    """First impossible event, sentence, possible states and core of histories of 50 to 400 operations."""
    judged, used = ways
    kinds: Counter[int] = Counter()
    for history in histories(range(150)):
        quick, slow = (judged(history, Register(), arrays=arrays) for arrays in (True, False))
        assert quick.verdict == slow.verdict
        if quick.verdict != "invalid":
            continue
        assert not quick.warnings
        for field in (
            "first_impossible",
            "explanation",
            "possible_states",
            "possible_states_complete",
            "core",
            "core_from",
        ):
            assert getattr(quick, field) == getattr(slow, field), (field, list(history))
        kinds[len(quick.core)] += 1
    assert used[True] > 75
    assert {1, 2, 3, 4} <= set(kinds)


def test_the_prefix_ends_in_an_order_that_can_be_replayed(ways: tuple[Any, Counter[bool]]) -> None:
    """Of long prefixes only the end is shown, from the state that the operations before it left."""
    judged, used = ways
    model = Register()
    for history in histories(range(400, 450)):
        verdict = judged(history, model, arrays=True)
        if verdict.verdict != "invalid":
            continue
        assert len(verdict.prefix) == min(verdict.prefix_length, 200)
        value = None
        for place, step in enumerate(verdict.prefix):
            op = step["op"]
            if op["f"] == "read":
                assert phrases.value(op["result"]) == step["state"]
            elif op["type"] != FAIL:
                assert phrases.value(op["value"] if op["f"] == "write" else op["value"][1]) == step["state"]
            if op["f"] == "cas" and op["type"] != FAIL and (place or verdict.prefix_length <= 200):
                assert phrases.value(op["value"][0]) == (value or "nil")
            value = step["state"]
    assert used[True] > 25


def faulty_often(draw: Random) -> History:
    """A history of unique values, with times, in which several reads return some other value."""
    operations = draw.randrange(5, 120)
    clients, unanswered = draw.choice([2, 4, 8]), draw.choice([0.0, 0.1])
    history = simulate.register_history(draw, operations=operations, clients=clients, unanswered=unanswered)
    ops = [simulate.stamped(op) for op in history]
    written = [op.value if op.f == "write" else op.value[1] for op in ops if op.f != "read"]
    reads = [number for number, op in enumerate(ops) if op.f == "read" and op.type == OK]
    for wrong in draw.sample(reads, min(len(reads), draw.randrange(4))):
        near = min(len(written), draw.choice([3, 200]))
        middle = len(written) * wrong // len(ops)
        choice = written[max(0, middle - near) : middle + near // 2 + 1]
        if choice:
            ops[wrong] = msgspec.structs.replace(ops[wrong], result=draw.choice(choice))
    return History(ops)


def test_promises_on_arrays_are_those_of_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guarantees with their reasons, how many reads were stale, and how stale the worst were."""
    holds: Counter[tuple[str, bool | None]] = Counter()
    stale = 0
    for seed in range(600):
        history = in_columns(faulty_often(Random(seed)))
        given = selections.Selected(history.columns, history.kept, None)
        quick = sessions.placed(Register(), given)
        with monkeypatch.context() as patched:
            patched.setattr(promises, "_on_arrays", lambda *_: None)
            slow = promises.placed(Register(), given)
        if quick is None:
            continue
        assert promises.Placed(*quick) == slow, seed
        holds.update((name, answer.holds) for name, answer in slow.guarantees.items())
        stale += slow.stale is not None and slow.stale.reads > 1
    assert holds["read your writes", True] > 200
    assert holds["read your writes", False] > 20
    assert holds["monotonic reads", False] > 20
    assert stale > 20
