"""Keys on all cores: the same verdict whatever the number of workers, and no worker's end hides what others prove."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Hashable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import simulate

from checker import Budget, History, HistoryError, Interrupted, Model, Op, Progress, Verdict, check, make_model, workers
from checker.models.registers import Register

ROOT = Path(__file__).resolve().parents[2]
HERE = os.getpid()


class Fatal(Model):
    """A register that ends the worker, or itself, where a key says so."""

    name, functions, init = "fatal", frozenset({"read", "write"}), 0

    def step(self, state: Hashable, op: Op) -> Any:
        if op.key == "killed" and os.getpid() != HERE:
            os.kill(os.getpid(), signal.SIGKILL)
        if op.key == "slow" and os.getpid() != HERE:
            time.sleep(60)
        if op.key == "wrong":
            raise ZeroDivisionError("a model with a mistake")
        if op.f == "write":
            return op.value
        return state if op.result == state else None


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers even for the smallest histories."""
    monkeypatch.setattr(workers, "ALONE_SECONDS", -1.0)


def stripped(verdict: Verdict) -> dict[str, Any]:
    """All of it but what took how long."""
    told = verdict.as_dict()
    del told["seconds"], told["explanation_seconds"]
    for row in told["per_key"]:
        del row["seconds"]
    return told


def write_and_read(key: str, place: int, answer: int = 1) -> list[Op]:
    return [
        Op(process=place, f="write", key=key, value=1, type="ok", invoked=place, returned=place + 1),
        Op(process=place, f="read", key=key, type="ok", result=answer, invoked=place + 2, returned=place + 3),
    ]


@pytest.mark.parametrize("seed", range(6))
def test_the_verdict_does_not_depend_on_the_number_of_workers(seed: int) -> None:
    """checker.md, section 8: "same file, same verdict, same core, whatever the number of workers"."""
    history = simulate.register_history(
        Random(seed), operations=300, clients=6, unanswered=0.05, values=0 if seed in {1, 3} else 4, keys=5
    )
    if seed in {1, 3}:
        history = simulate.stale_read(Random(seed), history) or history
    budget = Budget(steps=60 if seed == 5 else 100_000, seconds=None)
    told = [stripped(check(history, make_model("cas-register"), budget, workers=count)) for count in (1, 2, 4)]
    assert told[0] == told[1] == told[2]
    assert told[0]["verdict"] == ("unknown" if seed == 5 else "invalid" if seed in {1, 3} else "valid")


@pytest.mark.parametrize("count", [1, 2])
def test_a_mistake_in_a_model_leaves_its_key_unknown_and_hides_nothing(count: int) -> None:
    """Issue: "unknown never hides an invalid elsewhere: other keys are still checked"."""
    history = [*write_and_read("wrong", 0), *write_and_read("fine", 10)]
    unknown = check(History(history), Fatal(), workers=count)
    assert (unknown.verdict, [row["verdict"] for row in unknown.per_key]) == ("unknown", ["unknown", "valid"])
    assert re.search(
        r"the model failed with ZeroDivisionError: a model with a mistake \(test_workers.py, line \d+, in step\), "
        r"at write 1 of process 0 in the state 0$",
        unknown.reason,
    )
    invalid = check(History([*history, *write_and_read("stale", 20, answer=2)]), Fatal(), workers=count)
    assert (invalid.verdict, invalid.key) == ("invalid", "stale")


def test_a_worker_that_is_killed_takes_no_verdict_with_it() -> None:
    history = [*write_and_read("killed", 0), *write_and_read("fine", 10), *write_and_read("also fine", 20)]
    unknown = check(History(history), Fatal(), workers=2)
    rows = {row["key"]: row for row in unknown.per_key}
    assert {key: row["verdict"] for key, row in rows.items()} == {
        "killed": "valid",  # tried once more, alone: it might have been for want of memory
        "fine": "valid",
        "also fine": "valid",
    }


def test_a_worker_that_looks_at_no_clock_is_ended() -> None:
    history = [*write_and_read("slow", 0), *write_and_read("stale", 10, answer=2), *write_and_read("fine", 20)]
    began = time.monotonic()
    verdict = check(History(history), Fatal(), Budget(seconds=0.4), workers=2)
    assert time.monotonic() - began < 50  # not the minute that the worker sleeps
    assert (verdict.verdict, verdict.key) == ("invalid", "stale")
    assert "a part that looks at no clock" in next(row["reason"] for row in verdict.per_key if row["key"] == "slow")


