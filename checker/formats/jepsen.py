"""Jepsen's histories: EDN in its many shapes, and the lines of its logs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import NoneType
from typing import Any, BinaryIO

from msgspec import UNSET

from checker.columns import Columns
from checker.formats.edn import EdnError, read_forms, written
from checker.formats.quick import DoubtfulError, Event, QuickPairing
from checker.formats.reading import Numbered, TornError, is_transaction, numbered_lines
from checker.formats.source import Source
from checker.formats.writing import events_of, keys_as_pairs, losses, with_step_names
from checker.history import FAIL, INFO, INVOKE, NEMESIS, History, HistoryError

_LEVEL = r"\b(?:INFO|WARN|DEBUG|ERROR)\b"
LOG_START = re.compile(rf"^(?:[^\[{{(]*|[0-9][0-9-]* [0-9:,.]+\{{\w+\}}\s+){_LEVEL}")
"""How a line of a log begins: in the file of a run with its time and {GMT}, on the console with the level."""
_LOG_LINE = re.compile(
    rf"^.*?{_LEVEL}.*?(?: - (?:jepsen\.util:? )?|\bjepsen\.util:? (?:- )?)(?P<process>-?[0-9]+|:nemesis)\s+:(?P<rest>\S.*)$"
)
_SPEAKS_OF_AN_EVENT = re.compile(rf"^.*?{_LEVEL}.*?(?:\bjepsen\.util\b| - ).*?:(?:invoke|ok|fail|info)\s")


def edn_events(text: str) -> Numbered:
    """EDN maps, in a vector or list or one after the other. Raises `HistoryError`, `TornError`."""
    try:
        yield from read_forms(text)
    except EdnError as error:
        if error.at_end:
            raise TornError(error.line, str(error)) from None
        raise HistoryError(f"not EDN: {error}", error.line) from None


def log_events(text: str) -> Numbered:
    """Log lines such as `INFO  jepsen.util - 0 :invoke :read nil`; other lines of the log are passed over.

    With the thread, as Jepsen writes them since 0.1: `INFO [time] jepsen worker 0 - jepsen.util 0 :invoke :read nil` on the
    console, `time{GMT} INFO [jepsen worker 0] jepsen.util: 0 :invoke :read nil` in the file of a run.
    """
    found = False
    for number, line, last in numbered_lines(text):
        match = _LOG_LINE.match(line)
        if match is None or match["process"] == ":nemesis":
            if last and LOG_START.match(line):
                raise TornError(number, f"expected a whole log line, this is {line[:40]!r}")
            if match is None and _SPEAKS_OF_AN_EVENT.match(line):
                raise HistoryError(
                    f"a line that tells of an event and can't be read, expected 'jepsen.util - 0 :invoke :read nil', this is {line[:80]!r}",
                    number,
                )
            continue
        try:
            kind, f, told, error = _parts_of(match["rest"])
            ((_, value),) = read_forms(f"[{told}]")
        except (EdnError, IndexError, ValueError):
            what = f"expected ':type :f value' after the process, this is {match['rest'][:40]!r}"
            if last:
                raise TornError(number, what) from None
            raise HistoryError(what, number) from None
        found = True
        event = {"process": int(match["process"]), "type": kind, "f": f, "value": value}
        yield number, {**event, "error": error} if error else event
    if text.strip() and not found:
        raise HistoryError(
            "no event in the whole log, expected lines such as 'INFO  jepsen.util - 0 :invoke :read nil'", 1
        )


def _parts_of(text: str) -> tuple[str, str, str, str]:
    """Type, function, value and error of an event in a log. Raises `ValueError` where there are fewer than three.

    Between tabs, as Jepsen writes it: the error is any text, which the value may not be mixed up with, and no value has a tab.
    """
    kind, f, value, *error = text.split("\t", 3) if text.count("\t") > 1 else text.split(None, 2)
    return kind.strip(), f.strip(), value, "".join(error).strip()


_BLANK = r"[\s,]+"
_WORD = r'[^\s,{}\[\]()"\\;#]+'
_FORM = rf'"[^"\\]*"|\[[^{{}}()"\\;#]*\]|{_WORD}'
_WHAT = {
    "type": r":(invoke|ok|fail|info)",
    "process": r"(-?[0-9]{1,18}|:nemesis)",
    "f": rf":({_WORD})",
    "index": r"(-?[0-9]{1,18})",
    "time": r"(-?[0-9]{1,18})",
}
_KEY = re.compile(rf"[\s,]*:({_WORD}){_BLANK}")
_FIELDS = frozenset(Event.__struct_fields__)
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_TOKENS = re.compile(rf"[\[\]]|{_WORD}")
_SIMPLE = re.compile(rf'"[^"\\]*"|{_WORD}')
_WORDS = {"nil": None, "true": True, "false": False}
_CLOSING = {"[": "]", "(": ")"}
_NOTHING_MORE = "\n"
"""What no line ends with: the vector is closed, and a line after it is for the general reader."""
_TAG = "#jepsen.history.Op"
_NAMES = ("node", "op", "workload")
_NEVER_SEEN = object()
_SHORT = 40
_SHAPES = 16
_KNOWN_TEXTS = 1 << 14


def quick(source: Source) -> Columns:
    """The columns of a usual history: one map a line, alone or in one vector or list.

    Raises `DoubtfulError` where the general reader has to look.
    """
    pairing = QuickPairing()
    reader = _LineReader()
    awaited = ""  # what closes the vector or list that began in the first line
    first, begun = 1, False
    for block in source.blocks():
        try:
            lines = block.decode().split("\n")
        except UnicodeDecodeError:
            raise DoubtfulError from None
        if b"\0" in block:
            raise DoubtfulError
        events, numbers = [], []
        for number, line in enumerate(lines, first):
            text = line.strip()
            if not text or text[0] == ";":
                continue
            if not begun:
                begun = True
                awaited = _CLOSING.get(text[0], "")
                text = text[1:] if awaited else text
            if awaited:
                text = text.rstrip(" ,")
                if text.endswith(awaited):
                    awaited, text = _NOTHING_MORE, text[:-1].rstrip(" ,")
                elif awaited == _NOTHING_MORE:
                    raise DoubtfulError
            if text or not awaited:
                events.append(reader.event(text.strip().removeprefix(_TAG)))
                numbers.append(number)
        pairing.take(events, numbers)
        first += len(lines) - 1
    if awaited not in {"", _NOTHING_MORE}:
        raise DoubtfulError
    return pairing.finish()


class _Shape:
    """What lines with the same keys in the same order are like: their pattern, and which group of it holds what.

    The last group is empty: it stands for what these lines do not have.
    """

    def __init__(self, names: Sequence[str], parts: Sequence[str]) -> None:
        self.match = re.compile(rf"\{{[\s,]*{_BLANK.join(parts)}[\s,]*\}}()").fullmatch
        places = {name: place for place, name in enumerate(names)}
        self.type, self.process, self.f, self.value, self.index, self.time = (
            places.get(name, len(names)) for name in ("type", "process", "f", "value", "index", "time")
        )
        self.more = [(name, places[name]) for name in ("key", "error", "node", "op", "workload") if name in places]


class _LineReader:
    """Reads lines of a few shapes, as one program writes them."""

    def __init__(self) -> None:
        self._shapes: list[_Shape] = []
        self._known: dict[str, Any] = {"": None, **_WORDS}

    def event(self, line: str) -> Event:
        """The event in a line. Raises `DoubtfulError`."""
        for place, shape in enumerate(self._shapes):
            match = shape.match(line)
            if match is not None:
                if place > 1:
                    self._shapes.insert(0, self._shapes.pop(place))
                return self._made(shape, match.groups())
        return self._unknown(line)

    def _made(self, shape: _Shape, texts: Sequence[str]) -> Event:
        """An event of the texts of its fields."""
        process, text, index, time = texts[shape.process], texts[shape.value], texts[shape.index], texts[shape.time]
        value = self._known.get(text, _NEVER_SEEN)
        event = Event(
            texts[shape.type],
            NEMESIS if process == ":nemesis" else int(process),
            texts[shape.f] or UNSET,
            None,
            self._value(text) if value is _NEVER_SEEN else value,
            index=int(index) if index else None,
            time=int(time) if time and time != "-1" else None,
        )
        for name, place in shape.more:
            value = self._known.get(texts[place], _NEVER_SEEN)
            value = self._value(texts[place]) if value is _NEVER_SEEN else value
            if name in _NAMES:
                value = _name(value)
            setattr(event, name, value)
        return _called(event) if event.f is UNSET else event

    def _value(self, text: str) -> Any:
        """The value of a text that is not known yet."""
        if _INTEGER.fullmatch(text):
            return int(text)
        value = _read(text)
        if len(text) < _SHORT and len(self._known) < _KNOWN_TEXTS:
            self._known[text] = value
        return value

    def _unknown(self, line: str) -> Event:
        """An event of a shape that never came before: the shape is kept, or the line is read in the general way."""
        shape = _shape(line) if len(self._shapes) < _SHAPES else None
        match = None if shape is None else shape.match(line)
        if shape is not None and match is not None:
            self._shapes.append(shape)
            return self._made(shape, match.groups())
        return _general_event(_general(line))


def _shape(line: str) -> _Shape | None:
    """The shape of a line; None if it has no simple one."""
    names: list[str] = []
    parts = []
    position = 1
    while (key := _KEY.match(line, position)) is not None:
        end = _end_of_form(line, key.end())
        if end is None or key[1] in names:
            return None
        names.append(key[1])
        parts.append(rf":{re.escape(key[1])}{_BLANK}{_WHAT.get(key[1], f'({_FORM})')}")
        position = end
    return _Shape(names, parts) if {"type", "process"} <= set(names) and not {"i", "t"} & set(names) else None


def _end_of_form(line: str, start: int) -> int | None:
    """Where the form ends that begins here; None for what the patterns of shapes do not hold."""
    if not line.startswith("[", start):
        match = _SIMPLE.match(line, start)
        return None if match is None else match.end()
    depth = 0
    for position in range(start, len(line)):
        depth += (line[position] == "[") - (line[position] == "]")
        if not depth:
            return position + 1
    return None


def _read(text: str) -> Any:
    """The value of a text in which strings, maps and the like stand alone, if at all. Raises `DoubtfulError`."""
    if text[0] != "[":
        return _general(text)
    outer: list[list[Any]] = []
    items: list[Any] = []
    for part in _TOKENS.findall(text):
        if part == "[":
            outer.append(items)
            items = []
        elif part == "]":
            if not outer:
                raise DoubtfulError
            inner, items = items, outer.pop()
            items.append(inner)
        elif _INTEGER.fullmatch(part):
            items.append(int(part))
        elif part[0] == ":":
            items.append(part)
        else:
            items.append(_WORDS[part] if part in _WORDS else _general(part))
    if outer or len(items) != 1:
        raise DoubtfulError
    return items[0]


def _general(text: str) -> Any:
    """The one form of a text, read in the general way. Raises `DoubtfulError`."""
    try:
        forms = [form for _, form in read_forms(f"[{text}\n]")]
    except (ValueError, RecursionError):
        raise DoubtfulError from None
    if len(forms) != 1:
        raise DoubtfulError
    return forms[0]


def _called(event: Event) -> Event:
    """An event without a function: an invocation is one of a transaction, as in Elle's histories. Raises `DoubtfulError`."""
    if event.type == INVOKE and event.process != NEMESIS:
        if not is_transaction(event.value):
            raise DoubtfulError
        event.f = "txn"
    return event


