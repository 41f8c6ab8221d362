"""Measures the verdict on large histories of list-append transactions, from the loaded history on.

20 clients that are always busy, about four micro-operations a transaction, keys that are retired after 32 appends, as Jepsen asks:

    python -m benchmarks.transactions 1000000 --fault
"""

from __future__ import annotations

import argparse
import resource
import time

from benchmarks import histories
from checker import Budget, History, Op, check, make_model
from checker.history import INFO, OK


def history(transactions: int, unanswered: float, *, fault: bool) -> History:
    """A strictly serializable history, or one in which a read comes too late."""
    made = histories.list_append(transactions, 20, unanswered=unanswered, longest=7, seed=1)
    given = histories.with_late_read(made) if fault else made
    return History(
        Op(
            process=each.process,
            f="txn",
            value=each.asked,
            type=INFO if each.answered is None else OK,
            result=each.answered,
            invoked=each.invoked,
            returned=None if each.answered is None else each.returned,
            invoke_time=each.invoke_time,
            return_time=each.return_time,
        )
        for each in given
    )


def main() -> None:
    """Prints the verdict, its CPU time, and the most memory before and after."""
    parser = argparse.ArgumentParser()
    parser.add_argument("transactions", type=int)
    parser.add_argument("--unanswered", type=float, default=0.01)
    parser.add_argument("--fault", action="store_true")
    given = parser.parse_args()
    made = history(given.transactions, given.unanswered, fault=given.fault)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started = time.process_time()
    verdict = check(made, make_model("list-append"), Budget(seconds=None, bytes=3 << 30))
    seconds = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{len(made):,} transactions: {verdict.verdict} in {seconds:.2f} s of CPU, {before:,.0f} MiB before, {peak:,.0f} MiB at most"
    )
    print(verdict.explanation)


if __name__ == "__main__":
    main()
