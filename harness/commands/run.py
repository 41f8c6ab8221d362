"""`splitbrain run`: one run, or many seeds until the first violation."""

from __future__ import annotations

import math
import secrets
import sys
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.markup import escape

from harness.commands.answer import COLOURS, JSON_HELP, as_json, console, split
from harness.evidence import EXIT_STATUS, INTERRUPTED, worst
from harness.plan import Plan, UsageError, checked, seeds_of
from harness.progress import watcher
from harness.run import Record, run

HELP = """Run clients and faults against a cluster and say whether it kept its promise.

Without options: five nodes as local processes, registers and lists, partitions and kills, about 30 seconds; then the
verdict, the path of the report, and the command that runs the same plan again.

Exit status: 0 pass, 1 violation, 2 usage, 3 inconclusive, 4 infrastructure.

Examples:

  splitbrain run

  splitbrain run --build bug:read-without-quorum

  splitbrain run --cluster docker --time 60 --faults partition,kill,pause --seed 7

  splitbrain run --seeds 1..20 --time 15 --json

  splitbrain run --time 3600 --stop-at-violation
"""

DEFAULTS = Plan()


def add_to(app: typer.Typer) -> None:
    """Puts the command into the command line."""
    app.command("run", help=HELP)(command)


def command(
    cluster: Annotated[str, typer.Option(help="Where the nodes run: local or docker.")] = DEFAULTS.cluster,
    nodes: Annotated[int, typer.Option(help="How many nodes.")] = DEFAULTS.nodes,
    workload: Annotated[str, typer.Option(help="Workloads, comma-separated; see `list workloads`.")] = ",".join(
        DEFAULTS.workloads
    ),
    faults: Annotated[
        str, typer.Option(help="Fault families, comma-separated, or none; see `list faults`.")
    ] = ",".join(DEFAULTS.faults),
    seconds: Annotated[float, typer.Option("--time", help="Length of one run in seconds.")] = DEFAULTS.seconds,
    rate: Annotated[float, typer.Option(help="Operations a second (open loop); 0: closed loop.")] = DEFAULTS.rate,
    concurrency: Annotated[int, typer.Option(help="How many clients.")] = DEFAULTS.concurrency,
    seed: Annotated[int | None, typer.Option(help="Decides load and faults; drawn and printed if not given.")] = None,
    build: Annotated[
        str, typer.Option(help="What is under test: current, git:<rev>, bug:<name>, image:<tag>.")
    ] = DEFAULTS.build,
    out: Annotated[str, typer.Option(help="Folder for results.")] = DEFAULTS.out,
    name: Annotated[str, typer.Option(help="Folder below --out.")] = DEFAULTS.name,
    stop_at_violation: Annotated[
        bool,
        typer.Option("--stop-at-violation", help="Check while the run goes on, and end it at the first violation."),
    ] = DEFAULTS.stop_at_violation,
    seeds: Annotated[str | None, typer.Option(help="Many runs: A..B, until the first violation.")] = None,
    budget: Annotated[float | None, typer.Option(help="Stop starting runs after so many seconds.")] = None,
    json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    if seed is not None and seeds is not None:
        raise UsageError("--seed is one run and --seeds are many: give one of the two")
    first = secrets.randbelow(2**31) if seed is None else seed
    plan = checked(
        Plan(
            cluster=cluster,
            nodes=nodes,
            workloads=split(workload),
            faults=split(faults),
            seconds=seconds,
            rate=rate,
            concurrency=concurrency,
            seed=first,
            build=build,
            out=out,
            name=name,
            stop_at_violation=stop_at_violation,
        )
    )
    if budget is not None and not 0 < budget < math.inf:
        raise UsageError(f"--budget must be a number of seconds above 0, not {budget:g}")
    chosen = range(first, 2**63) if seeds is None else seeds_of(seeds)
    if seeds is None and budget is None:
        record = run(plan, watcher(), sys.argv[1:])
        as_json(record) if json else _tell(record)
        raise typer.Exit(_status([record]))
    records = _many(plan, chosen, budget)
    outcome = worst(record.outcome for record in records)
    if json:
        as_json({"outcome": outcome, "runs": records})
    else:
        for record in records:
            _tell(record)
    raise typer.Exit(_status(records))


def _status(records: list[Record]) -> int:
    """That of the worst outcome; after Ctrl-C 1 if a violation was proved, else 3."""
    outcome = worst(record.outcome for record in records)
    interrupted = any(INTERRUPTED in record.reasons for record in records)
    return EXIT_STATUS["inconclusive" if interrupted and outcome != "violation" else outcome]


def _many(plan: Plan, seeds: range, budget: float | None) -> list[Record]:
    """Runs seed after seed until the first violation, Ctrl-C, or the end of the budget (seconds of wall clock)."""
    begun = time.monotonic()
    records: list[Record] = []
    for seed in seeds:
        if budget is not None and records and time.monotonic() - begun >= budget:
            break
        records.append(run(msgspec.structs.replace(plan, seed=seed), watcher(), sys.argv[1:]))
        if records[-1].outcome == "violation" or INTERRUPTED in records[-1].reasons:
            break
    return records


def _tell(record: Record) -> None:
    screen = console()
    colour = COLOURS[record.outcome]
    screen.print(f"[{colour}]{record.outcome}[/]  {escape(record.reasons[0])}")
    for reason in record.reasons[1:6]:
        screen.print(f"    {escape(reason)}")
    if len(record.reasons) > 6:
        screen.print(f"    and {len(record.reasons) - 6} more reasons, in run.json")
    counts = ", ".join(f"{count} {type_}" for type_, count in record.operations.items())
    screen.print(f"operations  {counts}")
    page = Path(record.run, "report.html")
    shown = f"{page}" if page.is_file() else f"could not be drawn; the files are in {record.run}"
    screen.print(f"report      {escape(shown)}")
    screen.print(f"again       {escape(record.command)}")
