"""One wish to stop, by whichever signal; while things are taken down it waits."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.interrupts import SIGNALS, held_back, listen

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 10


@pytest.fixture(autouse=True)
def listening() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    listen()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_each_signal_is_a_wish_to_stop(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)


def test_what_is_held_back_is_done_whole_and_the_wish_is_heard_once_afterwards() -> None:
    done = []

    @held_back()
    def take_down() -> None:
        signal.raise_signal(signal.SIGINT)
        with held_back():
            signal.raise_signal(signal.SIGTERM)
        done.append("all of it")

    with pytest.raises(KeyboardInterrupt):
        take_down()
    assert done == ["all of it"]
    with held_back():
        done.append("and nothing is left of the wish")


def test_a_failure_while_a_wish_waits_does_not_lose_the_wish() -> None:
    @held_back()
    def take_down() -> None:
        signal.raise_signal(signal.SIGINT)
        raise ValueError("no")

    with pytest.raises(KeyboardInterrupt) as caught:
        take_down()
    assert isinstance(caught.value.__context__, ValueError)
    with held_back():
        pass


def test_who_was_started_to_ignore_a_closed_terminal_goes_on() -> None:
    """Under nohup SIGHUP is ignored from the start."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    listen()
    signal.raise_signal(signal.SIGHUP)


def test_what_is_said_to_a_terminal_that_is_gone_does_not_fail() -> None:
    """A closed terminal sends SIGHUP, and from then on every write to it fails with EIO."""
    program = (
        "import os, sys; from harness.interrupts import listen; listen()\n"
        "print('begun', flush=True)\n"
        "try: sys.stdin.buffer.read()\n"
        "except KeyboardInterrupt: print('to nobody', flush=True); sys.exit(7)\n"
    )
    ours, theirs = pty.openpty()
    quiet, talk = os.pipe()
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=ROOT, stdin=quiet, stdout=theirs, start_new_session=True) as process:
        os.close(theirs)
        assert b"begun" in os.read(ours, 100)
        os.close(ours)
        process.send_signal(signal.SIGHUP)
        assert process.wait(SECONDS) == 7
    os.close(quiet)
    os.close(talk)
