"""A client process: workers' operations in over standard input, HTTP attempts over httpx, completions out.

An operation is tried until it is answered or its time is over, every attempt under the same idempotency key; httpx itself
neither retries nor follows redirects. What an answer *means* for the operation is not decided here (`harness/worker.py`).
The process ends when its standard input does, so it does not outlive the harness, however that dies.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
import sys
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import uvloop

from harness.clusters.cluster import NANOSECONDS, Attempt, Completion, Request
from harness.clusters.file_limit import raise_file_limit

FIRST_PAUSE, LONGEST_PAUSE = 0.04, 0.2  # seconds between attempts that found nobody to answer
HOPS = 3  # redirects followed at once; after that nodes disagree on who leads, and pauses come in between
LENGTH = struct.Struct("!I")
LEADER_HEADER = "X-Raft-Leader"


class Start(msgspec.Struct, tag="start"):
    """The first frame that a client process gets."""

    nodes: tuple[str, ...]
    workers: tuple[int, ...]  # the workers whose operations come to this process
    addresses: dict[str, dict[str, tuple[str, int]]]  # home node of the client -> node -> (host, port)
    local_addresses: dict[str, str]  # home node -> the address that its clients connect from
    patience: float  # seconds for opening every session


class Ready(msgspec.Struct, tag="ready"):
    """Every worker of this process has a session; or, if `trouble` is not empty, why not."""

    trouble: str


class Do(msgspec.Struct, tag="do"):
    request: Request


class Done(msgspec.Struct, tag="done"):
    completion: Completion


ENCODER = msgspec.msgpack.Encoder()


def frame(message: Any) -> bytes:
    """A message as it crosses the pipe."""
    payload = ENCODER.encode(message)
    return LENGTH.pack(len(payload)) + payload


@dataclass(slots=True)
class Client:
    """One worker's side of its session: requests are numbered, one at a time."""

    home: str
    transport: httpx.AsyncHTTPTransport
    session: str = ""
    sequence: int = 0


@dataclass(slots=True)
class Clients:
    """Everything that one process keeps."""

    start: Start
    clients: dict[int, Client]
    leaders: dict[str, str] = field(default_factory=dict)  # home node -> who led when its clients last heard


def make_clients(start: Start) -> Clients:
    """One httpx transport a worker: a shared one looks through all its connections at each request, which costs twice.

    A transport is what stands below `httpx.Client`: it follows no redirect, reads no environment, and has retries off.
    No connection is opened yet.
    """
    plain = ssl.create_default_context()  # made once: it is dear, and never used
    clients = {}
    for worker in start.workers:
        home = start.nodes[worker % len(start.nodes)]
        address = start.local_addresses.get(home)
        transport = httpx.AsyncHTTPTransport(verify=plain, retries=0, local_address=address, trust_env=False)
        clients[worker] = Client(home, transport)
    return Clients(start, clients)


async def open_session(clients: Clients, client: Client, seconds: float) -> str:
    """Registers a client through the log; returns "" or why it could not be done in time."""
    end = asyncio.get_running_loop().time() + seconds
    attempts = await try_nodes(
        clients, client, _first_node(clients, client.home), end, 1.0, "POST", "/sessions", None, {}
    )
    last = attempts[-1] if attempts else None
    if last is None or last.status != 200:
        return (
            f"no session could be opened in {seconds:g} s: {last.node} {last.status or last.error}"
            if last
            else "no time"
        )
    client.session, client.sequence = last.body["session"], 0
    return ""


async def operate(clients: Clients, request: Request) -> Completion:
    """One operation from its first attempt to its last."""
    client = clients.clients[request.worker]
    seconds = request.deadline / NANOSECONDS
    end = asyncio.get_running_loop().time() + seconds
    headers = {}
    if request.f != "read":
        if not client.session and await open_session(clients, client, seconds):
            return Completion(request.worker, request.op, ())
        client.sequence += 1
        headers["Idempotency-Key"] = f"{client.session}:{client.sequence}"
    method, path, body = route(request)
    first = request.prefer or (client.home if request.f == "read" else _first_node(clients, client.home))
    attempts = await try_nodes(
        clients, client, first, end, request.attempt_timeout / NANOSECONDS, method, path, body, headers
    )
    if any(attempt.error == "unknown-session" for attempt in attempts):
        client.session = ""  # the next operation opens a new one
    return Completion(request.worker, request.op, tuple(attempts))


def route(request: Request) -> tuple[str, str, bytes | None]:
    """An operation as an HTTP request: method, path, JSON body."""
    path = "/kv/" + quote(request.key, safe="")
    encode = msgspec.json.encode
    match request.f:
        case "read":
            return "GET", path, None
        case "write":
            return "PUT", path, encode({"value": request.value})
        case "delete":
            return "DELETE", path, None
        case "cas":
            return "POST", path + "/cas", encode({"expect": request.value[0], "value": request.value[1]})
        case "append":
            return "POST", path + "/append", encode({"element": request.value})
        case _:
            raise AssertionError(f"no route for {request.f!r}")


def _first_node(clients: Clients, home: str) -> str:
    """Who is asked first for an update: the last known leader, else the node beside which the client stands."""
    return clients.leaders.get(home, home)


