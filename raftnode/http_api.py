"""The client's side of the node without sockets: a parsed HTTP request becomes a question to the core, or an answer.

The server and the simulation share this. What the outcome of a question is called in HTTP is in `answers.py`; whether
this node may answer it is the core's business.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

import msgspec

from raftnode.answers import Asked, HttpAnswer, refusal
from raftnode.messages import Append, Cas, Command, Delete, Identity, Put, Read, Register

BODY_LIMIT = 1024 * 1024
HEADER_LIMIT = 16 * 1024
KEY_LIMIT = 512
DEPTH_LIMIT = 64
"""How deep lists and objects of a value may be nested: every node must be able to decode what one of them took in."""

_IDEMPOTENCY_KEY = re.compile(rb"([!-9;-~]{1,64}):([1-9][0-9]{0,17})")
_BAD_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class Call(msgspec.Struct, frozen=True):
    """An HTTP request as the parser saw it."""

    method: str
    target: bytes  # path and query, percent-encoded
    body: bytes = b""
    idempotency_key: bytes | None = None  # the header, where it came


class Page(msgspec.Struct, frozen=True):
    """A request that the shell answers by itself: `status` or `metrics`."""

    name: str


class _Refused(Exception):
    def __init__(self, answer: HttpAnswer) -> None:
        super().__init__()
        self.answer = answer


def _refused(status: int, code: str, message: str, headers: tuple[tuple[str, str], ...] = ()) -> _Refused:
    return _Refused(refusal(status, code, message, definite=True, headers=headers))


class _PutBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    value: Any


class _CasBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    expect: Any
    value: Any


class _AppendBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    element: Any


_Body = TypeVar("_Body")

_put_decoder = msgspec.json.Decoder(_PutBody)
_cas_decoder = msgspec.json.Decoder(_CasBody)
_append_decoder = msgspec.json.Decoder(_AppendBody)
_storable = msgspec.msgpack.Encoder()


def read_call(call: Call) -> Asked | Page | HttpAnswer:
    """What a request asks for, or the error that it gets at once. Never raises."""
    path, question, query = call.target.partition(b"?")
    try:
        if path.startswith(b"/kv/"):
            return _key_call(call, path[4:], query)
        if question:
            raise _refused(400, "bad-query", f"{path.decode('utf-8', 'replace')} takes no query")
        return _plain_call(call, path)
    except _Refused as refused:
        return refused.answer


def _plain_call(call: Call, path: bytes) -> Asked | Page:
    if path == b"/sessions":
        _allow(call, "POST")
        return Asked("session", Register(), None, call.target.decode("latin-1"))
    if path in {b"/status", b"/metrics"}:
        _allow(call, "GET")
        return Page(path[1:].decode())
    raise _refused(
        404, "unknown-path", "known are /kv/{key}, /kv/{key}/cas, /kv/{key}/append, /sessions, /status, /metrics"
    )


def _key_call(call: Call, rest: bytes, query: bytes) -> Asked:
    raw_key, slash, verb = rest.partition(b"/")
    method = call.method
    if not slash and method == "GET":
        return Asked("get", Read(_key(raw_key), stale=_stale(query)), None, call.target.decode("latin-1"))
    if query:
        raise _refused(400, "bad-query", "only a read takes a query")
    route: str
    command: Command
    if not slash:
        _allow(call, "GET", "PUT", "DELETE")
        if method == "PUT":
            route, command = "put", Put(_key(raw_key), _storable_value(_body(call, _put_decoder).value))
        else:
            route, command = "delete", Delete(_key(raw_key))
    elif verb == b"cas":
        _allow(call, "POST")
        cas = _body(call, _cas_decoder)
        route, command = "cas", Cas(_key(raw_key), _storable_value(cas.expect), _storable_value(cas.value))
    elif verb == b"append":
        _allow(call, "POST")
        element = _storable_value(_body(call, _append_decoder).element)
        route, command = "append", Append(_key(raw_key), element)
    else:
        raise _refused(
            404, "unknown-path", "behind a key only /cas and /append are known; a slash in a key is written %2F"
        )
    return Asked(route, command, _identity(call.idempotency_key), call.target.decode("latin-1"))


def _allow(call: Call, *methods: str) -> None:
    if call.method not in methods:
        headers = (("allow", ", ".join(methods)),)
        raise _refused(405, "method-not-allowed", f"{call.method} is not possible here: {', '.join(methods)}", headers)


def _key(raw: bytes) -> str:
    if _BAD_PERCENT.search(raw):
        raise _refused(400, "bad-key", "a % in the path must be followed by two hexadecimal digits")
    data = unquote_to_bytes(raw) if b"%" in raw else raw
    if not 1 <= len(data) <= KEY_LIMIT:
        raise _refused(400, "bad-key", f"a key has 1 to {KEY_LIMIT} bytes, this one {len(data)}")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise _refused(400, "bad-key", "a key is UTF-8, percent-encoded in the path") from None


def _stale(query: bytes) -> bool:
    if query in {b"", b"consistency=linearizable"}:
        return False
    if query == b"consistency=stale":
        return True
    raise _refused(400, "bad-query", "the query may be consistency=linearizable (the default) or consistency=stale")


def _body(call: Call, decoder: msgspec.json.Decoder[_Body]) -> _Body:
    try:
        return decoder.decode(call.body)
    except msgspec.ValidationError as error:
        raise _refused(400, "bad-request", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _refused(400, "bad-json", f"the body is not JSON: {error}") from None
    except RecursionError:
        raise _refused(400, "bad-value", f"nested deeper than {DEPTH_LIMIT}") from None


def _storable_value(value: Any) -> Any:
    """The value itself, if every node can encode and decode it."""
    if type(value) is str or value is None:
        return value
    nested = [value]  # everything at one depth
    for _ in range(DEPTH_LIMIT + 1):
        containers = [one for one in nested if isinstance(one, list | dict)]
        if not containers:
            break
        nested = [inner for one in containers for inner in (one.values() if isinstance(one, dict) else one)]
    else:
        raise _refused(400, "bad-value", f"nested deeper than {DEPTH_LIMIT}")
    try:
        _storable.encode(value)
    except OverflowError:
        raise _refused(400, "bad-value", "whole numbers are limited to -2**63 .. 2**64 - 1") from None
    return value


def _identity(header: bytes | None) -> Identity | None:
    if header is None:
        return None
    match = _IDEMPOTENCY_KEY.fullmatch(header)
    if match is None:
        raise _refused(
            400,
            "bad-idempotency-key",
            "Idempotency-Key is <session>:<sequence>, with a session from POST /sessions and a whole number from 1 on",
        )
    return Identity(match[1].decode(), int(match[2]))
