"""Strings that grow: put, append, get, delete and compare-and-set, as in Porcupine's key-value logs and beyond."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from checker.history import OK, Op
from checker.models.base import Model, ModelError, State, show


class KeyValueStrings(Model):
    """One key of a map of strings: get, put, append, delete, cas (Porcupine's kv logs); an absent key is the empty string.

    A refused cas is a failure: nothing is concluded from it.
    """

    functions = frozenset({"get", "put", "append", "delete", "cas"})
    echoes = frozenset({"put"})

    def __init__(self, init: Any = None, name: str = "kv") -> None:
        self.name = name
        if init is not None and not isinstance(init, str):
            raise ModelError(f"the initial value of model {name} must be a string, not {init!r}")
        self.init = init or ""

    def step(self, state: State, op: Op) -> State | None:
        """A put replaces, an append adds at the end, a get and what a cas expects must be the whole string."""
        assert isinstance(state, str)
        if op.f == "delete":
            return ""
        if op.f == "cas":
            return str(op.value[1] or "") if state == (op.value[0] or "") else None
        if op.f == "put":
            return op.value or ""
        if op.f == "append":
            return state + (op.value or "")
        return state if op.type != OK or state == (op.result or "") else None

    def readonly(self, op: Op) -> bool:
        """Gets."""
        return op.f == "get"

    def blind(self, op: Op) -> bool:
        """Puts and deletes."""
        return op.f in {"put", "delete"}

    def narrowed(self, operations: Sequence[Op]) -> Model:
        """The same with all strings that no get and no cas can come to see as one: k concurrent appends have k! strings."""
        seen = {op.result or "" for op in operations if op.f == "get" and op.type == OK}
        seen |= {op.value[0] or "" for op in operations if op.f == "cas"}
        return _SeenStrings(self, sorted(seen))

    def describe(self, state: State) -> str:
        """The string."""
        return show(state)

    def refuses(self, op: Op) -> str:
        """Values and answers that are no strings: 0 and "0" differ, and nothing is converted."""
        if op.f == "cas":
            pair = op.value if isinstance(op.value, list | tuple) else ()
            if len(pair) != 2 or not all(isinstance(each, str | None) for each in pair):
                return f"the value of a cas must be [expected, new], two strings, this is {op.value!r}"
            return ""
        for what, thing in (("value", op.value), ("answer", op.result)):
            if not isinstance(thing, str | None):
                return f"the {what} of a {op.f} must be a string, this is {thing!r}"
        return ""


_UNSEEN = ("no get sees it before the next put",)


class _SeenStrings(KeyValueStrings):
    """The strings that are prefixes of what a get answered or a cas expected; all others are one state, as they behave alike.

    Proof: a string that is no prefix of any of these equals none, and appends only make it longer, so until the next put or
    delete every get and cas is illegal whichever string it is; a put leaves the same string behind whatever there was.
    """

    def __init__(self, model: KeyValueStrings, answers: Sequence[str]) -> None:
        super().__init__(name=model.name)
        self._answers = answers
        self.init = self._seen(model.init)

    def step(self, state: State, op: Op) -> State | None:
        """As the model, with unseen strings as one."""
        if state == _UNSEEN and not self.blind(op):
            return _UNSEEN if op.f == "append" or (op.f == "get" and op.type != OK) else None
        after = super().step("" if state == _UNSEEN else state, op)
        return None if after is None else self._seen(after)

    def _seen(self, state: State) -> State:
        """The string, if it is a prefix of an answer: then it is one of the next answer in their order."""
        assert isinstance(state, str)
        place = bisect_left(self._answers, state)
        return state if place < len(self._answers) and self._answers[place].startswith(state) else _UNSEEN
