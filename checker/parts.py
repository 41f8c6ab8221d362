"""One object of a history and what is known about it: tried by the ways, in this process or in another one.

Whatever goes wrong with one object (budget, memory, a mistake in its model) leaves that object unknown, with the reason, and the
others as they are: unknown never hides an invalid elsewhere.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import msgspec
import numpy as np

from checker import ways
from checker.budget import Meter, OutOfBudgetError
from checker.history import Op
from checker.models.base import Model, ModelError
from checker.models.guard import mistake, try_out
from checker.search.problem import NEVER
from checker.selections import Selected
from checker.values import Integers
from checker.verdict import INVALID, UNKNOWN, VALID, GaveUp, Invalid, Outcome, Valid


class Finding(msgspec.Struct):
    """What a try came to: the outcome (of a valid one without its witness), its way, and what it cost.

    `of_memory`: a way stopped for want of memory, so a try with more of it may decide. `reached`: the furthest event.
    `mistaken`: a mistake in the model, or of ours. `refused`: why the model is none, which a worker can only tell.
    """

    outcome: Outcome
    way: str = ""
    seconds: float = 0.0
    steps: int = 0
    of_memory: bool = False
    reached: int = 0
    mistaken: bool = False
    refused: str = ""


class Part(msgspec.Struct):
    """One object of the history, and what is known about it so far; `window` is what resisted, once somebody asked."""

    key: Hashable
    operations: Sequence[Op]
    finding: Finding
    seconds: float = 0.0
    window: str | None = None

    @property
    def verdict(self) -> str:
        """The outcome as a word."""
        if isinstance(self.finding.outcome, GaveUp):
            return UNKNOWN
        return INVALID if isinstance(self.finding.outcome, Invalid) else VALID

    @property
    def reason(self) -> str:
        """Why it is unknown, and what resisted; empty if it is not."""
        if not isinstance(self.finding.outcome, GaveUp):
            return ""
        if self.finding.mistaken:
            return self.finding.outcome.reason
        if self.window is None:
            self.window = resisting(self.operations, self.finding.reached) if self.finding.reached else ""
        return f"{self.finding.outcome.reason}; {self.window}" if self.window else self.finding.outcome.reason

    def take(self, finding: Finding) -> None:
        """Notes what a further try came to. Raises `ModelError` where it came to a model that breaks its promises."""
        if finding.refused:
            raise ModelError(finding.refused)
        finding.reached = max(finding.reached, self.finding.reached)
        self.finding = finding
        self.window = None
        self.seconds += finding.seconds

    def _unanswered(self) -> int:
        if isinstance(self.operations, Selected):
            return int((self.operations.columns.returned == NEVER).sum())
        return sum(1 for op in self.operations if op.returned is None)

    def row(self) -> dict[str, object]:
        """The line of this object in the verdict's statistics."""
        return {
            "key": self.key,
            "verdict": self.verdict,
            "operations": len(self.operations),
            "unanswered": self._unanswered(),
            "way": self.finding.way,
            "seconds": round(self.seconds, 6),
            "reason": self.reason,
        }


def attempt(model: Model, operations: Sequence[Op], meter: Meter, *, hard: bool) -> Finding:
    """Tries one object by the quick ways, or by the thorough ones."""
    seconds, steps = meter.elapsed(), meter.steps
    meter.furthest = (0, 0)
    mistaken = False
    try:
        if not hard:
            try_out(model, operations, meter)
        problem = ways.pose(model, operations, meter)
        tried = (ways.thorough if hard else ways.quick)(problem, meter, witness=False)
        answer = ways.attempt(tried, meter)
    except OutOfBudgetError as error:
        answer = ways.Answer(GaveUp(f"{error} before any way could begin"), "", of_memory=error.of_memory)
    except MemoryError:
        answer = ways.Answer(GaveUp("the machine gave no more memory"), "", of_memory=True)
    except ModelError as error:
        return Finding(GaveUp(str(error)), refused=str(error))
    except Exception as error:  # noqa: BLE001 - of a model, or of our own: the other objects are judged all the same
        answer, mistaken = ways.Answer(GaveUp(mistake(error)), ""), True
    outcome = answer.outcome
    if isinstance(outcome, Valid):
        outcome = Valid(())
    return Finding(
        outcome,
        answer.way,
        meter.elapsed() - seconds,
        meter.steps - steps,
        answer.of_memory,
        meter.furthest[0],
        mistaken,
    )


def resisting(operations: Sequence[Op], place: int) -> str:
    """The window that held a search up, in words: of those up to the event at `place`, the one with most at once.

    A window lasts from one moment without an open operation to the next: nothing but the states that are possible there
    passes from one to another, so the work of a search is the sum of the work in each. `operations` stand in the order of
    their invocations.
    """
    invoked, returned = _places(operations)
    answered = returned != NEVER
    begins, ends = invoked[answered], returned[answered]
    before = np.concatenate([[-1], np.maximum.accumulate(ends)])[:-1]
    starts = np.flatnonzero((begins > before) & (begins <= place))  # nothing is open there
    if not len(starts):
        return ""
    after = starts[-1] + 1 + np.flatnonzero(begins[starts[-1] + 1 :] > before[starts[-1] + 1 :])[:1]
    stop = int(after[0]) if len(after) else len(begins)
    at_once = np.arange(1, stop + 1) - np.searchsorted(np.sort(ends), begins[:stop], side="right")
    most_at_once = np.maximum.reduceat(at_once, starts)
    sizes = np.diff(np.append(starts, stop))
    last = np.maximum.reduceat(ends[:stop], starts)
    chosen = int(np.lexsort((sizes, most_at_once))[-1])  # of equals the later one
    most, inside = int(most_at_once[chosen]), int(sizes[chosen])
    begin, end = int(begins[starts[chosen]]), int(last[chosen])
    unanswered = int(np.count_nonzero(~answered & (invoked <= end)))
    beside = f", beside {unanswered:,} that were never answered" if unanswered else ""
    return f"what resisted is the window of events {begin:,} to {end:,}: {inside:,} operations, up to {most:,} at once{beside}"


def _places(operations: Sequence[Op]) -> tuple[Integers, Integers]:
    """Where operations were invoked and where they returned."""
    if isinstance(operations, Selected):
        columns = operations.columns
        return columns.invoked, columns.returned
    returned = [NEVER if op.returned is None else op.returned for op in operations]
    return np.array([op.invoked for op in operations], np.int64), np.array(returned, np.int64)
