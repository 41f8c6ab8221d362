"""The suite's own checks in short, for wrong checkers: each part gives its first complaint, or nothing.

`mutation.py` imports this once a mutant is in place. The parts are the functions that the suite's tests are made of, on fewer
seeds; `first_complaint` begins with the part that is named and goes on with all others.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from random import Random

import atomic
import forced
import referee
import simulate
import tables as random_tables
import test_agreement
import test_history
import test_models
import test_traps
import test_verdicts
from transactions import test_against_orders

from checker import History, Op, check
from checker.budget import Budget, Meter
from checker.fast import compiled_zones
from checker.models.base import Model
from checker.models.lists import AppendList
from checker.models.locks import Mutex
from checker.models.registers import Register
from checker.models.strings import KeyValueStrings
from checker.search import arrays, compiled_depth, depth, reductions, settling, sweep
from checker.search.arrays import Ordered, Refuted
from checker.search.problem import Problem
from checker.verdict import GaveUp, Invalid, Valid


def _agreement(model: Model, histories: Iterator[list[Op]]) -> Iterator[str]:
    for operations in histories:
        yield from test_agreement.disagreements(model, operations)
        yield from _uncompiled(model, operations)


def _uncompiled(model: Model, operations: list[Op]) -> Iterator[str]:
    """The compiled depth-first search, settling and zones, as plain Python: the checks of `test_compiled.py` that are quick so."""
    problem = Problem(model, operations)
    expected = referee.linearizable(model, operations)
    form = arrays.of_problem(problem)
    said: dict[str, Ordered | Refuted | GaveUp] = {}
    if form.assignment:
        settled = settling.settle(form)
        if isinstance(settled, Refuted) != isinstance(reductions.settle(problem), Invalid):
            yield f"settling on arrays: {settled}, which its twin does not say"
        if isinstance(settled, Refuted):
            said["settling on arrays"] = settled
        else:
            said["settled, compiled depth first"] = compiled_depth.search(settled, None, Meter(Budget()), 1 << 12)
            said["settled, compiled zones"] = compiled_zones.decide(settled, witness=True)
    table = None if form.assignment else arrays.Table(problem.transitions, len(set(problem.classes)))
    said["compiled depth first"] = compiled_depth.search(form, table, Meter(Budget()), 1 << 12)
    for way, outcome in said.items():
        if isinstance(outcome, Ordered | Refuted) and isinstance(outcome, Ordered) != expected:
            yield f"{way}: {outcome}, expected {expected}"


def _random(model: Model, count: int) -> Iterator[str]:
    return _agreement(model, (simulate.small_history(Random(seed), model) for seed in range(count)))


def registers() -> Iterator[str]:
    """Random registers with repeated values, then crowded ones."""
    yield from _random(Register(), 150)
    yield from _agreement(Register(), (crowded(Random(seed)) for seed in range(400)))


def traps() -> Iterator[str]:
    """Histories that are known to need a condition each."""
    yield from _agreement(Register(), map(test_traps.placed, test_traps.TRAPS.values()))


def crowded(draw: Random) -> list[Op]:
    """Most operations open at once, of two values: where hidden writes, twins and unanswered operations meet."""
    operations = []
    for number in range(draw.randint(4, 8)):
        begin = draw.randrange(12)
        kind = draw.choice(["read", "write", "write", "cas", "cas"])
        value = {
            "read": None,
            "write": draw.randint(1, 2),
            "cas": [draw.choice([None, 1, 2]), draw.randint(1, 3)],
        }[kind]
        lost = kind != "read" and draw.random() < 0.3
        failed = kind == "cas" and draw.random() < 0.1
        operations.append(
            Op(
                process=number,
                f=kind,
                value=value,
                result=draw.choice([None, 1, 2, 3]) if kind == "read" else None,
                type="fail" if failed else "info" if lost else "ok",
                invoked=0,
                invoke_time=begin,
                return_time=begin + draw.randrange(1, 14),
            )
        )
    return list(History.from_intervals(operations))


def unique() -> Iterator[str]:
    """Registers whose values are used once: what the near-linear way decides."""
    shapes = [("write", 1, None), ("cas", [1, 2], None), ("cas", [2, 1], None), ("read", None, 1), ("read", None, 2)]
    yield from _small(Register(), shapes, 2)
    for seed in range(250):
        draw = Random(seed)
        yield from _agreement(Register(), iter([unique_values(draw)]))


def unique_values(draw: Random) -> list[Op]:
    """A valid history of unique values whose answers are then swapped or narrowed a little."""
    operations = list(
        simulate.register_history(draw, operations=9, clients=draw.randint(2, 4), unanswered=0.1 * draw.randint(0, 2))
    )
    return atomic.spoilt(draw, operations, draw.randint(0, 3))


def lists() -> Iterator[str]:
    yield from _random(AppendList(), 400)


def strings() -> Iterator[str]:
    yield from _random(KeyValueStrings(), 300)


def locks() -> Iterator[str]:
    yield from _random(Mutex(), 200)


def tables() -> Iterator[str]:
    """Random models of users, with what they declare and through the door, where it is learned from columns; then ways by themselves."""
    for seed in range(250):
        model, operations = random_tables.drawn(Random(seed))
        yield from forced.disagreements(model, operations)
        yield from _agreement(model, iter([operations]))


def _small(model: Model, shapes: list[simulate.Shape], count: int) -> Iterator[str]:
    for spans in simulate.interleavings(count):
        for chosen in itertools.product(shapes, repeat=count):
            operations = simulate.placed(chosen, spans)
            yield from test_agreement.disagreements(model, operations)
            yield from _uncompiled(model, operations)


def transactions() -> Iterator[str]:
    """Small histories of appends against all orders of their transactions."""
    draw = Random(0)
    for _ in range(300):
        yield from test_against_orders.disagreements(test_against_orders.scrambled(draw))


def limits() -> Iterator[str]:
    """A search that ends early says nothing."""
    for seed in range(200):
        model = Register()
        operations = simulate.small_history(Random(seed), model)
        expected = referee.linearizable(model, operations)
        problem = Problem(model, operations)
        meter = Meter(Budget(seconds=None))
        form = arrays.of_problem(problem)
        table = None if form.assignment else arrays.Table(problem.transitions, len(set(problem.classes)))
        for outcome in (
            depth.search(problem, meter, 2),
            sweep.exact(problem, meter, 2),
            sweep.beam(problem, meter, 1),
            compiled_depth.search(form, table, meter, 2),
        ):
            if not isinstance(outcome, GaveUp) and isinstance(outcome, Valid | Ordered) != expected:
                yield f"with room for two nodes seed {seed} is {outcome}"


def beam() -> Iterator[str]:
    yield from _passes(test_agreement.test_a_beam_never_says_invalid_and_a_relaxed_search_never_says_valid)


def stamps() -> Iterator[str]:
    """At equal times invocations come before returns."""
    yield from _passes(test_history.test_at_equal_times_invocations_come_before_returns)
    write = Op(process=0, f="write", value=1, type="ok", invoked=0, invoke_time=0, return_time=5)
    read = Op(process=1, f="read", result=None, type="ok", invoked=0, invoke_time=5, return_time=9)
    if check(History.from_intervals([write, read]), Register()).verdict != "valid":
        yield "a read that began in the tick in which a write ended may not miss it"


def values() -> Iterator[str]:
    for one, other in ((6, "6"), (1, True), (0, False), ([1], [[1]])):
        yield from _passes(lambda one=one, other=other: test_history.test_values_of_different_types_differ(one, other))


def declarations() -> Iterator[str]:
    for name in test_models.SINGLE:
        yield from _passes(lambda name=name: test_models.test_declarations_hold_for_every_state(name))


def keys() -> Iterator[str]:
    yield from _passes(test_verdicts.test_invalid_beats_unknown_beats_valid_over_keys)


def _passes(test: Callable[[], None]) -> Iterator[str]:
    try:
        test()
    except AssertionError as error:
        yield f"{test.__name__}: {str(error).splitlines()[:1]}"


PARTS: dict[str, Callable[[], Iterator[str]]] = {
    part.__name__: part
    for part in (
        traps,
        values,
        stamps,
        keys,
        declarations,
        beam,
        limits,
        unique,
        registers,
        lists,
        strings,
        locks,
        tables,
        transactions,
    )
}


def first_complaint(named: str) -> str:
    """The first complaint of the part named, else of any part; empty if there is none."""
    order = [named, *(name for name in PARTS if name != named)] if named else list(PARTS)
    for name in order:
        for complaint in PARTS[name]():
            return f"{name}: {complaint}"
    return ""
