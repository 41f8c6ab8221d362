"""What happened to each value of a register before an event: who brought it, who saw it or took it away, and when it was there.

Asks the model for the effect of each operation once. `registers.py` makes sentences of it, `states.py` says which values
were possible.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from checker.history import FAIL, Op
from checker.models.base import NOTHING, Effect, Model, State

BEFORE_ALL = -1
"""When the initial value was there: before every event."""
NEVER = 1 << 62


class While(msgspec.Struct):
    """One value: who brought it (nobody: it was there at first), and who saw it or took it away, in order of invocation."""

    producers: list[Op]
    witnesses: list[Op]

    @property
    def producer(self) -> Op | None:
        """The first that brought it."""
        return self.producers[0] if self.producers else None

    def all(self) -> list[Op]:
        """Everybody who had to do with it."""
        return self.producers + self.witnesses


class Story(NamedTuple):
    """All values of some operations; without `assignment` some operation has no effect that the model can state."""

    model: Model
    values: dict[State, While]
    effects: dict[int, Effect]  # by place of invocation
    assignment: bool

    def of(self, state: State) -> While:
        """What is known of a value."""
        return self.values.get(state) or While([], [])

    def takes(self, op: Op) -> bool:
        """Whether it takes a value away and brings another one: a cas that changed something."""
        effect = self.effects.get(op.invoked)
        return effect is not None and effect.requires is not NOTHING and brings(effect) is not NOTHING

    def wanted(self) -> set[State]:
        """What answered operations ask for, and backwards what unanswered ones must have met to bring it."""
        found = {state for state, known in self.values.items() if known.witnesses}
        left = list(found)
        while left:
            for op in self.of(left.pop()).producers:
                asked = self.effects[op.invoked].requires
                if asked is not NOTHING and asked not in found:
                    found.add(asked)
                    left.append(asked)
        return found


def story(model: Model, operations: Iterable[Op]) -> Story:
    """The story of the operations, given in the order of their invocations."""
    values: dict[State, While] = {}
    effects: dict[int, Effect] = {}
    assignment = True
    for op in operations:
        effect = model.effect(op)
        if effect is None:
            assignment = False
            continue
        effects[op.invoked] = effect
        brought = brings(effect)
        if brought is not NOTHING and op.type != FAIL:
            values.setdefault(brought, While([], [])).producers.append(op)
        if effect.requires is not NOTHING and op.returned is not None:
            values.setdefault(effect.requires, While([], [])).witnesses.append(op)
    return Story(model, values, effects, assignment)


def brings(effect: Effect) -> State:
    """The state that the operation brings about, NOTHING if it leaves what it found."""
    return NOTHING if effect.produces == effect.requires else effect.produces


class Block(msgspec.Struct):
    """A value and those made of it by cas, one after the other: in every order they stand together (`fast/zones.py`).

    It ended not before something of it had returned (`ends`), and began not after all of it was invoked (`starts`).
    """

    ends: int
    starts: int
    links: list[tuple[State, int]]  # each value, and the first return of what came after it in the block

    def add(self, invoked: int, returned: int) -> None:
        """Widens the block by an operation."""
        self.ends = min(self.ends, returned)
        self.starts = max(self.starts, invoked)


def blocks(told: Story) -> list[Block] | None:
    """The blocks of operations that fit an order; None where a value that somebody asks for was brought more than once.

    Unanswered updates whose value nobody asked for are left out: an order that has none of them is an order, too.
    """
    if not told.assignment:
        return None
    wanted = told.wanted()
    if any(len(told.of(state).producers) + (state == told.model.init) != 1 for state in wanted):
        return None
    takers: dict[State, Op] = {}
    roots: list[tuple[State, Op | None]] = [(told.model.init, None)]
    for state, found in told.values.items():
        for op in found.producers:
            if op.returned is None and state not in wanted:
                continue
            asked = told.effects[op.invoked].requires
            if asked is NOTHING:
                roots.append((state, op))
            elif takers.setdefault(asked, op) is not op:
                return None
    return [_block(told, takers, state, op) for state, op in roots]


def _block(told: Story, takers: dict[State, Op], state: State, root: Op | None) -> Block:
    """The block that begins with this write, or with the initial value. Ends: a chain that comes back asks for a value twice."""
    block = Block(BEFORE_ALL, BEFORE_ALL, []) if root is None else Block(NEVER, BEFORE_ALL, [])
    link = root
    levels: list[tuple[State, int]] = []
    while True:
        level = NEVER
        members = [] if link is None else [link]
        members += [op for op in told.of(state).witnesses if not told.takes(op)]
        for op in members:
            returned = NEVER if op.returned is None else op.returned
            level = min(level, returned)
            block.add(op.invoked, returned)
        levels.append((state, level))
        link = takers.get(state)
        if link is None:
            break
        state = brings(told.effects[link.invoked])
    later = NEVER
    for value, level in reversed(levels):
        block.links.append((value, later))
        later = min(later, level)
    block.links.reverse()
    return block


def unseen(told: Story) -> list[Op]:
    """The unanswered updates whose value nobody asked for."""
    wanted = told.wanted()
    known = ((state, op) for state, found in told.values.items() for op in found.producers)
    return [op for state, op in known if op.returned is None and state not in wanted]


def possible(told: Story, found: Sequence[Block], begin: int) -> tuple[list[State], list[State]]:
    """The values that could be there while an operation ran that began at `begin` and returned after all that is told.

    A look at a value widens its block: it now starts at `begin` or later. The others fit an order without it, so the only
    new conflict can be with a block that had ended before the look's block starts, and starts after that one ended (the
    theorem of `fast/zones.py`). Inside its block the look must not begin after a later link has returned.

    The second list: what only updates leave that were never answered, and that nobody saw. A write of these may always stand
    last before the look: its block ends with the look, after all others began. A cas lengthens the block that it ends.
    """
    late: dict[State, list[Op]] = {}
    for op in unseen(told):
        asked = told.effects[op.invoked].requires
        late.setdefault(asked, []).append(op)
    fresh = {brings(told.effects[op.invoked]): BEFORE_ALL for op in late.get(NOTHING, ())}
    done = max((block.starts for block in found if block.ends < begin), default=BEFORE_ALL)
    states: dict[State, None] = {}

    def fits(block: Block, starts: int) -> bool:
        if block.ends < done and block.starts < done:
            return False  # the block that starts at `done` rules it out
        return not any(other.ends < starts and block.ends < other.starts for other in found if other is not block)

    for block in found:
        if fits(block, max(block.starts, begin)):
            states.update(dict.fromkeys(state for state, later in block.links if later >= begin))
            longer = _longer(told, late, block.links[-1][0], max(block.starts, begin))
            fresh.update((state, starts) for state, starts in longer.items() if fits(block, starts))
    for state in list(fresh):
        if fresh[state] == BEFORE_ALL:
            fresh.update(dict.fromkeys(_longer(told, late, state, BEFORE_ALL), BEFORE_ALL))
    return list(states), [state for state in fresh if state not in states]


def _longer(told: Story, late: dict[State, list[Op]], last: State, starts: int) -> dict[State, int]:
    """What unseen cas can make of the last value of a block, each with the least place at which the block would then start."""
    best: dict[State, int] = {}
    ahead = [(last, starts)]
    while ahead:
        state, since = ahead.pop()
        for op in late.get(state, ()):
            after, place = brings(told.effects[op.invoked]), max(since, op.invoked)
            if place < best.get(after, NEVER):
                best[after] = place
                ahead.append((after, place))
    best.pop(last, None)
    return best
