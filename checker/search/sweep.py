"""The frontier sweep: every configuration that is still possible, carried through the events in order.

A configuration is (state, done, marked, used): which open operations are linearized, which open blind writes may be
discharged for free, how many unanswered operations of each class were used. At the return of x every configuration is
extended by sequences of open operations that end in x (just in time, Lowe 2017); those that can't be are gone. Invariant:
each operation that returned before the current event is linearized in every configuration kept. So the first event
at which no configuration is left is the first one that nothing can explain: the sweep looks at nothing that comes later.

Exact by itself (`exact`). Cut short it is a `beam`, which can only prove validity; with unanswered operations that never
run out it is `relaxed`, which can only prove the opposite. Their types keep them from saying more.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from checker.budget import Meter
from checker.history import Op
from checker.search.problem import ILLEGAL, NEVER, Kind, Problem
from checker.verdict import GaveUp, Invalid, Valid

CONFIGURATION_BYTES = 500
"""What a configuration costs in a frontier with its link and its place in a dictionary, measured on CPython 3.11."""
_COMPARISONS = 64
"""How many configurations of the same state one is compared with before it is kept: any limit is sound."""

_Configuration = tuple[int, int, int, tuple[int, ...]]
_Link = tuple["_Link | None", int]
"""How a configuration was reached: an operation's number, or the complement of one that was discharged as hidden."""


class Reductions(msgspec.Struct, frozen=True):
    """Switches for tests: the verdict must be the same with each of them off."""

    hidden_writes: bool = True
    earliest_first: bool = True
    fewest_used: bool = True
    dominance: bool = True


class Stopped(msgspec.Struct):
    """Where a sweep ended: the frontier before event `place`, and the operation whose return nothing explains."""

    place: int
    frontier: dict[_Configuration, _Link | None]
    impossible: int | None = None
    closure: frozenset[int] = frozenset()
    truncated: bool = False
    reason: str = ""


def exact(problem: Problem, meter: Meter, limit: int, reductions: Reductions | None = None) -> Valid | Invalid | GaveUp:
    """Decides the problem, or gives up when a frontier outgrows `limit`. Raises `OutOfBudgetError`."""
    sweep = Sweep(problem, meter, limit, reductions=reductions or Reductions())
    stopped = sweep.run()
    if stopped.reason:
        return GaveUp(stopped.reason)
    if stopped.impossible is not None:
        return Invalid(problem.named([stopped.impossible]))
    return Valid(sweep.witness(stopped))


def beam(problem: Problem, meter: Meter, width: int) -> Valid | GaveUp:
    """Keeps the `width` configurations that used the fewest unanswered operations: finding an order proves validity."""
    sweep = Sweep(problem, meter, 1 << 20, width=width)
    stopped = sweep.run()
    if stopped.reason or stopped.impossible is not None:
        return GaveUp(stopped.reason or f"a beam of {width} configurations found no order")
    return Valid(sweep.witness(stopped))


def relaxed(problem: Problem, meter: Meter, limit: int) -> Invalid | GaveUp:
    """Lets unanswered operations happen any number of times: if even that explains nothing, nothing does."""
    stopped = Sweep(problem, meter, limit, relaxed=True).run()
    if stopped.impossible is not None and not stopped.reason:
        return Invalid(problem.named([stopped.impossible]))
    return GaveUp(stopped.reason or "possible if unanswered operations may happen more than once")


