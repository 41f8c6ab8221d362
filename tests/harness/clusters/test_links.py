"""The links' process between sockets that the tests hold: what passes, what is dropped, what is refused.

From the fault model (`harness/nemesis.py`): a partition is "a set of directed edges between nodes over which nothing
passes"; "clients stand beside their home node and are cut off with it".
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.builds import ROOT
from harness.clusters.cluster import ClusterError
from harness.clusters.link_control import Links
from harness.clusters.links import HELD_BYTES
from harness.clusters.ports import HOST, PortReservation
from raftnode.wire import FRAME_LIMIT, LENGTH_BYTES

SECONDS = 10.0  # for what must come
SILENCE = 0.2  # for what must not come


class Board:
    """Two nodes of which the tests play the sockets, and the links between them."""

    def __init__(self, log: Path) -> None:
        self.stack = contextlib.ExitStack()
        self.broken: list[BaseException] = []
        self.links = Links(self.stack.enter_context(log.open("ab")), self.broken.append)
        self.clients = {node: self._listener() for node in ("a", "b")}
        self.peers = {node: self._listener() for node in ("a", "b")}
        ports = {node: (_port(self.clients[node]), _port(self.peers[node])) for node in ("a", "b")}
        self.to_peers, self.to_nodes = self.links.open("test", ports)
        for node in ("a", "b"):
            self.links.listening(node, True)
        self.links.counters()  # commands are answered in their order: now the links listen

    def _listener(self) -> socket.socket:
        listener = self.stack.enter_context(socket.create_server((HOST, 0)))
        listener.settimeout(SECONDS)
        return listener

    def dial(self, port: int) -> socket.socket:
        dialled = self.stack.enter_context(socket.create_connection((HOST, port), SECONDS))
        dialled.settimeout(SECONDS)
        return dialled

    def accept(self, listener: socket.socket) -> socket.socket:
        accepted = self.stack.enter_context(listener.accept()[0])
        accepted.settimeout(SECONDS)
        return accepted


def _port(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


def frame(payload: bytes) -> bytes:
    return len(payload).to_bytes(LENGTH_BYTES, "big") + payload


def read(connection: socket.socket, count: int) -> bytes:
    """Exactly so many bytes."""
    found = b""
    while len(found) < count:
        more = connection.recv(count - len(found))
        assert more, f"it was closed after {found!r}"
        found += more
    return found


def is_silent(connection: socket.socket) -> bool:
    """Whether neither bytes nor an end come for a while."""
    connection.settimeout(SILENCE)
    try:
        connection.recv(1)
    except TimeoutError:
        return True
    finally:
        connection.settimeout(SECONDS)
    return False


def is_closed(connection: socket.socket) -> bool:
    """Whether it ends without another byte."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def until_counted(board: Board, counter: str, edge: tuple[str, str], count: int) -> None:
    """Waits until so much was dropped over an edge."""
    end = time.monotonic() + SECONDS
    while getattr(board.links.counters(), counter).get(edge, 0) != count:
        assert time.monotonic() < end, f"never dropped: {count} {counter} over {edge}"
        time.sleep(0.01)


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    made = Board(tmp_path / "links.log")
    with made.stack:
        yield made
        made.links.close()
    assert (tmp_path / "links.log").read_text() == ""


def test_frames_pass_whole_however_the_stream_is_chopped_up(board: Board) -> None:
    front = board.dial(board.to_peers["a", "b"])
    big = frame(bytes(range(256)) * 4096)
    front.sendall(frame(b"hello") + big[:3])
    back = board.accept(board.peers["b"])
    assert read(back, 9) == frame(b"hello")
    assert is_silent(back)  # three bytes of a frame are not a frame
    front.sendall(big[3:] + frame(b""))
    assert read(back, len(big) + 4) == big + frame(b"")
    back.sendall(frame(b"welcome"))
    assert read(front, 11) == frame(b"welcome")


