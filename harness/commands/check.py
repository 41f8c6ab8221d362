"""`splitbrain check FILE`: whether a recorded history is linearizable."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from checker import MODELS, Budget, HistoryError, ModelError, Verdict
from checker.command import check_file, initial_value
from checker.formats.files import FORMATS
from harness.commands.answer import COLOURS, JSON_HELP, as_json, console
from harness.plan import UsageError, known
from workloads.catalog import WORKLOADS

HELP = """Decide whether a recorded history is linearizable, or its transactions consistent.

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


def _given(**options: str | bool | None) -> dict[str, Any]:
    """The options of models that were given: one that the model does not have is refused, so the others must not be named."""
    return {name: value for name, value in options.items() if value}


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
    consistency: Annotated[
        str | None,
        typer.Option(
            help="What transactions must have, by Elle's names, e.g. snapshot-isolation. If not given: strict-serializable."
        ),
    ] = None,
    linearizable_keys: Annotated[
        bool, typer.Option("--linearizable-keys", help="Order the versions of rw-register by real time.")
    ] = False,
    negative_balances: Annotated[
        bool, typer.Option("--negative-balances", help="Balances of a bank may be below zero.")
    ] = False,
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
            options=_given(
                consistency=consistency, linearizable_keys=linearizable_keys, negative_balances=negative_balances
            ),
        )
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from error
    except HistoryError as error:
        raise UsageError(f"{file}: {error}") from error
    except ModelError as error:
        raise UsageError(str(error)) from error
    _tell(file, verdict, as_object=json)
    raise typer.Exit(EXIT_STATUS[verdict.verdict])


def _tell(file: Path, verdict: Verdict, *, as_object: bool) -> None:
    """Prints what is known: one object, or sentences."""
    for warning in verdict.warnings:
        sys.stderr.write(f"splitbrain: {file}: {warning}\n")
    if as_object:
        as_json(verdict.as_dict())
    else:
        screen = console()
        screen.print(
            f"[{COLOURS[verdict.verdict]}]{verdict.verdict}[/]  {escape(verdict.explanation or verdict.reason or '')}"
        )
        way = f", by {verdict.way}" if verdict.way else ""
        screen.print(f"{verdict.operations} operations, model {verdict.model}{way}, {verdict.seconds:.3f} s")
