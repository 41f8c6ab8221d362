"""The kernel of the compiled sweep: carries configurations through the events one by one (needs numba).

`sweep.py` is the readable twin and tells why nothing is lost; the reductions are numbered as there, and each is said once
more at the line that rests on it.

A kernel that can't go on says why (a status) and may be called again: it starts the event anew, or goes on with the same
path of the closure, whose extensions are then found to be there already.
"""

from __future__ import annotations

from typing import NamedTuple

from checker.search.arrays import NONE, UNKNOWN, Int8, Int32, Int64
from checker.search.configurations import (
    ASKING,
    ASSIGNMENT,
    AVAILABLE,
    BITS,
    BLINDS,
    CAPACITY,
    CLASS,
    CONFIGURATIONS,
    DEADLINES,
    DOMINANCE,
    DONE,
    EARLIER,
    GENERATION,
    HIDDEN,
    HIDING,
    LINKED,
    LINKS,
    LOOKAHEAD,
    MAKING,
    MARKED,
    MISSING_CLASS,
    MISSING_STATE,
    MOVE,
    NEXT,
    NO_MOVE,
    OPEN,
    OPERATION,
    PARENT,
    PHASE,
    PLACE,
    POSITION,
    QUEUED,
    REACHED,
    READERS,
    RETURN,
    SORT,
    STATE,
    STEPS,
    TO_ASK,
    TO_MAKE,
    TO_USE,
    TRUNCATED,
    UNCONDITIONAL,
    UNSEEN,
    WAITING,
    WIDEST,
    WIDTH,
    Memory,
    add_uses,
    copy,
    count_used,
    drop_dominated,
    enqueue,
    keep_fewest,
    reach,
)
from checker.search.kernels import SLOTS, SOURCES, kernel, lowest, part, step
from checker.search.problem import NEVER, Kind

GOING, FINISHED, IMPOSSIBLE, MISSING, PAUSED, CROWDED, FULL, NARROW, OVERFLOWN, UNLINKED = range(10)
"""GOING: nothing stands in the way. FINISHED: the events asked for were passed. IMPOSSIBLE: nothing explains the return of an operation;
the frontier is the one before it. MISSING: a cell of the table is unknown. PAUSED: time to look at the budget. CROWDED: more
operations are open than a word has bits. FULL: no room for one more configuration. NARROW: no room for one more class of
unanswered operations. OVERFLOWN: a count of uses needs more bits. UNLINKED: no room for one more link."""

LINEARIZED, WAS_HIDDEN, OF_CLASS = range(3)
"""Codes of links: 4 * operation (or class of unanswered ones) + which."""
TWINS, COLUMN = range(2)
"""Rows of `by_class`: the slots of open updates of the class; the column of its unanswered operations in `moves`."""

_READER, _BLIND = int(Kind.READER), int(Kind.BLIND)


class Input(NamedTuple):
    """What only the passing of events reads, and where it notes what is open; `links` are (link before, code)."""

    events: Int32  # of `arrays.events_of`
    classes: Int64
    kinds: Int8
    returned: Int64
    slot_of: Int8  # by operation, while it is open
    by_class: Int64
    links: Int64


@kernel
def run(given: Input, memory: Memory, stop: int, pause: int, sources: int = SOURCES) -> int:  # noqa: ARG001
    """Passes events up to place `stop`, or so many steps; the status says why it came back.

    `sources` is left to its default: what was compiled from other parts than today's is not taken (`kernels.SOURCES`).
    """
    numbers, events, returned = memory.numbers, given.events, given.returned
    numbers[STEPS] = 0
    while numbers[PLACE] < stop:
        operation = int(events[numbers[PLACE]]) >> 1
        if events[numbers[PLACE]] & 1:
            status = _return(given, memory, operation, pause)
        elif returned[operation] == NEVER:
            status = _count_in(given, memory, operation)
        else:
            status = _invoke(given, memory, operation)
        if status != GOING:
            return status
        numbers[PLACE] += 1
        numbers[STEPS] += 1 + (numbers[CONFIGURATIONS] >> 4)  # most events pass over the whole frontier
        if numbers[STEPS] >= pause:
            return PAUSED
    return FINISHED


