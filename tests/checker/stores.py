"""Stores of lists for tests: machines of known isolation, under clients that overlap; and a short way to write histories down."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from checker.history import FAIL, INFO, OK, History, Op

MicroOperation = list[Any]
_STEP = re.compile(r"(?P<function>[arw])(?P<key>[a-z])(?P<values>[\d,]*)")


def steps(text: str) -> list[MicroOperation]:
    """`ax1 rx12 ry` is: append 1 to x, read x as [1 2], read y as []. Numbers of more digits stand between commas."""
    found = []
    for each in text.split():
        match = _STEP.fullmatch(each)
        assert match is not None, each
        values = match["values"]
        numbers = [int(one) for one in (values.split(",") if "," in values else values) if one]
        if match["function"] == "a":
            found.append(["append", match["key"], numbers[0]])
        else:
            found.append(["r", match["key"], numbers])
    return found


def registers(text: str) -> list[MicroOperation]:
    """`wx1 rx1 ry` is: write 1 to x, read x as 1, read y as nil."""
    found = []
    for each in text.split():
        match = _STEP.fullmatch(each)
        assert match is not None, each
        value = int(match["values"]) if match["values"] else None
        found.append([match["function"], match["key"], value])
    return found


def asked(answered: Sequence[MicroOperation]) -> list[MicroOperation]:
    """What was asked where this was answered: reads without their values."""
    return [[function, key, None if function == "r" else value] for function, key, value in answered]


def op(
    answered: list[MicroOperation], invoked: int, returned: int | None, type_: str = OK, process: int | None = None
) -> Op:
    """One transaction; without a process it has one of its own."""
    return Op(
        process=1_000 + invoked if process is None else process,
        f="txn",
        value=asked(answered),
        type=type_,
        result=answered if type_ == OK else None,
        invoked=invoked,
        returned=returned if type_ != INFO else None,
    )


def serial(*texts: str, read: Callable[[str], list[MicroOperation]] = steps) -> History:
    """Transactions one after the other, each of a process of its own; `!` before one: it failed, `?`: it was never answered."""
    types = {"!": FAIL, "?": INFO}
    return History(
        op(read(text.lstrip("!?")), 2 * place, 2 * place + 1, types.get(text[0], OK))
        for place, text in enumerate(texts)
    )


def at_once(*texts: str, read: Callable[[str], list[MicroOperation]] = steps) -> History:
    """Transactions that all ran at the same time."""
    types = {"!": FAIL, "?": INFO}
    return History(
        op(read(text.lstrip("!?")), place, len(texts) + place, types.get(text[0], OK))
        for place, text in enumerate(texts)
    )


class Machine:
    """A store of lists with versions: reads see what was committed by a moment, writes wait for the commit."""

    def __init__(self) -> None:
        self.log: dict[Any, list[tuple[int, int]]] = {}
        self.clock = 0

    def read(self, key: Any, moment: int) -> list[int]:
        return [value for when, value in self.log.get(key, ()) if when <= moment]

    def commit(self, writes: Sequence[tuple[Any, int]]) -> None:
        self.clock += 1
        for key, value in writes:
            self.log.setdefault(key, []).append((self.clock, value))

    def changed_since(self, key: Any, moment: int) -> bool:
        return any(when > moment for when, _ in self.log.get(key, ()))


class Session:
    """A transaction that runs: its answers so far, and what it will write."""

    def __init__(self, process: int, invoked: int, todo: list[tuple[str, Any]], snapshot: int) -> None:
        self.process, self.invoked, self.todo, self.snapshot = process, invoked, todo, snapshot
        self.answered: list[MicroOperation] = []
        self.writes: list[tuple[Any, int]] = []


def run(
    random: Random,
    level: str,
    transactions: int = 30,
    clients: int = 4,
    keys: int = 3,
    longest: int = 3,
    unanswered: float = 0.0,
) -> History:
    """A history of clients at a store of this level.

    Levels: `strict` (each transaction at one moment), `stale` (as strict, but those that only read see an older moment), `snapshot` (snapshot
    isolation: reads of the moment of the beginning, the first committer of a key wins), `committed` (each read sees what is committed
    just then, writes are never refused).
    """
    machine, sessions, done = Machine(), {}, []
    free, values, place, begun = list(range(clients)), 0, 0, 0
    while begun < transactions or sessions:
        place += 1
        if begun < transactions and free and (not sessions or random.random() < 0.4):
            process = free.pop(random.randrange(len(free)))
            todo = [(random.choice("ar"), f"k{random.randrange(keys)}") for _ in range(random.randint(1, longest))]
            sessions[process] = Session(process, place, todo, machine.clock)
            begun += 1
            continue
        process = random.choice(sorted(sessions))
        session = sessions[process]
        whole = level in {"strict", "stale"}
        moment = machine.clock if level in {"strict", "committed"} else session.snapshot
        if level == "stale":
            reads_only = all(function == "r" for function, _ in session.todo)
            moment = random.randint(max(0, machine.clock - 3), machine.clock) if reads_only else machine.clock
        while session.todo:
            function, key = session.todo.pop(0)
            if function == "a":
                values += 1
                session.writes.append((key, values))
                session.answered.append(["append", key, values])
            else:
                own = [value for written, value in session.writes if written == key]
                if own and level == "committed":
                    continue  # without locks nobody can say where its own appends will stand
                session.answered.append(["r", key, machine.read(key, moment) + own])
            if not whole:
                break
        if session.todo:
            continue
        del sessions[process]
        refused = level == "snapshot" and any(machine.changed_since(key, session.snapshot) for key, _ in session.writes)
        lost = random.random() < unanswered
        if not refused and not (lost and random.random() < 0.5):
            machine.commit(session.writes)
        kind = INFO if lost else FAIL if refused else OK
        done.append(op(session.answered, session.invoked, place, kind, process))
        free.append(process + 100 if lost else process)
    return History(done)
