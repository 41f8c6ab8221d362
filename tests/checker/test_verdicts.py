"""Verdicts: each history of the folder `histories` has its verdict, core and sentence; keys, budgets and memory are kept."""

from __future__ import annotations

import json
import time
import tracemalloc
from pathlib import Path
from random import Random
from typing import Any

import pytest
import referee
import simulate

from checker import Budget, History, Op, Verdict, check, make_model
from checker.check import witness
from checker.models.base import Model, State

HISTORIES = sorted((Path(__file__).parent / "histories").glob("*.jsonl"))


def verdict_of(path: Path) -> tuple[dict[str, Any], Verdict]:
    """What the first line of a file expects, and what comes out."""
    expected, *lines = path.read_text().splitlines()
    given = json.loads(expected)
    return given, check(History.from_events(json.loads(line) for line in lines), make_model(given["model"]))


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
def test_each_history_has_its_verdict_with_core_and_sentence(path: Path, *, rewrite: bool) -> None:
    given, verdict = verdict_of(path)
    found = {
        "verdict": verdict.verdict,
        "model": given["model"],
        "explanation": verdict.explanation,
        "core": [op["invoke_index"] for op in verdict.core],
    }
    if rewrite:
        path.write_text("\n".join([json.dumps(found), *path.read_text().splitlines()[1:]]) + "\n")
    assert found == given


class Digest(Model):
    """A number that each mix changes in a way that depends on all mixes before: k concurrent mixes have k! outcomes."""

    name = "digest"
    functions = frozenset({"mix", "read"})
    init = 1

    def step(self, state: State, op: Op) -> State | None:
        assert isinstance(state, int)
        if op.f == "mix":
            return (state * 31 + int(op.value)) % ((1 << 61) - 1)
        return state if op.result == state else None


def hard(key: str = "hard") -> History:
    """Fourteen concurrent mixes and a read that fits none of their 87,178,291,200 orders."""
    mixes = [Op(process=n, key=key, f="mix", value=n, type="ok", invoked=n, returned=50 + n) for n in range(14)]
    read = Op(process=20, key=key, f="read", type="ok", result=-1, invoked=90, returned=91)
    return History([*mixes, read])


def test_invalid_beats_unknown_beats_valid_over_keys() -> None:
    """DESIGN: "Invalid beats unknown beats valid"; issue: "unknown never hides an invalid elsewhere"."""
    tight = Budget(steps=2_000, seconds=None)
    undecided = list(hard())
    fine = [Op(process=1, f="mix", key="fine", value=1, type="ok", invoked=0, returned=1)]
    stale = Op(process=2, f="read", key="stale", type="ok", result=9, invoked=2, returned=3)
    model = Digest()
    assert check(History(fine), model, tight).verdict == "valid"
    unknown = check(History([*undecided, *fine]), model, tight)
    assert unknown.verdict == "unknown"
    assert {row["key"]: row["verdict"] for row in unknown.per_key} == {"hard": "unknown", "fine": "valid"}
    assert unknown.reason.startswith('key "hard", 15 operations: the budget of 2,000 steps was used up by the way')
    invalid = check(History([*undecided, *fine, stale]), model, tight)
    assert (invalid.verdict, invalid.key) == ("invalid", "stale")


def test_each_key_is_checked_by_itself_and_nested_keys_are_keys() -> None:
    """Locality (Herlihy & Wing, theorem 1): what one object holds says nothing about another one."""
    events: list[dict[str, Any]] = []
    for process, key in enumerate([None, 1, "1", True, [1, [2, None]], [1, [2]], {"a": [1]}]):
        events += [
            {"type": kind, "process": process, "f": "write", "key": key, "value": process} for kind in ("invoke", "ok")
        ]
        events.append({"type": "invoke", "process": process, "f": "read", "key": key})
        events.append({"type": "ok", "process": process, "f": "read", "key": key, "value": process})
    verdict = check(History.from_events(events), make_model("register"))
    assert verdict.verdict == "valid"
    assert len(verdict.per_key) == 7
    events[-1]["value"] = 0
    verdict = check(History.from_events(events), make_model("register"))
    assert verdict.verdict == "invalid"
    assert [row["verdict"] for row in verdict.per_key].count("invalid") == 1
    assert json.loads(json.dumps(verdict.as_dict()))["core"]


def test_several_broken_keys_are_told_by_the_one_that_broke_first() -> None:
    reads = [
        Op(process=key, f="read", key=key, type="ok", result=1, invoked=place, returned=place + 1)
        for key, place in ((5, 4), (6, 2), (7, 8))
    ]
    verdict = check(History(reads), make_model("register"))
    assert verdict.key == 6
    assert "3 keys are not linearizable; this is the one that broke first" in verdict.explanation


def test_the_same_steps_give_the_same_verdict() -> None:
    """DESIGN: "budget in steps (deterministic)"."""
    verdicts = [check(hard(), Digest(), Budget(steps=3_000, seconds=None)) for _ in range(2)]
    assert [each.verdict for each in verdicts] == ["unknown", "unknown"]
    assert verdicts[0].reason == verdicts[1].reason
    assert "the budget of 3,000 steps was used up by the way" in verdicts[0].reason


def test_seconds_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds of this process, so that a busy machine does not count."""
    monkeypatch.setattr(time, "monotonic", time.process_time)
    verdict = check(hard(), Digest(), Budget(seconds=0.5))
    assert verdict.verdict == "unknown"
    assert "0.5 seconds was used up by the way" in verdict.reason
    assert "which got to event" in verdict.reason
    assert verdict.seconds < 1.0


@pytest.mark.slow
def test_bytes_are_kept() -> None:
    """Issue 3: "never out of memory": what is held stays below the budget, and the reason says so."""
    budget = 8_000_000
    history = hard()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        verdict = check(history, Digest(), Budget(seconds=60, bytes=budget))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert verdict.verdict == "unknown"
    assert "8,000,000 bytes" in verdict.reason
    assert peak - before < budget


def test_a_witness_is_an_order_of_each_key() -> None:
    history = simulate.register_history(Random(3), operations=60, clients=4, unanswered=0.1, keys=3)
    orders = witness(history, make_model("register"))
    assert orders is not None
    assert set(orders) == {"k0", "k1", "k2"}
    for key, order in orders.items():
        assert referee.replay(make_model("register"), [op for op in history if op.key == key], order) == ""
