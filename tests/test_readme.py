"""What README.md says is so: its commands run as written, its table names every bug, its sample can be read and drawn."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from source_tree import ROOT

from harness.counterexample import rows
from harness.reading import read_run
from harness.report import write_counterexample, write_report
from raftnode.bugs import BUGS

README = (ROOT / "README.md").read_text(encoding="utf-8")
RECORD = (ROOT / "campaigns" / "record.md").read_text(encoding="utf-8")
SAMPLE = ROOT / "results" / "sample"
COMMAND = re.compile(r"^    (\./splitbrain [^#\n]*?) *(?:# *(.*))?$", re.MULTILINE)
NODE = "./splitbrain node --cluster 3"
PATIENCE = 540  # seconds


def commands() -> Iterator[pytest.param]:
    """Every command of the README with the exit status that its comment promises; 0 where it promises none."""
    for command, comment in COMMAND.findall(README):
        promised = re.match(r"exit (\d)", comment)
        marks = [pytest.mark.docker] if "--cluster docker" in command else []
        yield pytest.param(command, int(promised.group(1)) if promised else 0, id=command, marks=marks)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like the clone, so that what the commands write is gone afterwards."""
    place = tmp_path_factory.mktemp("readme")
    (place / "splitbrain").symlink_to(ROOT / "splitbrain")
    (place / "campaigns").symlink_to(ROOT / "campaigns")
    shutil.copytree(SAMPLE, place / "results" / "sample")
    return place


@contextlib.contextmanager
def playing(place: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """The README's cluster to play with, until the end of the block.

    It is ended by SIGTERM, which does what Ctrl-C does: in the background of a script SIGINT is ignored.
    """
    assert NODE in README
    with subprocess.Popen(
        shlex.split(NODE), cwd=place, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as node:
        try:
            assert node.stdout is not None
            for line in node.stdout:
                if "Ctrl-C stops" in line:
                    break
            yield node
        finally:
            node.terminate()
            try:
                node.wait(60)
            except subprocess.TimeoutExpired:
                node.kill()
                raise


@pytest.mark.slow
@pytest.mark.parametrize("command, status", list(commands()))
def test_every_command_runs_as_written(command: str, status: int, place: Path, tmp_path: Path) -> None:
    """Issue 3: "README's commands run as written"; the tests themselves are running already."""
    if command == "./splitbrain selftest":
        pytest.skip("the tests are running already: this is one of them")
    # A playground is found by a file in the user's cache: this one must not be mixed up with the user's own.
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    if " node " in command:
        with playing(place, environment) as node:
            pass
        assert node.returncode == status
        return
    with playing(place, environment) if " kv " in command else contextlib.nullcontext():
        if command.endswith("kv get x"):
            subprocess.run(["./splitbrain", "kv", "put", "x", "5"], cwd=place, env=environment, check=True)
        done = subprocess.run(
            shlex.split(command),
            cwd=place,
            env=environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    assert done.returncode == status, done.stdout[-2000:] + done.stderr[-2000:]


def test_the_table_of_bugs_names_each_with_its_rule_and_what_catches_it() -> None:
    table = README.split("<!-- bugs -->")[1].split("<!-- end of bugs -->")[0].strip().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]
    assert [row[:3] for row in cells] == [[f"`{bug.name}`", bug.breaks, bug.caught_by] for bug in BUGS.values()]
    assert [row[3:] for row in cells] == [[caught(bug, "local"), caught(bug, "docker")] for bug in BUGS]


def caught(bug: str, cluster: str) -> str:
    """What the track record says: "yes" where a run of the bug ended as a violation."""
    (row,) = re.findall(rf"^\| bug:{bug} \| {cluster} \|.*$", RECORD, re.MULTILINE)
    runs, violations = row.strip("| ").split("|")[4:6]
    assert int(runs) > 0
    return "yes" if violations.strip() else "no"


def test_the_sample_is_of_a_real_run_and_can_be_drawn_anew(tmp_path: Path) -> None:
    """Issue 3: "The sample in results/ that the README shows is from a real run"."""
    folder = shutil.copytree(SAMPLE, tmp_path / "sample")
    run = read_run(folder)
    assert (run.run["outcome"], run.run["build"]["name"]) == ("violation", "bug:read-without-quorum")
    assert run.warnings == []
    assert [row.impossible for row in rows(run)].count(True) == 1
    assert (folder / "report.png").read_bytes().startswith(b"\x89PNG")
    drawn = write_report(folder).read_text()
    assert run.run["explanation"].split(",")[0] in drawn
    before = (SAMPLE / "counterexample" / "core.jsonl").read_bytes()
    assert write_counterexample(folder) is not None
    assert (folder / "counterexample" / "core.jsonl").read_bytes() == before


def test_the_sample_names_no_folder_of_the_machine_that_made_it() -> None:
    homes = re.compile(rb"/(?:home|root|tmp|Users|var|work)/")
    texts = [path for path in SAMPLE.rglob("*") if path.is_file() and path.suffix != ".png"]
    assert [path.name for path in texts if homes.search(path.read_bytes())] == []
    assert len(texts) > 5
