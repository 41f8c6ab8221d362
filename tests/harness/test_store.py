"""The folder of a run: written in phases, found again by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from harness import store
from harness.plan import UsageError
from harness.store import RunFolder, StoreError, find_run


def test_a_folder_is_named_by_time_cluster_build_and_seed_and_has_its_parts(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "nightly", "local-bug:no-dedup-7")
    assert folder.path.parent == tmp_path / "nightly"
    assert folder.path.name.endswith("Z-local-bug-no-dedup-7")
    assert {"checks", "nodes", "tables"} <= {path.name for path in folder.path.iterdir()}


def test_a_json_file_is_replaced_whole(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "runs", "x")
    folder.write("run.json", {"phase": "started"})
    folder.write("run.json", {"phase": "ran"})
    assert json.loads((folder.path / "run.json").read_text()) == {"phase": "ran"}
    assert not list(folder.path.glob("*.new"))


def test_faults_and_cluster_events_are_there_line_by_line_before_the_run_ends(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "runs", "x")
    folder.append("faults.jsonl", {"fault": "f1", "phase": "requested"})
    folder.append("cluster.jsonl", {"t": 1, "node": "n1", "kind": "started"})
    assert json.loads((folder.path / "faults.jsonl").read_text())["fault"] == "f1"
    assert json.loads((folder.path / "cluster.jsonl").read_text())["node"] == "n1"


def test_latest_and_latest_violation_point_at_runs(tmp_path: Path) -> None:
    first = RunFolder(tmp_path, "runs", "first")
    first.write("run.json", {})
    first.publish("violation")
    second = RunFolder(tmp_path, "runs", "second")
    second.write("run.json", {})
    second.publish("pass")
    assert find_run(tmp_path, "latest") == second.path
    assert find_run(tmp_path, "latest-violation") == first.path
    assert find_run(tmp_path, first.path.name) == first.path
    assert find_run(tmp_path, str(second.path)) == second.path


def test_a_run_that_is_not_there_or_not_the_only_one_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run 'yesterday'"):
        find_run(tmp_path, "yesterday")
    for label in ("a", "b"):
        RunFolder(tmp_path, "runs", label).write("run.json", {})
    with pytest.raises(UsageError, match="2 runs begin with '2'"):
        find_run(tmp_path, "2")


def test_too_little_space_is_said_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _: usage._replace(free=1024))
    with pytest.raises(StoreError, match="only 0 MiB are free"):
        RunFolder(tmp_path, "runs", "x")
    assert not list((tmp_path / "runs").iterdir())