# ---- Events


@part
def _invoke(given: Input, memory: Memory, operation: int) -> int:
    numbers, moves = memory.numbers, memory.moves
    if numbers[OPEN] == (1 << SLOTS) - 1:
        return CROWDED
    slot = lowest(~numbers[OPEN])
    bit = 1 << slot
    klass = given.classes[operation]
    moves[CLASS, slot], moves[OPERATION, slot] = klass, operation
    moves[RETURN, slot], moves[EARLIER, slot] = given.returned[operation], 0
    if given.kinds[operation] == _READER:
        status = _read_at_once(memory, given.links, slot)
        if status != GOING:
            return status
        numbers[READERS] |= bit
    else:
        if given.kinds[operation] == _BLIND and numbers[HIDING]:
            numbers[BLINDS] |= bit
        if numbers[DEADLINES]:
            _note_twins(given.by_class, moves, klass, slot)
    given.slot_of[operation] = slot
    numbers[OPEN] |= bit
    if numbers[ASSIGNMENT]:
        required, produced = memory.steps.requires[klass], memory.steps.produces[klass]
        if required == NONE:
            numbers[UNCONDITIONAL] |= bit
        else:
            memory.states[ASKING, required] |= bit
            memory.states[TO_ASK, required] -= 1
        if produced != NONE:
            memory.states[MAKING, produced] |= bit
            memory.states[TO_MAKE, produced] -= 1
    return GOING


@part
def _read_at_once(memory: Memory, links: Int64, slot: int) -> int:
    """Reduction 1: a reader that is legal now goes now; in any continuation it can be moved to the front."""
    numbers, rows = memory.numbers, memory.rows
    count, klass = numbers[CONFIGURATIONS], memory.moves[CLASS, slot]
    if numbers[LINKED] and numbers[LINKS] + count > len(links):
        return UNLINKED
    if not numbers[ASSIGNMENT]:
        for row in range(count):
            if _step(memory, rows[row, STATE], klass) == UNKNOWN:
                return MISSING
    for row in range(count):
        if _step(memory, rows[row, STATE], klass) != NONE:
            rows[row, DONE] |= 1 << slot
            if numbers[LINKED]:
                code = 4 * memory.moves[OPERATION, slot] + LINEARIZED
                rows[row, PARENT] = _link(numbers, links, rows[row, PARENT], code)
    return GOING


@part
def _note_twins(by_class: Int64, moves: Int64, klass: int, slot: int) -> None:
    """Who returns first among open updates of one class (reduction 4); unanswered ones of the class come last."""
    bit = 1 << slot
    rest = by_class[TWINS, klass]
    while rest:
        other = lowest(rest)
        rest &= rest - 1
        if moves[RETURN, other] < moves[RETURN, slot]:
            moves[EARLIER, slot] |= 1 << other
        elif moves[RETURN, other] > moves[RETURN, slot]:
            moves[EARLIER, other] |= bit
    by_class[TWINS, klass] |= bit
    if by_class[COLUMN, klass] != NONE:
        moves[EARLIER, by_class[COLUMN, klass]] = by_class[TWINS, klass]


@part
def _forget(given: Input, memory: Memory, operation: int) -> None:
    """Closes the slot of an operation that returned."""
    numbers, moves, by_class = memory.numbers, memory.moves, given.by_class
    slot = given.slot_of[operation]
    keep = ~(1 << slot)
    klass = moves[CLASS, slot]
    by_class[TWINS, klass] &= keep
    rest = by_class[TWINS, klass]
    while rest:
        moves[EARLIER, lowest(rest)] &= keep
        rest &= rest - 1
    if by_class[COLUMN, klass] != NONE:
        moves[EARLIER, by_class[COLUMN, klass]] &= keep
    numbers[OPEN] &= keep
    numbers[READERS] &= keep
    numbers[BLINDS] &= keep
    numbers[UNCONDITIONAL] &= keep
    if numbers[ASSIGNMENT]:
        required, produced = memory.steps.requires[klass], memory.steps.produces[klass]
        if required != NONE:
            memory.states[ASKING, required] &= keep
        if produced != NONE:
            memory.states[MAKING, produced] &= keep


