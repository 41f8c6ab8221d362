"""A worker: operation to request, answer to ok, fail or info, and the new process number after info.

The table of what an answer means stands here and nowhere else. `fail` is said only of what certainly did not happen;
whatever may have happened is `info`, and the worker goes on as a new process (Jepsen's rule). Workers never retry: the
cluster's clients make attempts under one idempotency key, and all of them belong to one operation.
"""

from __future__ import annotations

from typing import Any

import msgspec

from harness.clusters.cluster import Attempt, Completion, Request
from workloads.generator import Op

NANOSECONDS_PER_MILLISECOND = 1_000_000
READ_ONLY = frozenset({"read"})


class Worker:
    """One client: at most one operation at a time, each under the worker's present process number."""

    def __init__(self, number: int, concurrency: int) -> None:
        self.number = number
        self.process = number
        self.asked: Op | None = None  # the open operation
        self.op_id = ""
        self._concurrency = concurrency
        self._count = 0

    def begin(self, op: Op) -> Op:
        """Takes an operation on; returns it with the worker's process number."""
        assert self.asked is None, "a worker has one operation at a time"
        self._count += 1
        self.op_id = f"c{self.number}-{self._count}"
        self.asked = msgspec.structs.replace(op, process=self.process)
        return self.asked

    def end(self, completed: Op) -> None:
        """Lets the operation go. After info its process never appears again."""
        self.asked = None
        if completed.type == "info":
            self.process += self._concurrency


def request_for(worker: Worker, prefer: str, deadline: int, attempt_timeout: int) -> Request:
    """The request of the worker's open operation; times in nanoseconds."""
    op = worker.asked
    assert op is not None, "request_for comes after begin"
    return Request(
        worker=worker.number,
        op=worker.op_id,
        f=op.f,
        key=op.key,
        value=op.value,
        prefer=prefer,
        deadline=deadline,
        attempt_timeout=attempt_timeout,
    )


def completion_of(op: Op, completion: Completion) -> tuple[Op, list[Any]]:
    """What became of an operation: the completed op, and its error as `[code, detail]` (empty when ok).

    The detail is a sentence; of a refused compare-and-set it is the value that was met, which says something of the state.

    - an answer without what it must tell is none: its attempt is `unreadable`, and nobody knows what came of it;
    - an attempt with an answer decides: ok, whatever earlier attempts came to (they carried the same key);
    - a read that was not answered changed nothing: fail;
    - an update fails only if *every* attempt certainly did nothing; else it is info, even if the last one was refused.
    """
    attempts = [_readable(op, attempt) for attempt in completion.attempts]
    for attempt in attempts:
        answered, value = _answer(op, attempt)
        if answered:
            return msgspec.structs.replace(op, type="ok", value=value), []
    if not attempts:
        return msgspec.structs.replace(op, type="fail", error="not-sent"), ["not-sent", "no attempt could be made"]
    last = attempts[-1]
    certain = op.f in READ_ONLY or all(_certainly_nothing(attempt) for attempt in attempts)
    code = last.error
    if not certain and _certainly_nothing(last):
        # The last refusal does not undo an earlier attempt whose end nobody saw: name that one.
        code = next(attempt.error for attempt in attempts if not _certainly_nothing(attempt))
    return msgspec.structs.replace(op, type="fail" if certain else "info", error=code), [code, _detail(code, last)]


def _readable(op: Op, attempt: Attempt) -> Attempt:
    """The attempt; or, where its answer lacks the value that it is about, one whose answer could not be read."""
    needed = ""
    if op.f == "read" and attempt.status == 200:
        needed = "value"
    elif attempt.error == "cas-mismatch":
        needed = "actual"
    if needed and not (isinstance(attempt.body, dict) and needed in attempt.body):
        return Attempt(attempt.node, error="unreadable")
    return attempt


def _answer(op: Op, attempt: Attempt) -> tuple[bool, Any]:
    """Whether an attempt was answered with what was asked for, and the value of the completed operation."""
    if op.f == "read":
        if attempt.status == 200:
            return True, attempt.body["value"]
        return attempt.status == 404 and attempt.error == "key-not-found", None
    return attempt.status == 200, op.value


def _certainly_nothing(attempt: Attempt) -> bool:
    """The one table of errors: True only for what certainly did not and will not happen.

    | what was seen | meaning |
    |---|---|
    | the connection was refused before anything left | nothing happened |
    | an answer that says `definite` (307, 503 no-leader, cas-mismatch, overwritten, bad request) | nothing happened |
    | an answer that says otherwise (504 timeout, sequence-passed, unknown-session) | unknown |
    | no answer: timed out, connection broken, answer unreadable | unknown |
    """
    if attempt.status:
        return attempt.definite
    return not attempt.sent


def _detail(code: str, attempt: Attempt) -> Any:
    if code == "cas-mismatch":
        return attempt.body["actual"]
    if attempt.status:
        detail = attempt.body.get("message", "") if isinstance(attempt.body, dict) else ""
        return f"{attempt.node} answered {attempt.status} {attempt.error}" + (f": {detail}" if detail else "")
    return f"{attempt.node}: {attempt.error}"
