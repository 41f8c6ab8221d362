"""Reads histories from files: the format is found by content, and every error names the line and what was expected.

Each format lives in a module of its own. A usual history is read by the quick reader of its format, straight into columns;
one that looks unusual anywhere is read by the general reader, which gives the same history or says what is wrong with it. What
makes a history well formed is not decided here (`history.Pairing`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from checker.columns import Columns
from checker.formats import elle, etcd, jepsen, jsonl, limo, porcupine, tables
from checker.formats.quick import DoubtfulError, asks_for_keys
from checker.formats.reading import Numbered, TornError, is_transaction
from checker.formats.source import Progress, Source
from checker.history import INVOKE, NEMESIS, History, HistoryError

_HALF = re.compile(r"\\u[dD][89a-fA-F]")
_ETCD = re.compile(r'\s*\{\s*"ClientId"\s*:')
_PORCUPINE = re.compile(r'\s*\{\s*"(Partitions|Annotations)"\s*:')
_NAMES = ("type", "f", "process", "node", "op", "workload")


class Format(msgspec.Struct, frozen=True, kw_only=True):
    """How a format is read and written.

    `events` gives the events of a text, `quick` the columns of a usual history, `whole` the history of a source where events
    are not what the format holds. `write` says what is lost.
    """

    says: str
    suffix: str
    events: Callable[[str], Numbered] | None = None
    quick: Callable[[Source], Columns] | None = None
    whole: Callable[[Source], History] | None = None
    write: Callable[[History, BinaryIO], list[str]] | None = None


FORMATS: dict[str, Format] = {
    "jsonl": Format(
        says="our JSON lines, an event each",
        suffix=".jsonl",
        events=jsonl.events,
        quick=jsonl.quick,
        write=jsonl.write,
    ),
    "edn": Format(
        says="Jepsen's EDN: maps in lines, a vector or a list",
        suffix=".edn",
        events=jepsen.edn_events,
        quick=jepsen.quick,
        write=jepsen.write_edn,
    ),
    "jepsen-log": Format(
        says="the lines of a Jepsen log", suffix=".log", events=jepsen.log_events, write=jepsen.write_log
    ),
    "json": Format(says="elle-cli's JSON, one array of events", suffix=".json", events=elle.events, write=elle.write),
    "porcupine-kv": Format(
        says="logs of Porcupine's key-value tests",
        suffix=".txt",
        events=jepsen.edn_events,
        quick=jepsen.quick,
        write=jepsen.write_kv_log,
    ),
    "porcupine": Format(
        says="Porcupine's visualisation JSON", suffix=".porcupine.json", whole=porcupine.load, write=porcupine.write
    ),
    "limo": Format(says="LiMo's logs of queues and stacks", suffix=".hist", events=limo.events, write=limo.write),
    "etcd": Format(says="the operations of etcd's robustness tests, JSON", suffix=".operations.json", whole=etcd.load),
    "parquet": Format(
        says="a Parquet table, an operation a row", suffix=".parquet", whole=tables.load, write=tables.write
    ),
}
"""The formats by name."""


def load(
    path: str | Path,
    format_name: str | None = None,
    *,
    allow_torn_tail: bool = False,
    progress: Progress | None = None,
) -> History:
    """The history in a file. Raises `HistoryError` on what is not well formed, `OSError` where there is no such file.

    `format_name` is one of `FORMATS`; None finds it by content. With `allow_torn_tail` a last event that was cut off in the middle is
    dropped, and `History.warnings` says so. `progress` is called with the bytes done and the bytes there are.
    """
    return read(Source(path, progress), format_name, allow_torn_tail=allow_torn_tail)


def loads(data: bytes, format_name: str | None = None, *, allow_torn_tail: bool = False) -> History:
    """The history in these bytes; see `load`."""
    return read(Source(data), format_name, allow_torn_tail=allow_torn_tail)


def read(source: Source, format_name: str | None = None, *, allow_torn_tail: bool = False) -> History:
    """The history of a source; see `load`."""
    if format_name is not None and format_name not in FORMATS:
        raise HistoryError(f"unknown format {format_name!r}, expected one of {', '.join(FORMATS)}")
    chosen = FORMATS[format_name or format_of(source)]
    try:
        if chosen.whole is not None:
            return chosen.whole(source)
        if chosen.quick is not None:
            try:
                return History.of_columns(chosen.quick(source))
            except DoubtfulError:
                pass
        return read_generally(source, chosen, allow_torn_tail=allow_torn_tail)
    except RecursionError:
        raise HistoryError("a value that can't be read: lists in lists, too deep") from None


def format_of(source: Source) -> str:
    """The name of the format that a source is in, by its content. Raises `HistoryError` if it looks like none."""
    head = source.head()
    if head.startswith(tables.MAGIC):
        return "parquet"
    whole = source.size <= len(head)
    try:
        text = head.decode(errors="strict" if whole else "ignore")
    except UnicodeDecodeError:
        text = source.text(allow_torn_tail=True)  # which says what is wrong, if it is not just torn
    return detect(source.text() if "\0" in text else text)


def detect(text: str) -> str:
    """The name of the format that a text looks like. Raises `HistoryError` if it looks like none."""
    first = next((line for line in map(str.strip, text.splitlines()) if line and not line.startswith(";")), "")
    start = first.replace(" ", "")[:2]
    if _ETCD.match(text):
        return "etcd"
    if _PORCUPINE.match(text):
        return "porcupine"
    if start == '{"' or (start[:1] == "{" and first.rstrip()[1:].lstrip()[:1] == '"'):
        return "jsonl"
    if limo.START.match(first):
        return "limo"
    if jepsen.LOG_START.match(first):
        return "jepsen-log"
    if start[:1] == "[" and _second(text) == '{"':
        return "json"
    if not first or start[:1] in {"{", "[", "(", "#"}:
        return "edn"
    raise HistoryError(
        f"not a history: expected JSON lines, EDN, JSON or Jepsen log lines, this begins with {first[:40]!r}; "
        f"known formats are {', '.join(FORMATS)}",
        1,
    )


def _second(text: str) -> str:
    """The first two characters inside a vector, without space: what its first item is."""
    return re.sub(r"\s", "", text.lstrip()[1:200])[:2]


def read_generally(source: Source, chosen: Format, *, allow_torn_tail: bool = False) -> History:
    """What the general reader makes of a source; events are read anew where their values turn out to hold keys."""
    text = source.text(allow_torn_tail=allow_torn_tail)
    warnings: list[str] = []
    history = History.paired(_events(text, chosen, warnings, allow_torn_tail=allow_torn_tail))
    if asks_for_keys(history.columns):
        warnings.clear()
        events = _events(text, chosen, warnings, allow_torn_tail=allow_torn_tail)
        history = History.paired((line, _with_key(event)) for line, event in events)
    history.warnings = warnings
    return history


def _events(
    text: str, chosen: Format, warnings: list[str], *, allow_torn_tail: bool
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The events of a text, named as ours are; what is wrong with the text is raised as a `HistoryError`."""
    halves = _HALF.search(text) is not None
    last = 0
    assert chosen.events is not None
    numbered = _with_processes(_plain_events(chosen.events(text)))
    while True:
        try:
            last, event = next(numbered)
        except StopIteration:
            return
        except TornError as torn:
            if not allow_torn_tail:
                raise HistoryError(
                    f"the file is truncated: {torn} (--allow-torn-tail drops such an end)", torn.line
                ) from None
            warnings.append(f"line {torn.line}: the file is truncated, its last event was dropped: {torn}")
            return
        except HistoryError:
            raise
        except (RecursionError, ValueError) as error:  # a number of thousands of digits, a thousand brackets
            raise HistoryError(f"a value that can't be read: {error}", last + 1) from None
        if halves:
            _refuse_halves(event, last)
        yield last, event


