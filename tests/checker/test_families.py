"""The near-linear ways of queues, stacks, sets, counters, locks and identifiers: each agrees with brute force and with the search."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from random import Random

import families
import pytest
import referee
import simulate

from checker import check
from checker.budget import Budget, Meter, OutOfBudgetError
from checker.fast import alternation, counters, identifiers, owners, queues, sets, stacks
from checker.history import History, HistoryError, Op
from checker.models.base import Model
from checker.models.catalog import make_model
from checker.search import depth, sweep
from checker.search.problem import Problem
from checker.verdict import GaveUp, Invalid, Outcome, Valid


def meter() -> Meter:
    return Meter(Budget(seconds=None))


WAYS: dict[str, Callable[[Problem], Outcome]] = {
    "set": alternation.decide,
    "grow-only-set": sets.decide,
    "set-full": sets.decide,
    "counter": lambda problem: counters.decide(problem, meter()),
    "queue": queues.decide,
    "stack": stacks.decide,
    "mutex": alternation.decide,
    "owner-lock": owners.decide,
    "reentrant-lock": owners.decide,
    "fencing-lock": owners.decide,
    "unique-ids": identifiers.decide,
}
SHAPES = {**families.SHAPES, "mutex": [("acquire", None, None), ("release", None, None)]}


def disagreements(model: Model, operations: Sequence[Op]) -> list[str]:
    """Ways and searches whose verdict or witness is not what the definition says."""
    expected = referee.linearizable(model, operations)
    problem, narrowed = Problem(model, operations), Problem(model.narrowed(operations), operations)
    said: dict[str, Outcome] = {
        "depth": depth.search(narrowed, meter(), 1 << 16),
        "sweep": sweep.exact(narrowed, meter(), 1 << 16),
        "sweep, not narrowed": sweep.exact(problem, meter(), 1 << 16),
    }
    if model.name in WAYS:
        said["way"] = WAYS[model.name](problem)
    wrong = []
    for way, outcome in said.items():
        if isinstance(outcome, Valid):
            fault = referee.replay(model, operations, outcome.witness)
            wrong += [f"{way}: valid"] if not expected else [f"{way}: {fault}"] if fault else []
        elif isinstance(outcome, Invalid) and expected:
            wrong.append(f"{way}: invalid")
        elif isinstance(outcome, GaveUp) and way != "way":
            wrong.append(f"{way}: gave up: {outcome.reason}")
    return wrong


def histories(name: str, count: int) -> list[list[Op]]:
    every = itertools.product(simulate.interleavings(count), itertools.product(SHAPES[name], repeat=count))
    return [simulate.with_processes(simulate.placed(shapes, spans)) for spans, shapes in every]


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_all_small_histories_are_judged_as_by_the_definition(name: str) -> None:
    """The issue: "All histories of up to 4 operations over small values for each model: every way = search = brute force"."""
    model = make_model(name)
    for count in (1, 2):
        for operations in histories(name, count):
            assert disagreements(model, operations) == [], operations


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SHAPES))
@pytest.mark.parametrize("count,most", [(3, 1_500), (4, 1_200)])
def test_larger_small_histories_are_judged_as_by_the_definition(name: str, count: int, most: int) -> None:
    """The same with three and four operations, spread evenly over all of them where they are many."""
    model, shapes = make_model(name), SHAPES[name]
    spans = list(simulate.interleavings(count))
    every = len(spans) * len(shapes) ** count
    for number in range(0, every, every // most + 1):
        rest, place = divmod(number, len(spans))
        chosen = [shapes[rest // len(shapes) ** each % len(shapes)] for each in range(count)]
        operations = simulate.with_processes(simulate.placed(chosen, spans[place]))
        assert disagreements(model, operations) == [], operations


@pytest.mark.parametrize("name", sorted(WAYS))
def test_random_histories_are_judged_as_by_the_definition(name: str) -> None:
    """Up to nine operations, a quarter unanswered, with equal stamps; the way must decide most of them, and see both verdicts."""
    model = make_model(name)
    seen = {Valid: 0, Invalid: 0, GaveUp: 0}
    for seed in range(200):
        operations = simulate.small_history(Random(seed), model)
        assert disagreements(model, operations) == [], seed
        seen[type(WAYS[name](Problem(model, operations)))] += 1
    assert min(seen[Valid], seen[Invalid]) > 10, seen
    assert seen[GaveUp] < 120, seen


@pytest.mark.parametrize("limit", [0, 3, 40])
def test_stacks_are_decided_alike_with_and_without_the_tree(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tree is for many elements that hang together; here it works on a few, or on all but a few."""
    monkeypatch.setattr(stacks, "_SMALL", limit)
    model = make_model("stack")
    for seed in range(300):
        operations = simulate.small_history(Random(seed), model, most=10)
        outcome = stacks.decide(Problem(model, operations))
        if not isinstance(outcome, GaveUp):
            assert isinstance(outcome, Valid) == referee.linearizable(model, operations), seed
        if isinstance(outcome, Valid):
            assert referee.replay(model, operations, outcome.witness) == "", seed


