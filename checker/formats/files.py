"""Reads histories from files: the format is found by content, and every error names the line and what was expected.

Known: our JSON lines, Jepsen EDN (one map a line, one vector or list, tagged records, with or without index and time;
Porcupine's kv logs are of this kind), Jepsen log lines, and elle-cli's JSON. What makes a history well formed is not decided
here (`history.Pairing`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from checker.formats.edn import EdnError, read_forms
from checker.history import INVOKE, History, HistoryError

_Numbered = Iterator[tuple[int, Any]]
_LOG_LINE = re.compile(r"^.*?\b(?:INFO|WARN|DEBUG|ERROR)\b.*? - (?P<process>\S+)\s+:(?P<rest>\S.*)$")
_LOG_START = re.compile(r"^[^\[{(]*\b(?:INFO|WARN|DEBUG|ERROR)\b")
_HALF = re.compile(r"\\u[dD][89a-fA-F]")
_WITHOUT_COLON = ("type", "f", "process", "node", "op")


class _TornError(Exception):
    """The text stops in the middle of an event; what came before it was given."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line


def load(path: str | Path, format_name: str | None = None, *, allow_torn_tail: bool = False) -> History:
    """The history in a file. Raises `HistoryError` on what is not well formed, `OSError` where there is no such file.

    `format_name` is one of `FORMATS`; None finds it by content. With `allow_torn_tail` a last event that was cut off in the middle is
    dropped, and `History.warnings` says so.
    """
    with open(path, "rb") as file:
        data = file.read()
    return loads(data, format_name, allow_torn_tail=allow_torn_tail)


def loads(data: bytes, format_name: str | None = None, *, allow_torn_tail: bool = False) -> History:
    """The history in these bytes; see `load`."""
    text = _text(data, allow_torn_tail=allow_torn_tail)
    if format_name is not None and format_name not in FORMATS:
        raise HistoryError(f"unknown format {format_name!r}, expected one of {', '.join(FORMATS)}")
    read = FORMATS[format_name or detect(text)]
    events: list[Mapping[str, Any]] = []
    lines: list[int] = []
    warnings: list[str] = []
    halves = _HALF.search(text) is not None
    try:
        for line, event in read(text):
            events.append(_plain(event, line))
            lines.append(line)
            if halves:
                _refuse_halves(event, line)
    except _TornError as torn:
        if not allow_torn_tail:
            raise HistoryError(
                f"the file is truncated: {torn} (--allow-torn-tail drops such an end)", torn.line
            ) from None
        warnings.append(f"line {torn.line}: the file is truncated, its last event was dropped: {torn}")
    except HistoryError:
        raise
    except (RecursionError, ValueError) as error:  # a number of thousands of digits, a thousand brackets
        raise HistoryError(f"a value that can't be read: {error}", lines[-1] + 1 if lines else 1) from None
    history = History.from_events(_by_key(events), lines)
    history.warnings = warnings
    return history


def detect(text: str) -> str:
    """The name of the format that a text looks like. Raises `HistoryError` if it looks like none."""
    lines = (line.strip() for line in text.splitlines())
    first = next((line for line in lines if line and not line.startswith(";")), "")
    start = first.replace(" ", "")[:2]
    if start == '{"' or (start[:1] == "{" and first.rstrip()[1:].lstrip()[:1] == '"'):
        return "jsonl"
    if _LOG_START.match(first):
        return "jepsen-log"
    if start[:1] == "[" and _second(text) == '{"':
        return "json"
    if not first or start[:1] in {"{", "[", "(", "#"}:
        return "edn"
    raise HistoryError(
        f"not a history: expected JSON lines, EDN, JSON or Jepsen log lines, this begins with {first[:40]!r}", 1
    )


def _second(text: str) -> str:
    """The first two characters inside a vector, without space: what its first item is."""
    return re.sub(r"\s", "", text.lstrip()[1:200])[:2]


