"""Depth first, just in time: the exact search that finds an order fastest where there is one.

An operation is linearized only when the return of some operation forces it (Lowe 2017, "Testing for linearizability": move
each operation of a linearization as late as possible without passing the first return that needs it). So at the return of
x it is enough to try sequences of open operations that end in x. A node is (returns passed, state, which open operations
are done, how many unanswered operations of each class were used): exact, and small, since all that returned before is done.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import le

from checker.budget import Meter
from checker.search.problem import ILLEGAL, NEVER, Kind, Problem
from checker.verdict import GaveUp, Invalid, Valid

NODE_BYTES = 300
"""What a remembered node costs: a tuple of four, its integers and its place in a set, measured on CPython 3.11."""
_COMPARISONS = 64
"""How many nodes one is compared with before it is visited: any limit is sound."""
OPEN_BYTES = 200
"""What the layout holds of each open operation at each return, measured likewise."""

_Node = tuple[int, int, int, tuple[int, ...]]
_Move = tuple[_Node, list[int]]


class _Layout:
    """For each return in order: its operation, the open operations, and the unanswered ones invoked so far.

    `updates` has (operation, its bit, its class, the bits of its twins that return earlier) of each open update, oldest
    first; `readers` has (operation, its bit, its class), `lookers` (bit, class) of all that are not blind.
    """

    def __init__(self, problem: Problem, meter: Meter) -> None:
        self.held = 0
        self.bits = [0] * len(problem)
        self.targets: list[int] = []
        self.updates: list[list[tuple[int, int, int, int]]] = []
        self.readers: list[list[tuple[int, int, int]]] = []
        self.available: list[tuple[int, ...]] = []
        self.unanswered = list(problem.unanswered.items())
        self.unanswered_lookers = [
            (place, klass)
            for place, (klass, numbers) in enumerate(self.unanswered)
            if problem.kinds[numbers[0]] != Kind.BLIND
        ]
        self.lookers: list[list[tuple[int, int]]] = []
        free: list[int] = []
        opened: dict[int, None] = {}
        counts = dict.fromkeys(problem.unanswered, 0)
        for _, end, number in problem.events:
            if problem.returned[number] == NEVER:
                counts[problem.classes[number]] += 1
            elif not end:
                self.bits[number] = 1 << (free.pop() if free else len(opened))
                opened[number] = None
            else:
                self.targets.append(number)
                self.available.append(tuple(counts.values()))
                self._look(problem, opened)
                self.held += OPEN_BYTES * len(opened)
                meter.spend(1, self.held)
                del opened[number]
                free.append(self.bits[number].bit_length() - 1)

    def _look(self, problem: Problem, opened: dict[int, None]) -> None:
        """Notes the open operations at a return."""
        bits, classes, returned = self.bits, problem.classes, problem.returned
        updates = [number for number in opened if problem.kinds[number] != Kind.READER]
        readers = [number for number in opened if problem.kinds[number] == Kind.READER]
        twins: dict[int, list[int]] = {}
        for number in updates:
            twins.setdefault(classes[number], []).append(number)
        self.readers.append([(number, bits[number], classes[number]) for number in readers])
        looking = [number for number in opened if problem.kinds[number] != Kind.BLIND]
        self.lookers.append([(bits[number], classes[number]) for number in looking])
        self.updates.append(
            [
                (
                    number,
                    bits[number],
                    classes[number],
                    sum(bits[other] for other in twins[classes[number]] if returned[other] < returned[number]),
                )
                for number in updates
            ]
        )


def search(problem: Problem, meter: Meter, limit: int, *, oldest_first: bool = False) -> Valid | Invalid | GaveUp:
    """Decides the problem, or gives up after `limit` nodes. Raises `OutOfBudgetError`.

    First are tried operations after which the return is passed; measured with 20 to 50 clients that needs 2 to 10 times fewer nodes
    than to try the oldest invocations first, but now and then it is the other way round, so there are both.
    """
    layout = _Layout(problem, meter)
    goal = len(layout.targets)
    node, order = _advance(problem, layout, (0, 0, 0, (0,) * len(layout.unanswered)))
    memo = _Memo()
    memo.add(node)
    moves = _moves if oldest_first else _passing_first
    path: list[tuple[Iterator[_Move], list[int]]] = [(moves(problem, layout, node), order)]
    best = node[0]
    while node[0] < goal:
        move = next(path[-1][0], None)
        if move is None:
            path.pop()
            if not path:
                return Invalid(problem.named([layout.targets[best]]))  # no path passed its return
            continue
        node, order = move
        if not memo.add(node):
            continue
        meter.progress = (problem.returned[layout.targets[best]], problem.events[-1][0])
        meter.spend(1, layout.held + problem.transitions.held + memo.nodes * NODE_BYTES)
        if memo.nodes > limit:
            return GaveUp(f"{limit:,} nodes were tried depth first, {best:,} of {goal:,} returns passed")
        best = max(best, node[0])
        path.append((moves(problem, layout, node), order))
    return Valid(problem.named([number for _, numbers in path for number in numbers]))


class _Memo:
    """The nodes that were visited, by all but their use of unanswered operations.

    A node is not worth visiting if one was that differs from it by having used no more of any class (reduction 2): whatever
    order continues this one continues that one. That one either failed, or it is on the path to this one, and then its own
    branches will find that order.
    """

    def __init__(self) -> None:
        self.nodes = 0
        self._used: dict[tuple[int, int, int], list[tuple[int, ...]]] = {}

    def add(self, node: _Node) -> bool:
        """Notes the node; False if it is not worth visiting."""
        passed, state, done, used = node
        rivals = self._used.setdefault((passed, state, done), [])
        if used in rivals or any(all(map(le, rival, used)) for rival in rivals[:_COMPARISONS]):
            return False
        rivals.append(used)
        self.nodes += 1
        return True


def _passing_first(problem: Problem, layout: _Layout, node: _Node) -> Iterator[_Move]:
    """The moves that pass a return, then the others; both by age."""
    return iter(sorted(_moves(problem, layout, node), key=lambda move: move[0][0] == node[0]))


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
    for place, (klass, numbers) in enumerate(layout.unanswered):
        # Unanswered operations of one class are counted, not told apart (reduction 2). One that leaves the state as it is,
        # or after which nobody looks at the state, may be left out: with it the order would be none the worse without it.
        if used[place] < layout.available[passed][place]:
            after = step(state, klass)
            if after not in {ILLEGAL, state} and _is_awaited(problem, layout, passed, after, done):
                spent = (*used[:place], used[place] + 1, *used[place + 1 :])
                reached, readers = _advance(problem, layout, (passed, after, done, spent))
                yield reached, [numbers[used[place]], *readers]


def _is_awaited(problem: Problem, layout: _Layout, passed: int, state: int, done: int) -> bool:
    """Whether an open operation that looks at the state could be the next one.

    The next one is open, since the sequence ends in the operation that returns. If it is blind, what stood before it is
    overwritten unseen.
    """
    step = problem.transitions.step
    if any(not done & bit and step(state, klass) != ILLEGAL for bit, klass in layout.lookers[passed]):
        return True
    available = layout.available[passed]
    return any(available[place] and step(state, klass) != ILLEGAL for place, klass in layout.unanswered_lookers)


def _advance(problem: Problem, layout: _Layout, node: _Node) -> _Move:
    """Linearizes open readers that are legal now (reduction 1), and passes the returns whose operations are done.

    Eager reads lose nothing: in any continuation move the reader to the front; it is legal there and changes no state.
    """
    passed, state, done, used = node
    step = problem.transitions.step
    read: list[int] = []
    while passed < len(layout.targets):
        for number, bit, klass in layout.readers[passed]:
            if not done & bit and step(state, klass) != ILLEGAL:
                done |= bit
                read.append(number)
        bit = layout.bits[layout.targets[passed]]
        if not done & bit:
            break
        done &= ~bit
        passed += 1
    return (passed, state, done, used), read