@pytest.mark.parametrize("name", ["queue", "stack"])
def test_the_evidence_is_impossible_by_itself(name: str) -> None:
    """Verdict: "`evidence` are the operations that show it". Elements may be left out whole: what is left of a queue stays one."""
    model = make_model(name)
    shown = 0
    for seed in range(600):
        operations = [op for op in simulate.small_history(Random(seed), model) if op.type != "info"]
        outcome = WAYS[name](Problem(model, operations))
        if isinstance(outcome, Invalid):
            shown += 1
            assert not referee.linearizable(model, outcome.evidence), seed
    assert shown > 50


def test_bounds_of_a_counter_are_not_enough() -> None:
    """checker.md, section 4: increments [0, 100] and [40, 60], reads of 1 at [10, 12] and at [61, 62]: the bounds are 0..1 and 1..2."""
    operations = [
        Op(process=0, f="add", value=1, type="ok", invoked=0, returned=100),
        Op(process=1, f="read", result=1, type="ok", invoked=10, returned=12),
        Op(process=2, f="add", value=1, type="ok", invoked=40, returned=60),
        Op(process=1, f="read", result=1, type="ok", invoked=61, returned=62),
    ]
    problem = Problem(make_model("counter"), operations)
    assert counters._out_of_bounds(problem, 0) is None
    assert isinstance(counters.decide(problem, meter()), Invalid)


def _adds_and_a_read(amounts: Sequence[int], result: int) -> Problem:
    """Adds that are all open while the read runs."""
    count = len(amounts)
    operations = [
        Op(process=n, f="add", value=amount, type="ok", invoked=n, returned=count + 2 + n)
        for n, amount in enumerate(amounts)
    ]
    read = Op(process=count, f="read", result=result, type="ok", invoked=count, returned=count + 1)
    return Problem(make_model("counter"), [*operations, read])


def test_what_sums_of_adds_can_not_be_is_seen_before_they_are_tried() -> None:
    """Of 3, 6, ..., 60 there are 2^20 sets, and none has the sum 301; what can't be seen so costs steps of the budget."""
    counted = meter()
    assert isinstance(counters.decide(_adds_and_a_read(range(3, 63, 3), 301), counted), Invalid)
    assert counted.steps < 1_000
    amounts = [1_000_000 + n * n for n in range(18)]
    assert isinstance(counters.decide(_adds_and_a_read(amounts, 9_000_001), meter()), Invalid)
    with pytest.raises(OutOfBudgetError):
        counters.decide(_adds_and_a_read(amounts, 9_000_001), Meter(Budget(steps=10_000, seconds=None)))


