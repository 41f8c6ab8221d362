"""The shell of a real node: sockets, disk and timers in, the core's effects performed.

All that one turn of the loop brought goes into the core at once, and what comes out leaves under one rule: a Send or a
Reply goes once everything up to its `after` is durable. An `if` about Raft in this file is a mistake. Connections of
clients and peers live in `connections.py` and `peers.py`, the thread that syncs in `disk.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import importlib
import importlib.util
import os
import resource
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, assert_never

from raftnode.answers import Asked, HttpAnswer, answer_for, success
from raftnode.build import Build
from raftnode.connections import ClientConnection, ConnectionTable, Door
from raftnode.core import recover, step
from raftnode.disk import DiskThread
from raftnode.events import EventLog
from raftnode.files import LocalFiles
from raftnode.http_api import Page
from raftnode.messages import (
    Arrived,
    ConnectionLost,
    Effect,
    Event,
    Forgotten,
    Message,
    Note,
    Outcome,
    Persist,
    Persisted,
    Reply,
    Request,
    Send,
    Ticked,
)
from raftnode.metrics import Metrics, Sample, render
from raftnode.peers import Accepted, AcceptedTable, Company, Peer
from raftnode.replica import Core
from raftnode.storage import DamagedError, ForeignError, Recovered, WriteAheadLog, open_log

EXIT_OK = 0
EXIT_USAGE = 2
EXIT_ADDRESS = 4  # a port that cannot be had
EXIT_DISK = 5
EXIT_ASSERTION = 70
SLOW_DISK_NANOSECONDS = 1_000_000_000
SWEEP_SECONDS = 1.0
STOP_SECONDS = 2.0  # for the disk to take what is queued
CONNECTION_LIMIT = 4096
SPARE_FILES = 400  # open files that are not clients' connections: log, peers, strangers at the peer port, a margin


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line says about one node."""

    id: str
    data: str
    client: tuple[str, int]  # where clients connect
    peer: tuple[str, int]  # where peers connect
    members: tuple[str, ...]
    peers: Mapping[str, tuple[str, int]]  # the other members' addresses, perhaps those of a proxy
    clients: Mapping[str, str]  # node id to the URL that a redirect names
    cluster: str
    seed: int


def draw_timeout(settings: Settings, build: Build, starts: int, term: int, attempt: int) -> int:
    """An election timeout in nanoseconds: random, but the same for the same seed, node, start, term and attempt."""
    text = f"{settings.seed}/{settings.id}/{starts}/{term}/{attempt}"
    number = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
    low, high = build.limits.election_min, build.limits.election_max
    return low + number % (high - low + 1)


@dataclass(slots=True)
class Node:
    """A running node. Fields change in the loop's thread only."""

    settings: Settings
    build: Build
    core: Core
    loop: asyncio.AbstractEventLoop
    events: EventLog
    metrics: Metrics
    disk: DiskThread
    log: WriteAheadLog
    table: ConnectionTable
    ended: asyncio.Future[None]  # done once the node is to stop
    peers: dict[str, Peer] = field(default_factory=dict)
    exit_code: int | None = None  # set once the node is stopping
    disk_error: str = ""

    # What came since the last turn.
    messages: list[Message] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    forgotten: list[int] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    durable: int = 0  # what the disk thread has reported

    # What is under way.
    persisted: int = 0  # what the core knows to be durable; invariant: persisted <= durable
    held: dict[int, list[Send | Reply]] = field(default_factory=dict)  # by `after`; invariant: every key > persisted
    waiting: dict[int, ClientConnection] = field(default_factory=dict)  # by token
    timeouts: deque[tuple[int, int]] = field(default_factory=deque)  # (nanoseconds, token), earliest first
    last_token: int = 0
    turn_due: bool = False  # a turn is scheduled
    timer: asyncio.TimerHandle | None = None
    timer_at: int = 0  # nanoseconds


def say(text: str) -> None:
    """A line for people. Where it cannot be written (a full disk), the node goes on without it."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


# --- what comes in ---------------------------------------------------------------------------------------------------------


def wake(node: Node) -> None:
    """Something came: there will be a turn after everything else that this turn of the loop brings."""
    if not node.turn_due:
        node.turn_due = True
        node.loop.call_soon(turn, node)


def ask(node: Node, asked: Asked, connection: ClientConnection) -> int:
    """Takes a client's question in; the answer comes to the connection. Returns the token that names it."""
    node.last_token = token = node.last_token + 1
    node.waiting[token] = connection
    node.timeouts.append((time.monotonic_ns() + node.build.limits.request_timeout, token))
    node.requests.append(Request(token, asked.ask, asked.identity))
    wake(node)
    return token


def forget(node: Node, token: int) -> None:
    """The client behind a token is gone."""
    if node.waiting.pop(token, None) is not None:
        node.forgotten.append(token)
        wake(node)


