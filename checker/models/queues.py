"""Queues and stacks: elements go in one by one and come out one by one."""

from __future__ import annotations

import enum
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from checker.history import FAIL, INFO, OK, Op, freeze
from checker.models.base import Model, ModelError, State, show

EMPTY = "empty"
"""The error of a taking that was refused since there was nothing to take."""


class Pile(Model):
    """What queues and stacks share: the state is the elements in the order in which they would come out.

    Taking answers with an element, or with nothing where it found none. A taking that failed with the error "empty" is an
    observation of just that; any other failure observed nothing. An unanswered taking takes whatever comes next.
    """

    puts: str
    takes: str

    def __init__(self, init: Any = None, name: str = "") -> None:
        self.name = name
        if init is not None and not isinstance(init, list | tuple):
            raise ModelError(f"the initial value of model {name} must be a list of elements, not {init!r}")
        self.init: tuple[Hashable, ...] = tuple(freeze(item) for item in init or ())

    def put(self, state: tuple[Hashable, ...], element: Hashable) -> tuple[Hashable, ...]:
        """The elements with one more."""
        raise NotImplementedError

    def step(self, state: State, op: Op) -> State | None:
        """A put goes to its end; a taking must give what comes next, or nothing where nothing is."""
        assert isinstance(state, tuple)
        if op.f == self.puts:
            return self.put(state, freeze(op.value))
        if op.type == INFO:
            return state[1:]
        if self.is_empty_answer(op):
            return None if state else state
        return state[1:] if state and state[0] == freeze(op.result) else None

    def readonly(self, op: Op) -> bool:
        """Takings that found nothing."""
        return self.is_empty_answer(op)

    def is_empty_answer(self, op: Op) -> bool:
        """Whether a taking says that nothing was there."""
        return op.f == self.takes and (op.type == FAIL or (op.type == OK and op.result is None))

    def observes(self, op: Op) -> bool:
        """A taking that was refused with the error "empty"."""
        return op.f == self.takes and (op.error == EMPTY or (isinstance(op.error, list) and op.error[:1] == [EMPTY]))

    def narrowed(self, operations: Sequence[Op]) -> Model:
        """The same with elements that nobody takes as one, and without what can no more be reached because of them."""
        takings = [op for op in operations if op.f == self.takes and op.type != FAIL]
        if any(op.type == INFO for op in takings):
            return self  # an unanswered taking may have taken any element
        reachable = _ReachableQueue if isinstance(self, Queue) else _ReachableStack
        return reachable(self, {freeze(op.result) for op in takings})

    def describe(self, state: State) -> str:
        """The elements, the next one first."""
        assert isinstance(state, tuple)
        return show(state)

    def refuses(self, op: Op) -> str:
        """A put of nothing: nothing is the answer of a taking that found nothing."""
        return f"{op.f} needs an element" if op.f == self.puts and op.value is None else ""


class Queue(Pile):
    """A queue: enqueue an element, dequeue the oldest one (answer nothing, or failure with "empty": there was none).

    `drain`, Jepsen's way to end a test, stands for one dequeue after the other until one finds nothing.
    """

    functions = frozenset({"enqueue", "dequeue"})
    echoes = frozenset({"enqueue"})
    aliases: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("enq", "push", "add", "offer"), "enqueue"),
        **dict.fromkeys(("deq", "pop", "remove", "poll"), "dequeue"),
    }
    puts, takes = "enqueue", "dequeue"

    def __init__(self, init: Any = None, name: str = "queue") -> None:
        super().__init__(init, name)

    def put(self, state: tuple[Hashable, ...], element: Hashable) -> tuple[Hashable, ...]:
        """At the end."""
        return (*state, element)

    def unfolded(self, op: Op, operations: Sequence[Op]) -> Sequence[Op] | None:
        """A drain: a dequeue of each element that it gave, and one that found nothing, else it would have gone on.

        An unanswered one may have taken all there ever were.
        """
        if op.f != "drain":
            return None
        if op.type == INFO:
            most = sum(1 for each in operations if each.f == self.puts and each.type != FAIL)
            return [msgspec.structs.replace(op, f=self.takes, value=None)] * (most + len(self.init))
        if not isinstance(op.result, list | tuple | None):
            return None  # a queue does not know the function "drain": refused as such
        found = [msgspec.structs.replace(op, f=self.takes, value=None, result=element) for element in op.result or ()]
        return [*found, msgspec.structs.replace(op, f=self.takes, value=None, result=None)] if op.type == OK else found


class Stack(Pile):
    """A stack: push an element, pop the one pushed last (answer nothing, or failure with "empty": there was none)."""

    functions = frozenset({"push", "pop"})
    echoes = frozenset({"push"})
    aliases: ClassVar[Mapping[str, str]] = {"add": "push", "remove": "pop"}
    puts, takes = "push", "pop"

    def __init__(self, init: Any = None, name: str = "stack") -> None:
        super().__init__(init, name)

    def put(self, state: tuple[Hashable, ...], element: Hashable) -> tuple[Hashable, ...]:
        """On top."""
        return (element, *state)


class _Mark(enum.Enum):
    """What stands for elements in narrowed states, and is none itself."""

    STUCK = "an element that nobody takes"


class _Reachable(Pile):
    """The states end at the first element that no taking answers with.

    Proof: nobody takes that element, so in every order of these operations it stays, and what lies behind it (in a queue) or below
    it (in a stack) stays as well; whichever it is makes no difference, but that something is there.
    """

    def __init__(self, model: Pile, taken: set[Hashable]) -> None:
        super().__init__(name=model.name)
        self._taken = taken
        self.init = self._cut(model.init)

    def step(self, state: State, op: Op) -> State | None:
        """As the model, with what can't be reached left out."""
        after = super().step(state, op)
        return None if after is None else self._cut(after)

    def narrowed(self, operations: Sequence[Op]) -> Model:
        """It is narrow already."""
        return self

    def _cut(self, state: State) -> tuple[Hashable, ...]:
        assert isinstance(state, tuple)
        for place, element in enumerate(state):
            if element not in self._taken:
                return (*state[:place], _Mark.STUCK)
        return state


class _ReachableQueue(_Reachable, Queue):
    """A queue up to the first element that nobody takes."""


class _ReachableStack(_Reachable, Stack):
    """A stack down to the first element that nobody takes."""
