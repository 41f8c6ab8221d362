"""What a client is told: each outcome as an HTTP status, a JSON body and headers.

`Answers` is the record of these decisions, and `HONEST` the right one; a planted bug replaces one of its functions.
Every error says in `definite` whether the operation certainly did not and will not happen: that is the promise on which
a client's history rests. Sockets and the parsing of requests live elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, assert_never

import msgspec

from raftnode.messages import (
    Answer,
    Append,
    Busy,
    Command,
    Delete,
    Identity,
    NotLeader,
    Outcome,
    Overwritten,
    Read,
    Register,
    Unconfirmed,
)

RETRY_AFTER = ("retry-after", "1")  # whole seconds are all that the header knows
_encode = msgspec.json.Encoder().encode


class Asked(msgspec.Struct, frozen=True):
    """A request that was understood: what the core is asked, and what the answer needs to know besides."""

    route: str  # for the metrics: get, put, delete, cas, append, session
    ask: Read | Command
    identity: Identity | None
    target: str  # path and query as they came, for the Location of a redirect


class HttpAnswer(msgspec.Struct, frozen=True):
    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"


def success(fields: Mapping[str, Any]) -> HttpAnswer:
    return HttpAnswer(200, _encode(fields))


def refusal(
    status: int,
    code: str,
    message: str,
    *,
    definite: bool,
    headers: tuple[tuple[str, str], ...] = (),
    **more: Any,
) -> HttpAnswer:
    """An error. `definite`: the operation certainly did not and will not happen."""
    return HttpAnswer(status, _encode({"code": code, "message": message, "definite": definite, **more}), headers)


# --- the right functions -------------------------------------------------------------------------------------------------


def applied(asked: Asked, answer: Answer) -> HttpAnswer:
    """What the state machine said, or the value that was read."""
    ask = asked.ask
    index = answer.index
    match answer.code:
        case "ok" if isinstance(ask, Read):
            return success({"key": ask.key, "value": answer.value, "index": index})
        case "ok" | "key-not-found" if isinstance(ask, Delete):
            return success({"existed": answer.code == "ok" and answer.value is not False, "index": index})
        case "ok" if isinstance(ask, Append):
            return success({"length": answer.value, "index": index})
        case "ok" if isinstance(ask, Register):
            return success({"session": answer.value})
        case "ok":
            return success({"index": index})
        case "key-not-found":
            return refusal(404, "key-not-found", "there is no such key", definite=True, index=index)
        case "cas-mismatch":
            sentence = "the value is not the expected one"
            return refusal(409, "cas-mismatch", sentence, definite=True, actual=answer.value, index=index)
        case "wrong-type":
            return refusal(409, "wrong-type", "the value at this key is no list", definite=True, index=index)
        case "unknown-session":
            # The session may have been known, and this request applied under it, before it expired.
            sentence = "no such session, or it expired; if this is a repeat, it may have been applied before that"
            return refusal(409, "unknown-session", sentence, definite=False)
        case "sequence-passed":
            sentence = (
                "a later request of this session was applied already; what became of this one is not known any more"
            )
            return refusal(409, "sequence-passed", sentence, definite=False)
        case _:
            raise AssertionError(f"the state machine answered {answer.code!r} to {asked.route}")


def not_leader(asked: Asked, outcome: NotLeader, clients: Mapping[str, str]) -> HttpAnswer:
    """307 to the leader, named by its id too, so that a client can stay on a link of its own; 503 without a leader."""
    leader = outcome.leader
    if not leader:
        sentence = "no leader is known now"
        return refusal(503, "no-leader", sentence, definite=True, headers=(RETRY_AFTER,))
    headers: tuple[tuple[str, str], ...] = (("x-raft-leader", leader),)
    address = clients.get(leader)
    if address is not None:
        headers = (("location", address.rstrip("/") + asked.target), *headers)
    return refusal(307, "not-leader", f"{leader} leads", definite=True, headers=headers, leader=leader)


def busy(_asked: Asked, _outcome: Busy) -> HttpAnswer:
    sentence = "too much is waiting to be committed"
    return refusal(503, "busy", sentence, definite=True, headers=(RETRY_AFTER,))


def overwritten(_asked: Asked, _outcome: Overwritten) -> HttpAnswer:
    sentence = "another leader's entry took the place of this one in the log"
    return refusal(503, "overwritten", sentence, definite=True, headers=(RETRY_AFTER,))


def unconfirmed(_asked: Asked, _outcome: Unconfirmed) -> HttpAnswer:
    sentence = "the read could not be confirmed before the leadership changed"
    return refusal(503, "unconfirmed", sentence, definite=True, headers=(RETRY_AFTER,))


def timed_out(asked: Asked) -> HttpAnswer:
    """After the node's own request timeout a write may still be committed; a read has no effect in any case."""
    if isinstance(asked.ask, Read):
        return refusal(504, "timeout", "the read was not confirmed in time", definite=True)
    sentence = "not committed in time: it may or may not happen yet"
    return refusal(504, "timeout", sentence, definite=False)


# --- the record ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answers:
    """What each outcome tells the client."""

    applied: Callable[[Asked, Answer], HttpAnswer]
    not_leader: Callable[[Asked, NotLeader, Mapping[str, str]], HttpAnswer]
    busy: Callable[[Asked, Busy], HttpAnswer]
    overwritten: Callable[[Asked, Overwritten], HttpAnswer]
    unconfirmed: Callable[[Asked, Unconfirmed], HttpAnswer]
    timed_out: Callable[[Asked], HttpAnswer]


HONEST = Answers(applied, not_leader, busy, overwritten, unconfirmed, timed_out)


def answer_for(answers: Answers, asked: Asked, outcome: Outcome, clients: Mapping[str, str]) -> HttpAnswer:
    """The answer to a request. `clients`: node id to the address that clients use."""
    match outcome:
        case Answer():
            return answers.applied(asked, outcome)
        case NotLeader():
            return answers.not_leader(asked, outcome, clients)
        case Busy():
            return answers.busy(asked, outcome)
        case Overwritten():
            return answers.overwritten(asked, outcome)
        case Unconfirmed():
            return answers.unconfirmed(asked, outcome)
        case _:
            assert_never(outcome)