@part
def _count_in(given: Input, memory: Memory, operation: int) -> int:
    """Reduction 2: an operation without an answer is counted with those of its class, and has no slot."""
    numbers, moves, steps = memory.numbers, memory.moves, memory.steps
    klass = given.classes[operation]
    column = given.by_class[COLUMN, klass]
    if column == NONE:
        column = SLOTS
        while column < moves.shape[1] and moves[CLASS, column] != NONE:
            column += 1
        if column == moves.shape[1]:
            return NARROW
    given.by_class[COLUMN, klass] = column
    moves[CLASS, column], moves[SORT, column] = klass, given.kinds[operation]
    moves[EARLIER, column] = given.by_class[TWINS, klass]
    moves[AVAILABLE, column] += 1
    if numbers[ASSIGNMENT]:
        if steps.requires[klass] != NONE:
            memory.states[WAITING, steps.requires[klass]] += 1
            memory.states[TO_USE, steps.requires[klass]] -= 1
        if steps.produces[klass] != NONE:
            memory.states[TO_MAKE, steps.produces[klass]] -= 1
    return GOING


@part
def _return(given: Input, memory: Memory, operation: int, pause: int) -> int:
    """The configurations after the return of an operation: those in which it is linearized.

    Just in time (Lowe 2017): it is enough to extend by sequences of open operations that end in the returning one.
    """
    numbers, rows = memory.numbers, memory.rows
    slot = given.slot_of[operation]
    if numbers[PHASE] == 0:
        if _all_have(numbers, rows, slot):
            _forget(given, memory, operation)
            return GOING
        if not _begin(memory, slot):
            return FULL
        numbers[PHASE] = 1
    if numbers[PHASE] == 1:
        status = _close(memory, slot, pause)
        if status != GOING:
            return status
        numbers[PHASE], numbers[POSITION] = 2, 0
        numbers[GENERATION] += 1
    if numbers[DOMINANCE] and not drop_dominated(numbers, rows, memory.tables, pause):
        return PAUSED
    numbers[PHASE] = 0
    if numbers[REACHED] == 0:
        return IMPOSSIBLE
    if numbers[WIDTH] and numbers[REACHED] > numbers[WIDTH]:
        keep_fewest(numbers, rows, memory.moves.shape[1] - SLOTS)
    if numbers[LINKED] and not _link_reached(memory, given.links, slot):
        return UNLINKED
    _forget(given, memory, operation)
    for row in range(numbers[REACHED]):
        copy(rows, numbers[CAPACITY] + row, row)
    numbers[CONFIGURATIONS] = numbers[REACHED]
    if numbers[REACHED] > numbers[WIDEST]:  # noqa: PLR1730 - to compile `max` takes a third of a second
        numbers[WIDEST] = numbers[REACHED]
    if memory.moves.shape[1] > SLOTS:
        _settle_uses(memory, given.by_class)
    return GOING


@part
def _all_have(numbers: Int64, rows: Int64, slot: int) -> bool:
    """Whether the operation is linearized everywhere: then no configuration changes. If so its bit is cleared in each."""
    for row in range(numbers[CONFIGURATIONS]):
        if not rows[row, DONE] >> slot & 1:
            return False
    for row in range(numbers[CONFIGURATIONS]):
        rows[row, DONE] &= ~(1 << slot)
    return True


