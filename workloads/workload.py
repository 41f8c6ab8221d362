"""What a workload is: a name, the model that its history must fit, and a generator made from a seed."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from workloads.generator import Generator


class Workload(msgspec.Struct, frozen=True):
    """`model` names an entry of `checker.models.MODELS`; every key of the workload is an object of its own."""

    name: str
    model: str
    says: str  # one line for `splitbrain list workloads`
    kinds: tuple[str, ...]  # the operations (f) that it asks, each of which must have been answered for a pass
    make: Callable[[int], Generator]  # seed -> generator
