"""Counters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from checker.history import OK, Op
from checker.models.base import Model, ModelError, State


class Counter(Model):
    """A counter: add an amount, which may be negative, and read the sum.

    A failed add did nothing. What an add answers is not looked at: Jepsen's clients give the amount back.
    """

    functions = frozenset({"add", "read"})
    aliases: ClassVar[Mapping[str, str]] = {"increment": "add", "inc": "add"}

    def __init__(self, init: Any = None, name: str = "counter") -> None:
        self.name = name
        if init is not None and not _is_whole(init):
            raise ModelError(f"the initial value of model {name} must be a whole number, not {init!r}")
        self.init: int = init or 0

    def step(self, state: State, op: Op) -> State | None:
        """An add adds; a read must be the sum."""
        assert isinstance(state, int)
        if op.f == "add":
            return state + int(op.value)
        return state if op.type != OK or op.result == state else None

    def readonly(self, op: Op) -> bool:
        """Reads, and adding nothing."""
        return op.f == "read" or op.value == 0

    def describe(self, state: State) -> str:
        """The sum."""
        return str(state)

    def refuses(self, op: Op) -> str:
        """Amounts and sums that are no whole numbers: sums of fractions depend on their order."""
        if op.f == "add" and not _is_whole(op.value):
            return f"the amount of an add must be a whole number, this is {op.value!r}"
        if op.f == "read" and op.type == OK and not _is_whole(op.result):
            return f"a read of a counter must give a whole number, this is {op.result!r}"
        return ""


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
