"""What a run on this machine has started, kept in a file, so that a later run can remove what outlived its owner.

Nodes die with their harness anyway (`leash.py`); this is for the cases in which they did not. A process is known by its
id and the time at which it began: ids alone are used again. Not here: how processes are started (`processes.py`).
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path

import msgspec

from harness.clusters.cluster import ClusterError

BEGAN = (
    19  # place of a process's start time (clock ticks since boot) among the fields behind its name in /proc/<pid>/stat
)
STATE = 0
SCRATCH = "splitbrain-node-"  # temporary folders of clusters to play with; the process that made one follows


class Child(msgspec.Struct, frozen=True):
    """A process: its id, when it began, and what it is to a reader."""

    pid: int
    began: int
    name: str


class State(msgspec.Struct):
    """What the file of a run holds; `in_engine`: it also made things in the container engine, labelled with the run."""

    run: str
    machine: str  # on which the ids of processes mean something; a home folder may be shared
    owner: Child
    children: list[Child] = []
    in_engine: bool = False


def stat_of(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat from the state on; [] if there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(")")[2].split()


def began(pid: int) -> int:
    """When a process began, in clock ticks since boot; 0 if there is none, or only what is left for its parent to see."""
    fields = stat_of(pid)
    return int(fields[BEGAN]) if fields and fields[STATE] not in {"Z", "X"} else 0


def machine() -> str:
    """Names what the ids of processes are unique in: this boot of this machine, and the namespace of processes."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    return f"{boot}:{Path('/proc/self/ns/pid').readlink()}"


def sweep_scratch() -> list[str]:
    """Removes temporary folders whose process is gone."""
    gone = []
    for path in Path(tempfile.gettempdir()).glob(f"{SCRATCH}*-*"):
        owner = path.name.removeprefix(SCRATCH).partition("-")[0]
        if owner.isdecimal() and not began(int(owner)):
            shutil.rmtree(path, ignore_errors=True)  # another user's stays
            gone.append(str(path))
    return gone


def cache_folder() -> Path:
    """Where this machine's runs keep what may be thrown away. Raises `ClusterError` for a user without a home."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "splitbrain"
    except RuntimeError as error:
        raise ClusterError(f"{error}; set XDG_CACHE_HOME to a folder that can be written") from error


def folder() -> Path:
    """Where the files of runs lie."""
    return cache_folder() / "runs"


class Ledger:
    """The file of one run. Its methods may be called from any thread."""

    def __init__(self, run: str, *, in_engine: bool = False) -> None:
        """Writes the file. Raises `ClusterError` where it cannot be written."""
        self._path = folder() / f"{run}.json"
        self._state = State(run, machine(), Child(os.getpid(), began(os.getpid()), "harness"), in_engine=in_engine)
        self._lock = threading.Lock()
        self._write()

    def add(self, pid: int, name: str) -> None:
        """A process was started; one of the same name before it is forgotten."""
        with self._lock:
            others = [child for child in self._state.children if child.name != name]
            self._state.children = [*others, Child(pid, began(pid), name)]
            self._write()

    def remove(self) -> None:
        """The run has ended and left nothing."""
        self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        draft = self._path.with_suffix(".new")
        try:
            draft.parent.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(msgspec.json.encode(self._state))
            draft.replace(self._path)
        except OSError as error:
            raise ClusterError(
                f"cannot note the processes of this run in {self._path}: {error.strerror}; set XDG_CACHE_HOME to a"
                " folder that can be written"
            ) from error


def sweep_stale() -> tuple[list[str], list[str]]:
    """Kills the processes of runs whose harness is gone, and removes their files; not of those on another machine.

    Returns what was killed, and the runs that left something in the container engine: their files stay until `forget`.
    """
    gone: list[str] = []
    in_engine: list[str] = []
    for path in sorted(folder().glob("*.json")):
        try:
            state = msgspec.json.decode(path.read_bytes(), type=State)
        except FileNotFoundError:
            continue  # that run has just ended
        except msgspec.DecodeError:
            path.unlink(missing_ok=True)
            continue
        if state.machine != machine() or began(state.owner.pid) == state.owner.began:
            continue  # elsewhere, or under way
        gone += [f"{child.name} of run {state.run} (process {child.pid})" for child in state.children if _kill(child)]
        if state.in_engine:
            in_engine.append(state.run)
        else:
            path.unlink(missing_ok=True)
    return gone, in_engine


def forget(runs: Iterable[str]) -> None:
    """Removes the files of runs of which nothing is left."""
    for run in runs:
        (folder() / f"{run}.json").unlink(missing_ok=True)


def _kill(child: Child) -> bool:
    """Kills a process if it is still the one that was noted; returns whether it was."""
    if not child.began or began(child.pid) != child.began:
        return False
    try:
        os.kill(child.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    return True
