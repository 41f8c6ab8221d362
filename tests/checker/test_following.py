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
from checker.command import check_file
from checker.following import Followed, Following, follow
from harness.__main__ import run_command_line

ROOT = Path(__file__).resolve().parents[2]


def event(process: int, kind: str, f: str, value: Any = None, **more: Any) -> str:
    return json.dumps({"process": process, "type": kind, "f": f, "key": "k", "value": value, **more}) + "\n"


FINE = event(0, "invoke", "write", 1) + event(0, "ok", "write", 1)
STALE = event(1, "invoke", "read") + event(1, "ok", "read", None)
TWICE = "".join(
    json.dumps({"process": 0, "type": kind, "f": "txn", "value": [["append", 1, 1], ["r", 1, read]]}) + "\n"
    for kind, read in (("invoke", None), ("ok", [2, 1]))
)
"""A transaction that reads what nobody appended: proved only of the whole."""
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


def test_a_file_ends_when_nothing_is_added_to_it(written: Written) -> None:
    told: list[Followed] = []
    writer = written(FINE, event(1, "invoke", "read"))
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


@pytest.mark.parametrize("ending", [[], ["Ctrl-C"]], ids=["idle", "Ctrl-C"])
def test_a_last_line_without_its_end_counts_if_it_is_whole(ending: list[str], written: Written) -> None:
    """As the check of the whole file has it: a recorder that crashed before the end of a line."""
    writer = written(FINE + STALE[:-1], *ending)
    if ending:
        with pytest.raises(Interrupted) as caught:
            follow(Following(writer.path, make_model("register")))
        verdict = caught.value.verdict
    else:
        verdict = follow(Following(writer.path, make_model("register")))
    assert verdict.verdict == "invalid"
    assert check_file(writer.path, "register").verdict == "invalid"


def test_a_torn_tail_is_refused_as_by_the_check_of_the_whole_but_on_ctrl_c_it_is_being_written(
    written: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    sentence = "line 3: the file is truncated"
    writer = written()
    for more in ([], ["--follow"]):
        writer.path.write_text(FINE + STALE[:20])
        assert main([str(writer.path), "--model", "register", *more]) == 2
        assert sentence in capsys.readouterr().err
        assert main([str(writer.path), "--model", "register", "--allow-torn-tail", *more]) == 0
        assert sentence in capsys.readouterr().err
    writer = written(FINE + STALE[:20], "Ctrl-C")
    with pytest.raises(Interrupted) as caught:
        follow(Following(writer.path, make_model("register")))
    assert caught.value.verdict.verdict == "valid"
    assert [sentence in warning for warning in caught.value.verdict.warnings] == [True]


@pytest.mark.parametrize("how", ["truncated", "written anew", "replaced"])
@pytest.mark.parametrize("model", ["register", "list-append"])
def test_a_file_that_does_not_only_grow_ends_it(
    how: str, model: str, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A violation that was proved stays proved."""
    text = FINE if model == "register" else TWICE

    def change(seconds: float) -> None:
        monkeypatch.setattr("checker.following.time.sleep", writer.sleep)
        if how == "truncated":
            writer.path.write_text(text[:10])
        elif how == "written anew":
            writer.path.write_text(text.replace("0", "5") + STALE)
        else:
            other = writer.path.with_name("other")
            other.write_text(text + STALE)
            other.replace(writer.path)

    writer = written()
    writer.path.write_text(text)
    monkeypatch.setattr("checker.following.time.sleep", change)
    following = Following(writer.path, make_model(model))
    sentence = "the file was truncated or replaced after 2 lines"
    if model == "register":
        with pytest.raises(HistoryError, match=sentence):
            follow(following)
    else:
        assert follow(following).verdict == "invalid"


def test_times_that_go_back_are_told_once(written: Written) -> None:
    times = [event(number, kind, "write", 1, t=10 - number) for number in range(3) for kind in ("invoke", "ok")]
    writer = written("".join(times))
    verdict = follow(Following(writer.path, make_model("register")))
    told = "times go back at line 3 (t=9 after t=10): the order of the events counts, not their times"
    assert (verdict.verdict, verdict.warnings) == ("valid", [told])


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
