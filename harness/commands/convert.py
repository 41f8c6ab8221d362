"""`splitbrain convert SOURCE TARGET`: a history from one format into another."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from checker import HistoryError
from checker.formats.convert import convert, writable
from checker.formats.files import FORMATS
from harness.commands.answer import JSON_HELP, as_json, console
from harness.plan import UsageError, known
from harness.store import FULL, StoreError

READ_ONLY = {True: ", read only", False: ""}
HELP = f"""Convert a recorded history from one format into another.

The format of SOURCE is found by its content, that of TARGET by the end of its name. What TARGET can't hold is refused, or
named on standard error where the verdict does not rest on it. Nothing is left where a conversion fails.

Formats: {"; ".join(f"{name} ({each.says}, {each.suffix}{READ_ONLY[each.write is None]})" for name, each in FORMATS.items())}.

Exit status: 0 converted, 2 the file or an option is wrong, or TARGET can't hold the history, 4 the disk is full.

Examples:

  splitbrain convert results/latest/history.jsonl history.edn

  splitbrain convert history.edn operations.parquet

  splitbrain convert history.edn page.json --to porcupine --json
"""


def add_to(app: typer.Typer) -> None:
    """Puts the command into the command line."""
    app.command("convert", help=HELP)(command)


def command(
    source: Annotated[Path, typer.Argument(help="The history.")],
    target: Annotated[Path, typer.Argument(help="The file to write; one that is there is replaced.")],
    from_: Annotated[str | None, typer.Option("--from", help="SOURCE's format, if its content does not tell.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="TARGET's format, if its name does not tell.")] = None,
    allow_torn_tail: Annotated[
        bool, typer.Option("--allow-torn-tail", help="Cut a torn last line off instead of refusing the file.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    if from_ is not None:
        known("format", from_, FORMATS)
    if to is not None:
        known("format", to, writable())
    try:
        done = convert(source, target, from_, to, allow_torn_tail=allow_torn_tail)
    except OSError as error:
        failure = StoreError if error.errno in FULL else UsageError
        raise failure(f"cannot convert {source} to {target}: {error.filename or target}: {error.strerror}") from error
    except HistoryError as error:
        raise UsageError(f"{source}: {error}") from error
    for warning in (*done.warnings, *done.lost):
        sys.stderr.write(f"splitbrain: {source}: {warning}\n")
    if json:
        as_json({"source": str(source), "target": str(target), **msgspec.structs.asdict(done)})
    else:
        console().print(f"{done.operations:,} operations from {done.source_format} to {done.target_format}: {target}")
