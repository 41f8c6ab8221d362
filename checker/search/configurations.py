"""Configurations of the compiled sweep in arrays: sets of them, what they used, which one dominates another (needs numba).

`sweep.py` is the readable twin and tells what a configuration is.
"""

from __future__ import annotations

from typing import NamedTuple

from numba import uint64

from checker.search.arrays import NONE, Int64, Steps
from checker.search.kernels import SLOTS, mixed, part

STATE, DONE, MARKED, UNSEEN, PARENT, MOVE, NEXT, USED = range(8)
"""Columns of a configuration: its state, which open operations are linearized, which may be discharged for free; on its way to
a return, whether its last operation was one that nobody has looked at yet; the row that it comes from (in the frontier its
link) and by which move; the next one in a list; from USED on words of counts of uses."""
NO_MOVE, HIDDEN = -1, -2
"""Moves: none, the returning operation was discharged as hidden; else a column of `moves`."""

CLASS, OPERATION, RETURN, EARLIER, SORT, AVAILABLE = range(6)
"""Rows of `moves`, whose first columns are the slots of open operations, and the others classes of unanswered ones (NONE: free).
EARLIER: open operations of the same class that go first; AVAILABLE: how many unanswered ones were invoked and are not used by all."""

ASKING, MAKING, TO_ASK, TO_MAKE, TO_USE, WAITING = range(6)
"""Rows of `states`, in assignment form: open operations that require the state, and that produce it; how many answered ones still
to be invoked require it, how many still to be invoked produce it, how many unanswered ones to be invoked require it, and how
many invoked ones."""

(
    ASSIGNMENT,
    HIDING,
    DEADLINES,
    FEWEST,
    DOMINANCE,
    LOOKAHEAD,
    RELAXED,
    WIDTH,
    LINKED,
    BITS,
    SPARE,
    CAPACITY,
    PLACE,
    PHASE,
    CONFIGURATIONS,
    REACHED,
    QUEUED,
    POSITION,
    GENERATION,
    STEPS,
    OPEN,
    READERS,
    BLINDS,
    UNCONDITIONAL,
    MISSING_STATE,
    MISSING_CLASS,
    TRUNCATED,
    LINKS,
    WIDEST,
    NUMBERS,
) = range(30)
"""Numbers of a sweep. Up to CAPACITY they are set from outside: BITS of one count of uses, with the SPARE bits of all
counts of a word; CAPACITY of the frontier and of `reached`. PHASE: 1 while a closure is under way, 2 while what it reached is
compared; POSITION: the next path, or the next one that is compared."""

_COMPARISONS = 64
"""How many configurations of the same state one is compared with before it is kept: any limit is sound."""


class Memory(NamedTuple):
    """What the closure of a return works on.

    `rows` holds the frontier, from row CAPACITY on the configurations after the return, from row 2 * CAPACITY on the queue of
    paths to it. `tables` has a hash table for the rows reached and one for the queue: a row's number behind the
    generation in which it was entered; entries of other generations are free.
    """

    numbers: Int64
    rows: Int64
    tables: Int64
    moves: Int64
    states: Int64
    steps: Steps


@part
def reach(memory: Memory, state: int, done: int, marked: int, bit: int, parent: int, move: int) -> bool:
    """Notes a configuration after the return, unless an equal one is there; False if there is no room."""
    numbers, rows, tables = memory.numbers, memory.rows, memory.tables
    if numbers[REACHED] == numbers[CAPACITY]:
        return False
    row = numbers[CAPACITY] + numbers[REACHED]
    done &= ~bit
    if numbers[LOOKAHEAD]:
        state = _living(memory.states, state, done)
    _write(numbers, rows, row, state, done, marked & ~bit, 0, parent, move)
    if _find(numbers, rows, tables, 0, row, rows.shape[1]) == NONE:
        numbers[REACHED] += 1
    return True


@part
def _living(states: Int64, state: int, done: int) -> int:
    """The state, or the one symbol of all states that nobody will ask for any more (reduction 8).

    Only "requires" looks at a state in assignment form, so those behave alike.
    """
    if states[TO_ASK, state] or states[TO_USE, state] or states[WAITING, state] or states[ASKING, state] & ~done:
        return state
    return int(states.shape[1]) - 1


