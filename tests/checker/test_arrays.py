"""Problems as arrays: the same operations, the same steps, whichever form the model has."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
import simulate

from checker.history import History, HistoryBuilder, HistoryError, Op
from checker.models.base import Effect, Model, State, require_known
from checker.models.registers import Register
from checker.models.strings import KeyValueStrings
from checker.search import arrays
from checker.search.arrays import Table, steps_of
from checker.search.kernels import step
from checker.search.problem import Problem


class _Plain(Model):
    """A register that declares nothing, as a user's first model does."""

    name, functions = "plain", frozenset({"read", "write", "cas", "delete"})

    def __init__(self) -> None:
        self._register = Register()
        self.init = self._register.init

    def step(self, state: State, op: Op) -> State | None:
        return self._register.step(state, op)


def _stepped(form: arrays.Arrays, table: Table | None, state: int, klass: int) -> int:
    while True:
        after = int(step(steps_of(form, table), state, klass))
        if after != arrays.UNKNOWN:
            return after
        assert table is not None
        table.fill(state, klass)


@pytest.mark.parametrize("cells", [1 << 22, 100, 10])
@pytest.mark.parametrize("model", [_Plain(), KeyValueStrings()])
def test_the_table_says_what_the_model_says_dense_and_as_a_hash_table(
    monkeypatch: pytest.MonkeyPatch, model: Model, cells: int
) -> None:
    monkeypatch.setattr(arrays, "DENSE_CELLS", cells)
    for seed in range(20):
        problem = Problem(model, simulate.small_history(Random(seed), model, 30))
        if not len(problem):
            continue
        form = arrays.of_problem(problem)
        assert not form.assignment
        table = Table(problem.transitions, len(set(problem.classes)))
        for _ in range(3):  # the states that three steps reach
            for state in range(len(problem.transitions.states)):
                for klass in set(problem.classes):
                    assert _stepped(form, table, state, klass) == problem.transitions.step(state, klass)


def test_requires_and_produces_say_what_the_model_says() -> None:
    for seed in range(100):
        model = Register()
        problem = Problem(model, simulate.small_history(Random(seed), model))
        form = arrays.of_problem(problem)
        if not form.assignment:
            continue
        states = {0: model.init}
        for effect, requires, produces in zip(problem.effects, form.requires, form.produces, strict=True):
            assert effect is not None
            states |= {int(requires): effect.requires, int(produces): effect.produces}
        numbers = {state: number for number, state in states.items() if number >= 0}
        for op, klass in zip(problem.operations, form.classes, strict=True):
            for number, state in states.items():
                if number >= 0:
                    after = model.step(state, op)
                    assert _stepped(form, None, number, int(klass)) == (-1 if after is None else numbers[after])


def test_what_is_kept_keeps_its_states_and_gets_dense_classes() -> None:
    problem = Problem(Register(), simulate.small_history(Random(3), Register()))
    form = arrays.of_problem(problem)
    numbers = np.arange(0, len(form.rows), 2)
    kept = form.keep(numbers, form.returned)
    assert kept.rows.tolist() == numbers.tolist()
    assert kept.requires.tolist() == form.requires[numbers].tolist()
    assert sorted(set(kept.classes.tolist())) == list(range(len(set(form.classes[numbers].tolist()))))


def test_columns_give_the_arrays_that_their_operations_give() -> None:
    """But for the numbers of states and classes, which may be others."""
    seen = 0
    for seed in range(300):
        history = History(simulate.small_history(Random(seed), Register(), 30))
        problem = Problem(Register(), history.operations)
        one, other = arrays.of_columns(Register(), history.columns), arrays.of_problem(problem)
        assert (one is not None) == other.assignment
        if one is None:
            continue
        seen += 1
        assert [history.operations[row] for row in one.rows.tolist()] == problem.operations
        for name in ("kinds", "invoked", "returned"):
            assert getattr(one, name).tolist() == getattr(other, name).tolist()
        states = {-1: -1, one.initial: other.initial}
        for name in ("requires", "produces"):
            for mine, theirs in zip(getattr(one, name).tolist(), getattr(other, name).tolist(), strict=True):
                assert states.setdefault(mine, theirs) == theirs
        assert len(set(states.values())) == len(states)
        assert max(states) < one.states
        pairs = set(zip(one.classes.tolist(), one.requires.tolist(), one.produces.tolist(), strict=True))
        assert (
            len({klass for klass, _, _ in pairs}) == len({(needs, leaves) for _, needs, leaves in pairs}) == len(pairs)
        )
        assert {klass for klass, _, _ in pairs} == set(range(len(pairs)))
    assert seen > 100


class _Odd(Register):
    """A register whose reads say nothing; it does not override `assignment`, which is wrong for it."""

    def effect(self, op: Op) -> Effect | None:
        return None if op.f == "read" else super().effect(op)


def test_a_model_that_changes_its_effects_alone_is_not_asked_for_columns() -> None:
    history = History(simulate.small_history(Random(1), Register(), 30))
    assert arrays.of_columns(_Odd(), history.columns) is None


def test_what_a_model_refuses_is_found_in_columns_as_in_operations() -> None:
    for value in ([1, 2, 3], 7, None, [], [1, 2]):
        good = simulate.register_history(Random(1), operations=300, clients=3)
        operations = [*good, Op(process=999, f="cas", value=value, invoked=10_000)]
        builder = HistoryBuilder()
        for op in operations:
            builder.add(op)
        errors = []
        for history in (History(operations), builder.finish()):
            try:
                require_known(history, Register())
                errors.append("")
            except HistoryError as error:
                errors.append(str(error))
        assert errors[0] == errors[1]
        assert bool(errors[0]) == (value != [1, 2])
