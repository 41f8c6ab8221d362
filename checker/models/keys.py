"""Keys of a key-value store with values of any kind, as the node of Splitbrain has them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar

from checker.history import FAIL, OK, Op, freeze
from checker.models.base import NOTHING, Effect, Model, State
from checker.models.registers import Register
from checker.values import is_list


class KeyValue(Register):
    """One key of a key-value store: get, put, delete, cas and append, which adds an element to a list (absent: an empty one).

    A cas that was refused with error ["cas-mismatch", actual] is an observation of `actual`; an append to what is no list fails.
    """

    functions = frozenset({"get", "put", "delete", "cas", "append"})
    echoes = frozenset({"put"})
    aliases: ClassVar[Mapping[str, str]] = {"read": "get", "write": "put"}

    def __init__(self, init: Any = None, name: str = "key-value") -> None:
        super().__init__(init, name)

    def step(self, state: State, op: Op) -> State | None:
        """As a register; an append makes the list longer."""
        if op.f != "append":
            return super().step(state, op)
        assert isinstance(state, tuple)
        present = () if state[0] is None else state[0]
        if not is_list(present):
            return None
        return ((*present, freeze(op.value)),)

    def readonly(self, op: Op) -> bool:
        """Gets, refusals, and a cas from a value to itself."""
        return op.f == "get" or super().readonly(op)

    def blind(self, op: Op) -> bool:
        """Puts and deletes."""
        return op.f in {"put", "delete"}

    def effect(self, op: Op) -> Effect | None:
        """As a register has it; an append has none."""
        if op.f == "append":
            return None
        if op.f == "get":
            return Effect((freeze(op.result),), NOTHING) if op.type == OK else None
        return Effect(NOTHING, (freeze(op.value),)) if op.f == "put" else super().effect(op)

    def narrowed(self, operations: Sequence[Op]) -> Model:
        """The same with all lists that nobody can come to see as one: k concurrent appends have k! lists."""
        if not any(op.f == "append" for op in operations):
            return self
        return _SeenValues(self, operations)


_UNSEEN = ("a list", "that nobody sees")  # two, so that it is no state of the model, which hold one value


class _SeenValues(KeyValue):
    """The lists that begin what some operation asks for; all others are one state, as they behave alike.

    Proof: as for strings (`strings._SeenStrings`); what is no list is kept as it is, since it refuses appends.
    """

    def __init__(self, model: KeyValue, operations: Sequence[Op]) -> None:
        super().__init__(name=model.name)
        self._seen: set[Hashable] = {()}
        asked = [effect.requires for op in operations if (effect := model.effect(op)) is not None]
        for value in (state[0] for state in asked if state is not NOTHING):
            length = len(value) if is_list(value) else 0
            while length and value[:length] not in self._seen:  # what a list that is in begins with is in as well
                self._seen.add(value[:length])
                length -= 1
        self.init = self._cut(model.init)

    def step(self, state: State, op: Op) -> State | None:
        """As the model, with unseen lists as one."""
        if state == _UNSEEN:
            if op.f == "append" or (op.type not in {OK, FAIL} and op.f == "get"):
                return _UNSEEN
            if not self.blind(op):
                return None
        after = super().step(state, op)
        return None if after is None else self._cut(after)

    def effect(self, op: Op) -> Effect | None:
        """Without lists that nobody sees."""
        effect = super().effect(op)
        if effect is None or effect.produces is NOTHING:
            return effect
        return Effect(effect.requires, self._cut(effect.produces))

    def _cut(self, state: State) -> State:
        assert isinstance(state, tuple)
        return _UNSEEN if is_list(state[0]) and state[0] not in self._seen else state
