"""What runs leave behind is found by its process id and the time at which it began, and by nothing else."""

from __future__ import annotations

import gc
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from harness.clusters.cluster import ClusterError
from harness.clusters.leftovers import SCRATCH, Child, Ledger, State, began, forget, machine, sweep_scratch, sweep_stale
from harness.clusters.sweeping import sweep_all

SECONDS = 10


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "splitbrain" / "runs"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def note(runs: Path, owner: Child, *children: Child) -> Path:
    path = runs / "r1.json"
    path.write_bytes(msgspec.json.encode(State("r1", machine(), owner, list(children))))
    return path


def gone() -> Child:
    """A harness that is gone."""
    process = subprocess.Popen(["true"])
    owner = Child(process.pid, began(process.pid) or 1, "harness")
    process.wait()
    return owner


def test_processes_of_a_run_whose_harness_is_gone_are_killed(runs: Path, child: subprocess.Popen[bytes]) -> None:
    path = note(runs, gone(), Child(child.pid, began(child.pid), "n1"))
    assert sweep_stale() == ([f"n1 of run r1 (process {child.pid})"], [])
    assert child.wait(SECONDS) == -9
    assert not path.exists()
    assert sweep_stale() == ([], [])


def test_a_process_that_began_at_another_time_is_not_ours(runs: Path, child: subprocess.Popen[bytes]) -> None:
    """Process ids are used again."""
    path = note(runs, gone(), Child(child.pid, began(child.pid) - 1, "n1"))
    assert sweep_stale() == ([], [])
    assert child.poll() is None
    assert not path.exists()


def test_a_run_under_way_is_left_alone(runs: Path, child: subprocess.Popen[bytes]) -> None:
    path = note(runs, Child(os.getpid(), began(os.getpid()), "harness"), Child(child.pid, began(child.pid), "n1"))
    assert sweep_stale() == ([], [])
    assert child.poll() is None
    assert path.exists()


def test_a_run_on_another_machine_is_left_alone(runs: Path, child: subprocess.Popen[bytes]) -> None:
    """A home folder may be shared, and so may the folder of a container: its process ids mean nothing here."""
    path = runs / "r1.json"
    state = State("r1", "another boot:pid:[1]", gone(), [Child(child.pid, began(child.pid), "n1")], in_engine=True)
    path.write_bytes(msgspec.json.encode(state))
    assert sweep_stale() == ([], [])
    assert child.poll() is None
    assert path.exists()


def test_a_harness_whose_id_belongs_to_another_process_now_is_gone(runs: Path, child: subprocess.Popen[bytes]) -> None:
    note(runs, Child(os.getpid(), began(os.getpid()) - 1, "harness"), Child(child.pid, began(child.pid), "n1"))
    assert sweep_stale() == ([f"n1 of run r1 (process {child.pid})"], [])


def test_a_file_that_is_no_state_is_removed(runs: Path) -> None:
    (runs / "r2.json").write_text("{")
    assert sweep_stale() == ([], [])
    assert list(runs.iterdir()) == []


def test_a_run_that_used_the_engine_is_remembered_until_the_engine_has_been_swept(runs: Path) -> None:
    """Quote: 'swept: ... after kill -9 of the harness (at the next start)', which may be one on local."""
    path = runs / "r1.json"
    path.write_bytes(msgspec.json.encode(State("r1", machine(), gone(), in_engine=True)))
    assert sweep_stale() == ([], ["r1"])
    assert sweep_stale() == ([], ["r1"])
    forget(["r1"])
    assert not path.exists()
    assert sweep_stale() == ([], [])


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # the SDK forgets a socket that did not connect
def test_an_engine_that_is_gone_is_swept_later(runs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = runs / "r1.json"
    path.write_bytes(msgspec.json.encode(State("r1", machine(), gone(), in_engine=True)))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    assert sweep_all() == []
    assert path.exists()
    gc.collect()  # while the warning is ignored


def test_the_ledger_keeps_the_last_process_of_each_name(runs: Path, child: subprocess.Popen[bytes]) -> None:
    ledger = Ledger("r3")
    ledger.add(os.getpid(), "n1")
    ledger.add(child.pid, "n1")
    state = msgspec.json.decode((runs / "r3.json").read_bytes(), type=State)
    assert state.machine == machine()
    assert state.owner == Child(os.getpid(), began(os.getpid()), "harness")
    assert state.children == [Child(child.pid, began(child.pid), "n1")]
    ledger.remove()
    ledger.remove()
    assert list(runs.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(
        ClusterError, match=r"cannot note the processes of this run in .*file/splitbrain.*XDG_CACHE_HOME"
    ):
        Ledger("r4")


def test_the_folder_of_a_playground_that_was_killed_is_swept_and_that_of_a_living_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    left, kept = tmp_path / f"{SCRATCH}{ended.pid}-x", tmp_path / f"{SCRATCH}{os.getpid()}-y"
    (left / "n1").mkdir(parents=True)
    kept.mkdir()
    assert sweep_scratch() == [str(left)]
    assert (left.exists(), kept.exists()) == (False, True)
