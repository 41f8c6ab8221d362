"""The compiled ways say what their readable twins and brute force say, and their orders can be replayed."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from random import Random

import pytest
import referee
import simulate
from test_agreement import LIST_SHAPES, LOCK_SHAPES, REGISTER_SHAPES, STRING_SHAPES

from checker.budget import Budget, Meter
from checker.history import Op
from checker.models.base import Model
from checker.models.lists import AppendList
from checker.models.locks import Mutex
from checker.models.registers import Register
from checker.models.strings import KeyValueStrings
from checker.search import arrays, compiled_depth
from checker.search.problem import Problem
from checker.verdict import GaveUp


def meter() -> Meter:
    return Meter(Budget(seconds=None))


def _disagreements(model: Model, operations: Sequence[Op]) -> list[str]:
    problem = Problem(model, operations)
    form = arrays.of_problem(problem)
    table = None if form.assignment else arrays.Table(problem.transitions, len(set(problem.classes)))
    expected = referee.linearizable(model, operations)
    wrong = []
    for oldest_first in (False, True):
        found = compiled_depth.search(form, table, meter(), 1 << 12, oldest_first=oldest_first)
        if isinstance(found, GaveUp):
            wrong.append(found.reason)
        elif (found.order is not None) != expected:
            wrong.append(f"oldest first {oldest_first}: {found}, expected {expected}")
        elif found.order is not None:
            order = problem.named(found.order.tolist())
            if fault := referee.replay(model, operations, order):
                wrong.append(fault)
    return wrong


@pytest.mark.parametrize(
    "model,shapes,count,one_in",
    [
        (Register(), REGISTER_SHAPES, 2, 1),
        (Register(), REGISTER_SHAPES, 3, 17),
        (AppendList(), LIST_SHAPES, 3, 17),
        (KeyValueStrings(), STRING_SHAPES, 3, 17),
        (Mutex(), LOCK_SHAPES, 4, 1),
    ],
)
def test_small_histories_are_judged_as_by_the_definition(
    model: Model, shapes: list[simulate.Shape], count: int, one_in: int
) -> None:
    every = itertools.product(simulate.interleavings(count), itertools.product(shapes, repeat=count))
    for spans, chosen in itertools.islice(every, 0, None, one_in):
        operations = simulate.placed(chosen, spans)
        assert _disagreements(model, operations) == [], operations


@pytest.mark.parametrize("model", [Register(), AppendList(), KeyValueStrings(), Mutex()])
def test_random_histories_are_judged_as_by_the_definition(model: Model) -> None:
    """Up to nine operations with equal stamps, repeated values, unanswered operations and refused cas."""
    for seed in range(400):
        operations = simulate.small_history(Random(seed), model)
        assert _disagreements(model, operations) == [], seed
