"""Generators of unique identifiers."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from checker.history import OK, Op, freeze
from checker.models.base import Model, ModelError, State


class UniqueIds(Model):
    """A generator of identifiers: no two operations that succeeded got the same one (Jepsen's unique-ids).

    Identifiers that nobody received are not known, so unanswered and failed operations say nothing.
    """

    functions = frozenset({"generate"})

    def __init__(self, init: Any = None, name: str = "unique-ids") -> None:
        self.name = name
        if init is not None:
            raise ModelError(f"model {name} has no initial value, not {init!r} either")
        self.init: frozenset[Hashable] = frozenset()

    def step(self, state: State, op: Op) -> State | None:
        """An identifier that was given is not given again."""
        assert isinstance(state, frozenset)
        if op.type != OK:
            return state
        return None if freeze(op.result) in state else state | {freeze(op.result)}

    def readonly(self, op: Op) -> bool:
        """What was not answered."""
        return op.type != OK

    def describe(self, state: State) -> str:
        """How many were given."""
        assert isinstance(state, frozenset)
        return f"{len(state)} identifiers given"

    def refuses(self, op: Op) -> str:
        """An operation that succeeded without an identifier."""
        return (
            "an operation that succeeded needs an identifier as its answer"
            if op.type == OK and op.result is None
            else ""
        )
