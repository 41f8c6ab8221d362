"""The list of all runs below a results folder: `index.html`, one file without a network, and `runs.parquet`.

Runs that failed stand first, the newest of them on top. What a run is made of is read from its `run.json` alone.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

from harness.evidence import OUTCOMES, worst
from harness.report import COLOURS, WORDS, asset, draft_of, environment, write_whole

UNFINISHED = "unfinished"  # a run that was killed before it was judged, or is still under way
ORDER = (*OUTCOMES[:-1], UNFINISHED, OUTCOMES[-1])
CHOICES = {
    "outcome": "outcome",
    "build": "build",
    "cluster": "cluster",
    "workload": "workloads",
    "fault": "faults",
    "campaign": "campaign",
}
NAME_OF_TIME = "%Y%m%dT%H%M%S.%fZ"


class Entry(msgspec.Struct, frozen=True):
    """One run as the list shows it; `link` is relative to the list, empty where there is no report."""

    outcome: str
    campaign: str
    name: str
    started: str
    build: str
    cluster: str
    workloads: str
    faults: str
    seed: int
    ok: int
    fail: int
    info: int
    wall_seconds: float
    reason: str
    command: str
    run: str
    link: str


def write_index(results: Path) -> Path:
    """Writes results/index.html and results/runs.parquet over every run found at <name>/<run>/run.json; returns the page.

    A run.json that cannot be read is passed over: it belongs to a run that is being written or was damaged.

    Raises:
        OSError: the folder cannot be written.
    """
    entries = sorted(
        (
            entry
            for path in results.glob("*/*/run.json")
            if not path.parent.parent.is_symlink() and (entry := read_entry(path, results))
        ),
        key=lambda entry: entry.name,
        reverse=True,
    )
    entries.sort(key=lambda entry: ORDER.index(entry.outcome))
    table = pd.DataFrame([msgspec.to_builtins(entry) for entry in entries], columns=list(Entry.__struct_fields__))
    draft = draft_of(results / "runs.parquet")
    table.to_parquet(draft, index=False)
    draft.replace(results / "runs.parquet")
    return write_whole(results / "index.html", render_index(entries))


def read_entry(path: Path, results: Path) -> Entry | None:
    """The entry of one run.json; None where it cannot be read."""
    try:
        facts = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (msgspec.DecodeError, OSError):
        return None
    folder = path.parent
    outcome = str(facts.get("outcome"))
    build, plan, counts = facts.get("build"), facts.get("plan") or {}, facts.get("operations") or {}
    reasons = facts.get("reasons") or [f"it stopped in its phase {facts.get('phase', '?')!r}"]
    page = folder / "report.html"
    return Entry(
        outcome=outcome if outcome in OUTCOMES else UNFINISHED,
        campaign=folder.parent.name,
        name=folder.name,
        started=_started(folder.name),
        build=str(build.get("name") if isinstance(build, dict) else build or plan.get("build", "")),
        cluster=str(facts.get("cluster", "")),
        workloads=", ".join(facts.get("workload") or []),
        faults=", ".join(facts.get("faults") or []) or "none",
        seed=int(facts.get("seed") or 0),
        ok=int(counts.get("ok", 0)),
        fail=int(counts.get("fail", 0)),
        info=int(counts.get("info", 0)),
        wall_seconds=float(facts.get("wall_seconds") or 0.0),
        reason=str(facts.get("explanation") or reasons[0]),
        command=str(facts.get("command", "")),
        run=str(folder.relative_to(results)),
        link=page.relative_to(results).as_posix() if page.is_file() else "",
    )


def _started(name: str) -> str:
    """When a run began, from the name of its folder; empty where the name does not tell."""
    try:
        moment = dt.datetime.strptime(name.split("-", 1)[0], NAME_OF_TIME).replace(tzinfo=dt.UTC)
    except ValueError:
        return ""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def render_index(entries: list[Entry]) -> str:
    """The page as one string."""
    outcomes = [entry.outcome for entry in entries]
    words = {**WORDS, UNFINISHED: "Unfinished"}
    judged = worst(outcome for outcome in outcomes if outcome in OUTCOMES)
    return (
        environment()
        .get_template("index.html")
        .render(
            title="Splitbrain runs",
            colour=COLOURS[judged],
            css=asset("page.css"),
            script=asset("index.js"),
            worst=judged,
            tally=[
                (outcome, words[outcome].lower(), outcomes.count(outcome)) for outcome in ORDER if outcome in outcomes
            ],
            choices=[
                (name, field, sorted({value for entry in entries for value in getattr(entry, field).split(", ")}))
                for name, field in CHOICES.items()
            ],
            runs=[{**msgspec.to_builtins(entry), "reason": _short(entry.reason)} for entry in entries],
        )
    )


def _short(reason: str, most: int = 240) -> str:
    return reason if len(reason) <= most else reason[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"
