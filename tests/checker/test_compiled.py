"""The compiled ways say what their readable twins and brute force say, and their orders can be replayed."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

import forced
import msgspec
import pytest
import referee
import simulate
import tables
import test_agreement
from test_agreement import LIST_SHAPES, LOCK_SHAPES, REGISTER_SHAPES, STRING_SHAPES

from checker import check, selections, ways
from checker.budget import Budget, Meter
from checker.fast import compiled_zones, zones
from checker.history import FAIL, OK, History, HistoryBuilder, Op
from checker.models.base import Model, State
from checker.models.lists import AppendList
from checker.models.locks import Mutex
from checker.models.registers import Register
from checker.models.strings import KeyValueStrings
from checker.search import arrays, compiled_depth, compiled_sweep, learning, reductions, settling
from checker.search.arrays import Arrays, Ordered, Refuted
from checker.search.compiled import Search
from checker.search.problem import Problem
from checker.verdict import GaveUp, Invalid, Valid


def meter() -> Meter:
    return Meter(Budget(seconds=None))


def _said(problem: Problem) -> dict[str, Ordered | Refuted | GaveUp]:
    """What each compiled way says."""
    form = arrays.of_problem(problem)
    said = _searched(form, problem, "")
    if form.assignment:
        settled = settling.settle(form)
        if isinstance(settled, Refuted):
            return {**said, "settling": settled}
        said |= _searched(settled, problem, "settled, ")
        said["settled, zones"] = _of_all(compiled_zones.decide(settled, witness=True), settled)
    return said


def _searched(form: Arrays, problem: Problem, name: str) -> dict[str, Ordered | Refuted | GaveUp]:
    table = None if form.assignment else arrays.Table(problem.transitions, len(set(problem.classes)))
    said: dict[str, Ordered | Refuted | GaveUp] = {}
    for oldest_first in (False, True):
        way = f"{name}depth first, oldest first: {oldest_first}"
        said[way] = compiled_depth.search(form, table, meter(), 1 << 12, oldest_first=oldest_first, witness=True)
    said[f"{name}sweep"] = compiled_sweep.exact(form, table, meter(), 1 << 12, witness=True)
    said[f"{name}impatient"] = compiled_depth.search(form, table, meter(), 1 << 12, patience=1, witness=True)
    if form.assignment:
        said |= {way: _of_all(outcome, form) for way, outcome in said.items()}
    return said


def _of_all(outcome: Ordered | Refuted | GaveUp, form: Arrays) -> Ordered | Refuted | GaveUp:
    """With the numbers that the operations have in the problem that nothing was settled in."""
    if isinstance(outcome, Ordered) and outcome.order is not None:
        return Ordered(form.rows[outcome.order])
    return outcome


def disagreements(model: Model, operations: Sequence[Op]) -> list[str]:
    problem = Problem(model, operations)
    expected = referee.linearizable(model, operations)
    wrong = []
    for way, outcome in _said(problem).items():
        if isinstance(outcome, GaveUp):
            if "zones" not in way and "impatient" not in way:
                wrong.append(f"{way}: {outcome.reason}")
        elif isinstance(outcome, Ordered) != expected:
            wrong.append(f"{way}: {outcome}, expected {expected}")
        elif isinstance(outcome, Ordered):
            assert outcome.order is not None
            if fault := referee.replay(model, operations, problem.named(outcome.order.tolist())):
                wrong.append(f"{way}: {fault}")
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
        assert disagreements(model, operations) == [], operations


@pytest.mark.parametrize("model", [Register(), AppendList(), KeyValueStrings(), Mutex()])
def test_random_histories_are_judged_as_by_the_definition(model: Model) -> None:
    """Up to nine operations with equal stamps, repeated values, unanswered operations and refused cas."""
    for seed in range(400):
        operations = simulate.small_history(Random(seed), model)
        assert disagreements(model, operations) == [], seed


@pytest.mark.parametrize("model", [Register(), AppendList(), KeyValueStrings(), Mutex()])
def test_the_portfolio_of_compiled_ways_judges_as_by_the_definition(
    monkeypatch: pytest.MonkeyPatch, model: Model
) -> None:
    """With each of its ways starved in turn: "so that the next way in line is exercised" (checker.md, section 8)."""
    monkeypatch.setattr(ways, "COMPILED_FROM", 0)
    answered = set()
    for seed in range(200):
        operations = simulate.small_history(Random(seed), model)
        problem = ways.pose(model, operations)
        tried = [*ways.quick(problem, meter()), *ways.thorough(problem, meter())]
        for starved in ["", *{name for name, _ in tried}]:
            answer = ways.attempt((way for way in tried if way[0] != starved), meter())
            if isinstance(answer.outcome, GaveUp):
                continue
            answered.add(answer.way)
            assert isinstance(answer.outcome, Valid) == referee.linearizable(model, operations), (seed, answer.way)
            if isinstance(answer.outcome, Valid):
                assert referee.replay(model, operations, answer.outcome.witness) == "", (seed, answer.way)
    usual = {"depth first"} if isinstance(model, Mutex) else {"depth first", "sweep"}
    assert usual <= answered  # a lock leaves nothing for a sweep: there is never a choice


def test_what_has_more_operations_open_at_once_than_a_word_has_bits_is_decided_by_the_plain_twins() -> None:
    """72 clients write, each a value of two, then everybody reads the same: all of them, and once one of neither."""
    writes = [Op(process=n, f="write", value=n % 2, type=OK, invoked=n, returned=300 + n) for n in range(72)]
    for result, expected in ((1, Valid), (2, Invalid)):
        reads = [
            Op(process=n, f="read", result=result if n == 400 else 1, type=OK, invoked=n, returned=n + 200)
            for n in range(400, 540)
        ]
        problem = ways.pose(Register(), [*writes, *reads])
        assert Search(problem, Meter(Budget()), witness=False).is_crowded
        assert isinstance(ways.decide(Register(), [*writes, *reads], meter()), expected)


class _Silent(Model):
    """A register that declares nothing, as a user's first model does; a third kind of read tells whether the value is even."""

    name, functions, init = "silent", frozenset({"read", "write", "cas", "even"}), 0

    def step(self, state: State, op: Op) -> State | None:
        if op.f == "write":
            return op.value  # type: ignore[no-any-return]
        if op.f == "cas":
            return op.value[1] if state == op.value[0] else None
        seen = state if op.f == "read" else state in {0, 2}
        return state if seen == op.result or op.type != OK else None