@pytest.mark.parametrize("span", [0, 1 << 14])
def test_all_choices_of_adds_with_a_sum_are_found(span: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against all counts of each amount; sums are held as bits, or only bounded."""
    monkeypatch.setattr(counters, "_SPAN", span)
    draw = Random(4)
    for _ in range(200):
        smallest = draw.choice([-6, 1])
        amounts = sorted({draw.randint(smallest, 9) or 1 for _ in range(draw.randint(0, 4))}, reverse=True)
        pools = [counters._Pool(amount, list(range(draw.randint(1, 3))), 3, -1) for amount in amounts]
        missing = draw.randint(smallest, 20)
        found = counters._choices(missing, pools, (), meter(), grows=smallest > 0)
        every = itertools.product(*(range(len(pool.numbers) + 1) for pool in pools))
        sums = [sum(n * amount for n, amount in zip(counts, amounts, strict=True)) for counts in every]
        assert len(list(found)) == sums.count(missing) or (smallest > 0 and missing <= 0)


def test_a_dequeue_finds_nothing_only_where_nothing_need_be_inside() -> None:
    """checker.md: "covering may be by a chain of overlapping such values"; one that leaves a gap is no cover."""
    model = make_model("queue")
    for gap, expected in ((False, Invalid), (True, Valid)):
        operations = [
            Op(process=0, f="enqueue", value=1, type="ok", invoked=0, returned=1),
            Op(process=1, f="dequeue", type="ok", invoked=2, returned=9),
            Op(process=2, f="enqueue", value=2, type="ok", invoked=3, returned=7 if gap else 4),
            Op(process=3, f="dequeue", result=1, type="ok", invoked=5, returned=8),
            Op(process=4, f="dequeue", result=2, type="ok", invoked=10, returned=11),
        ]
        assert isinstance(queues.decide(Problem(model, operations)), expected)


def test_names_of_other_tools_are_read_and_a_drain_is_a_row_of_dequeues() -> None:
    """The issue: "Names that differ are mapped by the model's declared aliases". The order of what a drain gave counts where it ran alone."""
    events = [
        {"process": 0, "type": "invoke", "f": "enq", "value": 1},
        {"process": 0, "type": "ok", "f": "enq", "value": 1},
        {"process": 0, "type": "invoke", "f": "enq", "value": 2},
        {"process": 0, "type": "ok", "f": "enq", "value": 2},
        {"process": 0, "type": "invoke", "f": "drain"},
    ]
    right, wrong = ({"process": 0, "type": "ok", "f": "drain", "value": got} for got in ([1, 2], [2, 1]))
    assert check(History.from_events([*events, right]), make_model("queue")).verdict == "valid"
    assert check(History.from_events([*events, wrong]), make_model("queue")).verdict == "invalid"
    beside = [
        {"process": 1, "type": "invoke", "f": "deq"},
        wrong,
        {"process": 1, "type": "fail", "f": "deq", "error": "empty"},
    ]
    verdict = check(History.from_events([*events, *beside]), make_model("queue"))
    assert "in which order its parts came was not used" in verdict.warnings[0]
    lost = {"process": 0, "type": "info", "f": "drain"}
    last = [{"process": 1, "type": "invoke", "f": "deq"}, {"process": 1, "type": "ok", "f": "deq", "value": None}]
    assert check(History.from_events([*events, lost, *last]), make_model("queue")).verdict == "valid"


@pytest.mark.parametrize(
    "got,expected", [([1, 2, 3, 4, 5], "valid"), ([1, 2, 3, 4], "invalid"), ([], "invalid"), (None, "invalid")]
)
def test_a_drain_that_was_answered_left_nothing_behind(got: list[int] | None, expected: str) -> None:
    """Jepsen drains a queue until it is empty, to find what was lost: a drain that lacks an acknowledged element lost it."""
    operations = [
        Op(process=0, f="enqueue", value=value, type="ok", invoked=2 * value, returned=2 * value + 1)
        for value in range(1, 6)
    ]
    drain = Op(process=0, f="drain", result=got, type="ok", invoked=20, returned=21)
    assert check(History([*operations, drain]), make_model("queue")).verdict == expected
    refused = Op(process=0, f="drain", type="fail", invoked=20, returned=21)
    assert check(History([*operations, refused]), make_model("queue")).verdict == "valid"


def test_a_lock_that_was_acquired_twice_and_released_once_is_not_free() -> None:
    """A reentrant lock is free after as many releases as acquires, not after the first release."""
    steps = [("acquire", 1), ("acquire", 1), ("release", 1), ("acquire", 2)]
    operations = [
        Op(process=process, f=f, type="ok", invoked=2 * place, returned=2 * place + 1)
        for place, (f, process) in enumerate(steps)
    ]
    problem = Problem(make_model("reentrant-lock"), operations)
    assert not referee.linearizable(problem.model, operations)
    assert isinstance(owners.decide(problem), Invalid)
    assert isinstance(owners.decide(Problem(problem.model, operations[:-1])), Valid)


@pytest.mark.parametrize(
    "f,model", [("write", "register"), ("enqueue", "queue"), ("push", "stack"), ("put", "key-value")]
)
@pytest.mark.parametrize("columns", [False, True])
def test_another_value_given_back_is_a_warning(f: str, model: str, *, columns: bool) -> None:
    """Jepsen's clients give back what was written; others may give what was there before, or a version, so it is no error."""
    for answer, warned in (("b", True), ("a", False), (None, False), (7, False), (True, False)):
        events = [
            {"process": 0, "type": "invoke", "f": f, "value": "a"},
            {"process": 0, "type": "ok", "f": f, "value": answer},
        ]
        history = History.from_events(events)
        verdict = check(history if columns else History(list(history)), make_model(model))
        assert verdict.verdict == "valid"
        expected = [f'{f} "a" of process 0 (line 1) was answered with "b": what a {f} answers was not looked at']
        assert verdict.warnings == (expected if warned else [])


def test_only_whole_numbers_have_sums_that_do_not_depend_on_their_order() -> None:
    with pytest.raises(HistoryError, match=r"the amount of an add must be a whole number, this is 0\.1"):
        check(History([Op(process=0, f="add", value=0.1, invoked=0)]), make_model("counter"))


@pytest.mark.parametrize("name", ["queue", "stack"])
def test_what_nobody_takes_costs_no_states(name: str) -> None:
    """Ten concurrent puts have 3,628,800 orders; only where the one that is taken stands in them makes a difference."""
    puts, takes = ("enqueue", "dequeue") if name == "queue" else ("push", "pop")
    operations = [Op(process=n, f=puts, value=n, type="ok", invoked=n, returned=20 + n) for n in range(10)]
    operations += [Op(process=n, f=takes, result=3, type="ok", invoked=40 + n, returned=50 + n) for n in (1, 2)]
    problem = Problem(make_model(name).narrowed(operations), operations)
    assert isinstance(depth.search(problem, Meter(Budget(steps=20_000, seconds=None)), 1 << 16), Invalid)
