"""What was answered held against what was asked: a completion that contradicts its invocation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from checker.columns import OK_CODE
from checker.history import OK, History, Op, Operations, freeze
from checker.models.base import Model, show
from checker.values import NOTHING_CODE

_READS = frozenset({"r", ":r", "read", ":read"})
_MOST = 1000
"""So many answers that differ are looked at for one that is a contradiction."""


def contradiction(asked: Any, answered: Any) -> str:
    """Why this is no answer to that transaction: other micro-operations, or other values written; empty if it may be one.

    What is no list of micro-operations at all is for others to refuse, and where nobody noted what was asked nothing can differ.
    """
    if not isinstance(asked, list | tuple) or not isinstance(answered, list | tuple):
        return ""
    if len(asked) == len(answered) and all(map(_fits, asked, answered)):
        return ""
    return (
        f"was asked {_short(asked)}, but answered {_short(answered)}: "
        "the answer of a transaction must hold the micro-operations that were asked, in their order, with the values written"
    )


def _fits(asked: Any, answered: Any) -> bool:
    if asked == answered:  # so far the cheapest question, and a million transactions are asked it
        return True
    if not isinstance(asked, list | tuple) or not isinstance(answered, list | tuple):
        return True
    reads = bool(answered) and isinstance(answered[0], str) and answered[0] in _READS
    count = 2 if reads else 3
    return tuple(asked[:count]) == tuple(answered[:count]) or freeze(asked[:count]) == freeze(answered[:count])


def warnings(history: History, model: Model) -> list[str]:
    """Of the first operation that gave back another value than it was asked to leave there: a word in the verdict's warnings.

    Clients give back what was written, or nothing, or what their store says of it (a version, the old value): only a value of
    the same kind looks like a contradiction, and nobody can say that it is one.
    """
    for op in _differing(history, model):
        if type(op.result) is type(op.value) and not isinstance(op.value, bool):
            where = "" if op.line is None else f" (line {op.line})"
            answered = f"{op.f} {_short(op.value)} of process {op.process}{where} was answered with {_short(op.result)}"
            return [f"{answered}: what a {op.f} answers was not looked at"]
    return []


def _differing(history: History, model: Model) -> Iterator[Op]:
    operations = history.operations
    if isinstance(operations, Operations):
        columns = history.columns
        echoing = np.array([name in model.echoes for name in columns.names], np.bool_)[columns.f]
        differ = (
            echoing & (columns.type == OK_CODE) & (columns.result != columns.value) & (columns.result != NOTHING_CODE)
        )
        yield from (operations[row] for row in np.flatnonzero(differ)[:_MOST].tolist())
    elif model.echoes:
        for op in operations:
            if (
                op.f in model.echoes
                and op.type == OK
                and op.result is not None
                and freeze(op.result) != freeze(op.value)
            ):
                yield op


def _short(value: Any) -> str:
    text = show(freeze(value))
    return text if len(text) <= 60 else text[:57] + "..."
