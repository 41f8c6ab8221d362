"""A history as columns: one row an operation, integers only, so that compiled code takes it as it is.

A million operations fit into some 200 MB, where as many objects need five times that. What an operation is, and which
events make one, is decided in `history.py`.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from checker.values import Integers, Values

OK_CODE, FAIL_CODE, INFO_CODE = 0, 1, 2
NEVER = 1 << 62
"""The place of a return that never came: after every event."""
UNKNOWN = -1
"""Stands for an index, a time or a line that is not known."""


class Columns(msgspec.Struct, kw_only=True, eq=False):
    """The columns, all of one length n, in the order of invocations; shape (n,), int64 where nothing else is said.

    `process` is the process's number; `f` a place in `names`; `key`, `value`, `result`, `error`, `node`, `op` and
    `workload` are codes in `values` (0: nothing), the last three None where no operation has one. `type` (int8) is
    OK_CODE, FAIL_CODE or INFO_CODE. `invoked` and `returned` are places in the order of events, `returned` is NEVER for
    an operation that never returned. Indices, times (nanoseconds) and lines are UNKNOWN where they are not known.
    """

    names: list[str]
    values: Values
    process: Integers
    f: Integers
    key: Integers
    value: Integers
    result: Integers
    error: Integers
    type: npt.NDArray[np.int8]
    invoked: Integers
    returned: Integers
    invoke_index: Integers
    return_index: Integers
    invoke_time: Integers
    return_time: Integers
    line: Integers
    node: Integers | None = None
    op: Integers | None = None
    workload: Integers | None = None

    def __len__(self) -> int:
        return len(self.process)

    def take(self, rows: Integers | npt.NDArray[np.bool_]) -> Columns:
        """The columns of some rows (places, or a mask); names and values are shared."""
        arrays = {name: column if column is None else column[rows] for name, column in self.arrays().items()}
        return Columns(names=self.names, values=self.values, **arrays)  # type: ignore[arg-type]

    def arrays(self) -> dict[str, Integers | None]:
        """The columns by name."""
        return {name: getattr(self, name) for name in self.__struct_fields__ if name not in {"names", "values"}}

    def place_of(self, name: str) -> int:
        """The number of a function, -1 if no operation has it."""
        return self.names.index(name) if name in self.names else -1


class Row(msgspec.Struct, frozen=True):
    """The numbers of one operation, as `Columns` has them."""

    process: int
    f: int
    key: int
    value: int
    result: int
    error: int
    type: int
    invoked: int
    returned: int
    invoke_index: int
    return_index: int
    invoke_time: int
    return_time: int
    line: int
    node: int
    op: int
    workload: int


OPTIONAL = ("node", "op", "workload")


class ColumnsBuilder:
    """Columns that grow: rows come one by one, in any order, `finish` puts them in the order of invocations."""

    def __init__(self) -> None:
        self.values = Values()
        self.names: dict[str, int] = {}
        self.columns = {name: array("b" if name == "type" else "q") for name in Row.__struct_fields__}
        self._append = [column.append for column in self.columns.values()]

    def add(self, row: Sequence[int]) -> None:
        """Takes the numbers of an operation, in the order of `Row`."""
        for append, number in zip(self._append, row, strict=True):
            append(number)

    def name(self, f: str) -> int:
        """The number of a function."""
        return self.names.setdefault(f, len(self.names))

    def finish(self) -> tuple[Columns, Integers | None]:
        """The columns, and the order in which the rows were put: None where they came in order.

        The arrays are handed over, not copied: the builder must not be used any more.
        """
        arrays = {name: self._taken(name) for name in Row.__struct_fields__}
        invoked = arrays["invoked"]
        assert invoked is not None
        order = None if bool(np.all(invoked[:-1] <= invoked[1:])) else np.argsort(invoked, kind="stable")
        if order is not None:
            for name, column in arrays.items():
                arrays[name] = None if column is None else column[order]
        return Columns(names=list(self.names), values=self.values, **arrays), order  # type: ignore[arg-type]

    def _taken(self, name: str) -> Integers | None:
        if name not in self.columns:
            return None
        column: Integers = np.frombuffer(self.columns.pop(name), dtype=np.int8 if name == "type" else np.int64)
        return None if name in OPTIONAL and not column.any() else column
