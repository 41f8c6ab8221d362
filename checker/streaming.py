"""Checks a history while it grows: `Checker` takes one event after the other and says "invalid" as soon as that is proved.

Each object is followed by the way that suits it: lists by the chain of their reads, everything else by a frontier sweep that
lags behind by as long as operations are open. Both forget what is decided. What they can't follow (a frontier that outgrows
its limit, a model that judges whole histories) is checked from time to time as a whole, as long as its history may be kept.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from checker.budget import Budget, Meter, OutOfBudgetError, require_budget
from checker.check import check
from checker.clocks import Clock
from checker.fast.growing import GrowingList, SteppedAside
from checker.history import History, Op, Pairing, freeze
from checker.models.base import Model, ModelError, looks_at_whole_histories, require_known, show
from checker.models.guard import mistake, object_of, require_model
from checker.models.lists import AppendList
from checker.models.reading import named
from checker.search.online import OnlineSweep, Outgrown
from checker.verdict import INVALID, UNKNOWN, VALID, Verdict, worst

_WIDEST = 1 << 9
"""How many configurations a frontier may have: beyond them each event would take seconds."""
_OPERATION_BYTES = 700
"""What a kept operation costs beside its values, measured on CPython 3.11."""
_AGAIN_STEPS = 1 << 18
"""How long an object that can't be followed may be searched from time to time; the end has the whole budget."""
_AGAIN_AFTER = 64
"""An object that can't be followed is checked again when its history has grown by this and by a quarter."""


