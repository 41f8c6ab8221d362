"""Compiles the loops over transactions ahead: a small history is checked as if it were a large one."""

from __future__ import annotations

from checker.budget import Budget, Meter
from checker.history import OK, History, Op
from checker.transactions.judge import analyse_appends
from checker.transactions.loops import compiling_from

_SKEW = (
    [["r", "x", []], ["append", "y", 1]],
    [["r", "y", []], ["append", "x", 1]],
)
"""Two transactions that did not see each other: every loop has something to do."""


def build() -> None:
    """Runs every loop once; what is kept from before costs milliseconds."""
    operations = [
        Op(process=place, f="txn", value=steps, type=OK, result=steps, invoked=place, returned=2 + place)
        for place, steps in enumerate(_SKEW)
    ]
    with compiling_from(0):
        analyse_appends(History(operations), Meter(Budget(seconds=None)))
