"""Follows a history that is still being written (JSON lines): the verdict as soon as it is decided, or when the file ends.

A file ends when nothing was added for a while, when whoever waits says so (Ctrl-C), or when the process that asked for it is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from checker.budget import Budget
from checker.check import Interrupted
from checker.command import fitting_model
from checker.formats.jsonl import as_edn
from checker.history import HistoryError
from checker.models.base import Model, ModelError
from checker.models.catalog import fitting, make_model
from checker.streaming import Checker
from checker.verdict import INVALID, Verdict

_POLL_SECONDS = 0.05
_BLOCK = 1 << 20
_COMPARED = 64
"""So many bytes before the place up to which a file was read are looked at again: they differ where it was written anew."""


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
    allow_torn_tail: bool = False


def follow(
    following: Following, budget: Budget | None = None, watch: Callable[[Followed], None] | None = None
) -> Verdict:
    """The verdict on a growing file: invalid as soon as that is proved, else what `check` says of all that was written.

    When the file ends, a last line that lacks its end counts if it is a whole event. A torn one is refused as `check_file`
    refuses it, but where somebody stopped waiting (Ctrl-C, the parent's end) it is still being written: a warning.

    Raises `HistoryError` as `check_file` does, and for a file that was truncated or replaced before it proved a violation;
    `OSError` where there is no such file; and `Interrupted` on Ctrl-C, with the verdict on what was written by then.
    """
    reader = _Reader(following, budget)
    with following.path.open("rb") as file:
        growing = _Growing(following, file)
        try:
            for line, text in growing.lines():
                if line == 0:
                    if watch is not None and reader.checker is not None:
                        watch(Followed(reader.checker.operations, reader.checker.lag))
                elif reader.take(line, text) is not None:
                    return reader.finish()
        except KeyboardInterrupt:
            reader.take_tail(growing, waited=False)
            raise Interrupted(reader.finish()) from None
        if growing.replaced:
            return _proved_before(reader, growing.number)
        reader.take_tail(growing, waited=not growing.left)
    return reader.finish()


def _proved_before(reader: _Reader, lines: int) -> Verdict:
    """The violation that the lines of a file prove that was then truncated or replaced; nothing else is known of it."""
    sentence = f"the file was truncated or replaced after {lines} lines: expected one that only grows"
    with contextlib.suppress(HistoryError, ModelError):
        verdict = reader.finish()
        if verdict.verdict == INVALID:
            verdict.warnings = [*verdict.warnings, sentence]
            return verdict
    raise HistoryError(sentence)


class _Reader:
    """Feeds lines to a checker; before its model is known they wait."""

    def __init__(self, following: Following, budget: Budget | None) -> None:
        self._following, self._budget = following, budget
        self._waiting: list[tuple[int, dict[str, Any]]] = []
        self._functions: set[str] = set()
        self._workloads: set[str] = set()
        self._warnings: list[str] = []
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

    def take_tail(self, growing: _Growing, *, waited: bool) -> None:
        """Takes what stands behind the last line's end; `waited`: long enough that nobody writes on."""
        if not growing.torn.strip():
            return
        line = growing.number + 1
        try:
            json.loads(growing.torn, parse_constant=as_edn)
        except (ValueError, RecursionError) as error:
            what = f"expected one JSON object a line, this is {growing.torn[:40]!r} ({error})"
            if waited and not self._following.allow_torn_tail:
                raise HistoryError(
                    f"the file is truncated: {what} (--allow-torn-tail drops such an end)", line
                ) from None
            self._warnings.append(f"line {line}: the file is truncated, its last event was dropped: {what}")
        else:
            self.take(line, growing.torn)

    def finish(self) -> Verdict:
        """The verdict on all that was taken."""
        if self.checker is None and self._functions:
            self._begin(make_model(fitting_model(self._functions)))
        if self.checker is None or not self.checker.operations:
            raise HistoryError(
                "there is no operation in it: expected at least one invoke, since nothing was tested else"
            )
        verdict = self.checker.finish()
        verdict.warnings = [*self._warnings, *verdict.warnings]
        return verdict

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


class _Growing:
    """The lines of a file that is being written: how many there were (`number`), and what follows the last one's end (`torn`).

    `left`: whoever asked is gone. `replaced`: the file no longer begins with what was read, or its name leads to another one.
    """

    def __init__(self, following: Following, file: BinaryIO) -> None:
        self.number, self.torn = 0, b""
        self.left = self.replaced = False
        self._following, self._file = following, file
        self._end = b""  # the last bytes that were read

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """The whole lines with their numbers, from 1, as they are written; number 0 now and then: nothing new."""
        quiet_since = time.monotonic()
        while not self._is_another():
            block = self._file.read(_BLOCK)
            if block:
                quiet_since = time.monotonic()
                self._end = (self._end + block)[-_COMPARED:]
                *whole, rest = (self.torn + block).split(b"\n")
                self.torn = b""  # Ctrl-C among the lines before it: then it is not the next
                for line in whole:
                    self.number += 1
                    if line.strip():
                        yield self.number, line
                self.torn = rest
                yield 0, b""
                continue
            yield 0, b""
            parent = self._following.parent
            self.left = parent is not None and os.getppid() != parent
            if self.left or time.monotonic() - quiet_since >= self._following.idle:
                return
            time.sleep(_POLL_SECONDS)

    def _is_another(self) -> bool:
        """Whether the file was truncated, written anew, or replaced by another of its name; one that is removed stays."""
        place = self._file.tell() - len(self._end)
        if os.pread(self._file.fileno(), len(self._end), place) != self._end:
            self.replaced = True
        with contextlib.suppress(FileNotFoundError):
            named = self._following.path.stat()
            self.replaced |= not os.path.samestat(named, os.fstat(self._file.fileno()))
        return self.replaced
