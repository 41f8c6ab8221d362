"""The reasons that are found on arrays are those that are found on all operations, one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import msgspec
import pytest
import simulate

from checker import History, Verdict, check
from checker.history import FAIL, OK, HistoryBuilder
from checker.models.base import Model
from checker.models.registers import Register
from checker.reasons import columnar, explain, phrases


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
