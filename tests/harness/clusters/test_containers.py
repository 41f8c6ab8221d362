"""What nodes in containers print, cut out of the engine's stream."""

from __future__ import annotations

import os
import struct
import threading
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from harness.clusters.containers import LogPump, Stream


def framed(kind: int, content: bytes) -> bytes:
    return struct.pack(">BxxxL", kind, len(content)) + content


@pytest.mark.parametrize("step", [1, 3, 8, 9, 1000])
def test_frames_and_lines_come_out_whole_however_they_arrive(step: int) -> None:
    stream = Stream("n1", None)
    sent = framed(1, b'{"a":1}\n{"b"') + framed(2, b"words\n") + framed(1, b":2}\n\n")
    frames = [frame for at in range(0, len(sent), step) for frame in stream.frames(sent[at : at + step])]
    assert [kind for kind, _ in frames] == [1, 2, 1]
    lines = [line for kind, content in frames if kind == 1 for line in stream.lines(content)]
    assert lines == [b'{"a":1}', b'{"b":2}']


class Watched:
    """A pump that is told by a pipe, and what it passed on."""

    def __init__(self, folder: Path) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.ended: list[str] = []
        self.broken = threading.Event()
        self.pump = LogPump(lambda node, event: self.events.append((node, event)), self.ended.append, self._broken)
        self.pump.add("n1", folder)

    def _broken(self, _error: BaseException) -> None:
        self.broken.set()

    def say(self, content: bytes) -> None:
        """A start and an end of a node that prints this."""
        reading, writing = os.pipe()
        stream = self.pump.follow("n1", FileIO(reading))
        os.write(writing, content)
        os.close(writing)
        assert stream.ended.wait(10)


def test_what_a_node_prints_is_kept_through_its_restarts(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    try:
        watched.say(framed(1, b'{"kind":"ready"}\n') + framed(2, b"first words\n"))
        watched.say(framed(1, b'{"kind":"ready"}\nnot an event\n') + framed(2, b"last words\n"))
    finally:
        watched.pump.close()
        watched.pump.close()
    assert watched.events == [("n1", {"kind": "ready"})] * 2
    assert watched.ended == ["n1", "n1"]
    assert (tmp_path / "events.jsonl").read_bytes() == b'{"kind":"ready"}\n{"kind":"ready"}\nnot an event\n'
    assert (tmp_path / "stderr.log").read_bytes() == b"first words\nlast words\n"
    assert watched.pump.last_lines("n1") == ["first words", "not an event", "last words"]
    assert not watched.broken.is_set()


def test_a_mistake_in_the_reading_thread_is_handed_on(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.pump._on_event = lambda node, event: 1 // 0
    reading, writing = os.pipe()
    try:
        watched.pump.follow("n1", FileIO(reading))
        os.write(writing, framed(1, b"{}\n"))
        assert watched.broken.wait(10)
    finally:
        os.close(writing)
        watched.pump.close()
