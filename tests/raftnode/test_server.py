"""Real nodes on loopback: what clients are promised, what bad input gets, and how a node ends."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from raftnode import wire
from raftnode.client import Client
from raftnode.http_api import BODY_LIMIT, HEADER_LIMIT
from raftnode.messages import ReadIndex
from raftnode.peers import ACCEPTED_LIMIT
from raftnode.storage import SEGMENT_NAME
from tests.raftnode import nodes as real


@pytest.fixture
def three(tmp_path: Path) -> Iterator[real.Nodes]:
    cluster = real.Nodes(tmp_path, 3)
    with contextlib.closing(cluster):
        yield cluster.start()


# So patient that a busy machine is no reason for an election.
PATIENT = "election_min=2000000000,election_max=4000000000,check_quorum=4000000000,request_timeout=4000000000"


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[real.Nodes]:
    """Three nodes for tests that break nothing; each uses keys of its own."""
    cluster = real.Nodes(tmp_path_factory.mktemp("steady"), 3, PATIENT)
    with contextlib.closing(cluster):
        yield cluster.start()


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[real.Node]:
    """A cluster of one, for all that only concerns the door: each test must leave it serving."""
    cluster = real.Nodes(tmp_path_factory.mktemp("one"), 1)
    with contextlib.closing(cluster):
        cluster.start()
        yield cluster.leader()
        assert real.HTTP.put(cluster["n1"].url + "/kv/after", json={"value": 1}).status_code == 200
        assert cluster["n1"].metric("raft_internal_errors_total") == 0
        assert "Traceback" not in cluster["n1"].errors()


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[real.Node]:
    """A node that a test may break."""
    cluster = real.Nodes(tmp_path, 1)
    with contextlib.closing(cluster):
        yield cluster["n1"]


def code_of(answer: httpx.Response) -> tuple[int, str, bool]:
    body = answer.json()
    return answer.status_code, body["code"], body["definite"]


# --- what clients are promised -----------------------------------------------------------------------------------------


def test_every_operation_of_the_api(steady: real.Nodes) -> None:
    assert steady.ask("PUT", "/kv/a", {"value": {"x": [1, None]}}).json()["index"] > 0
    assert steady.ask("GET", "/kv/a").json()["value"] == {"x": [1, None]}
    assert steady.ask("POST", "/kv/a/cas", {"expect": {"x": [1, None]}, "value": 2}).status_code == 200
    mismatch = steady.ask("POST", "/kv/a/cas", {"expect": 1, "value": 3})
    assert code_of(mismatch) == (409, "cas-mismatch", True)
    assert mismatch.json()["actual"] == 2
    assert steady.ask("POST", "/kv/l/append", {"element": "e"}).json()["length"] == 1
    assert steady.ask("POST", "/kv/l/append", {"element": "f"}).json()["length"] == 2
    assert code_of(steady.ask("POST", "/kv/a/append", {"element": 1})) == (409, "wrong-type", True)
    assert steady.ask("DELETE", "/kv/a").json()["existed"] is True
    assert steady.ask("DELETE", "/kv/a").json()["existed"] is False
    assert code_of(steady.ask("GET", "/kv/a")) == (404, "key-not-found", True)
    assert steady.ask("GET", "/kv/l").json()["value"] == ["e", "f"]


def test_a_follower_reads_linearizably_and_redirects_writes_by_the_leaders_id(steady: real.Nodes) -> None:
    """DESIGN: "A follower serves reads by ReadIndex and answers writes with 307 and the leader's address"."""
    steady.ask("PUT", "/kv/a%2Fb", {"value": 1})
    leader = steady.leader()
    for follower in steady.followers():
        assert real.HTTP.get(follower.url + "/kv/a%2Fb").json()["value"] == 1
        answer = real.HTTP.put(follower.url + "/kv/a%2Fb", json={"value": 2})
        assert code_of(answer) == (307, "not-leader", True)
        assert answer.json()["leader"] == answer.headers["x-raft-leader"] == leader.name
        assert answer.headers["location"] == leader.url + "/kv/a%2Fb"


def test_writes_go_on_after_kill_9_of_the_leader_and_a_restart_recovers(three: real.Nodes) -> None:
    for number in range(20):
        three.ask("POST", "/kv/l/append", {"element": number})
    old = three.leader()
    old.kill()
    three.ask("POST", "/kv/l/append", {"element": 20})
    assert three.leader() is not old
    old.start()
    caught_up = real.eventually(lambda: real.HTTP.get(old.url + "/kv/l").json().get("value"), "a read at it")
    assert caught_up == list(range(21))


def test_what_was_acknowledged_survives_kill_9_of_all(three: real.Nodes) -> None:
    for number in range(10):
        three.ask("POST", "/kv/l/append", {"element": number})
    for node in three:
        node.kill()
    for node in three:
        node.start()
    assert three.ask("GET", "/kv/l").json()["value"] == list(range(10))


def test_a_repeat_gets_the_first_answer_also_from_the_next_leader(three: real.Nodes) -> None:
    """Thesis 6.3: "the system saves the response [...] and returns it for a repeat without executing the request again"."""
    session = three.ask("POST", "/sessions").json()["session"]
    first = three.ask("POST", "/kv/l/append", {"element": 1}, f"{session}:1")
    assert three.ask("POST", "/kv/l/append", {"element": 1}, f"{session}:1").json() == first.json()
    three.leader().kill()
    assert three.ask("POST", "/kv/l/append", {"element": 1}, f"{session}:1").json() == first.json()
    assert three.ask("GET", "/kv/l").json()["value"] == [1]
    three.ask("POST", "/kv/l/append", {"element": 2}, f"{session}:2")
    assert code_of(three.ask("POST", "/kv/l/append", {"element": 1}, f"{session}:1")) == (409, "sequence-passed", False)


def test_a_write_of_an_unknown_session_is_refused(steady: real.Nodes) -> None:
    assert code_of(steady.ask("PUT", "/kv/never", {"value": 1}, "s999999:1")) == (409, "unknown-session", False)
    assert code_of(steady.ask("GET", "/kv/never")) == (404, "key-not-found", True)


def test_a_write_without_a_majority_ends_unknown(tmp_path: Path) -> None:
    """A timeout says nothing about what happens later; only a read is harmless (Jepsen's info rule)."""
    cluster = real.Nodes(tmp_path, 3, "check_quorum=0,request_timeout=300000000")
    with contextlib.closing(cluster):
        cluster.start()
        leader = cluster.leader()
        for follower in cluster.followers():
            follower.signal(signal.SIGSTOP)
        answer = real.HTTP.put(leader.url + "/kv/a", json={"value": 1})
        assert code_of(answer) == (504, "timeout", False)
        assert code_of(real.HTTP.get(leader.url + "/kv/a")) == (504, "timeout", True)
        for node in cluster:
            node.signal(signal.SIGCONT)
        # It was neither lost nor refused: the followers had only been slow.
        assert cluster.ask("GET", "/kv/a").json()["value"] == 1


def test_without_a_leader_the_refusal_is_definite(tmp_path: Path) -> None:
    cluster = real.Nodes(tmp_path, 3)
    with contextlib.closing(cluster):
        node = cluster["n1"].start()
        answer = real.HTTP.put(node.url + "/kv/a", json={"value": 1})
        assert code_of(answer) == (503, "no-leader", True)
        assert int(answer.headers["retry-after"]) > 0


def test_the_client_works_through_a_change_of_leader(three: real.Nodes) -> None:
    with Client({node.name: node.url for node in three}) as kv:
        kv.put("k", 1)
        three.leader().kill()
        kv.cas("k", 1, 2)
        assert kv.append("l", "e") == 1
        found = kv.get("k")
        assert found is not None
        assert found.value == 2


# --- bad input ----------------------------------------------------------------------------------------------------------


def exchange(node: real.Node, data: bytes) -> bytes:
    """All that the node sends for these bytes until it closes the connection."""
    with socket.create_connection(node.address, timeout=real.PATIENCE_SECONDS) as connection:
        connection.sendall(data)
        received = b""
        while part := connection.recv(65536):
            received += part
        return received


def error_in(response: bytes) -> tuple[int, str]:
    head, _, body = response.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), msgspec.json.decode(body)["code"]


