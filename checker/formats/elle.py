"""elle-cli's histories: one JSON array of events."""

from __future__ import annotations

import json
import re
from typing import BinaryIO

import msgspec

from checker.formats.jsonl import as_edn
from checker.formats.reading import Numbered, TornError
from checker.formats.writing import events_of, require_json, with_step_names
from checker.history import History, HistoryError

_GAP = re.compile(r"[\s,]*")


def events(text: str) -> Numbered:
    """The events of an array, each with its line. Raises `HistoryError`, `TornError`."""
    decoder = json.JSONDecoder(parse_constant=as_edn)
    position = text.index("[") + 1 if "[" in text else 0
    counted, line = 0, 1
    while True:
        match = _GAP.match(text, position)
        position = match.end() if match else position
        line += text.count("\n", counted, position)
        counted = position
        if position >= len(text):
            raise TornError(line, "expected ']' at the end of the array")
        if text[position] == "]":
            if text[position + 1 :].strip():
                raise HistoryError("text after the end of the array", line)
            return
        try:
            event, position = decoder.raw_decode(text, position)
        except ValueError as error:
            at = error.pos if isinstance(error, json.JSONDecodeError) else position
            if not text[at:].strip() or "Unterminated" in str(error):
                raise TornError(line, f"the last object does not end ({error})") from None
            raise HistoryError(f"expected a JSON object ({error})", line) from None
        yield line, event


def write(history: History, file: BinaryIO) -> list[str]:
    """Writes a history, an event a line, and says what is lost. Raises `HistoryError` for what JSON can't hold."""
    encoder = msgspec.json.Encoder()
    opening = b"["
    for number, event in enumerate(events_of(history)):
        for name in ("key", "value", "error"):
            require_json(event.get(name), "JSON", None)
        value = with_step_names(event["f"], event.get("value"), keywords=False)
        renamed = {"index": event.pop("i", number), "time": event.pop("t", None), **event, "value": value}
        kept = {name: part for name, part in renamed.items() if name == "value" or part is not None}
        file.write(opening + encoder.encode(kept))
        opening = b",\n"
    file.write(b"[]\n" if opening == b"[" else b"]\n")
    return []