def test_what_had_too_little_memory_beside_others_is_tried_alone() -> None:
    history = simulate.register_history(Random(3), operations=600, clients=9, unanswered=0.1, values=5, keys=2)
    needed = next(
        size
        for size in (1 << power for power in range(12, 30))
        if check(history, make_model("cas-register"), Budget(seconds=None, bytes=size), workers=1).verdict == "valid"
    )
    assert check(history, make_model("cas-register"), Budget(seconds=None, bytes=needed), workers=2).verdict == "valid"


def test_progress_ends_with_all_keys_and_operations() -> None:
    history = simulate.register_history(Random(1), operations=200, clients=4, keys=5)
    for count in (1, 2):
        told: list[Progress] = []
        check(history, make_model("cas-register"), workers=count, progress=told.append)
        assert told[-1] == Progress(5, 5, len(history), len(history))
        assert told == sorted(told)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("answer, word", [(1, "unknown"), (2, "invalid")])
def test_an_interrupted_check_tells_what_it_knows(count: int, answer: int, word: str) -> None:
    """Issue: "Ctrl-C"; DESIGN: "1 if a violation was proved, else 3"."""

    def interrupt(progress: Progress) -> None:
        if progress.keys_done == 2:
            raise KeyboardInterrupt

    ops = [
        *write_and_read("first", 0, answer),
        *write_and_read("second", 10, answer),
        *write_and_read("third", 20, answer),
    ]
    with pytest.raises(Interrupted) as caught:
        check(History(ops), Register(), workers=count, progress=interrupt)
    verdict = caught.value.verdict
    assert verdict.verdict == word
    assert bool(verdict.core) == (word == "invalid")
    rows = {row["key"]: (row["verdict"], row["reason"]) for row in verdict.per_key}
    assert list(rows.values()).count(("unknown", "interrupted (not tried)")) == 1


def test_what_a_model_can_not_read_is_refused_before_any_worker() -> None:
    with pytest.raises(HistoryError):
        check(History([Op(process=0, f="fly", invoked=0)]), make_model("register"), workers=2)


SLEEPERS = """
import os, sys, time
import checker.workers
from checker import Budget, History, Interrupted, Model, Op, check
checker.workers.ALONE_SECONDS = -1
class Sleeper(Model):
    name, functions, init = "sleeper", frozenset({"nap"}), 0
    def step(self, state, op):
        os.write(1, b"%d\\n" % os.getpid())  # in one piece: two of them write
        time.sleep(600)
ops = [Op(process=n, f="nap", key=n, type="ok", invoked=2 * n, returned=2 * n + 1) for n in range(4)]
try:
    check(History(ops), Sleeper(), Budget(seconds=500), workers=2)
except Interrupted as interrupted:
    print(interrupted.verdict.verdict, interrupted.verdict.reason)
"""


def alive(process: str) -> bool:
    try:
        return Path("/proc", process, "stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_no_worker_outlives_its_parent(sent: signal.Signals) -> None:
    """Neither Ctrl-C nor kill -9 leaves a process behind."""
    with subprocess.Popen(
        [sys.executable, "-c", f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n{SLEEPERS}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        assert parent.stderr is not None
        try:
            sleeping = [parent.stdout.readline().strip() for _ in range(2)]
            assert all(alive(process) for process in sleeping)
            parent.send_signal(sent)
            answer = parent.stdout.read()
            assert parent.stderr.read() == ""
        finally:
            parent.kill()
    assert answer.startswith("unknown key 0, 1 operations: interrupted" if sent == signal.SIGINT else "")
    deadline = time.monotonic() + 20
    while any(alive(process) for process in sleeping) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [process for process in sleeping if alive(process)] == []


def test_beside_other_threads_nothing_is_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that another thread holds would stay locked in the child for ever."""
    assert workers.may_fork() == (sys.platform == "linux")
    monkeypatch.setattr(workers.threading, "active_count", lambda: 2)
    assert not workers.may_fork()
    assert not workers.may_help(Register(), asked=False)
    history = simulate.register_history(Random(1), operations=100, clients=4, keys=3)
    assert check(history, make_model("cas-register"), workers=2).verdict == "valid"


class Local(Model):
    """Stands for a model that can't be sent to another process."""

    def __reduce__(self) -> Any:
        raise TypeError("not to be sent")


def test_a_model_that_can_not_be_sent_is_tried_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers.threading, "active_count", lambda: 2)
    assert not workers.may_help(Local(), asked=True)
