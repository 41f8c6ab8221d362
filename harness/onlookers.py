"""Processes that read the history of a run while it is written, and end when they have proved a violation.

Each workload has one of its own, so that the loop of the run is not disturbed; what they prove only ends the run early. The
verdict is that of the check of the whole, afterwards.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from workloads.catalog import WORKLOADS

_PROVED = 1
_FOR_EVER = "1e9"


class Onlookers:
    """One process for each workload; none of them outlives this one."""

    def __init__(self, history: Path, workloads: Iterable[str]) -> None:
        # They must not take time from the nodes and clients of the run.
        modestly = ["nice", "-n", "10"] if shutil.which("nice") else []
        self._processes = {
            name: subprocess.Popen(
                [
                    *(*modestly, sys.executable, "-m", "checker", str(history), "--follow", "--idle", _FOR_EVER),
                    *("--parent", str(os.getpid()), "--workload", name, "--model", WORKLOADS[name].model),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the run alone
            )
            for name in workloads
        }

    def proved(self) -> bool:
        """Whether one of them has proved a violation."""
        return any(process.poll() == _PROVED for process in self._processes.values())

    def ended(self) -> list[str]:
        """The workloads whose onlooker is gone without having proved anything."""
        return [name for name, process in self._processes.items() if process.poll() not in {None, _PROVED}]

    def close(self) -> list[str]:
        """Ends them all; the workloads whose onlooker was gone before."""
        lost = self.ended()
        for process in self._processes.values():
            process.kill()
            process.wait()
        return lost
