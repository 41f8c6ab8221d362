"""Sets: element by element with answers, or grown and read whole."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from checker.history import OK, Op, freeze
from checker.models.base import NOTHING, Effect, Model, ModelError, State, show

_LISTS = (list, tuple, set, frozenset)


class ElementSet(Model):
    """A set, each element by itself: add, remove (answer: whether it changed anything, or none) and contains.

    Each element is an object of its own (`partition`). An operation that failed did nothing and observed nothing: "it was there already"
    is the answer false of an operation that succeeded. States hold the elements of the beginning, with the one at hand or without it.
    """

    functions = frozenset({"add", "remove", "contains"})

    def __init__(self, init: Any = None, name: str = "set") -> None:
        self.name = name
        self.init: frozenset[Hashable] = _beginning(init, name)

    def partition(self, op: Op) -> Hashable:
        """The element, with the key of the set if there are several: of one length each, so that no two are mixed up."""
        return (freeze(op.value),) if op.key is None else (op.key, freeze(op.value))

    def step(self, state: State, op: Op) -> State | None:
        """An answer of true means that the set changed, one of false that it did not."""
        assert isinstance(state, frozenset)
        element, answer = freeze(op.value), self._answer(op)
        if op.f == "contains":
            return state if answer is None or answer == (element in state) else None
        after = state | {element} if op.f == "add" else state - {element}
        return after if answer is None or answer == (after != state) else None

    def readonly(self, op: Op) -> bool:
        """Contains, and updates that changed nothing."""
        return op.f == "contains" or self._answer(op) is False

    def blind(self, op: Op) -> bool:
        """Updates without an answer, of the element that the object is."""
        return op.f != "contains" and self._answer(op) is None

    def effect(self, op: Op) -> Effect | None:
        """From absent to present or back, as the states of this element's object are two."""
        answer, element = self._answer(op), freeze(op.value)
        present, absent = self.init | {element}, self.init - {element}
        if op.f == "contains":
            return None if answer is None else Effect(present if answer else absent, NOTHING)
        before, after = (absent, present) if op.f == "add" else (present, absent)
        if answer is None:
            return Effect(NOTHING, after)
        return Effect(before, after) if answer else Effect(after, NOTHING)

    def describe(self, state: State) -> str:
        """The elements."""
        return _shown(state)

    def refuses(self, op: Op) -> str:
        """Answers that are neither true nor false; an update may also give its element back, or nothing."""
        if op.type != OK or isinstance(op.result, bool):
            if isinstance(op.value, bool) and op.type == OK and op.f != "contains":
                return "a set of booleans can't be checked: an answer of true may be the element"
            return ""
        if op.f == "contains":
            return f"the answer of contains must be true or false, this is {op.result!r}"
        if op.result is not None and freeze(op.result) != freeze(op.value):
            return f"the answer of {op.f} must be true, false, the element or nothing, this is {op.result!r}"
        return ""

    @staticmethod
    def _answer(op: Op) -> bool | None:
        return op.result if op.type == OK and isinstance(op.result, bool) else None


class GrowOnlySet(Model):
    """A set that only grows: add one element, read the whole (Jepsen's set; reads may come at any time).

    A read that holds an element twice is impossible. A failed add did nothing.
    """

    functions = frozenset({"add", "read"})

    def __init__(self, init: Any = None, name: str = "grow-only-set") -> None:
        self.name = name
        self.init: frozenset[Hashable] = _beginning(init, name)

    def step(self, state: State, op: Op) -> State | None:
        """An add puts the element in; a read must be the whole set, each element once."""
        assert isinstance(state, frozenset)
        if op.f == "add":
            return state | {freeze(op.value)}
        if op.type != OK:
            return state
        got = members(op)
        return state if len(got) == len(state) and state == set(got) else None

    def readonly(self, op: Op) -> bool:
        """Reads."""
        return op.f == "read"

    def narrowed(self, operations: Sequence[Op]) -> Model:
        """The same with all sets that no read can come to see as one."""
        return _SeenSets(self, operations)

    def describe(self, state: State) -> str:
        """The elements."""
        return _shown(state)

    def refuses(self, op: Op) -> str:
        """A read that gave no list or set."""
        if op.f == "read" and op.type == OK and not isinstance(op.result, (*_LISTS, type(None))):
            return f"a read of a set must give a list or a set, this is {op.result!r}"
        return ""


class FullSet(GrowOnlySet):
    """A set that only grows and is read all along (Jepsen's set-full): what was added or read must be in every later read.

    This is Jepsen's check with `:linearizable? true`, and exact: reads must also agree with each other. An explanation counts the
    elements that were lost, and those that were stale for a while, as Jepsen does.
    """

    def __init__(self, init: Any = None, name: str = "set-full") -> None:
        super().__init__(init, name)


_UNSEEN = ("an element that no read holds",)


class _SeenSets(GrowOnlySet):
    """The sets that hold only what some read holds; all others are one state.

    Proof: nothing is ever taken out, so once an element is in that no read holds, every read is illegal whatever else is in.
    """

    def __init__(self, model: GrowOnlySet, operations: Sequence[Op]) -> None:
        super().__init__(model.init, model.name)
        self._seen = {item for op in operations if op.f == "read" and op.type == OK for item in members(op)}

    def step(self, state: State, op: Op) -> State | None:
        """As the model, with unseen sets as one."""
        if state == _UNSEEN:
            return None if op.f == "read" and op.type == OK else _UNSEEN
        if op.f == "add" and freeze(op.value) not in self._seen and freeze(op.value) not in self.init:
            return _UNSEEN
        return super().step(state, op)


def members(op: Op) -> tuple[Hashable, ...]:
    """The elements that a read gave, frozen."""
    return tuple(freeze(item) for item in op.result or ())


def _beginning(init: Any, name: str) -> frozenset[Hashable]:
    if init is not None and not isinstance(init, _LISTS):
        raise ModelError(f"the initial value of model {name} must be a list of elements, not {init!r}")
    return frozenset(freeze(item) for item in init or ())


def _shown(state: State) -> str:
    assert isinstance(state, frozenset)
    return "{" + " ".join(sorted(show(item) for item in state)) + "}"
