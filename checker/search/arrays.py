"""The problem of one object as arrays of numbers, and the transitions of its model as a table: what compiled ways work on.

No numba here: whoever compiles imports it. The compiled ways take these arrays apart and hand them on one by one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from checker.columns import FAIL_CODE, Columns
from checker.models.base import NOTHING, Model, State, declared_together
from checker.search.problem import NEVER, Kind, Problem, Transitions, kind_of, matters
from checker.selections import Selected

Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]
Int8 = npt.NDArray[np.int8]
Flags = npt.NDArray[np.bool_]

NONE = -1
"""In `requires`, `produces`: no state. In a table: no machine could have answered so (problem.ILLEGAL)."""
UNKNOWN = -2
"""In a table: the model was not asked yet."""
DENSE_CELLS = 1 << 22
"""How many cells a dense table may have (16 MiB); a larger one is kept as a hash table of the cells that were asked for."""
_STATES_PER_OPERATION = 4
"""Up to so many states for each operation, arrays by state are not worth making smaller."""
_WHOLE_ROWS = 64
"""Up to so many classes a new state is asked about all of them at once: cheaper than to stop the kernel for each."""
_MULTIPLIER = -7046029254386353131
"""2^64 divided by the golden ratio, as a signed number."""


class Arrays(NamedTuple):
    """The operations of one object that matter; the number of an operation is its place in these arrays, all of length n.

    Failed operations that observed nothing and unanswered read-only ones are gone. With `assignment`, an operation is legal in
    the state `requires` (in any if NONE) and leaves the state `produces` (the same one if NONE, as all readers do); without it
    these two mean nothing and the `Table` is asked, with `classes`.
    """

    requires: Int64
    produces: Int64
    kinds: Int8  # problem.Kind
    classes: Int64  # dense numbers from 0; equal class, equal step
    invoked: Int64  # places in the order of events
    returned: Int64  # likewise; problem.NEVER
    initial: int  # number of the initial state
    states: int  # how many numbers of states there are (assignment form)
    rows: Int64  # row of each operation in the history's columns, or its number in the Problem that it comes from
    assignment: bool

    def keep(self, numbers: Int64, returned: Int64) -> Arrays:
        """The problem of these operations alone, with these returns (of all operations); states keep their numbers."""
        classes = self.classes[numbers]
        there = np.zeros(self.classes.max(initial=0) + 1, np.int64)
        there[classes] = 1
        classes = (np.cumsum(there) - 1)[classes]
        return self._replace(
            requires=self.requires[numbers],
            produces=self.produces[numbers],
            kinds=self.kinds[numbers],
            classes=classes,
            invoked=self.invoked[numbers],
            returned=returned[numbers],
            rows=self.rows[numbers],
        )


def of_columns(model: Model, columns: Columns) -> Arrays | None:
    """The arrays of operations that stand in columns, if their model gives the assignment form of whole columns.

    `rows` are rows of these columns.
    """
    if not declared_together(type(model), "assignment", {"step", "effect", "readonly", "blind", "observes"}):
        return None
    assigned = model.assignment(columns)
    if assigned is None:
        return None
    reads = (assigned.produces == NONE) | (assigned.produces == assigned.requires)
    kept = np.flatnonzero(assigned.matters & ~(reads & (columns.returned == NEVER)))
    requires, produces, returned = assigned.requires[kept], assigned.produces[kept], columns.returned[kept]
    kinds = np.where(requires == NONE, Kind.BLIND, Kind.OTHER).astype(np.int8)
    kinds[reads[kept]] = Kind.READER
    produces[reads[kept]] = NONE
    initial, states = assigned.initial, assigned.states
    if states > _STATES_PER_OPERATION * len(kept):  # one key of many: most values belong to others
        initial, states = _renumber(requires, produces, initial)
    return Arrays(
        requires=requires,
        produces=produces,
        kinds=kinds,
        classes=_classes_of(requires, produces, states),
        invoked=columns.invoked[kept],
        returned=returned,
        initial=initial,
        states=states,
        rows=kept,
        assignment=True,
    )


def _renumber(requires: Int64, produces: Int64, initial: int) -> tuple[int, int]:
    """Gives the states that occur dense numbers, in place; the initial state's number, and how many there are."""
    occur = np.unique(np.concatenate([[initial], requires, produces]))
    occur = occur[occur != NONE]
    for column in (requires, produces):
        there = column != NONE
        column[there] = np.searchsorted(occur, column[there])
    return int(np.searchsorted(occur, initial)), len(occur)


