"""The replicated log in memory: append, cut, and what is known of the entry at an index.

Neither disk nor commit rules live here.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from hashlib import blake2b

import msgspec

from raftnode.messages import Entry

DIGEST_BYTES = 8
_encode = msgspec.msgpack.Encoder().encode


class Log:
    """Entries 1..last_index. Equal digests at an index mean equal logs up to there (log matching made visible)."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries: list[Entry] = []
        # For each index from 0: the chain digest of the log up to there, and its size in encoded bytes.
        self._digests: list[bytes] = [bytes(DIGEST_BYTES)]
        self._sizes: list[int] = [0]
        # Where each run of equal terms begins, ascending, and its term. Conflict hints skip whole terms by it.
        self._run_starts: list[int] = []
        self._run_terms: list[int] = []
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

    def entries_from(self, first: int, most: int | None = None, most_bytes: int | None = None) -> tuple[Entry, ...]:
        """Entries from index `first` on: at most so many, and of at most so many bytes, but at least one."""
        end = self.last_index if most is None else min(self.last_index, first - 1 + most)
        sizes = self._sizes
        if most_bytes is not None and end > first and sizes[end] - sizes[first - 1] > most_bytes:
            end = max(first, bisect_right(sizes, sizes[first - 1] + most_bytes, first, end) - 1)
        return tuple(self._entries[first - 1 : end])

    def bytes_after(self, index: int) -> int:
        """The encoded size of the entries behind `index`."""
        return self._sizes[-1] - self._sizes[min(index, self.last_index)]

    def digest_at(self, index: int) -> str:
        """The chain digest of the log up to `index`, as 16 hexadecimal digits: H(digest before, entry)."""
        return self._digests[index].hex()

    def append(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            encoded = _encode(entry)
            if not self._run_terms or self._run_terms[-1] != entry.term:
                self._run_starts.append(len(self._entries) + 1)
                self._run_terms.append(entry.term)
            self._entries.append(entry)
            self._digests.append(blake2b(self._digests[-1] + encoded, digest_size=DIGEST_BYTES).digest())
            self._sizes.append(self._sizes[-1] + len(encoded))

    def cut(self, first: int) -> None:
        """Removes the entries from index `first` on."""
        del self._entries[first - 1 :]
        del self._digests[first:]
        del self._sizes[first:]
        while self._run_starts and self._run_starts[-1] >= first:
            self._run_starts.pop()
            self._run_terms.pop()

    def first_of_term_at(self, index: int) -> int:
        """The first index of the run of equal terms in which `index` lies."""
        return self._run_starts[bisect_right(self._run_starts, index) - 1]

    def last_of_term(self, term: int) -> int | None:
        """The last index whose entry has this term, None if there is none.

        Terms never fall along a log (paper section 5.3), so the runs can be searched by halves.
        """
        place = bisect_right(self._run_terms, term) - 1
        if place < 0 or self._run_terms[place] != term:
            return None
        return self._run_starts[place + 1] - 1 if place + 1 < len(self._run_starts) else len(self._entries)
