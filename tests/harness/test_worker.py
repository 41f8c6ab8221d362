"""The one table of errors: only what certainly did not happen is a fail."""

from __future__ import annotations

import pytest

from harness.clusters.cluster import Attempt, Completion
from harness.worker import Worker, completion_of, request_for
from workloads.generator import Op

WRITE = Op("register", "write", "r1", 5, process=2)
READ = Op("register", "read", "r1", process=2)
CAS = Op("register", "cas", "r1", [1, 2], process=2)

OK = Attempt("n1", 200, body={"index": 4})
REDIRECT = Attempt("n2", 307, "not-leader", definite=True, body={"message": "n1 leads"})
NO_LEADER = Attempt("n2", 503, "no-leader", definite=True)
MISMATCH = Attempt("n1", 409, "cas-mismatch", definite=True, body={"actual": 9})
NODE_TIMEOUT = Attempt("n1", 504, "timeout", definite=False)
NODE_SAYS_NO = Attempt("n1", 504, "timeout", definite=True)
UNKNOWN_SESSION = Attempt("n1", 409, "unknown-session", definite=False)
SILENCE = Attempt("n3", error="timeout")
BROKEN = Attempt("n3", error="broken")
REFUSED = Attempt("n3", error="connect-failed", sent=False)


@pytest.mark.parametrize(
    "op, attempts, type_, error",
    [
        (WRITE, (OK,), "ok", ""),
        (WRITE, (REDIRECT, OK), "ok", ""),
        (WRITE, (SILENCE, OK), "ok", ""),  # the same key: the answer is that of the first application
        (WRITE, (REFUSED,), "fail", "connect-failed"),
        (WRITE, (NO_LEADER, REFUSED), "fail", "connect-failed"),
        (WRITE, (SILENCE,), "info", "timeout"),
        (WRITE, (BROKEN,), "info", "broken"),
        (WRITE, (NODE_TIMEOUT,), "info", "timeout"),
        (WRITE, (NODE_SAYS_NO,), "fail", "timeout"),  # if the node lies, the history will show it
        (WRITE, (UNKNOWN_SESSION,), "info", "unknown-session"),
        (WRITE, (SILENCE, NO_LEADER), "info", "timeout"),  # the last refusal does not undo the first attempt
        (WRITE, (BROKEN, REFUSED, REDIRECT), "info", "broken"),
        (CAS, (MISMATCH,), "fail", "cas-mismatch"),
        (CAS, (SILENCE, MISMATCH), "info", "timeout"),
        (READ, (SILENCE,), "fail", "timeout"),  # a read that nobody answered changed nothing
        (READ, (NODE_TIMEOUT, BROKEN), "fail", "broken"),
        (WRITE, (), "fail", "not-sent"),
    ],
)
def test_what_attempts_come_to(op: Op, attempts: tuple[Attempt, ...], type_: str, error: str) -> None:
    done, why = completion_of(op, Completion(2, "c2-1", attempts))
    assert (done.type, done.error) == (type_, error)
    assert bool(why) == (type_ != "ok")


def test_a_read_tells_what_it_saw_and_an_absent_key_is_an_answer() -> None:
    done, _ = completion_of(READ, Completion(2, "c2-1", (Attempt("n1", 200, body={"value": 7}),)))
    assert (done.type, done.value) == ("ok", 7)
    absent = Attempt("n1", 404, "key-not-found", definite=True)
    done, _ = completion_of(READ, Completion(2, "c2-1", (absent,)))
    assert (done.type, done.value) == ("ok", None)
    done, _ = completion_of(READ, Completion(2, "c2-1", (Attempt("n1", 404, "unknown-path", definite=True),)))
    assert done.type == "fail"


@pytest.mark.parametrize(
    "op, attempt, type_",
    [
        (READ, Attempt("n1", 200, body={}), "fail"),
        (READ, Attempt("n1", 200, body=[7]), "fail"),
        (CAS, Attempt("n1", 409, "cas-mismatch", definite=True, body={"code": "cas-mismatch"}), "info"),
        (CAS, Attempt("n1", 409, "cas-mismatch", definite=True), "info"),
    ],
)
def test_an_answer_without_what_it_must_tell_is_none(op: Op, attempt: Attempt, type_: str) -> None:
    """A store under test may leave out anything; that must neither end the run nor be taken for a value."""
    done, why = completion_of(op, Completion(2, "c2-1", (attempt,)))
    assert (done.type, done.error, why) == (type_, "unreadable", ["unreadable", "n1: unreadable"])


def test_after_info_the_worker_goes_on_as_a_new_process() -> None:
    """`info` is unknown: its process never appears again (the worker goes on as `process + concurrency`)."""
    worker = Worker(2, 10)
    asked = worker.begin(WRITE)
    assert asked.process == 2
    worker.end(completion_of(asked, Completion(2, worker.op_id, (SILENCE,)))[0])
    assert worker.begin(WRITE).process == 12


def test_after_ok_or_fail_the_process_stays_and_operation_ids_never_repeat() -> None:
    worker = Worker(0, 10)
    seen = set()
    for attempt in (OK, REFUSED, OK):
        asked = worker.begin(WRITE)
        seen.add(request_for(worker, "", 1, 1).op)
        worker.end(completion_of(asked, Completion(0, worker.op_id, (attempt,)))[0])
    assert worker.process == 0
    assert len(seen) == 3
