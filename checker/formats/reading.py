"""What the readers of all formats share: numbered events, and how a text that stops in the middle is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

Numbered: TypeAlias = Iterator[tuple[int, Any]]
"""Events, each with the line in which it begins."""


class TornError(Exception):
    """The text stops in the middle of an event; what came before it was given."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line


def numbered_lines(text: str) -> Iterator[tuple[int, str, bool]]:
    """The lines of a text, each with its number and whether it is the last one, which lacks its end.

    One after the other: a list of all lines of a long text would take more memory than the history.
    """
    start = number = 0
    while (end := text.find("\n", start)) >= 0:
        number += 1
        yield number, text[start:end], False
        start = end + 1
    yield number + 1, text[start:], True


def is_transaction(value: Any) -> bool:
    """Whether a value is a list of steps such as [:append 1 2] or ["r", 3, null]."""
    return isinstance(value, list) and all(
        isinstance(step, list) and len(step) >= 2 and isinstance(step[0], str) for step in value
    )
