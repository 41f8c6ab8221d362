"""`python -m checker FILE --model M`: checks a history file without the rest of the product."""

from __future__ import annotations

import argparse
import sys

import msgspec

from checker.budget import Budget
from checker.command import check_file, initial_value
from checker.formats.files import FORMATS
from checker.history import HistoryError
from checker.models.base import ModelError
from checker.models.catalog import MODELS
from checker.verdict import INVALID, VALID

_STATUS = {VALID: 0, INVALID: 1}
_OPTIONS = ("consistency", "linearizable_keys", "negative_balances")
_UNKNOWN = 3
_USAGE = 2


def main(arguments: list[str] | None = None) -> int:
    """Prints the verdict and returns the exit status: 0 valid, 1 invalid, 2 usage or bad input, 3 unknown."""
    parser = argparse.ArgumentParser(prog="python -m checker", description="Is this history linearizable?")
    parser.add_argument("file")
    parser.add_argument("--model", required=True, help=f"one of {', '.join(MODELS)}")
    parser.add_argument("--init", help="the initial value as JSON, or nil; default: the model's own")
    parser.add_argument("--format", choices=list(FORMATS), help="default: found by content")
    parser.add_argument(
        "--consistency", help="what transactions must have, by Elle's names; default: strict-serializable"
    )
    parser.add_argument(
        "--linearizable-keys", action="store_true", help="order the versions of rw-register by real time"
    )
    parser.add_argument("--negative-balances", action="store_true", help="balances of a bank may be below zero")
    parser.add_argument("--seconds", type=float, default=60.0, help="then the verdict is unknown")
    parser.add_argument("--allow-torn-tail", action="store_true", help="drop a last event that was cut off")
    parser.add_argument("--json", action="store_true", help="print the whole verdict as one JSON object")
    given = parser.parse_args(arguments)
    try:
        verdict = check_file(
            given.file,
            given.model,
            None if given.init is None else initial_value(given.init),
            given.format,
            Budget(seconds=given.seconds),
            allow_torn_tail=given.allow_torn_tail,
            options={name: value for name in _OPTIONS if (value := getattr(given, name))},
        )
    except OSError as error:
        return _refused(f"cannot read {given.file}: {error.strerror}")
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
        print(f"{verdict.verdict}{reason}\n{verdict.operations:,} operations, {verdict.way}, {verdict.seconds:.3f} s")
    return _STATUS.get(verdict.verdict, _UNKNOWN)


def _refused(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return _USAGE


if __name__ == "__main__":
    sys.exit(main())