def _silent_history(seed: int, most: int, *, whole: bool) -> History:
    """Of writes, cas and reads; not `whole`: also of reads that tell half of the value."""
    draw = Random(seed)
    ops = simulate.small_history(draw, Register(0), most)
    found = []
    for op in ops:
        if op.f == "delete" or op.type == FAIL:
            op = msgspec.structs.replace(op, f="write", value=draw.randint(0, 3), type=OK, error=None)
        if op.f == "read" and not whole and draw.random() < 0.5:
            op = msgspec.structs.replace(op, f="even", result=draw.random() < 0.5)
        found.append(op)
    return History(found)


@pytest.mark.parametrize("calls", [1 << 14, 60, 0])
@pytest.mark.parametrize("whole", [True, False])
def test_a_model_that_declares_nothing_is_judged_as_by_the_definition(
    monkeypatch: pytest.MonkeyPatch, calls: int, *, whole: bool
) -> None:
    """What its operations do is learned where states are few, and asked for on demand where they are not."""
    monkeypatch.setattr(learning, "CALLS", calls)
    monkeypatch.setattr(selections, "_WORTH_IT", 0)
    monkeypatch.setattr(ways, "COMPILED_FROM", 0)
    learned = 0
    for seed in range(250):
        given = _silent_history(seed, 8, whole=whole)
        builder = HistoryBuilder()
        for op in given:
            builder.add(op)
        model = _Silent()
        for history in (given, builder.finish()):
            (operations,) = selections.by_object(history, model).values()
            learned += Search(ways.pose(model, operations), Meter(Budget()), witness=False).arrays.assignment
            outcome = ways.decide(model, operations, meter())
            assert isinstance(outcome, Valid) == referee.linearizable(model, given.operations), seed
            if isinstance(outcome, Valid):
                assert referee.replay(model, given.operations, outcome.witness) == "", seed
    assert bool(learned) == (calls > 0)


