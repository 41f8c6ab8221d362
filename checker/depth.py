"""Depth first, just in time: the exact search that finds an order fastest where there is one.

An operation is linearized only when the return of some operation forces it (Lowe 2017, "Testing for linearizability": move
each operation of a linearization as late as possible without passing the first return that needs it). So at the return of
x it is enough to try sequences of open operations that end in x. A node is (returns passed, state, which open operations
are done, how many unanswered operations of each class were used): exact, and small, since all that returned before is done.
"""

from __future__ import annotations

from collections.abc import Iterator

from checker.budget import Meter
from checker.problem import ILLEGAL, NEVER, Kind, Problem
from checker.verdict import GaveUp, Invalid, Valid

NODE_BYTES = 250
"""What a remembered node costs: a tuple of four, its integers and its place in a set, measured on CPython 3.11."""

_Node = tuple[int, int, int, tuple[int, ...]]
_Move = tuple[_Node, list[int]]


class _Layout:
    """For each return in order: its operation, the open operations, and the unanswered ones invoked so far."""

    def __init__(self, problem: Problem) -> None:
        self.bits = [0] * len(problem)
        self.targets: list[int] = []
        self.updates: list[list[tuple[int, int, int, int]]] = []
        self.readers: list[list[int]] = []
        self.available: list[tuple[int, ...]] = []
        unanswered = [number for number, place in enumerate(problem.returned) if place == NEVER]
        self.info_classes = sorted({problem.classes[number] for number in unanswered})
        self.info_operations: dict[int, list[int]] = {klass: [] for klass in self.info_classes}
        for number in sorted(unanswered, key=problem.invoked.__getitem__):
            self.info_operations[problem.classes[number]].append(number)
        self._fill(problem)

    def _fill(self, problem: Problem) -> None:
        free: list[int] = []
        used = 0
        opened: dict[int, None] = {}
        counts = dict.fromkeys(self.info_classes, 0)
        for _, end, number in problem.events():
            if problem.returned[number] == NEVER:
                counts[problem.classes[number]] += 1
                continue
            if not end:
                slot = free.pop() if free else used
                used = max(used, slot + 1)
                self.bits[number] = 1 << slot
                opened[number] = None
                continue
            self.targets.append(number)
            self.available.append(tuple(counts.values()))
            self.readers.append([other for other in opened if problem.kinds[other] == Kind.READER])
            self.updates.append(self._updates(problem, opened))
            del opened[number]
            free.append(self.bits[number].bit_length() - 1)

    def _updates(self, problem: Problem, opened: dict[int, None]) -> list[tuple[int, int, int, int]]:
        """(operation, its bit, its class, the bits of its twins that return earlier) of the open updates, oldest first."""
        updates = [number for number in opened if problem.kinds[number] != Kind.READER]
        twins: dict[int, list[int]] = {}
        for number in updates:
            twins.setdefault(problem.classes[number], []).append(number)
        return [
            (
                number,
                self.bits[number],
                problem.classes[number],
                sum(self.bits[other] for other in twins[problem.classes[number]] if problem.returned[other] < problem.returned[number]),
            )
            for number in updates
        ]


def search(problem: Problem, meter: Meter, limit: int) -> Valid | Invalid | GaveUp:
    """Decides the problem, or gives up after `limit` nodes. Raises `OutOfBudgetError`.

    Oldest invocations are tried first: with 20 to 50 clients that needs 1.5 to 5 times fewer nodes than to try the
    returning operation first.
    """
    layout = _Layout(problem)
    root = _advance(problem, layout, (0, 0, 0, (0,) * len(layout.info_classes)))
    memo = {root[0]}
    path: list[tuple[Iterator[_Move], list[int]]] = [(_moves(problem, layout, root[0]), root[1])]
    best = root[0][0]
    node = root[0]
    while node[0] < len(layout.targets):
        move = next(path[-1][0], None)
        if move is None:
            path.pop()
            if not path:
                return Invalid()
            continue
        if move[0] in memo:
            continue
        meter.spend(1, len(memo) * NODE_BYTES)
        if len(memo) > limit:
            return GaveUp(f"{limit:,} nodes tried depth first, {best:,} of {len(layout.targets):,} returns passed")
        node = move[0]
        memo.add(node)
        best = max(best, node[0])
        path.append((_moves(problem, layout, node), move[1]))
    return Valid(tuple(number for _, numbers in path for number in numbers))


def _moves(problem: Problem, layout: _Layout, node: _Node) -> Iterator[_Move]:
    """The nodes that one more operation can lead to, with the operations that are then linearized in order."""
    passed, state, done, used = node
    if passed == len(layout.targets):
        return
    step = problem.transitions.step
    for number, bit, klass, earlier_twins in layout.updates[passed]:
        # Of open operations with equal steps the one that returns first goes first (reduction 4): in any continuation
        # that takes the other one now the two can be swapped.
        if done & bit or earlier_twins & ~done:
            continue
        after = step(state, klass)
        if after != ILLEGAL:
            reached, readers = _advance(problem, layout, (passed, after, done | bit, used))
            yield reached, [number, *readers]
    for place, klass in enumerate(layout.info_classes):
        # Unanswered operations of one class are counted, not told apart (reduction 2); one that would leave the state as
        # it is may be left out.
        if used[place] < layout.available[passed][place]:
            after = step(state, klass)
            if after not in (ILLEGAL, state):
                number = layout.info_operations[klass][used[place]]
                spent = (*used[:place], used[place] + 1, *used[place + 1 :])
                reached, readers = _advance(problem, layout, (passed, after, done, spent))
                yield reached, [number, *readers]


def _advance(problem: Problem, layout: _Layout, node: _Node) -> _Move:
    """Linearizes open readers that are legal now (reduction 1), and passes the returns whose operations are done.

    Eager reads lose nothing: in any continuation move the reader to the front; it is legal there and changes no state.
    """
    passed, state, done, used = node
    step = problem.transitions.step
    read: list[int] = []
    while passed < len(layout.targets):
        for number in layout.readers[passed]:
            if not done & layout.bits[number] and step(state, problem.classes[number]) != ILLEGAL:
                done |= layout.bits[number]
                read.append(number)
        bit = layout.bits[layout.targets[passed]]
        if not done & bit:
            break
        done &= ~bit
        passed += 1
    return (passed, state, done, used), read