@pytest.mark.parametrize(
    "method,path,content,status,code",
    [
        ("PUT", "/kv/a", b'{"value":', 400, "bad-json"),
        ("PUT", "/kv/a", b"\xff\xfe", 400, "bad-json"),
        ("PUT", "/kv/a", b"{}", 400, "bad-request"),
        ("PUT", "/kv/" + "k" * 600, b'{"value":1}', 400, "bad-key"),
        ("GET", "/kv/%ff", b"", 400, "bad-key"),
        ("GET", "/nowhere", b"", 404, "unknown-path"),
        ("PATCH", "/kv/a", b"", 405, "method-not-allowed"),
    ],
)
def test_nonsense_gets_a_json_error(
    one: real.Node, method: str, path: str, content: bytes, status: int, code: str
) -> None:
    answer = real.HTTP.request(method, one.url + path, content=content)
    assert code_of(answer) == (status, code, True)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_huge_body_is_refused_and_the_answer_arrives(one: real.Node, chunked: bool) -> None:  # noqa: FBT001
    body = b'{"value":"' + b"x" * (3 * BODY_LIMIT) + b'"}'
    if chunked:
        head = b"PUT /kv/a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        data = head + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
    else:
        data = b"PUT /kv/a HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    assert error_in(exchange(one, data)) == (413, "too-large")


