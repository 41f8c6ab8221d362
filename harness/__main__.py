"""`python -m harness`: the command line, and what each end of a command means as an exit status.

0 pass or valid, 1 violation or invalid, 2 usage, 3 inconclusive or unknown, 4 infrastructure. An exception of our own
exits with 4, never with 1, which would accuse the store.
"""

from __future__ import annotations

import importlib
import logging
import sys
from typing import Any, NoReturn

import typer
from typer.exceptions import TyperException

from checker import HistoryError
from harness import interrupts
from harness.clusters.cluster import ClusterError
from harness.plan import UsageError, known
from harness.store import FULL, StoreError

COMMANDS = {
    "run": "Run clients and faults against a cluster and say whether it kept its promise.",
    "check": "Decide whether a recorded history is linearizable.",
    "convert": "Convert a recorded history from one format into another.",
    "report": "Draw the report of a run anew from its files.",
    "campaign": "Run a matrix of builds, clusters, workloads, faults and seeds from a TOML file.",
    "compare": "Run the same seeds and schedules on two builds and compare what was seen.",
    "list": "List workloads, faults, bugs or models.",
    "doctor": "Say what this machine can do, fault by fault.",
    "node": "Start a cluster of nodes to play with.",
    "kv": "Talk to a cluster from the shell: get, put, cas, append, delete.",
    "selftest": "Run the tests (handled by ./splitbrain; arguments go to pytest).",
}

USAGE, INFRASTRUCTURE, INTERRUPTED = 2, 4, 3
TYPERS_INTERRUPTED = 130


def main() -> NoReturn:
    """Runs the command that the arguments name and exits."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    interrupts.listen()
    status = run_command_line(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read it has seen enough; that is no failure of the command
        interrupts.write_to_nobody(1)
    sys.exit(status)


def run_command_line(arguments: list[str]) -> int:
    """Runs one command; returns its exit status. Whatever went wrong has been said on standard error."""
    try:
        return _call(arguments)
    except TyperException as error:
        # Each one that typer raises has `show`, only their common base lacks it. Some exit with 1: not here.
        error.show()  # type: ignore[attr-defined]
        return USAGE
    except (UsageError, HistoryError) as error:
        return _say(str(error), USAGE)
    except (ClusterError, StoreError) as error:
        return _say(str(error), INFRASTRUCTURE)
    except KeyboardInterrupt:
        return _say("interrupted", INTERRUPTED)
    except (BrokenPipeError, SystemExit):  # rich's consoles, such as that of --help, end with status 1 then
        interrupts.write_to_nobody(1)
        return 0
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL:
            return _say(f"no space is left to write to: {error}", INFRASTRUCTURE)
        logging.getLogger("splitbrain").exception("this is a fault of splitbrain itself, not of the store")
        return INFRASTRUCTURE


def _call(arguments: list[str]) -> int:
    """Only the module of the command that is named is loaded: `kv get` need not wait for pandas."""
    name = next((word for word in arguments if not word.startswith("-")), None)
    app = typer.Typer(
        name="splitbrain",
        help="Tells whether a replicated key-value store keeps its promise.",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
    )
    for command, says in COMMANDS.items():
        if command == known("command", name or command, COMMANDS):
            importlib.import_module(f"harness.commands.{command}").add_to(app) if name else _mention(app, command, says)
        else:
            _mention(app, command, says)
    status: Any = app(arguments, prog_name="splitbrain", standalone_mode=False)
    if status == TYPERS_INTERRUPTED:
        raise KeyboardInterrupt
    return status if isinstance(status, int) else 0


def _mention(app: typer.Typer, command: str, says: str) -> None:
    """Puts a command on the page of `--help` without loading it."""

    def mentioned() -> None:
        raise AssertionError(f"{command} was called without being loaded")

    app.command(command, help=says)(mentioned)


def _say(sentence: str, status: int) -> int:
    sys.stderr.write(f"splitbrain: {sentence}\n")
    return status


if __name__ == "__main__":
    main()
