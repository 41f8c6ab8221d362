"""Append-only lists that are judged while the history grows: the chain of `prefixes.py`, without looking ahead.

All reads must be prefixes of one chain of elements, and an operation that returned before another one was invoked must stand
before it in the forced order: reads of length i, the append of element i + 1, reads of length i + 1, and so on, and in the end
appends that nobody read (`prefixes.py` has the proof). Only the return of a read can break that, and all that can is:

- the read does not continue the chain, or shows an element that nobody has begun to append, or one twice;
- it misses an element whose append returned before the read was invoked, or before that of an element that it shows was;
- it is shorter than a read that returned before it was invoked;
- it adds to the chain an element whose append returned before that of an earlier element of the chain was invoked.

An append that fails was never there: if its element was read, the first read that shows it is impossible. An element that
is appended twice breaks the inference, and the object steps aside. What is kept are the chain and the appends that are
not both read and answered; bounds on the past are kept only for as long as an open operation is older.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Hashable

import msgspec

from checker.history import FAIL, INFO, OK, Op, freeze
from checker.models.lists import AppendList


class SteppedAside(Exception):
    """An element was appended twice: its place in the chain is not known from its value."""


class _Append(msgspec.Struct):
    """An append that has begun: `position` in the chain, from 1, once it was read; `reader`: the read that showed it first."""

    invoked: int
    returned: int | None = None
    position: int = 0
    reader: Op | None = None


class GrowingList:
    """One list: `invoke` and `complete` as its operations do."""

    def __init__(self, model: AppendList) -> None:
        assert isinstance(model.init, tuple)
        self.chain: list[Hashable] = list(model.init)
        self._appends: dict[Hashable, _Append] = {}
        self._latest = -1  # the latest invocation among the appends of the chain
        self._longest = len(model.init)  # of the reads that have returned
        self._unread: deque[_Append] = (
            deque()
        )  # answered appends that were not read when they were answered, oldest first
        # Positions of answered appends of the chain with their returns: both grow, so the first one behind a position has the
        # earliest return of all behind it.
        self._positions: list[int] = []
        self._returns: list[int] = []
        self._floors: dict[int, int] = {}  # of open reads: how long reads were that had returned when they were invoked
        self._open: dict[int, None] = {}

    def invoke(self, place: int, f: str, value: object) -> None:
        """An operation was invoked. Raises `SteppedAside`."""
        self._open[place] = None
        if f == "read":
            self._floors[place] = self._longest
            return
        element = freeze(value)
        if element in self._appends:
            raise SteppedAside(f"the element {element!r} is appended twice")
        self._appends[element] = _Append(place)

    def complete(self, op: Op) -> Op | None:
        """An operation is complete; the one that is impossible because of it, if there is one."""
        del self._open[op.invoked]
        if op.f == "read":
            floor = self._floors.pop(op.invoked)
            broken = op.type == OK and not self._read(op, floor)
            self._forget()
            return op if broken else None
        append = self._appends[freeze(op.value)]
        if op.type == FAIL:
            del self._appends[freeze(op.value)]
            return append.reader
        if op.type == INFO or op.returned is None:
            return None
        append.returned, append.reader = op.returned, None
        if not append.position:
            self._unread.append(append)
        elif not self._positions or append.position > self._positions[-1]:
            self._positions.append(append.position)
            self._returns.append(op.returned)
        return None

    def _read(self, op: Op, floor: int) -> bool:
        """Whether the answer of a read fits all that was known when it returned."""
        answer = [freeze(item) for item in op.result or ()]
        length, known = len(answer), len(self.chain)
        if length < floor or answer[:known] != self.chain[:length]:
            return False
        for element in answer[known:]:
            if not self._add(element, op):
                return False
        while self._unread and self._unread[0].position:
            self._unread.popleft()
        if self._unread and (self._unread[0].returned or 0) < max(op.invoked, self._latest):
            return False
        behind = bisect_right(self._positions, length)
        if behind < len(self._returns) and self._returns[behind] < op.invoked:
            return False
        self._longest = max(self._longest, length)
        return True

    def _add(self, element: Hashable, reader: Op) -> bool:
        """Adds an element to the chain; whether it may stand there."""
        append = self._appends.get(element)
        if append is None or append.position or (append.returned is not None and append.returned < self._latest):
            return False
        self.chain.append(element)
        append.position = len(self.chain)
        self._latest = max(self._latest, append.invoked)
        if append.returned is None:
            append.reader = reader
            return True
        while self._returns and self._returns[-1] >= append.returned:
            self._positions.pop()
            self._returns.pop()
        self._positions.append(append.position)
        self._returns.append(append.returned)
        return True

    def _forget(self) -> None:
        """Of the returns that came before every open invocation the last position bounds all that the others do."""
        oldest = next(iter(self._open), None)
        past = len(self._returns) if oldest is None else bisect_right(self._returns, oldest)
        del self._positions[: max(0, past - 1)]
        del self._returns[: max(0, past - 1)]
