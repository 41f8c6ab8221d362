"""The operations that etcd's robustness tests record: `client-N/operations.json`, one JSON object after the other."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

from checker.formats.source import Source
from checker.history import FAIL, INFO, OK, History, HistoryError, Op

_GAP = re.compile(r"\s*")
_PASSED_OVER = frozenset({"leaseGrant", "leaseRevoke", "defragment", "compact"})


class _UnusualError(Exception):
    """An operation that has no place in a history of single keys."""


def load(source: Source) -> History:
    """The history: puts as writes, gets of one key as reads, deletes, by key; intervals are closed, times nanoseconds.

    An operation with an error is unknown. A put under a condition on the key's revision is a write here, which can be unknown
    or fail as it can: a model of values has no revisions, and `warnings` says how many conditions go unchecked. Leases,
    compaction and defragmentation change no key and are passed over. Raises `HistoryError` for transactions of several operations.
    """
    text = source.text()
    decoder = json.JSONDecoder()
    counts: Counter[str] = Counter()
    operations = []
    position = _end_of_gap(text, 0)
    while position < len(text):
        line = text.count("\n", 0, position) + 1
        try:
            record, position = decoder.raw_decode(text, position)
            op = _operation(record, line, counts)
        except _UnusualError as error:
            raise HistoryError(f"{error}: expected puts, gets and deletes of one key each", line) from None
        except (ValueError, LookupError, TypeError) as error:
            raise HistoryError(
                f"not an operation of etcd's tests ({type(error).__name__}: {error}): "
                "expected an object with ClientId, Input, Call, Output and Return",
                line,
            ) from None
        if op is not None:
            operations.append(op)
        position = _end_of_gap(text, position)
    history = History.from_intervals(operations)
    history.warnings = [f"{count:,} operations: {what}" for what, count in sorted(counts.items())]
    return history


def _end_of_gap(text: str, position: int) -> int:
    match = _GAP.match(text, position)
    assert match is not None
    return match.end()


def _operation(record: dict[str, Any], line: int, counts: Counter[str]) -> Op | None:
    """The operation that a record tells of; None for those that change no key and read none."""
    asked, answer = record["Input"], record["Output"] or {}
    kind = asked["Type"]
    if kind in _PASSED_OVER:
        counts[f"{kind} is passed over, it changes no key"] += 1
        return None
    unknown = bool(answer.get("Error") or answer.get("ClientError"))
    type_ = INFO if unknown else OK
    value = result = None
    if kind == "range":
        f, key, result = _read(asked["Range"], answer.get("Range") or {}, counts)
        if f is None:
            return None
    elif kind == "txn":
        f, key, value, result = _transaction(asked["Txn"], answer.get("Txn") or {}, counts)
        if not unknown and (answer.get("Txn") or {}).get("Failure"):
            type_, result = FAIL, None
    else:
        raise _UnusualError(f"unknown type {kind!r}")
    return Op(
        process=int(record["ClientId"]),
        f=f,
        key=key,
        value=value,
        type=type_,
        result=None if unknown else result,
        error=answer.get("Error") or answer.get("ClientError") or None,
        invoked=0,
        invoke_time=int(record["Call"]),
        return_time=None if unknown else int(record["Return"]),
        node=answer.get("member-id") or None,
        line=line,
    )


def _read(asked: dict[str, Any], answer: dict[str, Any], counts: Counter[str]) -> tuple[str | None, str, Any]:
    """A get; one of many keys or of an old revision may be left out, as a read that nobody made."""
    if asked.get("End") or asked.get("Limit") or asked.get("KeysOnly"):
        counts["a read of several keys is left out"] += 1
        return None, "", None
    if asked.get("Revision"):
        counts["a read of an old revision is left out"] += 1
        return None, "", None
    found = answer.get("KVs") or []
    return "read", asked["Start"], _value(found[0]["Value"]) if found else None


def _transaction(asked: dict[str, Any], answer: dict[str, Any], counts: Counter[str]) -> tuple[str, str, Any, Any]:
    steps = asked.get("OperationsOnSuccess") or []
    if len(steps) != 1:
        raise _UnusualError(f"a transaction of {len(steps)} operations")
    if asked.get("Conditions"):
        counts["the condition on a revision is not checked, a model of values has none"] += 1
    if asked.get("OperationsOnFailure"):
        counts["what a transaction reads where its condition fails is left out"] += 1
    step = steps[0]
    if step["Type"] == "put-operation":
        return "write", step["Put"]["Key"], _value(step["Put"]["Value"]), None
    if step["Type"] == "delete-operation":
        return "delete", step["Delete"]["Key"], None, None
    if step["Type"] == "range-operation":
        f, key, _ = _read(step["Range"], {}, counts)
        results = answer.get("Results") or [{}]
        found = results[0].get("KVs") or []
        if f is not None:
            return f, key, None, _value(found[0]["Value"]) if found else None
    raise _UnusualError(f"a transaction with {step['Type']!r}")


def _value(told: dict[str, Any]) -> Any:
    """A value, or its hash where it is a long one: the tests record no more of it."""
    return {"Hash": told["Hash"]} if told.get("Hash") else told.get("Value", "")
