"""The compiled frontier sweep: the driver of `frontier.py`, which gives it memory, answers of the model and pauses."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from checker.budget import Meter, Pace
from checker.search import configurations as layout
from checker.search import frontier
from checker.search.arrays import NONE, Arrays, Int64, Ordered, Refuted, Table, events_of, steps_of
from checker.search.configurations import Memory
from checker.search.frontier import Input
from checker.search.kernels import SLOTS
from checker.search.problem import NEVER, Kind
from checker.verdict import GaveUp

_FIRST_STEPS, _MOST_STEPS = 1 << 12, 1 << 17
"""Steps between two looks at the budget."""
_FIRST_ROWS = 1 << 10
_FIRST_LINKS = 1 << 14
_QUEUE_ROWS = 4
"""How many times as many rows the queue of a closure has as a frontier."""
_BITS = 8
"""Of a count of uses, its spare bit included; a count that does not fit doubles it."""
_GENERATIONS = 1 << 29
"""So many closures may use a hash table before it has to be emptied: their number has 31 bits there."""


class Switches(NamedTuple):
    """Reductions of the sweep: the verdict is the same with each of them off. `look_ahead` are 7 and 8."""

    hidden_writes: bool = True
    earliest_first: bool = True
    fewest_used: bool = True
    dominance: bool = True
    look_ahead: bool = True


ALL = Switches()


class Stopped(NamedTuple):
    """Where a sweep ended: events passed, the operation whose return nothing explains, or why it gave up."""

    place: int
    impossible: int | None = None
    reason: str = ""


def exact(
    arrays: Arrays,
    table: Table | None,
    meter: Meter,
    limit: int,
    *,
    witness: bool = False,
    switches: Switches = ALL,
) -> Ordered | Refuted | GaveUp:
    """Decides the problem, or gives up when a frontier or a closure outgrows `limit` rows. Raises `OutOfBudgetError`."""
    sweep = CompiledSweep(arrays, table, meter, limit, witness=witness, switches=switches)
    stopped = sweep.run()
    if stopped.reason:
        return GaveUp(stopped.reason)
    if stopped.impossible is None:
        return Ordered(sweep.order() if witness else None)
    return Refuted(_first_impossible(sweep, arrays, table, meter, limit))


def beam(
    arrays: Arrays, table: Table | None, meter: Meter, width: int, *, limit: int = 1 << 20, witness: bool = False
) -> Ordered | GaveUp:
    """Keeps the `width` configurations that used the fewest unanswered operations: finding an order proves validity."""
    sweep = CompiledSweep(arrays, table, meter, limit, width=width, witness=witness)
    stopped = sweep.run()
    if stopped.reason or stopped.impossible is not None:
        return GaveUp(stopped.reason or f"a beam of {width} configurations found no order")
    return Ordered(sweep.order() if witness else None)


def relaxed(arrays: Arrays, table: Table | None, meter: Meter, limit: int) -> Refuted | GaveUp:
    """Lets unanswered operations happen any number of times: if even that explains nothing, nothing does."""
    stopped = CompiledSweep(arrays, table, meter, limit, relaxed=True).run()
    if stopped.impossible is None:
        return GaveUp(stopped.reason or "possible if unanswered operations could happen any number of times")
    return Refuted()


def _first_impossible(
    sweep: CompiledSweep, arrays: Arrays, table: Table | None, meter: Meter, limit: int
) -> tuple[int, ...]:
    """The operation whose return nothing before it explains. Reductions 7 and 8 fail earlier, as they look ahead."""
    if sweep.looks_ahead:
        sweep = CompiledSweep(arrays, table, meter, limit, switches=sweep.switches._replace(look_ahead=False))
        sweep.run()
    return () if sweep.impossible is None else (sweep.impossible,)


class CompiledSweep:
    """A sweep that can be carried on: its frontier, and what is open, is all that it knows of the past.

    `width` makes it a beam, `relaxed` lets unanswered operations never run out.
    """

    def __init__(
        self,
        arrays: Arrays,
        table: Table | None,
        meter: Meter,
        limit: int,
        *,
        width: int = 0,
        relaxed: bool = False,
        witness: bool = False,
        switches: Switches = ALL,
    ) -> None:
        self.arrays, self.table, self.meter, self.limit, self.switches = arrays, table, meter, limit, switches
        self.looks_ahead = switches.look_ahead and arrays.assignment
        self.impossible: int | None = None
        self._pace = Pace(meter, _FIRST_STEPS, _MOST_STEPS)
        self._collected_at = NONE
        self._input = _input(arrays, np.zeros((_FIRST_LINKS if witness else 0, 2), np.int64))
        self._memory = Memory(
            numbers=np.zeros(layout.NUMBERS, np.int64),
            rows=np.zeros((1, layout.USED), np.int64),
            tables=np.zeros((2, 1), np.int64),
            moves=np.zeros((6, SLOTS), np.int64),
            states=_demand(arrays),
            steps=steps_of(arrays, table),
        )
        self._memory.rows[0, layout.STATE], self._memory.rows[0, layout.PARENT] = arrays.initial, NONE
        numbers = self._memory.numbers
        numbers[layout.ASSIGNMENT], numbers[layout.LOOKAHEAD] = arrays.assignment, self.looks_ahead
        numbers[layout.HIDING], numbers[layout.DEADLINES] = switches.hidden_writes, switches.earliest_first
        numbers[layout.FEWEST], numbers[layout.DOMINANCE] = switches.fewest_used, switches.dominance
        numbers[layout.RELAXED], numbers[layout.WIDTH], numbers[layout.LINKED] = relaxed, width, witness
        numbers[layout.CONFIGURATIONS] = 1
        _set_bits(numbers, _BITS)
        self._resize(min(limit, _FIRST_ROWS), min(limit, _QUEUE_ROWS * _FIRST_ROWS), layout.USED)

    def run(self, upto: int | None = None) -> Stopped:
        """Sweeps on to event `upto`, or to the end; stops at a return that nothing explains. Raises `OutOfBudgetError`."""
        numbers, end = self._memory.numbers, len(self._input.events)
        while True:
            status = frontier.run(self._input, self._memory, end if upto is None else upto, self._pace.steps)
            place = int(numbers[layout.PLACE])
            self.meter.progress = (place, end)
            self._pace.spend(int(numbers[layout.STEPS]), self.held)
            if status == frontier.FINISHED:
                return Stopped(place)
            if status == frontier.IMPOSSIBLE:
                self.impossible = int(self._input.events[place]) >> 1
                return Stopped(place, self.impossible)
            if status == frontier.CROWDED:
                return Stopped(place, reason=f"more than {SLOTS} operations are open at event {place:,} of {end:,}")
            if status == frontier.FULL and not self._grow():
                return Stopped(place, reason=f"more than {self.limit:,} configurations at event {place:,} of {end:,}")
            self._help(status)

    @property
    def held(self) -> int:
        """Bytes of the sweep's memory beside the arrays of the problem."""
        own = (*self._memory[:5], self._input.events, self._input.slot_of, self._input.by_class, self._input.links)
        return sum(each.nbytes for each in own) + (0 if self.table is None else self.table.held)

    @property
    def width(self) -> int:
        """How many configurations the frontier has."""
        return int(self._memory.numbers[layout.CONFIGURATIONS])

    def states(self) -> list[int]:
        """The numbers of the states that the frontier is in, ascending; all states that nobody will ask for are one, the last."""
        return [int(state) for state in np.unique(self._memory.rows[: self.width, layout.STATE])]

    def order(self) -> Int64:
        """The operations that lead to some configuration of the frontier, in order, if links were kept."""
        return _order_of(self.arrays, self._input.links, int(self._memory.rows[0, layout.PARENT]))

    def _help(self, status: int) -> None:
        """Removes what the kernel was stopped by."""
        memory, numbers = self._memory, self._memory.numbers
        if numbers[layout.GENERATION] >= _GENERATIONS and numbers[layout.PHASE] == 0:
            memory.tables[:] = 0
            numbers[layout.GENERATION] = 0
        if status == frontier.MISSING:
            assert self.table is not None
            self.table.fill(int(numbers[layout.MISSING_STATE]), int(numbers[layout.MISSING_CLASS]))
            self._memory = memory._replace(steps=steps_of(self.arrays, self.table))
        elif status == frontier.NARROW:
            more = np.zeros((len(memory.moves), max(8, memory.moves.shape[1] - SLOTS)), np.int64)
            more[layout.CLASS] = NONE
            self._repack(np.concatenate([memory.moves, more], axis=1), int(numbers[layout.BITS]))
        elif status == frontier.OVERFLOWN:
            self._repack(memory.moves, 2 * int(numbers[layout.BITS]))
        elif status == frontier.UNLINKED:
            self._make_room_for_links()

    def collect(self) -> None:
        """Takes out links that lead to no configuration of the frontier."""
        places = np.full(len(self._input.links), NONE, np.int64)
        frontier.collect(self._memory.numbers, self._memory.rows, self._input.links, places)

    def _make_room_for_links(self) -> None:
        """Takes out what leads nowhere; if that is not enough, or was not at this event before, makes room for twice as many."""
        self.collect()
        links, place = self._input.links, int(self._memory.numbers[layout.PLACE])
        if 2 * self._memory.numbers[layout.LINKS] > len(links) or place == self._collected_at:
            more = np.zeros((2 * len(links) + 1, 2), np.int64)
            self.meter.spend(0, self.held + more.nbytes)
            more[: len(links)] = links
            self._input = self._input._replace(links=more)
        self._collected_at = place

    def _grow(self) -> bool:
        """Twice the rows, within the limit and the budget; False if there are as many as there may be."""
        rows = int(self._memory.numbers[layout.CAPACITY])
        queue = len(self._memory.rows) - 2 * rows
        if rows >= self.limit and queue >= self.limit:
            return False
        self._resize(min(self.limit, 2 * rows), min(self.limit, 2 * queue), self._memory.rows.shape[1])
        return True

    def _resize(self, rows: int, queue: int, width: int) -> None:
        """Makes room; a closure that was under way starts anew."""
        numbers = self._memory.numbers
        kept = self._memory.rows[: numbers[layout.CONFIGURATIONS]].copy()
        # What is there is given back before more is taken, so that never both are held.
        self._memory = self._memory._replace(rows=kept, tables=np.zeros((2, 1), np.int64))
        every, size = 2 * rows + queue, 1 << (2 * max(rows, queue) - 1).bit_length()
        self.meter.spend(0, self.held + 8 * (every * width + 2 * size))
        more = np.zeros((every, width), np.int64)
        more[: len(kept), : min(width, kept.shape[1])] = kept[:, :width]
        self._memory = self._memory._replace(rows=more, tables=np.zeros((2, size), np.int64))
        numbers[layout.CAPACITY], numbers[layout.PHASE], numbers[layout.GENERATION] = rows, 0, 0

    def _repack(self, moves: Int64, bits: int) -> None:
        """Room for more classes of unanswered operations, or for larger counts of their uses."""
        memory, numbers = self._memory, self._memory.numbers
        count, columns = int(numbers[layout.CONFIGURATIONS]), moves.shape[1] - SLOTS
        used = _unpacked(memory.rows[:count, layout.USED :], int(numbers[layout.BITS]), columns)
        words = -(-columns * bits // 64)
        self._memory = memory._replace(moves=moves)
        rows = int(numbers[layout.CAPACITY])
        self._resize(rows, len(memory.rows) - 2 * rows, layout.USED + words)
        self._memory.rows[:count, layout.USED :] = _packed(used, bits, words)
        _set_bits(numbers, bits)


def _input(arrays: Arrays, links: Int64) -> Input:
    by_class = np.zeros((2, arrays.classes.max(initial=0) + 1), np.int64)
    by_class[frontier.COLUMN] = NONE
    return Input(
        events=events_of(arrays),
        classes=arrays.classes,
        kinds=arrays.kinds,
        returned=arrays.returned,
        slot_of=np.full(len(arrays.invoked), NONE, np.int8),
        by_class=by_class,
        links=links,
    )


def _order_of(arrays: Arrays, links: Int64, link: int) -> Int64:
    """The operations of a chain of links, from its end."""
    codes = []
    while link != NONE:
        link, code = links[link].tolist()
        codes.append(code)
    unanswered = _unanswered(arrays)
    order: list[int] = []
    for code in reversed(codes):
        number, which = code >> 2, code & 3
        if which == frontier.OF_CLASS:
            order.append(unanswered[number].pop())
        elif which == frontier.LINEARIZED:
            order.append(number)
        else:
            # Right before the blind write that hid it, which is the last one so far.
            behind = next(place for place in range(len(order) - 1, -1, -1) if arrays.kinds[order[place]] == Kind.BLIND)
            order.insert(behind, number)
    return np.array(order, np.int64)


def _set_bits(numbers: Int64, bits: int) -> None:
    numbers[layout.BITS] = bits
    numbers[layout.SPARE] = sum(1 << shift for shift in range(bits - 1, 63, bits)) - (
        1 << 63
    )  # the last one is the sign


def _demand(arrays: Arrays) -> Int64:
    """What is to come, by state (assignment form); the last column is the symbol of all states that nobody asks for."""
    if not arrays.assignment:
        return np.zeros((6, 1), np.int64)
    states = np.zeros((6, arrays.states + 1), np.int64)
    answered = arrays.returned != NEVER
    asked, made = arrays.requires != NONE, arrays.produces != NONE
    size = arrays.states + 1
    states[layout.TO_ASK] = np.bincount(arrays.requires[answered & asked], minlength=size)
    states[layout.TO_USE] = np.bincount(arrays.requires[~answered & asked], minlength=size)
    states[layout.TO_MAKE] = np.bincount(arrays.produces[made], minlength=size)
    return states


def _unanswered(arrays: Arrays) -> dict[int, list[int]]:
    """The unanswered operations of each class, the oldest last: in that order they are used (reduction 2)."""
    found: dict[int, list[int]] = {}
    numbers = np.flatnonzero(arrays.returned == NEVER)
    for number in numbers[np.argsort(-arrays.invoked[numbers], kind="stable")].tolist():
        found.setdefault(int(arrays.classes[number]), []).append(number)
    return found


def _unpacked(words: Int64, bits: int, columns: int) -> Int64:
    """The counts of uses of each row by column."""
    used = np.zeros((len(words), columns), np.int64)
    per_word = 64 // bits
    for column in range(min(columns, words.shape[1] * per_word)):
        used[:, column] = (words[:, column // per_word] >> (column % per_word * bits)) & ((1 << (bits - 1)) - 1)
    return used


def _packed(used: Int64, bits: int, words: int) -> Int64:
    packed = np.zeros((len(used), words), np.int64)
    per_word = 64 // bits
    for column in range(used.shape[1]):
        packed[:, column // per_word] |= used[:, column] << (column % per_word * bits)
    return packed