class Sweep:
    """One sweep: the open operations by slot, and the frontier.

    `closure` are the states that were passed through at the last return; from the event `watched_from` on, at all returns.
    """

    def __init__(
        self,
        problem: Problem,
        meter: Meter,
        limit: int,
        *,
        width: int = 0,
        relaxed: bool = False,
        reductions: Reductions | None = None,
        watched_from: int = NEVER,
    ) -> None:
        self.problem, self.meter, self.limit, self.width, self.relaxed = problem, meter, limit, width, relaxed
        self.reductions = reductions or Reductions()
        self.info_classes = list(problem.unanswered)
        self.available = dict.fromkeys(self.info_classes, 0)
        self.bits: dict[int, int] = {}
        self.readers: dict[int, int] = {}
        self.updates: dict[int, int] = {}
        self.blind = 0
        self.frontier: dict[_Configuration, _Link | None] = {(0, 0, 0, (0,) * len(self.info_classes)): None}
        self.closure: set[int] = set()
        self.truncated = False
        self._watched_from = watched_from

    def run(self) -> Stopped:
        """Sweeps to the end, or to the first event that nothing explains, or until the frontier outgrows its limit."""
        returned = self.problem.returned
        for place, end, number in self.problem.events:
            if end:
                self.meter.progress = (place, self.problem.events[-1][0])
                stopped = self.take_return(place, number)
                if stopped is not None:
                    return stopped
            elif returned[number] == NEVER:
                self.available[self.problem.classes[number]] += 1
            else:
                self.invoke(number)
        return Stopped(len(self.problem.events), self.frontier, truncated=self.truncated)

    def take_return(self, place: int, number: int) -> Stopped | None:
        """Takes the return of an operation; where it ends if nothing explains that, or if the frontier outgrows its limit."""
        after = self._return(number)
        if after is None:
            reason = f"more than {self.limit:,} configurations at event {place:,}"
            return Stopped(place, self.frontier, reason=reason)
        if not after:
            return Stopped(place, self.frontier, number, frozenset(self.closure), self.truncated)
        self._close(number)
        self.frontier = self._pruned(after)
        return None

    def witness(self, stopped: Stopped) -> tuple[Op, ...]:
        """An order that leads to some configuration of the frontier."""
        return self.problem.named(order_of(self.problem, next(iter(stopped.frontier.values()))))

    def invoke(self, number: int) -> None:
        """Takes the invocation of an operation that will return."""
        taken = sum(self.bits.values())
        bit = self.bits[number] = ~taken & (taken + 1)
        kind = self.problem.kinds[number]
        if kind != Kind.READER:
            self.updates[number] = bit
            self.blind |= bit if kind == Kind.BLIND else 0
            return
        self.meter.spend(len(self.frontier) // 16)
        self.readers[number] = bit
        klass = self.problem.classes[number]
        step = self.problem.transitions.step
        self.frontier = {
            (state, done | bit, marked, used) if step(state, klass) != ILLEGAL else (state, done, marked, used): (
                (link, number) if step(state, klass) != ILLEGAL else link
            )
            for (state, done, marked, used), link in self.frontier.items()
        }

    def _close(self, number: int) -> None:
        bit = self.bits.pop(number)
        self.readers.pop(number, None)
        self.updates.pop(number, None)
        self.blind &= ~bit

    def _return(self, number: int) -> dict[_Configuration, _Link | None] | None:
        """The configurations after the return of an operation: those in which it is linearized. None: too many."""
        closure = _Closure(self, number)
        if not closure.run():
            return None
        before = self.closure if self.problem.returned[number] > self._watched_from else set()
        self.closure = before | closure.states
        self.truncated |= closure.truncated
        return closure.reached

    def _pruned(self, found: dict[_Configuration, _Link | None]) -> dict[_Configuration, _Link | None]:
        """Without configurations that another one dominates, and no more than the beam is wide."""
        kept = found
        if len(found) > 1 and self.reductions.dominance:
            kept = {}
            by_state: dict[int, list[_Configuration]] = {}
            for place, candidate in enumerate(sorted(found, key=lambda configuration: sum(configuration[3])), 1):
                self.meter.spend(place % 16 == 0, 2 * len(found) * CONFIGURATION_BYTES + self.problem.transitions.held)
                rivals = by_state.setdefault(candidate[0], [])
                if not any(self._dominates(rival, candidate) for rival in rivals[:_COMPARISONS]):
                    rivals.append(candidate)
                    kept[candidate] = found[candidate]
        if self.width and len(kept) > self.width:
            self.truncated = True
            fewest = sorted(kept, key=lambda configuration: sum(configuration[3]))[: self.width]
            kept = {configuration: kept[configuration] for configuration in fewest}
        return kept

    def _dominates(self, strong: _Configuration, weak: _Configuration) -> bool:
        """Whether every continuation of `weak` is one of `strong`, too; their states are the same.

        Unanswered operations: who has used no more of any class can repeat what the other does (reduction 2). Open
        operations that differ must be readers that `strong` has done, or blind writes that it may discharge for free and
        may still use (reduction 3); what `weak` may discharge for free, `strong` may, too.
        """
        _, done, marked, used = strong
        _, weak_done, weak_marked, weak_used = weak
        differ = done ^ weak_done
        if differ:
            readers = sum(self.readers.values())
            if differ & ~((differ & marked & ~done) | (differ & done & readers)):
                return False
        if weak_marked & ~weak_done & ~done & ~marked:
            return False
        return all(mine <= other for mine, other in zip(used, weak_used, strict=True))


class _Path(NamedTuple):
    """A configuration on its way to the return; `unseen`: its last operation was one that nobody has looked at yet."""

    configuration: _Configuration
    unseen: bool
    link: _Link | None


class _Closure:
    """All extensions of a frontier by sequences of open operations that end in the returning one."""

    def __init__(self, sweep: Sweep, target: int) -> None:
        self.sweep = sweep
        self.target_bit = sweep.bits[target]
        self.target = target
        self.reached: dict[_Configuration, _Link | None] = {}
        self.queue: list[_Path] = []
        self.least: dict[tuple[int, int, int, bool], list[tuple[int, ...]]] = {}
        self.states: set[int] = set()
        self.truncated = False
        self._twins = _twins(sweep) if sweep.reductions.earliest_first else {}
        self._awaited: dict[tuple[int, int], bool] = {}

    def run(self) -> bool:
        """Fills `reached`; False if there are more configurations than the sweep's limit."""
        sweep, bit = self.sweep, self.target_bit
        for configuration, link in sweep.frontier.items():
            state, done, marked, used = configuration
            if done & bit:
                self._reach(configuration, link)
                continue
            if marked & bit:
                # Hidden behind a later blind write: its place is right before the one that set the mark.
                self._reach((state, done | bit, marked, used), (link, ~self.target))
            self._enqueue(_Path(configuration, unseen=False, link=link))
        for position, path in enumerate(self.queue):  # grows while it is walked
            if sweep.width and len(self.reached) >= sweep.width and position >= 4 * sweep.width:
                self.truncated = True
                return True
            held = len(self.queue) + len(self.reached)
            if held > sweep.limit:
                return False
            sweep.meter.spend(1, held * CONFIGURATION_BYTES + sweep.problem.transitions.held)
            self._extend_answered(path)
            self._extend_unanswered(path)
        return True

    def _reach(self, configuration: _Configuration, link: _Link | None) -> None:
        state, done, marked, used = configuration
        self.states.add(state)
        self.reached.setdefault((state, done & ~self.target_bit, marked & ~self.target_bit, used), link)

    def _enqueue(self, path: _Path) -> None:
        """Queues it unless an equal one used no more unanswered operations; else two of them could walk in circles."""
        state, done, marked, used = path.configuration
        self.states.add(state)
        rivals = self.least.setdefault((state, done, marked, path.unseen), [])
        if self.sweep.reductions.fewest_used:
            if any(all(mine <= other for mine, other in zip(rival, used, strict=True)) for rival in rivals):
                return
        elif used in rivals:
            return
        rivals.append(used)
        self.queue.append(path)

    def _extend_answered(self, path: _Path) -> None:
        """Linearizes one more open update.

        A blind write behind another unseen one is not tried: the first is hidden, and its mark stands for that order.
        """
        sweep = self.sweep
        problem, hidden = sweep.problem, sweep.reductions.hidden_writes
        state, done, marked, used = path.configuration
        for number, bit in sweep.updates.items():
            blind = hidden and bool(bit & sweep.blind)
            if done & bit or (path.unseen and blind) or self._twin_first(number, bit, done, marked):
                continue
            after = problem.transitions.step(state, problem.classes[number])
            if after == ILLEGAL or (blind and number != self.target and not self._is_awaited(after, done)):
                continue
            now = done | bit
            left = marked & ~bit
            if blind:
                left |= sweep.blind & ~now
            self._follow(_Path((after, now, left, used), blind, (path.link, number)))

    def _extend_unanswered(self, path: _Path) -> None:
        """Lets one unanswered operation of each class take effect, if somebody open waits for what it brings."""
        sweep = self.sweep
        problem, hidden = sweep.problem, sweep.reductions.hidden_writes
        state, done, marked, used = path.configuration
        for place, klass in enumerate(sweep.info_classes):
            if used[place] >= sweep.available[klass]:
                continue
            after = problem.transitions.step(state, klass)
            number = problem.unanswered[klass][used[place]]
            blind = hidden and problem.kinds[number] == Kind.BLIND
            # One that leaves the state as it is may be left out, unless it hides a write: 1; write 2 beside an unanswered
            # write 1 and cas(1, 3); read 3 needs the order write 2, write 1, cas, read.
            hides = blind and bool(sweep.blind & ~(done | marked))
            if after == ILLEGAL or (after == state and not hides):
                continue
            if (path.unseen and blind) or (hidden and not self._is_awaited(after, done)):
                continue
            if any(not bit & (done | marked) for bit in self._twins.get(klass, {}).values()):
                continue  # an open twin must go first: unanswered ones can wait for ever (reduction 4)
            spent = used if sweep.relaxed else (*used[:place], used[place] + 1, *used[place + 1 :])
            left = marked | (sweep.blind & ~done if blind else 0)
            self._follow(_Path((after, done, left, spent), hidden, (path.link, number)))

    def _follow(self, path: _Path) -> None:
        """Lets open readers read at once (reduction 1), then notes what was reached."""
        (state, before, marked, used), unseen, link = path
        done = before
        problem = self.sweep.problem
        for number, bit in self.sweep.readers.items():
            if not done & bit and problem.transitions.step(state, problem.classes[number]) != ILLEGAL:
                done |= bit
                link = (link, number)
        if done & self.target_bit:
            self._reach((state, done, marked, used), link)
        else:
            self._enqueue(_Path((state, done, marked, used), unseen and done == before, link))

    def _twin_first(self, number: int, bit: int, done: int, marked: int) -> bool:
        """Whether an open twin that returns earlier must go first (reduction 4).

        The two are swapped in any continuation; that needs the other one to be able to take this one's place. If the
        earlier one is marked its place may lie in the past, so then both are tried unless this one is marked, too.
        """
        if not self._twins:
            return False
        problem = self.sweep.problem
        returned = problem.returned[number]
        for other, other_bit in self._twins.get(problem.classes[number], {}).items():
            if not done & other_bit and problem.returned[other] < returned and (not marked & other_bit or marked & bit):
                return True
        return False

    def _is_awaited(self, state: int, done: int) -> bool:
        """Whether an open operation that looks at the state could be next in this one.

        A write that nobody looks at is not worth linearizing before its return: it is as well hidden behind the next write
        (reduction 3), or, unanswered, left out.
        """
        known = self._awaited.get((state, done))
        if known is None:
            known = self._awaited[state, done] = _has_looker(self.sweep, state, done)
        return known


def _has_looker(sweep: Sweep, state: int, done: int) -> bool:
    problem = sweep.problem
    step = problem.transitions.step
    for open_operations in (sweep.readers, sweep.updates):
        for number, bit in open_operations.items():
            if not bit & (done | sweep.blind) and step(state, problem.classes[number]) != ILLEGAL:
                return True
    return any(
        sweep.available[klass] and problem.kinds[numbers[0]] != Kind.BLIND and step(state, klass) != ILLEGAL
        for klass, numbers in problem.unanswered.items()
    )


def _twins(sweep: Sweep) -> dict[int, dict[int, int]]:
    """The open updates by class."""
    found: dict[int, dict[int, int]] = {}
    for number, bit in sweep.updates.items():
        found.setdefault(sweep.problem.classes[number], {})[number] = bit
    return found


def order_of(problem: Problem, link: _Link | None) -> list[int]:
    """The operations that led to a configuration, in order; hidden writes stand right before the write that hid them."""
    numbers = []
    while link is not None:
        link, number = link
        numbers.append(number)
    order: list[int] = []
    for number in reversed(numbers):
        if number >= 0:
            order.append(number)
            continue
        behind = next(place for place in range(len(order) - 1, -1, -1) if problem.kinds[order[place]] == Kind.BLIND)
        order.insert(behind, ~number)
    return order
