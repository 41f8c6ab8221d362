"""The folder of a run: what is written when, and the links to the latest ones.

A run is written in phases (started, ran, checked, reported), each file whole or appended line by line, so that a crash
in a later phase loses nothing of an earlier one.
"""

from __future__ import annotations

import datetime as dt
import errno
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

import msgspec

from harness.plan import UsageError

LEAST_FREE_BYTES = 200 * 1024 * 1024
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""How the system says that nothing more can be written."""


class StoreError(Exception):
    """Results cannot be written; the sentence says where, why and what to do."""


class RunFolder:
    """One run's folder below `<out>/<name>/`, made at once; raises StoreError when it cannot be."""

    def __init__(self, out: Path, name: str, label: str) -> None:
        self._begun = time.monotonic()
        self.out = out.absolute()
        stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3] + "Z"
        self.path = self.out / name / f"{stamp}-{re.sub(r'[^A-Za-z0-9._-]+', '-', label)}"
        try:
            self.path.mkdir(parents=True)
            for part in ("checks", "nodes", "tables"):
                (self.path / part).mkdir()
            free = shutil.disk_usage(self.path).free
        except OSError as error:
            raise StoreError(
                f"cannot write results to {self.path}: {error.strerror}; choose another place with --out"
            ) from error
        if free < LEAST_FREE_BYTES:
            shutil.rmtree(self.path)
            raise StoreError(
                f"only {free // 2**20} MiB are free at {self.out}; a run needs {LEAST_FREE_BYTES // 2**20} MiB:"
                " free some space or choose another place with --out"
            )

    def write(self, name: str, value: Any) -> None:
        """Writes one JSON file whole: a reader sees the old one or the new one."""
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(target.name + ".new")
        draft.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")
        draft.replace(target)

    def append(self, name: str, line: dict[str, Any]) -> None:
        """Appends one JSON line to a file; it is there when this returns."""
        with (self.path / name).open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")

    def age_seconds(self) -> float:
        """Wall-clock seconds since the folder was made."""
        return time.monotonic() - self._begun

    def publish(self, outcome: str) -> None:
        """Points `latest` (and, where it is one, `latest-violation`) at this run."""
        _link(self.out / "latest", self.path)
        if outcome == "violation":
            _link(self.out / "latest-violation", self.path)

    def forget_data(self) -> None:
        """Removes the nodes' data, which nobody looks at after a pass and many runs would fill the disk with."""
        for data in self.path.glob("nodes/*/data"):
            shutil.rmtree(data, ignore_errors=True)


def _link(link: Path, target: Path) -> None:
    draft = link.with_name(f".{link.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    draft.symlink_to(os.path.relpath(target, link.parent))
    draft.replace(link)


def find_run(out: Path, text: str) -> Path:
    """The folder of a run that a user named: a path, `latest`, `latest-violation`, or the (start of the) folder's name.

    Raises:
        UsageError: there is no such run, or more than one.
    """
    for candidate in (Path(text), out / text):
        if (candidate / "run.json").is_file():
            return candidate.resolve()
    # A campaign is found by its folder and by a link to it: one run all the same.
    named = {path.parent.resolve() for path in out.glob("*/*/run.json") if path.parent.name.startswith(text)}
    found = sorted(named)
    if len(found) == 1:
        return found[0].resolve()
    if found:
        raise UsageError(f"{len(found)} runs begin with {text!r}: {', '.join(path.name for path in found[:5])}, ...")
    raise UsageError(f"no run {text!r}: it is neither a folder with a run.json nor the name of one below {out}")