def receive(node: Node, message: Message) -> None:
    node.messages.append(message)
    wake(node)


def peer_lost(node: Node, peer: str) -> None:
    node.lost.append(peer)
    wake(node)


def became_durable(node: Node, number: int) -> None:
    node.durable = number
    wake(node)


def disk_failed(node: Node, error: Exception) -> None:
    """A failed write or sync is final: nothing that rests on it may leave, and a second try could lie."""
    if isinstance(error, OSError):
        node.disk_error = str(error)
        stop(node, EXIT_DISK, f"the disk failed: {error}")
    else:
        crashed(node, error)


# --- one turn ----------------------------------------------------------------------------------------------------------------


def turn(node: Node) -> None:
    """Tells the core everything that has come and performs what it asks for."""
    node.turn_due = False
    if node.exit_code is not None:
        return
    try:
        now = time.monotonic_ns()
        node.metrics.turns += 1
        expire(node, now)
        for event in take_events(node):
            perform(node, step(node.core, event, now), now)
        if now >= node.core.deadline:
            perform(node, step(node.core, Ticked(), now), now)
        for peer in node.peers.values():
            peer.flush()
        write_events(node)
        set_timer(node, now)
    except Exception as error:  # noqa: BLE001 - whatever it is, the core may be half changed: the node must stop
        crashed(node, error)


def take_events(node: Node) -> list[Event]:
    """What has come since the last turn. First what is durable now, last who is gone: they may just have asked."""
    events: list[Event] = []
    if node.durable > node.persisted:
        node.persisted = node.durable
        release(node)
        events.append(Persisted(node.persisted))
    events.extend(ConnectionLost(peer) for peer in node.lost)
    if node.messages or node.requests:
        events.append(Arrived(tuple(node.messages), tuple(node.requests)))
    if node.forgotten:
        events.append(Forgotten(tuple(node.forgotten)))
    node.messages, node.requests, node.forgotten, node.lost = [], [], [], []
    node.metrics.steps += len(events)
    return events


def expire(node: Node, now: int) -> None:
    """Answers the questions that have waited too long; the core is told that nobody waits any more."""
    timeouts = node.timeouts
    while timeouts and timeouts[0][0] <= now:
        _, token = timeouts.popleft()
        connection = node.waiting.pop(token, None)
        asked = connection.question() if connection is not None else None
        if connection is not None and asked is not None:
            node.forgotten.append(token)
            connection.answered(node.build.answers.timed_out(asked))


def perform(node: Node, effects: list[Effect], now: int) -> None:
    """Carries out effects in order."""
    for effect in effects:
        match effect:
            case Send() | Reply():
                if effect.after <= node.persisted:
                    leave(node, effect)
                else:
                    node.held.setdefault(effect.after, []).append(effect)
            case Persist():
                node.disk.put(effect)
            case Note():
                node.events.add(effect.kind, effect.fields, now)
            case _:
                assert_never(effect)


def release(node: Node) -> None:
    """Lets go what waited for the disk."""
    for number in sorted(number for number in node.held if number <= node.persisted):
        for effect in node.held.pop(number):
            leave(node, effect)


def leave(node: Node, effect: Send | Reply) -> None:
    if isinstance(effect, Send):
        node.peers[effect.to].send(effect.message)
    else:
        reply(node, effect.token, effect.outcome)


def reply(node: Node, token: int, outcome: Outcome) -> None:
    connection = node.waiting.pop(token, None)
    asked = connection.question() if connection is not None else None
    if connection is not None and asked is not None:
        connection.answered(answer_for(node.build.answers, asked, outcome, node.settings.clients))


def write_events(node: Node) -> None:
    """One write for the events of a turn. Without a reader the node ends: nobody minds it any more."""
    rest = node.events.take()
    try:
        while rest:
            rest = rest[os.write(sys.stdout.fileno(), rest) :]
    except BrokenPipeError:
        stop(node, EXIT_OK, "nobody reads the events any more")
    except OSError as error:
        stop(node, EXIT_DISK, f"the events cannot be written: {error}")


def set_timer(node: Node, now: int) -> None:
    """One timer for the core's deadline and the first timeout; a later one is left to fire and set anew."""
    due = node.core.deadline
    if node.timeouts and node.timeouts[0][0] < due:
        due = node.timeouts[0][0]
    if node.timer is not None:
        if node.timer_at <= due:
            return
        node.timer.cancel()
    node.timer_at = due
    # The loop's clock counts in milliseconds: never come too early by a fraction of one.
    node.timer = node.loop.call_later(max(due - now, 0) / 1e9 + 0.0005, ring, node)


def ring(node: Node) -> None:
    node.timer = None
    if not node.turn_due:
        turn(node)


