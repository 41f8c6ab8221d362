"""`splitbrain node`: a cluster to play with."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from harness.builds import resolve_build
from harness.clusters.leftovers import SCRATCH
from harness.commands.answer import console
from harness.plan import MOST_NODES, UsageError
from harness.playground import playground

HELP = """Start a cluster of nodes to play with; Ctrl-C stops it. `splitbrain kv` in another terminal talks to it.

Examples:

  splitbrain node --cluster 3

  splitbrain node --cluster 5 --data /tmp/my-cluster --build bug:no-dedup
"""

LOOK_SECONDS = 0.5  # a wish to stop that comes just before the sleep is heard after so long


def add_to(app: typer.Typer) -> None:
    """Puts the command into the command line."""
    app.command("node", help=HELP)(command)


def command(
    cluster: Annotated[int, typer.Option(help="How many nodes.")] = 3,
    build: Annotated[str, typer.Option(help="current, git:<rev> or bug:<name>.")] = "current",
    data: Annotated[Path | None, typer.Option(help="Keep the data here; else it is gone at the end.")] = None,
    port: Annotated[int, typer.Option(help="The first port; one in use is passed over.")] = 7600,
) -> None:
    if not 1 <= cluster <= MOST_NODES:
        raise UsageError(f"--cluster must be between 1 and {MOST_NODES}, not {cluster}")
    if not 1 <= port <= 65535:
        raise UsageError(f"--port must be between 1 and 65535, not {port}")
    resolved = resolve_build(build, "local")
    with tempfile.TemporaryDirectory(prefix=f"{SCRATCH}{os.getpid()}-") as scratch:
        folder = (data or Path(scratch)).absolute()
        screen = console()
        with playground(cluster, resolved, folder, port) as urls, contextlib.suppress(KeyboardInterrupt):
            for node, url in urls.items():
                screen.print(f"{node}  {url}")
            screen.print(f"data in {escape(str(folder))}; try in another terminal:")
            screen.print("  splitbrain kv put x 5 && splitbrain kv get x && splitbrain kv status")
            screen.print("Ctrl-C stops the cluster")
            while True:
                time.sleep(LOOK_SECONDS)
        screen.print("stopped")