def test_a_cut_drops_whole_frames_of_one_direction_and_the_connection_stands(board: Board) -> None:
    front = board.dial(board.to_peers["a", "b"])
    front.sendall(frame(b"hello"))
    back = board.accept(board.peers["b"])
    read(back, 9)
    front.sendall(frame(b"torn in the middle")[:7])
    board.links.cut([("a", "b")])
    front.sendall(frame(b"torn in the middle")[7:] + frame(b"lost"))
    until_counted(board, "frames", ("a", "b"), 2)
    other = board.dial(board.to_peers["b", "a"])
    other.sendall(frame(b"the other way"))
    assert read(board.accept(board.peers["a"]), 17) == frame(b"the other way")
    board.links.heal([("a", "b")])
    front.sendall(frame(b"passes"))
    assert read(back, 10) == frame(b"passes")  # and nothing of what was sent before


def test_cuts_of_several_faults_are_counted(board: Board) -> None:
    front = board.dial(board.to_peers["a", "b"])
    board.links.cut([("a", "b")])
    board.links.cut([("a", "b")])
    board.links.heal([("a", "b")])
    assert board.links.cut_now() == {("a", "b")}
    front.sendall(frame(b"hello"))
    until_counted(board, "frames", ("a", "b"), 1)
    board.links.heal([("a", "b")])
    assert board.links.cut_now() == set()


def test_a_greeting_that_was_lost_ends_its_connection_at_the_heal(board: Board) -> None:
    """The node that dialled would otherwise wait for an answer to what nobody received."""
    board.links.cut([("a", "b")])
    front = board.dial(board.to_peers["a", "b"])
    front.sendall(frame(b"hello"))
    assert is_silent(front)
    board.links.heal([("a", "b")])
    assert is_closed(front)


def test_a_client_of_a_cut_group_meets_silence_until_the_heal_and_then_a_closed_connection(board: Board) -> None:
    before = board.dial(board.to_nodes["a", "b"])
    before.sendall(b"GET / 1")
    back = board.accept(board.clients["b"])
    assert read(back, 7) == b"GET / 1"
    board.links.cut([("a", "b")])
    before.sendall(b"GET / 2")
    during = board.dial(board.to_nodes["a", "b"])
    during.sendall(b"GET / 3")
    until_counted(board, "bytes", ("a", "b"), 14)
    back.sendall(b"200 1")  # the way back is not cut
    assert read(before, 5) == b"200 1"
    assert is_silent(during)
    board.links.heal([("a", "b")])
    assert is_closed(before)
    assert is_closed(during)
    after = board.dial(board.to_nodes["a", "b"])
    after.sendall(b"GET / 4")
    assert read(board.accept(board.clients["b"]), 7) == b"GET / 4"


def test_a_cut_of_the_way_back_loses_the_answer_to_a_request_that_arrived(board: Board) -> None:
    board.links.cut([("b", "a")])
    front = board.dial(board.to_nodes["a", "b"])
    front.sendall(b"PUT")
    back = board.accept(board.clients["b"])
    assert read(back, 3) == b"PUT"
    back.sendall(b"200")
    until_counted(board, "bytes", ("b", "a"), 3)
    assert is_silent(front)
    board.links.heal([("b", "a")])
    assert is_closed(front)


def test_a_node_that_hangs_up_during_a_cut_is_not_heard(board: Board) -> None:
    front = board.dial(board.to_nodes["a", "b"])
    front.sendall(b"PUT")
    back = board.accept(board.clients["b"])
    read(back, 3)
    board.links.cut([("b", "a")])
    back.close()
    assert is_silent(front)
    board.links.heal([("b", "a")])
    assert is_closed(front)


def test_who_hangs_up_is_heard_on_the_other_side(board: Board) -> None:
    for port, listener in (
        (board.to_peers["a", "b"], board.peers["b"]),
        (board.to_nodes["a", "b"], board.clients["b"]),
    ):
        front = board.dial(port)
        front.sendall(frame(b"hello"))
        back = board.accept(listener)
        read(back, 9)
        back.close()
        assert is_closed(front)
        front = board.dial(port)
        front.sendall(frame(b"hello"))
        back = board.accept(listener)
        read(back, 9)
        front.close()
        assert is_closed(back)


