"""Locks: who holds one may not matter, or matter, or matter several times over, or be told by a token that grows."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, ClassVar

from checker.history import OK, Op, freeze
from checker.models.base import Effect, Model, ModelError, State, show

_ALIASES = {"lock": "acquire", "unlock": "release"}


class Mutex(Model):
    """A lock that does not know its holder: acquire takes it if it is free, release gives it back if it is held.

    Whose it is does not matter, as in Knossos: a service that lets two hold it answers two acquires with no release between.
    """

    functions = frozenset({"acquire", "release"})
    aliases: ClassVar[Mapping[str, str]] = _ALIASES

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


def holder(op: Op) -> Hashable:
    """Who acquires or releases: the operation's value if it has one, else its process."""
    return op.process if op.value is None else freeze(op.value)


class OwnerLock(Model):
    """A lock that only its holder can release: the holder is the operation's value if it has one, else its process.

    A refused acquire or release is a failure: nothing is concluded from it.
    """

    functions = frozenset({"acquire", "release"})
    aliases: ClassVar[Mapping[str, str]] = _ALIASES

    def __init__(self, init: Any = None, name: str = "owner-lock") -> None:
        self.name = name
        self.init = () if init is None else self._held(freeze(init))

    def step(self, state: State, op: Op) -> State | None:
        """Acquire needs a free lock, release needs it in the hands of who releases."""
        needs, leaves = ((), self._held(holder(op))) if op.f == "acquire" else (self._held(holder(op)), ())
        return leaves if state == needs else None

    def effect(self, op: Op) -> Effect | None:
        """From free to its holder, or back."""
        return Effect((), self._held(holder(op))) if op.f == "acquire" else Effect(self._held(holder(op)), ())

    def describe(self, state: State) -> str:
        """Free, or by whom it is held."""
        assert isinstance(state, tuple)
        return f"held by {show(state[0])}" if state else "free"

    @staticmethod
    def _held(by: Hashable) -> tuple[Hashable, ...]:
        return (by,)


class ReentrantLock(OwnerLock):
    """A lock that its holder can acquire again, and must release as often."""

    def __init__(self, init: Any = None, name: str = "reentrant-lock") -> None:
        super().__init__(init, name)

    def step(self, state: State, op: Op) -> State | None:
        """One deeper or one less deep, in the hands of the same holder."""
        assert isinstance(state, tuple)
        by, depth = state or (holder(op), 0)
        depth += 1 if op.f == "acquire" else -1
        if by != holder(op) or depth < 0:
            return None
        return (by, depth) if depth else ()

    def effect(self, op: Op) -> Effect | None:
        """None: what it leaves depends on how often it was acquired."""
        return None

    def identity(self, op: Op) -> Hashable:
        """The holder."""
        return holder(op)

    def describe(self, state: State) -> str:
        """Free, or by whom it is held how often."""
        assert isinstance(state, tuple)
        return f"held by {show(state[0])}, {state[1]} deep" if state else "free"

    @staticmethod
    def _held(by: Hashable) -> tuple[Hashable, ...]:
        return (by, 1)


class FencingLock(Model):
    """A lock whose acquire answers with a token, a whole number greater than all before; only the holder can release it.

    The holder is the process. The token of an unanswered acquire is unknown: it is at least one more than the last, which
    is the least that it can have been, and whatever is possible after a greater one is possible after that.
    """

    functions = frozenset({"acquire", "release"})
    aliases: ClassVar[Mapping[str, str]] = _ALIASES

    def __init__(self, init: Any = None, name: str = "fencing-lock") -> None:
        self.name = name
        if init is not None and not _is_whole(init):
            raise ModelError(f"the initial value of model {name} must be the last token, a whole number, not {init!r}")
        self.init = ((), init)

    def step(self, state: State, op: Op) -> State | None:
        """Acquire needs a free lock and gives a greater token, release needs it in the hands of who releases."""
        assert isinstance(state, tuple)
        held, last = state
        if op.f == "release":
            return ((), last) if held == (op.process,) else None
        if held or (op.type == OK and last is not None and op.result <= last):
            return None
        token = op.result if op.type == OK else None if last is None else last + 1
        return ((op.process,), token)

    def identity(self, op: Op) -> Hashable:
        """The holder."""
        return op.process

    def describe(self, state: State) -> str:
        """Free or held, and the last token."""
        assert isinstance(state, tuple)
        held, last = state
        after = "" if last is None else f", last token {last}"
        return (f"held by {show(held[0])}" if held else "free") + after

    def refuses(self, op: Op) -> str:
        """An acquire that succeeded without a token."""
        if op.f == "acquire" and op.type == OK and not _is_whole(op.result):
            return f"an acquire must answer with its token, a whole number, this is {op.result!r}"
        return ""


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
