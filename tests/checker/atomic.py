"""Atomic objects of every model under random clients: histories of any size that are valid, since a machine made them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from random import Random
from typing import Any, NamedTuple

import msgspec

from checker.history import FAIL, INFO, OK, History, Op
from checker.models.bank import Bank
from checker.models.base import Model, State
from checker.models.catalog import make_model
from checker.models.transactions import Transactions

Asked = tuple[str, Any]
"""What a client asks: function and argument."""


class Machine(NamedTuple):
    """One machine of a model: what its clients ask, given a value, and what it answers in a state.

    Whether the answer fits is the model's own `step` to say: where it does not, the machine refuses and changes nothing.
    `judge` is the model that the checker is asked with, where that is another one. `rename` says that values may be renamed
    one to one; `keys`, that each key is an object of its own. `swap` changes answers, where they can't just be exchanged.
    """

    model: Model
    ask: Callable[[Random, int], Asked]
    answer: Callable[[Any, str, Any], Any]
    judge: Model
    rename: bool = True
    keys: bool = True
    swap: Callable[[Random, Op, Op], Op | None] | None = None


def one_of(*weighted: tuple[float, str, Callable[[Random, int], Any] | None]) -> Callable[[Random, int], Asked]:
    """Asks one of these functions, with its argument made of the draw and a value."""

    def ask(draw: Random, value: int) -> Asked:
        number = draw.random()
        for weight, f, argument in weighted:
            number -= weight
            if number < 0:
                return f, argument(draw, value) if argument else None
        return weighted[-1][1], weighted[-1][2](draw, value) if weighted[-1][2] else None

    return ask


def _value(draw: Random, value: int) -> int:
    return value


def _cas(draw: Random, value: int) -> list[Any]:
    return [draw.choice([None, *range(4)]), value]


def thawed(frozen: Any) -> Any:
    """A frozen list as it stands in JSON."""
    return [thawed(item) for item in frozen] if isinstance(frozen, tuple) else frozen


def _of_a_value(state: Any, f: str, value: Any) -> Any:
    return thawed(state[0]) if f in {"read", "get"} else None


def _of_elements(state: Any, f: str, value: Any) -> Any:
    return list(state) if f == "read" else None


def _of_a_string(state: Any, f: str, value: Any) -> Any:
    return state if f == "get" else None


def _of_membership(state: Any, f: str, value: Any) -> bool:
    return (value in state) != (f == "add")


def _next(state: Any, f: str, value: Any) -> Any:
    return state[0] if f in {"dequeue", "pop"} and state else None


def _token(state: Any, f: str, value: Any) -> Any:
    return (state[1] or 0) + 1 if f == "acquire" else None


def _transfer(draw: Random, value: int) -> dict[str, Any]:
    source, target = draw.sample(["a", "b", "c"], 2)
    return {"from": source, "to": target, "amount": draw.randint(1, 5)}


def _steps(*functions: str, unique: bool) -> Callable[[Random, int], list[list[Any]]]:
    """One to three steps on three keys; unique: no value is written twice to one key."""

    def steps(draw: Random, value: int) -> list[list[Any]]:
        found = []
        for place in range(draw.randint(1, 3)):
            f, key = draw.choice(functions), draw.randrange(3)
            fresh = draw.randrange(1 << 40) if unique else value + place
            found.append([f, key, None if f == "r" else fresh])
        return found

    return steps


def _of_steps(state: Any, f: str, value: list[list[Any]]) -> list[list[Any]]:
    values = dict(state)
    answered = []
    for function, key, argument in value:
        if function == "append":
            values[key] = (*values.get(key, ()), argument)
        elif function == "w":
            values[key] = argument
        answered.append([function, key, thawed(values.get(key)) if function == "r" else argument])
    return answered


def _another_read(draw: Random, op: Op, other: Op) -> Op | None:
    """One read of a transaction with what another one read of the same key."""
    pairs = [
        (place, theirs[2])
        for place, mine in enumerate(op.result)
        for theirs in other.result
        if mine[0] == theirs[0] == "r" and mine[1] == theirs[1]
    ]
    if not pairs:
        return None
    place, seen = draw.choice(pairs)
    steps = [[*step[:2], seen] if at == place else step for at, step in enumerate(op.result)]
    return msgspec.structs.replace(op, result=steps)


def _machine(name: str, ask: Callable[[Random, int], Asked], answer: Any = None, **more: Any) -> Machine:
    model = make_model(name)
    return Machine(model, ask, answer or (lambda state, f, value: None), model, **more)


_STRING = one_of(
    (0.5, "get", None), (0.35, "append", lambda _, value: f"<{value}>"), (0.15, "put", lambda _, value: f"<{value}>")
)
_LOCK = one_of((0.5, "acquire", None), (0.5, "release", None))
_GROWING = one_of((0.5, "add", _value), (0.5, "read", None))
_CELL = one_of((0.5, "read", None), (0.25, "write", _value), (0.25, "cas", _cas))
_KEY = one_of(
    (0.4, "get", None), (0.2, "put", _value), (0.1, "delete", None), (0.1, "cas", _cas), (0.2, "append", _value)
)
_TWO = {"rename": False, "keys": False}

MACHINES: dict[str, Machine] = {
    "register": _machine("register", _CELL, _of_a_value),
    "append": _machine("append", one_of((0.5, "append", _value), (0.5, "read", None)), _of_elements),
    "kv": _machine("kv", _STRING, _of_a_string, rename=False),
    "key-value": _machine("key-value", _KEY, _of_a_value),
    "set": _machine(
        "set", one_of((0.3, "add", _value), (0.3, "remove", _value), (0.4, "contains", _value)), _of_membership
    ),
    "grow-only-set": _machine("grow-only-set", _GROWING, _of_elements),
    "set-full": _machine("set-full", _GROWING, _of_elements),
    "counter": _machine(
        "counter",
        one_of((0.6, "add", lambda draw, _: draw.choice([1, 1, 2, -1])), (0.4, "read", None)),
        lambda state, f, _: state if f == "read" else None,
        rename=False,
    ),
    "queue": _machine("queue", one_of((0.55, "enqueue", _value), (0.45, "dequeue", None)), _next),
    "stack": _machine("stack", one_of((0.55, "push", _value), (0.45, "pop", None)), _next),
    "mutex": _machine("mutex", _LOCK),
    "owner-lock": _machine("owner-lock", _LOCK),
    "reentrant-lock": _machine("reentrant-lock", _LOCK),
    "fencing-lock": _machine("fencing-lock", _LOCK, _token, rename=False),
    "unique-ids": _machine("unique-ids", one_of((1.0, "generate", None)), lambda state, f, value: len(state)),
    "bank": Machine(
        Bank({"a": 6, "b": 6, "c": 0}),
        one_of((0.6, "transfer", _transfer), (0.4, "read", None)),
        lambda state, f, _: dict(state) if f == "read" else None,
        Bank({"a": 6, "b": 6, "c": 0}),
        **_TWO,
    ),
    "txn": Machine(
        Transactions(),
        one_of((1.0, "txn", _steps("r", "w", "r", "w", unique=False))),
        _of_steps,
        Transactions(),
        **_TWO,
        swap=_another_read,
    ),
    "list-append": Machine(
        Transactions(),
        one_of((1.0, "txn", _steps("r", "append", unique=True))),
        _of_steps,
        make_model("list-append"),
        **_TWO,
        swap=_another_read,
    ),
    "rw-register": Machine(
        Transactions(),
        one_of((1.0, "txn", _steps("r", "w", unique=True))),
        _of_steps,
        make_model("rw-register"),
        **_TWO,
        swap=_another_read,
    ),
}
"""The machines by the names of their models."""
BY_DEPENDENCIES = {"list-append", "rw-register"}
"""Those that are judged by what can be inferred: an invalid verdict is certain, and no order is looked for."""


class Size(NamedTuple):
    """How large a history is, and how hard: `values` is how many there are, 0: each is used once; `ticks` is the clock's grain."""

    operations: int = 40
    clients: int = 4
    keys: int = 1
    values: int = 3
    unanswered: float = 0.15
    ticks: int = 4


