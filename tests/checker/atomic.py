"""Atomic objects of every model under random clients: histories of any size that are valid, since a machine made them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

import msgspec

from checker.history import FAIL, INFO, OK, History, Op, freeze
from checker.models.base import Model, State
from checker.models.lists import AppendList
from checker.models.locks import Mutex
from checker.models.registers import Register
from checker.models.strings import KeyValueStrings

Asked = tuple[str, Any]
"""What a client asks: function and argument."""


class Machine(NamedTuple):
    """One machine of a model: what its clients ask, given a value, and what it answers in a state.

    `answer` gives the result, or None where it refuses; whether the answer fits is the model's own `step` to say. `rename`
    says that values may be renamed one to one; `keys`, that the model judges each key by itself.
    """

    model: Model
    ask: Callable[[Random, int], Asked]
    answer: Callable[[State, str, Any], Any]
    rename: bool = True
    keys: bool = True


def _ask_register(draw: Random, value: int) -> Asked:
    kind = draw.random()
    if kind < 0.5:
        return "read", None
    return ("write", value) if kind < 0.75 else ("cas", [draw.choice([None, *range(4)]), value])


def _ask_list(draw: Random, value: int) -> Asked:
    return ("append", value) if draw.random() < 0.5 else ("read", None)


def _ask_string(draw: Random, value: int) -> Asked:
    kind = draw.random()
    return ("get", None) if kind < 0.5 else ("append" if kind < 0.85 else "put", f"<{value}>")


def _ask_lock(draw: Random, value: int) -> Asked:
    return draw.choice(["acquire", "release"]), None


def _value(state: State, f: str, value: Any) -> Any:
    """The state itself is what a read answers."""
    reads = {"read", "get"}
    if f not in reads:
        return None
    return list(state) if isinstance(state, tuple) else state


def _register_value(state: State, f: str, value: Any) -> Any:
    assert isinstance(state, tuple)
    return state[0] if f == "read" else None


MACHINES: dict[str, Machine] = {
    "register": Machine(Register(), _ask_register, _register_value),
    "append": Machine(AppendList(), _ask_list, _value),
    "kv": Machine(KeyValueStrings(), _ask_string, _value, rename=False),
    "mutex": Machine(Mutex(), _ask_lock, _value),
}
"""The machines by the names of their models."""


class Size(NamedTuple):
    """How large a history is, and how hard: `values` is how many there are, 0: each is used once; `ticks` is the clock's grain."""

    operations: int = 40
    clients: int = 4
    keys: int = 1
    values: int = 3
    unanswered: float = 0.15
    ticks: int = 4


def history(draw: Random, machine: Machine, size: Size, start: State = None, begin: int = 0) -> list[Op]:
    """Operations of always busy clients on one machine a key, in whole ticks of a coarse clock, so that many stamps are equal.

    Half of those without an answer take effect. `start` is the state that all keys begin in (None: the model's own), `begin`
    the tick at which all clients begin.
    """
    free = [begin] * size.clients
    asked = []
    for number in range(size.operations):
        client = min(range(size.clients), key=free.__getitem__)
        invoke = free[client] + draw.randrange(2)
        effect = invoke + draw.randrange(size.ticks)
        end = effect + draw.randrange(size.ticks)
        free[client] = end + 1
        value = draw.randrange(size.values) if size.values else number
        f, argument = machine.ask(draw, value)
        key = draw.randrange(size.keys) if size.keys > 1 else None
        asked.append(
            (
                effect,
                draw.random(),
                Op(
                    process=number,
                    f=f,
                    key=key,
                    value=argument,
                    type=OK,
                    invoked=0,
                    invoke_time=invoke,
                    return_time=end,
                ),
            )
        )
    states: dict[Any, State] = {}
    first = machine.model.init if start is None else start
    done = []
    for _, _, op in sorted(asked, key=lambda each: each[:2]):
        lost = draw.random() < size.unanswered
        state, answered = _carry_out(machine, states.get(op.key, first), op)
        if not lost or draw.random() < 0.5:
            states[op.key] = state
        done.append(msgspec.structs.replace(answered, type=INFO, result=None) if lost else answered)
    return ordered(done)


def _carry_out(machine: Machine, state: State, op: Op) -> tuple[State, Op]:
    """The state after the operation and the operation with its answer; a refusal changes nothing."""
    answered = msgspec.structs.replace(op, result=machine.answer(state, op.f, op.value))
    after = machine.model.step(state, answered)
    if after is None:
        return state, msgspec.structs.replace(op, type=FAIL)
    return after, answered


def ordered(operations: list[Op]) -> list[Op]:
    """The operations with the places that their times give them: closed intervals."""
    return list(History.from_intervals(operations))


def spoilt(draw: Random, operations: list[Op], times: int) -> list[Op]:
    """The operations with some answers taken from others of the same function: often invalid, nobody knows."""
    changed = list(operations)
    for _ in range(times):
        answered = [place for place, op in enumerate(changed) if op.type == OK and op.result is not None]
        if len(answered) > 1:
            place, other = draw.sample(answered, 2)
            if changed[place].f == changed[other].f and changed[place].key == changed[other].key:
                changed[place] = msgspec.structs.replace(changed[place], result=changed[other].result)
    return changed


def renamed(value: Any, names: Callable[[int], Any]) -> Any:
    """The value with every whole number in it renamed; booleans, strings and nil stay as they are."""
    if isinstance(value, int) and not isinstance(value, bool):
        return names(value)
    if isinstance(value, list | tuple):
        return [renamed(item, names) for item in value]
    if isinstance(value, dict):
        return {key: renamed(item, names) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return {renamed(item, names) for item in value}
    return value


def same(one: Op, other: Op) -> bool:
    """Whether the two ask and answer the same."""
    return (one.f, freeze(one.value), freeze(one.result)) == (other.f, freeze(other.value), freeze(other.result))
