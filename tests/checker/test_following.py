"""`check --follow FILE`: a file is judged while it is written, torn lines are waited for, and the first violation ends it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from checker import HistoryError, make_model
from checker.__main__ import main
from checker.check import Interrupted
from checker.following import Followed, Following, follow
from harness.__main__ import run_command_line

ROOT = Path(__file__).resolve().parents[2]


def event(process: int, kind: str, f: str, value: Any = None, **more: Any) -> str:
    return json.dumps({"process": process, "type": kind, "f": f, "key": "k", "value": value, **more}) + "\n"


FINE = event(0, "invoke", "write", 1) + event(0, "ok", "write", 1)
STALE = event(1, "invoke", "read") + event(1, "ok", "read", None)
FIRST = {"process": 1, "f": "read"}


class Writer:
    """Stands for the clock and for whoever writes: each time that somebody sleeps, one more piece is in the file."""

    def __init__(self, path: Path, pieces: list[str]) -> None:
        self.path, self.pieces, self.now = path, list(pieces), 0.0
        path.write_bytes(b"")

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.pieces:
            piece = self.pieces.pop(0)
            if piece == "Ctrl-C":
                raise KeyboardInterrupt
            with self.path.open("a") as file:
                file.write(piece)

    def monotonic(self) -> float:
        return self.now


Written = Callable[..., Writer]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Written:
    def begin(*pieces: str) -> Writer:
        writer = Writer(tmp_path / "history.jsonl", list(pieces))
        monkeypatch.setattr("checker.following.time.sleep", writer.sleep)
        monkeypatch.setattr("checker.following.time.monotonic", writer.monotonic)
        return writer

    return begin


@pytest.mark.parametrize("model", ["register", None])
def test_the_first_violation_ends_it_whatever_would_come_later(model: str | None, written: Written) -> None:
    """Task: "stops at the first violation (exit 1)"."""
    writer = written(FINE[:30], FINE[30:50], FINE[50:] + STALE[:-5], STALE[-5:], "never looked at")
    verdict = follow(Following(writer.path, None if model is None else make_model(model)))
    assert verdict.verdict == "invalid"
    assert verdict.first_impossible is not None
    assert verdict.first_impossible.items() >= FIRST.items()
    assert writer.pieces == ["never looked at"]


def test_a_file_ends_when_nothing_is_added_to_it_and_a_torn_tail_was_never_recorded(written: Written) -> None:
    told: list[Followed] = []
    writer = written(FINE, event(1, "invoke", "read"), STALE[-40:-3])
    verdict = follow(Following(writer.path, make_model("register"), idle=60), watch=told.append)
    assert (verdict.verdict, verdict.operations) == ("valid", 2)
    assert 60 <= writer.now < 62
    assert told[-1] == Followed(operations=2, lag=1)


def test_ctrl_c_ends_it_with_the_verdict_on_what_there_is(written: Written) -> None:
    for last, word in ((FINE, "valid"), (FINE + event(2, "invoke", "read"), "valid")):
        writer = written(last, "Ctrl-C")
        with pytest.raises(Interrupted) as caught:
            follow(Following(writer.path, make_model("register")))
        assert caught.value.verdict.verdict == word


@pytest.mark.parametrize(
    "text, sentence",
    [
        (FINE + "{]\n", "line 3: expected one JSON object a line, this is b'{]'"),
        (FINE + "[1]\n", "line 3: expected one JSON object a line"),
        (FINE + event(0, "ok", "write"), "line 3: ok of process 0 completes nothing"),
        (event(0, "invoke", "fly"), "no model knows all functions of this history (fly)"),
        (event(0, "invoke", "read"), "several models know the functions of this history (read)"),
        (FINE + event(0, "invoke", "fly"), "does not know the function 'fly'"),
        (
            event(0, "invoke", "write", 1, workload="a") + event(1, "invoke", "write", 1, workload="b"),
            "it holds several workloads (a, b)",
        ),
        ("", "there is no operation in it"),
    ],
)
def test_what_is_no_history_is_refused(
    text: str, sentence: str, written: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    writer = written(text)
    assert main([str(writer.path), "--follow"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert sentence in err
    with pytest.raises(HistoryError if "models know" not in sentence and "model knows" not in sentence else ValueError):
        follow(Following(writer.path, None))


@pytest.mark.parametrize(
    "door", [main, lambda arguments: run_command_line(["check", *arguments])], ids=["python -m checker", "splitbrain"]
)
def test_of_several_workloads_one_is_followed(
    door: Callable[[list[str]], int], written: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    text = FINE.replace('"key"', '"workload": "register", "key"') + event(7, "invoke", "append", 1, workload="append")
    writer = written(text + STALE.replace('"key"', '"workload": "register", "key"'))
    assert door([str(writer.path), "--follow", "--workload", "register", "--model", "register", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["first_impossible"].items() >= FIRST.items()


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
def test_who_follows_ends_with_who_asked(tmp_path: Path) -> None:
    """A run that is killed leaves nobody behind."""
    path = tmp_path / "history.jsonl"
    path.write_text(FINE)
    code = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-m', 'checker', sys.argv[1], '--follow', '--parent', str(os.getpid()), '--idle', '600'])\n"
        "print(child.pid, flush=True)\ntime.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
        assert parent.stdout.read().startswith(
            "valid"
        )  # its standard output is the child's, too: this waits for its end
    deadline = time.monotonic() + 20
    while Path("/proc", str(child)).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path("/proc", str(child)).exists()


@pytest.mark.slow
def test_a_growing_file_is_judged_by_a_process_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text(FINE)
    command = [sys.executable, "-m", "harness", "check", str(path), "--follow", "--idle", "120", "--json"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        with path.open("a") as file:
            for piece in (STALE[:20], STALE[20:]):
                file.write(piece)
                file.flush()
                time.sleep(0.3)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    assert json.loads(out)["verdict"] == "invalid"
    path.write_text(FINE)
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\nimport sys; sys.argv[1:] = {command[3:]!r}\nfrom harness.__main__ import main\nmain()",
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        time.sleep(4)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 3, err
    assert json.loads(out)["verdict"] == "valid"
    assert "interrupted: this is what is known so far" in err
