"""How every command answers: one JSON object on standard output, or prose for a person."""

from __future__ import annotations

import sys
from typing import Any

import msgspec
from rich.console import Console

from harness.progress import Screen

JSON_HELP = "Print one JSON object on standard output; progress and prose go to standard error."


def as_json(value: Any) -> None:
    """Writes one JSON object, and nothing else, to standard output."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def console() -> Console:
    """Where prose goes: standard output, in colour on a terminal."""
    return Screen(soft_wrap=True, highlight=False)


COLOURS = {
    "pass": "bold green",
    "valid": "bold green",
    "violation": "bold red",
    "invalid": "bold red",
    "inconclusive": "bold yellow",
    "unknown": "bold yellow",
    "infrastructure": "bold",
}


def split(text: str) -> tuple[str, ...]:
    """A comma-separated option; `none` and the empty text are no names at all."""
    return tuple(word.strip() for word in text.split(",") if word.strip() and word.strip() != "none")