def test_a_body_at_the_limit_is_taken(one: real.Node) -> None:
    body = b'{"value":"' + b"x" * (BODY_LIMIT - 12) + b'"}'
    assert len(body) == BODY_LIMIT
    assert real.HTTP.put(one.url + "/kv/big", content=body).status_code == 200
    assert len(real.HTTP.get(one.url + "/kv/big").json()["value"]) == BODY_LIMIT - 12


@pytest.mark.parametrize(
    "head",
    [
        b"GET /kv/" + b"k" * (HEADER_LIMIT + 1) + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /kv/a HTTP/1.1\r\nhost: x\r\nlong: " + b"v" * (HEADER_LIMIT + 1) + b"\r\n\r\n",
        b"GET /kv/a HTTP/1.1\r\n" + b"many: headers\r\n" * 3000 + b"\r\n",
        b"GET /kv/a HTTP/1.1\r\nendless: " + b"v" * (1024 * 1024),
    ],
)
def test_a_head_that_is_too_big_is_refused(one: real.Node, head: bytes) -> None:
    assert error_in(exchange(one, head)) == (431, "headers-too-large")


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01\x02\x00", b"nonsense\r\n\r\n", b"GET /kv/a HTTP/9.9\r\n\r\n", b"\0" * 100]
)
def test_what_is_no_http_is_refused(one: real.Node, data: bytes) -> None:
    assert error_in(exchange(one, data)) == (400, "bad-http")


def test_pipelined_requests_are_answered_in_their_order(one: real.Node) -> None:
    request = b'PUT /kv/p HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n{"value":%d}'
    data = b"".join(
        request % (len(b'{"value":%d}' % number), number) + b"GET /kv/p HTTP/1.1\r\nhost: x\r\n\r\n"
        for number in range(100)
    )
    received = exchange(one, data + b"GET /status HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    values = [
        msgspec.json.decode(part[: part.index(b"}") + 1])["value"]
        for part in received.split(b"\r\n\r\n")
        if part.startswith(b'{"key"')
    ]
    assert values == list(range(100))


def test_the_answer_to_a_head_request_is_never_taken_for_the_next_one(one: real.Node) -> None:
    """RFC 9110, 9.3.2: an answer to HEAD has no content, so a client would read ours as the beginning of the next answer."""
    received = exchange(one, b"HEAD /status HTTP/1.1\r\nhost: x\r\n\r\nGET /status HTTP/1.1\r\nhost: x\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 405 ")
    assert received.count(b"HTTP/1.1 ") == 1
    assert b"\r\nconnection: close\r\n" in received


def test_a_client_that_asks_for_consent_before_its_body_gets_it(one: real.Node) -> None:
    with socket.create_connection(one.address, timeout=real.PATIENCE_SECONDS) as connection:
        connection.sendall(
            b"PUT /kv/a HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\nconnection: close\r\ncontent-length: 11\r\n\r\n"
        )
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b'{"value":1}')
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_half_a_request_and_a_client_that_leaves_do_no_harm(one: real.Node) -> None:
    request = b'PUT /kv/half HTTP/1.1\r\nhost: x\r\ncontent-length: 11\r\n\r\n{"value":1}'
    for size in range(len(request)):
        with socket.create_connection(one.address, timeout=real.PATIENCE_SECONDS) as connection:
            connection.sendall(request[:size])
    assert code_of(real.HTTP.get(one.url + "/kv/half")) == (404, "key-not-found", True)
    for _ in range(20):
        with socket.create_connection(one.address, timeout=real.PATIENCE_SECONDS) as connection:
            connection.sendall(request)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, no goodbye
    assert real.HTTP.put(one.url + "/kv/half", json={"value": 2}).status_code == 200


