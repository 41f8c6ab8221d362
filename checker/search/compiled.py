"""The compiled ways to a verdict on one object, in the terms of `verdict.py` (needs numba: import it by name, where it pays).

Each of them is exact or says only what it can prove, as its readable twin does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from checker.budget import Meter
from checker.fast import compiled_zones
from checker.history import Op
from checker.search import arrays, compiled_depth, settling
from checker.search.arrays import Arrays, Ordered, Refuted, Table
from checker.search.problem import Problem
from checker.verdict import GaveUp, Invalid, Outcome, Valid


class Search:
    """The ways on the operations of a problem that are left when the unanswered ones are settled.

    `refuted` is the evidence where that alone shows that there is no order. With `witness` what is valid comes with its order.
    """

    def __init__(self, problem: Problem, *, witness: bool) -> None:
        form = arrays.of_problem(problem)
        self.refuted: Invalid | None = None
        self._witness = witness
        self._named: Callable[[Sequence[int]], tuple[Op, ...]] = problem.named
        self._table = None if form.assignment else Table(problem.transitions, int(form.classes.max(initial=0)) + 1)
        settled = settling.settle(form) if form.assignment else form
        self.arrays: Arrays = form if isinstance(settled, Refuted) else settled
        if isinstance(settled, Refuted):
            self.refuted = Invalid(self._named(form.rows[list(settled.evidence)].tolist()))

    def __len__(self) -> int:
        return len(self.arrays.rows)

    def zones(self) -> Outcome:
        """Near linear, where each value that somebody asks for has one producer."""
        return self._told(compiled_zones.decide(self.arrays, witness=self._witness))

    def depth_first(self, meter: Meter, limit: int, *, oldest_first: bool = False) -> Outcome:
        """Exact, up to so many nodes."""
        return self._told(
            compiled_depth.search(
                self.arrays, self._table, meter, limit, oldest_first=oldest_first, witness=self._witness
            )
        )

    def _told(self, said: Ordered | Refuted | GaveUp) -> Outcome:
        if isinstance(said, GaveUp):
            return said
        if isinstance(said, Refuted):
            return Invalid(self._named(self.arrays.rows[list(said.evidence)].tolist()))
        return Valid(() if said.order is None else self._named(self.arrays.rows[said.order].tolist()))
