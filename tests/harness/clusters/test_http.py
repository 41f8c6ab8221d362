"""The attempts of one operation, against nodes that say what they are told; and the life of the client processes."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from scripted_node import BreaksOff, Reaction, Says, ScriptedNodes, Seen, Silent, refused

from harness.clusters.cluster import Attempt, ClusterError, Completion, Request
from harness.clusters.http import HttpClients

NODES = ("n1", "n2", "n3")
ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 10.0
MILLISECOND = 1_000_000


class Asking:
    """Client processes against scripted nodes, asked one operation after the other."""

    def __init__(self, nodes: ScriptedNodes, workers: int = 1, beside_n2: ScriptedNodes | None = None) -> None:
        """Clients whose home is n2 reach other nodes than the rest, if a test says so."""
        self.ended: queue.Queue[Completion] = queue.Queue()
        self.mistakes: queue.Queue[BaseException] = queue.Queue()
        endpoints = {
            (home, node): ("127.0.0.1", (beside_n2 if beside_n2 and home == "n2" else nodes).ports[node])
            for home in NODES
            for node in NODES
        }
        self.clients = HttpClients(endpoints, {}, NODES, workers, self.ended.put, self.mistakes.put)
        self._count = 0

    def ask(self, f: str, value: Any = None, **more: Any) -> tuple[Attempt, ...]:
        """The attempts of one operation."""
        self.submit(f, value, **more)
        completion = self.ended.get(timeout=PATIENCE)
        assert completion.op == f"c-{self._count}"
        return completion.attempts

    def submit(self, f: str, value: Any = None, **more: Any) -> None:
        self._count += 1
        fields = {"worker": 0, "key": "k", "prefer": "", "deadline": 2000, "attempt_timeout": 300, **more}
        fields["deadline"] *= MILLISECOND
        fields["attempt_timeout"] *= MILLISECOND
        self.clients.submit(Request(op=f"c-{self._count}", f=f, value=value, **fields))


@pytest.fixture(scope="module")
def standing_nodes() -> Iterator[ScriptedNodes]:
    made = ScriptedNodes(NODES)
    yield made
    made.close()


@pytest.fixture(scope="module")
def standing(standing_nodes: ScriptedNodes) -> Iterator[Asking]:
    """One worker, beside n1, with a session; all tests share its process, which takes its time to start."""
    made = Asking(standing_nodes)
    made.clients.prepare()
    yield made
    made.clients.close()


@pytest.fixture
def nodes(standing_nodes: ScriptedNodes) -> ScriptedNodes:
    standing_nodes.forget()
    return standing_nodes


@pytest.fixture
def asking(nodes: ScriptedNodes, standing: Asking) -> Asking:
    return standing


def always(reaction: Reaction) -> Callable[[Seen], Reaction]:
    return lambda seen: reaction


def one_after_the_other(*reactions: Reaction) -> Callable[[Seen], Reaction]:
    """The reactions in turn, whichever node is asked; the last one again and again."""
    rest = list(reactions)
    return lambda seen: rest.pop(0) if len(rest) > 1 else rest[0]


OK = Says(200, {"index": 7})
NO_LEADER = refused(503, "no-leader", definite=True, Retry_After="1")


def sequence_now(nodes: ScriptedNodes, asking: Asking) -> tuple[str, int]:
    """The worker's session and the number of its last operation."""
    nodes.reacts.update(dict.fromkeys(NODES, always(OK)))
    asking.ask("write", 0)
    session, _, number = nodes.keys()[-1].partition(":")
    nodes.forget()
    return session, int(number)


def test_a_redirect_is_followed_by_the_leaders_name_never_by_its_location(nodes: ScriptedNodes, asking: Asking) -> None:
    """The issue: "A 307 names the leader's node id; the worker goes there by its own link, never by the address in Location"."""
    elsewhere = f"http://127.0.0.1:{nodes.ports['n2']}/kv/k"
    nodes.reacts["n1"] = always(refused(307, "not-leader", definite=True, Location=elsewhere, X_Raft_Leader="n3"))
    nodes.reacts["n2"] = nodes.reacts["n3"] = always(OK)
    first, second = asking.ask("write", 4, prefer="n1")
    assert (first.node, first.status, first.error, first.definite) == ("n1", 307, "not-leader", True)
    assert (second.node, second.status, second.error, second.body) == ("n3", 200, "", {"index": 7})
    assert nodes.asked() == ["n1", "n3"]
    # The next update goes to the leader at once; a read to the node beside which the worker stands.
    assert [attempt.node for attempt in asking.ask("write", 5)] == ["n3"]
    nodes.reacts["n1"] = always(Says(200, {"key": "k", "value": 5, "index": 8}))
    assert [attempt.node for attempt in asking.ask("read")] == ["n1"]


