"""`splitbrain report RUN`: the tables and the page of a run, drawn anew from its files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from harness.commands.answer import JSON_HELP, as_json, console
from harness.index import write_index
from harness.report import write_counterexample, write_report
from harness.store import find_run
from harness.tables import write_tables

HELP = """Draw the report of a run anew from its files.

Examples:

  splitbrain report latest

  splitbrain report results/runs/20261124T101500.000Z-local-current-7
"""


def add_to(app: typer.Typer) -> None:
    """Puts the command into the command line."""
    app.command("report", help=HELP)(command)


def command(
    run: Annotated[str, typer.Argument(help="A run's folder, its name, `latest` or `latest-violation`.")] = "latest",
    out: Annotated[str, typer.Option(help="Folder of the results.")] = "results",
    json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    folder = find_run(Path(out), run)
    outcome = msgspec.json.decode((folder / "run.json").read_bytes()).get("outcome", "inconclusive")
    write_tables(folder)
    if outcome == "violation":
        write_counterexample(folder)
    page = write_report(folder)
    if folder.parent.parent == Path(out).resolve():
        write_index(folder.parent.parent)
    if json:
        as_json({"run": str(folder), "outcome": outcome, "report": str(page)})
    else:
        console().print(str(page))
