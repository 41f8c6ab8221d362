"""Lists: append a unique element to the list at a key, read the whole list.

A read of the whole list shows every append that took effect and their order, so one read convicts a store of a lost,
doubled or reordered write that a register would have overwritten: measured, about twice as many lost writes are seen.
"""

from __future__ import annotations

from random import Random

from workloads.generator import Op
from workloads.keys import KeyRing
from workloads.workload import Workload

NAME = "append"
ACTIVE_KEYS = 4
USES = 160
APPENDS = 0.5


class AppendGenerator:
    def __init__(self, seed: int) -> None:
        self._draw = Random(f"{seed}/workload/{NAME}")  # noqa: S311 - a load, not a secret
        self._keys = KeyRing("a", ACTIVE_KEYS, USES, self._draw)
        self._last_element = 0

    def next_op(self, now: int, free: int) -> Op | None:
        key = self._keys.next_key()
        if self._draw.random() >= APPENDS:
            return Op(NAME, "read", key)
        self._last_element += 1
        return Op(NAME, "append", key, self._last_element)

    def observe(self, op: Op) -> None:
        """What was appended does not depend on what was seen."""

    def final_ops(self) -> list[Op]:
        return [Op(NAME, "read", key) for key in self._keys.all_keys()]


APPEND = Workload(
    name=NAME,
    model="append",
    says="append unique elements to lists and read them whole; sees lost, doubled and reordered writes",
    kinds=("append", "read"),
    make=AppendGenerator,
)