@part
def _settle_uses(memory: Memory, by_class: Int64) -> None:
    """Forgets the unanswered operations that every configuration has used; a column without any left is free again."""
    numbers, rows, moves = memory.numbers, memory.rows, memory.moves
    for move in range(SLOTS, moves.shape[1]):
        fewest = moves[AVAILABLE, move]
        row = 0
        while fewest and row < numbers[CONFIGURATIONS]:
            used = count_used(rows, row, move - SLOTS, numbers[BITS])
            fewest = used if used < fewest else fewest
            row += 1
        if fewest == 0:
            continue
        for row in range(numbers[CONFIGURATIONS]):
            add_uses(rows, row, move - SLOTS, numbers[BITS], -fewest)
        moves[AVAILABLE, move] -= fewest
        klass = moves[CLASS, move]
        if numbers[ASSIGNMENT] and memory.steps.requires[klass] != NONE:
            memory.states[WAITING, memory.steps.requires[klass]] -= fewest
        if moves[AVAILABLE, move] == 0:
            moves[CLASS, move] = NONE
            by_class[COLUMN, klass] = NONE


# ---- The closure of a return


@part
def _begin(memory: Memory, target: int) -> bool:
    """The frontier as the first paths of the closure; False if there is no room."""
    numbers, rows = memory.numbers, memory.rows
    bit = 1 << target
    numbers[GENERATION] += 1
    numbers[REACHED] = 0
    numbers[QUEUED] = 0
    numbers[POSITION] = 0
    for row in range(numbers[CONFIGURATIONS]):
        state, done, marked = rows[row, STATE], rows[row, DONE], rows[row, MARKED]
        move = NO_MOVE
        if not done & bit:
            if not enqueue(memory, state, done, marked, 0, row, NO_MOVE):
                return False
            # Reduction 3: hidden behind a later blind write, its place is right before the one that set the mark. If what it
            # brings is still asked for and nobody else brings it, the configuration is dead (reduction 7).
            if not marked & bit or _would_be_lost(memory, row, target):
                continue
            move = HIDDEN
        if not reach(memory, state, done | bit, marked, bit, row, move):
            return False
    return True


@part
def _close(memory: Memory, target: int, pause: int) -> int:
    """Extends the paths of the queue, which grows meanwhile, until all were looked at."""
    numbers = memory.numbers
    width = numbers[WIDTH]
    while numbers[POSITION] < numbers[QUEUED]:
        if width and numbers[REACHED] >= width and numbers[POSITION] >= 4 * width:
            numbers[TRUNCATED] += 1
            break
        if numbers[STEPS] >= pause:
            return PAUSED
        status = _extend(memory, 2 * numbers[CAPACITY] + numbers[POSITION], target)
        if status != GOING:
            if status == FULL:
                numbers[PHASE] = 0
            return status
        numbers[POSITION] += 1
        numbers[STEPS] += 1
    return GOING


@part
def _extend(memory: Memory, row: int, target: int) -> int:
    """Extends a path by each open update that is legal, and by one unanswered operation of each class."""
    numbers, rows, moves = memory.numbers, memory.rows, memory.moves
    among = numbers[OPEN] & ~rows[row, DONE] & ~numbers[READERS]
    if rows[row, UNSEEN]:
        # Reduction 3: a blind write behind one that nobody looked at hides it, and its mark stands for that order.
        among &= ~numbers[BLINDS]
    rest = _legal(memory, rows[row, STATE], among)
    if rest == UNKNOWN:
        return MISSING
    move = SLOTS - 1
    while True:
        if rest:
            chosen = lowest(rest)
            rest &= rest - 1
        else:
            move += 1
            if move == moves.shape[1]:
                return GOING
            if count_used(rows, row, move - SLOTS, numbers[BITS]) >= moves[AVAILABLE, move]:
                continue
            if rows[row, UNSEEN] and numbers[HIDING] and moves[SORT, move] == _BLIND:
                continue
            chosen = move
        status = _take(memory, row, chosen, target)
        if status != GOING:
            return status


