"""LiMo's logs of queues and stacks: lines such as `[3] call push(5)` and `[3] return`, or the same as TeX."""

from __future__ import annotations

import re
from typing import Any

from checker.formats.reading import Numbered
from checker.history import HistoryError

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
    for number, line in enumerate(text.split("\n"), 1):
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
            yield number, {"process": process, "type": "ok", "value": value if answer is None else _answered(answer)}
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


def _answered(answer: Any) -> Any:
    return None if answer == _EMPTY else answer