@pytest.mark.slow
def test_slow_bodies_are_closed_and_more_connections_than_allowed_do_not_shut_others_out(one: real.Node) -> None:
    """The issue: "a million connections' worth of slow bodies: a JSON error or a closed connection, and the node keeps serving"."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096 + 200
    if hard != resource.RLIM_INFINITY and hard < wanted + 200:
        pytest.skip(f"this process may open {hard} files, {wanted + 200} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted + 200), hard))
    before = one.metric("raft_connections_evicted_total")
    with contextlib.ExitStack() as stack:
        slow = []
        for _ in range(wanted):
            connection = stack.enter_context(socket.create_connection(one.address, timeout=real.PATIENCE_SECONDS))
            connection.sendall(b"PUT /kv/slow HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
            slow.append(connection)
        assert real.HTTP.put(one.url + "/kv/quick", json={"value": 1}).status_code == 200
        assert one.metric("raft_connections_evicted_total") - before >= wanted - 4096
        slow[-1].settimeout(real.PATIENCE_SECONDS)
        assert slow[-1].recv(1) == b""  # closed after ten seconds
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# --- peers that are none ------------------------------------------------------------------------------------------------


def hello(**changes: Any) -> bytes:
    fields = {"type": "hello", "version": wire.VERSION, "cluster": "test", "from": "n2", "to": "n1", **changes}
    payload = msgspec.msgpack.encode(fields)
    return len(payload).to_bytes(4, "big") + payload


def negative_index() -> bytes:
    """An AppendEntries behind an entry that cannot be: taken for an index from the log's end it would end the node."""
    payload = msgspec.msgpack.encode(["append", 1, "n2", -5, 1, [], 0, 0])
    return len(payload).to_bytes(4, "big") + payload


@pytest.mark.parametrize(
    "data,reason",
    [
        (b"GET / HTTP/1.1\r\n\r\n", "too-long"),
        (hello(version=99), "wrong-version"),
        (hello(cluster="other"), "wrong-cluster"),
        (hello(to="n3"), "wrong-receiver"),
        (hello(**{"from": "n9"}), "unknown-peer"),
        (b"\0\0\0\3abc", "malformed"),
        (hello() + b"\0\0\0\3abc", "malformed"),
        (hello() + wire.encode(ReadIndex(1, "n3", 1)), "wrong-sender"),
        (hello() + b"\xff\xff\xff\xff", "too-long"),
        ((wire.GREETING_LIMIT + 1).to_bytes(4, "big"), "too-long"),
        (hello() + negative_index(), "malformed"),
        (hello()[:-3], "truncated"),
    ],
)
def test_a_strangers_frames_are_dropped_and_counted(steady: real.Nodes, data: bytes, reason: str) -> None:
    """The issue: "A peer frame that is truncated, too long or of another version: dropped, counted, never a crash"."""
    node = steady["n1"]
    sample = f'raft_frames_dropped_total{{reason="{reason}"}}'
    before = node.metric(sample)
    with socket.create_connection(("127.0.0.1", steady.peer_ports["n1"]), timeout=real.PATIENCE_SECONDS) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while connection.recv(1000):
                pass
    real.eventually(lambda: True if node.metric(sample) == before + 1 else None, f"{reason} is counted once")
    assert steady.ask("PUT", "/kv/frames", {"value": 1}).status_code == 200
    assert not any(one.ended() for one in steady)


def test_strangers_who_say_nothing_do_not_keep_peers_out(steady: real.Nodes) -> None:
    node = steady.followers()[0]
    address = ("127.0.0.1", steady.peer_ports[node.name])
    with contextlib.ExitStack() as stack:
        silent = [
            stack.enter_context(socket.create_connection(address, timeout=real.PATIENCE_SECONDS))
            for _ in range(ACCEPTED_LIMIT + 10)
        ]
        assert silent[0].recv(1) == b""  # closed to make room for the later ones
        assert steady.ask("PUT", "/kv/silence", {"value": 1}).status_code == 200
        assert real.HTTP.get(node.url + "/kv/silence").json()["value"] == 1


# --- how a node starts and ends -------------------------------------------------------------------------------------------


def test_the_first_event_is_ready_and_sigterm_ends_with_0(alone: real.Node) -> None:
    alone.start()
    assert alone.process is not None
    first = alone.events()[0]
    assert (first["kind"], first["v"], first["node"], first["pid"]) == ("ready", 1, "n1", alone.process.pid)
    assert first["client"] == f"127.0.0.1:{alone.address[1]}"
    alone.signal(signal.SIGTERM)
    assert alone.wait() == 0
    assert alone.events()[-1]["kind"] == "stopping"
    times = [event["t"] for event in alone.events()]
    assert times == sorted(times)


