"""`splitbrain campaign`: a matrix of runs from a TOML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from harness.campaign import read_campaign, run_campaign
from harness.commands.answer import COLOURS, JSON_HELP, as_json, console
from harness.evidence import EXIT_STATUS
from harness.progress import watcher

HELP = """Run a matrix of builds, clusters, workloads, faults and seeds from a TOML file, one run after the other.

After a kill or Ctrl-C the same command goes on where it stopped. Results: summary.md, junit.xml and runs.parquet in the
campaign's folder, and index.html over all runs.

Exit status: that of the worst outcome, violation > infrastructure > inconclusive > pass.

Examples:

  splitbrain campaign campaigns/smoke.toml

  splitbrain campaign campaigns/nightly.toml --out /var/lib/splitbrain --json
"""


def add_to(app: typer.Typer) -> None:
    """Puts the command into the command line."""
    app.command("campaign", help=HELP)(command)


def command(
    file: Annotated[Path, typer.Argument(help="The campaign, for example campaigns/smoke.toml.")],
    out: Annotated[str, typer.Option(help="Folder for results.")] = "results",
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew, even if it was stopped halfway.")] = False,
    json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    folder, state = run_campaign(read_campaign(file), str(file), Path(out).absolute(), watcher(), fresh=fresh)
    # Ctrl-C: 1 if a violation was proved, else 3, whatever else there was.
    outcome = state.outcome if state.ended or state.outcome == "violation" else "inconclusive"
    if json:
        runs = [each.record for each in state.done]
        as_json(
            {"outcome": outcome, "campaign": str(folder), "ended": state.ended, "asked": len(state.plans), "runs": runs}
        )
    else:
        screen = console()
        screen.print(f"[{COLOURS[outcome]}]{outcome}[/]  {len(state.done)} of {len(state.plans)} runs done")
        screen.print(f"summary     {escape(str(folder / 'summary.md'))}")
        screen.print(f"all runs    {escape(str(folder.parent / 'index.html'))}")
    raise typer.Exit(EXIT_STATUS[outcome])