# --- pages -------------------------------------------------------------------------------------------------------------------


def page(node: Node, which: Page) -> HttpAnswer:
    """What the node says about itself."""
    if which.name == "status":
        return success(status(node))
    return HttpAnswer(200, render(node.metrics, gauges(node)), (), "text/plain; version=0.0.4; charset=utf-8")


def status(node: Node) -> dict[str, Any]:
    """The body of GET /status. Times since are in milliseconds, None where they make no sense."""
    core = node.core
    now = time.monotonic_ns()
    return {
        "id": node.settings.id,
        "role": core.role,
        "term": core.term,
        "leader": core.leader,
        "commit": core.commit,
        "applied": core.applied,
        "last": core.log.last_index,
        "persisted": node.persisted,
        "members": list(node.settings.members),
        "build": node.build.name,
        "pid": os.getpid(),
        "leader_since_ms": (now - core.leader_since) // 1_000_000 if core.role == "leader" else None,
        "last_quorum_ms": (now - core.last_quorum) // 1_000_000 if core.role == "leader" else None,
        "disk": disk_state(node, now),
    }


def disk_state(node: Node, now: int) -> str:
    """ok, slow (a sync has been under way for long), or failed (the node is about to stop)."""
    if node.disk_error:
        return "failed"
    since = node.disk.busy_since
    return "slow" if since and now - since > SLOW_DISK_NANOSECONDS else "ok"


def gauges(node: Node) -> list[Sample]:
    """The metrics that are read off the node rather than counted."""
    core = node.core
    roles = ("follower", "pre-candidate", "candidate", "leader")
    return [
        Sample("build_info", "What this node is made of.", 1, (("id", node.settings.id), ("build", node.build.name))),
        Sample("term", "The node's current term.", core.term),
        *(Sample("role", "1 for the role the node has.", int(core.role == role), (("role", role),)) for role in roles),
        Sample("commit_index", "The highest index known to be committed.", core.commit),
        Sample("applied_index", "The highest index applied to the state machine.", core.applied),
        Sample("last_index", "The last index of the log.", core.log.last_index),
        *(
            Sample("peer_connected", "Whether the peer can be sent to.", int(peer.connected), (("peer", peer.id),))
            for peer in node.peers.values()
        ),
        Sample("requests_waiting", "Clients that wait for an answer.", len(node.waiting)),
        Sample("connections", "Open connections of clients.", len(node.table)),
        Sample("bodies_buffered_bytes", "Bodies of requests that wait, whole or not.", node.table.buffered),
        Sample(
            "connections_evicted_total", "Clients' connections closed to make room.", node.table.evicted, (), "counter"
        ),
        Sample("fsyncs_total", "Syncs of the log.", node.log.syncs, (), "counter"),
        Sample("fsync_seconds_total", "Time spent writing and syncing the log.", node.disk.sync_seconds, (), "counter"),
        Sample("log_written_bytes_total", "Bytes appended to the log file.", node.log.written, (), "counter"),
    ]


# --- a whole life ------------------------------------------------------------------------------------------------------------


def stop(node: Node, code: int, why: str) -> None:
    """Ends the node; the first reason counts."""
    if node.exit_code is None:
        node.exit_code = code
        say(f"{node.settings.id}: stopping: {why}")
        node.events.add("stopping", {"code": code, "why": why}, time.monotonic_ns())
        node.ended.set_result(None)


def crashed(node: Node, error: BaseException) -> None:
    """A mistake of our own. The last line on standard error says so."""
    if node.exit_code is None:
        node.exit_code = EXIT_ASSERTION
        node.ended.set_result(None)
        say("".join(traceback.format_exception(error)))
        sentence = str(error) if isinstance(error, AssertionError) else repr(error)
        say(f"assertion failed: {sentence}".replace("\n", " "))


def on_loop_exception(node: Node, context: dict[str, Any]) -> None:
    """An exception that left a callback: our assertions end the node, anything else costs one connection."""
    error = context.get("exception")
    if isinstance(error, AssertionError):
        crashed(node, error)
    elif not isinstance(error, ConnectionError):
        node.metrics.internal_errors += 1
        say(f"{node.settings.id}: {context.get('message')}: {error!r}")


def sweep(node: Node) -> None:
    node.table.sweep(node.loop.time())
    node.loop.call_later(SWEEP_SECONDS, sweep, node)


def count(node: Node, route: str, code: int) -> None:
    node.metrics.requests[route, code] += 1


