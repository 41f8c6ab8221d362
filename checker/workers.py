"""Worker processes that try the objects of a large history; one that dies or dawdles leaves its object unknown.

Processes are forked where that is safe: on Linux, while this process has one thread (a lock that another thread holds would
stay locked in the child for ever); a fork finds the history in its memory. Else they are started anew and are sent
what they need. A worker ignores Ctrl-C, which is its parent's to hear, and does not outlive its parent: Linux kills it
(prctl), elsewhere it ends when its pipe does.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import multiprocessing
import os
import pickle
import resource
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

from checker import parts
from checker.budget import Budget, Meter
from checker.history import Op
from checker.models.base import Model
from checker.parts import Finding, Part
from checker.verdict import GaveUp

ALONE_SECONDS = 0.1
"""What is decided by then is decided without workers: to start them costs as much."""
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG
_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
_PATIENCE = 1.1
"""A worker that takes longer than this times its seconds, and half a second more, is killed: some ways look at no clock."""
_GRACE = 0.5
_LOOK_SECONDS = 0.1
_SPARE_BYTES = 64 << 20
"""What a worker may take beside its budget before the system refuses: its own interpreter and compiled code."""

Share = Callable[[int], Meter]
"""The meter of one object's share, from how many objects of this turn are not decided yet."""


class _Order(NamedTuple):
    """One object to try: its place among the parts, and what may be used; `operations` if the worker can't know them."""

    place: int
    budget: Budget
    operations: list[Op] | None


class _Work(NamedTuple):
    """What a worker knows from the start; `groups` are the operations of each part, where it was forked."""

    model: Model
    hard: bool
    bytes: int | None
    parent: int
    groups: list[Sequence[Op]]


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def may_fork() -> bool:
    """Whether a fork is safe here and now."""
    return sys.platform == "linux" and threading.active_count() == 1


def may_help(model: Model, *, asked: bool) -> bool:
    """Whether there can be workers at all; without a fork only where somebody asked for them.

    A process that is started anew imports the main program again: one that is a script without `if __name__ == "__main__"`
    would do all its work twice.
    """
    if multiprocessing.current_process().daemon:
        return False  # it may have no children: this is a worker itself
    if may_fork():
        return True
    try:
        pickle.dumps(model)
    except (pickle.PicklingError, AttributeError, TypeError):
        return False
    return asked


