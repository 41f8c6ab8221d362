"""The node's protocol events as JSON lines: who leads, who voted, what was appended, cut and committed.

Each line is {"v", "t", "node", "kind", ...}; `t` is nanoseconds of the host's monotonic clock. The lines of one turn of
the loop leave in one write, so that lines of several processes that share a file never mix. What the kinds mean is the
core's business (its Note effects); the shell adds `ready`, `torn-tail` and `stopping`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

VERSION = 1


class EventLog:
    """Gathers event lines until they are taken to be written."""

    __slots__ = ("_encoder", "_lines", "_node")

    def __init__(self, node: str) -> None:
        self._node = node
        self._encoder = msgspec.json.Encoder()
        self._lines: list[bytes] = []

    def add(self, kind: str, fields: Mapping[str, Any], now: int) -> None:
        """Gathers one event; `now` in nanoseconds."""
        self._lines.append(self._encoder.encode({"v": VERSION, "t": now, "node": self._node, "kind": kind, **fields}))

    def take(self) -> bytes:
        """All lines gathered since the last call, each with its newline; b"" if there are none."""
        if not self._lines:
            return b""
        self._lines.append(b"")
        text = b"\n".join(self._lines)
        self._lines.clear()
        return text