def make_node(settings: Settings, build: Build, log: WriteAheadLog, recovered: Recovered) -> Node:
    """A node that has read its disk and does not listen yet."""
    loop = asyncio.get_running_loop()
    core = recover(
        id=settings.id,
        members=settings.members,
        limits=build.limits,
        rules=build.rules,
        machine=build.machine,
        draw_timeout=partial(draw_timeout, settings, build, recovered.starts),
        hard_state=recovered.hard_state,
        entries=recovered.entries,
        life=recovered.starts,
    )

    def done(number: int) -> None:
        loop.call_soon_threadsafe(became_durable, node, number)

    def failed(error: Exception) -> None:
        loop.call_soon_threadsafe(disk_failed, node, error)

    node = Node(
        settings=settings,
        build=build,
        core=core,
        loop=loop,
        events=EventLog(settings.id),
        metrics=Metrics(),
        disk=DiskThread(log, done, failed),
        log=log,
        table=ConnectionTable(connection_limit()),
        ended=loop.create_future(),
    )
    return node


def connection_limit() -> int:
    """How many clients' connections this process may hold, after it has asked the system for as many as it can get."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTION_LIMIT + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return CONNECTION_LIMIT if soft == resource.RLIM_INFINITY else max(16, min(CONNECTION_LIMIT, soft - SPARE_FILES))


async def listen(node: Node, accepted: AcceptedTable) -> list[asyncio.Server]:
    """Opens both ports; the first event line names them. Raises OSError if one cannot be had."""
    settings = node.settings
    door = Door(
        ask=partial(ask, node),
        forget=partial(forget, node),
        page=partial(page, node),
        count=partial(count, node),
    )
    company = Company(
        id=settings.id,
        cluster=settings.cluster,
        members=frozenset(settings.members),
        metrics=node.metrics,
        receive=partial(receive, node),
        lost=partial(peer_lost, node),
        say=say,
    )
    loop = node.loop
    clients = await loop.create_server(
        lambda: ClientConnection(door, node.table, loop), *settings.client, backlog=1024, reuse_address=True
    )
    peers = await loop.create_server(
        lambda: Accepted(company, accepted), *settings.peer, backlog=128, reuse_address=True
    )
    node.peers = {name: Peer(company, name, *address) for name, address in settings.peers.items()}
    return [clients, peers]


def announce(node: Node, servers: list[asyncio.Server], recovered: Recovered) -> None:
    """The first event lines: who this is and what the disk held."""
    client, peer = (server.sockets[0].getsockname()[:2] for server in servers)
    now = time.monotonic_ns()
    ready = {"pid": os.getpid(), "client": f"{client[0]}:{client[1]}", "peer": f"{peer[0]}:{peer[1]}"}
    node.events.add("ready", ready, now)
    torn = recovered.torn
    if torn is not None:
        node.events.add("torn-tail", {"offset": torn.offset, "lost": torn.lost}, now)
        say(f"{node.settings.id}: cut {torn.lost} bytes of a record that was never finished, at byte {torn.offset}")
    write_events(node)


async def live(settings: Settings, build: Build, log: WriteAheadLog, recovered: Recovered) -> int:
    """From the opened log to the exit status."""
    node = make_node(settings, build, log, recovered)
    accepted = AcceptedTable()
    node.loop.set_exception_handler(lambda _loop, context: on_loop_exception(node, context))
    try:
        servers = await listen(node, accepted)
    except OSError as error:
        say(f"{settings.id}: cannot listen: {error}")
        return EXIT_ADDRESS
    for number in (signal.SIGTERM, signal.SIGINT):
        node.loop.add_signal_handler(number, stop, node, EXIT_OK, signal.Signals(number).name)
    announce(node, servers, recovered)
    node.disk.start()
    dialling = [node.loop.create_task(peer.keep_connected()) for peer in node.peers.values()]
    # What is alive now stays alive: full collections need not look at it again and again.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    gc.enable()
    sweep(node)
    turn(node)
    await node.ended
    for server in servers:
        server.close()
    for task in dialling:
        task.cancel()
    node.table.abort_all()
    accepted.abort_all()
    if not node.disk_error:
        node.disk.stop(STOP_SECONDS)
    write_events(node)
    return node.exit_code or EXIT_OK


def serve(settings: Settings, build: Build) -> int:
    """Runs a node until it is told to stop or must; returns its exit status."""
    # While the log is read nothing becomes garbage, and looking for it would take most of the time.
    gc.disable()
    try:
        log, recovered = open_log(LocalFiles(), settings.data, settings.id, settings.cluster, build.storage)
    except ForeignError as error:
        say(f"{settings.id}: {error}")
        return EXIT_USAGE
    except (DamagedError, OSError) as error:
        say(f"{settings.id}: {error}")
        return EXIT_DISK
    # A platform without wheels of uvloop has a slower node, and otherwise the same.
    fast = importlib.import_module("uvloop").new_event_loop if importlib.util.find_spec("uvloop") else None
    with asyncio.Runner(loop_factory=fast) as runner:
        return runner.run(live(settings, build, log, recovered))
