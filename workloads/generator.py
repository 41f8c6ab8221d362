"""Pure generators: what to ask next, given the time and what was observed. They know time only as data.

A generator's result depends on its seed, on `now` and on the operations observed, and on nothing else: no clock, no
thread, no sleeping (after jepsen-io/generator). The worker loop asks `next_op` as long as it has free workers.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec


class Op(msgspec.Struct, frozen=True):
    """An operation to be invoked, or (with `type` ok, fail or info) one that was completed.

    `value` on invoke and while unknown is the argument (write: the value; cas: [expect, value]; append: the element;
    read: None); for an ok read it is what was read.
    """

    workload: str
    f: str
    key: str
    value: Any = None
    type: str = "invoke"
    process: int = -1
    error: str = ""


class Generator(Protocol):
    def next_op(self, now: int, free: int) -> Op | None:
        """The next operation to invoke at `now` (ns) with `free` idle workers, or None: nothing to ask just now."""
        ...

    def observe(self, op: Op) -> None:
        """Learns of a completion (ok, fail or info), in the order in which they were recorded."""
        ...

    def final_ops(self) -> list[Op]:
        """The reads of every key that was used, to be asked once everything has healed."""
        ...
