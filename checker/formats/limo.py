"""LiMo's logs of queues and stacks: lines such as `[3] call push(5)` and `[3] return`, or the same as TeX."""

from __future__ import annotations

import re
from typing import Any, BinaryIO

from checker.formats.reading import Numbered, numbered_lines
from checker.formats.writing import events_of, losses
from checker.history import FAIL, INFO, INVOKE, History, HistoryError

START = re.compile(r"# |#\s*@object|\[\w+\]\s+(call|return)\b|\\(call|ret)\b")
_CALL = re.compile(r"\[(?P<process>\d+)\]\s+call\s+(?P<f>\w+)\s*(?:\((?P<value>.*)\)|(?P<word>\S+))?")
_RETURN = re.compile(r"\[(?P<process>\d+)\]\s+return(?:\s+(?P<result>\S+))?")
_TEX_CALL = re.compile(r"\\call\{(?P<process>\d+)\}\{\\(?P<f>\w+)(?:\{(?P<value>[^{}]*)\})?(?P<word>)\}")
_TEX_RETURN = re.compile(r"\\ret(?:\[(?P<result>[^\]]*)\])?\{(?P<process>\d+)\}")
_EMPTY = "empty"


def events(text: str) -> Numbered:
    """The events of a log, each with its line; operations without a number of their own are their process's.

    A taking that found nothing returns "empty", which is the answer None. Where a call already names what it takes, as in
    `call pop(5)`, that is its answer. Raises `HistoryError`.
    """
    taken: dict[int, tuple[str, Any]] = {}
    for number, line, _ in numbered_lines(text):
        stripped = line.strip()
        if not stripped or stripped.startswith(("#", "%")):
            continue
        call = _CALL.fullmatch(stripped) or _TEX_CALL.fullmatch(stripped)
        done = _RETURN.fullmatch(stripped) or _TEX_RETURN.fullmatch(stripped)
        if call:
            process, f = int(call["process"]), call["f"]
            value = _value(call["value"] or call["word"])
            taken[process] = (f, value)
            yield number, {"process": process, "type": "invoke", "f": f, "value": None if f in TAKINGS else value}
        elif done:
            process = int(done["process"])
            f, value = taken.pop(process, ("", None))
            answer = _value(done["result"])
            if answer is None:
                answer = value if f in TAKINGS else None
            yield number, {"process": process, "type": "ok", "value": None if answer == _EMPTY else answer}
        else:
            raise HistoryError(
                f"expected '[1] call push(5)', '[1] call pop', '[1] return' or '[1] return 5', this is {stripped[:40]!r}",
                number,
            )


TAKINGS = frozenset({"pop", "deq", "dequeue", "remove", "poll"})
"""The functions that take an element out."""


def _value(text: str | None) -> Any:
    if not text:
        return None
    return int(text) if re.fullmatch(r"-?\d{1,18}", text) else text


def write(history: History, file: BinaryIO) -> list[str]:
    """Writes a history of a queue or a stack and says what is lost. Raises `HistoryError` for what a log can't hold."""
    columns = history.columns
    if columns.key.any():
        raise HistoryError("LiMo's logs tell of one object: this history has keys")
    warnings = losses(history, "limo", ())
    failed = [op.type == FAIL for op in history]
    if any(failed):
        warnings.append(f"limo does not hold operations that failed: {sum(failed):,} are left out, as they did nothing")
        history = History(op for op in history if op.type != FAIL)
    kind = "stack" if {"push", "pop"} & set(columns.names) else "queue"
    file.write(f"# @object atomic-{kind}\n".encode())
    asked: dict[Any, Any] = {}
    for event in events_of(history):
        process, f, value = event["process"], event["f"], event.get("value")
        if event["type"] == INVOKE:
            asked[process] = value
            file.write(f"[{process}] call {f}{'' if value is None else f'({_word(value)})'}\n".encode())
        elif f in TAKINGS and event["type"] != INFO:
            file.write(f"[{process}] return {_EMPTY if value is None else _word(value)}\n".encode())
        elif event["type"] != INFO:
            if value is not None and value != asked[process]:
                raise HistoryError(f"LiMo's logs hold no answer of {f}, here {value!r}")
            file.write(f"[{process}] return\n".encode())
    return warnings


def _word(value: Any) -> str:
    """A value as a log has it, if it is read back as the same."""
    text = str(value)
    if isinstance(value, bool) or not re.fullmatch(r"\w+|-\d+", text) or text == _EMPTY or _value(text) != value:
        raise HistoryError(f"LiMo's logs can't hold {value!r}: expected a number or a word, other than {_EMPTY!r}")
    return text