def _plain_events(numbered: Numbered) -> Iterator[tuple[int, dict[str, Any]]]:
    """Events with the names of ours: keywords lose their colon where they are names, not values."""
    for line, event in numbered:
        if not isinstance(event, dict):
            raise HistoryError(f"an event must be a map, this is {str(event)[:40]!r}", line)
        plain = {str(key).removeprefix(":"): value for key, value in event.items()}
        for name in _NAMES:
            if isinstance(plain.get(name), str):
                plain[name] = plain[name].removeprefix(":")
        for name in ("time", "t"):
            if plain.get(name) == -1:
                plain[name] = None  # Jepsen's word for a time that is not known
        if "f" not in plain and plain.get("type") == INVOKE and is_transaction(plain.get("value")):
            plain["f"] = "txn"  # Elle's histories leave it out: transactions are all they hold
        yield line, plain


def _with_processes(numbered: Iterator[tuple[int, dict[str, Any]]]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Gives each operation a process of its own in a history of transactions that names none, as Elle's examples are.

    There a completion belongs to the invocation before it; and as nobody knows who asked, no two operations are taken for
    one client's.
    """
    process = 0
    nameless = None
    for line, event in numbered:
        if nameless is None and event.get("process") != NEMESIS:
            nameless = "process" not in event and is_transaction(event.get("value"))
        if nameless and "process" not in event:
            process += event.get("type") == INVOKE
            yield line, {**event, "process": process}
        else:
            yield line, event


def _with_key(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """An event whose value is a [key value] pair, with the two apart."""
    value = event.get("value")
    if not (isinstance(value, list) and len(value) == 2):
        return event
    return {**event, "key": value[0], "value": value[1]}


def _refuse_halves(event: Any, line: int) -> None:
    """A string with half a pair of surrogates is no text: it could neither be shown nor written."""
    try:
        json.dumps(event, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise HistoryError(f"not text: half of a surrogate pair ({half}), expected both halves", line) from None