class _Followed:
    """One object: who follows it, and its history as long as that may be kept (`kept` is None afterwards)."""

    def __init__(self, key: Hashable, model: Model, meter: Meter) -> None:
        self.key = key
        self.operations = 0
        self.unanswered = 0
        self.kept: list[Op] | None = []
        self.held = 0
        self.why_not = ""  # why nobody follows it
        self.impossible: Op | None = None
        self.possible: list[str] = []
        self.open: dict[int, Op] = {}
        self._model, self._meter = model, meter
        self._list = GrowingList(model) if type(model) is AppendList else None
        self._sweep = None if self._list is not None else OnlineSweep(model, meter, _WIDEST)
        self._check_at = 0

    @property
    def way(self) -> str:
        """The name of the way that follows it."""
        return "" if self.why_not else "growing prefixes" if self._list is not None else "online sweep"

    def reached(self, now: int) -> int:
        """The event up to which all is judged."""
        return min(now, self._sweep.reached) if self._sweep is not None and not self.why_not else now

    def invoke(self, op: Op) -> None:
        """An operation was invoked."""
        self.operations += 1
        self.open[op.invoked] = op
        if self.why_not:
            return
        try:
            if self._list is not None:
                self._list.invoke(op.invoked, op.f, op.value)
            elif self._sweep is not None:
                self._sweep.invoke(op)
        except SteppedAside as error:
            self.leave(str(error))

    def complete(self, op: Op) -> None:
        """An operation is complete."""
        del self.open[op.invoked]
        self.unanswered += op.returned is None
        if self.kept is not None:
            self.kept.append(op)
            self.held += _OPERATION_BYTES + sys.getsizeof(op.value) + sys.getsizeof(op.result)
        if not self.why_not:
            self._follow(op)
        elif self.kept is not None and len(self.kept) >= self._check_at:
            self._check_again()

    def leave(self, why: str) -> None:
        """From now on nobody follows it."""
        self.why_not = why
        self._list = self._sweep = None

    def _follow(self, op: Op) -> None:
        try:
            if self._list is not None:
                self.impossible = self._list.complete(op)
                self.possible = [show(tuple(self._list.chain))] if self.impossible else []
            elif self._sweep is not None:
                self._sweep.complete(op)
                self.impossible = self._sweep.advance()
                self.possible = (
                    [self._model.describe(state) for state in self._sweep.possible] if self.impossible else []
                )
        except (Outgrown, OutOfBudgetError) as error:
            self.leave(str(error))
        except (ModelError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - of a user's model: the other objects are judged all the same
            self.leave(mistake(error))

    def sentence(self) -> str:
        """What is impossible, in few words."""
        op = self.impossible
        assert op is not None
        of_key = "" if self.key is None else f" of key {show(self.key)}"
        met = f"; possible was {' or '.join(self.possible[:3])}" if self.possible else ""
        return f"{op.f}{of_key} by process {op.process} fits no order of the operations before it{met}"

    def row(self, verdict: str, reason: str = "") -> dict[str, Any]:
        """Its line in the statistics of a verdict."""
        return {
            "key": self.key,
            "verdict": verdict,
            "operations": self.operations,
            "unanswered": self.unanswered,
            "way": self.way,
            "seconds": 0.0,
            "reason": reason or (self.why_not or "not judged to its end" if verdict == UNKNOWN else ""),
        }

    def _check_again(self) -> None:
        """Checks what is known by now with little effort: operations that are open may happen, or may not."""
        assert self.kept is not None
        self._check_at = len(self.kept) * 5 // 4 + _AGAIN_AFTER
        known = sorted([*self.kept, *self.open.values()], key=lambda op: op.invoked)
        budget = Budget(steps=_AGAIN_STEPS, bytes=self._meter.budget.bytes)
        if check(History(known), self._model, budget, workers=1).verdict == INVALID:
            self.impossible = max(self.kept, key=lambda op: op.returned or -1)


class Checker:
    """Judges a history event by event: `feed` each one, then `finish`.

    `Checker(model, budget)`: the budget's bytes bound what is kept (half of them the histories of objects, which are dropped
    when they outgrow it; then a violation is told in fewer words), its seconds and steps what `finish` may still search.
    Operations that stand for several, such as drains of a queue, are refused: what they came to is known only afterwards.
    """

    def __init__(self, model: Model, budget: Budget | None = None) -> None:
        require_model(model)
        require_budget(budget)
        self.model, self.budget = model, budget or Budget()
        self.verdict: Verdict | None = None
        self._pairing = Pairing()
        self._keys: dict[int | str, Hashable] = {}
        self._objects: dict[Hashable, _Followed] = {}
        self._broken: _Followed | None = None
        self._held = 0
        self._clock = Clock()
        limit = None if self.budget.bytes is None else self.budget.bytes // 2
        self._may_hold = limit
        self._meter = Meter(Budget(seconds=None, bytes=limit))

    @property
    def operations(self) -> int:
        """How many operations were invoked so far."""
        return sum(each.operations for each in self._objects.values())

    @property
    def lag(self) -> int:
        """How many events were fed that are not all judged yet, since an operation that was invoked before is open."""
        now = self._pairing.position
        return now - min((each.reached(now) for each in self._objects.values()), default=now)

    def feed(self, event: Mapping[str, Any], line: int | None = None) -> Verdict | None:
        """Takes the next event. The verdict as soon as it is decided: invalid, for good; None as long as it is not.

        Raises `HistoryError` on an event that is not well formed or that the model does not know.
        """
        if self.verdict is not None:
            return self.verdict
        place = self._pairing.position
        done = self._pairing.take(event, line)
        if self._pairing.position == place:
            return None  # of the nemesis
        self._clock.take(event.get("t", event.get("time")), line)
        if done is not None:
            done = named(done, self.model)
            followed = self._objects[self._keys.pop(done.process)]
            require_known([done], self.model)
            held = followed.held
            followed.complete(done)
            self._held += followed.held - held
            self._drop_histories()
            if followed.impossible is not None:
                self._broken = followed
                self.verdict = self._short(followed)
        else:
            self._invoke(event["process"], event, place, line)
        return self.verdict

    def finish(self) -> Verdict:
        """The verdict on all that was fed, as `check` gives it on the whole; on a violation with its explanation."""
        for op in self._pairing.unfinished():
            if self.verdict is None and op.process in self._keys:
                followed = self._objects[self._keys.pop(op.process)]
                followed.complete(named(op, self.model))
                if followed.impossible is not None:
                    self._broken = followed
                    self.verdict = self._short(followed)
        if self._broken is not None:
            told = self._explained(self._broken)
        else:
            told = _summed_up(self.model, self.budget, list(self._objects.values()))
        told.warnings = [*self._clock.warnings, *(each for each in told.warnings if each not in self._clock.warnings)]
        return told

    def _invoke(self, process: int, event: Mapping[str, Any], place: int, line: int | None) -> None:
        op = Op(
            process=process,
            f=event["f"],
            key=freeze(event.get("key")),
            value=event.get("value"),
            invoked=place,
            line=line,
        )
        op = named(op, self.model)
        require_known([op], self.model)
        whole = looks_at_whole_histories(type(self.model))
        key = self._keys[process] = None if whole else object_of(self.model, op)
        if key not in self._objects:
            self._objects[key] = _Followed(key, self.model, self._meter)
            if whole:
                self._objects[key].leave("the model looks at whole histories")
        self._objects[key].invoke(op)

    def _drop_histories(self) -> None:
        """Keeps what is held within the budget: first go the largest of those that are followed without them."""
        while self._may_hold is not None and self._held > self._may_hold:
            keeping = [each for each in self._objects.values() if each.kept]
            largest = max(keeping, key=lambda each: (not each.why_not, each.held))
            self._held -= largest.held
            largest.kept, largest.held = None, 0

    def _short(self, broken: _Followed) -> Verdict:
        """What is proved at once: which operation is impossible, and what it could have met."""
        assert broken.impossible is not None
        sentence = broken.sentence()
        return Verdict(
            verdict=INVALID,
            reason=sentence,
            model=self.model.name,
            way=broken.way or "quick ways",
            operations=self.operations,
            key=broken.key,
            first_impossible=broken.impossible.as_dict(),
            possible_states=broken.possible,
            explanation=sentence,
            per_key=[each.row(INVALID if each is broken else UNKNOWN) for each in self._objects.values()],
        )

    def _explained(self, broken: _Followed) -> Verdict:
        """The violation as `check` explains it, where the history of its object was kept."""
        assert self.verdict is not None
        if broken.kept is None:
            return self.verdict
        known = [*broken.kept, *broken.open.values()]
        told = check(History(known), self.model, self.budget)
        if told.verdict != INVALID:
            return self.verdict
        told.operations, told.per_key = self.operations, self.verdict.per_key
        return told


def _summed_up(model: Model, budget: Budget, objects: Sequence[_Followed]) -> Verdict:
    """The verdict where everything that is followed was found valid; the rest is checked now."""
    left = [each for each in objects if each.why_not]
    kept = [each for each in left if each.kept is not None]
    rows = {each.key: each.row(VALID) for each in objects if not each.why_not}
    for each in left:
        rows[each.key] = each.row(UNKNOWN, f"{each.why_not}, and its history was not kept")
    told = Verdict(verdict=VALID)
    if kept:
        told = check(History(op for each in kept for op in each.kept or ()), model, budget)
        if looks_at_whole_histories(type(model)):
            return told  # of all objects at once: its rows, if it has any, are the keys of a history and not what is followed
        rows |= {row["key"]: row for row in told.per_key}
    if told.verdict != INVALID:
        word = worst(row["verdict"] for row in rows.values())
        ways = {row["way"] for row in rows.values() if row["verdict"] == word} - {""}
        reasons = [told.reason, *(row["reason"] for row in rows.values() if row["verdict"] == word)]
        told = Verdict(verdict=word, model=model.name, way=", ".join(sorted(ways)))
        told.reason = next(filter(None, reasons), "") if word == UNKNOWN else ""
    told.operations = sum(each.operations for each in objects)
    told.per_key = list(rows.values())
    return told
