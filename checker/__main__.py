"""`python -m checker FILE --model M`: checks a history file without the rest of the product."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from checker.budget import Budget
from checker.check import Interrupted
from checker.command import bytes_of, check_file, initial_value
from checker.following import Following, follow
from checker.formats.files import FORMATS
from checker.history import HistoryError
from checker.models.base import ModelError
from checker.models.catalog import MODELS, make_model
from checker.verdict import INVALID, VALID, Verdict

_STATUS = {VALID: 0, INVALID: 1}
_OPTIONS = ("consistency", "linearizable_keys", "negative_balances")
_UNKNOWN = 3
_USAGE = 2


def main(arguments: list[str] | None = None) -> int:
    """Prints the verdict and returns the exit status: 0 valid, 1 invalid, 2 usage or bad input, 3 unknown."""
    parser = argparse.ArgumentParser(prog="python -m checker", description="Is this history linearizable?")
    parser.add_argument("file")
    parser.add_argument(
        "--model", help=f"one of {', '.join(MODELS)}; default: the one that knows the history's functions"
    )
    parser.add_argument("--workload", help="only the operations of this workload, of a run with several")
    parser.add_argument("--init", help="the initial value as JSON, or nil; default: the model's own")
    parser.add_argument("--format", choices=list(FORMATS), help="default: found by content")
    parser.add_argument(
        "--consistency", help="what transactions must have, by Elle's names; default: strict-serializable"
    )
    parser.add_argument(
        "--linearizable-keys", action="store_true", help="order the versions of rw-register by real time"
    )
    parser.add_argument("--negative-balances", action="store_true", help="balances of a bank may be below zero")
    parser.add_argument("--seconds", "--budget", type=float, default=60.0, help="then the verdict is unknown")
    parser.add_argument("--memory", default="1GiB", help="what the search may hold beside the history")
    parser.add_argument("--steps", type=int, help="a budget that is the same on every machine")
    parser.add_argument("--workers", type=int, help="processes that check keys at once; default: one a core")
    parser.add_argument("--witness", help="a file for the order that shows that a valid history is valid")
    parser.add_argument(
        "--follow", action="store_true", help="read on while the file grows, until the verdict is decided"
    )
    parser.add_argument(
        "--idle", type=float, default=5.0, help="a file that is followed ends after so many quiet seconds"
    )
    parser.add_argument(
        "--parent", type=int, help="a file that is followed ends with the process of this number, which asked"
    )
    parser.add_argument("--allow-torn-tail", action="store_true", help="drop a last event that was cut off")
    parser.add_argument("--json", action="store_true", help="print the whole verdict as one JSON object")
    given = parser.parse_args(arguments)
    for name, number in (("seconds", given.seconds), ("steps", given.steps)):
        if number is not None and not number > 0:
            return _refused(f"--{name} must be a number above 0, not {number:g}")
    try:
        verdict, interrupted = _verdict(given)
    except OSError as error:
        written = given.witness is not None and error.filename == given.witness
        return _refused(f"cannot {f'write {given.witness}' if written else f'read {given.file}'}: {error.strerror}")
    except HistoryError as error:
        return _refused(f"{given.file}: {error}")
    except ModelError as error:
        return _refused(str(error))
    for warning in verdict.warnings:
        print(f"{given.file}: {warning}", file=sys.stderr)
    if given.json:
        print(msgspec.json.encode(verdict.as_dict()).decode())
    else:
        reason = f": {verdict.reason}" if verdict.reason else ""
        print(f"{verdict.verdict}{reason}\n{verdict.operations:,} operations, {verdict.way}, {verdict.took()}")
    return _UNKNOWN if interrupted and verdict.verdict != INVALID else _STATUS.get(verdict.verdict, _UNKNOWN)


def _verdict(given: argparse.Namespace) -> tuple[Verdict, bool]:
    """The verdict, and whether Ctrl-C cut it short."""
    init = None if given.init is None else initial_value(given.init)
    budget = Budget(seconds=given.seconds, bytes=bytes_of(given.memory), steps=given.steps)
    options = {name: value for name in _OPTIONS if (value := getattr(given, name))}
    try:
        if given.follow:
            model = None if given.model is None else make_model(given.model, init, **options)
            path = Path(given.file)
            following = Following(path, model, given.workload, given.idle, given.parent, given.allow_torn_tail)
            return follow(following, budget), False
        verdict = check_file(
            given.file,
            given.model,
            init,
            given.format,
            budget,
            allow_torn_tail=given.allow_torn_tail,
            workload=given.workload,
            workers=given.workers,
            witness_file=given.witness,
            options=options,
        )
    except Interrupted as interrupted:
        return interrupted.verdict, True
    return verdict, False


def _refused(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return _USAGE


if __name__ == "__main__":
    sys.exit(main())
