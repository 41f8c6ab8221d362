"""`splitbrain check FILE` and `python -m checker FILE`: bad input is a sentence with its place and exit 2, never a traceback."""

from __future__ import annotations

import doctest
import errno
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Self

import pytest
import simulate

import checker
from checker import Interrupted, Op, Verdict, make_model
from checker.__main__ import main
from checker.command import bytes_of
from checker.replay import replay
from harness.__main__ import run_command_line

INVOKE = '{"i":0,"t":5,"type":"invoke","process":0,"f":"write","key":"k","value":1}\n'
OK = '{"i":1,"t":6,"type":"ok","process":0,"f":"write","key":"k","value":1}\n'
GOOD = INVOKE + OK
STALE = (
    GOOD
    + '{"type":"invoke","process":1,"f":"read","key":"k"}\n{"type":"ok","process":1,"f":"read","key":"k","value":null}\n'
)
DOCUMENTED = {
    "verdict",
    "reason",
    "model",
    "way",
    "operations",
    "seconds",
    "explanation_seconds",
    "first_impossible",
    "core",
    "explanation",
}
"""DESIGN: "`check --json`: `verdict`, `reason`, `model`, ..."."""

Door = Callable[[list[str]], int]


def of_the_product(arguments: list[str]) -> int:
    return run_command_line(["check", *arguments])


@pytest.fixture(params=[main, of_the_product], ids=["python -m checker", "splitbrain check"])
def door(request: pytest.FixtureRequest) -> Door:
    given: Door = request.param
    return given


