"""Counters: bounds that refute at once, then a sweep that tries adds in another order only where a read waits for it.

*Bounds* (Jepsen's check): a read lies between the sum of what was certainly added before it and what may have been added when it returned,
negative amounts the other way round. Necessary, but not sufficient, even with increments of one: adds X [0, 100] and Y [40, 60], reads of
1 at [10, 12] and at [61, 62]: the bounds are 0..1 and 1..2, and yet X must have happened by 12 and Y by 60.

*Sweep.* A configuration is the sum, which open operations are done, and how many unanswered adds of each amount were used. At the return of x
it is enough to try sequences of open operations that end in x (just in time, Lowe 2017). Adds commute, so those that stand directly
before x, with no read between, may as well come after it; so each sequence is made of steps "some adds whose sum leads to what an open
read gave, then that read", and of x at the end. Readers that may read do so at once (reduction 1). Of adds of one amount those
that return first are taken first, unanswered ones last (reductions 2 and 4). Of two configurations that differ in reads alone the one
that has done more is kept. If no amount is negative, a configuration whose sum an open read can no more meet is dead.

With one amount there is never a choice (`_walk`). With several the sweep is as good as their sums are telling, since in general the
problem is NP-complete: a subset sum can be written as adds beside one read. First only a few configurations are kept, those that used the
fewest unanswered adds: if that leads to the end, there is an order. A choice of adds is only begun where the rest can still make up what
is missing (`_Rest`), and costs steps of the budget.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush
from math import gcd
from typing import NamedTuple

from checker.budget import Meter
from checker.models.counters import Counter
from checker.search.problem import NEVER, Problem
from checker.search.sweep import CONFIGURATION_BYTES
from checker.verdict import GaveUp, Invalid, Outcome, Valid

_NARROW, _WIDEST = 24, 1 << 10
"""How many configurations the sweep carries at most, at first and then."""

_SPAN = 1 << 14
"""So far apart may sums lie that are held as one bit each."""

_Configuration = tuple[int, int, int, tuple[int, ...]]
"""Sum, adds done (bits), reads done (bits), unanswered adds used of each amount."""
_Link = tuple["_Link | None", int]


def decide(problem: Problem, meter: Meter) -> Outcome:
    """Decides the problem of a counter, or gives up where too many sums are possible. Raises `OutOfBudgetError`."""
    if not isinstance(problem.model, Counter):
        return GaveUp("the object is no counter")
    wrong = _out_of_bounds(problem, problem.model.init)
    if wrong is not None:
        return Invalid(problem.named([wrong]))
    amounts = {op.value for op in problem.operations if op.f == "add"} - {0}
    if len(amounts) == 1:
        return _walk(problem, amounts.pop())
    if NEVER in problem.returned:
        outcome = _Sweep(problem, problem.model.init, meter, _NARROW).run()
        if not isinstance(outcome, GaveUp):
            return outcome
    return _Sweep(problem, problem.model.init, meter, _WIDEST).run()


def _out_of_bounds(problem: Problem, initial: int) -> int | None:
    """The first read that lies outside of its bounds."""
    certain = {True: 0, False: 0}  # sums of amounts that are positive, or not, of adds that returned
    begun = {True: 0, False: 0}  # likewise of adds that were invoked
    least: dict[int, tuple[int, int]] = {}
    for _, is_return, number in problem.along(problem.events):
        op = problem.operations[number]
        if op.f == "add":
            sums = certain if is_return else begun
            sums[op.value > 0] += op.value
        elif not is_return:
            least[number] = certain[True], certain[False]
        else:
            positive, negative = least.pop(number)
            if not initial + positive + begun[False] <= op.result <= initial + begun[True] + negative:
                return number
    return None


def _walk(problem: Problem, amount: int) -> Valid | Invalid:
    """Adds of one amount, each when its return or an open read asks for it: of those that are open the one that returns first."""
    total = problem.model.init
    assert isinstance(total, int)
    order: list[int] = []
    done = [False] * len(problem)
    adds: list[tuple[int, int]] = []
    unanswered: deque[int] = deque()
    readers: dict[int, list[int]] = {}
    for _, is_return, number in problem.along(problem.events):
        op = problem.operations[number]
        if not is_return and op.f == "add" and op.value == 0:
            done[number] = True  # adding nothing
            order.append(number)
        elif not is_return and op.f == "read":
            readers.setdefault(op.result, []).append(number)
        elif not is_return and problem.returned[number] == NEVER:
            unanswered.append(number)
        elif not is_return:
            heappush(adds, (problem.returned[number], number))
        while is_return and not done[number]:
            if not readers.get(total) and not adds and not unanswered:
                return Invalid(problem.named([number]))
            if not readers.get(total):
                following = heappop(adds)[1] if adds else unanswered.popleft()
                done[following] = True
                order.append(following)
                total += amount
            for reader in readers.pop(total, ()):
                done[reader] = True
                order.append(reader)
    return Valid(problem.named(order))


class _Sweep:
    """The frontier of configurations, each with the link that leads back through its operations, and what is open.

    Cut to `width` it can only prove that there is an order.
    """

    def __init__(self, problem: Problem, initial: int, meter: Meter, width: int) -> None:
        self._problem = problem
        self._meter = meter
        self._width = width
        self._truncated = False
        self._bits: dict[int, int] = {}
        self._adds: dict[int, list[tuple[int, int]]] = {}
        self._reads: dict[int, int] = {}
        amounts = [op.value for op in problem.operations if op.f == "add"]
        self._grows = all(amount >= 0 for amount in amounts)
        self._lost: dict[int, list[int]] = {}
        for number in (number for _, _, number in problem.events if problem.returned[number] == NEVER):
            self._lost.setdefault(problem.operations[number].value, []).append(number)
        self._amounts = list(self._lost)
        self._available = dict.fromkeys(self._amounts, 0)
        self._frontier: dict[_Configuration, _Link | None] = {(initial, 0, 0, (0,) * len(self._amounts)): None}

    def run(self) -> Valid | Invalid | GaveUp:
        """Sweeps over all events."""
        problem = self._problem
        end = problem.events[-1][0] if problem.events else 0
        for place, is_return, number in problem.along(problem.events):
            if not is_return:
                self._invoke(number)
                continue
            self._meter.progress = (place, end)
            bit = self._bits[number]
            found: dict[_Configuration, _Link | None] = {}
            for configuration, link in self._frontier.items():
                if (configuration[1] | configuration[2]) & bit:
                    found.setdefault(configuration, link)
                else:
                    self._settle(number, bit, configuration, link, found)
            if not found and self._truncated:
                return GaveUp(f"{self._width:,} configurations led no further than event {place:,} of {end:,}")
            if not found:
                return Invalid(problem.named([number]))
            self._close(number, bit, found)
        return Valid(problem.named(_order(next(iter(self._frontier.values())))))

    def _invoke(self, number: int) -> None:
        op, returned = self._problem.operations[number], self._problem.returned[number]
        if op.f == "add" and returned == NEVER:
            self._available[op.value] += 1
            return
        taken = sum(self._bits.values())
        bit = self._bits[number] = ~taken & (taken + 1)
        if op.f == "add":
            insort(self._adds.setdefault(op.value, []), (returned, number))
            return
        self._reads[number] = op.result
        self._frontier = {
            (total, adds, reads | bit, used) if total == op.result else (total, adds, reads, used): (
                (link, number) if total == op.result else link
            )
            for (total, adds, reads, used), link in self._frontier.items()
        }

    def _close(self, number: int, bit: int, found: dict[_Configuration, _Link | None]) -> None:
        """The operation is done in all that were found: its bit is given back, and what is worse than another one is dropped."""
        del self._bits[number]
        self._reads.pop(number, None)
        op = self._problem.operations[number]
        if op.f == "add":
            self._adds[op.value].remove((self._problem.returned[number], number))
        kept: dict[_Configuration, _Link | None] = {}
        best: dict[tuple[int, tuple[int, ...]], list[int]] = {}
        for (total, adds, reads, used), link in found.items():
            rivals = best.setdefault((adds & ~bit, used), [])
            done = reads & ~bit
            if len(found) > 1 and any(done & ~rival == 0 for rival in rivals):
                continue
            rivals.append(done)
            kept[total, adds & ~bit, done, used] = link
        self._meter.spend(1 + len(found), len(found) * CONFIGURATION_BYTES)
        self._truncated |= len(kept) > self._width
        fewest = sorted(kept, key=lambda each: sum(each[3]))[: self._width] if len(kept) > self._width else kept
        self._frontier = {configuration: kept[configuration] for configuration in fewest}

    def _settle(
        self,
        number: int,
        bit: int,
        start: _Configuration,
        link: _Link | None,
        found: dict[_Configuration, _Link | None],
    ) -> None:
        """All configurations that are reached by sequences that end in the operation, which returns."""
        op = self._problem.operations[number]
        is_add = op.f == "add"
        todo: list[tuple[_Configuration, _Link | None]] = [(start, link)]
        seen = {start}
        while todo:
            (total, adds, reads, used), link = todo.pop()
            self._meter.spend(1, len(seen) * CONFIGURATION_BYTES)
            if is_add:
                after = self._read((total + op.value, adds | bit, reads, used), (link, number))
                if after is not None:
                    found.setdefault(*after)
            waiting = {wanted for reader, wanted in self._reads.items() if not reads & self._bits[reader]}
            pools = self._pools(adds, used, number if is_add else -1) if waiting else []
            for wanted in waiting if len(waiting) < 2 or not self._grows else sorted(waiting)[:1]:
                for taken, chosen in _choices(wanted - total, pools, used, self._meter, grows=self._grows):
                    trail = link
                    done = adds
                    for each in chosen:
                        trail = (trail, each)
                        done |= self._bits.get(each, 0)
                    after = self._read((wanted, done, reads, taken), trail)
                    if after is None or after[0] in seen:
                        continue
                    seen.add(after[0])
                    if after[0][2] & bit and not is_add:
                        found.setdefault(*after)
                    else:
                        todo.append(after)

    def _read(self, configuration: _Configuration, link: _Link | None) -> tuple[_Configuration, _Link | None] | None:
        """Lets open readers read at once; None if one of them has missed its sum for ever."""
        total, adds, reads, used = configuration
        for reader, wanted in self._reads.items():
            if not reads & self._bits[reader]:
                if wanted == total:
                    reads |= self._bits[reader]
                    link = (link, reader)
                elif wanted < total and self._grows:
                    return None
        return (total, adds, reads, used), link

    def _pools(self, adds: int, used: tuple[int, ...], besides: int) -> list[_Pool]:
        """The open adds that are not done, all but `besides`, by amount."""
        pools = []
        for amount in {**self._adds, **self._lost}:
            pool = [each for _, each in self._adds.get(amount, ()) if each != besides and not adds & self._bits[each]]
            answered, place = len(pool), -1
            if amount in self._lost:
                place = self._amounts.index(amount)
                pool += self._lost[amount][used[place] : self._available[amount]]
            if pool and amount:
                pools.append(_Pool(amount, pool, answered, place))
        return sorted(pools, reverse=True)


class _Pool(NamedTuple):
    """Adds of one amount, those that return first at first, then unanswered ones (at `place` among their amounts)."""

    amount: int
    numbers: list[int]
    answered: int
    place: int


class _Rest(NamedTuple):
    """Which sums some pools can make up: exactly where they span little, else by bounds and the greatest common divisor.

    `sums` has bit s where the sum `least` + s can be made (0: too many to tell). A pool of c adds of a makes the multiples 0 to c
    of a, as do one, two, four and so on of them together (binary splitting). From `least` on, a negative amount counts up as well.
    """

    least: int = 0
    most: int = 0
    divisor: int = 0
    sums: int = 1

    def joined(self, pool: _Pool) -> _Rest:
        """With one pool more."""
        least = self.least + min(0, pool.amount) * len(pool.numbers)
        most = self.most + max(0, pool.amount) * len(pool.numbers)
        sums = self.sums if most - least <= _SPAN else 0
        left, together = len(pool.numbers), 1
        while sums and left:
            together = min(together, left)
            sums |= sums << together * abs(pool.amount)
            left, together = left - together, 2 * together
        return _Rest(least, most, gcd(self.divisor, pool.amount), sums)

    def can_be(self, total: int) -> bool:
        """False only if no adds of the pools have this sum."""
        if not self.least <= total <= self.most:
            return False
        if self.sums:
            return bool(self.sums >> (total - self.least) & 1)
        return total % self.divisor == 0 if self.divisor else total == 0


def _choices(
    missing: int, pools: list[_Pool], used: tuple[int, ...], meter: Meter, *, grows: bool
) -> Iterator[tuple[tuple[int, ...], list[int]]]:
    """The sets of adds with this sum: unanswered ones used after it, and the numbers chosen. Raises `OutOfBudgetError`."""
    rests = [_Rest()]
    for pool in reversed(pools):
        rests.append(rests[-1].joined(pool))
    rests.reverse()

    def choose(
        level: int, left: int, spent: tuple[int, ...], chosen: list[int]
    ) -> Iterator[tuple[tuple[int, ...], list[int]]]:
        meter.spend(1)
        if not rests[level].can_be(left):
            return
        if level == len(pools):
            yield spent, chosen
            return
        amount, numbers, answered, place = pools[level]
        most = min(len(numbers), left // amount) if grows else len(numbers)
        for count in range(most, -1, -1) if level < len(pools) - 1 else _exactly(left, amount, most):
            lost = max(0, count - answered)
            after = (*spent[:place], spent[place] + lost, *spent[place + 1 :]) if lost else spent
            yield from choose(level + 1, left - count * amount, after, chosen + numbers[:count])

    if missing > 0 or not grows:
        yield from choose(0, missing, used, [])


def _exactly(left: int, amount: int, most: int) -> list[int]:
    """How many of the last amount are needed, if that is possible."""
    count, rest = divmod(left, amount)
    return [count] if not rest and 0 <= count <= most else []


def _order(link: _Link | None) -> list[int]:
    numbers = []
    while link is not None:
        link, number = link
        numbers.append(number)
    return numbers[::-1]