def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise DoubtfulError
    return value.removeprefix(":")


def _general_event(value: Any) -> Event:
    """An event that was read in the general way. Raises `DoubtfulError` where a field of it is not of the usual kind."""
    if not isinstance(value, dict):
        raise DoubtfulError
    fields = {str(key).removeprefix(":"): item for key, item in value.items()}
    for name in ("type", "f", "process", *_NAMES):
        if isinstance(fields.get(name), str):
            fields[name] = fields[name].removeprefix(":")
    if fields.get("process") == NEMESIS:
        return Event(INVOKE, NEMESIS)
    if fields.get("time") == -1:
        fields["time"] = None
    if not (
        type(fields.get("process")) is int
        and isinstance(fields.get("type"), str)
        and not {"i", "t"} & fields.keys()
        and all(type(fields.get(name)) in {int, NoneType} for name in ("index", "time"))
        and all(isinstance(fields.get(name, ""), str) for name in ("f", *_NAMES))
    ):
        raise DoubtfulError
    event = Event(**{name: item for name, item in fields.items() if name in _FIELDS})
    return _called(event) if event.f is UNSET else event


_KEYWORD = re.compile(_WORD)


def write_edn(history: History, file: BinaryIO) -> list[str]:
    """Writes a history as Jepsen's tools read it, a map a line; keys become [key value] where that is read back."""
    paired = keys_as_pairs(history)
    for number, event in enumerate(events_of(history)):
        value = with_step_names(event["f"], event.pop("value", None), keywords=True)
        key = event.pop("key", None)
        head = {
            "index": event.pop("i", number),
            "time": event.pop("t", -1),
            "type": event.pop("type"),
            "process": event.pop("process"),
            "f": event.pop("f"),
        }
        parts = [f":{name} {_keyword(part) if name in {'type', 'f'} else written(part)}" for name, part in head.items()]
        if key is not None and not paired:
            parts.append(f":key {written(key)}")
        parts.append(f":value {written([key, value] if paired else value)}")
        parts += [f":{name} {written(part)}" for name, part in event.items()]
        file.write(f"{{{', '.join(parts)}}}\n".encode())
    return []


