"""Minimal cores: each is impossible by itself and 1-minimal under the permitted steps, by brute force; those of long histories are small."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from random import Random
from typing import Any

import msgspec
import pytest
import referee
import simulate
from hypothesis import given, settings
from hypothesis import strategies as st

from checker import MODELS as CATALOG
from checker import Budget, History, HistoryError, Op, Verdict, check, make_model
from checker.fast import zones
from checker.history import INFO, OK
from checker.models.base import Model
from checker.models.lists import AppendList
from checker.models.locks import Mutex
from checker.models.registers import Register
from checker.models.strings import KeyValueStrings
from checker.reasons import cores, explain, lists
from checker.reasons.breaks import cut, unanswered
from checker.verdict import Invalid

MODELS: list[Model] = [Register(), Register(0), AppendList(), KeyValueStrings(), Mutex()]


def taken(model: Model, operations: Sequence[Op], verdict: Verdict) -> list[Op]:
    """The core's operations as the verdict says that they are taken."""
    by_index = {op.invoke_index: op for op in operations}
    how = {row["invoke_index"]: row["taken_as"] for row in verdict.core}
    core = [by_index[index] for index in how]
    if "part" in how.values():
        assert verdict.first_impossible is not None
        end = by_index[verdict.first_impossible["invoke_index"]].returned or 0
        core = lists.projected(model, core, cut(model, operations, end))
    return [_taken(op, how[op.invoke_index]) for op in core]


def _taken(op: Op, how: str) -> Op:
    if how == INFO and op.type != INFO:
        return unanswered(op)
    return msgspec.structs.replace(op, f="write", value=op.value[1]) if how == "write" else op


def impossible(model: Model, core: Sequence[Op], verdict: Verdict) -> bool:
    """By brute force, from whatever state the core may begin in."""
    states = cores.required(model, core) if verdict.core_from == "any state" else [model.init]
    return not any(referee.linearizable(cores.starting(model, state), core) for state in states)


def weaker(model: Model, core: Sequence[Op], verdict: Verdict) -> list[list[Op]]:
    """The core after each permitted step: a read dropped, an answered update taken as unanswered."""
    assert verdict.first_impossible is not None
    found = []
    for place, op in enumerate(core):
        if op.invoke_index == verdict.first_impossible["invoke_index"] or op.returned is None or op.type == "fail":
            continue
        rest = [] if model.readonly(op) else [unanswered(op)]
        found.append([*core[:place], *rest, *core[place + 1 :]])
    return found


def assert_minimal(model: Model, operations: Sequence[Op], verdict: Verdict) -> None:
    core = taken(model, operations, verdict)
    assert core, verdict.explanation
    assert impossible(model, core, verdict), (operations, verdict.explanation)
    for rest in weaker(model, core, verdict):
        assert not impossible(model, rest, verdict), (operations, verdict.core)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: f"{model.name}-{model.init}")
def test_a_core_is_impossible_and_with_any_step_more_it_is_possible(model: Model) -> None:
    """Issue: "a set of operations that is itself impossible and 1-minimal under the permitted steps"."""
    seen = 0
    for seed in range(500):
        operations = [simulate.stamped(op) for op in simulate.small_history(Random(seed), model)]
        verdict = check(History(operations), model)
        if verdict.verdict == "invalid":
            assert_minimal(model, operations, verdict)
            seen += 1
    assert seen > 50


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False), st.sampled_from(MODELS))
def test_cores_of_whatever_hypothesis_finds_are_minimal(draw: Random, model: Model) -> None:
    operations = [simulate.stamped(op) for op in simulate.small_history(draw, model, most=8)]
    verdict = check(History(operations), model)
    if verdict.verdict == "invalid":
        assert_minimal(model, operations, verdict)


def broken_register(seed: int, *, values: int, operations: int = 600, clients: int = 5) -> list[Op]:
    """A register with one read that certainly returned what had been overwritten."""
    draw = Random(seed)
    history = simulate.register_history(draw, operations=operations, clients=clients, values=values)
    stale = simulate.stale_read(draw, history)
    assert stale is not None
    return [simulate.stamped(op) for op in stale]


@pytest.mark.parametrize("seed", range(6))
def test_a_unique_register_has_a_core_of_at_most_four_operations(seed: int) -> None:
    operations = broken_register(seed, values=0)
    verdict = check(History(operations), Register())
    assert verdict.verdict == "invalid"
    assert len(verdict.core) <= 4
    assert_minimal(Register(), operations, verdict)


def test_values_that_repeat_have_a_core_from_whatever_state_was_before_it() -> None:
    """checker.md 6: "start from the last quiescent cut before e with its state set as a virtual initial write"."""
    found = 0
    for seed in range(12):
        operations = broken_register(seed, values=5, operations=400, clients=3)
        verdict = check(History(operations), Register())
        if verdict.verdict == "invalid":
            assert verdict.core_from == "any state"
            assert len(verdict.core) <= 12
            assert_minimal(Register(), operations, verdict)
            found += 1
    assert found > 3


