"""`splitbrain list`: workloads, faults, bugs and models by name."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from checker import MODELS
from harness import nemesis
from harness.commands.answer import JSON_HELP, as_json, console
from harness.plan import known
from raftnode.bugs import BUGS
from workloads.catalog import WORKLOADS

HELP = """List workloads, faults, bugs or models.

Examples:

  splitbrain list bugs

  splitbrain list faults --json
"""

FAULTS = {
    "partition": ("cuts the network along " + ", ".join(nemesis.PARTITIONS)),
    "kill": "kill -9 and restart of " + ", ".join(dict.fromkeys(nemesis.KILLS)),
    "pause": "SIGSTOP and SIGCONT of " + ", ".join(nemesis.PAUSES),
}


def add_to(app: typer.Typer) -> None:
    """Puts the command into the command line."""
    app.command("list", help=HELP)(command)


def command(
    what: Annotated[str, typer.Argument(help="workloads, faults, bugs or models")],
    json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    rows = TABLES[known("list", what, TABLES)]()
    if json:
        as_json({what: rows})
        return
    table = Table(*rows[0], box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row.values())
    console().print(table)


def _workloads() -> list[dict[str, str]]:
    return [{"name": each.name, "model": each.model, "says": each.says} for each in WORKLOADS.values()]


def _faults() -> list[dict[str, str]]:
    return [{"name": name, "says": FAULTS[name]} for name in nemesis.FAMILIES]


def _bugs() -> list[dict[str, str]]:
    return [
        {"name": bug.name, "breaks": bug.breaks, "caught by": bug.caught_by, "command": bug.command}
        for bug in BUGS.values()
    ]


def _models() -> list[dict[str, str]]:
    return [{"name": name, "says": model.says} for name, model in MODELS.items()]


TABLES = {"workloads": _workloads, "faults": _faults, "bugs": _bugs, "models": _models}
