"""Models of a user's own: what is wrong with one is said at once and by name, and never becomes a verdict."""

from __future__ import annotations

import re
from random import Random
from typing import Any

import pytest

from checker import Budget, Checker, History, HistoryError, Model, ModelError, Op, check, make_model
from checker.models.base import NOTHING, Effect


class Own(Model):
    """A register of numbers."""

    name, functions, init = "own", frozenset({"read", "write"}), 0

    def step(self, state: Any, op: Op) -> Any:
        if op.f == "write":
            return op.value
        return state if op.type != "ok" or op.result == state else None


def made(**parts: Any) -> Model:
    """A model that differs from `Own` in these parts."""
    model: Model = type("Other", (Own,), parts)()
    return model


def events(*values: Any) -> list[dict[str, Any]]:
    """A write of each value, and a read of it."""
    found: list[dict[str, Any]] = []
    for value in values:
        found += [{"process": 0, "type": kind, "f": "write", "value": value} for kind in ("invoke", "ok")]
        found += [
            {"process": 1, "type": "invoke", "f": "read"},
            {"process": 1, "type": "ok", "f": "read", "value": value},
        ]
    return found


def mutating(_: Model, state: Any, op: Op) -> Any:
    state.append(op.value)
    return state


class Box(list[Any]):
    """A list that says that it can be hashed."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(self))


RANDOM = Random(1)

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "init is None": ({"init": None}, 'init of model own must not be None: .* for example "nil" or ()'),
    "init is a list": ({"init": []}, "states must be hashable: the init of model own is a list"),
    "no step": ({"step": Model.step}, "model own has no step"),
    "functions are one word": ({"functions": "read"}, "must be a set of names, .* this is a str"),
    "step says yes": ({"step": lambda _, __, ___: True}, "step of model own returned True for write 1 of process 0"),
    "step says no": (
        {"step": lambda _, s, op: op.result == s},
        "returned False for write 1 .* step must return the state",
    ),
    "a list": (
        {"step": lambda _, __, op: [op.value]},
        "states must be hashable: step of model own, .* returned a list",
    ),
    "changes": ({"init": Box(), "step": mutating}, "changed the state that it was given, at write 1 of process 0"),
    "random": ({"step": lambda _, __, ___: RANDOM.random()}, "must depend on the state and the operation alone"),
    "readonly": (
        {"readonly": lambda _, __: True},
        "readonly of model own says of write 1 .* step makes 1 of the state 0",
    ),
    "blind": ({"blind": lambda _, __: True}, "blind of model own says of read -> "),
    "effect": ({"effect": lambda _, op: Effect(NOTHING, op.value)}, "effect of model own says of read -> 1 "),
    "partition": (
        {"partition": lambda _, __: 1 // 0},
        "partition of model own failed with ZeroDivisionError: .*at write 1",
    ),
    "partition gives a list": ({"partition": lambda _, __: []}, "something hashable, it returned a list for write 1"),
}


@pytest.mark.parametrize("size", [3, 300])
@pytest.mark.parametrize("name", sorted(WRONG))
def test_a_model_that_breaks_a_promise_is_refused_by_name(name: str, size: int) -> None:
    """Plain and compiled searches, whole histories and streams."""
    parts, sentence = WRONG[name]
    told = events(*range(1, size))
    with pytest.raises(ModelError, match=sentence):
        check(History.from_events(told), made(**parts))
    with pytest.raises(ModelError, match=sentence):
        streamed(made(**parts), told[:4])


def streamed(model: Model, told: list[dict[str, Any]]) -> str:
    checker = Checker(model)
    for event in told:
        checker.feed(event)
    return checker.finish().verdict


def test_workers_tell_of_a_model_that_breaks_a_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("checker.workers.ALONE_SECONDS", -1.0)
    told = [{**event, "key": key} for key in range(4) for event in events(1, 2)]
    with pytest.raises(ModelError, match="step of model own returned True"):
        check(History.from_events(told), made(step=lambda _, __, ___: True), workers=2)


def test_booleans_may_be_states_where_the_history_speaks_of_them() -> None:
    assert check(History.from_events(events(True, False, True)), made(init="nil")).verdict == "valid"
    assert streamed(made(init="nil"), events(True, False)) == "valid"


def broken(model: Model, state: Any, op: Op) -> Any:
    if op.value == 2:
        raise ValueError("boom")
    return Own.step(model, state, op)  # type: ignore[arg-type]


def test_an_exception_in_step_is_told_with_its_line_and_operation() -> None:
    told = check(History.from_events(events(1, 2)), made(step=broken))
    line = broken.__code__.co_firstlineno + 2
    assert told.verdict == "unknown"
    assert re.search(
        rf"the model failed with ValueError: boom \(test_own_models.py, line {line}, in broken\), "
        r"at write 2 of process 0 in the state 1$",
        told.reason,
    )
    assert streamed(made(step=broken), events(1, 2)) == "unknown"


@pytest.mark.parametrize(
    "model, sentence",
    [
        ("register", r"this is 'register': make_model\('register'\) makes one"),
        (None, "expected a model, .* this is None"),
        (Own, r"this is the class Own: make one, Own\(...\)"),
        (7, "this is an int"),
    ],
)
def test_what_is_no_model_is_refused(model: Any, sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        check(History.from_events(events(1)), model)
    with pytest.raises(ModelError, match=sentence):
        Checker(model)


def test_what_is_no_history_no_budget_or_no_event_is_refused() -> None:
    with pytest.raises(HistoryError, match=r"expected a History, .* this is of the type list"):
        check(events(1), make_model("register"))  # type: ignore[arg-type]
    for wrong in (10, "10"):
        with pytest.raises(TypeError, match=r"expected a Budget, such as Budget\(seconds=10\), or None, this is '?10"):
            check(History.from_events(events(1)), make_model("register"), wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="expected a Budget"):
            Checker(make_model("register"), wrong)  # type: ignore[arg-type]
    for parts in ({"seconds": -1}, {"steps": -1}, {"bytes": "many"}, {"seconds": float("nan")}, {"steps": True}):
        with pytest.raises(ValueError, match=f"the {next(iter(parts))} of a budget must be a number, not below 0"):
            Budget(**parts)  # type: ignore[arg-type]
    for event in (None, 5, []):
        with pytest.raises(HistoryError, match="an event must be a map"):
            Checker(make_model("register")).feed(event)  # type: ignore[arg-type]
