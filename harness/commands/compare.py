"""`splitbrain compare`: the same seeds and schedules on two builds, and one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from harness.commands.answer import COLOURS, JSON_HELP, as_json, console, split
from harness.compare import Comparison, compare, table_of
from harness.evidence import EXIT_STATUS
from harness.plan import Plan, UsageError, seeds_of
from harness.progress import watcher

HELP = """Run the same seeds and schedules on two builds, in turns, and compare what was seen.

Prints and writes one table: outcomes, availability, throughput and latencies, each with a 95 % interval.

Exit status: 1 if and only if B breaks a promise that A keeps. Both violating in the same way is reported and is no
difference. 3 or 4 if no run of a side proved anything, or after Ctrl-C.

Examples:

  splitbrain compare current bug:read-without-quorum

  splitbrain compare git:HEAD~1 current --seeds 1..20 --time 30

  splitbrain compare image:store:1.4 image:store:1.5 --cluster docker --json
"""

DEFAULTS = Plan()


def add_to(app: typer.Typer) -> None:
    """Puts the command into the command line."""
    app.command("compare", help=HELP)(command)


def command(
    a: Annotated[str, typer.Argument(help="The build to compare with: current, git:<rev>, bug:<name>, image:<tag>.")],
    b: Annotated[str, typer.Argument(help="The build that is judged.")],
    seeds: Annotated[str, typer.Option(help="How many seeds (1..N), or which: A..B.")] = "5",
    seconds: Annotated[float, typer.Option("--time", help="Length of one run in seconds.")] = 15.0,
    cluster: Annotated[str, typer.Option(help="Where the nodes run: local or docker.")] = DEFAULTS.cluster,
    nodes: Annotated[int, typer.Option(help="How many nodes.")] = DEFAULTS.nodes,
    workload: Annotated[str, typer.Option(help="Workloads, comma-separated.")] = ",".join(DEFAULTS.workloads),
    faults: Annotated[str, typer.Option(help="Fault families, comma-separated, or none.")] = ",".join(DEFAULTS.faults),
    rate: Annotated[float, typer.Option(help="Operations a second (open loop); 0: closed loop.")] = DEFAULTS.rate,
    concurrency: Annotated[int, typer.Option(help="How many clients.")] = DEFAULTS.concurrency,
    out: Annotated[str, typer.Option(help="Folder for results.")] = DEFAULTS.out,
    json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    plan = Plan(
        cluster=cluster,
        nodes=nodes,
        workloads=split(workload),
        faults=split(faults),
        seconds=seconds,
        rate=rate,
        concurrency=concurrency,
        out=str(Path(out).absolute()),
    )
    result = compare(plan, a, b, _chosen(seeds), watcher())
    as_json(result) if json else _tell(result)
    # Ctrl-C: 1 if B was already shown to be worse, else 3.
    outcome = "inconclusive" if result.interrupted and result.outcome != "violation" else result.outcome
    raise typer.Exit(EXIT_STATUS[outcome])


def _chosen(text: str) -> range:
    if ".." in text:
        return seeds_of(text)
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--seeds must be how many (1 or more) or A..B, not {text!r}")
    return range(1, int(text) + 1)


def _tell(result: Comparison) -> None:
    screen = console()
    head, *rows = table_of(result)
    table = Table(box=None, pad_edge=False)
    for word in head:
        table.add_column(escape(word), overflow="fold")  # builds are told apart by their ends
    for row in rows:
        table.add_row(*(escape(word) for word in row))
    screen.print(table)
    screen.print(f"[{COLOURS[result.outcome]}]{result.outcome}[/]  {escape(result.sentence)}")
    if not result.same_schedules:
        screen.print("the schedules of some pairs differ: their builds were not under the same faults")
    screen.print(f"table       {escape(result.folder)}/compare.md")