def test_an_error_in_an_explanation_loses_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception of ours is no reason to say less than that the history is invalid."""

    def fail(*_: Any) -> None:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(explain, "_tell", fail)
    verdict = check(History(broken_register(1, values=0)), Register())
    assert verdict.verdict == "invalid"
    assert verdict.first_impossible is not None
    assert "no such thing" in verdict.warnings[0]
    monkeypatch.setattr(explain, "_located", fail)
    verdict = check(History(broken_register(1, values=0)), Register())
    assert (verdict.verdict, verdict.key) == ("invalid", "k0")
    assert verdict.explanation == "It is not linearizable; no explanation: RuntimeError: no such thing."


def test_a_core_that_has_an_order_is_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Issue: "checked again by the independent search"."""
    monkeypatch.setattr(cores.ways, "refuted", lambda *_: True)
    operations = [
        Op(process=0, f="write", value=1, type=OK, invoked=0, returned=1),
        Op(process=0, f="write", value=2, type=OK, invoked=2, returned=3),
        Op(process=1, f="read", result=1, type=OK, invoked=4, returned=5),
    ]
    verdict = check(History(operations), Register())
    assert (verdict.verdict, verdict.core) == ("invalid", [])


def test_an_order_of_all_operations_of_what_is_called_invalid_is_told_as_a_mistake_of_the_checker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A way that lies is contradicted by the independent search; that says so, in place of a reason that can't be."""
    operations = [
        Op(
            process=0,
            f="read" if n % 2 else "write",
            value=None if n % 2 else n,
            result=n - 1 if n % 2 else None,
            type=OK,
            invoked=2 * n,
        )
        for n in range(6)
    ]
    history = History([msgspec.structs.replace(op, returned=op.invoked + 1) for op in operations])
    assert check(history, Register(), workers=1).warnings == []
    monkeypatch.setattr(zones, "decide", lambda problem: Invalid(problem.named(range(len(problem))[-1:])))
    verdict = check(history, Register(), workers=1)
    assert (verdict.verdict, verdict.way, verdict.core) == ("invalid", "zones", [])
    assert "The ways disagree" in verdict.explanation
    assert verdict.warnings == [explain._DISAGREEMENT]


def test_the_graph_of_a_core_has_its_order_in_time_and_what_values_force() -> None:
    """Issue: "Networkx graph of the core's real-time order and forced order"."""
    operations = [
        Op(process=0, f="write", value=1, type=OK, invoked=0, returned=1),
        Op(process=0, f="write", value=2, type=OK, invoked=2, returned=3),
        Op(process=1, f="read", result=1, type=OK, invoked=4, returned=5),
    ]
    verdict = check(History([simulate.stamped(op) for op in operations]), Register())
    made = verdict.graph()
    edges = {(one, other, kind) for one, other, kind in made.edges(data="kind")}
    assert edges == {(0, 1, "real time"), (1, 2, "real time"), (0, 2, "forced")}
    assert made.nodes[2]["f"] == "read"


def test_a_witness_comes_on_request_and_is_replayed_before() -> None:
    """Issue: "witness order (on valid, on request, verified by replay against the model)"."""
    made = simulate.register_history(Random(3), operations=60, clients=4, keys=2)
    history = History([simulate.stamped(op) for op in made])
    assert check(history, Register()).witness == []
    verdict = check(history, Register(), witness=True)
    assert {row["key"] for row in verdict.witness} == {"k0", "k1"}
    by_index = {op.invoke_index: op for op in history}
    for row in verdict.witness:
        order = [by_index[op["invoke_index"]] for op in row["order"]]
        assert referee.replay(Register(), [op for op in history if op.key == row["key"]], order) == ""


EDGES: dict[str, list[Op]] = {
    "empty": [],
    "only unanswered": [Op(process=n, f="write", value=n, type=INFO, invoked=n) for n in range(3)],
    "first operation": [Op(process=0, f="read", result=7, type=OK, invoked=0, returned=1)],
    "all at once": [Op(process=n, f="read", result=n, type=OK, invoked=n, returned=10 + n) for n in range(4)],
    "all at once, one written": [
        Op(process=0, f="write", value=1, type=OK, invoked=0, returned=9),
        *(Op(process=n, f="read", result=n % 2 + 1, type=OK, invoked=n, returned=10 + n) for n in range(1, 4)),
    ],
    "failed only": [Op(process=0, f="write", value=1, type="fail", invoked=0, returned=1)],
}


@pytest.mark.parametrize("name", EDGES)
def test_histories_at_the_edge_are_explained_without_a_warning(name: str) -> None:
    """Knossos 36, Maelstrom 92: "must not crash the explanation"."""
    operations = EDGES[name]
    verdict = check(History(operations), Register(), Budget())
    assert verdict.verdict == ("valid" if referee.linearizable(Register(), operations) else "invalid")
    assert not verdict.warnings
    assert bool(verdict.core) == (verdict.verdict == "invalid")


def any_operations(draw: Random, functions: Sequence[str]) -> list[Op]:
    """A few operations of a model with whatever values, many of which it refuses to read."""
    ops = []
    for number in range(draw.randint(2, 6)):
        shape = {
            "f": draw.choice(functions),
            "value": draw.choice([None, 1, 2, [1, 2]]),
            "result": draw.choice([None, 1, 2, [1], 0]),
        }
        end = 20 * number + 10 + 20 * draw.randint(0, 2)
        ops.append(Op(process=number, type=OK, invoked=0, invoke_time=20 * number, return_time=end, **shape))
    return History.from_intervals(ops).operations  # type: ignore[return-value]


@pytest.mark.parametrize("name", sorted(CATALOG))
def test_violations_of_every_model_are_explained_without_a_warning(name: str) -> None:
    model = make_model(name)
    for seed in range(60):
        operations = any_operations(Random(seed), sorted(model.functions))
        with contextlib.suppress(HistoryError):
            verdict = check(History(operations), model)
            assert not [text for text in verdict.warnings if "explaining" in text]
            assert bool(verdict.explanation) == (verdict.verdict == "invalid")
