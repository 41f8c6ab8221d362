"""`splitbrain check FILE`: whether a recorded history is linearizable."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from checker import MODELS, Budget, HistoryError, Interrupted, Model, ModelError, Verdict, make_model
from checker import Progress as Checked
from checker.command import bytes_of, check_file, initial_value
from checker.following import Followed, Following, follow
from checker.formats.files import FORMATS
from harness.commands.answer import COLOURS, JSON_HELP, as_json, console
from harness.plan import UsageError, known
from harness.progress import Screen
from harness.store import FULL, StoreError
from workloads.catalog import WORKLOADS

HELP = """Decide whether a recorded history is linearizable, or its transactions consistent.

Reads our JSON lines, Jepsen EDN and log lines, elle-cli JSON, Porcupine's logs and pages, LiMo's logs, etcd's operations.json
and Parquet; the format is found by the content.

Exit status: 0 valid, 1 invalid, 2 the file or an option is wrong, 3 unknown. Of several files the worst: invalid before
unknown before valid. After Ctrl-C 1 if a violation was proved by then, else 3, with what is known so far.

Examples:

  splitbrain check results/latest/history.jsonl --workload append

  splitbrain check history.edn --model register --init 0 --json

  splitbrain check nightly/*.jsonl --budget 600 --memory 4GiB

  splitbrain check history.jsonl --follow --idle 60      (while it is written: ends at the first violation)

  splitbrain check history.jsonl --witness order.jsonl   (the order that shows that it is valid)
"""

EXIT_STATUS = {"valid": 0, "invalid": 1, "unknown": 3}
WORST_FIRST = ("invalid", "unknown", "valid")


class Options(msgspec.Struct, frozen=True):
    """What was asked about each file."""

    model: str | None
    workload: str | None
    init: str | None
    given: dict[str, Any]  # options of the model
    format: str | None
    budget: Budget
    workers: int | None
    witness: Path | None
    allow_torn_tail: bool
    idle: float | None  # the file is followed; None: it is whole

    def model_name(self) -> str | None:
        """The model that was named, or the workload's; None: to be found."""
        return self.model or (WORKLOADS[self.workload].model if self.workload else None)

    def initial(self) -> object:
        """The initial value; None: the model's own."""
        return None if self.init is None else initial_value(self.init)


class Shown:
    """How far a check is: a bar on a terminal, a line every five seconds in a log, nothing while it is quick."""

    def __init__(self, console: Console, name: str) -> None:
        self._console, self._name = console, name
        self._begun = time.monotonic()
        self._next = self._begun + (0.3 if console.is_terminal else 5.0)
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def checked(self, progress: Checked) -> None:
        """So many keys and operations are done."""
        keys = f", {progress.keys_done} of {progress.keys} keys" if progress.keys > 1 else ""
        self._show(progress.operations_done, progress.operations, f"of {progress.operations:,} operations{keys}")

    def followed(self, followed: Followed) -> None:
        """So many operations were read."""
        self._show(followed.operations, None, f"operations, {followed.lag:,} events wait for older operations to end")

    def stop(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.stop()

    def _show(self, done: int, whole: int | None, state: str) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        if not self._console.is_terminal:
            self._next = now + 5.0
            text = f"{now - self._begun:5.1f} s: {self._name}: {done:,} {state}"
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)
            return
        self._next = now + 0.1
        if self._bar is None:
            columns = (BarColumn(bar_width=24), TextColumn("{task.completed:,.0f} {task.description}", markup=False))
            # Without a thread of its own that draws it: the checker forks, which is safe only in a process of one thread.
            self._bar = Progress(*columns, console=self._console, transient=True, auto_refresh=False)
            self._bar.start()
            self._task = self._bar.add_task(state, total=whole)
        self._bar.update(self._task, completed=done, total=whole, description=state, refresh=True)


def add_to(app: typer.Typer) -> None:
    """Puts the command into the command line."""
    app.command("check", help=HELP)(command)


def command(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="The history, or several.")],
    model: Annotated[
        str | None,
        typer.Option(
            help="What it must fit; see `list models`. If not given: the workload's, or the only one that knows its functions."
        ),
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
    memory: Annotated[
        str, typer.Option(help="What the search may hold beside the history, such as 500MB or 2GiB.")
    ] = "1GiB",
    steps: Annotated[
        int | None, typer.Option(help="Give up after so many steps: the same verdict on every machine.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="How many processes check keys at once; one a core if not given.")
    ] = None,
    witness: Annotated[
        Path | None, typer.Option(help="Where the order is written that shows that a valid history is valid.")
    ] = None,
    follow_: Annotated[
        bool, typer.Option("--follow", help="Read on while the file (JSON lines) grows, until a violation is proved.")
    ] = False,
    idle: Annotated[
        float, typer.Option(help="A file that is followed is at its end when so many seconds added nothing to it.")
    ] = 5.0,
    allow_torn_tail: Annotated[
        bool, typer.Option("--allow-torn-tail", help="Cut a torn last line off instead of refusing the file.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    _require_positive(budget=seconds, idle=idle, steps=steps, workers=workers)
    options = Options(
        model,
        workload,
        init,
        _given(consistency=consistency, linearizable_keys=linearizable_keys, negative_balances=negative_balances),
        format_,
        Budget(steps=steps, seconds=seconds, bytes=_amount(memory)),
        workers,
        witness,
        allow_torn_tail,
        idle=idle if follow_ else None,
    )
    _require_sense(options, files)
    word, interrupted = _answer(files, options, json=json)
    raise typer.Exit(EXIT_STATUS["unknown" if interrupted and word == "valid" else word])


def _given(**options: str | bool | None) -> dict[str, Any]:
    """The options of models that were given: one that the model does not have is refused, so the others must not be named."""
    return {name: value for name, value in options.items() if value}


def _amount(memory: str) -> int:
    try:
        return bytes_of(memory)
    except ModelError as error:
        raise UsageError(str(error)) from error


def _require_positive(**numbers: float | None) -> None:
    """Raises UsageError for an option that must be above 0, before anything is made of it."""
    for name, number in numbers.items():
        if number is not None and not number > 0:
            raise UsageError(f"--{name} must be a number above 0, not {number:g}")


def _require_sense(options: Options, files: list[Path]) -> None:
    """Raises UsageError for what no check can be made with."""
    for name, value, table in (
        ("model", options.model, MODELS),
        ("workload", options.workload, WORKLOADS),
        ("format", options.format, FORMATS),
    ):
        if value is not None:
            known(name, value, table)
    if len(files) > 1 and (options.witness is not None or options.idle is not None):
        which = "--witness" if options.witness is not None else "--follow"
        raise UsageError(f"{which} takes one file, not {len(files)}")


def _answer(files: list[Path], options: Options, *, json: bool) -> tuple[str, bool]:
    """Answers for each file; the worst verdict, and whether Ctrl-C came before the end."""
    verdicts: list[tuple[Path, Verdict]] = []
    interrupted = False
    for file in files:
        verdict, interrupted = _verdict_on(file, options)
        verdicts.append((file, verdict))
        if not json:
            _tell(verdict, str(file) if len(files) > 1 else "")
        if interrupted:
            break
    word = min((verdict.verdict for _, verdict in verdicts), key=WORST_FIRST.index)
    if json and len(files) == 1:
        as_json(verdicts[0][1].as_dict())
    elif json:
        as_json({"verdict": word, "runs": [{"file": str(file), **verdict.as_dict()} for file, verdict in verdicts]})
    return word, interrupted


def _verdict_on(file: Path, options: Options) -> tuple[Verdict, bool]:
    """The verdict on one file, and whether Ctrl-C cut it short; what there is to say besides is said."""
    shown = Shown(Screen(stderr=True), str(file))
    interrupted = False
    try:
        verdict = (_checked if options.idle is None else _followed)(file, options, shown)
    except Interrupted as cut:
        verdict, interrupted = cut.verdict, True
        sys.stderr.write("splitbrain: interrupted: this is what is known so far\n")
    except OSError as error:
        written = options.witness is not None and error.filename == str(options.witness)
        what = f"write the witness {options.witness}" if written else f"read {file}"
        failure = StoreError if error.errno in FULL else UsageError
        raise failure(f"cannot {what}: {error.strerror}") from error
    except HistoryError as error:
        raise UsageError(f"{file}: {error}") from error
    except ModelError as error:
        raise UsageError(str(error)) from error
    finally:
        shown.stop()
    for warning in verdict.warnings:
        sys.stderr.write(f"splitbrain: {file}: {warning}\n")
    if options.model_name() is None:
        sys.stderr.write(f"splitbrain: {file}: model {verdict.model}, the one that knows its functions\n")
    return verdict, interrupted


def _checked(file: Path, options: Options, shown: Shown) -> Verdict:
    progress: Callable[[Checked], None] = shown.checked
    return check_file(
        file,
        model=options.model_name(),
        init=options.initial(),
        format=options.format,
        budget=options.budget,
        allow_torn_tail=options.allow_torn_tail,
        workload=options.workload,
        workers=options.workers,
        progress=progress,
        witness_file=options.witness,
        options=options.given,
    )


def _followed(file: Path, options: Options, shown: Shown) -> Verdict:
    name = options.model_name()
    model: Model | None = None if name is None else make_model(name, options.initial(), **options.given)
    following = Following(file, model, options.workload, options.idle or 0.0, allow_torn_tail=options.allow_torn_tail)
    return follow(following, options.budget, shown.followed)


def _tell(verdict: Verdict, file: str) -> None:
    screen = console()
    if file:
        screen.print(escape(file))
    screen.print(
        f"[{COLOURS[verdict.verdict]}]{verdict.verdict}[/]  {escape(verdict.explanation or verdict.reason or '')}"
    )
    if verdict.verdict == "unknown":
        for word in WORST_FIRST:
            keys = [str(row["key"]) for row in verdict.per_key if row["verdict"] == word]
            if len(verdict.per_key) > 1 and keys:
                more = f" and {len(keys) - 8} more" if len(keys) > 8 else ""
                screen.print(f"    {len(keys)} keys are {word}: {escape(', '.join(keys[:8]))}{more}")
    way = f", by {verdict.way}" if verdict.way else ""
    screen.print(f"{verdict.operations} operations, model {verdict.model}{way}, {verdict.took()}")
