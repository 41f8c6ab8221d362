"""Lists that grow: append one element, read the whole."""

from __future__ import annotations

from typing import Any

from checker.history import OK, Op, freeze
from checker.models.base import Model, ModelError, State, show


class AppendList(Model):
    """A list that grows: append one element, read the whole list (None is the empty list)."""

    functions = frozenset({"append", "read"})

    def __init__(self, init: Any = None, name: str = "append") -> None:
        self.name = name
        if init is not None and not isinstance(init, list | tuple):
            raise ModelError(f"the initial value of model {name} must be a list, not {init!r}")
        self.init = freeze(init or ())

    def step(self, state: State, op: Op) -> State | None:
        """An append adds at the end; a read must be the whole list."""
        assert isinstance(state, tuple)
        if op.f == "append":
            return (*state, freeze(op.value))
        return state if op.type != OK or state == freeze(op.result or ()) else None

    def readonly(self, op: Op) -> bool:
        """Reads."""
        return op.f == "read"

    def describe(self, state: State) -> str:
        """The list."""
        assert isinstance(state, tuple)
        return show(state)

    def refuses(self, op: Op) -> str:
        """A read that gave no list."""
        if op.f == "read" and op.type == OK and not isinstance(op.result, list | tuple | None):
            return f"a read of a list must give a list, this is {op.result!r}"
        return ""
