"""The objects of a history: which operations belong to each, kept as rows of its columns where it has columns."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import overload

import numpy as np

from checker.columns import Columns
from checker.history import History, Op, Operations
from checker.models.base import Model
from checker.models.guard import object_of
from checker.values import Integers

_WORTH_IT = 200
"""Smaller histories are quicker handled as operations."""


class Selected(Sequence[Op]):
    """Some operations of a history that is kept as columns, in its order; an operation is made when it is asked for."""

    def __init__(self, columns: Columns, kept: Mapping[int, Op], rows: Integers | None) -> None:
        self._columns, self._kept, self._rows = columns, kept, rows

    @property
    def columns(self) -> Columns:
        """The columns of these operations alone."""
        return self._columns if self._rows is None else self._columns.take(self._rows)

    @property
    def exact(self) -> bool:
        """Whether columns hold all of the history's operations exactly."""
        return not self._kept

    def pick(self, places: Integers) -> tuple[Op, ...]:
        """The operations in these places, in the order given."""
        rows = places if self._rows is None else self._rows[places]
        kept = {place: self._kept[row] for place, row in enumerate(rows.tolist()) if row in self._kept}
        return tuple(Operations(self._columns.take(rows), kept))

    def __len__(self) -> int:
        return len(self._columns) if self._rows is None else len(self._rows)

    @overload
    def __getitem__(self, place: int) -> Op: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Op]: ...
    def __getitem__(self, place: int | slice) -> Op | Sequence[Op]:
        if isinstance(place, slice):
            return self.pick(np.arange(len(self), dtype=np.int64)[place])
        if not -len(self) <= place < len(self):
            raise IndexError(f"operation {place} of {len(self)}")
        return self.pick(np.array([place % len(self)]))[0]

    def __iter__(self) -> Iterator[Op]:
        if self._rows is None:
            return iter(Operations(self._columns, self._kept))
        return iter(self.pick(np.arange(len(self), dtype=np.int64)))


def by_object(history: History, model: Model) -> dict[Hashable, Sequence[Op]]:
    """The operations of each object, the objects in the order in which they first appear."""
    columnar = isinstance(history.operations, Operations) and len(history) >= _WORTH_IT
    if not columnar or type(model).partition is not Model.partition:
        grouped: dict[Hashable, list[Op]] = {}
        for op in history:
            grouped.setdefault(object_of(model, op), []).append(op)
        return dict(grouped)
    columns, kept = history.columns, history.kept
    keys, first, places = np.unique(columns.key, return_index=True, return_inverse=True)
    if len(keys) <= 1:
        return {columns.values.frozen(int(key)): Selected(columns, kept, None) for key in keys}
    rows = np.split(np.argsort(places, kind="stable"), np.cumsum(np.bincount(places))[:-1])
    return {columns.values.frozen(int(keys[at])): Selected(columns, kept, rows[at]) for at in np.argsort(first)}
