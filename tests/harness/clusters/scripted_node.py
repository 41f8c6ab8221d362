"""A node that only speaks HTTP and says what a test has told it to say, or nothing, or breaks off."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import msgspec

Headers = dict[str, str]


class Seen(msgspec.Struct, frozen=True):
    """One request, as it arrived."""

    node: str
    method: str
    path: str
    key: str  # the Idempotency-Key, "" where there was none
    body: Any


class Says(msgspec.Struct, frozen=True):
    """An answer."""

    status: int
    body: Any
    headers: Headers = {}


class Silent(msgspec.Struct, frozen=True):
    """The request is taken, and never answered."""


class BreaksOff(msgspec.Struct, frozen=True):
    """The connection is closed instead of an answer."""

    begun: bytes = b""  # sent before


Reaction = Says | Silent | BreaksOff
React = Callable[[Seen], Reaction]


def refused(status: int, code: str, *, definite: bool, **headers: str) -> Says:
    """An error in the node's own form."""
    return Says(
        status,
        {"code": code, "message": "as told", "definite": definite},
        {name.replace("_", "-"): value for name, value in headers.items()},
    )


class ScriptedNodes:
    """Some nodes in a thread of their own. Sessions are opened by all of them unless a test says otherwise."""

    def __init__(self, nodes: tuple[str, ...]) -> None:
        self.nodes = nodes
        self.seen: list[Seen] = []  # of operations, in the order in which they came
        self.sessions = 0
        self.reacts: dict[str, React] = {}
        self.ports: dict[str, int] = {}
        self._servers: dict[str, asyncio.Server] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        for node in nodes:
            self._do(self._listen(node))

    def opens_session(self) -> Says:
        self.sessions += 1
        return Says(200, {"session": f"s{self.sessions}"})

    def forget(self) -> None:
        """Nobody has asked yet, and nothing was told; all listen."""
        self.seen.clear()
        self.reacts.clear()
        for node in self.nodes:
            if not self._servers[node].is_serving():
                self._do(self._listen(node))

    def close(self) -> None:
        for node in self.nodes:
            self.stop_listening(node)
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def stop_listening(self, node: str) -> None:
        """From now on connections to this node are refused."""
        self._do(self._stop(node))

    def keys(self) -> list[str]:
        return [each.key for each in self.seen]

    def asked(self) -> list[str]:
        """Which nodes were asked, in order."""
        return [each.node for each in self.seen]

    def _do(self, what: Any) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(10)

    async def _listen(self, node: str) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                await self._serve(node, reader, writer)
            except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                pass
            finally:
                writer.transport.abort()
                self._tasks.discard(task)

        server = await asyncio.start_server(serve, "127.0.0.1", self.ports.get(node, 0))
        self._servers[node] = server
        self.ports[node] = server.sockets[0].getsockname()[1]

    async def _stop(self, node: str) -> None:
        self._servers[node].close()

    async def _end(self) -> None:
        under_way = list(self._tasks)
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    async def _serve(self, node: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            method, path, _ = first.split(" ")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            data = await reader.readexactly(int(headers.get("content-length", "0")))
            body = msgspec.json.decode(data) if data else None
            seen = Seen(node, method, path, headers.get("idempotency-key", ""), body)
            if path == "/sessions" and path not in self.reacts:
                reaction: Reaction = self.opens_session()
            else:
                self.seen.append(seen)
                reaction = self.reacts[path if path in self.reacts else node](seen)
            match reaction:
                case Silent():
                    await reader.read()
                    return
                case BreaksOff():
                    writer.write(reaction.begun)
                    await writer.drain()
                    writer.close()
                    return
                case Says():
                    writer.write(_bytes_of(reaction))


def _bytes_of(says: Says) -> bytes:
    body = says.body if isinstance(says.body, bytes) else msgspec.json.encode(says.body)
    headers = {"content-type": "application/json", "content-length": str(len(body)), **says.headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {says.status} As told\r\n{lines}\r\n".encode() + body
