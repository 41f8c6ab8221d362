"""Registers: reads, writes and compare-and-set on several independent keys.

Every written value is used once, so that a read names the one write that it saw; a compare-and-set expects the value
that was last seen at its key, so that about half of them succeed and concurrent ones compete.
"""

from __future__ import annotations

from random import Random

from workloads.generator import Op
from workloads.keys import KeyRing
from workloads.workload import Workload

NAME = "register"
ACTIVE_KEYS = 5
USES = 200
READS, WRITES = 0.45, 0.30  # the rest is compare-and-set


class RegisterGenerator:
    def __init__(self, seed: int) -> None:
        self._draw = Random(f"{seed}/workload/{NAME}")  # noqa: S311 - a load, not a secret
        self._keys = KeyRing("r", ACTIVE_KEYS, USES, self._draw)
        self._seen: dict[str, object] = {}  # key -> the value last known there, from completed operations
        self._last_value = 0

    def next_op(self, now: int, free: int) -> Op | None:
        key = self._keys.next_key()
        kind = self._draw.random()
        if kind < READS:
            return Op(NAME, "read", key)
        self._last_value += 1
        if kind < READS + WRITES or key not in self._seen:
            return Op(NAME, "write", key, self._last_value)
        return Op(NAME, "cas", key, [self._seen[key], self._last_value])

    def observe(self, op: Op) -> None:
        if op.type != "ok":
            return
        if op.f == "cas":
            self._seen[op.key] = op.value[1]
        elif op.value is not None:
            self._seen[op.key] = op.value

    def final_ops(self) -> list[Op]:
        return [Op(NAME, "read", key) for key in self._keys.all_keys()]


REGISTER = Workload(
    name=NAME,
    model="cas-register",
    says="reads, writes and compare-and-set on several keys; every written value is unique",
    kinds=("read", "write", "cas"),
    make=RegisterGenerator,
)