class Crew:
    """So many workers for some parts of a history; `run` returns when each part was tried."""

    def __init__(self, model: Model, todo: Sequence[Part], *, workers: int, hard: bool, meter: Meter) -> None:
        self._todo, self._meter, self._size = todo, meter, min(workers, len(todo))
        whole = meter.budget.bytes
        self._bytes = None if whole is None else whole // self._size
        self._forked = may_fork()
        self._context: Any = multiprocessing.get_context("fork" if self._forked else "spawn")
        groups = [part.operations for part in todo] if self._forked else []
        self._work = _Work(model, hard, self._bytes, os.getpid(), groups)
        self._processes: dict[Connection, BaseProcess] = {}
        self._busy: dict[Connection, tuple[int, float | None]] = {}

    def run(self, share: Share, told: Callable[[Part], None]) -> None:
        """Tries every part, each with its share of the budget, and tells of each when it was tried."""
        waiting = list(range(len(self._todo) - 1, -1, -1))
        try:
            while waiting or self._busy:
                while waiting and len(self._busy) < self._size:
                    self._send(waiting.pop(), share(len(waiting) + len(self._busy) + 1), told)
                for connection in self._answered():
                    self._take(connection, told)
                self._end_overdue(told)
                if self._meter.watch is not None:
                    self._meter.watch()
        finally:
            self._dismiss()

    def _send(self, place: int, meter: Meter, told: Callable[[Part], None]) -> None:
        connection = next((each for each in self._processes if each not in self._busy), None) or self._hire()
        if connection is None:
            self._todo[place].take(
                parts.attempt(self._work.model, self._todo[place].operations, meter, hard=self._work.hard)
            )
            told(self._todo[place])
            return
        budget = Budget(steps=meter.budget.steps, seconds=meter.budget.seconds, bytes=self._bytes)
        seconds = budget.seconds
        due = None if seconds is None else self._meter.elapsed() + _PATIENCE * seconds + _GRACE
        self._busy[connection] = (place, due)
        operations = None if self._forked else list(self._todo[place].operations)
        with contextlib.suppress(OSError):  # it is dead: reading from it says so, too
            connection.send(_Order(place, budget, operations))

    def _hire(self) -> Connection | None:
        """One more worker; None if the system gives no more processes."""
        ours, theirs = self._context.Pipe()
        inherited = [ours, *self._processes] if self._forked else []
        process = self._context.Process(target=_serve, args=(theirs, inherited, self._work), daemon=True)
        # Ctrl-C between the fork and the moment from which the worker ignores it would print a traceback there.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            process.start()
            self._processes[ours] = process
        except OSError:
            return None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
        return ours  # type: ignore[no-any-return]

    def _answered(self) -> list[Connection]:
        return [each for each in wait(list(self._busy), _LOOK_SECONDS) if isinstance(each, Connection)]

    def _take(self, connection: Connection, told: Callable[[Part], None]) -> None:
        place, _ = self._busy.pop(connection)
        try:
            finding: Finding = connection.recv()
        except (EOFError, OSError):
            finding = self._bury(connection)
        self._meter.used_elsewhere(finding.steps)
        self._todo[place].take(finding)
        told(self._todo[place])

    def _bury(self, connection: Connection) -> Finding:
        """What is left of a worker that died: a reason."""
        process = self._processes.pop(connection)
        connection.close()
        process.join()
        code = process.exitcode or 0
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit status {code}"
        hint = ", as the system does when memory runs out" if code == -signal.SIGKILL else ""
        return Finding(GaveUp(f"its worker process was ended {how}{hint}"), of_memory=bool(hint))

    def _end_overdue(self, told: Callable[[Part], None]) -> None:
        """Kills workers that did not look at the clock for too long."""
        now = self._meter.elapsed()
        for connection, (place, due) in list(self._busy.items()):
            if due is None or now < due:
                continue
            self._busy.pop(connection)
            self._processes[connection].kill()
            self._bury(connection)
            self._todo[place].take(
                Finding(GaveUp("its share of the budget was used up in a part that looks at no clock"))
            )
            told(self._todo[place])

    def _dismiss(self) -> None:
        """Nobody is left behind, busy or not."""
        for connection, process in self._processes.items():
            process.kill()
            connection.close()
        for process in self._processes.values():
            process.join()
        self._processes.clear()
        self._busy.clear()


def _serve(connection: Connection, inherited: Sequence[Connection], work: _Work) -> None:
    """The life of a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    _die_with(work.parent)
    for each in inherited:
        each.close()  # else a worker would hold the other end of its own pipe, and never see that its parent is gone
    gc.freeze()  # collections would touch, and so copy, the pages of the whole history
    _limit_memory(work.bytes)
    while True:
        try:
            order: _Order = connection.recv()
        except EOFError:
            return
        operations = work.groups[order.place] if order.operations is None else order.operations
        connection.send(
            parts.attempt(work.model, operations, Meter(order.budget, "its share of the budget"), hard=work.hard)
        )


def _die_with(parent: int) -> None:
    """Asks Linux to kill this process when its parent ends, however that comes about."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)


def _limit_memory(budget: int | None) -> None:
    """Lets the system refuse what goes far beyond the budget: a refusal is a `MemoryError`, no death of others."""
    if budget is None or sys.platform != "linux":
        return
    with open("/proc/self/status", encoding="ascii") as status:
        data = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData"))
    most = data + budget + budget // 4 + _SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (most, resource.getrlimit(resource.RLIMIT_DATA)[1]))