@part
def enqueue(memory: Memory, state: int, done: int, marked: int, unseen: int, parent: int, move: int) -> bool:
    """Queues a path unless an equal one used no more unanswered operations; else two of them could walk in circles.

    False if there is no room.
    """
    numbers, rows, tables = memory.numbers, memory.rows, memory.tables
    row = 2 * numbers[CAPACITY] + numbers[QUEUED]
    if row == len(rows):
        return False
    _write(numbers, rows, row, state, done, marked, unseen, parent, move)
    first = _find(numbers, rows, tables, 1, row, USED)
    if first != NONE:
        if _is_rivalled(numbers, rows, first, row):
            return True
        # The first one stays in the table and leads to the others.
        rows[row, NEXT], rows[first, NEXT] = rows[first, NEXT], row
    else:
        rows[row, NEXT] = NONE
    numbers[QUEUED] += 1
    return True


@part
def _is_rivalled(numbers: Int64, rows: Int64, rival: int, row: int) -> bool:
    """Whether one of a list used no more; with reduction 2 switched off, whether one is equal."""
    while rival != NONE:
        if numbers[FEWEST]:
            if _no_more_used(numbers, rows, rival, row):
                return True
        elif _same(rows, rival, row, rows.shape[1]):
            return True
        rival = rows[rival, NEXT]
    return False


@part
def _find(numbers: Int64, rows: Int64, tables: Int64, which: int, row: int, end: int) -> int:
    """The row in a hash table that equals this one up to column `end`; if there is none, this one is entered, and it is NONE."""
    number = mixed(rows[row, STATE] + 2 * rows[row, UNSEEN])
    number = mixed(number ^ rows[row, DONE])
    number = mixed(number ^ rows[row, MARKED])
    for word in range(USED, end):
        number = mixed(number ^ rows[row, word])
    mask = tables.shape[1] - 1
    place = number & mask
    while tables[which, place] >> 32 == numbers[GENERATION]:
        there = tables[which, place] & 0xFFFFFFFF
        if _same(rows, there, row, end):
            return int(there)
        place = (place + 1) & mask
    tables[which, place] = numbers[GENERATION] << 32 | row
    return NONE


@part
def _write(
    numbers: Int64, rows: Int64, row: int, state: int, done: int, marked: int, unseen: int, parent: int, move: int
) -> None:
    """Writes a configuration; its counts of uses are those of its parent, and one more if the move says so."""
    rows[row, STATE], rows[row, DONE], rows[row, MARKED], rows[row, UNSEEN] = state, done, marked, unseen
    rows[row, PARENT], rows[row, MOVE] = parent, move
    for word in range(USED, rows.shape[1]):
        rows[row, word] = rows[parent, word]
    if move >= SLOTS and not numbers[RELAXED]:
        add_uses(rows, row, move - SLOTS, numbers[BITS], 1)


@part
def copy(rows: Int64, row: int, to: int) -> None:
    """Overwrites a row by another one."""
    for column in range(rows.shape[1]):
        rows[to, column] = rows[row, column]


@part
def _same(rows: Int64, one: int, other: int, end: int) -> bool:
    """Whether two are equal in what makes a configuration, up to column `end`."""
    for column in range(UNSEEN + 1):
        if rows[one, column] != rows[other, column]:
            return False
    for word in range(USED, end):  # noqa: SIM110 - kernels have no generators
        if rows[one, word] != rows[other, word]:
            return False
    return True


