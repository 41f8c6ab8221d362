"""The session guarantees on a register: each is a set of "a before b, or the same" between versions that must have no cycle."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from checker.history import FAIL, Op
from checker.models.base import NOTHING, State
from checker.reasons import phrases
from checker.reasons.stories import Story, brings
from checker.sessions.answers import (
    HOLDS,
    MONOTONIC_READS,
    MONOTONIC_WRITES,
    READ_YOUR_WRITES,
    WRITES_FOLLOW_READS,
    Answer,
    broken,
    by_process,
)
from checker.sessions.versions import Span, Version, Versions, has_order, precedes, without_time


class Step(NamedTuple):
    """What an operation of a session did: it met a version, or it made one."""

    op: Op
    version: Version
    wrote: bool


class _Edge(NamedTuple):
    """One version must not stand after the other, because of two steps of a session."""

    one: Step
    other: Step


def guarantees(told: Story, found: Versions, operations: Sequence[Op]) -> dict[str, Answer]:
    """Whether each of the guarantees holds."""
    sessions = [list(_steps(told, found, session)) for session in by_process(operations)]
    describe = told.model.describe

    def judged(edges: Callable[[list[Step]], Iterator[_Edge]], spans: Sequence[Span]) -> Answer:
        if found.conflict and spans is found.spans:
            return Answer(holds=None, because=found.conflict)
        return _judged(spans, [edge for session in sessions for edge in edges(session)], describe)

    return {
        READ_YOUR_WRITES: judged(_reads_of_own, found.spans),
        MONOTONIC_READS: judged(_reads_in_turn, found.spans),
        MONOTONIC_WRITES: judged(_writes_in_turn, without_time(found)),
        WRITES_FOLLOW_READS: judged(_writes_after_reads, found.spans),
    }


def _steps(told: Story, found: Versions, session: Sequence[Op]) -> Iterator[Step]:
    """A session's steps in order; a cas meets a version and makes the next one."""
    for op in session:
        effect = told.effects.get(op.invoked)
        if effect is None:
            continue
        if effect.requires is not NOTHING and op.returned is not None:
            yield Step(op, found.of_state[effect.requires], wrote=False)
        if brings(effect) is not NOTHING and op.type != FAIL and op.invoked in found.by_place:
            yield Step(op, found.by_place[op.invoked], wrote=True)


def _reads_of_own(session: list[Step]) -> Iterator[_Edge]:
    """The last write before a read is enough: by time the earlier ones stand before it."""
    last: Step | None = None
    for step in session:
        if step.wrote:
            last = step
        elif last is not None:
            yield _Edge(last, step)


def _reads_in_turn(session: list[Step]) -> Iterator[_Edge]:
    reads = [step for step in session if not step.wrote]
    yield from (_Edge(one, other) for one, other in pairwise(reads))


def _writes_in_turn(session: list[Step]) -> Iterator[_Edge]:
    writes = [step for step in session if step.wrote]
    yield from (_Edge(one, other) for one, other in pairwise(writes))


def _writes_after_reads(session: list[Step]) -> Iterator[_Edge]:
    """The reads since the write before are enough: earlier ones must stand before that one, which by time is before this one."""
    reads: list[Step] = []
    for step in session:
        if step.wrote:
            yield from (_Edge(read, step) for read in reads)
            reads = []
        else:
            reads.append(step)


def _judged(spans: Sequence[Span], edges: Sequence[_Edge], describe: Callable[[State], str]) -> Answer:
    for one, other in edges:
        if precedes(spans, other.version, one.version):
            when = f"before {describe(one.version.state)}"
            return broken(
                f"process {one.op.process} {did(one, describe)} and then {did(other, describe)}, which came {when}"
            )
    blocks = [(one.version.block, other.version.block) for one, other in edges]
    if has_order(spans, blocks):
        return HOLDS
    return broken("no order of the updates gives it to all clients at once")


def did(step: Step, describe: Callable[[State], str]) -> str:
    value = describe(step.version.state)
    if step.wrote:
        return f"wrote {value} (invoked {phrases.start(step.op)})"
    return f"{'read' if step.op.f == 'read' else 'met'} {value} ({phrases.end(step.op)})"
