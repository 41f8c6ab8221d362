"""The key-value state machine and its client sessions: apply one entry. No Raft lives here.

Deterministic: the same entries in the same order give the same state and the same answers at every replica. So no
clock, no randomness and no order of a set may ever be asked here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import assert_never

from raftnode.messages import Answer, Append, Cas, Delete, Entry, Noop, Put, Register, Value


@dataclass(slots=True)
class Session:
    """What is kept of a client: the sequence of its last request, 0 before the first, and the answer to it."""

    sequence: int = 0
    answer: Answer | None = None


@dataclass(slots=True)
class State:
    """The replicated state. Values are never changed in place: entries and answers share them."""

    data: dict[str, Value] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)  # in the order of their last use, oldest first


def same(one: Value, other: Value) -> bool:
    """Equality of JSON values by type and content: 1 is neither true nor 1.0; lists and objects go part by part."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


def recall(session: Session, sequence: int) -> Answer | None:
    """What is known of a request: its first answer if it was the last one, a refusal if it is older, None if it is new.

    A client has one request open at a time, so one answer is enough (thesis 6.3).
    """
    if sequence > session.sequence:
        return None
    if sequence == session.sequence and session.answer is not None:
        return session.answer
    return Answer("sequence-passed")


def change(data: dict[str, Value], command: Put | Delete | Cas | Append, index: int) -> Answer:
    """Applies a command to the data and says what came of it. For cas an absent key holds null."""
    match command:
        case Put(key, value):
            data[key] = value
            return Answer("ok", None, index)
        case Append(key, element):
            present = data.get(key, [])
            if not isinstance(present, list):
                return Answer("wrong-type", None, index)
            data[key] = [*present, element]
            return Answer("ok", len(present) + 1, index)
        case Cas(key, expect, value):
            actual = data.get(key)
            if not same(actual, expect):
                return Answer("cas-mismatch", actual, index)
            data[key] = value
            return Answer("ok", None, index)
        case Delete(key):
            existed = key in data
            data.pop(key, None)
            return Answer("ok", existed, index)
        case _:
            assert_never(command)


@dataclass(frozen=True, slots=True)
class Machine:
    """The functions of the state machine; a planted bug replaces one of them."""

    change: Callable[[dict[str, Value], Put | Delete | Cas | Append, int], Answer] = change
    recall: Callable[[Session, int], Answer | None] = recall


KEY_VALUE = Machine()


def apply(machine: Machine, state: State, entry: Entry, index: int, most_sessions: int) -> Answer:
    """Applies the entry at `index`. A repeat of a session's request gets the first answer and changes nothing."""
    command = entry.command
    if isinstance(command, Noop):
        return Answer("ok", None, index)
    if isinstance(command, Register):
        return _register(state, index, most_sessions)
    identity = entry.identity
    if identity is None:
        return machine.change(state.data, command, index)
    session = state.sessions.pop(identity.session, None)
    if session is None:
        return Answer("unknown-session", None, index)
    state.sessions[identity.session] = session  # now the one used last
    known = machine.recall(session, identity.sequence)
    if known is not None:
        return known
    answer = machine.change(state.data, command, index)
    session.sequence, session.answer = identity.sequence, answer
    return answer


def _register(state: State, index: int, most_sessions: int) -> Answer:
    """Opens a session; the one used longest ago goes when there are too many. Every replica does the same (thesis 6.3)."""
    name = f"s{index}"
    state.sessions[name] = Session()
    while len(state.sessions) > most_sessions:
        del state.sessions[next(iter(state.sessions))]
    return Answer("ok", name, index)