BAD: dict[str, tuple[bytes, str]] = {
    "torn": (GOOD.encode() + INVOKE.encode()[:20], "line 3: the file is truncated: expected one JSON object a line"),
    "two-open": (
        (INVOKE + INVOKE.replace('"i":0', '"i":1')).encode(),
        "line 2: process 0 invokes write while its write (line 1) is still open",
    ),
    "other-key": (
        (INVOKE + OK.replace('"key":"k"', '"key":"l"')).encode(),
        "line 2: process 0 invoked write of key 'k' (line 1), but this completes one of key 'l'",
    ),
    "back-in-time": (
        (INVOKE + OK.replace('"t":6', '"t":4')).encode(),
        "line 2: this completes write of process 0 at 4, before it was invoked (line 1), at 5",
    ),
    "no-invocation": (
        OK.encode(),
        "line 1: ok of process 0 completes nothing: expected an invoke of that process before it",
    ),
    "unknown-type": (
        GOOD.replace('"ok"', '"okay"').encode(),
        "line 2: unknown type 'okay', expected one of invoke, ok, fail, info",
    ),
    "binary": (bytes(range(256)), "not text: byte 0x80 is no UTF-8, expected a text file"),
    "utf-16": (GOOD.encode("utf-16"), "line 1: not text: byte 0xff"),
    "prose": (
        b"Dear reader,\n",
        "line 1: not a history: expected JSON lines, EDN, JSON or Jepsen log lines, this begins with 'Dear reader,'",
    ),
    "windows": (GOOD.replace("\n", "\r\n").replace('"ok"', '"okay"').encode(), "line 2: unknown type 'okay'"),
    "huge-line": (
        INVOKE.encode()[:-3] + b'"' + b"x" * 3_000_000 + b"\n",
        'line 1: expected one JSON object a line, this is \'{"i":0',
    ),
    "deep": (GOOD.encode() + b'{"value":' + b"[" * 50_000 + b"\n", "line 3: a value that can't be read"),
    "no-process": (
        GOOD.replace('"process":0', '"process":"a"').encode(),
        'line 1: an event needs a "process" (a number, or "nemesis"), this one has \'a\'',
    ),
    "no-pair": (
        INVOKE.replace("write", "cas").encode(),
        "line 1: cas of process 0: the value of a cas must be [expected, new], this is 1",
    ),
    "no-time": (
        INVOKE.replace('"t":5', '"t":"5"').encode(),
        "line 1: the time of an event must be a number of nanoseconds, this is '5'",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_a_sentence_with_its_place(
    name: str, tmp_path: Path, door: Door, capsys: pytest.CaptureFixture[str]
) -> None:
    """Issue, "Bad input": "exit 2 with line number and what was expected"."""
    data, sentence = BAD[name]
    (tmp_path / name).write_bytes(data)
    assert door([str(tmp_path / name), "--model", "register"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"{tmp_path / name}: " in err
    assert sentence in err
    assert "Traceback" not in err
    assert len(err) < 400 + len(str(tmp_path))


@pytest.mark.parametrize(
    "arguments,sentence",
    [
        (["missing", "--model", "register"], "cannot read missing: No such file or directory"),
        ([".", "--model", "register"], "cannot read .: Is a directory"),
        (
            ["good", "--model", "append"],
            "good: line 1: write of process 0: model append does not know the function 'write', expected one of append, read",
        ),
        (["good", "--model", "append", "--init", "3"], "the initial value of model append must be a list, not 3"),
        (
            ["good", "--model", "register", "--init", "{"],
            "--init must be a JSON value, for example 0, null or \"x\", not '{'",
        ),
        (["good", "--model", "register", "--format", "edn"], "good: line 1: not EDN"),
        (["good", "--model", "register", "--format", "jepsen-log"], "good: line 1: no event in the whole log"),
        (["good", "--model", "register", "--format", "json"], "expected ']' at the end of the array"),
    ],
)
def test_a_wrong_option_is_a_sentence(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    door: Door,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("good").write_text(GOOD)
    assert door(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert sentence in err
    assert "Traceback" not in err


@pytest.mark.parametrize("budget", ["0", "-1", "nan", "soon"])
def test_a_budget_must_be_a_time(budget: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "good").write_text(GOOD)
    assert of_the_product([str(tmp_path / "good"), "--budget", budget]) == 2
    assert "--budget" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", [GOOD, "\ufeff" + GOOD, GOOD.replace("\n", "\r\n"), GOOD.rstrip(), "\n\n" + GOOD + "\n"]
)
def test_marks_of_editors_are_no_mistakes(text: str, tmp_path: Path, door: Door) -> None:
    (tmp_path / "h").write_bytes(text.encode())
    assert door([str(tmp_path / "h"), "--model", "register"]) == 0


def test_a_torn_tail_is_dropped_on_request_with_a_warning(
    tmp_path: Path, door: Door, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "torn").write_bytes(BAD["torn"][0])
    assert door([str(tmp_path / "torn"), "--model", "register", "--allow-torn-tail", "--json"]) == 0
    out, err = capsys.readouterr()
    assert "line 3: the file is truncated, its last event was dropped" in err
    assert json.loads(out)["warnings"] == [err.partition("torn: ")[2].strip()]


@pytest.mark.parametrize("text,status,verdict", [(GOOD, 0, "valid"), (STALE, 1, "invalid")])
def test_json_has_the_documented_keys_and_nothing_else_is_printed(
    text: str, status: int, verdict: str, tmp_path: Path, door: Door, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "h").write_text(text)
    assert door([str(tmp_path / "h"), "--model", "register", "--json"]) == status
    answer = json.loads(capsys.readouterr().out)
    assert set(answer) >= DOCUMENTED
    assert answer["verdict"] == verdict
    assert (
        bool(answer["explanation"])
        == bool(answer["first_impossible"])
        == bool(answer["core"])
        == (verdict == "invalid")
    )
    assert answer["operations"] == text.count("invoke")


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert of_the_product(["--help"]) == 0
    page = capsys.readouterr().out
    assert "splitbrain check history.edn --model register --init 0 --json" in page
    assert "Exit status: 0 valid, 1 invalid, 2" in page


def test_the_package_works_as_its_page_shows() -> None:
    """Issue: "`checker/`, usable alone"."""
    result = doctest.testmod(checker)
    assert result.attempted > 5
    assert result.failed == 0


def test_the_package_loads_nothing_else_of_ours_and_little_of_others() -> None:
    code = "import sys, checker; print(sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"harness", "raftnode", "workloads", "numba", "pandas", "pyarrow", "httpx", "docker"} & set(
        json.loads(done.stdout.replace("'", '"'))
    )


def test_of_several_workloads_one_is_chosen_and_its_model_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    append = {"process": 1, "f": "append", "key": "a", "value": 1, "workload": "append"}
    events = [{**json.loads(line), "i": None, "workload": "register"} for line in GOOD.splitlines()] + [
        {**append, "type": "invoke"},
        {**append, "type": "ok"},
    ]
    path = tmp_path / "history.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    assert of_the_product([str(path)]) == 2
    assert "it holds several workloads (append, register)" in capsys.readouterr().err
    assert of_the_product([str(path), "--workload", "append", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["model"], answer["operations"]) == ("append", 1)
    assert of_the_product([str(path), "--workload", "register", "--model", "append"]) == 2


@pytest.mark.parametrize("text", ["", "\n"])
def test_a_history_without_an_operation_is_refused(
    text: str, door: Door, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A recorder that failed would be green else."""
    (tmp_path / "empty.jsonl").write_text(text)
    assert door([str(tmp_path / "empty.jsonl"), "--model", "register"]) == 2
    assert "there is no operation in it" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text, amount",
    [
        ("1", 1),
        ("5 kB", 5000),
        ("500MB", 500_000_000),
        ("2GiB", 2 << 30),
        ("0.5KiB", 512),
        ("3g", 3 * 10**9),
        ("1TiB", 1 << 40),
    ],
)
def test_an_amount_of_memory_has_a_unit(text: str, amount: int) -> None:
    assert bytes_of(text) == amount


@pytest.mark.parametrize("text", ["", "GiB", "-1GB", "0", "1XB", "nan", "1e3"])
def test_what_is_no_amount_of_memory_is_refused(
    text: str, door: Door, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "h").write_text(GOOD)
    assert door([str(tmp_path / "h"), "--model", "register", f"--memory={text}"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "--memory must be an amount of memory above 0, for example 2GiB or 500MB" in err


READ = '{"type":"invoke","process":1,"f":"read","key":"l"}\n'


def test_the_model_is_found_by_the_functions_of_the_history_where_only_one_knows_them(
    door: Door, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "h"
    for text, model in (
        (GOOD, "cas-register"),
        (GOOD.replace("write", "append") + READ, "append"),
        (GOOD.replace("write", "put"), "kv"),
    ):
        path.write_text(text.replace('"value":1', '"value":"a"'))
        assert door([str(path), "--json"]) in {0, 1}
        assert json.loads(capsys.readouterr().out)["model"] == model
    for f, sentence in (
        ("read", "several models know the functions of this history (read)"),
        ("fly", "no model knows all functions"),
    ):
        path.write_text(GOOD.replace("write", f))
        assert door([str(path)]) == 2
        assert sentence in capsys.readouterr().err


def test_a_budget_of_steps_is_the_same_everywhere(
    door: Door, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sixteen clients that write and read few values, each for long: no near-linear way applies."""
    history = simulate.register_history(Random(5), operations=150, clients=16, unanswered=0.3, values=4)
    lines = []
    for op in history.operations:
        asked = {"process": op.process, "f": op.f, "key": op.key, "value": op.value}
        lines.append((op.invoked, {**asked, "type": "invoke"}))
        if op.returned is not None:
            lines.append((op.returned, {**asked, "type": op.type, "value": op.result, "error": op.error}))
    lines.sort(key=lambda line: line[0])
    (tmp_path / "h").write_text("".join(json.dumps(line) + "\n" for _, line in lines))
    reasons = []
    for _ in range(2):
        assert door([str(tmp_path / "h"), "--steps", "150", "--json"]) == 3
        reasons.append(json.loads(capsys.readouterr().out)["reason"])
    assert reasons[0] == reasons[1]
    assert "the budget of 150 steps was used up" in reasons[0]
    assert "what resisted is the window of events" in reasons[0]


def test_the_worst_of_several_files_decides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "good").write_text(GOOD)
    (tmp_path / "stale").write_text(STALE)
    files = [str(tmp_path / name) for name in ("good", "stale", "good")]
    assert of_the_product(files) == 1
    assert capsys.readouterr().out.count("2 operations") == 1
    assert of_the_product([*files, "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["verdict"] == "invalid"
    assert [(run["file"], run["verdict"]) for run in answer["runs"]] == list(
        zip(files, ["valid", "invalid", "valid"], strict=True)
    )
    assert of_the_product([files[0], files[2]]) == 0
    assert of_the_product([*files, "--follow"]) == 2


def test_a_witness_is_an_order_that_can_be_replayed(
    door: Door, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Issue: "witness order (on valid, on request, verified by replay against the model)"."""
    path, order = tmp_path / "h", tmp_path / "order"
    read = (
        GOOD.replace('"i":0,', "").replace('"i":1,', "").replace("write", "read").replace('"process":0', '"process":1')
    )
    path.write_text(GOOD + read)
    assert door([str(path), "--model", "register", "--witness", str(order)]) == 0
    rows = [json.loads(line) for line in order.read_text().splitlines()]
    assert [(row["place"], row["f"], row["result"]) for row in rows] == [(1, "write", 1), (2, "read", 1)]
    order.unlink()
    path.write_text(STALE)
    assert door([str(path), "--model", "register", "--witness", str(order)]) == 1
    assert "no witness was written: the verdict is invalid" in capsys.readouterr().err
    assert not order.exists()


@pytest.mark.parametrize("link", ["same", "symlink", "hardlink"])
def test_a_witness_never_takes_the_place_of_the_history(
    link: str, door: Door, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, order = tmp_path / "h", tmp_path / "order"
    path.write_text(GOOD)
    if link == "same":
        order = tmp_path / "." / "h"
    elif link == "symlink":
        order.symlink_to(path)
    else:
        order.hardlink_to(path)
    assert door([str(path), "--model", "register", "--witness", str(order)]) == 2
    assert "is the history itself: expected another file" in capsys.readouterr().err
    assert path.read_text() == GOOD


class FullDisk:
    """A file on a disk on which nothing is free."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def write(self, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_witness_that_can_not_be_written_is_named_and_a_full_disk_is_no_mistake_of_the_user(
    door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """DESIGN: "4 infrastructure". The checker alone has no such status."""
    path, order = tmp_path / "h", tmp_path / "no" / "order"
    path.write_text(GOOD)
    arguments = [str(path), "--model", "register", "--witness", str(order)]
    assert door(arguments) == 2
    assert "cannot write" in (err := capsys.readouterr().err)
    assert f"{order}: No such file or directory" in err
    monkeypatch.setattr("checker.command.open", lambda *_: FullDisk(), raising=False)
    assert door(arguments) == (2 if door is main else 4)
    assert f"{order}: No space left on device" in capsys.readouterr().err


def test_a_wrong_order_is_no_witness() -> None:
    write = Op(process=0, f="write", value=1, type="ok", invoked=0, returned=1)
    late = Op(process=1, f="write", value=2, type="ok", invoked=2, returned=3)
    read = Op(process=2, f="read", result=2, type="ok", invoked=4, returned=5)
    failed = Op(process=3, f="write", value=3, type="fail", invoked=6, returned=7)
    ops = [write, late, read, failed]
    model = make_model("register")
    assert replay(model, ops, [write, late, read]) == ""
    for order, wrong in (
        ([late, write, read], "write of process 0 returned before an earlier one was invoked"),
        ([write, read, late], "read of process 2 is illegal"),
        ([write, late], "an answered operation is missing"),
        ([write, late, read, read], "an operation stands in it twice"),
        ([write, late, read, failed], "an operation is in it that did not happen"),
    ):
        assert replay(model, ops, order).startswith(wrong)
    assert (
        replay(model, [write, late], [late, write]) == "write of process 0 returned before an earlier one was invoked"
    )


@pytest.mark.parametrize("word, status", [("invalid", 1), ("unknown", 3), ("valid", 3)])
def test_ctrl_c_tells_what_is_known_so_far(
    word: str,
    status: int,
    tmp_path: Path,
    door: Door,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """DESIGN: "Ctrl-C: 1 if a violation was proved, else 3"."""

    def interrupted(*_: Any, **__: Any) -> Verdict:
        raise Interrupted(Verdict(verdict=word, per_key=[{"key": 1, "verdict": word}]))

    for place in ("checker.__main__.check_file", "harness.commands.check.check_file"):
        monkeypatch.setattr(place, interrupted)
    (tmp_path / "h").write_text(GOOD)
    assert door([str(tmp_path / "h"), "--model", "register", "--json"]) == status
    answer = json.loads(capsys.readouterr().out)
    assert (answer["verdict"], answer["per_key"]) == (word, [{"key": 1, "verdict": word}])
