"""The compiled sweep says what the definition says: each reduction off, in both forms, and wherever its kernel may stop."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from random import Random

import msgspec
import pytest
import referee
import simulate
from test_agreement import LIST_SHAPES, LOCK_SHAPES, REGISTER_SHAPES, STRING_SHAPES
from test_compiled import meter

from checker.budget import Budget, Meter, OutOfBudgetError
from checker.history import FAIL, INFO, Op
from checker.models.base import Model
from checker.models.lists import AppendList
from checker.models.locks import Mutex
from checker.models.registers import Register
from checker.models.strings import KeyValueStrings
from checker.search import arrays, compiled_sweep, frontier, kernels, sweep
from checker.search.arrays import Arrays, Ordered, Refuted, Table
from checker.search.compiled_sweep import ALL, CompiledSweep, Switches
from checker.search.problem import Problem
from checker.verdict import GaveUp

MODELS: list[Model] = [Register(), Register(), AppendList(), KeyValueStrings(), Mutex()]


def forms(problem: Problem) -> Iterator[tuple[Arrays, Table | None]]:
    """The problem in assignment form, if it has one, and with a table of transitions."""
    form = arrays.of_problem(problem)
    if form.assignment:
        yield form, None
    yield form._replace(assignment=False), Table(problem.transitions, int(form.classes.max(initial=0)) + 1)


def complaints(model: Model, operations: Sequence[Op], switches: Switches = ALL) -> list[str]:
    """What is wrong with what the three sweeps say of these operations."""
    problem = Problem(model, operations)
    expected = referee.linearizable(model, operations)
    wrong = []
    for form, table in forms(problem):
        said = {
            "exact": compiled_sweep.exact(form, table, meter(), 1 << 16, witness=True, switches=switches),
            "beam": compiled_sweep.beam(form, table, meter(), 2, witness=True),
            "relaxed": compiled_sweep.relaxed(
                form, table, meter(), 1 << 6
            ),  # appends without end have states without end
        }
        for way, outcome in said.items():
            if isinstance(outcome, GaveUp):
                wrong += [f"{way}: {outcome.reason}"] if way == "exact" else []
            elif isinstance(outcome, Ordered) != expected:
                wrong.append(f"{way}: {outcome}, expected {expected}")
            elif isinstance(outcome, Ordered):
                assert outcome.order is not None
                if fault := referee.replay(model, operations, problem.named(outcome.order.tolist())):
                    wrong.append(f"{way}: {fault}")
            elif way == "exact" and not _is_first(model, operations, problem.operations[outcome.evidence[0]]):
                wrong.append(f"{way}: {outcome.evidence} is not the first that nothing explains")
    return wrong


def _is_first(model: Model, operations: Sequence[Op], impossible: Op) -> bool:
    """Whether what was there at the return of this operation has no order, and had one without that return."""
    end = impossible.returned
    assert end is not None

    def before(place: int) -> list[Op]:
        known = [op for op in operations if op.invoked <= end]
        return [
            op
            if op.returned is not None and op.returned <= place
            else msgspec.structs.replace(op, returned=None, type=INFO)
            for op in known
            if op.type != FAIL or (op.returned or end) <= place
        ]

    if any(op.returned == end for op in operations if op is not impossible):
        return not referee.linearizable(model, before(end))  # others return at the same time, in whatever order
    return not referee.linearizable(model, before(end)) and referee.linearizable(model, before(end - 1))


@pytest.mark.parametrize(
    "model,shapes,count,one_in",
    [
        (Register(), REGISTER_SHAPES, 2, 1),
        (Register(), REGISTER_SHAPES, 3, 31),
        (AppendList(), LIST_SHAPES, 3, 17),
        (KeyValueStrings(), STRING_SHAPES, 3, 17),
        (Mutex(), LOCK_SHAPES, 4, 7),
    ],
)
def test_small_histories_are_judged_as_by_the_definition(
    model: Model, shapes: list[simulate.Shape], count: int, one_in: int
) -> None:
    every = itertools.product(simulate.interleavings(count), itertools.product(shapes, repeat=count))
    for spans, chosen in itertools.islice(every, 0, None, one_in):
        operations = simulate.placed(chosen, spans)
        assert complaints(model, operations) == [], operations


@pytest.mark.parametrize("switch", ["", *Switches._fields])
def test_a_reduction_switched_off_changes_no_verdict(switch: str) -> None:
    """checker.md, section 8: "Each reduction off: the verdict must not change, the node count may"."""
    switches = ALL._replace(**{switch: False}) if switch else ALL
    for seed in range(250 if switch else 700):
        model = MODELS[seed % len(MODELS)]
        operations = simulate.small_history(Random(seed), model)
        assert complaints(model, operations, switches) == [], seed


@pytest.mark.parametrize("pause,rows,bits", [(1, 1, 2), (2, 3, 4), (7, 1, 8)])
def test_wherever_the_kernel_stops_it_goes_on_with_the_same_verdict(
    monkeypatch: pytest.MonkeyPatch, pause: int, rows: int, bits: int
) -> None:
    """Pauses after every step, no room for a second row, counts of uses up to one, and a table that knows nothing at first."""
    monkeypatch.setattr(compiled_sweep, "_FIRST_STEPS", pause)
    monkeypatch.setattr(compiled_sweep, "_MOST_STEPS", pause)
    monkeypatch.setattr(compiled_sweep, "_FIRST_ROWS", rows)
    monkeypatch.setattr(compiled_sweep, "_FIRST_LINKS", rows)
    monkeypatch.setattr(compiled_sweep, "_GENERATIONS", 3)
    monkeypatch.setattr(compiled_sweep, "_BITS", bits)
    for seed in range(250):
        model = MODELS[seed % len(MODELS)]
        operations = simulate.small_history(Random(seed), model)
        assert complaints(model, operations) == [], seed
    for seed in range(12):
        history = simulate.register_history(
            Random(seed), operations=150, clients=4, unanswered=0.15, values=2 + seed % 3
        )
        problem = Problem(Register(), history.operations)
        for form, table in forms(problem):
            outcome = compiled_sweep.beam(form, table, meter(), 64, witness=True)
            assert isinstance(outcome, Ordered)
            assert outcome.order is not None
            assert referee.replay(Register(), history.operations, problem.named(outcome.order.tolist())) == ""


def test_counts_of_uses_never_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three hundred unanswered writes of one value, each of which a read needs, while an open write keeps the least use at none."""
    monkeypatch.setattr(compiled_sweep, "_BITS", 4)
    operations = [Op(process=0, f="cas", value=[1, 2], invoked=0)]
    for place in range(1, 1201, 4):
        operations += [
            Op(process=place, f="write", value=1, invoked=place),
            Op(process=1, f="write", value=3, type="ok", invoked=place + 1, returned=place + 1),
            Op(process=2, f="read", result=1, type="ok", invoked=place + 2, returned=place + 2),
        ]
    form = arrays.of_problem(Problem(Register(), operations))
    assert isinstance(compiled_sweep.exact(form, None, meter(), 1 << 12), Ordered)
    one_more = Op(process=3, f="read", result=1, type="ok", invoked=2001, returned=2002)
    last = Op(process=3, f="write", value=3, type="ok", invoked=1999, returned=2000)
    form = arrays.of_problem(Problem(Register(), [*operations, last, one_more]))
    assert isinstance(compiled_sweep.exact(form, None, meter(), 1 << 12), Refuted)


