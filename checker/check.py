"""`check`, the only door: splits a history by object, shares the budget out, merges the verdicts.

How one object is decided is told in `ways.py`, how an invalid one is explained in `reasons/explain.py`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import NamedTuple

from checker import parts, ways, workers
from checker.budget import Budget, Meter, OutOfBudgetError, require_budget
from checker.history import History, Op, require_history
from checker.models import answers
from checker.models.base import Model, require_known, show
from checker.models.guard import require_model
from checker.models.reading import as_read
from checker.parts import Finding, Part
from checker.reasons import explain
from checker.replay import replay
from checker.selections import by_object
from checker.verdict import INVALID, UNKNOWN, VALID, GaveUp, Invalid, Valid, Verdict, worst

_EXPLAIN_SECONDS = 2.0
"""How long a check that was interrupted may still explain what it proved."""
_MOST = 1 << 62
_HELP = "; fewer clients for each key, values that are used once, and fewer unanswered operations would help"
"""What makes searches short: few operations at once, and answers that one operation alone explains."""


class Progress(NamedTuple):
    """How far a check is: keys that are done with, of how many, and operations that were passed, of how many."""

    keys_done: int
    keys: int
    operations_done: int
    operations: int


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a check; `verdict` is what was known by then: invalid if that was proved, else unknown."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__()
        self.verdict = verdict


def check(
    history: History,
    model: Model,
    budget: Budget | None = None,
    *,
    workers: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    witness: bool = False,
) -> Verdict:
    """Decides whether the history is linearizable to the model: valid, invalid with evidence, or unknown with a reason.

    Quick ways are tried on every object first, each with its share, so that no hard one takes the budget from the others;
    the hard ones then share what is left, unless a violation is proved already. `workers` is how many processes may try
    objects at once: None is one for each core where that is safe, 1 is this process alone. The verdict does not depend on
    it. `progress` is called now and then. With `witness` a valid
    verdict has an order that shows it, searched anew and replayed (not for transactions). Raises `HistoryError` if the model can't read the history,
    `ModelError` for a model that lacks what each needs or breaks a promise, `Interrupted` on Ctrl-C.
    """
    require_history(history)
    require_model(model)
    require_budget(budget)
    meter = Meter(budget or Budget())
    asked, history = history, as_read(history, model)
    require_known(history, model)
    judged = model.judge(history, meter)
    if judged is not None:
        judged.seconds = round(meter.elapsed(), 6)
        return judged
    model = model.prepared(history)
    todo = [
        Part(key, operations, Finding(GaveUp("not tried"))) for key, operations in by_object(history, model).items()
    ]
    foreman = _Foreman(model, todo, meter, workers, progress)
    try:
        foreman.work()
    except KeyboardInterrupt:
        _tell_of_interrupt(todo)
        verdict = _summary(history, model, todo)
        verdict.seconds = round(meter.elapsed(), 6)
        with contextlib.suppress(KeyboardInterrupt):
            _explain(verdict, model, todo, Meter(Budget(seconds=_EXPLAIN_SECONDS, bytes=meter.budget.bytes)))
        raise Interrupted(verdict) from None
    verdict = _summary(history, model, todo)
    verdict.warnings = [*([] if history is asked else history.warnings), *answers.warnings(history, model)]
    verdict.seconds = round(meter.elapsed(), 6)
    _explain(verdict, model, todo, meter)
    if witness and verdict.verdict == VALID:
        orders = _orders(model, {part.key: part.operations for part in todo}, meter)
        verdict.witness = [
            {"key": key, "order": [op.as_dict() for op in order]} for key, order in (orders or {}).items()
        ]
    return verdict


def witness(history: History, model: Model, budget: Budget | None = None) -> dict[Hashable, tuple[Op, ...]] | None:
    """For a valid history an order of the operations of each object that shows it; None where none was found.

    Each order is replayed against the model; one that is wrong is a mistake of our own (`AssertionError`).
    """
    meter = Meter(budget or Budget())
    history = as_read(history, model)
    if model.judge(history, meter) is not None:
        return None
    model = model.prepared(history)
    return _orders(model, by_object(history, model), meter)


def _orders(
    model: Model, objects: Mapping[Hashable, Sequence[Op]], meter: Meter
) -> dict[Hashable, tuple[Op, ...]] | None:
    orders: dict[Hashable, tuple[Op, ...]] = {}
    for key, operations in objects.items():
        outcome = ways.decide(model, operations, meter)
        if not isinstance(outcome, Valid):
            return None
        try:
            wrong = replay(model, operations, ways.Watched(outcome.witness, meter))
        except OutOfBudgetError:
            return None
        if wrong:
            raise AssertionError(f"the witness of key {key!r} is wrong: {wrong}")
        orders[key] = outcome.witness
    return orders


class _Foreman:
    """Has the objects of a history tried, in turns: first all of them quickly, then the hard ones."""

    def __init__(
        self,
        model: Model,
        todo: Sequence[Part],
        meter: Meter,
        hands: int | None,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self._model, self._parts, self._meter, self._progress = model, todo, meter, progress
        self._hands = workers.cores() if hands is None else hands
        self._asked = hands is not None
        self._finished: set[int] = set()
        self._told = Progress(0, len(todo), 0, sum(len(part.operations) for part in todo))
        self._present: tuple[Meter, Part] | None = None
        if progress is not None:
            meter.watch = self._tell

    def work(self) -> None:
        self._turn(sorted(self._parts, key=lambda part: len(part.operations)), hard=False)
        if not any(part.verdict == INVALID for part in self._parts):
            self._work_hard()
        for part in self._parts:
            self._done(part, hard=True)

    def _work_hard(self) -> None:
        self._turn([part for part in self._parts if part.verdict == UNKNOWN], hard=True)
        # What had too little memory beside others has all of it now, alone: more workers must not mean fewer verdicts.
        short = [part for part in self._parts if part.finding.of_memory and part.verdict == UNKNOWN]
        if len(self._parts) > 1 and self._hands > 1:
            self._alone(short, self._shares(len(short)), hard=True, until=_MOST)

    def _turn(self, todo: Sequence[Part], *, hard: bool) -> None:
        share = self._shares(len(todo))
        left = self._alone(
            todo, share, hard=hard, until=_MOST if self._hands == 1 else self._meter.elapsed() + workers.ALONE_SECONDS
        )
        if left:
            crew = workers.Crew(self._model, left, workers=self._hands, hard=hard, meter=self._meter)
            crew.run(share, lambda part: self._done(part, hard=hard))

    def _alone(
        self, todo: Sequence[Part], share: Callable[[int], Meter], *, hard: bool, until: float
    ) -> Sequence[Part]:
        """Tries parts in this process; after a while those are returned that workers may try as well."""
        may_help: bool | None = None
        for place, part in enumerate(todo):
            left = len(todo) - place
            if left > 1 and self._meter.elapsed() > until:
                if may_help is None:
                    may_help = workers.may_help(self._model, asked=self._asked)
                if may_help:
                    return todo[place:]
            meter = share(left)
            self._present = (meter, part)
            part.take(parts.attempt(self._model, part.operations, meter, hard=hard))
            self._present = None
            self._done(part, hard=hard)
        return ()

    def _shares(self, count: int) -> Callable[[int], Meter]:
        """Of what is left now: steps in equal shares, whoever tries them and when; seconds by who is left and how many hands."""
        meter = self._meter
        if count == 1:
            return lambda _: meter
        steps_left = meter.steps_left()
        steps = None if steps_left is None else steps_left // max(1, count)

        def share(left: int) -> Meter:
            seconds = meter.seconds_left()
            hands = min(self._hands, left)
            return meter.within(steps=steps, seconds=None if seconds is None else seconds * hands / left)

        return share

    def _done(self, part: Part, *, hard: bool) -> None:
        """Counts a part that is decided, or that nobody will try again."""
        if self._progress is None or id(part) in self._finished or not (hard or part.verdict != UNKNOWN):
            return
        self._finished.add(id(part))
        self._tell()

    def _tell(self) -> None:
        """Tells of what is finished, and of the part that is under way in this process; never of less than before."""
        assert self._progress is not None
        passed = sum(len(part.operations) for part in self._parts if id(part) in self._finished)
        if self._present is not None:
            meter, part = self._present
            place, end = meter.furthest
            passed += 0 if id(part) in self._finished else len(part.operations) * place // max(1, end)
        told = self._told
        self._told = Progress(len(self._finished), told.keys, max(passed, told.operations_done), told.operations)
        self._progress(self._told)


def _tell_of_interrupt(todo: Sequence[Part]) -> None:
    for part in todo:
        if part.verdict == UNKNOWN:
            assert isinstance(part.finding.outcome, GaveUp)
            part.take(Finding(GaveUp(f"interrupted ({part.finding.outcome.reason})"), part.finding.way))


def _explain(verdict: Verdict, model: Model, todo: Sequence[Part], meter: Meter) -> None:
    broken = {
        part.key: explain.Broken(part.operations, part.finding.outcome.evidence)
        for part in todo
        if isinstance(part.finding.outcome, Invalid)
    }
    if broken:
        spent = Meter(Budget())
        explain.explain(verdict, model, broken, meter)
        verdict.explanation_seconds = round(spent.elapsed(), 6)


def _summary(history: History, model: Model, todo: Sequence[Part]) -> Verdict:
    """The verdict of the whole: invalid beats unknown beats valid."""
    word = worst(part.verdict for part in todo)
    decisive = [part for part in todo if part.verdict == word]
    reason = ""
    if word == UNKNOWN:
        where = "" if decisive[0].key is None else f"key {show(decisive[0].key)}, "
        more = f"; {len(decisive) - 1} more keys are undecided" if len(decisive) > 1 else ""
        reason = f"{where}{len(decisive[0].operations):,} operations: {decisive[0].reason}{more}{'' if decisive[0].finding.mistaken else _HELP}"
    return Verdict(
        verdict=word,
        reason=reason,
        model=model.name,
        way=", ".join(sorted({part.finding.way for part in decisive})),
        operations=len(history),
        per_key=[part.row() for part in todo],
    )