def test_links_to_a_node_that_does_not_listen_refuse_as_it_does_unless_they_are_cut(board: Board) -> None:
    board.links.listening("b", False)
    board.links.counters()
    for port in (board.to_nodes["a", "b"], board.to_peers["a", "b"]):
        with pytest.raises(ConnectionRefusedError):
            board.dial(port)
    board.links.cut([("a", "b")])
    assert is_silent(board.dial(board.to_nodes["a", "b"]))
    board.links.heal([("a", "b")])
    with pytest.raises(ConnectionRefusedError):
        board.dial(board.to_nodes["a", "b"])
    board.links.listening("b", True)
    board.links.counters()
    front = board.dial(board.to_nodes["a", "b"])
    front.sendall(b"GET")
    assert read(board.accept(board.clients["b"]), 3) == b"GET"


def test_what_is_no_frame_ends_the_connection(board: Board) -> None:
    front = board.dial(board.to_peers["a", "b"])
    front.sendall((FRAME_LIMIT + 1).to_bytes(LENGTH_BYTES, "big"))
    assert is_closed(front)


def test_a_probe_tells_an_answer_from_silence_and_from_nobody(board: Board) -> None:
    assert board.links.probe([("a", "b")], 0.05) == {("a", "b"): "silent"}  # connected, and nobody speaks
    board.accept(board.peers["b"]).close()
    board.peers["b"].close()
    assert board.links.probe([("a", "b")], SECONDS) == {("a", "b"): "refused"}
    board.links.cut([("a", "b")])
    assert board.links.probe([("a", "b")], 0.05) == {("a", "b"): "silent"}
    assert board.links.counters().probes == {("a", "b"): 1}
    assert board.links.counters().frames == {}  # a probe is no evidence that a cut met any traffic


def test_the_process_ends_with_whoever_started_it() -> None:
    process = subprocess.Popen([sys.executable, "-m", "harness.clusters.links"], stdin=subprocess.PIPE, cwd=ROOT)
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(SECONDS) == 0


def test_a_command_to_links_that_are_gone_says_so(tmp_path: Path) -> None:
    with (tmp_path / "links.log").open("ab") as log:
        broken: list[BaseException] = []
        links = Links(log, broken.append)
        links.close()
        links.close()
        with pytest.raises(ClusterError, match=r"the process of the links is gone \(exit 0\)"):
            links.cut([("a", "b")])
        links.listening("a", False)  # a node must be able to end without them
        assert broken == []  # they were asked to end


def test_links_that_end_by_themselves_are_reported_and_whoever_asks_is_told(board: Board) -> None:
    os.kill(board.links.pid, signal.SIGKILL)
    end = time.monotonic() + SECONDS
    while not board.broken:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert [(type(error), str(error)) for error in board.broken] == [
        (ClusterError, "the process of the links is gone (exit -9); see links.log")
    ]
    with pytest.raises(ClusterError, match=r"the process of the links is gone \(exit -9\)"):
        board.links.counters()


def test_a_reserved_port_can_be_listened_on_again_and_again_but_not_be_bound_by_others() -> None:
    reservation = PortReservation()
    try:
        for _ in range(2):  # a node, and the node after its restart
            with socket.create_server((HOST, reservation.port)) as listener:
                assert _port(listener) == reservation.port
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind((HOST, reservation.port))
    finally:
        reservation.close()


