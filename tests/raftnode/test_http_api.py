"""Parsed requests to questions, and outcomes to answers, without a socket."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from raftnode.answers import HONEST, Asked, HttpAnswer, answer_for
from raftnode.http_api import DEPTH_LIMIT, Call, Page, read_call
from raftnode.messages import (
    Answer,
    Append,
    Busy,
    Cas,
    Command,
    Delete,
    Identity,
    NotLeader,
    Outcome,
    Overwritten,
    Put,
    Read,
    Register,
    Unconfirmed,
)

CLIENTS = {"n3": "http://10.0.0.3:8000/"}


@pytest.mark.parametrize(
    "call,ask",
    [
        (Call("GET", b"/kv/k"), Read("k")),
        (Call("GET", b"/kv/k?consistency=stale"), Read("k", stale=True)),
        (Call("GET", b"/kv/k?consistency=linearizable"), Read("k")),
        (Call("GET", b"/kv/a%2Fb%20%C3%BC"), Read("a/b ü")),
        (Call("GET", b"/kv/a+b"), Read("a+b")),
        (Call("GET", b"/kv/" + b"k" * 512), Read("k" * 512)),
        (Call("PUT", b"/kv/k", b'{"value":[1,{"a":null}]}'), Put("k", [1, {"a": None}])),
        (Call("PUT", b"/kv/k", b'{"value":null}'), Put("k", None)),
        (Call("PUT", b"/kv/k", b'{"value":18446744073709551615}'), Put("k", 2**64 - 1)),
        (Call("DELETE", b"/kv/k"), Delete("k")),
        (Call("POST", b"/kv/k/cas", b'{"expect":1,"value":2}'), Cas("k", 1, 2)),
        (Call("POST", b"/kv/k/append", b'{"element":1}'), Append("k", 1)),
        (Call("POST", b"/sessions"), Register()),
    ],
)
def test_what_is_asked(call: Call, ask: Read | Command) -> None:
    asked = read_call(call)
    assert isinstance(asked, Asked)
    assert asked.ask == ask
    assert asked.identity is None


def test_the_idempotency_key_names_session_and_sequence() -> None:
    asked = read_call(Call("PUT", b"/kv/k", b'{"value":1}', b"s17:42"))
    assert isinstance(asked, Asked)
    assert asked.identity == Identity("s17", 42)


@pytest.mark.parametrize("name", ["status", "metrics"])
def test_pages_of_the_shell(name: str) -> None:
    assert read_call(Call("GET", f"/{name}".encode())) == Page(name)


@pytest.mark.parametrize(
    "call,status,code",
    [
        (Call("PUT", b"/kv/k", b""), 400, "bad-json"),
        (Call("PUT", b"/kv/k", b'{"value":'), 400, "bad-json"),
        (Call("PUT", b"/kv/k", b'{"value":"\xff"}'), 400, "bad-json"),
        (Call("PUT", b"/kv/k", b'{"value":1}x'), 400, "bad-json"),
        (Call("PUT", b"/kv/k", b"[1]"), 400, "bad-request"),
        (Call("PUT", b"/kv/k", b"{}"), 400, "bad-request"),
        (Call("PUT", b"/kv/k", b'{"value":1,"other":2}'), 400, "bad-request"),
        (Call("PUT", b"/kv/k", b'{"value":1e400}'), 400, "bad-request"),
        (Call("POST", b"/kv/k/cas", b'{"value":2}'), 400, "bad-request"),
        (Call("POST", b"/kv/k/append", b'{"value":2}'), 400, "bad-request"),
        (Call("PUT", b"/kv/k", b'{"value":18446744073709551616}'), 400, "bad-value"),
        (Call("PUT", b"/kv/k", b'{"value":[-9223372036854775809]}'), 400, "bad-value"),
        (Call("PUT", b"/kv/k", b'{"value":' + b"[" * 65 + b"]" * 65 + b"}"), 400, "bad-value"),
        (Call("PUT", b"/kv/k", b'{"value":' + b"[" * 90_000 + b"]" * 90_000 + b"}"), 400, "bad-value"),
        (Call("GET", b"/kv/"), 400, "bad-key"),
        (Call("GET", b"/kv/" + b"k" * 513), 400, "bad-key"),
        (Call("GET", b"/kv/%zz"), 400, "bad-key"),
        (Call("GET", b"/kv/%ff"), 400, "bad-key"),
        (Call("GET", b"/kv/\xff"), 400, "bad-key"),
        (Call("GET", b"/kv/k?consistency=often"), 400, "bad-query"),
        (Call("PUT", b"/kv/k?x=1", b'{"value":1}'), 400, "bad-query"),
        (Call("GET", b"/status?x"), 400, "bad-query"),
        (Call("PUT", b"/kv/k", b'{"value":1}', b"s1"), 400, "bad-idempotency-key"),
        (Call("PUT", b"/kv/k", b'{"value":1}', b"s1:0"), 400, "bad-idempotency-key"),
        (Call("PUT", b"/kv/k", b'{"value":1}', b"s1:-4"), 400, "bad-idempotency-key"),
        (Call("PUT", b"/kv/k", b'{"value":1}', b"s1:1e3"), 400, "bad-idempotency-key"),
        (Call("PUT", b"/kv/k", b'{"value":1}', b"s1:" + b"9" * 30), 400, "bad-idempotency-key"),
        (Call("PUT", b"/kv/k", b'{"value":1}', b""), 400, "bad-idempotency-key"),
        (Call("GET", b"/"), 404, "unknown-path"),
        (Call("GET", b"/kv"), 404, "unknown-path"),
        (Call("GET", b"/kv/k/other"), 404, "unknown-path"),
        (Call("PUT", b"/kv/k/cas/x", b"{}"), 404, "unknown-path"),
        (Call("GET", b"*"), 404, "unknown-path"),
        (Call("PATCH", b"/kv/k"), 405, "method-not-allowed"),
        (Call("HEAD", b"/kv/k"), 405, "method-not-allowed"),
        (Call("GET", b"/kv/k/cas"), 405, "method-not-allowed"),
        (Call("GET", b"/sessions"), 405, "method-not-allowed"),
        (Call("POST", b"/status"), 405, "method-not-allowed"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_at_once_and_definitely(call: Call, status: int, code: str) -> None:
    """The issue: "malformed JSON, [...] a bad key, an unknown path [...]: a JSON error"."""
    answer = read_call(call)
    assert isinstance(answer, HttpAnswer)
    body = msgspec.json.decode(answer.body)
    assert (answer.status, body["code"], body["definite"]) == (status, code, True)
    assert body["message"]


def test_a_value_may_be_nested_up_to_the_limit() -> None:
    value = b"[" * DEPTH_LIMIT + b"]" * DEPTH_LIMIT
    assert isinstance(read_call(Call("PUT", b"/kv/k", b'{"value":' + value + b"}")), Asked)


def asked(ask: Read | Command) -> Asked:
    return Asked("-", ask, None, "/kv/k")


@pytest.mark.parametrize(
    "ask,outcome,status,expected",
    [
        (Read("k"), Answer("ok", [1], 7), 200, {"key": "k", "value": [1], "index": 7}),
        (Read("k"), Answer("key-not-found", None, 7), 404, {"code": "key-not-found", "definite": True, "index": 7}),
        (Put("k", 1), Answer("ok", None, 7), 200, {"index": 7}),
        (Cas("k", 1, 2), Answer("ok", None, 7), 200, {"index": 7}),
        (Cas("k", 1, 2), Answer("cas-mismatch", 3, 7), 409, {"code": "cas-mismatch", "actual": 3, "definite": True}),
        (Append("k", 1), Answer("ok", 4, 7), 200, {"length": 4, "index": 7}),
        (Append("k", 1), Answer("wrong-type", None, 7), 409, {"code": "wrong-type", "definite": True}),
        (Register(), Answer("ok", "s7", 7), 200, {"session": "s7"}),
        (Put("k", 1), Answer("unknown-session", None, 7), 409, {"code": "unknown-session", "definite": False}),
        (Put("k", 1), Answer("sequence-passed", None, 7), 409, {"code": "sequence-passed", "definite": False}),
        (Put("k", 1), NotLeader("n3"), 307, {"code": "not-leader", "leader": "n3", "definite": True}),
        (Put("k", 1), NotLeader(""), 503, {"code": "no-leader", "definite": True}),
        (Put("k", 1), Busy(), 503, {"code": "busy", "definite": True}),
        (Put("k", 1), Overwritten(), 503, {"code": "overwritten", "definite": True}),
        (Read("k"), Unconfirmed(), 503, {"code": "unconfirmed", "definite": True}),
    ],
)
def test_what_a_client_is_told(ask: Read | Command, outcome: Outcome, status: int, expected: dict[str, Any]) -> None:
    answer = answer_for(HONEST, asked(ask), outcome, CLIENTS)
    body = msgspec.json.decode(answer.body)
    assert answer.status == status
    assert {name: body[name] for name in expected} == expected
    assert ("retry-after" in dict(answer.headers)) == (status == 503)


def test_a_redirect_names_the_leader_by_id_and_address() -> None:
    """DESIGN: "A 307 names the leader's node id too, so that a client under test stays on its own link"."""
    headers = dict(answer_for(HONEST, asked(Put("k", 1)), NotLeader("n3"), CLIENTS).headers)
    assert headers == {"location": "http://10.0.0.3:8000/kv/k", "x-raft-leader": "n3"}
    headers = dict(answer_for(HONEST, asked(Put("k", 1)), NotLeader("n9"), CLIENTS).headers)
    assert headers == {"x-raft-leader": "n9"}


@pytest.mark.parametrize("ask,definite", [(Put("k", 1), False), (Register(), False), (Read("k"), True)])
def test_a_timeout_is_unknown_for_whatever_has_an_effect(ask: Read | Command, definite: bool) -> None:  # noqa: FBT001
    answer = HONEST.timed_out(asked(ask))
    body = msgspec.json.decode(answer.body)
    assert (answer.status, body["code"], body["definite"]) == (504, "timeout", definite)