@part
def _take(memory: Memory, row: int, move: int, target: int) -> int:
    """Extends a path by one move if that is legal and worth it, lets open readers read, and notes what was reached."""
    numbers, rows, moves = memory.numbers, memory.rows, memory.moves
    state, done, marked = rows[row, STATE], rows[row, DONE], rows[row, MARKED]
    answered = move < SLOTS
    bit = 1 << move if answered else 0
    # Reduction 4: an open twin that returns earlier goes first, as one that does not return can wait for ever. The two are
    # swapped in any continuation; that needs the other to be able to take this one's place: if it is marked and this one
    # is not its place may lie in the past.
    if moves[EARLIER, move] & ~done & (-1 if marked & bit else ~marked):
        return GOING
    after = _step(memory, state, moves[CLASS, move])
    if after < 0:
        return MISSING if after == UNKNOWN else GOING
    blind = numbers[BLINDS] & bit != 0 if answered else numbers[HIDING] != 0 and moves[SORT, move] == _BLIND
    now = done | bit
    left = marked & ~bit | (numbers[BLINDS] & ~now if blind else 0)
    if not answered and after == state and left == marked:
        # It leaves the state as it is. Only if it hides a write it is needed: 1; write 2 beside an unanswered write 1 and
        # cas(1, 3); read 3 needs the order write 2, write 1, cas, read.
        return GOING
    unseen = blind if answered else numbers[HIDING] != 0
    if unseen and move != target:
        awaited = _is_awaited(memory, after, done)
        if awaited != 1:
            return MISSING if awaited == UNKNOWN else GOING
    if after != state and numbers[LOOKAHEAD] and _is_stranded(memory, row, state, now):
        return GOING
    if not answered and count_used(rows, row, move - SLOTS, numbers[BITS]) == (1 << (numbers[BITS] - 1)) - 1:
        return OVERFLOWN
    reading = _legal(memory, after, numbers[READERS] & ~now)  # reduction 1
    if reading == UNKNOWN:
        return MISSING
    goal = 1 << target
    if (now | reading) & goal:
        there = reach(memory, after, now | reading, left, goal, row, move)
    else:
        there = enqueue(memory, after, now | reading, left, int(unseen and not reading), row, move)
    return GOING if there else FULL


@part
def _is_awaited(memory: Memory, state: int, done: int) -> int:
    """1 if an open operation that looks at the state could be next in this one, else 0; UNKNOWN if the table does not say.

    A write that nobody looks at is not worth linearizing before its return: it is as well hidden behind the next write
    (reduction 3), or, unanswered, left out.
    """
    numbers, moves = memory.numbers, memory.moves
    looking = _legal(memory, state, numbers[OPEN] & ~done & ~numbers[BLINDS])
    if looking:
        return UNKNOWN if looking == UNKNOWN else 1
    if numbers[ASSIGNMENT] and memory.states[WAITING, state] == 0:
        return 0
    for move in range(SLOTS, moves.shape[1]):
        if moves[AVAILABLE, move] and moves[SORT, move] != _BLIND:
            after = _step(memory, state, moves[CLASS, move])
            if after != NONE:
                return UNKNOWN if after == UNKNOWN else 1
    return 0


@part
def _would_be_lost(memory: Memory, row: int, target: int) -> bool:
    """Whether what a hidden write brings is asked for and can't come again, although the state is another one."""
    if not memory.numbers[LOOKAHEAD]:
        return False
    produced = memory.steps.produces[memory.moves[CLASS, target]]
    now = memory.rows[row, DONE] | 1 << target
    return memory.rows[row, STATE] != produced and _is_stranded(memory, row, produced, now)


@part
def _is_stranded(memory: Memory, row: int, state: int, done: int) -> bool:
    """Whether the state is asked for by an answered operation that is not done, and can't come again (reduction 7).

    Needs the assignment form, where only who produces the state can bring it back: an open operation that is not done, one
    that is still to come, or an unanswered one that is not used up.
    """
    numbers, moves, states = memory.numbers, memory.moves, memory.states
    if states[TO_MAKE, state] or states[MAKING, state] & ~done:
        return False
    if not states[TO_ASK, state] and not states[ASKING, state] & ~done:
        return False
    for move in range(SLOTS, moves.shape[1]):
        if moves[AVAILABLE, move] == 0 or memory.steps.produces[moves[CLASS, move]] != state:
            continue
        if count_used(memory.rows, row, move - SLOTS, numbers[BITS]) < moves[AVAILABLE, move]:
            return False
    return True


