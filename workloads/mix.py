"""Several workloads at once: each operation comes from one of them, drawn by chance."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from workloads.generator import Generator, Op
from workloads.workload import Workload


class Mix:
    """A generator over workloads whose keys do not overlap; completions go back to the workload that asked."""

    def __init__(self, workloads: Sequence[Workload], seed: int) -> None:
        self._draw = Random(f"{seed}/workload/mix")  # noqa: S311 - a load, not a secret
        self._generators: dict[str, Generator] = {workload.name: workload.make(seed) for workload in workloads}

    def next_op(self, now: int, free: int) -> Op | None:
        name = self._draw.choice(list(self._generators))
        return self._generators[name].next_op(now, free)

    def observe(self, op: Op) -> None:
        self._generators[op.workload].observe(op)

    def final_ops(self) -> list[Op]:
        return [op for generator in self._generators.values() for op in generator.final_ops()]
