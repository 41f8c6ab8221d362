"""`splitbrain node` and `splitbrain kv` as a user meets them: a cluster to play with, answers, errors, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from harness.__main__ import run_command_line
from tests.raftnode import nodes as real

ROOT = Path(__file__).resolve().parents[2]


class Answered(NamedTuple):
    status: int
    out: str
    error: str


Kv = Callable[..., Answered]


class Playground(NamedTuple):
    """A running `splitbrain node`, and where it and `kv` look for each other."""

    process: subprocess.Popen[str]
    cache: Path
    scratch: Path


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Playground]:
    cache, scratch = tmp_path_factory.mktemp("cache"), tmp_path_factory.mktemp("scratch")
    (port,) = real.free_ports(1)
    with subprocess.Popen(
        [sys.executable, "-m", "harness", "node", "--cluster", "3", "--port", str(port)],
        cwd=ROOT,
        env={**os.environ, "XDG_CACHE_HOME": str(cache), "TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "Ctrl-C stops the cluster" in line:
                break
        yield Playground(process, cache, scratch)
        process.terminate()
        process.wait(real.PATIENCE_SECONDS)


@pytest.fixture
def kv(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, cluster: Playground) -> Kv:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cluster.cache))

    def call(*arguments: str) -> Answered:
        capsys.readouterr()
        status = run_command_line(["kv", *arguments])
        return Answered(status, *capsys.readouterr())

    return call


def test_values_are_put_and_got_and_swapped(kv: Kv) -> None:
    assert kv("put", "x", "5").status == 0
    assert json.loads(kv("get", "x", "--json").out)["value"] == 5
    assert kv("cas", "x", "5", "[6]").out.startswith("swapped: true\n")
    mismatch = kv("cas", "x", "5", "7")
    assert (mismatch.status, mismatch.out) == (1, "swapped: false\nactual: [6]\n")
    assert kv("append", "x", "word").out == "length: 2\n"
    assert kv("get", "x").out.startswith('value: [6,"word"]\n')
    assert (kv("delete", "x").status, kv("delete", "x").status) == (0, 1)
    assert (kv("get", "x").status, kv("get", "x").out) == (1, "found: false\n")


def test_the_status_of_each_node_is_told(kv: Kv) -> None:
    statuses = json.loads(kv("status", "--json").out)
    assert sorted(statuses) == ["n1", "n2", "n3"]
    assert sorted(status["role"] for status in statuses.values()) == ["follower", "follower", "leader"]


@pytest.mark.parametrize(
    "arguments,status,sentence",
    [
        (["gett", "x"], 2, "unknown kv command 'gett'; did you mean get?"),
        (["get"], 2, "kv get takes KEY, not nothing"),
        (["put", "x"], 2, "kv put takes KEY VALUE, not x"),
        (["status", "x"], 2, "kv status takes nothing, not x"),
        (["put", "", "1"], 2, "a key has 1 to 512 bytes, this one 0"),
        (["put", "x", "9" * 30], 2, "whole numbers are limited to"),
        (["get", "x", "--timeout", "0"], 2, "--timeout must be a number of seconds above 0, not 0"),
        (["get", "x", "--endpoints", "n1"], 2, "--endpoints must be n1=http://HOST:PORT,n2=..., not 'n1'"),
        (["get", "x", "--endpoints", "n1=http://127.0.0.1:1", "--timeout", "0.2"], 4, "unreachable: n1"),
        (["append", "n", "1"], 4, "the value at this key is no list (it did not happen)"),
    ],
)
def test_a_mistake_gets_one_sentence(kv: Kv, arguments: list[str], status: int, sentence: str) -> None:
    assert kv("put", "n", "1").status == 0
    answered = kv(*arguments)
    assert answered.status == status
    assert sentence in answered.error
    assert len(answered.error.splitlines()) == 1


def test_without_a_cluster_kv_says_how_to_start_one(kv: Kv, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    answered = kv("get", "x")
    assert answered.status == 2
    assert "start one with `splitbrain node`" in answered.error


@pytest.mark.parametrize(
    "arguments,sentence",
    [
        (["--cluster", "0"], "--cluster must be between 1 and 9, not 0"),
        (["--port", "70000"], "--port must be between 1 and 65535, not 70000"),
        (["--build", "bug:quorum-haf"], "unknown bug 'quorum-haf'; did you mean quorum-half?"),
    ],
)
def test_a_cluster_that_cannot_be_is_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert run_command_line(["node", *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_ctrl_c_stops_all_nodes_and_leaves_nothing(kv: Kv, cluster: Playground) -> None:
    statuses = json.loads(kv("status", "--json").out)
    cluster.process.send_signal(signal.SIGINT)
    assert cluster.process.wait(real.PATIENCE_SECONDS) == 0
    for status in statuses.values():
        with pytest.raises(ProcessLookupError):
            os.kill(status["pid"], 0)
    assert list(cluster.scratch.iterdir()) == []
    assert not (cluster.cache / "splitbrain" / "playground.json").exists()
    assert kv("get", "x").status == 2
