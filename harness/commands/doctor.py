"""`splitbrain doctor`: what this machine can do, cluster by cluster and fault by fault, found by trying."""

from __future__ import annotations

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
from harness.nemesis import FAMILIES
from harness.progress import Quiet, watcher
from harness.run import OPENERS

HELP = """Say what this machine can do, cluster by cluster and fault by fault.

Each cluster is really started (three nodes), and each family of faults tried on it; then all is removed again.
Exit status: 0 if bare `splitbrain run` can work here, else 4.

Example:

  splitbrain doctor
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
        Finding("python", works=True, says=platform.python_version()),
        _program("git", "for --build git:<rev>"),
        *(finding for name in OPENERS for finding in _cluster(name, say)),
    ]
    works = all(finding.works for finding in findings if finding.what.startswith("local"))
    if json:
        as_json({"works": works, "findings": findings})
    else:
        table = Table("what", "", "", box=None, pad_edge=False)
        for finding in findings:
            table.add_row(finding.what, "[green]yes[/]" if finding.works else "[red]no[/]", escape(finding.says))
        console().print(table)
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
                yield Finding(f"{name} {family}", works=refusal is None, says=refusal.reason if refusal else "tried")
        except ClusterError as error:
            yield Finding(f"{name} cluster", works=False, says=str(error))
        finally:
            if cluster is not None:
                cluster.close()
