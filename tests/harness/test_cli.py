"""The command line as a user meets it: answers, clear errors, exit statuses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from harness.__main__ import run_command_line

ROOT = Path(__file__).resolve().parents[2]


class Answered(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


Splitbrain = Callable[..., Answered]


@pytest.fixture
def splitbrain(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Splitbrain:
    """The command line in this process: loading its libraries anew for each case would take seconds."""
    monkeypatch.setenv("COLUMNS", "160")

    def call(*arguments: str, cwd: Path = ROOT) -> Answered:
        monkeypatch.chdir(cwd)
        capsys.readouterr()
        status = run_command_line(list(arguments))
        return Answered(status, *capsys.readouterr())

    return call


def test_the_command_is_a_process_with_an_exit_status(tmp_path: Path) -> None:
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    for arguments, status in ((["list", "bugs", "--json"], 0), (["run", "--time", "1"], 2), (["report", "no"], 2)):
        done = subprocess.run(
            [sys.executable, "-m", "harness", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            check=False,
        )
        assert done.returncode == status


@pytest.mark.parametrize("arguments", [["list", "bugs"], ["list", "bugs", "--json"], ["--help"]])
def test_a_reader_that_has_seen_enough_is_no_failure(arguments: list[str]) -> None:
    """As in `splitbrain list bugs | head -1`; status 1 would accuse the store."""
    with subprocess.Popen(
        [sys.executable, "-m", "harness", *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


@pytest.mark.parametrize("arguments", [["list", "bugs"], ["list", "bugs", "--json"]])
def test_an_answer_that_cannot_be_written_says_so(arguments: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "harness", *arguments], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 4
    assert done.stderr.startswith(b"splitbrain: no space is left to write to")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("name", ["workloads", "faults", "bugs", "models"])
def test_list_answers_and_its_json_has_names(name: str, splitbrain: Splitbrain) -> None:
    answered = splitbrain("list", name, "--json")
    assert answered.returncode == 0
    rows = json.loads(answered.stdout)[name]
    assert all(row["name"] in splitbrain("list", name).stdout for row in rows)
    assert rows


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (("run", "--workload", "registre"), "unknown workload 'registre'; did you mean register?"),
        (("run", "--faults", "kil"), "unknown fault 'kil'; did you mean kill?"),
        (("run", "--seed", "1", "--seeds", "1..2"), "give one of the two"),
        (("run", "--build", "bug:no-dedupe"), "no-dedup"),
        (("run", "--build", "nonsense"), "nonsense"),
        (("run", "--cluster", "locl"), "unknown cluster 'locl'; did you mean local?"),
        (("run", "--time", "1"), "--time must be between 10 and 86400, not 1"),
        (("run", "--nodes", "many"), "--nodes"),
        (("run", "--seeds", "5..1"), "--seeds must be A..B"),
        (("run", "--seeds", ""), "--seeds must be A..B"),
        (("run", "--budget", "nan"), "--budget must be a number of seconds above 0"),
        (("run", "--name", "../elsewhere"), "--name must be the name of a folder below --out"),
        (("run", "--name", ""), "--name must be the name of a folder below --out"),
        (("kv", "gte", "x"), "unknown kv command 'gte'; did you mean get?"),
        (("kv", "get", "x", "--timeout", "nan"), "--timeout must be a number of seconds above 0"),
        (("run", "--colour", "red"), "--colour"),
        (("rnu",), "unknown command 'rnu'; did you mean run?"),
        (("list", "bug"), "unknown list 'bug'; did you mean bugs?"),
        (("list",), "say what to list: workloads, faults, bugs, models"),
        (("report", "nonsense"), "no run 'nonsense'"),
        (("check", "no-such-file.jsonl"), "no-such-file.jsonl"),
        (("check", "README.md", "--model", "regster"), "unknown model 'regster'; did you mean register"),
        (("check", "README.md", "--init", "{"), "--init must be a JSON value"),
    ],
)
def test_a_users_mistake_is_one_sentence_and_exit_2(
    arguments: tuple[str, ...], sentence: str, tmp_path: Path, splitbrain: Splitbrain
) -> None:
    answered = splitbrain(*arguments, cwd=ROOT if "README.md" in arguments else tmp_path)
    assert answered.returncode == 2
    assert sentence in answered.stderr
    assert "Traceback" not in answered.stderr
    assert not answered.stdout
    assert not list(tmp_path.iterdir())


def test_help_of_convert_says_what_is_only_read(splitbrain: Splitbrain) -> None:
    page = re.sub(r"\s+", " ", splitbrain("convert", "--help").stdout)
    assert ".operations.json, read only)" in page
    assert page.count("read only") == 1


def test_results_that_cannot_be_written_exit_4_before_anything_starts(tmp_path: Path, splitbrain: Splitbrain) -> None:
    (tmp_path / "results").write_text("in the way")
    answered = splitbrain("run", cwd=tmp_path)
    assert answered.returncode == 4
    assert "cannot write results to" in answered.stderr
    assert "choose another place with --out" in answered.stderr


def test_help_names_every_command_and_shows_examples(splitbrain: Splitbrain) -> None:
    page = splitbrain("--help").stdout
    for command in (
        "run",
        "check",
        "convert",
        "report",
        "campaign",
        "compare",
        "list",
        "doctor",
        "node",
        "kv",
        "selftest",
    ):
        assert command in page
    assert "splitbrain run --build bug:" in splitbrain("run", "--help").stdout


def history(path: Path, *lines: str) -> str:
    path.write_text("".join(line + "\n" for line in lines))
    return str(path)


INVOKE = '{"type":"invoke","process":0,"f":"write","key":"k","value":1}'
OK = '{"type":"ok","process":0,"f":"write","key":"k","value":1}'


@pytest.mark.parametrize(
    "lines, line, expected",
    [
        ((INVOKE, INVOKE), "2", "process 0"),
        ((OK,), "1", "invo"),
        ((INVOKE, OK.replace("ok", "maybe", 1)), "2", "maybe"),
        ((INVOKE, OK[:30]), "2", ""),
    ],
)
def test_a_history_that_is_not_well_formed_exits_2_with_its_line(
    tmp_path: Path, lines: tuple[str, ...], line: str, expected: str, splitbrain: Splitbrain
) -> None:
    answered = splitbrain("check", history(tmp_path / "h.jsonl", *lines), "--model", "register")
    assert answered.returncode == 2
    assert f"line {line}" in answered.stderr
    assert expected in answered.stderr
    assert not answered.stdout


def test_a_file_that_is_not_text_exits_2(tmp_path: Path, splitbrain: Splitbrain) -> None:
    (tmp_path / "h").write_bytes(bytes(range(256)))
    answered = splitbrain("check", str(tmp_path / "h"), "--model", "register")
    assert answered.returncode == 2
    assert "text" in answered.stderr


def test_check_says_valid_with_0_and_invalid_with_1_and_a_sentence(tmp_path: Path, splitbrain: Splitbrain) -> None:
    read = '{"type":"invoke","process":1,"f":"read","key":"k","value":null}'
    saw = '{"type":"ok","process":1,"f":"read","key":"k","value":%s}'
    good = splitbrain("check", history(tmp_path / "good", INVOKE, OK, read, saw % 1), "--model", "register", "--json")
    assert (good.returncode, json.loads(good.stdout)["verdict"]) == (0, "valid")
    bad = splitbrain(
        "check", history(tmp_path / "bad", INVOKE, OK, read, saw % "null"), "--model", "register", "--json"
    )
    answer = json.loads(bad.stdout)
    assert (bad.returncode, answer["verdict"]) == (1, "invalid")
    assert answer["explanation"]
    assert answer["first_impossible"]["f"] == "read"
    documented = {
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
    assert documented <= set(answer)


def test_convert_answers_and_leaves_nothing_where_it_fails(tmp_path: Path, splitbrain: Splitbrain) -> None:
    """Issue: "converters both ways: `splitbrain convert A B`"; "exit 2 with file, line ...; nothing else printed on standard output"."""
    source = history(tmp_path / "h.jsonl", INVOKE, OK)
    done = splitbrain("convert", source, str(tmp_path / "h.edn"), "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout) == {
        "source": source,
        "target": str(tmp_path / "h.edn"),
        "source_format": "jsonl",
        "target_format": "edn",
        "operations": 1,
        "lost": [],
        "warnings": [],
    }
    assert splitbrain("check", str(tmp_path / "h.edn"), "--model", "register").returncode == 0
    assert (
        "1 operations from edn to porcupine"
        in splitbrain("convert", str(tmp_path / "h.edn"), str(tmp_path / "page"), "--to", "porcupine").stdout
    )
    for arguments, sentence in (
        ((source, str(tmp_path / "h.txt")), "h.jsonl: porcupine-kv can't hold write"),
        ((source, str(tmp_path / "h")), "the name h does not tell a format"),
        ((source, str(tmp_path / "no" / "h.edn")), "No such file or directory"),
        ((str(tmp_path / "none"), str(tmp_path / "h.edn")), "none: No such file or directory"),
        ((source, "h.edn", "--from", "ednn"), "unknown format 'ednn'; did you mean edn"),
        ((source, "h.edn", "--to", "etcd"), "unknown format 'etcd'"),
        ((history(tmp_path / "bad", INVOKE, INVOKE), str(tmp_path / "h.log")), "bad: line 2: process 0 invokes"),
    ):
        refused = splitbrain("convert", *arguments)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert sentence in refused.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad", "h.edn", "h.jsonl", "page"]
