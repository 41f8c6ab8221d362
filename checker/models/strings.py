"""Strings that grow: put, append, get, as in Porcupine's key-value logs."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from checker.history import OK, Op
from checker.models.base import Model, ModelError, State, show


class KeyValueStrings(Model):
    """One key of a map of strings: get, put and append (Porcupine's kv logs); an absent key is the empty string."""

    functions = frozenset({"get", "put", "append"})

    def __init__(self, init: Any = None, name: str = "kv") -> None:
        self.name = name
        if init is not None and not isinstance(init, str):
            raise ModelError(f"the initial value of model {name} must be a string, not {init!r}")
        self.init = init or ""

    def step(self, state: State, op: Op) -> State | None:
        """A put replaces, an append adds at the end, a get must be the whole string."""
        assert isinstance(state, str)
        if op.f == "put":
            return op.value or ""
        if op.f == "append":
            return state + (op.value or "")
        return state if op.type != OK or state == (op.result or "") else None

    def readonly(self, op: Op) -> bool:
        """Gets."""
        return op.f == "get"

    def blind(self, op: Op) -> bool:
        """Puts."""
        return op.f == "put"

    def narrowed(self, operations: Sequence[Op]) -> Model:
        """The same with all strings that no get can come to see as one: k concurrent appends have k! strings."""
        return _SeenStrings(self, sorted({op.result or "" for op in operations if op.f == "get" and op.type == OK}))

    def describe(self, state: State) -> str:
        """The string."""
        return show(state)

    def refuses(self, op: Op) -> str:
        """Values and answers that are no strings: 0 and "0" differ, and nothing is converted."""
        for what, thing in (("value", op.value), ("answer", op.result)):
            if not isinstance(thing, str | None):
                return f"the {what} of a {op.f} must be a string, this is {thing!r}"
        return ""


_UNSEEN = ("no get sees it before the next put",)


class _SeenStrings(KeyValueStrings):
    """The strings that are prefixes of the answer of a get; all others are one state, since they behave alike.

    Proof: a string that is no prefix of an answer of a get equals none, and appends only make it longer, so until the next
    put every get is illegal whichever string it is; a put leaves the same string behind whatever there was.
    """

    def __init__(self, model: KeyValueStrings, answers: Sequence[str]) -> None:
        super().__init__(name=model.name)
        self._answers = answers
        self.init = self._seen(model.init)

    def step(self, state: State, op: Op) -> State | None:
        """As the model, with unseen strings as one."""
        if state == _UNSEEN and op.f != "put":
            return _UNSEEN if op.f == "append" or op.type != OK else None
        after = super().step("" if state == _UNSEEN else state, op)
        return None if after is None else self._seen(after)

    def _seen(self, state: State) -> State:
        """The string, if it is a prefix of an answer: then it is one of the next answer in their order."""
        assert isinstance(state, str)
        place = bisect_left(self._answers, state)
        return state if place < len(self._answers) and self._answers[place].startswith(state) else _UNSEEN
