"""Transactions as columns of numbers: the micro-operations of a whole history, flattened in one pass.

Nothing is judged here. A million transactions as Python lists can be walked once, not once for every question; what
infers and searches works on these arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from checker.budget import Meter
from checker.columns import FAIL_CODE, INFO_CODE, OK_CODE
from checker.history import FAIL, INFO, OK, History, HistoryError, Op, Operations, freeze
from checker.models.answers import contradiction
from checker.models.base import show

Ints: TypeAlias = npt.NDArray[np.signedinteger[Any]]
"""A column of whole numbers, as narrow as what it holds."""
READ, WRITE = 0, 1
"""Kinds of micro-operations: a write is an append of a list, or a write of a register."""
COMMITTED, UNKNOWN, ABORTED = 0, 1, 2
"""What is known of a transaction: it was acknowledged (ok), nobody knows (info), it was refused (fail)."""
NEVER = 1 << 62
"""The place of a completion that never came."""
NIL = -(1 << 63)
"""The code of the value nil."""
ABSENT = -1
_CHUNK = 1 << 20
_STATUS = {OK: COMMITTED, INFO: UNKNOWN, FAIL: ABORTED}
_STATUS_OF_CODE = [code for _, code in sorted({OK_CODE: COMMITTED, INFO_CODE: UNKNOWN, FAIL_CODE: ABORTED}.items())]
_READS = frozenset({"r", ":r", "read", ":read"})


class Table:
    """The transactions of a history (rows as in `operations`) and their micro-operations, each as one column.

    `status`, `invoked`, `returned` (`NEVER` for all but acknowledged ones) and `process` (numbered as they come) have one entry a
    transaction; `owner`, `kind`, `key` and `value` have one entry a micro-operation, in the order of the history; those of transaction
    t are `first[t]` to `first[t + 1]`. In lists a read of n elements has `start` and `length` n in `elements`, in registers its
    answer is its `value`. Reads that were not answered are left out. Values are themselves where all are whole numbers
    of 64 bits, and places in `decoded` otherwise.
    """

    def __init__(self, operations: Sequence[Op]) -> None:
        self.operations = operations
        self.keys: list[Hashable] = []
        self.decoded: list[Hashable] | None = None
        self.status: Ints = np.zeros(0, np.int64)
        self.invoked: Ints = np.zeros(0, np.int64)
        self.returned: Ints = np.zeros(0, np.int64)
        self.process: Ints = np.zeros(0, np.int64)
        self.first: Ints = np.zeros(1, np.int64)
        self.owner: Ints = np.zeros(0, np.int64)
        self.kind: Ints = np.zeros(0, np.int64)
        self.key: Ints = np.zeros(0, np.int64)
        self.value: Ints = np.zeros(0, np.int64)
        self.start: Ints = np.zeros(0, np.int64)
        self.length: Ints = np.zeros(0, np.int64)
        self.elements: Ints = np.zeros(0, np.int64)

    def micro_operations(self, transaction: int) -> range:
        """The places of the micro-operations of a transaction."""
        return range(int(self.first[transaction]), int(self.first[transaction + 1]))

    def show_value(self, code: int) -> str:
        """A value in words."""
        if code == NIL:
            return "nil"
        return show(self.decoded[code]) if self.decoded is not None else str(code)

    def show_key(self, key: int) -> str:
        """A key in words."""
        return show(self.keys[key])

    def show_list(self, codes: Iterable[int]) -> str:
        """A list in words; the middle of a long one is left out."""
        shown = [self.show_value(int(code)) for code in codes]
        if len(shown) > 12:
            shown = [*shown[:4], "...", *shown[-6:]]
        return "[" + " ".join(shown) + "]"


class _NotNumbersError(Exception):
    """Some value is no whole number of 64 bits."""


class _Numbers:
    """Values that are numbers stand for themselves. True is no number here, although Python takes it for 1."""

    decoded = None

    def codes(self, values: list[Any]) -> Ints:
        types = set(map(type, values))
        if not types <= {int, type(None)}:
            raise _NotNumbersError
        try:
            if type(None) not in types:
                codes = np.array(values, np.int64)
                if len(codes) and codes.min() == NIL:  # a number, but the code of nil
                    raise _NotNumbersError
                return codes
            return np.array([_number_or_nil(value) for value in values], np.int64)
        except OverflowError:
            raise _NotNumbersError from None


def _number_or_nil(value: int | None) -> int:
    if value == NIL:
        raise _NotNumbersError
    return NIL if value is None else value


class _Interned:
    """Values of any kind, numbered as they come."""

    def __init__(self) -> None:
        self.decoded: list[Hashable] = []
        self._codes: dict[Hashable, int] = {}

    def codes(self, values: list[Any]) -> Ints:
        return np.fromiter((self._code(value) for value in values), np.int64, len(values))

    def _code(self, value: Any) -> int:
        if value is None:
            return NIL
        frozen = freeze(value)
        code = self._codes.setdefault(frozen, len(self.decoded))
        if code == len(self.decoded):
            self.decoded.append(frozen)
        return code


def _fill_head(table: Table) -> None:
    """Notes of each transaction as a whole what is known of it."""
    operations = table.operations
    if isinstance(operations, Operations):
        columns = operations.columns
        table.status = np.array(_STATUS_OF_CODE, np.int64)[columns.type]
        table.invoked, table.returned, table.process = columns.invoked, columns.returned, columns.process
    else:
        numbers: dict[int | str, int] = {}
        table.status = np.array([_STATUS[op.type] for op in operations], np.int64)
        table.invoked = np.array([op.invoked for op in operations], np.int64)
        table.returned = np.array([NEVER if op.returned is None else op.returned for op in operations], np.int64)
        table.process = np.array([numbers.setdefault(op.process, len(numbers)) for op in operations], np.int64)
    # An info completion says nothing about when the transaction took effect, and a failed one never did.
    table.returned = np.where(table.status == COMMITTED, table.returned, NEVER)


def _answers(operations: Sequence[Op]) -> Iterator[Any]:
    """Each transaction as it was answered, or asked where it was not; of columns nothing else is made.

    Raises `HistoryError` on an answer that contradicts what was asked.
    """
    if isinstance(operations, Operations):
        columns = operations.columns
        answered = np.where(columns.type == OK_CODE, columns.result, columns.value).tolist()
        for row, (code, asked) in enumerate(zip(answered, columns.value.tolist(), strict=True)):
            answer = columns.values[code]
            problem = "" if asked == code else contradiction(columns.values[asked], answer)
            if problem:
                raise _refused(operations[row], problem)
            yield answer
    else:
        for op in operations:
            problem = contradiction(op.value, op.result) if op.type == OK else ""
            if problem:
                raise _refused(op, problem)
            yield op.result if op.type == OK else op.value


class _Column:
    """Values that come one after the other, coded in chunks, so that no long list of Python objects is held."""

    def __init__(self, coder: _Numbers | _Interned) -> None:
        self.values: list[Any] = []
        self._coder = coder
        self._done: list[Ints] = []

    def flush(self) -> None:
        self._done.append(self._coder.codes(self.values))
        self.values.clear()

    def array(self) -> Ints:
        self.flush()
        return np.concatenate(self._done)


Walk = Callable[[Table, "_Numbers | _Interned", frozenset[str], Meter], None]


def lists(history: History, meter: Meter) -> Table:
    """The table of a history of appends to lists and reads of whole lists.

    Raises `HistoryError` on what is none, `OutOfBudgetError`.
    """
    return _table(history, _walk_lists, frozenset({"append", ":append"}), meter)


def registers(history: History, meter: Meter) -> Table:
    """The table of a history of writes and reads of registers. Raises `HistoryError` on what is none, `OutOfBudgetError`."""
    return _table(history, _walk_registers, frozenset({"w", ":w", "write", ":write"}), meter)


def _table(history: History, walk: Walk, writes: frozenset[str], meter: Meter) -> Table:
    try:
        table = Table(history.operations)
        walk(table, _Numbers(), writes, meter)
    except _NotNumbersError:
        table = Table(history.operations)
        walk(table, _Interned(), writes, meter)
    return table


def _steps(table: Table, row: int, asked: Any, known: frozenset[str]) -> Sequence[Any]:
    """The micro-operations of a transaction. Raises `HistoryError` on what is none."""
    if not isinstance(asked, list | tuple):
        problem = f"a transaction must be a list of micro-operations, this is {_short(asked)}"
        raise _refused(table.operations[row], problem)
    for each in asked:
        if not isinstance(each, list | tuple) or len(each) != 3:
            problem = f"a micro-operation must be [function, key, value], this is {_short(each)}"
            raise _refused(table.operations[row], problem)
        if not isinstance(each[0], str) or each[0] not in known:
            names = ", ".join(sorted(name for name in known if name[0] != ":"))
            problem = f"unknown micro-operation {_short(each[0])}, expected one of {names}"
            raise _refused(table.operations[row], problem)
    return asked


def _refused(op: Op, problem: str) -> HistoryError:
    return HistoryError(f"{op.f} of process {op.process}: {problem}", op.line)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _walk_lists(table: Table, coder: _Numbers | _Interned, writes: frozenset[str], meter: Meter) -> None:
    values, elements = _Column(coder), _Column(coder)
    counts, kinds, keys, lengths = [], bytearray(), [], []
    numbers: dict[Hashable, int] = {}
    known = writes | _READS
    _fill_head(table)
    certain = (table.status == COMMITTED).tolist()
    for row, (answered, asked) in enumerate(zip(certain, _answers(table.operations), strict=True)):
        before = len(kinds)
        for function, key, value in _steps(table, row, asked, known):
            if function in writes:
                kinds.append(WRITE)
                values.values.append(value)
                lengths.append(ABSENT)
            elif answered:
                if value is None:
                    value = ()
                elif not isinstance(value, list | tuple):
                    raise _refused(table.operations[row], f"a read of a list must give a list, this is {_short(value)}")
                kinds.append(READ)
                values.values.append(None)
                lengths.append(len(value))
                elements.values.extend(value)
            else:
                continue
            keys.append(numbers.setdefault(key if type(key) is int else freeze(key), len(numbers)))
        counts.append(len(kinds) - before)
        meter.spend(1 + counts[-1])
        if len(elements.values) >= _CHUNK:
            elements.flush()
    table.length = np.array(lengths, np.int32)
    table.elements = elements.array()
    ends = np.cumsum(np.maximum(table.length, 0), dtype=np.int64)
    table.start = ends - np.maximum(table.length, 0)
    _finish(table, counts, kinds, keys, values.array())
    table.keys = list(numbers)
    table.decoded = coder.decoded


def _walk_registers(table: Table, coder: _Numbers | _Interned, writes: frozenset[str], meter: Meter) -> None:
    values = _Column(coder)
    counts, kinds, keys = [], bytearray(), []
    numbers: dict[Hashable, int] = {}
    known = writes | _READS
    _fill_head(table)
    certain = (table.status == COMMITTED).tolist()
    for row, (answered, asked) in enumerate(zip(certain, _answers(table.operations), strict=True)):
        before = len(kinds)
        for function, key, value in _steps(table, row, asked, known):
            if function in writes:
                if value is None:
                    raise _refused(
                        table.operations[row],
                        f"a write of nil to key {_short(key)}: it can't be told from the initial value",
                    )
                kinds.append(WRITE)
            elif answered:
                kinds.append(READ)
            else:
                continue
            values.values.append(value)
            keys.append(numbers.setdefault(key if type(key) is int else freeze(key), len(numbers)))
        counts.append(len(kinds) - before)
        meter.spend(1 + counts[-1])
    _finish(table, counts, kinds, keys, values.array())
    table.keys = list(numbers)
    table.decoded = coder.decoded


def _finish(table: Table, counts: list[int], kinds: bytearray, keys: list[int], values: Ints) -> None:
    table.first = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.array(counts, np.int64))])
    table.owner = np.repeat(np.arange(len(counts), dtype=np.int32), np.diff(table.first))
    table.kind = np.frombuffer(kinds, np.int8)
    table.key = np.array(keys, np.int32)
    table.value = values
