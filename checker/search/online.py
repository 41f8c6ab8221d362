"""The frontier sweep of one object while its history grows: what is decided is forgotten.

An event is taken once every operation that was invoked before it is complete: only then is it known which of the open
operations happened and what they answered. So the sweep lags behind by as long as operations take, and otherwise does what
`sweep.exact` does, event by event. Of the past it keeps the frontier, the operations that are open, and the unanswered
ones that some configuration has not used.

Where an answer says more than that the operation happened (what a dequeue took), knowing it beforehand may show a
contradiction a few events before the first prefix that is impossible by itself; the violation is the same.

An operation that does not end would hold it up for ever. After a while it is taken for unanswered: it may happen at any time,
with any answer, or never. Whatever becomes of it is one of these cases, so what is impossible then is impossible for good;
but should it be answered or fail after all, the frontier holds too much, and the object is left to a check of the whole.
"""

from __future__ import annotations

import heapq

from checker.budget import Meter
from checker.history import Op
from checker.models.base import Effect, Model, State
from checker.search.problem import NEVER, Kind, Problem, Transitions, kind_of, matters
from checker.search.sweep import Sweep

_FORGET_AFTER = 512
"""After so many operations the numbers of states and operations are given anew, to those that are still needed."""

_PATIENCE = 1024
"""When so many events wait for an operation that does not end, it is taken for one that will never be answered."""


class Outgrown(Exception):
    """The frontier outgrew its limit, or was followed on a wrong guess: this object can't be followed as it grows."""


class _States(Transitions):
    """Transitions to which states can be added that no step has led to."""

    def number(self, state: State) -> int:
        """The number of a state."""
        return self._number(state)


class _GrowingProblem(Problem):
    """A problem to which operations are added in the order of their events."""

    def __init__(self, model: Model) -> None:
        super().__init__(model, ())
        # Columns that grow, in the place of those that a problem makes of the operations that it is given.
        self.operations: list[Op] = []
        self.effects: list[Effect | None] = []
        self.invoked: list[int] = []
        self.returned: list[int] = []
        self.states = _States(model)
        self.transitions = self.states
        self.kinds: list[Kind] = []
        self.classes: list[int] = []
        self.unanswered: dict[int, list[int]] = {}

    def add(self, op: Op) -> int:
        """The number of one more operation."""
        effect = self.model.effect(op)
        self.operations.append(op)
        self.effects.append(effect)
        self.invoked.append(op.invoked)
        self.returned.append(NEVER if op.returned is None else op.returned)
        self.kinds.append(kind_of(self.model, op))
        self.classes.append(self.transitions.class_of(op, effect))
        return len(self.operations) - 1


