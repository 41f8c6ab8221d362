"""`splitbrain list`: workloads, faults, bugs and models by name."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
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
    screen = console()
    for row in rows:
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column(style="dim", min_width=9)
        table.add_column()
        screen.print(f"[bold]{row['name']}[/]")
        for name, text in row.items():
            if name != "name" and text:
                table.add_row(f"  {name}", escape(text))
        screen.print(table)


def _workloads() -> list[dict[str, str]]:
    return [{"name": each.name, "model": each.model, "says": each.says} for each in WORKLOADS.values()]


def _faults() -> list[dict[str, str]]:
    return [{"name": name, "says": FAULTS[name]} for name in nemesis.FAMILIES]


def _bugs() -> list[dict[str, str]]:
    return [
        {
            "name": bug.name,
            "breaks": bug.breaks,
            "caught by": bug.caught_by,
            "resembles": bug.source,
            "command": bug.command,
            "note": "too rare in real time: left to the simulator" if bug.rare else "",
        }
        for bug in BUGS.values()
    ]


def _models() -> list[dict[str, str]]:
    return [{"name": name, "says": (model.__doc__ or "").splitlines()[0]} for name, model in MODELS.items()]


TABLES = {"workloads": _workloads, "faults": _faults, "bugs": _bugs, "models": _models}
