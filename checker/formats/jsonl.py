"""Our own format: one JSON object a line, an event each."""

from __future__ import annotations

import json
from typing import BinaryIO

import msgspec

from checker.columns import Columns
from checker.formats.quick import DoubtfulError, Event, QuickPairing
from checker.formats.reading import Numbered, TornError, numbered_lines
from checker.formats.source import Source
from checker.formats.writing import events_of, require_json
from checker.history import History, HistoryError


def events(text: str) -> Numbered:
    """The events of a text, each with its line. Raises `HistoryError`, or `TornError` where the last line is no whole one."""
    for number, line, last in numbered_lines(text):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line, parse_constant=as_edn)
        except ValueError as error:
            what = f"expected one JSON object a line, this is {line[:40]!r} ({error})"
            if last:
                raise TornError(number, what) from None
            raise HistoryError(what, number) from None


def as_edn(name: str) -> str:
    """NaN and the infinities as EDN writes them: as floats NaN would differ from itself."""
    return f"##{name}"


def quick(source: Source) -> Columns:
    """The columns of a usual history. Raises `DoubtfulError` where the general reader has to look."""
    decoder = msgspec.json.Decoder(Event)
    pairing = QuickPairing()
    line = 1
    for block in source.blocks():
        if b"\r" in block:
            block = block.replace(b"\r\n", b"\n")
        lines = block.count(b"\n") + (not block.endswith(b"\n"))
        pairing.take(_decoded(block, lines, decoder), range(line, line + lines))
        line += lines
    return pairing.finish()


def _decoded(block: bytes, lines: int, decoder: msgspec.json.Decoder[Event]) -> list[Event]:
    """The events of a block, one a line."""
    try:
        if not block.isascii():
            block.decode()  # what no event asks for is text, too
        found = decoder.decode_lines(block)
    except (ValueError, RecursionError):  # both kinds of error of msgspec and UnicodeDecodeError are ValueErrors
        raise DoubtfulError from None
    # An object may stretch over lines, two may share one, lines may be empty: those are told apart elsewhere. Where each
    # line begins an object and ends one, a line's end inside of an object would stand between } and {, which is no JSON.
    begun = block.count(b"\n{") + block.startswith(b"{")
    ended = block.count(b"}\n") + block.endswith(b"}")
    if not len(found) == begun == ended == lines:
        raise DoubtfulError
    return found


def write(history: History, file: BinaryIO) -> list[str]:
    """Writes a history; nothing is lost. Raises `HistoryError` for what JSON can't hold."""
    encoder = msgspec.json.Encoder()
    for event in events_of(history):
        for name in ("key", "value", "error"):
            require_json(event.get(name), "JSON", None)
        file.write(encoder.encode(event) + b"\n")
    return []