def _classes_of(requires: Int64, produces: Int64, states: int) -> Int64:
    """Dense numbers of the different pairs: first of those that only produce, then those that only require, then the others."""
    numbers = np.where(requires == NONE, produces + 1, states + 1 + requires)
    both = np.flatnonzero((requires != NONE) & (produces != NONE))
    pairs = requires[both] * states + produces[both]
    if states * states > _STATES_PER_OPERATION * len(requires):
        _, pairs = np.unique(pairs, return_inverse=True)
    numbers[both] = 2 * states + 1 + pairs
    there = np.zeros(numbers.max(initial=0) + 1, np.int64)
    there[numbers] = 1
    dense: Int64 = (np.cumsum(there) - 1)[numbers]
    return dense


def of_classes(model: Model, given: Selected) -> tuple[Arrays, Transitions] | None:
    """The arrays of operations that stand in columns, for a model without effects; it is asked once for each class.

    `rows` are their places among these operations.
    """
    if any(getattr(type(model), name, None) is not getattr(Model, name, None) for name in ("effect", "identity")):
        return None
    columns = given.columns
    errors = np.where(columns.type == FAIL_CODE, columns.error, 0)
    first, classes = _distinct([columns.f, columns.type.astype(np.int64), columns.value, columns.result, errors])
    samples = given.pick(first)
    kept = np.flatnonzero(np.array([matters(model, op) for op in samples], np.bool_)[classes])
    transitions, numbers = Transitions(model), np.zeros(len(samples), np.int64)
    for klass in np.unique(classes[kept]).tolist():
        numbers[klass] = transitions.class_of(samples[klass], None)
    kinds = np.array([kind_of(model, op) for op in samples], np.int8)
    nothing = np.full(len(kept), NONE, np.int64)
    form = Arrays(
        requires=nothing,
        produces=nothing,
        kinds=kinds[classes[kept]],
        classes=numbers[classes[kept]],
        invoked=columns.invoked[kept],
        returned=columns.returned[kept],
        initial=0,
        states=1,
        rows=kept,
        assignment=False,
    )
    return form, transitions


def _distinct(columns: list[Int64]) -> tuple[Int64, Int64]:
    """Rows that have the same numbers in all columns: the first row of each kind, and the kind of each row."""
    joined = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        size = int(column.max(initial=0)) + 1
        if int(joined.max(initial=0)) >= (1 << 62) // size:
            joined = np.unique(joined, return_inverse=True)[1]
        joined = joined * size + column
    _, first, kinds = np.unique(joined, return_index=True, return_inverse=True)
    return first, kinds


def of_problem(problem: Problem) -> Arrays:
    """The arrays of a problem that was made of operations; `rows` are its numbers. With a `Table(problem.transitions)` if need be."""
    count = len(problem)
    kinds = np.fromiter(problem.kinds, np.int8, count)
    assignment = all(effect is not None for effect in problem.effects)
    requires, produces = np.full(count, NONE, np.int64), np.full(count, NONE, np.int64)
    numbers: dict[State, int] = {problem.model.init: 0}
    if assignment:
        for number, effect in enumerate(problem.effects):
            assert effect is not None
            if effect.requires is not NOTHING:
                requires[number] = numbers.setdefault(effect.requires, len(numbers))
            if effect.produces is not NOTHING and kinds[number] != Kind.READER:
                produces[number] = numbers.setdefault(effect.produces, len(numbers))
    return Arrays(
        requires=requires,
        produces=produces,
        kinds=kinds,
        classes=np.fromiter(problem.classes, np.int64, count),
        invoked=np.array(problem.invoked, np.int64),
        returned=np.array(problem.returned, np.int64),
        initial=0,
        states=len(numbers),
        rows=np.arange(count),
        assignment=assignment,
    )


def events_of(arrays: Arrays) -> Int32:
    """The events in order, each as operation * 2, + 1 for its return; at equal places invocations come first."""
    count = len(arrays.invoked)
    answered = np.flatnonzero(arrays.returned != NEVER)
    bits = max(1, count.bit_length())
    packed = np.concatenate(
        [
            (arrays.invoked << (bits + 1)) | np.arange(count),
            (arrays.returned[answered] << (bits + 1)) | (1 << bits) | answered,
        ]
    )
    packed.sort()
    codes: Int32 = (((packed & ((1 << bits) - 1)) << 1) | ((packed >> bits) & 1)).astype(np.int32)
    return codes


