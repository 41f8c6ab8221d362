"""Figures as rows of a table: what was measured, the limit or the peer it stands against, and the ratio of the two.

What is judged here is nothing: a benchmark prints, and a reader decides. Each table opens with the machine, the revision
and the time that it was measured at, because a figure means nothing without them.
"""

from __future__ import annotations

import datetime as dt
import os
import platform
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[1]
GIBIBYTE = 2**30


class Figure(msgspec.Struct, frozen=True):
    """One row. `against` is None for a figure that only tells where time goes."""

    name: str
    value: float
    unit: str
    against: float | None = None
    what: str = ""  # what it stands against: "the limit", or the name of a peer measured in the same run
    wanted: str = ""  # what is asked of the ratio: "<= 1", ">= 1", or nothing


def table(figures: Sequence[Figure]) -> str:
    """The figures in Markdown."""
    lines = ["| figure | measured | against | ratio | wanted |", "|---|---|---|---|---|"]
    for each in figures:
        against, ratio = "", ""
        if each.against is not None:
            against = f"{_number(each.against)} {each.unit} ({each.what})"
            ratio = _number(each.value / each.against)
        lines.append(f"| {each.name} | {_number(each.value)} {each.unit} | {against} | {ratio} | {each.wanted} |")
    return "\n".join(lines)


def _number(value: float) -> str:
    """Three digits say as much as one run can."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder on the disk that runs write to, removed at the end."""
    results = ROOT / "results"
    results.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=results) as name:
        yield Path(name)


def heading(name: str) -> str:
    """The benchmark's name with the facts that its figures depend on; to be asked for before the work begins."""
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M")
    cpu = re.search(r"(?m)^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIBIBYTE
    facts = [
        f"{os.cpu_count()} cores ({cpu[1] if cpu else platform.machine()})",
        f"{memory:.0f} GiB",
        f"Linux {platform.release()}",
        f"Python {platform.python_version()}",
        f"load average before {os.getloadavg()[0]:.1f}",
    ]
    return f"### {name}\n\n{now} UTC, revision {_revision()}; {', '.join(facts)}.\n"


def _revision() -> str:
    """The commit that is checked out, and whether files differ from it."""
    git = ["git", "-C", str(ROOT)]
    revision = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    changes = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=False)
    if revision.returncode != 0:
        return "unknown"
    return revision.stdout.strip() + (" with changes" if changes.stdout.strip() else "")
