"""Porcupine's visualisation JSON: the file from which its page is drawn (visualization.go)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, BinaryIO

import msgspec

from checker.formats.source import Source
from checker.formats.writing import require_json
from checker.history import FAIL, INFO, OK, History, HistoryError, Op
from checker.values import freeze, thaw

NEVER = 2**63 - 1
"""The end of an operation that never returned: Go's greatest int64."""


class Shown(msgspec.Struct, frozen=True):
    """An operation as the page shows it: `start` and `end` are places that order, the original ones are times to be read."""

    client: int
    start: int
    end: int
    original_start: int | None
    original_end: int | None
    description: str
    metadata: str


class Mark(msgspec.Struct, frozen=True):
    """A note on the page, from one place to another; `more` are its other fields, as the page names them."""

    start: int
    end: int
    more: dict[str, Any]


class Partition(msgspec.Struct, frozen=True):
    """One object: its operations, and orders of some of them, longest first, as steps of `Index` and `StateDescription`."""

    operations: Sequence[Shown]
    partials: Sequence[Sequence[dict[str, Any]]] = ()


def visualisation(partitions: Sequence[Partition], marks: Sequence[Mark] = ()) -> dict[str, Any]:
    """The content of the file. The page draws places by their rank, a hundred apart, so that all notes find room."""
    spans: list[Shown | Mark] = [*marks, *(each for partition in partitions for each in partition.operations)]
    places = {place for each in spans for place in (each.start, each.end)}
    ranks = {place: 100 * rank for rank, place in enumerate(sorted(places))}
    return {
        "Partitions": [
            {
                "History": [_drawn(each, ranks) for each in partition.operations],
                "PartialLinearizations": [list(partial) for partial in partition.partials],
                "Largest": _largest(partition.partials),
            }
            for partition in partitions
        ],
        "Annotations": [{"Start": ranks[mark.start], "End": ranks[mark.end], **mark.more} for mark in marks],
    }


def _drawn(shown: Shown, ranks: dict[int, int]) -> dict[str, Any]:
    return {
        "ClientId": shown.client,
        "Start": ranks[shown.start],
        "OriginalStart": str(shown.original_start),
        "End": ranks[shown.end],
        "OriginalEnd": str(shown.original_end),
        "Description": shown.description,
        "Metadata": shown.metadata,
    }


def _largest(partials: Sequence[Sequence[dict[str, Any]]]) -> dict[str, int]:
    """By operation: the first, so the longest, of the orders that hold it."""
    found: dict[int, int] = {}
    for number, partial in enumerate(partials):
        for step in partial:
            found.setdefault(step["Index"], number)
    return {str(index): found[index] for index in sorted(found)}


def write(history: History, file: BinaryIO) -> list[str]:
    """Writes a history as a page to look at; what its descriptions leave out stands in each operation's metadata, as JSON.

    Operations that failed are shown, too; only a reader of the metadata knows that they did nothing. Raises `HistoryError`.
    """
    groups: dict[Any, list[Shown]] = {}
    for op in history:
        groups.setdefault(op.key, []).append(_shown(op))
    content = visualisation([Partition(operations) for operations in groups.values()])
    file.write(msgspec.json.encode(content) + b"\n")
    return []


def _shown(op: Op) -> Shown:
    if not isinstance(op.process, int):
        raise HistoryError(f"porcupine numbers its clients: it can't hold the process {op.process!r}", op.line)
    facts = msgspec.structs.asdict(op)
    facts["key"] = thaw(op.key)
    facts = {name: fact for name, fact in facts.items() if name != "line" and fact is not None}
    require_json(facts, "JSON", op.line)
    given = ", ".join(json.dumps(part) for part in (facts.get("key"), op.value) if part is not None)
    answer = {OK: "" if op.result is None else f" -> {json.dumps(op.result)}", FAIL: " failed", INFO: " -> unknown"}[
        op.type
    ]
    return Shown(
        client=op.process,
        start=op.invoked,
        end=NEVER if op.returned is None else op.returned,
        original_start=op.invoked if op.invoke_time is None else op.invoke_time,
        original_end=NEVER if op.returned is None else op.returned if op.return_time is None else op.return_time,
        description=f"{op.f}({given}){answer}",
        metadata=msgspec.json.encode(facts).decode(),
    )


_DESCRIPTION = re.compile(r"(?P<f>\w+)\((?P<given>.*?)\)(?:\s*->\s*(?P<result>.*))?")
_ONE = re.compile(r"""\s*('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^,\s'"][^,]*?)\s*(?:,|$)""")


def load(source: Source) -> History:
    """The history of a page: operations as metadata of ours tell of them, or as descriptions such as `put('x') -> ok` do.

    Partitions are keys where there are several. Intervals are closed, as Porcupine's are. Raises `HistoryError`.
    """
    try:
        content = msgspec.json.decode(source.whole())
        partitions = content["Partitions"]
        rows = [(key, row) for key, partition in enumerate(partitions) for row in partition["History"]]
        places = [(int(row["Start"]), int(row["End"])) for _, row in rows]
        operations = [_operation(key if len(partitions) > 1 else None, row) for key, row in rows]
    except HistoryError:
        raise
    except (ValueError, LookupError, TypeError) as error:
        raise HistoryError(
            f'not a page of Porcupine: expected {{"Partitions": [{{"History": [...]}}]}} ({type(error).__name__}: {error})'
        ) from None
    if all(told for _, told in operations):
        return History(op for op, _ in operations)
    spans = [
        (start, None if op.type == INFO else end) for (op, _), (start, end) in zip(operations, places, strict=True)
    ]
    return History.placed([op for op, _ in operations], spans)


def _operation(key: int | None, row: dict[str, Any]) -> tuple[Op, bool]:
    """The operation of a row, and whether it is told in full."""
    try:
        facts = msgspec.json.decode(row.get("Metadata") or "")
        if isinstance(facts, dict) and {"f", "invoked", "process"} <= facts.keys():
            return msgspec.convert({**facts, "key": freeze(facts.get("key"))}, Op), True
    except msgspec.MsgspecError:
        pass  # metadata of another writer
    match = _DESCRIPTION.fullmatch(row["Description"].strip())
    if match is None:
        raise HistoryError(f"expected a description such as put('x') -> ok, this is {row['Description'][:40]!r}")
    given = [_literal(each[1]) for each in _ONE.finditer(match["given"])]
    never = int(row["OriginalEnd"]) >= NEVER or match["result"] in {"unknown", "?"}
    result = None if match["result"] in {None, "ok", "unknown", "?"} else _literal(match["result"])
    keyed = (len(given) > 1 and match["f"] in {"put", "append"}) or (match["f"] == "get" and given)
    return Op(
        process=int(row["ClientId"]),
        f=match["f"],
        key=freeze(given[0]) if keyed else key,
        value=_argument(given[1:] if keyed else given),
        type=INFO if never else OK,
        result=None if never else result,
        invoked=0,
        invoke_time=int(row["OriginalStart"]),
        return_time=None if never else int(row["OriginalEnd"]),
    ), False


def _argument(given: list[Any]) -> Any:
    return given[0] if len(given) == 1 else given or None


def _literal(text: str) -> Any:
    """A value of a description: a quoted string, a number, or nothing at all."""
    stripped = text.strip()
    if stripped[:1] == stripped[-1:] == "'" and len(stripped) > 1:
        return re.sub(r"\\(.)", r"\1", stripped[1:-1])
    if stripped in {"nil", "null", "<nil>"}:
        return None
    try:
        return json.loads(stripped)
    except ValueError:
        return stripped
