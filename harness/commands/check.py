"""`splitbrain check FILE`: whether a recorded history is linearizable."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from checker import MODELS, Budget, HistoryError, ModelError
from checker.command import check_file, initial_value
from checker.formats.files import FORMATS
from harness.commands.answer import COLOURS, JSON_HELP, as_json, console
from harness.plan import UsageError, known
from workloads.catalog import WORKLOADS

HELP = """Decide whether a recorded history is linearizable.

Reads our JSON lines, Jepsen EDN and log lines, and elle-cli JSON; the format is found by the content.

Exit status: 0 valid, 1 invalid, 2 the file or an option is wrong, 3 unknown.

Examples:

  splitbrain check results/latest/history.jsonl --workload append

  splitbrain check history.edn --model register --init 0 --json
"""

DEFAULT_MODEL = "cas-register"
EXIT_STATUS = {"valid": 0, "invalid": 1, "unknown": 3}


def add_to(app: typer.Typer) -> None:
    """Puts the command into the command line."""
    app.command("check", help=HELP)(command)


def _model_of(workload: str | None) -> str:
    return WORKLOADS[workload].model if workload else DEFAULT_MODEL


def command(
    file: Annotated[Path, typer.Argument(help="The history.")],
    model: Annotated[
        str | None,
        typer.Option(help="What it must fit; see `list models`. If not given: the workload's, or cas-register."),
    ] = None,
    workload: Annotated[
        str | None, typer.Option(help="Only this workload's operations, of a run with several.")
    ] = None,
    init: Annotated[
        str | None, typer.Option(help="The initial value as JSON, or nil, which it is if not given.")
    ] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="The file's format, if its content does not tell.")
    ] = None,
    seconds: Annotated[float, typer.Option("--budget", help="Give up (unknown) after so many seconds.")] = 60.0,
    allow_torn_tail: Annotated[
        bool, typer.Option("--allow-torn-tail", help="Cut a torn last line off instead of refusing the file.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    if model is not None:
        known("model", model, MODELS)
    if workload is not None:
        known("workload", workload, WORKLOADS)
    if format_ is not None:
        known("format", format_, FORMATS)
    if not seconds > 0:
        raise UsageError(f"--budget must be a number of seconds above 0, not {seconds:g}")
    try:
        verdict = check_file(
            file,
            model=model or _model_of(workload),
            init=None if init is None else initial_value(init),
            format=format_,
            budget=Budget(seconds=seconds),
            allow_torn_tail=allow_torn_tail,
            workload=workload,
        )
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from error
    except HistoryError as error:
        raise UsageError(f"{file}: {error}") from error
    except ModelError as error:
        raise UsageError(str(error)) from error
    for warning in verdict.warnings:
        sys.stderr.write(f"splitbrain: {file}: {warning}\n")
    if json:
        as_json(verdict.as_dict())
    else:
        screen = console()
        screen.print(
            f"[{COLOURS[verdict.verdict]}]{verdict.verdict}[/]  {escape(verdict.explanation or verdict.reason or '')}"
        )
        way = f", by {verdict.way}" if verdict.way else ""
        screen.print(f"{verdict.operations} operations, model {verdict.model}{way}, {verdict.seconds:.3f} s")
    raise typer.Exit(EXIT_STATUS[verdict.verdict])
