"""The list of runs: "results/index.html (all runs, failing first, links)" and runs.parquet."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd

from harness.index import write_index


def add_run(
    results: Path, name: str, outcome: str | None, *, campaign: str = "runs", page: bool = True, **more: Any
) -> Path:
    folder = results / campaign / name
    folder.mkdir(parents=True)
    facts = {
        "phase": "reported",
        "seed": 7,
        "cluster": "local",
        "build": {"name": "current"},
        "faults": ["kill"],
        **more,
    }
    (folder / "run.json").write_text(json.dumps(facts if outcome is None else {**facts, "outcome": outcome}))
    if page:
        (folder / "report.html").write_text("<!doctype html>")
    return folder


def outcomes_on(page: str) -> list[str]:
    return re.findall(r'<tr data-outcome="([a-z]+)"', page)


def test_failing_runs_stand_first_and_the_newest_of_them_on_top(tmp_path: Path) -> None:
    for name, outcome in (
        ("20261124T101500.000Z-local-current-1", "pass"),
        ("20261124T101600.000Z-local-current-2", "violation"),
        ("20261124T101700.000Z-local-current-3", "inconclusive"),
        ("20261124T101800.000Z-local-current-4", "infrastructure"),
        ("20261124T101900.000Z-local-current-5", "violation"),
    ):
        add_run(tmp_path, name, outcome)
    page = write_index(tmp_path).read_text()
    assert outcomes_on(page) == ["violation", "violation", "infrastructure", "inconclusive", "pass"]
    assert page.index("2026-11-24 10:19:00 UTC") < page.index("2026-11-24 10:16:00 UTC")
    table = pd.read_parquet(tmp_path / "runs.parquet")
    assert table["outcome"].tolist() == outcomes_on(page)


def test_each_run_links_to_its_report_by_a_path_that_stays_right_when_the_folder_moves(tmp_path: Path) -> None:
    add_run(tmp_path, "20261124T101500.000Z-local-current-1", "pass", campaign="nightly")
    add_run(tmp_path, "20261124T101600.000Z-local-current-2", "pass", page=False)
    page = write_index(tmp_path).read_text()
    assert re.findall(r'href="([^"]*report.html)"', page) == [
        "nightly/20261124T101500.000Z-local-current-1/report.html"
    ]


def test_links_to_the_latest_run_are_not_runs_of_their_own(tmp_path: Path) -> None:
    folder = add_run(tmp_path, "20261124T101500.000Z-local-current-1", "pass")
    (tmp_path / "latest").symlink_to(folder)
    (tmp_path / "again").symlink_to(folder.parent)
    assert outcomes_on(write_index(tmp_path).read_text()) == ["pass"]


def test_a_run_that_was_killed_is_listed_as_unfinished_and_a_damaged_one_is_passed_over(tmp_path: Path) -> None:
    add_run(tmp_path, "20261124T101500.000Z-local-current-1", None, phase="ran", page=False)
    add_run(tmp_path, "20261124T101600.000Z-local-current-2", "pass")
    (add_run(tmp_path, "20261124T101700.000Z-local-current-3", "pass") / "run.json").write_text('{"outco')
    page = write_index(tmp_path).read_text()
    assert outcomes_on(page) == ["unfinished", "pass"]
    assert "stopped in its phase" in page


def test_words_of_a_run_are_text_on_the_page(tmp_path: Path) -> None:
    add_run(tmp_path, "20261124T101500.000Z-local-x-1", "violation", explanation="read <img src=x onerror=alert(1)>")
    page = write_index(tmp_path).read_text()
    assert "<img" not in page
    assert "&lt;img src=x" in page


def test_a_folder_without_runs_says_how_to_begin(tmp_path: Path) -> None:
    assert "./splitbrain run" in write_index(tmp_path).read_text()
    assert pd.read_parquet(tmp_path / "runs.parquet").empty