async def try_nodes(
    clients: Clients,
    client: Client,
    node: str,
    end: float,
    attempt_seconds: float,
    method: str,
    path: str,
    body: bytes | None,
    headers: dict[str, str],
) -> list[Attempt]:
    """Attempts until one is an answer or `end` (loop time) has come: redirects by name, else the next node after a pause."""
    loop = asyncio.get_running_loop()
    attempts: list[Attempt] = []
    pause, hops = FIRST_PAUSE, 0
    while (left := end - loop.time()) > 0:
        attempt, leader = await _attempt(clients, client, node, min(attempt_seconds, left), method, path, body, headers)
        attempts.append(attempt)
        if _is_answer(attempt, method):
            if attempt.status == 200 and method != "GET":
                clients.leaders[client.home] = node
            break
        if leader in clients.start.nodes and leader != node and hops < HOPS:
            node, hops = leader, hops + 1
            clients.leaders[client.home] = leader
            continue
        clients.leaders.pop(client.home, None)
        node, hops = _next(clients.start.nodes, node), 0
        await asyncio.sleep(min(pause, max(0.0, end - loop.time())))
        pause = min(pause * 2, LONGEST_PAUSE)
    return attempts


def _next(nodes: tuple[str, ...], node: str) -> str:
    return nodes[(nodes.index(node) + 1) % len(nodes)]


def _is_answer(attempt: Attempt, method: str) -> bool:
    """Whether another attempt could not say anything else: an answer of the store, or a request that is wrong in itself.

    So it is with a node that took an update in, waited for it in vain, and says that it certainly did not happen.
    """
    given_up = attempt.status == 504 and attempt.definite and method != "GET"
    return attempt.status == 200 or 400 <= attempt.status < 500 or given_up


async def _attempt(
    clients: Clients,
    client: Client,
    node: str,
    seconds: float,
    method: str,
    path: str,
    body: bytes | None,
    headers: dict[str, str],
) -> tuple[Attempt, str]:
    """One HTTP request over the client's own link to a node; also the leader's id, if the node named one."""
    host, port = clients.start.addresses[client.home][node]
    limits = {"timeout": dict.fromkeys(("connect", "read", "write", "pool"), seconds)}
    request = httpx.Request(method, f"http://{host}:{port}{path}", content=body, headers=headers, extensions=limits)
    try:
        async with asyncio.timeout(seconds):
            answer = await client.transport.handle_async_request(request)
            await answer.aread()
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        # Nothing of the request has left: the connection was never there.
        code = "connect-timeout" if isinstance(error, httpx.ConnectTimeout) else "connect-failed"
        return Attempt(node, error=code, sent=False), ""
    except (TimeoutError, httpx.TimeoutException):
        return Attempt(node, error="timeout"), ""
    except httpx.HTTPError as error:
        return Attempt(node, error=f"broken: {type(error).__name__}"), ""
    except AttributeError as error:
        if error.name != "getpeername":
            raise
        # A node was killed between accepting the connection and the first byte: anyio then asks for the other end of a
        # socket that uvloop has taken away.
        return Attempt(node, error="broken: closed at once"), ""
    return _understood(node, answer), answer.headers.get(LEADER_HEADER, "")


def _understood(node: str, answer: httpx.Response) -> Attempt:
    try:
        body = msgspec.json.decode(answer.content)
    except msgspec.DecodeError:
        return Attempt(node, error="unreadable")
    if not isinstance(body, dict):
        return Attempt(node, error="unreadable")
    if answer.status_code == 200:
        return Attempt(node, 200, body=body)
    code, definite = str(body.get("code", "no-code")), body.get("definite") is True
    return Attempt(node, answer.status_code, code, definite=definite, body=body)


class PipeClosed(Exception):
    """The harness closed the pipe, or is gone."""


async def serve() -> None:
    """Reads frames until standard input ends; each operation is a task of its own. A mistake in one ends the process."""
    try:
        async with asyncio.TaskGroup() as tasks:
            await _read_frames(tasks)
    except* PipeClosed:
        pass  # the tasks under way were cancelled; nobody waits for them


async def _read_frames(tasks: asyncio.TaskGroup) -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    decoder = msgspec.msgpack.Decoder(Start | Do)
    clients: Clients | None = None
    while True:
        try:
            (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
            message = decoder.decode(await reader.readexactly(length))
        except asyncio.IncompleteReadError as error:
            raise PipeClosed from error
        if isinstance(message, Start):
            clients = make_clients(message)
            tasks.create_task(_prepare(clients))
        else:
            assert clients is not None, "Start is the first frame"
            tasks.create_task(_perform(clients, message.request))


async def _prepare(clients: Clients) -> None:
    seconds = clients.start.patience
    found = await asyncio.gather(*(open_session(clients, client, seconds) for client in clients.clients.values()))
    _write(Ready(next((trouble for trouble in found if trouble), "")))


async def _perform(clients: Clients, request: Request) -> None:
    _write(Done(await operate(clients, request)))


def _write(message: Any) -> None:
    try:
        sys.stdout.buffer.write(frame(message))
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        sys.exit(0)  # nobody is there to hear of it


def main() -> None:
    """Runs until standard input ends."""
    raise_file_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


if __name__ == "__main__":
    main()
