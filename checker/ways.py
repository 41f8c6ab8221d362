"""The ways to a verdict on one object, and the order in which they are tried.

No algorithm lives here, and no splitting or merging (`check.py`). Each way is exact or says only what it can prove, so the
order is a matter of speed alone.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol, overload

from checker.budget import Meter, OutOfBudgetError
from checker.fast import (
    alternation,
    counters,
    identifiers,
    owners,
    prefixes,
    queues,
    sets,
    stacks,
    zones,
)
from checker.history import Op
from checker.models.base import Model
from checker.search import depth, reductions, sweep
from checker.search.problem import Problem
from checker.verdict import GaveUp, Invalid, Outcome, Valid

Ways = Iterator[tuple[str, Callable[[], Outcome]]]
"""Names of ways with what they do, in order."""


COMPILED_FROM = 200
"""Smaller problems are decided in plain Python: they take milliseconds, and to load compiled code takes a second."""


class Compiled(Protocol):
    """What `search.compiled.Search` offers."""

    refuted: Invalid | None

    def __len__(self) -> int: ...
    @property
    def has_unanswered(self) -> bool: ...
    @property
    def is_crowded(self) -> bool: ...
    @property
    def has_few_states(self) -> bool: ...
    def zones(self) -> Outcome: ...
    def depth_first(
        self, meter: Meter, limit: int, *, oldest_first: bool = False, patience: int | None = None
    ) -> Outcome: ...
    def sweep(self, meter: Meter, limit: int) -> Outcome: ...
    def beam(self, meter: Meter, width: int) -> Valid | GaveUp: ...
    def relaxed(self, meter: Meter, limit: int) -> Invalid | GaveUp: ...


class Answer(NamedTuple):
    """What came out, and by which way; `of_memory`: some way before it stopped for want of memory."""

    outcome: Outcome
    way: str
    of_memory: bool = False


class Watched(Sequence[Op]):
    """Operations; whoever passes them looks at the budget meanwhile."""

    def __init__(self, operations: Sequence[Op], meter: Meter) -> None:
        self._operations, self._meter = operations, meter

    def __len__(self) -> int:
        return len(self._operations)

    @overload
    def __getitem__(self, place: int) -> Op: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Op]: ...
    def __getitem__(self, place: int | slice) -> Op | Sequence[Op]:
        return self._operations[place]

    def __iter__(self) -> Iterator[Op]:
        return self._meter.along(self._operations)


def pose(model: Model, operations: Sequence[Op], meter: Meter | None = None) -> Problem:
    """The problem of these operations, with as few states as the model can do with. Raises `OutOfBudgetError`."""
    watched = operations if meter is None else Watched(operations, meter)
    return Problem(model.narrowed(watched), operations, meter)


def quick(problem: Problem, meter: Meter, *, witness: bool = True) -> Ways:
    """The near-linear ways, then a depth-first search that ends soon. Compiled ones give a witness only where it is asked for."""
    yield from _of_families(problem, meter)
    compiled = _compiled(problem, meter, witness=witness)
    if compiled is not None:
        if compiled.has_few_states:  # else it would make all operations, only to see that
            yield "alternation", lambda: alternation.decide(problem)
        refuted = compiled.refuted
        if refuted is not None:
            yield "settling", lambda: refuted
            return
        yield "zones", compiled.zones
        limit = max(1 << 15, 4 * len(compiled))
        yield "depth first", lambda: compiled.depth_first(meter, limit, patience=1 << 14)
        return
    yield "alternation", lambda: alternation.decide(problem)
    settled = _settled(problem)
    if isinstance(settled, Invalid):
        yield "settling", lambda: settled
    else:
        yield "zones", lambda: zones.decide(settled)
        yield "depth first", lambda: depth.search(settled, meter, max(1 << 14, 4 * len(settled)))


def _of_families(problem: Problem, meter: Meter) -> Ways:
    """The ways of single families of models; each gives up at once where the model is none of its own."""
    yield "prefixes", lambda: prefixes.decide(problem)
    yield "growing sets", lambda: sets.decide(problem)
    yield "counter", lambda: counters.decide(problem, meter)
    yield "queue", lambda: queues.decide(problem)
    yield "stack", lambda: stacks.decide(problem)
    yield "sessions", lambda: owners.decide(problem)
    yield "identifiers", lambda: identifiers.decide(problem)


def thorough(problem: Problem, meter: Meter, *, witness: bool = True) -> Ways:
    """The order that measured best: what may soon say valid, what may soon say invalid, then each with more room."""
    compiled = _compiled(problem, meter, witness=witness)
    if compiled is not None and not compiled.is_crowded:
        yield from _thorough_compiled(compiled, meter)
        return
    settled = _settled(problem)
    if isinstance(settled, Invalid):
        yield "settling", lambda: settled
        return
    if settled.unanswered:
        yield "depth first", lambda: depth.search(settled, meter, 1 << 16, oldest_first=True)
        yield "relaxed sweep", lambda: sweep.relaxed(settled, meter, 1 << 9)
        yield "beam of 32", lambda: sweep.beam(settled, meter, 32)
        yield "depth first", lambda: depth.search(settled, meter, 1 << 17)
        yield "relaxed sweep", lambda: sweep.relaxed(settled, meter, 1 << 12)
        yield "beam of 256", lambda: sweep.beam(settled, meter, 256)
    yield "sweep", lambda: sweep.exact(settled, meter, 1 << 14)
    yield "depth first", lambda: depth.search(settled, meter, 1 << 18)
    yield "depth first", lambda: depth.search(settled, meter, 1 << 20, oldest_first=True)
    yield "sweep", lambda: sweep.exact(settled, meter, 1 << 22)


def _thorough_compiled(compiled: Compiled, meter: Meter) -> Ways:
    """The same with compiled searches, whose steps cost a hundredth."""
    refuted = compiled.refuted
    if refuted is not None:
        yield "settling", lambda: refuted
        return
    few = max(1 << 17, 8 * len(compiled))
    if compiled.has_unanswered:
        yield "relaxed sweep", lambda: compiled.relaxed(meter, 1 << 11)
    else:
        # What is invalid is proved at the first impossible event, where depth first turns back again and again: 100,000 cas of
        # 20 clients with one stale read took 0.2 s and 1.4 s.
        yield "sweep", lambda: compiled.sweep(meter, 1 << 12)
    yield "depth first", lambda: compiled.depth_first(meter, few, oldest_first=True, patience=1 << 17)
    yield "depth first", lambda: compiled.depth_first(meter, few, patience=1 << 17)
    if compiled.has_unanswered:
        yield "relaxed sweep", lambda: compiled.relaxed(meter, 1 << 14)
        yield "beam of 32", lambda: compiled.beam(meter, 32)
        yield "beam of 256", lambda: compiled.beam(meter, 256)
    yield "sweep", lambda: compiled.sweep(meter, 1 << 14)
    yield "depth first", lambda: compiled.depth_first(meter, max(1 << 22, 4 * few))
    yield "sweep", lambda: compiled.sweep(meter, 1 << 20)
    yield "depth first", lambda: compiled.depth_first(meter, 1 << 26, oldest_first=True)
    yield "sweep", lambda: compiled.sweep(meter, 1 << 24)


def refutation(problem: Problem, meter: Meter) -> Ways:
    """Ways that are good at proving that there is no order, for small searches."""
    yield from _of_families(problem, meter)
    yield "alternation", lambda: alternation.decide(problem)
    settled = _settled(problem)
    if isinstance(settled, Invalid):
        yield "settling", lambda: settled
        return
    yield "zones", lambda: zones.decide(settled)
    if settled.unanswered:
        yield "relaxed sweep", lambda: sweep.relaxed(settled, meter, 1 << 8)
    yield "sweep", lambda: sweep.exact(settled, meter, 1 << 8)


def attempt(ways: Ways, meter: Meter) -> Answer:
    """Tries ways until one decides; the end of the budget is a reason like any other.

    A way that would hold too much makes place for the next one, which begins with nothing; time and steps are gone for all.
    """
    answer = Answer(GaveUp("no way applies"), "")
    while True:
        name, steps, meter.progress = "", meter.steps, (0, 0)
        try:
            following = next(ways, None)  # may have to prepare much
            if following is None:
                return answer
            name, way = following
            answer = Answer(way(), name, answer.of_memory)
        except OutOfBudgetError as error:
            place, end = meter.progress
            reached = f", which got to event {place:,} of {end:,} in {meter.steps - steps:,} steps" if end else ""
            reason = f"{error} by the way {name!r}{reached}" if name else f"{error} before the next way could begin"
            answer = Answer(GaveUp(reason), name or answer.way, error.of_memory or answer.of_memory)
            if meter.is_used_up():
                return answer
        if not isinstance(answer.outcome, GaveUp):
            return answer


def refuted(model: Model, operations: Sequence[Op], meter: Meter) -> bool:
    """Whether it could be proved with little effort that the operations of this object have no order."""
    try:
        problem = pose(model, operations, meter)
    except OutOfBudgetError:
        return False
    return isinstance(attempt(refutation(problem, meter), meter).outcome, Invalid)


def decide(model: Model, operations: Sequence[Op], meter: Meter) -> Outcome:
    """Decides one object by whatever way answers, for those who ask about parts of a history."""
    try:
        problem = pose(model, operations, meter)
    except OutOfBudgetError as error:
        return GaveUp(str(error))
    outcome = attempt(quick(problem, meter), meter).outcome
    return attempt(thorough(problem, meter), meter).outcome if isinstance(outcome, GaveUp) else outcome


def _compiled(problem: Problem, meter: Meter, *, witness: bool) -> Compiled | None:
    """The compiled ways, where they pay and can be had."""
    if len(problem.given) < COMPILED_FROM:
        return None
    try:
        # By name and only now: to import numba takes a second, and whoever can't have it is served all the same.
        module = importlib.import_module("checker.search.compiled")
    except ImportError:
        return None
    search: Compiled = module.Search(problem, meter, witness=witness)
    return search


def _settled(problem: Problem) -> Problem | Invalid:
    return reductions.settle(problem) if reductions.has_assignment_form(problem) else problem