@part
def _step(memory: Memory, state: int, klass: int) -> int:
    """The state after an operation of the class, NONE, or UNKNOWN, which is noted."""
    after = step(memory.steps, state, klass)
    if after == UNKNOWN:
        memory.numbers[MISSING_STATE], memory.numbers[MISSING_CLASS] = state, klass
    return after


@part
def _legal(memory: Memory, state: int, among: int) -> int:
    """Which of these open operations are legal in the state; UNKNOWN if the table does not say."""
    if memory.numbers[ASSIGNMENT]:
        return int(among & (memory.states[ASKING, state] | memory.numbers[UNCONDITIONAL]))
    legal = 0
    while among:
        after = _step(memory, state, memory.moves[CLASS, lowest(among)])
        if after == UNKNOWN:
            return UNKNOWN
        if after != NONE:
            legal |= among & -among
        among &= among - 1
    return legal


# ---- Links: how a configuration was reached, for witnesses


@part
def _link(numbers: Int64, links: Int64, before: int, code: int) -> int:
    number = int(numbers[LINKS])
    links[number, 0], links[number, 1] = before, code
    numbers[LINKS] = number + 1
    return number


@part
def _link_reached(memory: Memory, links: Int64, target: int) -> bool:
    """Links for the configurations that are kept, written into their PARENT; False if there is no room.

    Only those get links, not all paths. NEXT is free by now: it leads back from the frontier.
    """
    numbers, rows = memory.numbers, memory.rows
    before = numbers[LINKS]
    for row in range(numbers[CAPACITY], numbers[CAPACITY] + numbers[REACHED]):
        length, at = 1, row
        rows[row, NEXT] = NONE
        while rows[at, PARENT] >= numbers[CAPACITY]:
            rows[rows[at, PARENT], NEXT] = at
            at = rows[at, PARENT]
            length += 1
        if numbers[LINKS] + length * (SLOTS + 1) > len(links):
            numbers[LINKS] = before
            return False
        done = rows[rows[at, PARENT], DONE]
        link = rows[rows[at, PARENT], PARENT]
        while at != NONE:
            now = rows[at, DONE] | (1 << target if at == row else 0)
            link = _link_move(memory, links, link, rows[at, MOVE], now & ~done, target)
            done = now
            at = rows[at, NEXT]
        rows[row, PARENT] = link
    return True


@part
def _link_move(memory: Memory, links: Int64, link: int, move: int, done: int, target: int) -> int:
    """Links for a move, and for the readers among what was newly done."""
    numbers, moves = memory.numbers, memory.moves
    if move == HIDDEN:
        link = _link(numbers, links, link, 4 * moves[OPERATION, target] + WAS_HIDDEN)
    elif move >= SLOTS:
        link = _link(numbers, links, link, 4 * moves[CLASS, move] + OF_CLASS)
    elif move != NO_MOVE:
        link = _link(numbers, links, link, 4 * moves[OPERATION, move] + LINEARIZED)
    rest = done & numbers[READERS]
    while rest:
        link = _link(numbers, links, link, 4 * moves[OPERATION, lowest(rest)] + LINEARIZED)
        rest &= rest - 1
    return link


@kernel
def collect(numbers: Int64, rows: Int64, links: Int64, places: Int64) -> None:
    """Takes out links that lead to no configuration of the frontier; what precedes a link keeps its place before it.

    `places` is as long as `links` and full of NONE.
    """
    for row in range(numbers[CONFIGURATIONS]):
        link = rows[row, PARENT]
        while link != NONE and places[link] == NONE:
            places[link] = 0
            link = links[link, 0]
    kept = 0
    for link in range(numbers[LINKS]):
        if places[link] != NONE:
            before = links[link, 0]
            links[kept, 0], links[kept, 1] = places[before] if before != NONE else NONE, links[link, 1]
            places[link] = kept
            kept += 1
    for row in range(numbers[CONFIGURATIONS]):
        if rows[row, PARENT] != NONE:
            rows[row, PARENT] = places[rows[row, PARENT]]
    numbers[LINKS] = kept