@part
def count_used(rows: Int64, row: int, column: int, bits: int) -> int:
    """How many unanswered operations of a column are used; the top bit of each count is spare."""
    per_word = 64 // bits
    shift = (column % per_word) * bits
    return int((rows[row, USED + column // per_word] >> shift) & ((1 << (bits - 1)) - 1))


@part
def add_uses(rows: Int64, row: int, column: int, bits: int, count: int) -> None:
    """Adds to the count of a column; the caller sees to it that it fits."""
    per_word = 64 // bits
    rows[row, USED + column // per_word] += count << ((column % per_word) * bits)


@part
def _no_more_used(numbers: Int64, rows: Int64, one: int, other: int) -> bool:
    """Whether `one` used no more unanswered operations of any class: all counts of a word are compared at once.

    With the spare bit of each count set in the minuend no borrow leaves its count, and the bit stays where there was none.
    """
    spare = uint64(numbers[SPARE])
    for word in range(USED, rows.shape[1]):
        if ((uint64(rows[other, word]) | spare) - uint64(rows[one, word])) & spare != spare:
            return False
    return True


@part
def _dominates(numbers: Int64, rows: Int64, strong: int, weak: int) -> bool:
    """Whether every continuation of `weak` is one of `strong`, too; their states are the same.

    Open operations that differ must be readers that `strong` has done, or blind writes that it may discharge for free and
    may still use (reduction 3); what `weak` may discharge for free, `strong` may, too; and reduction 2.
    """
    done, marked, weak_done = rows[strong, DONE], rows[strong, MARKED], rows[weak, DONE]
    differ = done ^ weak_done
    if differ & ~((differ & marked & ~done) | (differ & done & numbers[READERS])):
        return False
    if rows[weak, MARKED] & ~weak_done & ~done & ~marked:
        return False
    return _no_more_used(numbers, rows, strong, weak)


@part
def drop_dominated(numbers: Int64, rows: Int64, tables: Int64, pause: int) -> bool:
    """Takes out configurations after the return that another one dominates; they are found in a list for each state.

    POSITION is how many were compared; False if it is time to look at the budget before the next one.
    """
    if numbers[REACHED] < 2:
        return True
    generation, mask = numbers[GENERATION], tables.shape[1] - 1
    begin, end = numbers[CAPACITY], numbers[CAPACITY] + numbers[REACHED]
    while numbers[POSITION] < numbers[REACHED]:
        if numbers[STEPS] >= pause:
            return False
        row = begin + numbers[POSITION]
        place = mixed(rows[row, STATE]) & mask
        first = NONE
        while tables[0, place] >> 32 == generation:
            if rows[tables[0, place] & 0xFFFFFFFF, STATE] == rows[row, STATE]:
                first = tables[0, place] & 0xFFFFFFFF
                break
            place = (place + 1) & mask
        rows[row, NEXT] = first
        if not _is_dominated(numbers, rows, row, first):
            tables[0, place] = generation << 32 | row
        numbers[POSITION] += 1
        numbers[STEPS] += numbers[POSITION] & 15 == 0
    kept = begin
    for row in range(begin, end):
        if rows[row, UNSEEN] == 0:
            if kept != row:
                copy(rows, row, kept)
            kept += 1
    numbers[REACHED] = kept - begin
    return True


@part
def _is_dominated(numbers: Int64, rows: Int64, row: int, rival: int) -> bool:
    """Compares a configuration with those of a list; UNSEEN becomes 1 where one is dominated."""
    compared = 0
    while rival != NONE and compared < _COMPARISONS:
        compared += 1
        if rows[rival, UNSEEN] == 0:
            if _dominates(numbers, rows, rival, row):
                rows[row, UNSEEN] = 1
                return True
            if _dominates(numbers, rows, row, rival):
                rows[rival, UNSEEN] = 1
        rival = rows[rival, NEXT]
    return False


@part
def keep_fewest(numbers: Int64, rows: Int64, columns: int) -> None:
    """Of a beam: those that used the fewest unanswered operations, and of equals the first. NEXT is free by now."""
    first, end, bits = numbers[CAPACITY], numbers[CAPACITY] + numbers[REACHED], numbers[BITS]
    most = 0
    for row in range(first, end):
        rows[row, NEXT] = 0
        for column in range(columns):
            rows[row, NEXT] += count_used(rows, row, column, bits)
        if rows[row, NEXT] > most:
            most = int(rows[row, NEXT])
    least = -1
    while most - least > 1:  # `most` uses are enough for the width of the beam, `least` are not
        middle = (least + most) // 2
        if _count_up_to(rows, first, end, middle) >= numbers[WIDTH]:
            most = middle
        else:
            least = middle
    left = numbers[WIDTH] - _count_up_to(rows, first, end, least)
    kept = first
    for row in range(first, end):
        if rows[row, NEXT] <= least or (rows[row, NEXT] == most and left > 0):
            left -= rows[row, NEXT] == most
            copy(rows, row, kept)
            kept += 1
    numbers[REACHED] = kept - first
    numbers[TRUNCATED] += 1


@part
def _count_up_to(rows: Int64, first: int, end: int, uses: int) -> int:
    count = 0
    for row in range(first, end):
        count += int(rows[row, NEXT] <= uses)
    return count