def write_log(history: History, file: BinaryIO) -> list[str]:
    """Writes the lines of a log and says what is lost. Raises `HistoryError` for keys that would not be read back."""
    paired = keys_as_pairs(history)
    if not paired and history.columns.key.any():
        raise HistoryError("jepsen-log can hold keys only where every operation has one and reads carry nothing else")
    for event in events_of(history):
        value = with_step_names(event["f"], event.get("value"), keywords=True)
        if not _KEYWORD.fullmatch(event["f"]) or not isinstance(event["process"], int) or event["process"] < 0:
            raise HistoryError(f"jepsen-log can't hold the function {event['f']!r} of process {event['process']!r}")
        text = written([event["key"], value] if paired else value)
        file.write(f"INFO  jepsen.util - {event['process']}\t:{event['type']}\t:{event['f']}\t{text}\n".encode())
    return losses(history, "jepsen-log", {"key"})


def write_kv_log(history: History, file: BinaryIO) -> list[str]:
    """Writes a log of Porcupine's key-value tests: strings only, and operations that failed are left out."""
    warnings = losses(history, "porcupine-kv", {"key"})
    failed = sum(op.type == FAIL for op in history)
    if failed:
        warnings.append(
            f"porcupine-kv does not hold operations that failed: {failed:,} are left out, as they did nothing"
        )
        history = History(op for op in history if op.type != FAIL)
    for event in events_of(history):
        key, value = event.get("key"), event.get("value")
        if not isinstance(key, str) or not isinstance(value, str | None) or event["f"] not in {"get", "put", "append"}:
            raise HistoryError(
                f"porcupine-kv can't hold {event['f']} of key {key!r} with {value!r}: expected get, put or append of strings"
            )
        if event["type"] != INFO:
            line = f":process {event['process']}, :type :{event['type']}, :f :{event['f']}, :key {written(key)}, :value {written(value)}"
            file.write(f"{{{line}}}\n".encode())
    return warnings


def _keyword(name: str) -> str:
    return f":{name}" if _KEYWORD.fullmatch(name) else written(name)