def test_a_torn_tail_is_cut_and_told(alone: real.Node) -> None:
    alone.start().kill()
    path = alone.directory / "data" / SEGMENT_NAME
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(b"half a rec")
    alone.start()
    assert alone.kinds()[alone.kinds().index("torn-tail") - 1] == "ready"
    (torn,) = (event for event in alone.events() if event["kind"] == "torn-tail")
    assert (torn["offset"], torn["lost"]) == (size, 10)
    assert f"cut 10 bytes of a record that was never finished, at byte {size}" in alone.errors()


def test_damage_stops_the_node_with_5_and_names_the_byte(alone: real.Node) -> None:
    alone.start()
    for _ in range(5):
        real.eventually(
            lambda: real.HTTP.put(alone.url + "/kv/a", json={"value": 1}).status_code == 200 or None, "a write"
        )
    alone.kill()
    path = alone.directory / "data" / SEGMENT_NAME
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    alone.start()
    assert alone.wait() == 5
    assert "is damaged at byte" in alone.errors().splitlines()[-1]
    assert "Traceback" not in alone.errors()


def test_a_disk_that_fails_stops_the_node_with_5_and_nothing_is_acknowledged(alone: real.Node) -> None:
    """Pitfall 10: "A failed fsync is final: stop the node, never retry"."""
    alone.start()
    real.eventually(lambda: real.HTTP.put(alone.url + "/kv/a", json={"value": 1}).status_code == 200 or None, "a write")
    # So big that the log's file reaches the limit before those of events and messages do.
    real.HTTP.put(alone.url + "/kv/big", json={"value": "x" * 500_000})
    assert alone.process is not None
    size = (alone.directory / "data" / SEGMENT_NAME).stat().st_size
    resource.prlimit(alone.process.pid, resource.RLIMIT_FSIZE, (size, size))
    with pytest.raises(httpx.TransportError):
        real.HTTP.put(alone.url + "/kv/a", json={"value": 2})
    assert alone.wait() == 5
    assert "the disk failed: [Errno 27] File too large" in alone.errors()
    alone.start()
    read = real.eventually(lambda: real.HTTP.get(alone.url + "/kv/a").json().get("value"), "a read")
    assert read == 1


def test_a_directory_of_another_node_is_refused_with_2(alone: real.Node) -> None:
    alone.start().kill()
    alone.start("--cluster", "other")
    assert alone.wait() == 2
    assert "belongs to node 'n1' of cluster 'test'" in alone.errors().splitlines()[-1]


def test_a_port_in_use_is_one_sentence_and_4(alone: real.Node) -> None:
    with socket.create_server(alone.address):
        alone.start()
        assert alone.wait() == 4
    assert "cannot listen" in alone.errors().splitlines()[-1]
    assert "Traceback" not in alone.errors()


def run_node(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "raftnode", *arguments]
    return subprocess.run(
        command, cwd=real.ROOT, capture_output=True, text=True, timeout=real.PATIENCE_SECONDS, check=False
    )


def test_formats_are_printed() -> None:
    done = run_node("--formats")
    assert done.returncode == 0
    assert msgspec.json.decode(done.stdout) == {"cli": 1, "http": 1, "events": 1, "wire": 1, "storage": 1}


@pytest.mark.parametrize(
    "changed,sentence",
    [
        ({"--client": "8000"}, "'8000' is no HOST:PORT"),
        ({"--peer": "127.0.0.1:99999"}, "'127.0.0.1:99999' is no HOST:PORT"),
        ({"--members": "n2,n3"}, "each id once, and 'n1' among them"),
        ({"--peers": "n2=127.0.0.1:1"}, "an address is wanted for each of the other members"),
        ({"--build": "bug:read-without-quorun"}, "there is no build 'bug:read-without-quorun'"),
        ({"--limits": "heartbeet=1"}, "there is no limit 'heartbeet': did you mean heartbeat"),
        ({"--limits": "heartbeat=soon"}, "--limits: "),
        ({"--limits": "election_min=900000000"}, "election_min must be above 0 and not above election_max"),
    ],
)
def test_a_wrong_argument_is_one_sentence_and_2(tmp_path: Path, changed: dict[str, str], sentence: str) -> None:
    arguments = {
        "--id": "n1",
        "--data": str(tmp_path / "data"),
        "--client": "127.0.0.1:0",
        "--peer": "127.0.0.1:0",
        "--members": "n1,n2,n3",
        "--peers": "n2=127.0.0.1:1,n3=127.0.0.1:2",
        "--cluster": "test",
        **changed,
    }
    done = run_node(*(part for pair in arguments.items() for part in pair))
    assert done.returncode == 2
    assert done.stdout == ""
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not os.path.lexists(tmp_path / "data")