class OnlineSweep:
    """One object: `invoke` and `complete` as its operations do, then `advance`."""

    def __init__(self, model: Model, meter: Meter, limit: int) -> None:
        self._model, self._meter, self._limit = model, meter, limit
        self._open: dict[int, Op] = {}
        self._presumed: set[int] = set()
        self._waiting: list[tuple[int, int, Op]] = []
        self._numbers: dict[int, int] = {}
        self._renew()

    @property
    def reached(self) -> int:
        """The place up to which every event is taken: that of the oldest open invocation."""
        return next(iter(self._open), NEVER)

    @property
    def possible(self) -> list[State]:
        """The states of the frontier."""
        states = self._problem.states.states
        return [states[number] for number in dict.fromkeys(state for state, *_ in self._sweep.frontier)]

    def invoke(self, op: Op) -> None:
        """An operation was invoked; `op` is what is known of it until it is complete: it is unanswered."""
        self._open[op.invoked] = op

    def complete(self, op: Op) -> None:
        """An operation is complete: answered, failed, or known to be unanswered. Raises `Outgrown`."""
        if op.invoked in self._presumed:
            self._presumed.remove(op.invoked)
            if op.returned is not None:
                raise Outgrown(f"{op.f} of process {op.process} ended so late that it was taken for unanswered")
            return
        del self._open[op.invoked]
        self._await(op)

    def _await(self, op: Op) -> None:
        if matters(self._model, op):
            heapq.heappush(self._waiting, (op.invoked, 0, op))
            if op.returned is not None:
                heapq.heappush(self._waiting, (op.returned, 1, op))

    def advance(self) -> Op | None:
        """Takes the events that can be taken; the operation whose return nothing explains, if there is one. Raises `Outgrown`."""
        while self._waiting:
            if self._waiting[0][0] >= self.reached:
                if len(self._waiting) < _PATIENCE:
                    break
                oldest = self._open.pop(self.reached)
                self._presumed.add(oldest.invoked)
                self._await(oldest)
                continue
            _, end, op = heapq.heappop(self._waiting)
            if end:
                if self._return(op):
                    return op
            elif op.returned is None:
                self._count(op)
            else:
                self._numbers[op.invoked] = number = self._problem.add(op)
                self._sweep.invoke(number)
        return None

    def _return(self, op: Op) -> bool:
        number = self._numbers.pop(op.invoked)
        stopped = self._sweep.take_return(op.returned or 0, number)
        if stopped is not None and stopped.reason:
            raise Outgrown(stopped.reason)
        if stopped is not None:
            return True
        self._forget_used()
        if len(self._problem) >= _FORGET_AFTER + len(self._numbers):
            self._renew()
        return False

    def _count(self, op: Op) -> None:
        """One more operation of its class may happen from now on, or never."""
        problem, sweep = self._problem, self._sweep
        number = problem.add(op)
        klass = problem.classes[number]
        if klass not in problem.unanswered:
            problem.unanswered[klass] = []
            sweep.info_classes.append(klass)
            sweep.available[klass] = 0
            sweep.frontier = {(state, done, marked, (*used, 0)): None for state, done, marked, used in sweep.frontier}
        problem.unanswered[klass].append(number)
        sweep.available[klass] += 1

    def _forget_used(self) -> None:
        """Forgets how the frontier was reached, and of unanswered operations those that all configurations have used."""
        sweep = self._sweep
        least = (
            list(map(min, *(used for *_, used in sweep.frontier)))
            if len(sweep.frontier) > 1
            else list(next(iter(sweep.frontier))[3])
        )
        if not any(least):
            sweep.frontier = dict.fromkeys(sweep.frontier)
            return
        for klass, spent in zip(sweep.info_classes, least, strict=True):
            sweep.available[klass] -= spent
            del self._problem.unanswered[klass][:spent]
        sweep.frontier = {
            (state, done, marked, tuple(mine - spent for mine, spent in zip(used, least, strict=True))): None
            for state, done, marked, used in sweep.frontier
        }

    def _renew(self) -> None:
        """Gives numbers anew, to the states of the frontier, the open operations and the unanswered ones that are left."""
        problem = _GrowingProblem(self._model)
        sweep = Sweep(problem, self._meter, self._limit)
        before: Sweep | None = getattr(self, "_sweep", None)
        if before is not None:
            self._carry(before, problem, sweep)
        self._problem, self._sweep = problem, sweep

    def _carry(self, before: Sweep, problem: _GrowingProblem, sweep: Sweep) -> None:
        old = self._problem
        for place, number in self._numbers.items():
            fresh = problem.add(old.operations[number])
            bit = sweep.bits[fresh] = before.bits[number]
            for among, kept in ((before.readers, sweep.readers), (before.updates, sweep.updates)):
                if number in among:
                    kept[fresh] = bit
            self._numbers[place] = fresh
        sweep.blind = before.blind
        columns = [column for column, klass in enumerate(before.info_classes) if before.available[klass]]
        for column in columns:
            klass = before.info_classes[column]
            numbers = [problem.add(old.operations[number]) for number in old.unanswered[klass]]
            fresh_class = problem.classes[numbers[0]]
            problem.unanswered[fresh_class] = numbers
            sweep.info_classes.append(fresh_class)
            sweep.available[fresh_class] = before.available[klass]
        sweep.frontier = {
            (
                problem.states.number(old.states.states[state]),
                done,
                marked,
                tuple(used[column] for column in columns),
            ): None
            for state, done, marked, used in before.frontier
        }
