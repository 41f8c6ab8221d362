"""Locks with holders: each stretch from an acquire to the release of the same holder stands together; decided by one sort.

While one holds the lock every operation of another is illegal, and the operations of one holder follow each other in time
(else the way steps aside). So a *session*, from the acquire of a free lock to the release that frees it, is contiguous in every order, and
an order is an order of sessions. Session i must precede j if and only if i's acquire was over before j's release began: let `ends` be the
return of the acquire, the least of the session, and `starts` the invocation of the release, the greatest. That is the theorem of
`zones.py` (Gibbons & Korach 1997): no two sessions may each have to precede the other, and pairs are enough.

A session without a release must be the last. An unanswered release may close it, and then may as well; an unanswered acquire may be left
out: nothing of its holder comes after it. *Fencing tokens* order the sessions, so that only this order has to be tried.
"""

from __future__ import annotations

from collections.abc import Hashable
from itertools import pairwise

import msgspec

from checker.history import freeze
from checker.models.locks import FencingLock, OwnerLock, ReentrantLock, holder
from checker.search.problem import NEVER, Problem
from checker.verdict import GaveUp, Invalid, Outcome, Valid


class _Session(msgspec.Struct):
    """One holder's time: its operations, the first of which acquired the lock and the last of which may have freed it."""

    members: list[int]
    is_closed: bool
    ends: int
    starts: int
    first: int
    last: int


def decide(problem: Problem) -> Outcome:
    """Decides the problem of a lock with holders, or gives up where the operations of one holder overlap."""
    model = problem.model
    if not isinstance(model, OwnerLock | FencingLock):
        return GaveUp("the object is no lock that knows its holder")
    if model.init not in ((), ((), None)):
        return GaveUp("the lock was not free and unused in the beginning")
    by_holder: dict[Hashable, list[int]] = {}
    for number in problem.along(sorted(range(len(problem)), key=problem.invoked.__getitem__)):
        op = problem.operations[number]
        by_holder.setdefault(op.process if isinstance(model, FencingLock) else holder(op), []).append(number)
    sessions: list[_Session] = []
    for numbers in by_holder.values():
        found = _sessions(problem, numbers, reentrant=isinstance(model, ReentrantLock))
        if not isinstance(found, list):
            return found
        sessions += found
    open_ended = [session for session in sessions if not session.is_closed]
    if len(open_ended) > 1:
        return Invalid(problem.named([session.first for session in open_ended[:2]]))
    return _by_token(problem, sessions) if isinstance(model, FencingLock) else _order(problem, sessions)


def _sessions(problem: Problem, numbers: list[int], *, reentrant: bool) -> list[_Session] | Invalid | GaveUp:
    """The sessions of one holder, whose operations come one after the other."""
    if any(problem.invoked[following] < problem.returned[number] for number, following in pairwise(numbers)):
        return GaveUp("operations of one holder overlap")
    sessions: list[_Session] = []
    depth = 0
    for number in numbers:
        acquires, answered = problem.operations[number].f == "acquire", problem.returned[number] != NEVER
        if depth and acquires and not reentrant:
            if answered:
                return Invalid(problem.named([sessions[-1].first, number]))
            continue
        if not acquires and not depth:
            if answered:
                return Invalid(problem.named([*(sessions[-1].members if sessions else []), number]))
            continue
        if acquires and not answered:
            continue
        if not depth:
            sessions.append(_Session([], False, problem.returned[number], problem.invoked[number], number, number))
        session = sessions[-1]
        session.members.append(number)
        depth += 1 if acquires else -1
        session.is_closed = not depth
        session.starts, session.last = problem.invoked[number], number
    for session in sessions:
        if not session.is_closed:
            session.starts = NEVER
    return sessions


def _order(problem: Problem, sessions: list[_Session]) -> Valid | Invalid:
    """Puts the sessions in order, as `zones._order` does, or finds two that must each precede the other."""
    sessions.sort(key=lambda session: (min(session.ends, session.starts), session.ends < session.starts))
    return _checked(problem, sessions)


def _by_token(problem: Problem, sessions: list[_Session]) -> Valid | Invalid:
    """Puts the sessions in the order of their tokens."""
    sessions.sort(key=lambda session: int(problem.operations[session.first].result))
    for one, other in pairwise(sessions):
        if freeze(problem.operations[one.first].result) == freeze(problem.operations[other.first].result):
            return Invalid(problem.named([one.first, other.first]))
    return _checked(problem, sessions)


def _checked(problem: Problem, sessions: list[_Session]) -> Valid | Invalid:
    latest: _Session | None = None
    for session in sessions:
        if latest is not None and session.ends < latest.starts:
            both = [latest.first, latest.last, session.first, session.last]
            return Invalid(problem.named(list(dict.fromkeys(both))))
        if latest is None or session.starts > latest.starts:
            latest = session
    return Valid(problem.named([number for session in sessions for number in session.members]))
