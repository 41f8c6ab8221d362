"""Operations, values and times in words, as an engineer would write them by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from checker.history import FAIL, OK, Op, freeze
from checker.models.base import show

_LONGEST = 80


def value(thing: Any) -> str:
    """A value, cut in the middle where it is long."""
    return clip(show(freeze(thing)))


def clip(text: str) -> str:
    """A text without its middle where it is long."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"


def action(op: Op) -> str:
    """What was asked: write 2, cas from 3 to 4, append of 5, read; of a transaction with what it read."""
    if op.f == "cas":
        return f"cas from {value(op.value[0])} to {value(op.value[1])}"
    if op.f == "txn":
        return f"txn {value(op.result if op.type == OK else op.value)}"
    if op.f == "append":
        return f"append of {value(op.value)}"
    return op.f if op.value is None or op.f in {"read", "get", "delete"} else f"{op.f} {value(op.value)}"


def named(op: Op) -> str:
    """The operation with what tells it from others: write 2 (process 1, completed at 11.870 s)."""
    if op.returned is None:
        return f"{action(op)} (process {op.process}, invoked {start(op)}, never answered)"
    return f"{action(op)} (process {op.process}, {'failed' if op.type == FAIL else 'completed'} {end(op)})"


def begun(op: Op) -> str:
    """As `named`, with its beginning: write 2 (process 1, invoked at 11.870 s)."""
    return f"{action(op)} (process {op.process}, invoked {start(op)})"


def answered(op: Op) -> str:
    """The operation and its answer as the beginning of a sentence."""
    where = f"process {op.process}" + ("" if op.key is None else f" of key {key(op)}")
    if op.type == FAIL and op.f == "cas":
        return f"Cas from {value(op.value[0])} to {value(op.value[1])} by {where} was refused {end(op)}, since it met {value(op.error[1])}"
    if op.f in {"dequeue", "pop"} and op.result is None:
        return f"{op.f.capitalize()} by {where} found nothing {end(op)}"
    if op.type == OK and isinstance(op.result, bool) and op.f in {"add", "remove", "contains"}:
        return f"{action(op)[0].upper()}{action(op)[1:]} by {where} was answered {value(op.result)} {end(op)}"
    if op.f in {"read", "get", "dequeue", "pop", "generate"}:
        return f"{op.f.capitalize()} by {where} returned {value(op.result)} {end(op)}"
    return (
        f"{action(op)[0].upper()}{action(op)[1:]} by {where} {'succeeded' if op.type == OK else 'was sent'} {end(op)}"
    )


def key(op: Op) -> str:
    """The key, a string without quotes."""
    return op.key if isinstance(op.key, str) else value(op.key)


def start(op: Op) -> str:
    """When it was invoked."""
    return _at(op.invoke_time, op.invoke_index, op.invoked)


def end(op: Op) -> str:
    """When it completed."""
    return _at(op.return_time, op.return_index, op.returned)


def one_of(texts: Sequence[str], limit: int = 8) -> str:
    """2, or 2 or 3, or 2, 3 or 4; cut where there are many."""
    if len(texts) > limit:
        return ", ".join(texts[:limit]) + f" or one of {len(texts) - limit} more"
    return texts[0] if len(texts) == 1 else ", ".join(texts[:-1]) + f" or {texts[-1]}"


def _at(time: int | None, index: int | None, place: int | None) -> str:
    if time is not None:
        return f"at {time / 1e9:.3f} s"
    return f"at event {place if index is None else index}"
