"""`splitbrain doctor`: what this machine can do, cluster by cluster and fault by fault, found by trying."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.markup import escape
from rich.table import Table

from harness.builds import resolve_build
from harness.clusters.cluster import Cluster, ClusterError
from harness.commands.answer import JSON_HELP, as_json, console
from harness.interrupts import held_back
from harness.nemesis import FAMILIES
from harness.progress import Quiet, watcher
from harness.run import OPENERS

HELP = """Say what this machine can do, cluster by cluster and fault by fault.

Each cluster is really started (three nodes), and each family of faults tried on it; then all is removed again.

Exit status: 0 if bare `splitbrain run` can work here, else 4.

Examples:

  splitbrain doctor

  splitbrain doctor --json
"""

INFRASTRUCTURE = 4


class Finding(msgspec.Struct, frozen=True):
    """One thing that was tried."""

    what: str
    works: bool
    says: str


def add_to(app: typer.Typer) -> None:
    """Puts the command into the command line."""
    app.command("doctor", help=HELP)(command)


def command(json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False) -> None:
    say = (Quiet() if json else watcher()).say
    findings = [
        Finding("python", works=True, says=f"{platform.python_version()}, {os.cpu_count()} processors"),
        _program("git", "for --build git:<rev>"),
        _program("chromium", "only for the tests that open a report"),
        *(finding for name in OPENERS for finding in _cluster(name, say)),
    ]
    works = all(finding.works for finding in findings if finding.what.startswith("local"))
    if json:
        as_json({"works": works, "findings": findings})
    else:
        table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 3, 0, 0))
        for finding in findings:
            table.add_row(finding.what, "[green]yes[/]" if finding.works else "[red]no[/]", escape(finding.says))
        console().print(table)
        console().print(
            "\n`./splitbrain run` works on this machine."
            if works
            else "\n`./splitbrain run` cannot work on this machine: see what is `no` for local."
        )
    raise typer.Exit(0 if works else INFRASTRUCTURE)


def _program(name: str, purpose: str) -> Finding:
    found = shutil.which(name)
    return Finding(name, works=found is not None, says=f"{purpose}: {found or 'not on PATH'}")


def _cluster(name: str, say: Callable[[str], None]) -> Iterator[Finding]:
    """Starts a small cluster and asks it for each family of faults."""
    cluster: Cluster | None = None
    with tempfile.TemporaryDirectory(prefix="splitbrain-doctor-") as folder:
        try:
            cluster = OPENERS[name](
                node_ids=("n1", "n2", "n3"),
                build=resolve_build("current", name),
                folder=Path(folder),
                seed=1,
                workers=3,
                say=say,
            )
            yield Finding(f"{name} cluster", works=True, says="three nodes answered")
            for family in FAMILIES:
                refusal = cluster.can(family)
                yield Finding(
                    f"{name} {family}", works=refusal is None, says=refusal.reason if refusal else "can be done to it"
                )
        except ClusterError as error:
            yield Finding(f"{name} cluster", works=False, says=str(error))
        finally:
            if cluster is not None:
                with held_back():
                    cluster.close()