def test_operations_of_a_model_that_declares_nothing_are_asked_about_once_a_class() -> None:
    """Issue 4: "a user's own model of 15 lines gets the compiled search unchanged, by memoised transitions"."""
    calls = []

    class Counted(_Silent):
        def step(self, state: State, op: Op) -> State | None:
            calls.append(op)
            return super().step(state, op)

    history = simulate.register_history(Random(1), operations=2000, clients=5, values=4)
    builder = HistoryBuilder()
    builder.add(Op(process=10**6, f="write", value=-1, type=OK, invoked=-2, returned=-1))
    for op in history:
        cas = op.f == "cas" and [-1 if each is None else each for each in op.value]
        result = -1 if op.f == "read" and op.result is None else op.result
        if op.type != FAIL:
            builder.add(msgspec.structs.replace(op, key=None, value=cas or op.value, result=result))
    assert check(builder.finish(), Counted(), workers=1).verdict == "valid"
    assert len(calls) < 500


def _run(program: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def _in_a_new_process(program: str, **environment: str) -> str:
    done = _run(program, environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _told_by(program: str, **environment: str) -> str:
    return _run(program, environment).stderr


_CHECKED = """
import sys
{before}
from random import Random
import simulate
import tables
import test_agreement
from checker import check, make_model
history = simulate.register_history(Random(1), operations={operations}, clients=4, unanswered=0.05, values=3)
verdict = check(history, make_model("register"), workers=1)
print(verdict.verdict, sys.modules.get("numba") is not None, sys.modules.get("checker.search.compiled") is not None)
"""


_SEARCHED = """
from checker import History, Op, check, make_model
def op(f, value, begin, end):
    return Op(process=begin, f=f, value=value if f == "write" else None, result=value if f == "read" else None,
              type="ok", invoked=begin, returned=end)
known = [op("read" if n % 3 == 2 else "write", 1, 2 * n, 2 * n + 1) for n in range(210)]  # not for zones: 1 is written twice
writes = [op("write", n, 420 + n, 440 + n) for n in range(2, 14)]
verdict = check(History([*known, *writes, op("read", -1, 480, 481)]), make_model("register"), workers=1)
print(verdict.verdict)
"""
"""Depth first it takes more nodes than the first table of nodes has room for."""


def test_small_histories_are_decided_without_loading_compiled_code() -> None:
    """Issue 4, row 15: "under 200 operations plain Python, no numba import"."""
    assert _in_a_new_process(_CHECKED.format(before="", operations=150)) == "valid False False"
    assert _in_a_new_process(_CHECKED.format(before="", operations=300)) == "valid True True"


def test_without_numba_the_plain_twins_answer() -> None:
    hidden = "sys.modules['numba'] = None"
    assert _in_a_new_process(_CHECKED.format(before=hidden, operations=300)) == "valid False False"


def test_where_nothing_can_be_kept_it_says_so_once_and_goes_on() -> None:
    """Issue 4, row 15, where the folder of the cache is not writable."""
    program = """
import warnings
from numba.core import caching
caching.CacheImpl._locator_classes = []  # root may write everywhere, so take away the places
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    from checker.search import build, kernels
print(len(told), "NUMBA_CACHE_DIR" in str(told[0].message), kernels._KEPT, kernels.lowest(8))
"""
    assert _in_a_new_process(program) == "1 True False 3"


def test_whoever_compiles_where_nothing_was_compiled_ahead_is_told(tmp_path: Path) -> None:
    """checker.md, section 2: "ship no command that compiles in silence"; once, on standard error."""
    program = "import numpy; from checker.search import kernels; print(kernels.lowest(8))"
    assert _told_by(program, NUMBA_CACHE_DIR=str(tmp_path)).count("compiling the checker's search, once") == 1
    assert _told_by(program, NUMBA_CACHE_DIR=str(tmp_path)) == ""


@pytest.mark.slow
def test_what_is_compiled_ahead_is_all_that_a_check_needs(tmp_path: Path) -> None:
    """A kernel that is called with other types than `build` calls it with would be compiled in silence."""
    count = """
from numba.core import event
compiled = []
event.register("numba:compile", type("", (event.Listener,), dict(on_start=lambda self, e: compiled.append(e), on_end=lambda self, e: None))())
"""
    built = count + "from checker.search.build import build; build(); print(len(compiled) > 5)"
    assert _in_a_new_process(built, NUMBA_CACHE_DIR=str(tmp_path)) == "True"
    for program in (_CHECKED.format(before="", operations=300), _SEARCHED):
        used = count + program + "print(len(compiled))"
        said = _in_a_new_process(used, NUMBA_CACHE_DIR=str(tmp_path)).split()
        assert (said[0], said[-1]) == ("invalid" if program is _SEARCHED else "valid", "0")


def test_what_is_settled_is_what_the_twin_settles_and_zones_answer_where_their_twin_does() -> None:
    """Reductions 5 and 6, and the theorem of zones: the same operations kept, the same returns, the same evidence in size."""
    answered = 0
    for seed in range(600):
        problem = Problem(Register(), simulate.small_history(Random(seed), Register()))
        form = arrays.of_problem(problem)
        if not form.assignment:
            continue
        settled, twin = settling.settle(form), reductions.settle(problem)
        assert isinstance(settled, Refuted) == isinstance(twin, Invalid)
        if isinstance(settled, Refuted) or isinstance(twin, Invalid):
            assert len(settled.evidence) == 2
            continue
        assert settled.rows.tolist() == [problem.operations.index(op) for op in twin.operations]
        assert settled.returned.tolist() == twin.returned
        said, twin_said = compiled_zones.decide(settled), zones.decide(twin)
        kinds = {GaveUp: GaveUp, Ordered: Valid, Refuted: Invalid}
        assert isinstance(twin_said, kinds[type(said)])
        answered += not isinstance(said, GaveUp)
        if isinstance(said, Refuted):
            assert 1 <= len(said.evidence) <= 4
    assert answered > 100


@pytest.mark.parametrize("count", [100, 300])
def test_what_may_happen_anywhere_and_changes_nothing_accuses_nobody(count: int) -> None:
    """One client writes 1, pings so many times, and reads 1: a ping is in no block of zones (`fast/zones.py`)."""
    given = [("write", 1, None), *[("ping", None, None)] * count, ("read", None, 1)]
    spans = [(2 * number, 2 * number + 1) for number in range(len(given))]

    class Pinged(_Silent):
        functions = _Silent.functions | {"ping"}

        def step(self, state: State, op: Op) -> State | None:
            return state if op.f == "ping" else super().step(state, op)

    builder = HistoryBuilder()
    for op in simulate.placed(given, spans):
        builder.add(op)
    verdict = check(builder.finish(), Pinged(), workers=1, witness=True)
    assert (verdict.verdict, verdict.way) == ("valid", "zones" if count >= ways.COMPILED_FROM else "depth first")
    assert [row["f"] for row in verdict.witness[0]["order"]] == [f for f, _, _ in given]


def test_random_models_of_users_are_judged_as_by_the_definition() -> None:
    """Small tables of steps, declared or not: by the plain ways, by the compiled ones, and through the door with columns."""
    for seed in range(400):
        model, operations = tables.drawn(Random(seed))
        assert test_agreement.disagreements(model, operations) == [], seed
        assert disagreements(model, operations) == [], seed
        assert forced.disagreements(model, operations) == [], seed


def test_compiled_searches_that_end_early_say_nothing() -> None:
    """With room for two nodes or two configurations they decide or give up: being out of room proves nothing."""
    gave_up = 0
    for seed in range(300):
        model: Model = AppendList() if seed % 3 == 0 else Register()
        operations = simulate.small_history(Random(seed), model)
        problem, expected = Problem(model, operations), referee.linearizable(model, operations)
        form = arrays.of_problem(problem)
        table = None if form.assignment else arrays.Table(problem.transitions, len(set(problem.classes)))
        for outcome in (
            compiled_depth.search(form, table, meter(), 2),
            compiled_depth.search(form, table, meter(), 2, oldest_first=True),
            compiled_sweep.exact(form, table, meter(), 2),
        ):
            gave_up += isinstance(outcome, GaveUp) and expected
            assert isinstance(outcome, GaveUp) or isinstance(outcome, Ordered) == expected, seed
    assert gave_up > 50


def test_what_was_seen_before_it_was_invoked_is_settled_as_impossible() -> None:
    """A read of 1 returned before the only write of 1, which never returned, was invoked: it came from nowhere (reduction 6)."""
    read = Op(process=0, f="read", result=1, type=OK, invoked=0, returned=1)
    write = Op(process=1, f="write", value=1, type="info", invoked=2)
    settled = settling.settle(arrays.of_problem(Problem(Register(), [read, write])))
    assert isinstance(settled, Refuted)
    assert sorted(settled.evidence) == [0, 1]
