"""The replicated log in memory: append, cut, term and chain digest at an index. Neither disk nor commit rules live here."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from hashlib import blake2b

import msgspec

from raftnode.messages import Entry

_ENCODER = msgspec.msgpack.Encoder()
DIGEST_BYTES = 8
NO_DIGEST = bytes(DIGEST_BYTES)


class Log:
    """Entries 1..last_index. Equal digests at an index mean equal logs up to there (log matching made visible)."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries: list[Entry] = []
        self._digests: list[bytes] = []
        # Where each run of equal terms begins, ascending: (first index, term). Conflict hints skip whole terms by it.
        self._starts: list[int] = []
        self._terms: list[int] = []
        self.append(entries)

    @property
    def last_index(self) -> int:
        return len(self._entries)

    @property
    def last_term(self) -> int:
        return self._entries[-1].term if self._entries else 0

    def term_at(self, index: int) -> int | None:
        """The term of the entry at `index`; 0 at index 0, None beyond the end."""
        if index == 0:
            return 0
        return self._entries[index - 1].term if index <= len(self._entries) else None

    def entry(self, index: int) -> Entry:
        return self._entries[index - 1]

    def entries_from(self, first: int, most: int | None = None) -> tuple[Entry, ...]:
        """Entries from index `first` on, at most so many."""
        end = None if most is None else first - 1 + most
        return tuple(self._entries[first - 1 : end])

    def digest_at(self, index: int) -> str:
        """The chain digest of the log up to `index`, as 16 hexadecimal digits."""
        return (self._digests[index - 1] if index else NO_DIGEST).hex()

    def append(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            previous = self._digests[-1] if self._digests else NO_DIGEST
            if not self._terms or self._terms[-1] != entry.term:
                self._starts.append(len(self._entries) + 1)
                self._terms.append(entry.term)
            self._entries.append(entry)
            self._digests.append(blake2b(previous + _ENCODER.encode(entry), digest_size=DIGEST_BYTES).digest())

    def cut(self, first: int) -> None:
        """Removes the entries from index `first` on."""
        del self._entries[first - 1 :]
        del self._digests[first - 1 :]
        while self._starts and self._starts[-1] >= first:
            self._starts.pop()
            self._terms.pop()

    def first_of_term_at(self, index: int) -> int:
        """The first index of the run of equal terms that `index` lies in."""
        return self._starts[bisect_right(self._starts, index) - 1]

    def last_of_term(self, term: int) -> int | None:
        """The last index whose entry has this term, None if there is none.

        Terms of a log never decrease (paper section 5.3), so the runs can be searched by halves.
        """
        place = bisect_right(self._terms, term) - 1
        if place < 0 or self._terms[place] != term:
            return None
        return self._starts[place + 1] - 1 if place + 1 < len(self._starts) else len(self._entries)
