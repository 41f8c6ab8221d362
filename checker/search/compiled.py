"""The compiled ways to a verdict on one object, in the terms of `verdict.py` (needs numba: import it by name, where it pays).

Each of them is exact or says only what it can prove, as its readable twin does.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from checker.budget import Meter
from checker.fast import compiled_zones
from checker.history import Op
from checker.search import arrays, compiled_depth, compiled_sweep, settling
from checker.search.arrays import Arrays, Int64, Ordered, Refuted, Table
from checker.search.kernels import SLOTS
from checker.search.learning import learn
from checker.search.problem import NEVER, Problem, Transitions
from checker.selections import Selected
from checker.verdict import GaveUp, Invalid, Outcome, Valid

_RELAXED_WITH_TABLE = 1 << 9
"""Appends that never run out make states without end, each of which is asked of the model."""


class Search:
    """The ways on the operations of a problem that are left when the unanswered ones are settled.

    `refuted` is the evidence where that alone shows that there is no order. With `witness` what is valid comes with its order.
    """

    def __init__(self, problem: Problem, meter: Meter, *, witness: bool) -> None:
        self.refuted: Invalid | None = None
        self._witness = witness
        form, transitions, self._named = posed(problem)
        if transitions is not None:
            form = learn(form, transitions, meter)
        known = transitions is None or form.assignment
        self._table = None if known or transitions is None else Table(transitions, int(form.classes.max(initial=0)) + 1)
        settled = settling.settle(form) if form.assignment else form
        self.arrays: Arrays = form if isinstance(settled, Refuted) else settled
        if isinstance(settled, Refuted):
            self.refuted = Invalid(self._named(form.rows[list(settled.evidence)]))

    def __len__(self) -> int:
        return len(self.arrays.rows)

    @property
    def has_unanswered(self) -> bool:
        """Whether some operation never returned and could not be settled."""
        return bool((self.arrays.returned == NEVER).any())

    @property
    def is_crowded(self) -> bool:
        """Whether more operations are open at once than a word has bits: then no search of these can decide."""
        codes = arrays.events_of(self.arrays)
        answered = self.arrays.returned[codes >> 1] != NEVER
        return bool(np.cumsum(np.where(codes & 1, -1, 1) * answered).max(initial=0) > SLOTS)

    def zones(self) -> Outcome:
        """Near linear, where each value that somebody asks for has one producer."""
        return self._told(compiled_zones.decide(self.arrays, witness=self._witness))

    def depth_first(
        self, meter: Meter, limit: int, *, oldest_first: bool = False, patience: int | None = None
    ) -> Outcome:
        """Exact, up to so many nodes, or to so many that led no further than before."""
        return self._told(
            compiled_depth.search(
                self.arrays,
                self._table,
                meter,
                limit,
                oldest_first=oldest_first,
                patience=patience,
                witness=self._witness,
            )
        )

    @property
    def has_few_states(self) -> bool:
        """Whether its operations speak of two states at most."""
        return self.arrays.states <= 2 + 1

    def sweep(self, meter: Meter, limit: int) -> Outcome:
        """Exact, up to so many configurations at one event; of what is invalid it names the first impossible operation."""
        return self._told(compiled_sweep.exact(self.arrays, self._table, meter, limit, witness=self._witness))

    def beam(self, meter: Meter, width: int) -> Valid | GaveUp:
        """A sweep that keeps so many configurations: it can only prove that there is an order."""
        said = compiled_sweep.beam(self.arrays, self._table, meter, width, witness=self._witness)
        return said if isinstance(said, GaveUp) else self._ordered(said)

    def relaxed(self, meter: Meter, limit: int) -> Invalid | GaveUp:
        """A sweep in which unanswered operations never run out: it can only prove that there is no order."""
        if not self.arrays.assignment:
            limit = min(limit, _RELAXED_WITH_TABLE)
        said = compiled_sweep.relaxed(self.arrays, self._table, meter, limit)
        return said if isinstance(said, GaveUp) else Invalid()

    def _told(self, said: Ordered | Refuted | GaveUp) -> Outcome:
        if isinstance(said, GaveUp):
            return said
        if isinstance(said, Refuted):
            return Invalid(self._named(self.arrays.rows[list(said.evidence)]))
        return self._ordered(said)

    def _ordered(self, said: Ordered) -> Valid:
        return Valid(() if said.order is None else self._named(self.arrays.rows[said.order]))


def posed(problem: Problem) -> tuple[Arrays, Transitions | None, Callable[[Int64], tuple[Op, ...]]]:
    """The arrays of a problem, the steps of its model unless they have assignment form, and how rows are turned into operations."""
    given = problem.given
    if isinstance(given, Selected):
        form = arrays.of_columns(problem.model, given.columns)
        if form is not None:
            return form, None, given.pick
        classed = arrays.of_classes(problem.model, given)
        if classed is not None:
            return *classed, given.pick
    form = arrays.of_problem(problem)
    return form, None if form.assignment else problem.transitions, lambda rows: problem.named(rows.tolist())