@pytest.mark.parametrize("seed", range(4))
def test_its_frontier_is_that_of_its_readable_twin(seed: int) -> None:
    """A reduction that was lost on the way would widen it; one that takes too much would show in the states."""
    history = simulate.register_history(Random(seed), operations=300, clients=6, unanswered=0.02, values=3)
    for end in range(50, 600, 60):
        known = [
            op
            if op.returned is not None and op.returned <= end
            else msgspec.structs.replace(op, returned=None, type=INFO)
            for op in history.operations
            if op.invoked <= end and (op.type != FAIL or (op.returned or 0) <= end)
        ]
        problem = Problem(Register(), known)
        twin = sweep.Sweep(problem, meter(), 1 << 16).run()
        switches = ALL._replace(look_ahead=False)
        compiled = CompiledSweep(arrays.of_problem(problem), None, meter(), 1 << 16, switches=switches)
        assert twin.impossible is compiled.run().impossible is None
        assert compiled.width <= len(twin.frontier)
        assert len(compiled.states()) == len({state for state, *_ in twin.frontier})


def test_a_sweep_is_carried_on_from_where_it_stopped() -> None:
    history = simulate.register_history(Random(5), operations=300, clients=5, unanswered=0.02, values=3)
    form = arrays.of_problem(Problem(Register(), history.operations))
    whole = CompiledSweep(form, None, meter(), 1 << 16)
    assert whole.run().impossible is None
    parts = CompiledSweep(form, None, meter(), 1 << 16)
    for upto in range(0, len(form.invoked) + len(form.invoked), 7):
        parts.run(upto)
    assert parts.run() == whole.run()
    assert parts.states() == whole.states()


