"""Follows a history that is still being written (JSON lines): the verdict as soon as it is decided, or when the file ends.

A file ends when nothing was added for a while, when whoever waits says so (Ctrl-C), or when the process that asked for it is gone.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from checker.budget import Budget
from checker.check import Interrupted
from checker.command import fitting_model
from checker.formats.jsonl import as_edn
from checker.history import HistoryError
from checker.models.base import Model
from checker.models.catalog import fitting, make_model
from checker.streaming import Checker
from checker.verdict import Verdict

_POLL_SECONDS = 0.05
_BLOCK = 1 << 20


class Followed(NamedTuple):
    """How far somebody who follows is: operations that were invoked, and events that wait for an older operation to end."""

    operations: int
    lag: int


class Following(NamedTuple):
    """What is followed, and how long nothing may be added to it before it is at its end; `model` None: found by functions.

    `parent` is the process that asked: when it is gone, the file is at its end.
    """

    path: Path
    model: Model | None
    workload: str | None = None
    idle: float = 5.0
    parent: int | None = None


def follow(
    following: Following, budget: Budget | None = None, watch: Callable[[Followed], None] | None = None
) -> Verdict:
    """The verdict on a growing file: invalid as soon as that is proved, else what `check` says of all that was written.

    Raises `HistoryError` as `check_file` does, `OSError` where there is no such file, and `Interrupted` on Ctrl-C, with the
    verdict on what was written by then.
    """
    reader = _Reader(following, budget)
    try:
        for line, text in _lines(following):
            if line == 0:
                if watch is not None and reader.checker is not None:
                    watch(Followed(reader.checker.operations, reader.checker.lag))
            elif reader.take(line, text) is not None:
                break
    except KeyboardInterrupt:
        raise Interrupted(reader.finish()) from None
    return reader.finish()


class _Reader:
    """Feeds lines to a checker; before its model is known they wait."""

    def __init__(self, following: Following, budget: Budget | None) -> None:
        self._following, self._budget = following, budget
        self._waiting: list[tuple[int, dict[str, Any]]] = []
        self._functions: set[str] = set()
        self._workloads: set[str] = set()
        self.checker = None if following.model is None else Checker(following.model, budget)

    def take(self, line: int, text: bytes) -> Verdict | None:
        """Takes one line; the verdict if it is decided."""
        event = _event(line, text)
        workload = event.get("workload")
        if isinstance(workload, str) and workload:
            self._workloads.add(workload)
        if self._following.workload is not None:
            if workload != self._following.workload:
                return None
        elif len(self._workloads) > 1:
            several = ", ".join(sorted(self._workloads))
            raise HistoryError(f"it holds several workloads ({several}): expected --workload with one of them", line)
        if self.checker is not None:
            return self.checker.feed(event, line)
        self._waiting.append((line, event))
        if event.get("type") == "invoke" and isinstance(event.get("f"), str) and event["f"] not in self._functions:
            self._functions.add(event["f"])
            names = fitting(self._functions)
            if len(names) == 1:
                return self._begin(make_model(names[0]))
        return None

    def finish(self) -> Verdict:
        """The verdict on all that was taken."""
        if self.checker is None and self._functions:
            self._begin(make_model(fitting_model(self._functions)))
        if self.checker is None or not self.checker.operations:
            raise HistoryError(
                "there is no operation in it: expected at least one invoke, since nothing was tested else"
            )
        return self.checker.finish()

    def _begin(self, model: Model) -> Verdict | None:
        self.checker = Checker(model, self._budget)
        verdict = None
        for line, event in self._waiting:
            verdict = self.checker.feed(event, line)
        self._waiting.clear()
        return verdict


def _event(line: int, text: bytes) -> dict[str, Any]:
    try:
        event = json.loads(text, parse_constant=as_edn)
    except (ValueError, RecursionError) as error:
        raise HistoryError(f"expected one JSON object a line, this is {text[:40]!r} ({error})", line) from None
    if not isinstance(event, dict):
        raise HistoryError(f"expected one JSON object a line, this is {text[:40]!r}", line)
    return event


def _lines(following: Following) -> Iterator[tuple[int, bytes]]:
    """The whole lines of a file with their numbers, from 1, as they are written; number 0 now and then: nothing new.

    A torn last line is waited for; what is torn when the file ends was never recorded.
    """
    number, torn = 0, b""
    quiet_since = time.monotonic()
    with following.path.open("rb") as file:
        while True:
            block = file.read(_BLOCK)
            if block:
                quiet_since = time.monotonic()
                *whole, torn = (torn + block).split(b"\n")
                for line in whole:
                    number += 1
                    if line.strip():
                        yield number, line
                yield 0, b""
                continue
            yield 0, b""
            left = following.parent is not None and os.getppid() != following.parent
            if left or time.monotonic() - quiet_since >= following.idle:
                return
            time.sleep(_POLL_SECONDS)