class Ordered(NamedTuple):
    """The operations fit together; `order` has their numbers in an order that shows it, where that was asked for."""

    order: Int64 | None = None


class Refuted(NamedTuple):
    """No order exists; `evidence` are numbers of operations that show it, where the way knows."""

    evidence: tuple[int, ...] = ()


class Steps(NamedTuple):
    """How kernels step, by class (`kernels.step`): in assignment form `cells` is empty, else the first two are."""

    requires: Int64
    produces: Int64
    cells: Int32
    keys: Int64
    width: int


def steps_of(arrays: Arrays, table: Table | None) -> Steps:
    """The steps of these operations; take them anew after `table.fill`. A table is given unless they have assignment form."""
    if table is not None:
        nothing = np.zeros(0, np.int64)
        return Steps(nothing, nothing, table.cells, table.keys, table.width)
    count = int(arrays.classes.max()) + 1 if len(arrays.classes) else 1
    requires, produces = np.full(count, NONE, np.int64), np.full(count, NONE, np.int64)
    requires[arrays.classes], produces[arrays.classes] = arrays.requires, arrays.produces
    return Steps(requires, produces, np.zeros(0, np.int32), np.zeros(0, np.int64), 1)


class Table:
    """The transitions of a model without assignment form, for kernels: `cells` at (state, class), filled on demand.

    Dense: `cells[state * width + class]`, and `keys` is empty. Too large for that: a hash table with linear probing whose
    `keys` are state * width + class, or -1 where free; `kernels.step` reads both.
    A kernel that meets UNKNOWN stops, having changed nothing, and names the pair; the caller fills and goes on. `fill` may
    replace `cells` and `keys`: take them anew.
    """

    def __init__(self, transitions: Transitions, classes: int) -> None:
        self._transitions = transitions
        self.width = max(1, classes)
        self.keys: Int64 = np.zeros(0, np.int64)
        self.cells: Int32 = np.full(self.width * 64, UNKNOWN, np.int32)
        self._filled = 0
        if len(self.cells) > DENSE_CELLS:
            self._make_sparse({})

    @property
    def held(self) -> int:
        """Bytes of the table and of the states, nearly."""
        return self.cells.nbytes + self.keys.nbytes + self._transitions.held

    def fill(self, state: int, klass: int) -> None:
        """Asks the model about the pair; about all classes where they are few."""
        asked = range(self.width) if self.width <= _WHOLE_ROWS and not len(self.keys) else (klass,)
        for each in asked:
            self._put(state * self.width + each, self._transitions.step(state, each))

    def _put(self, key: int, after: int) -> None:
        if not len(self.keys):
            while key >= len(self.cells) and 2 * len(self.cells) <= DENSE_CELLS:
                self.cells = np.concatenate([self.cells, np.full_like(self.cells, UNKNOWN)])
            if key < len(self.cells):
                self.cells[key] = after
                return
            known = np.flatnonzero(self.cells != UNKNOWN)
            self._make_sparse(dict(zip(known.tolist(), self.cells[known].tolist(), strict=True)))
        elif 2 * (self._filled + 1) > len(self.keys):
            known = np.flatnonzero(self.keys >= 0)
            self._make_sparse(dict(zip(self.keys[known].tolist(), self.cells[known].tolist(), strict=True)))
        self._insert(key, after)

    def _make_sparse(self, known: dict[int, int]) -> None:
        size = 1 << max(10, (4 * len(known)).bit_length())
        self.keys, self.cells, self._filled = np.full(size, -1, np.int64), np.full(size, UNKNOWN, np.int32), 0
        for key, after in known.items():
            self._insert(key, after)

    def _insert(self, key: int, after: int) -> None:
        size = len(self.keys)
        mixed = (key * _MULTIPLIER) % (1 << 64)  # as kernels.mixed
        place = (mixed ^ (mixed >> 32)) % size
        while self.keys[place] not in {-1, key}:
            place = (place + 1) % size
        self._filled += self.keys[place] == -1
        self.keys[place], self.cells[place] = key, after
