"""Histories of simulated atomic objects, for tests: clients that overlap, answers that never come, faults that are planted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import families
import msgspec

from checker.history import FAIL, INFO, OK, History, Op
from checker.models.base import Model
from checker.models.lists import AppendList
from checker.models.locks import Mutex
from checker.models.strings import KeyValueStrings

Shape = tuple[str, Any, Any]
"""What one operation is: function, argument, answer."""


def register_history(
    draw: Random, *, operations: int, clients: int, unanswered: float = 0.0, values: int = 0, keys: int = 1
) -> History:
    """Reads, writes and cas of all clients, always busy, on atomic registers that begin as None.

    `unanswered` is the share of operations whose answer never comes (half of them take effect); `values` is how many
    values there are, 0: each is used once.
    """
    events: list[dict[str, Any]] = []
    state: dict[int, Any] = {}
    fresh = iter(range(1, 1 << 60))
    busy: dict[int, list[Any]] = {}
    processes = list(range(clients))
    next_process = clients
    while len(events) < 2 * operations or busy:
        slot = draw.randrange(clients)
        process = processes[slot]
        if process not in busy:
            if len(events) >= 2 * operations:
                continue
            key = draw.randrange(keys)
            value = _argument(draw, state.get(key), next(fresh) if not values else draw.randrange(values))
            busy[process] = [*value, key, None]
            events.append({"type": "invoke", "process": process, "f": value[0], "key": f"k{key}", "value": value[1]})
            continue
        f, value, key, answer = busy[process]
        event = {"process": process, "f": f, "key": f"k{key}", "value": value}
        lost = draw.random() < unanswered / 2
        if answer is None and not (lost and draw.random() < 0.5):
            busy[process][3] = _take_effect(state, f, key, value)
            if not lost:
                continue
        if lost or answer is None:
            events.append({**event, "type": "info"})
            processes[slot] = next_process
            next_process += 1
        else:
            events.append({**event, **answer})
        del busy[process]
    return History.from_events(events)


def _argument(draw: Random, current: Any, value: Any) -> tuple[str, Any]:
    kind = draw.random()
    if kind < 0.5:
        return "read", None
    return ("write", value) if kind < 0.75 else ("cas", [current, value])


def _take_effect(state: dict[int, Any], f: str, key: int, value: Any) -> dict[str, Any]:
    if f == "read":
        return {"type": "ok", "value": state.get(key)}
    if f == "cas" and state.get(key) != value[0]:
        return {"type": "fail", "error": ["cas-mismatch", state.get(key)]}
    state[key] = value[1] if f == "cas" else value
    return {"type": "ok"}


def list_history(draw: Random, *, operations: int, clients: int, unanswered: float = 0.0) -> History:
    """Appends of unique elements and reads of the whole list, all clients always busy."""
    ops: list[Op] = []
    state: list[int] = []
    free = [0] * clients
    moments: list[tuple[int, int]] = []
    for number in range(operations):
        client = min(range(clients), key=free.__getitem__)
        begin = free[client] + draw.randint(1, 5)
        effect, end = begin + draw.randint(1, 30), begin + draw.randint(31, 60)
        free[client] = end
        moments.append((effect, number))
        f = draw.choice(["append", "read"])
        answered = draw.random() >= unanswered
        ops.append(
            Op(
                process=number,
                f=f,
                value=number if f == "append" else None,
                type=OK if answered else INFO,
                invoked=0,
                invoke_time=begin,
                return_time=end,
            )
        )
    for _, number in sorted(moments):
        op = ops[number]
        if op.f == "read":
            ops[number] = msgspec.structs.replace(op, result=list(state) if op.type == OK else None)
        elif op.type == OK or draw.random() < 0.5:
            state.append(number)
    return History.from_intervals(ops)


def stale_read(draw: Random, history: History) -> History | None:
    """The history with one read that certainly returned an overwritten value, or None where there is none to plant."""
    ops = list(history.operations)
    reads = [number for number, op in enumerate(ops) if op.f == "read" and op.type == OK]
    draw.shuffle(reads)
    for number in reads:
        read = ops[number]
        done = [
            op
            for op in ops
            if op.f == "write" and op.key == read.key and op.returned is not None and op.returned < read.invoked
        ]
        for old in done:
            if any(op.invoked > (old.returned or 0) for op in done):
                ops[number] = msgspec.structs.replace(read, result=old.value)
                return History(ops)
    return None


def interleavings(count: int) -> Iterator[list[tuple[int, int | None]]]:
    """Every way in which `count` operations can lie in time: (place of invocation, place of return or None).

    Operations are numbered in the order of their invocations, so that no two results are the same but for names.
    """

    def grow(invoked: int, opened: tuple[int, ...], place: int, spans: dict[int, list[int | None]]) -> Iterator[Any]:
        if invoked == count:
            # Which of the open ones return, and in which order, decides nothing more: nothing is invoked later.
            for returning in range(1 << len(opened)):
                closing = [number for bit, number in enumerate(opened) if returning >> bit & 1]
                yield {**spans, **{number: [spans[number][0], place + at] for at, number in enumerate(closing)}}
            return
        yield from grow(invoked + 1, (*opened, invoked), place + 1, {**spans, invoked: [place, None]})
        for number in opened:
            rest = tuple(other for other in opened if other != number)
            # Returns that follow each other directly may come in any order: take the one of growing numbers.
            yield from _close(number, rest, spans, place)

    def _close(number: int, rest: tuple[int, ...], spans: dict[int, list[int | None]], place: int) -> Iterator[Any]:
        ends = [end for _, end in spans.values() if end is not None]
        just_closed = [other for other, (_, end) in spans.items() if end == place - 1]
        if ends and just_closed and just_closed[0] > number:
            return
        yield from grow(len(spans), rest, place + 1, {**spans, number: [spans[number][0], place]})

    for spans in grow(0, (), 0, {}):
        yield [(spans[number][0], spans[number][1]) for number in range(count)]


def placed(shapes: Sequence[Shape], spans: Sequence[tuple[int, int | None]]) -> list[Op]:
    """Operations of these shapes in these places; a shape without a return is an unanswered operation."""
    return [
        Op(
            process=number,
            f=f,
            value=value,
            type=INFO if returned is None else OK,
            result=None if returned is None else result,
            invoked=invoked,
            returned=returned,
        )
        for number, ((f, value, result), (invoked, returned)) in enumerate(zip(shapes, spans, strict=True))
    ]


def small_history(draw: Random, model: Model, most: int = 9) -> list[Op]:
    """A few random operations on one object, with coarse clocks: many are invalid, a quarter unanswered."""
    clients, values = draw.randint(1, 5), draw.randint(1, 4)
    unique = draw.random() < 0.3
    fresh = iter(range(1, 100))
    free = [0] * clients
    ops: list[Op] = []
    shapes: list[Shape] = []
    for number in range(draw.randint(1, most)):
        client = draw.randrange(clients)
        begin = free[client] + draw.randint(0, 3)
        end = begin + draw.randint(0, 8)
        free[client] = end + draw.randint(0, 1)
        value = next(fresh) if unique else draw.randint(0, values)
        kind, error = (INFO if draw.random() < 0.25 else OK), None
        if isinstance(model, AppendList):
            f, argument, result = _list_shape(draw, ops, value)
        elif isinstance(model, KeyValueStrings):
            f, argument, result = _string_shape(draw, ops, value)
        elif isinstance(model, Mutex):
            f, argument, result = draw.choice(["acquire", "release"]), None, None
        elif model.name in families.SHAPES:
            f, argument, result = families.random_shape(draw, model.name, number, shapes)
        else:
            f, argument, result = _register_shape(draw, value, 2 * values)
        shapes.append((f, argument, result))
        if f in {"dequeue", "pop"} and kind == OK and result is None and draw.random() < 0.3:
            kind, error = FAIL, "empty"
        if f == "cas" and kind == OK and draw.random() < 0.2:
            kind, error = FAIL, ["cas-mismatch", draw.randint(0, values)]
        ops.append(
            Op(
                process=number,
                f=f,
                value=argument,
                type=kind,
                result=result if kind == OK else None,
                error=error,
                invoked=0,
                invoke_time=begin,
                return_time=end,
            )
        )
    operations = list(History.from_intervals(ops))
    return with_processes(operations) if "lock" in model.name else operations


def with_processes(operations: Sequence[Op]) -> list[Op]:
    """As few processes as can be: one that was answered asks again, and one that was not never does."""
    free: list[tuple[int, int]] = []
    found: list[Op] = []
    for op in sorted(operations, key=lambda op: op.invoked):
        ready = next((each for each in free if each[0] < op.invoked), None)
        process = len(found) if ready is None else ready[1]
        if ready is not None:
            free.remove(ready)
        if op.returned is not None:
            free.append((op.returned, process))
        found.append(msgspec.structs.replace(op, process=process))
    return found


def stamped(op: Op) -> Op:
    """The operation with the places of its events as their indices and as their times in seconds."""
    end = None if op.returned is None else op.returned * 10**9
    return msgspec.structs.replace(
        op, invoke_index=op.invoked, return_index=op.returned, invoke_time=op.invoked * 10**9, return_time=end
    )


def _register_shape(draw: Random, value: int, values: int) -> Shape:
    kind = draw.random()
    if kind < 0.4:
        return "read", None, draw.choice([None, *range(values)])
    if kind < 0.65:
        return "write", value, None
    return ("delete", None, None) if kind < 0.7 else ("cas", [draw.choice([None, *range(values)]), value], None)


def _list_shape(draw: Random, ops: list[Op], value: int) -> Shape:
    if draw.random() < 0.55:
        return "append", value, None
    elements = [op.value for op in ops if op.f == "append"]
    got = elements[: draw.randint(0, len(elements))]
    if draw.random() < 0.2:
        draw.shuffle(got)
    return "read", None, got


def _string_shape(draw: Random, ops: list[Op], value: int) -> Shape:
    letter = "abcdefghij"[value % 10]
    if draw.random() < 0.6:
        return draw.choice(["append", "put"]), letter, None
    letters = [op.value for op in ops if op.value]
    return "get", None, "".join(letters[draw.randint(0, len(letters)) :][: draw.randint(0, 3)])