def test_each_reduction_saves_work_somewhere() -> None:
    """A switch that does nothing would pass the tests above."""
    spent = dict.fromkeys(["", *Switches._fields], 0)
    for seed in range(60):
        history = simulate.register_history(
            Random(seed), operations=60, clients=5, unanswered=0.1, values=2 + seed % 30
        )
        form = arrays.of_problem(Problem(Register(), history.operations))
        for switch in spent:
            counted = meter()
            switches = ALL._replace(**{switch: False}) if switch else ALL
            compiled_sweep.exact(form, None, counted, 3000, switches=switches)
            spent[switch] += counted.steps
    assert all(steps > spent[""] for switch, steps in spent.items() if switch), spent


def test_limits_and_budgets_are_kept() -> None:
    history = simulate.register_history(Random(3), operations=400, clients=12, unanswered=0.3, values=4)
    form = arrays.of_problem(Problem(Register(), history.operations))
    outcome = compiled_sweep.exact(form, None, meter(), 32)
    assert isinstance(outcome, GaveUp)
    assert "more than 32 configurations at event" in outcome.reason
    with pytest.raises(OutOfBudgetError, match="1,000 steps"):
        compiled_sweep.exact(form, None, Meter(Budget(steps=1000, seconds=None)), 1 << 20)
    with pytest.raises(OutOfBudgetError, match="2,000,000 bytes"):
        compiled_sweep.exact(form, None, Meter(Budget(bytes=2_000_000, seconds=None)), 1 << 20)


def test_more_open_operations_than_a_word_has_bits_are_left_to_others() -> None:
    operations = [Op(process=n, f="write", value=n, type="ok", invoked=n, returned=100 + n) for n in range(63)]
    for kept, expected in ((62, Ordered), (63, GaveUp)):
        form = arrays.of_problem(Problem(Register(), operations[:kept]))
        assert isinstance(compiled_sweep.exact(form, None, meter(), 1 << 10), expected)


def test_a_beam_never_says_invalid_and_a_relaxed_search_never_says_valid() -> None:
    good = simulate.register_history(Random(1), operations=40, clients=4, unanswered=0.1, values=3)
    bad = simulate.stale_read(Random(2), simulate.register_history(Random(2), operations=80, clients=3, unanswered=0.1))
    assert bad is not None
    valid, invalid = (arrays.of_problem(Problem(Register(), history.operations)) for history in (good, bad))
    assert isinstance(compiled_sweep.beam(valid, None, meter(), 64), Ordered)
    assert isinstance(compiled_sweep.relaxed(valid, None, meter(), 1 << 12), GaveUp)
    assert isinstance(compiled_sweep.beam(invalid, None, meter(), 64), GaveUp)
    assert isinstance(compiled_sweep.relaxed(invalid, None, meter(), 1 << 12), Refuted)


def test_what_was_compiled_from_other_sources_is_not_taken() -> None:
    """Numba looks at the file of a kernel alone; most of the sweep's kernel stands in another one."""
    empty = arrays.of_problem(Problem(Register(), ()))
    compiled_sweep.exact(empty, None, meter(), 1)
    signatures = [str(signature) for signature in frontier.run.signatures]  # type: ignore[attr-defined]
    assert signatures
    assert all(f"omitted(default={kernels.SOURCES})" in signature for signature in signatures)