@pytest.mark.parametrize(
    "first, error, status, definite",
    [
        (NO_LEADER, "no-leader", 503, True),
        (refused(504, "timeout", definite=False), "timeout", 504, False),
        (refused(503, "overwritten", definite=True), "overwritten", 503, True),
        (Silent(), "timeout", 0, False),
        (BreaksOff(), "broken", 0, False),
        (BreaksOff(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"), "broken", 0, False),
        (Says(200, b"not JSON"), "unreadable", 0, False),
    ],
)
def test_every_attempt_of_one_operation_carries_the_same_key(
    nodes: ScriptedNodes,
    asking: Asking,
    first: Reaction,
    error: str,
    status: int,
    definite: bool,  # noqa: FBT001 - a column of the table above
) -> None:
    """The issue: "One operation is one invoke and one completion, however many attempts it took: attempts carry the same key"."""
    session, last = sequence_now(nodes, asking)
    nodes.reacts.update(dict.fromkeys(NODES, one_after_the_other(first, OK)))
    failed, answered = asking.ask("append", 9)
    assert failed.error.split(":")[0] == error
    assert (failed.status, failed.definite, failed.sent) == (status, definite, True)
    assert answered.status == 200
    assert failed.node != answered.node
    assert nodes.keys() == [f"{session}:{last + 1}"] * 2
    assert [(each.method, each.path, each.body) for each in nodes.seen] == [
        ("POST", "/kv/k/append", {"element": 9})
    ] * 2
    # "sequence grows by one per operation, retries keep it"
    asking.ask("write", 1)
    assert nodes.keys()[2:] == [f"{session}:{last + 2}"]


def test_only_a_refused_connection_has_certainly_sent_nothing(nodes: ScriptedNodes, asking: Asking) -> None:
    """Of "a connection that broke after the request was sent is info": only what never left may be told apart from it."""
    nodes.reacts.update(dict.fromkeys(NODES, always(OK)))
    nodes.stop_listening("n2")
    refusal, answered = asking.ask("write", 1, prefer="n2")
    assert (refusal.node, refusal.status, refusal.error, refusal.sent) == ("n2", 0, "connect-failed", False)
    assert (answered.node, answered.status, answered.sent) == ("n3", 200, True)
    assert nodes.asked() == ["n3"]


@pytest.mark.parametrize(
    "f, value, says",
    [
        ("read", None, refused(404, "key-not-found", definite=True)),
        ("cas", [1, 2], refused(409, "cas-mismatch", definite=True)),
        ("append", 1, refused(409, "wrong-type", definite=True)),
        ("write", 1, refused(409, "sequence-passed", definite=False)),
        ("write", 1, refused(400, "bad-key", definite=True)),
        ("delete", None, refused(413, "too-large", definite=True)),
    ],
)
def test_an_answer_of_the_store_ends_the_operation(
    nodes: ScriptedNodes, asking: Asking, f: str, value: Any, says: Says
) -> None:
    nodes.reacts.update(dict.fromkeys(NODES, always(says)))
    (attempt,) = asking.ask(f, value)
    assert (attempt.status, attempt.error, attempt.body) == (says.status, says.body["code"], says.body)
    assert attempt.definite is says.body["definite"]
    assert len(nodes.seen) == 1


@pytest.mark.parametrize(
    "f, value, method, path, body",
    [
        ("read", None, "GET", "/kv/a%2Fb%20%C3%BC", None),
        ("write", "x", "PUT", "/kv/a%2Fb%20%C3%BC", {"value": "x"}),
        ("delete", None, "DELETE", "/kv/a%2Fb%20%C3%BC", None),
        ("cas", [None, 2], "POST", "/kv/a%2Fb%20%C3%BC/cas", {"expect": None, "value": 2}),
        ("append", 3, "POST", "/kv/a%2Fb%20%C3%BC/append", {"element": 3}),
    ],
)
def test_operations_in_the_nodes_http(
    nodes: ScriptedNodes, asking: Asking, f: str, value: Any, method: str, path: str, body: Any
) -> None:
    nodes.reacts.update(dict.fromkeys(NODES, always(OK)))
    asking.ask(f, value, key="a/b ü")
    (seen,) = nodes.seen
    assert (seen.method, seen.path, seen.body) == (method, path, body)
    assert bool(seen.key) == (f != "read")


def test_attempts_go_on_until_the_deadline_and_not_after(nodes: ScriptedNodes, asking: Asking) -> None:
    nodes.reacts.update(dict.fromkeys(NODES, always(Silent())))
    began = time.monotonic()
    attempts = asking.ask("write", 1, deadline=1000, attempt_timeout=200)
    assert 0.9 < time.monotonic() - began < 3
    assert {attempt.error for attempt in attempts} == {"timeout"}
    assert {attempt.node for attempt in attempts} == set(NODES)
    assert len(attempts) == len(nodes.seen)  # httpx has sent nothing that is not listed


def test_refusals_are_not_answered_with_a_hail_of_requests(nodes: ScriptedNodes, asking: Asking) -> None:
    """A cluster without a leader is asked again after a growing pause."""
    nodes.reacts.update(dict.fromkeys(NODES, always(NO_LEADER)))
    attempts = asking.ask("write", 1, deadline=1000)
    assert 3 <= len(attempts) <= 20
    assert len(attempts) == len(nodes.seen)


def test_nodes_that_name_each_other_as_leader_are_not_asked_without_end(nodes: ScriptedNodes, asking: Asking) -> None:
    nodes.reacts["n1"] = always(refused(307, "not-leader", definite=True, X_Raft_Leader="n2"))
    nodes.reacts["n2"] = always(refused(307, "not-leader", definite=True, X_Raft_Leader="n1"))
    nodes.reacts["n3"] = always(OK)
    attempts = asking.ask("write", 1, prefer="n1")
    assert attempts[-1].node == "n3"
    assert len(attempts) <= 20


def test_a_leader_that_nobody_knows_is_another_node_asked(nodes: ScriptedNodes, asking: Asking) -> None:
    """A 307 that names a node outside of the cluster must not end the client."""
    nodes.reacts["n1"] = always(refused(307, "not-leader", definite=True, X_Raft_Leader="n9"))
    nodes.reacts["n2"] = always(OK)
    assert [attempt.node for attempt in asking.ask("write", 1, prefer="n1")] == ["n1", "n2"]


def test_after_an_unknown_session_the_next_operation_has_a_new_one(nodes: ScriptedNodes, asking: Asking) -> None:
    nodes.reacts.update(dict.fromkeys(NODES, always(refused(409, "unknown-session", definite=False))))
    (attempt,) = asking.ask("write", 1)
    assert (attempt.error, attempt.definite) == ("unknown-session", False)
    nodes.reacts.update(dict.fromkeys(NODES, always(OK)))
    asking.ask("write", 2)
    before, after = nodes.keys()
    assert after == f"s{nodes.sessions}:1"
    assert before.partition(":")[0] != after.partition(":")[0]


def test_every_worker_stands_beside_its_home_on_links_of_its_own(nodes: ScriptedNodes) -> None:
    """Worker w has the home node w mod n: where it asks is looked up by home and node."""
    others = ScriptedNodes(NODES)
    asking = Asking(nodes, workers=5, beside_n2=others)
    try:
        asking.clients.prepare()
        for each in (nodes, others):
            each.reacts.update(dict.fromkeys(NODES, always(Says(200, {"key": "k", "value": None, "index": 1}))))
        for worker in range(5):
            asking.ask("read", worker=worker)
        assert nodes.asked() == ["n1", "n3", "n1"]
        assert others.asked() == ["n2", "n2"]
    finally:
        asking.clients.close()
        others.close()


def test_a_node_that_gave_an_update_up_and_says_that_it_did_not_happen_is_believed(
    nodes: ScriptedNodes, asking: Asking
) -> None:
    """Another attempt could only end without an answer, and hide behind `info` what the node has promised."""
    nodes.reacts.update(dict.fromkeys(NODES, always(refused(504, "timeout", definite=True))))
    (given_up,) = asking.ask("write", 1)
    assert (given_up.status, given_up.definite) == (504, True)
    assert len(asking.ask("read")) > 1


def test_without_a_session_there_is_no_beginning(nodes: ScriptedNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.clusters.http.PREPARE_SECONDS", 0.5)
    nodes.reacts["/sessions"] = always(NO_LEADER)
    asking = Asking(nodes)
    try:
        with pytest.raises(ClusterError, match=r"no session could be opened in 0\.5 s"):
            asking.clients.prepare()
    finally:
        asking.clients.close()


def test_a_client_process_that_dies_is_told(nodes: ScriptedNodes) -> None:
    others = children_of(os.getpid())
    asking = Asking(nodes)
    try:
        asking.clients.prepare()
        (child,) = set(children_of(os.getpid())) - set(others)
        os.kill(child, signal.SIGKILL)
        assert isinstance(asking.mistakes.get(timeout=PATIENCE), ClusterError)
        with pytest.raises(ClusterError, match="ended by itself"):
            asking.submit("read")
    finally:
        asking.clients.close()


HARNESS = """
import sys, time
from harness.clusters.http import HttpClients
ports = dict(zip(("n1", "n2", "n3"), map(int, sys.argv[1:])))
endpoints = {(home, node): ("127.0.0.1", port) for home in ports for node, port in ports.items()}
clients = HttpClients(endpoints, {}, tuple(ports), 4, print, print)
clients.prepare()
print("prepared", flush=True)
time.sleep(60)
"""


def test_client_processes_do_not_outlive_a_harness_that_is_killed(nodes: ScriptedNodes) -> None:
    """The issue: "kill -9 of the harness leaves nothing behind"."""
    ports = [str(nodes.ports[node]) for node in NODES]
    with subprocess.Popen(
        [sys.executable, "-c", HARNESS, *ports], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as harness:
        assert harness.stdout is not None
        assert harness.stdout.readline() == "prepared\n"
        children = children_of(harness.pid)
        assert len(children) == 2
        harness.kill()
    deadline = time.monotonic() + PATIENCE
    while any(is_running(child) for child in children):
        assert time.monotonic() < deadline, f"still there: {children}"
        time.sleep(0.02)


def children_of(pid: int) -> list[int]:
    """The client processes that a process has started."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and parent_of(folder) == pid:
            found.append(int(folder.name))
    return found


def parent_of(folder: Path) -> int:
    try:
        if b"client_process" not in (folder / "cmdline").read_bytes():
            return 0
        return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False