def _text(data: bytes, *, allow_torn_tail: bool) -> str:
    """The bytes as text; a torn tail may end inside a character."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if not (allow_torn_tail and error.reason == "unexpected end of data"):
            line = data.count(b"\n", 0, error.start) + 1
            raise HistoryError(
                f"not text: byte {data[error.start]:#04x} is no UTF-8, expected a text file", line
            ) from None
        text = data[: error.start].decode("utf-8-sig")
    if "\0" in text:
        raise HistoryError("not text: a zero byte, expected a text file", text.count("\n", 0, text.index("\0")) + 1)
    return text


def _plain(event: Any, line: int) -> Mapping[str, Any]:
    """An event with the names of ours: keywords lose their colon where they are names, not values."""
    if not isinstance(event, dict):
        raise HistoryError(f"an event must be a map, this is {str(event)[:40]!r}", line)
    plain = {str(key).removeprefix(":"): value for key, value in event.items()}
    for name in _WITHOUT_COLON:
        if isinstance(plain.get(name), str):
            plain[name] = plain[name].removeprefix(":")
    return plain


def _refuse_halves(event: Any, line: int) -> None:
    """A string with half a pair of surrogates is no text: it could neither be shown nor written."""
    try:
        json.dumps(event, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise HistoryError(f"not text: half of a surrogate pair ({half}), expected both halves", line) from None


def _by_key(events: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Splits [key value] pairs, as Jepsen's independent histories have them, into key and value.

    Known by its reads: every invocation of a read carries [key nil], where one of a single register carries nothing.
    """
    reads = [event.get("value") for event in events if event.get("type") == INVOKE and event.get("f") == "read"]
    if not reads or not all(isinstance(value, list) and len(value) == 2 and value[1] is None for value in reads):
        return events
    return [
        {**event, "key": event["value"][0], "value": event["value"][1]} if _is_pair(event.get("value")) else event
        for event in events
    ]


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2


def _json_lines(text: str) -> _Numbered:
    """One JSON object a line."""
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line, parse_constant=_as_edn)
        except ValueError as error:
            what = f"expected one JSON object a line, this is {line[:40]!r} ({error})"
            if number == len(lines):  # the last line, without its end
                raise _TornError(number, what) from None
            raise HistoryError(what, number) from None


def _as_edn(name: str) -> str:
    """NaN and the infinities as EDN writes them: as floats NaN would differ from itself."""
    return f"##{name}"


def _json_vector(text: str) -> _Numbered:
    """One JSON array of objects (elle-cli)."""
    decoder = json.JSONDecoder(parse_constant=_as_edn)
    position = text.index("[") + 1 if "[" in text else 0
    counted, line = 0, 1
    gap = re.compile(r"[\s,]*")
    while True:
        match = gap.match(text, position)
        position = match.end() if match else position
        line += text.count("\n", counted, position)
        counted = position
        if position >= len(text):
            raise _TornError(line, "expected ']' at the end of the array")
        if text[position] == "]":
            if text[position + 1 :].strip():
                raise HistoryError("text after the end of the array", line)
            return
        try:
            event, position = decoder.raw_decode(text, position)
        except ValueError as error:
            at = error.pos if isinstance(error, json.JSONDecodeError) else position
            if not text[at:].strip() or "Unterminated" in str(error):
                raise _TornError(line, f"the last object does not end ({error})") from None
            raise HistoryError(f"expected a JSON object ({error})", line) from None
        yield line, event


def _edn(text: str) -> _Numbered:
    """EDN maps, in a vector or list or one after the other."""
    try:
        yield from read_forms(text)
    except EdnError as error:
        if error.at_end:
            raise _TornError(error.line, str(error)) from None
        raise HistoryError(f"not EDN: {error}", error.line) from None


def _jepsen_log(text: str) -> _Numbered:
    """Log lines such as `INFO  jepsen.util - 0 :invoke :read nil`; other lines of the log are passed over."""
    lines = text.split("\n")
    found = False
    for number, line in enumerate(lines, 1):
        match = _LOG_LINE.match(line)
        if match is None or not match["process"].isdigit():
            if number == len(lines) and line and _LOG_START.match(line):
                raise _TornError(number, f"expected a whole log line, this is {line[:40]!r}")
            continue
        parts = match["rest"].split(None, 2)
        try:
            ((_, value),) = read_forms(f"[{parts[2]}]")
        except (EdnError, IndexError, ValueError):
            what = f"expected ':type :f value' after the process, this is {match['rest'][:40]!r}"
            if number == len(lines):
                raise _TornError(number, what) from None
            raise HistoryError(what, number) from None
        found = True
        yield number, {"process": int(match["process"]), "type": parts[0], "f": parts[1], "value": value}
    if text.strip() and not found:
        raise HistoryError(
            "no event in the whole log, expected lines such as 'INFO  jepsen.util - 0 :invoke :read nil'", 1
        )


FORMATS: dict[str, Callable[[str], _Numbered]] = {
    "jsonl": _json_lines,
    "edn": _edn,
    "jepsen-log": _jepsen_log,
    "json": _json_vector,
}
"""The readers of the formats by name."""
