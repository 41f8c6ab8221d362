"""Records a history as it happens: JSON lines, each written and flushed before the next event.

What a line must say is decided in `history.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from checker.history import Pairing


class HistoryWriter:
    """Writes a history as JSON lines, each flushed as it happens, and refuses what would not be well formed.

    Opened for appending in binary, one write a line: what was written survives a killed harness.
    """

    def __init__(self, path: str | Path) -> None:
        self._file: BinaryIO = open(path, "ab")  # noqa: SIM115 - closed by close(), it lives as long as the run
        self._encoder = msgspec.json.Encoder(enc_hook=str)
        self._pairing = Pairing()
        self._next = 0

    def append(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Writes one event, numbered (`i`) if it has no number, and returns it as written. Raises `HistoryError`."""
        numbered = {"i": self._next, **event}
        self._pairing.take(numbered, self._next + 1)
        self._next = numbered["i"] + 1
        self._file.write(self._encoder.encode(numbered) + b"\n")
        self._file.flush()
        return numbered

    def close(self) -> None:
        """Closes the file; operations that are still open stay so, which is what their readers must know."""
        self._file.close()
