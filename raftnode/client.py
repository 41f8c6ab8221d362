"""A small synchronous client of the node's HTTP API: one operation is sent until it is answered or time is up.

All attempts of a write carry the same idempotency key, so that it happens at most once however often it is sent (thesis
6.3). The harness does not use it: its workers record each attempt themselves.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx
import msgspec

ATTEMPT_SECONDS = 2.5  # a little more than a node takes to say that it does not know
PAUSE_SECONDS = 0.05  # between attempts, so that an election can pass
_APPLIED = frozenset({"cas-mismatch", "wrong-type", "key-not-found"})  # answers of the state machine: no repeat helps
_PASSING = frozenset({"no-leader", "busy", "overwritten", "unconfirmed", "timeout"})  # another time it may go better


class KvError(Exception):
    """An operation that did not succeed.

    `definite`: it certainly did not and will not happen. Otherwise it may have happened, or happen yet.
    """

    def __init__(self, code: str, message: str, *, definite: bool) -> None:
        super().__init__(f"{code}: {message} ({'it did not happen' if definite else 'it may have happened'})")
        self.code = code
        self.definite = definite


class CasMismatchError(KvError):
    """The value was not the expected one; `actual` is what it was (None also where there was none)."""

    def __init__(self, message: str, actual: Any) -> None:
        super().__init__("cas-mismatch", message, definite=True)
        self.actual = actual


class _SessionLostError(Exception):
    """The cluster does not know our session (any more), and the operation under way was never sent before."""


class Found(msgspec.Struct, frozen=True):
    """A value, and the log index that it was read at."""

    value: Any
    index: int


class Client:
    """A client of one cluster; not for several threads. Use as a context manager, or call `close`."""

    def __init__(
        self,
        endpoints: Mapping[str, str],
        *,
        deadline_seconds: float = 10.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`endpoints`: node id to base URL, at least one. `deadline_seconds`: for one operation with all its attempts."""
        if not endpoints:
            raise ValueError("a client needs the address of at least one node")
        self._urls = {name: url.rstrip("/") for name, url in endpoints.items()}
        self._names = list(self._urls)
        self._preferred = self._names[0]
        self._deadline_seconds = deadline_seconds
        self._http = httpx.Client(timeout=ATTEMPT_SECONDS, follow_redirects=False, transport=transport, trust_env=False)
        self._session = ""
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def get(self, key: str, *, stale: bool = False) -> Found | None:
        """The value at a key, None if there is none. Linearizable unless `stale`. Raises KvError."""
        path = f"/kv/{quote(key, safe='')}" + ("?consistency=stale" if stale else "")
        try:
            body = self._operate("GET", path, None, {}, safe=True)
        except KvError as error:
            if error.code == "key-not-found":
                return None
            raise
        return Found(body["value"], body["index"])

    def put(self, key: str, value: Any) -> int:
        """Writes a value; the log index of the write. Raises KvError."""
        return int(self._write("PUT", key, "", {"value": value})["index"])

    def delete(self, key: str) -> bool:
        """Removes a key; whether it was there. Raises KvError."""
        return bool(self._write("DELETE", key, "", None)["existed"])

    def cas(self, key: str, expect: Any, value: Any) -> int:
        """Writes `value` if the value is `expect`; the log index. Raises CasMismatchError or another KvError."""
        return int(self._write("POST", key, "/cas", {"expect": expect, "value": value})["index"])

    def append(self, key: str, element: Any) -> int:
        """Appends to the list at a key; its new length. Raises KvError ("wrong-type" if there is no list)."""
        return int(self._write("POST", key, "/append", {"element": element})["length"])

    def status(self, node: str) -> dict[str, Any]:
        """What one node says about itself. Raises KvError if it does not answer."""
        try:
            body: dict[str, Any] = self._http.get(self._urls[node] + "/status").json()
        except (httpx.TransportError, ValueError) as error:
            raise KvError("unreachable", f"{node}: {error}", definite=True) from error
        return body

    def _write(self, method: str, key: str, verb: str, body: Any) -> dict[str, Any]:
        path = f"/kv/{quote(key, safe='')}{verb}"
        for _ in range(2):
            if not self._session:
                # A session opened twice is one unused session more, and they expire.
                self._session = str(self._operate("POST", "/sessions", None, {}, safe=True)["session"])
                self._sequence = 0
            self._sequence += 1
            headers = {"idempotency-key": f"{self._session}:{self._sequence}"}
            try:
                return self._operate(method, path, body, headers, safe=False)
            except _SessionLostError:
                # It expired before this sequence number was ever sent, so nothing was done under it.
                self._session = ""
        raise KvError("unknown-session", "each new session is unknown to the next node that is asked", definite=True)

    def _operate(self, method: str, path: str, body: Any, headers: Mapping[str, str], *, safe: bool) -> dict[str, Any]:
        """Sends one operation until it is answered. `safe`: an attempt whose fate is unknown did no harm."""
        deadline = time.monotonic() + self._deadline_seconds
        unknown = False  # whether an attempt may have happened
        while True:
            answer, code, message, definite = self._attempt(self._preferred, method, path, body, headers)
            if code == "":
                return answer
            if code == "cas-mismatch":
                raise CasMismatchError(message, answer.get("actual"))
            if code == "unknown-session" and not unknown:
                raise _SessionLostError
            unknown = unknown or not (definite or safe)
            if code in _APPLIED:
                raise KvError(code, message, definite=True)
            retry = code in {"unreachable", "broken", "not-leader"} or code in _PASSING
            if not retry or time.monotonic() + PAUSE_SECONDS > deadline:
                raise KvError(code, message, definite=not unknown)
            if code != "not-leader" or not self._follow(answer):
                self._preferred = self._names[(self._names.index(self._preferred) + 1) % len(self._names)]
                time.sleep(PAUSE_SECONDS)

    def _follow(self, answer: Mapping[str, Any]) -> bool:
        """Turns to the leader that a node has named; False if that is no address of ours, or where we are already."""
        leader = answer.get("leader")
        if leader not in self._urls or leader == self._preferred:
            return False
        self._preferred = str(leader)
        return True

    def _attempt(
        self, node: str, method: str, path: str, body: Any, headers: Mapping[str, str]
    ) -> tuple[dict[str, Any], str, str, bool]:
        """One request: the JSON answer, the error's code ("" = ok) and message, and whether it certainly did nothing."""
        content = None if body is None else msgspec.json.encode(body)
        try:
            response = self._http.request(method, self._urls[node] + path, content=content, headers=dict(headers))
            answer: dict[str, Any] = response.json()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            return {}, "unreachable", f"{node}: {error}", True
        except (httpx.TransportError, ValueError) as error:
            return {}, "broken", f"{node}: {type(error).__name__} {error}", False
        if response.status_code == 200:
            return answer, "", "", True
        return answer, str(answer.get("code")), f"{node}: {answer.get('message')}", bool(answer.get("definite"))
