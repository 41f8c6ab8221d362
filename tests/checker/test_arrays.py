"""Problems as arrays: the same operations, the same steps, whichever form the model has."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
import simulate

from checker.history import Op
from checker.models.base import Model, State
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
