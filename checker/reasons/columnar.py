"""Where a large register of unique values breaks, and the few operations that tell why: found on arrays (needs numba).

The same answers as `breaks.py`, `states.py` and `registers.py` give on all operations, for the price of a few verdicts. Of a
million operations a hundred can matter: those of the value that was seen, those of the value that rules it out, and the blocks
that could still be there. Whole columns are asked which these are, and only these are made and handed to the readable code.
Wherever the theorem of `fast/zones.py` does not decide, nothing is said (None) and the readable code looks at everything.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from checker.columns import FAIL_CODE
from checker.fast import compiled_zones
from checker.fast.compiled_zones import Blocks
from checker.history import FAIL, Op
from checker.models.base import Model, State
from checker.reasons import stories
from checker.reasons.breaks import STEPS_BACK, cut
from checker.reasons.registers import written
from checker.reasons.stories import BEFORE_ALL, Block, Story, brings, story
from checker.search import compiled, settling
from checker.search.arrays import NONE, Arrays, Flags, Int64, Ordered, Refuted
from checker.search.problem import NEVER, Kind, Problem
from checker.selections import Selected
from checker.verdict import GaveUp

_NAMED = 12
"""The sources of evidence are followed so far; what has more of them is no core."""


class Cut(NamedTuple):
    """The first impossible event: operation `impossible`, by its place in the arrays, returned at `end`; all before has an order."""

    whole: Whole
    impossible: int
    end: int

    @property
    def op(self) -> Op:
        """The operation."""
        return self.whole.make([self.impossible])[0]


class Tail(NamedTuple):
    """The end of an order of all that came before: how long that is, the last operations, and the state before these."""

    length: int
    last: list[Op]
    state: State


class Telling(NamedTuple):
    """The operations that can matter for the reason: as cut at the event, as recorded, and the story of those values alone that
    are told of completely. `states` are the possible ones, and those that only unseen unanswered updates would leave.
    """

    prefix: list[Op]
    recorded: list[Op]
    told: Story
    states: tuple[list[State], list[State]]
    before: Tail


class Whole:
    """All operations of one object as arrays; `make` gives each of them as the same object whenever it is asked for."""

    def __init__(
        self, model: Model, operations: Sequence[Op], form: Arrays, pick: Callable[[Int64], Iterable[Op]]
    ) -> None:
        self.model, self.operations, self._pick, self._rows = model, operations, pick, form.rows
        self.form = form._replace(rows=np.arange(len(form.rows)))
        self._made: dict[int, Op] = {}

    def make(self, numbers: Iterable[int]) -> list[Op]:
        """The operations of these numbers, in the order given."""
        wanted = list(numbers)
        new = [number for number in dict.fromkeys(wanted) if number not in self._made]
        if new:
            self._made.update(zip(new, self._pick(self._rows[np.array(new, np.int64)]), strict=True))
        return [self._made[number] for number in wanted]

    def failed(self, state: State) -> list[Op]:
        """The operations that failed and would have brought this state."""
        failed: Iterable[Op] = self.operations
        if isinstance(self.operations, Selected):
            failed = self.operations.pick(np.flatnonzero(self.operations.columns.type == FAIL_CODE))
        return [op for op in failed if op.type == FAIL and state in written(op)]

    def number_of(self, place: int) -> int:
        """The number of the operation that was invoked at this place, -1 if there is none that matters."""
        number = int(np.searchsorted(self.form.invoked, place))
        found = number < len(self.form.invoked) and self.form.invoked[number] == place
        return number if found else -1

    def before(self, end: int, but: int = -1) -> Arrays:
        """What is known when the event at `end` has just happened (as `breaks.cut`), without one of the operations."""
        form = self.form
        count = int(np.searchsorted(form.invoked, end, "right"))
        returned = np.where(form.returned[:count] <= end, form.returned[:count], NEVER)
        kept = (form.kinds[:count] != Kind.READER) | (returned != NEVER)
        if 0 <= but < count:
            kept[but] = False
        return form.keep(np.flatnonzero(kept), returned)


def first_break(model: Model, operations: Sequence[Op], evidence: Sequence[Op]) -> Cut | None:
    """The first event that nothing explains, as `breaks.first_break` finds it; None where zones do not decide."""
    form, transitions, pick = compiled.posed(Problem(model, operations))
    if transitions is not None or (np.diff(form.invoked) <= 0).any():
        return None
    whole = Whole(model, operations, form, pick)
    returns = np.sort(form.returned[form.returned != NEVER]).tolist()
    low, high, steps, certain = 0, len(returns) - 1, 0, False
    last = max((op.returned for op in evidence if op.returned is not None), default=-1)
    while low < high:
        middle = bisect_left(returns, last)
        if middle == high and steps < STEPS_BACK:
            middle, steps = high - 1, steps + 1
        elif not low <= middle < high:
            middle = (low + high) // 2
        outcome = _decided(whole.before(returns[middle + 1] - 1))
        if outcome is None:
            return None
        if isinstance(outcome, Refuted):
            high, last = middle, _end_of(form, outcome, returns[middle])
        else:
            low, certain = middle + 1, True
    if not certain and not isinstance(_decided(whole.before(returns[high] - 1)), Ordered):
        return None
    return Cut(whole, int(np.flatnonzero(form.returned == returns[high])[0]), returns[high])


def _end_of(form: Arrays, refuted: Refuted, end: int) -> int:
    """The last return of the evidence, of what had returned."""
    ends = form.returned[np.array(refuted.evidence, np.int64)]
    return int(ends[ends <= end].max(initial=-1))


def _decided(arrays: Arrays, *, witness: bool = False) -> Ordered | Refuted | None:
    """What zones say of a prefix; the numbers are those of all operations. None: they do not decide."""
    settled = settling.settle(arrays)
    if isinstance(settled, Refuted):
        return Refuted(tuple(arrays.rows[np.array(settled.evidence, np.int64)].tolist()))
    outcome = compiled_zones.decide(settled, witness=witness)
    if isinstance(outcome, GaveUp):
        return None
    if isinstance(outcome, Refuted):
        return Refuted(tuple(settled.rows[np.array(outcome.evidence, np.int64)].tolist()))
    return Ordered(None if outcome.order is None else settled.rows[outcome.order])


def telling(found: Cut, shown: int) -> Telling | None:
    """What can matter for the reason of this break, with the last `shown` operations of an order; None if zones do not tell."""
    whole, impossible, end = found
    others = whole.before(end, but=impossible)
    settled = settling.settle(others)
    blocks = None if isinstance(settled, Refuted) else compiled_zones.blocks_of(settled)
    before = _decided(whole.before(end - 1), witness=True)
    chosen = _argument(whole, impossible, end)
    if blocks is None or isinstance(settled, Refuted) or not isinstance(before, Ordered) or chosen is None:
        return None
    states, needed, recorded = chosen
    failed = [] if _brought(whole, impossible, end) else whole.failed(_state_of(whole, states[0]))
    observed = [number for op in failed if (number := whole.number_of(op.invoked)) >= 0 and op.invoked <= end]
    known = np.union1d(needed, [impossible, *observed]).tolist()
    every = {op.invoked: op for op in [*failed, *whole.make(np.union1d(known, recorded).tolist())]}
    prefix = cut(whole.model, whole.make(known), end)
    told = story(whole.model, prefix)
    complete = {_state_of(whole, state) for state in states}
    told = told._replace(values={state: each for state, each in told.values.items() if state in complete})
    unseen = np.setdiff1d(others.rows[others.returned == NEVER], settled.rows)
    late = story(whole.model, cut(whole.model, whole.make(unseen.tolist()), end))
    begin = int(whole.form.invoked[impossible])
    return Telling(
        prefix,
        [every[place] for place in sorted(every)],
        told,
        stories.possible(late, _standing(whole, settled, blocks, begin), begin),
        _tail(whole, before, shown),
    )


def _tail(whole: Whole, before: Ordered, shown: int) -> Tail:
    """The state before the last operations is what the last update before them left (it has assignment form)."""
    assert before.order is not None
    rest, last = before.order[:-shown], before.order[-shown:]
    updates = np.flatnonzero(whole.form.produces[rest] != NONE)
    state = _state_of(whole, int(whole.form.produces[rest[updates[-1]]])) if len(updates) else whole.model.init
    return Tail(len(before.order), whole.make(last.tolist()), state)


def _state_of(whole: Whole, number: int) -> State:
    """The state that has this number."""
    form = whole.form
    if number == form.initial:
        return whole.model.init
    made = np.flatnonzero(form.produces == number)
    op = whole.make([int(made[0] if len(made) else np.flatnonzero(form.requires == number)[0])])[0]
    effect = whole.model.effect(op)
    assert effect is not None
    return brings(effect) if len(made) else effect.requires


def _brought(whole: Whole, impossible: int, end: int) -> bool:
    """Whether what the operation asks for was there at first or was brought by something invoked by then."""
    form = whole.form
    wanted = form.requires[impossible]
    return bool(wanted == form.initial or ((form.produces == wanted) & (form.invoked <= end)).any())


def _argument(whole: Whole, impossible: int, end: int) -> tuple[list[int], Int64, Int64] | None:
    """What `registers.find` needs: the states to tell of completely, the operations for that that were invoked by then (with those
    that bring what these ask for), and all that have to do with these states at any time.
    """
    form = whole.form
    wanted = int(form.requires[impossible])
    if wanted == NONE:
        return None
    rivals = _rivals(whole, impossible, end)
    states = [wanted, *rivals]
    recorded = np.flatnonzero(np.isin(form.produces, states) | np.isin(form.requires, states))
    needed = recorded[form.invoked[recorded] <= end]
    asked = form.requires[needed]
    sources = np.flatnonzero(np.isin(form.produces, asked[asked != NONE]) & (form.invoked <= end))
    return states, np.union1d(needed, sources), recorded


class _Known(NamedTuple):
    """Of each state in a prefix: its producer (-1: none), how many there are, and masks of operations that show it."""

    producer: Int64
    producers: Int64
    looks: Flags


def _rivals(whole: Whole, impossible: int, end: int) -> list[int]:
    """The values of which one rules out what the operation asks for, by the choice of `registers._overwritten`; else those whose
    updates `registers._outlived` takes first.

    There the first of the producer and its witnesses that returned before the operation began and the first that was invoked
    after the value asked for had been there are taken; of all values those whose core is smallest, and latest.
    """
    form = whole.form
    count = int(np.searchsorted(form.invoked, end, "right"))
    requires, produces, invoked = form.requires[:count], form.produces[:count], form.invoked[:count]
    returned = np.where(form.returned[:count] <= end, form.returned[:count], NEVER)
    wanted, begin = requires[impossible], invoked[impossible]
    made = np.flatnonzero(produces != NONE)
    known = _Known(
        _first(produces, made, form.states),
        np.bincount(produces[made], minlength=form.states),
        (requires != NONE) & (returned != NEVER),
    )
    mine = np.flatnonzero((produces == wanted) | (known.looks & (requires == wanted)))
    mine = mine[(mine != impossible) & (returned[mine] != NEVER)]
    producer = int(known.producer[wanted])
    settled = int(mine[np.argmin(returned[mine])]) if len(mine) else -1
    if settled < 0 and producer >= 0:
        return []
    since = int(returned[settled]) if producer >= 0 else BEFORE_ALL
    ends = _showing(requires, known, returned < begin)
    starts = _showing(requires, known, invoked > since)
    fits = (known.producers == 1) & (ends >= 0) & (starts >= 0)
    fits[[wanted, form.initial]] = False
    found = np.flatnonzero(fits)
    if not len(found):
        return _later(produces, invoked, returned, requires, int(wanted), int(begin))
    base = [impossible, *([producer] if producer >= 0 else []), *([settled] if settled >= 0 else [])]
    made, ends, starts = known.producer[found], ends[found], starts[found]
    size = (~np.isin(made, base)).astype(np.int64) + (~np.isin(starts, base) & (starts != made))
    size += ~np.isin(ends, base) & (ends != made) & (ends != starts)
    smallest = np.flatnonzero(size == size.min())
    latest = invoked[ends[smallest]]
    best: list[int] = found[smallest[latest == latest.max()]].tolist()
    return best


def _first(column: Int64, numbers: Int64, states: int) -> Int64:
    """By state the first of these operations that has it in the column, -1 if none has. (Of equal places the last one stays.)"""
    found = np.full(states, -1, np.int64)
    found[column[numbers[::-1]]] = numbers[::-1]
    return found


def _showing(requires: Int64, known: _Known, there: Flags) -> Int64:
    """By state the producer if it is `there`, else the first witness that is, else -1."""
    witness = _first(requires, np.flatnonzero(known.looks & there), len(known.producer))
    direct = np.where(known.producer >= 0, there[known.producer], np.False_)
    return np.where(direct, known.producer, witness)


def _later(produces: Int64, invoked: Int64, returned: Int64, requires: Int64, wanted: int, begin: int) -> list[int]:
    """The value mentioned first of those that were brought after all that bring the wanted one had returned, before `begin`."""
    mine = produces == wanted
    if not mine.any():
        return []
    later = np.flatnonzero((produces != NONE) & ~mine & (invoked > returned[mine].max()) & (returned < begin))
    if not len(later):
        return []
    candidates = np.unique(produces[later])
    looks = (requires != NONE) & (returned != NEVER)
    mentions = np.isin(produces, candidates) | (looks & np.isin(requires, candidates))
    first = int(np.flatnonzero(mentions)[0])
    return [int(state) for state in (requires[first], produces[first]) if state in candidates]


def _standing(whole: Whole, settled: Arrays, blocks: Blocks, begin: int) -> list[Block]:
    """The blocks that `stories.possible` has to know: all that could be possible, and all that could rule these out.

    With `done` as there: what had ended before `begin` and `done` alike is not possible unless it starts at `done` or later, and
    of what ended before `begin` the one that starts last rules out whatever any of them does, or the second if it is asked
    about itself.
    """
    over = np.flatnonzero(blocks.ends < begin)
    done = int(blocks.starts[over].max(initial=BEFORE_ALL))
    kept = (blocks.ends >= min(begin, done)) | (blocks.starts >= done)
    if len(over):
        kept[over[np.argsort(blocks.starts[over])[-2:]]] = True
    numbers = np.flatnonzero(kept)
    members = np.flatnonzero(np.isin(blocks.block, numbers))
    members = members[np.lexsort((blocks.link[members], blocks.block[members]))]
    bounds = np.searchsorted(blocks.block[members], numbers), np.searchsorted(blocks.block[members], numbers, "right")
    return [
        Block(
            int(blocks.ends[number]),
            int(blocks.starts[number]),
            _links(whole, settled, blocks, int(number), members[left:right], begin),
        )
        for number, left, right in zip(numbers, *bounds, strict=True)
    ]


def _links(
    whole: Whole, settled: Arrays, blocks: Blocks, number: int, members: Int64, begin: int
) -> list[tuple[State, int]]:
    """The values of a block that no later link ended before `begin`, each with the first return of what came after it.

    `members` are the values that somebody asks for; the last value of a chain may be one that nobody does.
    """
    states = members.tolist()
    root = NONE if number == 0 else int(blocks.roots[number - 1])
    makers = [root, *blocks.taker[members].tolist()]
    if makers[-1] == NONE and states:
        makers.pop()
    else:
        states.append(int(settled.produces[makers[-1]]) if makers[-1] != NONE else settled.initial)
    readers = np.full(len(states), NONE, np.int64)
    readers[: len(members)] = blocks.first_reader[members]
    ends = np.full(len(states), NEVER, np.int64)
    for column in (np.array(makers, np.int64), readers):
        there = column != NONE
        ends[there] = np.minimum(ends[there], settled.returned[column[there]])
    later = np.append(np.minimum.accumulate(ends[:0:-1])[::-1], NEVER)
    return [(_state_of(whole, states[at]), int(later[at])) for at in np.flatnonzero(later >= begin).tolist()]