def test_a_slow_edge_delays_one_direction_by_what_was_asked_and_keeps_the_order(board: Board) -> None:
    front = board.dial(board.to_peers["a", "b"])
    front.sendall(frame(b"hello"))
    back = board.accept(board.peers["b"])
    read(back, 9)
    board.links.slow([("a", "b")], 150, 50)
    began = time.monotonic()
    sent = [frame(b"%d" % number) for number in range(200)]
    for each in sent:
        front.sendall(each)
        time.sleep(0.001)  # pieces of their own, each with a jitter of its own
    back.sendall(frame(b"welcome"))
    assert read(front, 11) == frame(b"welcome")
    assert read(back, len(sent[0])) == sent[0]
    assert time.monotonic() - began >= 0.15
    assert read(back, len(b"".join(sent[1:]))) == b"".join(sent[1:])
    assert board.links.counters().held["a", "b"] > 1
    assert ("b", "a") not in board.links.counters().held
    board.links.quicken([("a", "b")], 150, 50)
    began = time.monotonic()
    front.sendall(frame(b"quick"))
    assert read(back, 9) == frame(b"quick")
    assert time.monotonic() - began < 0.15


def test_a_client_of_a_slow_node_waits_there_and_back(board: Board) -> None:
    board.links.slow([("a", "b")], 100, 0)
    board.links.slow([("b", "a")], 200, 0)
    began = time.monotonic()
    front = board.dial(board.to_nodes["a", "b"])
    front.sendall(b"GET")
    back = board.accept(board.clients["b"])
    assert read(back, 3) == b"GET"
    assert time.monotonic() - began >= 0.1
    began = time.monotonic()
    back.sendall(b"200")
    back.close()
    assert read(front, 3) == b"200"  # and the end of the connection does not overtake the answer
    assert time.monotonic() - began >= 0.2
    assert is_closed(front)


def test_what_is_on_its_way_when_a_cut_begins_is_lost(board: Board) -> None:
    """Else a partition would be seen to leak for as long as the delay lasts."""
    front = board.dial(board.to_peers["a", "b"])
    front.sendall(frame(b"hello"))
    back = board.accept(board.peers["b"])
    read(back, 9)
    board.links.slow([("a", "b")], 200, 0)
    front.sendall(frame(b"late"))
    while not board.links.counters().held:
        time.sleep(0.005)
    board.links.cut([("a", "b")])
    until_counted(board, "frames", ("a", "b"), 1)
    assert is_silent(back)


def test_a_slow_edge_holds_no_more_than_its_bound_and_nobody_else_up(board: Board) -> None:
    slow, other = board.dial(board.to_nodes["a", "b"]), board.dial(board.to_nodes["b", "a"])
    board.links.slow([("a", "b")], 2000, 0)
    slow.setblocking(False)
    sent, end = 0, time.monotonic() + 1.0
    while time.monotonic() < end:
        try:
            sent += slow.send(b"x" * (1 << 16))
        except BlockingIOError:
            time.sleep(0.01)
    resident = int(Path(f"/proc/{board.links.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    assert HELD_BYTES < sent < 16 * HELD_BYTES, "its sender has to wait, too: the rest is in the kernel's buffers"
    assert resident < 200 << 20
    other.sendall(b"GET")
    began = time.monotonic()
    assert read(board.accept(board.clients["a"]), 3) == b"GET"
    assert time.monotonic() - began < 1.0
    board.links.quicken([("a", "b")], 2000, 0)
    slow.settimeout(SECONDS)
    back = board.accept(board.clients["b"])
    assert read(back, sent) == b"x" * sent


def test_delays_of_several_faults_add_up_and_a_probe_tells_how_long_it_took(board: Board) -> None:
    accepted = []

    def welcome() -> None:
        for _ in range(3):
            connection = board.accept(board.peers["b"])
            connection.sendall(frame(b"welcome"))
            accepted.append(connection)

    welcoming = threading.Thread(target=welcome)
    welcoming.start()
    edge = ("a", "b")
    assert board.links.times([edge], SECONDS)[edge] < 300
    board.links.slow([edge], 200, 0)
    board.links.slow([edge], 100, 20)
    assert board.links.times([edge], SECONDS)[edge] >= 300
    board.links.quicken([edge], 200, 0)
    board.links.quicken([edge], 100, 20)
    assert board.links.times([edge], SECONDS)[edge] < 300
    welcoming.join()