def history(
    draw: Random, machine: Machine, size: Size, start: Mapping[Hashable, State] | None = None, begin: int = 0
) -> list[Op]:
    """Operations of always busy clients on atomic objects, in whole ticks of a coarse clock, so that many stamps are equal.

    Half of those without an answer take effect; their client goes on as another process. `start` has the states in which
    objects begin (else: the model's own), `begin` the tick at which all clients begin.
    """
    free = [begin] * size.clients
    process = list(range(size.clients))
    asked = []
    for number in range(size.operations):
        client = min(range(size.clients), key=free.__getitem__)
        invoke = free[client] + draw.randrange(2)
        effect = invoke + draw.randrange(size.ticks)
        end = effect + draw.randrange(size.ticks)
        free[client] = end + 1
        f, argument = machine.ask(draw, draw.randrange(size.values) if size.values else number)
        op = Op(
            process=process[client] + begin * 1000,
            f=f,
            key=draw.randrange(size.keys) if size.keys > 1 and machine.keys else None,
            value=argument,
            type=INFO if draw.random() < size.unanswered else OK,
            invoked=0,
            invoke_time=invoke,
            return_time=end,
        )
        process[client] += size.clients if op.type == INFO else 0
        asked.append((effect, draw.random(), op))
    states = dict(start or {})
    done = []
    for _, luck, op in sorted(asked, key=lambda each: each[:2]):
        place = machine.model.partition(op)
        after, answered = _carry_out(machine, states.get(place, machine.model.init), op)
        if op.type == OK or luck < 0.5:
            states[place] = after
        done.append(op if op.type == INFO else answered)
    return ordered(done)


