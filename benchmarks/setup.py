"""Set-up on a bare clone with a cold and with a warm package cache, and what later starts of `./splitbrain` add.

The command that is started does as little as any can (`list bugs`), so that what is measured is what stands before it.
uv and pip are told to keep their caches in a folder that is empty at the start; clones and caches are removed at the end.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from pathlib import Path

from benchmarks.figures import ROOT, Figure, heading, scratch, table

COLD_SECONDS, WARM_SECONDS, START_SECONDS = 120.0, 30.0, 0.1
STARTS = 15
COMMAND = ("list", "bugs", "--json")


def main() -> None:
    """Prints the table."""
    print(heading("setup"))
    with scratch() as folder:
        env = {**os.environ, "UV_CACHE_DIR": str(folder / "uv"), "PIP_CACHE_DIR": str(folder / "pip")}
        cold = set_up(folder / "cold", env)
        warm = set_up(folder / "warm", env)
        clone = folder / "warm"
        by_launcher, directly, bare = [], [], []
        for _ in range(STARTS):  # in turns, so that a busy moment of the machine hits all
            by_launcher.append(seconds_of(["./splitbrain", *COMMAND], clone, env))
            directly.append(seconds_of([".venv/bin/python", "-P", "-m", "harness", *COMMAND], clone, env))
            bare.append(seconds_of(["python3", "-c", "pass"], clone, env))
    added = statistics.median(by_launcher) - statistics.median(directly)
    nothing = statistics.median(bare)
    print(
        table(
            [
                Figure("set-up of a bare clone, cold package cache", cold, "s", COLD_SECONDS, "the limit", "<= 1"),
                Figure("set-up of a bare clone, warm package cache", warm, "s", WARM_SECONDS, "the limit", "<= 1"),
                Figure("what `./splitbrain` adds to a later start", added, "s", START_SECONDS, "the limit", "<= 1"),
                Figure("the same against the `python3` of PATH", added, "s", nothing, "`python3 -c pass`"),
                Figure("a later start, whole", statistics.median(by_launcher), "s"),
            ]
        )
    )


def set_up(clone: Path, env: dict[str, str]) -> float:
    """Seconds from the first start in a new clone to the answer of its command."""
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    return seconds_of(["./splitbrain", *COMMAND], clone, env)


def seconds_of(command: list[str], folder: Path, env: dict[str, str]) -> float:
    """Seconds that a command takes; it must succeed."""
    began = time.monotonic()
    subprocess.run(command, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.monotonic() - began


if __name__ == "__main__":
    main()
