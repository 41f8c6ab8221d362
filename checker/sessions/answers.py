"""The words that the parts of `promises.py` share: guarantees, what is known of one, and sessions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from checker.history import Op

READ_YOUR_WRITES = "read your writes"
MONOTONIC_READS = "monotonic reads"
MONOTONIC_WRITES = "monotonic writes"
WRITES_FOLLOW_READS = "writes follow reads"
GUARANTEES = (READ_YOUR_WRITES, MONOTONIC_READS, MONOTONIC_WRITES, WRITES_FOLLOW_READS)


class Answer(NamedTuple):
    """Whether a guarantee holds (None: not decided), and why not, or why nobody knows."""

    holds: bool | None
    because: str = ""


HOLDS = Answer(holds=True)


def broken(because: str) -> Answer:
    """It does not hold."""
    return Answer(holds=False, because=because)


def undecided(because: str) -> dict[str, Answer]:
    """None of them is decided, for one reason."""
    return dict.fromkeys(GUARANTEES, Answer(holds=None, because=because))


def by_process(operations: Iterable[Op]) -> list[list[Op]]:
    """The sessions: what each process did, in its order. Operations are given in the order of their invocations."""
    sessions: dict[int | str, list[Op]] = {}
    for op in operations:
        sessions.setdefault(op.process, []).append(op)
    return list(sessions.values())
