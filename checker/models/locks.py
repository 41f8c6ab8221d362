"""Locks."""

from __future__ import annotations

from typing import Any

from checker.history import Op
from checker.models.base import Effect, Model, ModelError, State


class Mutex(Model):
    """A lock that does not know its holder: acquire takes it if it is free, release gives it back if it is held.

    Whose it is does not matter, as in Knossos: a service that lets two hold it answers two acquires with no release between.
    """

    functions = frozenset({"acquire", "release"})

    def __init__(self, init: Any = None, name: str = "mutex") -> None:
        self.name = name
        if init not in (None, "free", "held"):
            raise ModelError(f'the initial value of model {name} must be "free" or "held", not {init!r}')
        self.init = init or "free"

    def step(self, state: State, op: Op) -> State | None:
        """What the operation needs must be so, and then it is the other way round."""
        needs, leaves = self.effect(op)
        return leaves if state == needs else None

    def effect(self, op: Op) -> Effect:
        """From free to held, or back."""
        return Effect("free", "held") if op.f == "acquire" else Effect("held", "free")

    def describe(self, state: State) -> str:
        """Free or held."""
        return str(state)