def _carry_out(machine: Machine, state: State, op: Op) -> tuple[State, Op]:
    """The state after the operation and the operation with its answer; a refusal changes nothing."""
    answered = msgspec.structs.replace(op, type=OK, result=machine.answer(state, op.f, op.value))
    after = machine.model.step(state, answered)
    if after is None:
        return state, msgspec.structs.replace(op, type=FAIL)
    return after, answered


def ordered(operations: list[Op]) -> list[Op]:
    """The operations with the places that their times give them: closed intervals."""
    return list(History.from_intervals(operations))


def spoilt(draw: Random, operations: list[Op], times: int, machine: Machine | None = None) -> list[Op]:
    """The operations with some answers taken from others of the same function, or given where there were refusals: often invalid."""
    changed = list(operations)
    for _ in range(times):
        answered = [place for place, op in enumerate(changed) if op.type == OK and op.result is not None]
        refused = [place for place, op in enumerate(changed) if op.type == FAIL]
        if len(answered) < 2 and refused:  # locks answer nothing
            place = draw.choice(refused)
            changed[place] = msgspec.structs.replace(changed[place], type=OK, result=1)
        if len(answered) < 2:
            continue
        place, other = draw.sample(answered, 2)
        mine, theirs = changed[place], changed[other]
        if mine.f == theirs.f and mine.key == theirs.key:
            if machine is not None and machine.swap is not None:
                changed[place] = machine.swap(draw, mine, theirs) or mine
            else:
                changed[place] = msgspec.structs.replace(mine, result=theirs.result)
    return changed


def renamed(value: Any, names: Callable[[int], Any]) -> Any:
    """The value with every whole number in it renamed; booleans, strings and nil stay as they are."""
    if isinstance(value, int) and not isinstance(value, bool):
        return names(value)
    return [renamed(item, names) for item in value] if isinstance(value, list | tuple) else value
