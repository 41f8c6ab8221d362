"""`splitbrain list`: workloads, faults, bugs and models by name."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from checker import MODELS
from harness import nemesis
from harness.commands.answer import JSON_HELP, as_json, console
from harness.plan import UsageError, known
from raftnode.bugs import BUGS
from workloads.catalog import WORKLOADS

HELP = """List workloads, faults, bugs or models.

Examples:

  splitbrain list bugs

  splitbrain list faults --json
"""

FAULTS = {
    "partition": ("cuts the network between nodes, and clients with it", nemesis.PARTITIONS),
    "kill": ("kill -9, and a restart from what the disk kept", nemesis.KILLS),
    "pause": ("SIGSTOP and SIGCONT: a node that stands still and then goes on", nemesis.PAUSES),
    "delay": ("slows links, in order and without loss; on local only, and not among the defaults", nemesis.DELAYS),
}


def add_to(app: typer.Typer) -> None:
    """Puts the command into the command line."""
    app.command("list", help=HELP)(command)


def command(
    what: Annotated[str, typer.Argument(help="workloads, faults, bugs or models", show_default=False)] = "",
    json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    if not what:
        raise UsageError(f"say what to list: {', '.join(TABLES)}")
    rows = TABLES[known("list", what, TABLES)]()
    if json:
        as_json({what: rows})
        return
    screen = console()
    for row in rows:
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column(style="dim", min_width=9)
        table.add_column()
        screen.print(f"[bold]{row['name']}[/]")
        for name, value in row.items():
            if name != "name" and value:
                text = ", ".join(value) if isinstance(value, list) else str(value)
                table.add_row(f"  {name.replace('_', ' ')}", escape(text))
        screen.print(table)


def _workloads() -> list[dict[str, Any]]:
    return [{"name": each.name, "says": each.says, "model": each.model} for each in WORKLOADS.values()]


def _faults() -> list[dict[str, Any]]:
    return [{"name": name, "says": says, "kinds": list(dict.fromkeys(kinds))} for name, (says, kinds) in FAULTS.items()]


def _bugs() -> list[dict[str, Any]]:
    return [
        {
            "name": bug.name,
            "breaks": bug.breaks,
            "caught_by": bug.caught_by,
            "resembles": bug.source,
            "command": bug.command,
        }
        for bug in BUGS.values()
    ]


def _models() -> list[dict[str, Any]]:
    return [{"name": name, "says": (model.__doc__ or "").splitlines()[0]} for name, model in MODELS.items()]


TABLES = {"workloads": _workloads, "faults": _faults, "bugs": _bugs, "models": _models}
