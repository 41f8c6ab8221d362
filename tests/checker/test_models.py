"""Models: a table of steps each, and every declaration held against `step`."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
import simulate

from checker.history import History, HistoryError, Op
from checker.models.base import NOTHING, Model, ModelError, looks_at_whole_histories, require_known
from checker.models.catalog import MODELS, make_model
from checker.models.counters import Counter
from checker.models.identifiers import UniqueIds
from checker.models.keys import KeyValue
from checker.models.lists import AppendList
from checker.models.locks import FencingLock, Mutex, OwnerLock, ReentrantLock
from checker.models.queues import Queue, Stack
from checker.models.registers import Register
from checker.models.sets import ElementSet, GrowOnlySet
from checker.models.strings import KeyValueStrings
from checker.search.problem import Problem

SINGLE = sorted(name for name, model in MODELS.items() if not looks_at_whole_histories(model))
"""The models of single objects; those that look at whole histories have tests of their own."""


def op(f: str, value: Any = None, result: Any = None, kind: str = "ok", error: Any = None) -> Op:
    return Op(process=0, f=f, value=value, type=kind, result=result, error=error, invoked=0)


@pytest.mark.parametrize(
    "model,before,asked,after",
    [
        (Register(), (3,), op("read", result=3), (3,)),
        (Register(), (3,), op("read", result=4), None),
        (Register(), (3,), op("read", result="3"), None),
        (Register(), (1,), op("read", result=True), None),
        (Register(), (None,), op("read", result=None), (None,)),
        (Register(), (3,), op("write", 4), (4,)),
        (Register(), (3,), op("write", 4, kind="info"), (4,)),
        (Register(), (3,), op("cas", [3, 4]), (4,)),
        (Register(), (2,), op("cas", [3, 4]), None),
        (Register(), (3,), op("delete"), (None,)),
        (Register(), (2,), op("cas", [3, 4], kind="fail", error=["cas-mismatch", 2]), (2,)),
        (Register(), (3,), op("cas", [3, 4], kind="fail", error=["cas-mismatch", 2]), None),
        (Register(), (3,), op("cas", [3, 4], kind="fail", error=["cas-mismatch", 3]), None),
        (AppendList(), (1,), op("append", 2), (1, 2)),
        (AppendList(), (1, 2), op("read", result=[1, 2]), (1, 2)),
        (AppendList(), (1, 2), op("read", result=[2, 1]), None),
        (AppendList(), (), op("read", result=None), ()),
        (Mutex(), "free", op("acquire"), "held"),
        (Mutex(), "held", op("acquire"), None),
        (Mutex(), "held", op("release"), "free"),
        (Mutex(), "free", op("release", kind="info"), None),
        (KeyValueStrings(), "x", op("append", "y"), "xy"),
        (KeyValueStrings(), "x", op("put", "y"), "y"),
        (KeyValueStrings(), "x", op("get", result="x"), "x"),
        (KeyValueStrings(), "x", op("get", result=""), None),
        (KeyValueStrings(), "", op("get", result=None), ""),
        (KeyValueStrings(), "x", op("delete"), ""),
        (KeyValueStrings(), "x", op("cas", ["x", "y"]), "y"),
        (KeyValueStrings(), "x", op("cas", ["", "y"]), None),
        (KeyValue(), (None,), op("append", 1), ((1,),)),
        (KeyValue(), ((1,),), op("append", 2), ((1, 2),)),
        (KeyValue(), ("x",), op("append", 2), None),
        (KeyValue(), ((1,),), op("get", result=[1]), ((1,),)),
        (KeyValue(), ((1,),), op("delete"), (None,)),
        (ElementSet(), frozenset(), op("add", 1, True), frozenset({1})),
        (ElementSet(), frozenset({1}), op("add", 1, True), None),
        (ElementSet(), frozenset({1}), op("add", 1, 1), frozenset({1})),
        (ElementSet(), frozenset({1}), op("remove", 1, False), None),
        (ElementSet(), frozenset(), op("contains", 1, False), frozenset()),
        (GrowOnlySet(), frozenset({1}), op("add", 2), frozenset({1, 2})),
        (GrowOnlySet(), frozenset({1, 2}), op("read", result=[2, 1]), frozenset({1, 2})),
        (GrowOnlySet(), frozenset({1}), op("read", result=[1, 1]), None),
        (GrowOnlySet(), frozenset({1}), op("read", result=["1"]), None),
        (Counter(), 3, op("add", -2), 1),
        (Counter(), 3, op("read", result=2), None),
        (Queue(), (1, 2), op("dequeue", result=1), (2,)),
        (Queue(), (1, 2), op("dequeue", result=2), None),
        (Queue(), (1,), op("dequeue"), None),
        (Queue(), (), op("dequeue"), ()),
        (Queue(), (1,), op("dequeue", kind="fail", error="empty"), None),
        (Queue(), (1, 2), op("dequeue", kind="info"), (2,)),
        (Queue(), (1,), op("enqueue", 2), (1, 2)),
        (Stack(), (1,), op("push", 2), (2, 1)),
        (Stack(), (2, 1), op("pop", result=2), (1,)),
        (Stack(), (2, 1), op("pop", result=1), None),
        (OwnerLock(), (), op("acquire", "a"), ("a",)),
        (OwnerLock(), ("a",), op("release", "b"), None),
        (OwnerLock(), ("a",), op("acquire", "a"), None),
        (ReentrantLock(), ("a", 1), op("acquire", "a"), ("a", 2)),
        (ReentrantLock(), ("a", 2), op("release", "a"), ("a", 1)),
        (ReentrantLock(), ("a", 2), op("release", "b"), None),
        (FencingLock(), ((), 3), op("acquire", result=4), ((0,), 4)),
        (FencingLock(), ((), 3), op("acquire", result=3), None),
        (FencingLock(), ((), 3), op("acquire", kind="info"), ((0,), 4)),
        (UniqueIds(), frozenset({1}), op("generate", result=2), frozenset({1, 2})),
        (UniqueIds(), frozenset({1}), op("generate", result=1), None),
    ],
)
def test_steps(model: Model, before: Any, asked: Op, after: Any) -> None:
    assert model.step(before, asked) == after


def test_a_refused_cas_counts_only_if_it_says_what_it_met() -> None:
    """checker.md: "A refused cas does say something about the state. Make it an option, off for imported histories"."""
    assert Register().observes(op("cas", [3, 4], kind="fail", error=["cas-mismatch", 2]))
    assert not Register().observes(op("cas", [3, 4], kind="fail"))
    assert not Register().observes(op("cas", [3, 4], kind="fail", error="timeout"))
    assert not Register().observes(op("write", 4, kind="fail", error=["cas-mismatch", 2]))


@pytest.mark.parametrize("name", SINGLE)
def test_declarations_hold_for_every_state(name: str) -> None:
    """checker.md: "a property test holds each declaration against `step`, because a false declaration makes a false verdict"."""
    model = make_model(name)
    for seed in range(300):
        operations = [
            each for each in simulate.small_history(Random(seed), model) if each.type != "fail" or model.observes(each)
        ]
        states = {model.init}
        for each in operations:
            states |= {after for state in states if (after := model.step(state, each)) is not None}
        for each in operations:
            after = {state: model.step(state, each) for state in states}
            effect = model.effect(each)
            if model.readonly(each):
                assert all(result in (state, None) for state, result in after.items())
            if model.blind(each):
                assert None not in after.values()
                assert len(set(after.values())) == 1
            if effect is not None:
                for state, result in after.items():
                    legal = effect.requires is NOTHING or effect.requires == state
                    expected = (state if effect.produces is NOTHING else effect.produces) if legal else None
                    assert result == expected


@pytest.mark.parametrize("name", SINGLE)
def test_operations_of_one_class_step_alike(name: str) -> None:
    """Transitions are remembered by class: two operations that `step` tells apart must not share one."""
    model = make_model(name)
    for seed in range(100):
        problem = Problem(model, simulate.small_history(Random(seed), model))
        states = {model.init}
        for each in problem.operations:
            states |= {after for state in states if (after := model.step(state, each)) is not None}
        first: dict[int, list[Any]] = {}
        for each, number in zip(problem.operations, problem.classes, strict=True):
            steps = [model.step(state, each) for state in states]
            assert first.setdefault(number, steps) == steps


def test_an_unknown_model_names_the_nearest_known() -> None:
    with pytest.raises(ModelError, match=r"unknown model 'registr': did you mean register\?"):
        make_model("registr")


@pytest.mark.parametrize("name,init", [("append", 3), ("kv", 3), ("mutex", 3), ("mutex", [])])
def test_an_initial_value_that_does_not_fit_is_refused(name: str, init: Any) -> None:
    with pytest.raises(ModelError, match=f"the initial value of model {name} must be "):
        make_model(name, init)


@pytest.mark.parametrize("name", SINGLE)
def test_every_model_describes_its_first_state(name: str) -> None:
    model = make_model(name)
    assert model.name == name
    assert model.describe(model.init) in {"nil", "[]", "{}", '""', "free", "0", "0 identifiers given"}


@pytest.mark.parametrize(
    "model,asked,sentence",
    [
        (
            Register(),
            op("enqueue", 1),
            "does not know the function 'enqueue', expected one of cas, delete, read, write",
        ),
        (Register(), op("cas", 3), r"the value of a cas must be \[expected, new\], this is 3"),
        (AppendList(), op("read", result=3), "a read of a list must give a list, this is 3"),
        (KeyValueStrings(), op("put", 0), "the value of a put must be a string, this is 0"),
        (KeyValueStrings(), op("get", result=["x"]), r"the answer of a get must be a string, this is \['x'\]"),
    ],
)
def test_operations_that_a_model_can_not_read_are_refused(model: Model, asked: Op, sentence: str) -> None:
    with pytest.raises(HistoryError, match=sentence):
        require_known(History([asked]), model)
