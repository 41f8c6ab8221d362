"""Weaker promises than linearizability: what each client still got, so that a violation can be placed.

The four session guarantees of Terry et al. 1994 ("Session guarantees for weakly consistent replicated data"), and how stale
reads were. A session is what one process number did on one object, in its order; after an unanswered operation a client
goes on under a new number, as a new session. Decided exactly where each value that was read was brought once, and for
lists whose elements were appended once; elsewhere they are "not decided", never guessed.

*Registers.* A guarantee holds if some order of the updates, the same for all clients, makes it so: reads may return any older
version, but the updates themselves are taken to be ordered in real time (an update precedes all that were invoked after it
had returned, or after its value had been returned by some read) and each cas right after what it replaced. In that order:

- read your writes: a read returns the last write of its session before it, or a later one;
- monotonic reads: a read returns what the read before it in its session returned, or a later version;
- writes follow reads: a write stands after whatever its session had read before. What was read before a write began had
  taken effect by then, so real time alone makes that true: on one register nobody can see it broken;
- monotonic writes: writes of a session stand in its order. Real time would make that true, too, so it is left out here:
  chains of cas can show another order. (That somebody reads a client's second write and then its first shows reads that go
  back, not writes in the wrong order: the second read may have been answered by a replica that had only the first.)

Each says "a before b, or the same" of versions. If these and the order of real time have no cycle they have a topological
order, and if they have one no order can be right; so the check is exact (`sessions/versions.py`).

*Lists* show the whole content of the replica that answered, so the definitions apply as they stand: its reads must have
whatever the guarantee says that the replica must have.
"""

from __future__ import annotations

import importlib
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from checker.history import Op
from checker.models.base import Model
from checker.models.lists import AppendList
from checker.models.registers import Register
from checker.reasons.stories import story
from checker.search.problem import matters
from checker.selections import Selected
from checker.sessions import lists, registers, staleness
from checker.sessions.answers import (
    GUARANTEES,
    MONOTONIC_READS,
    READ_YOUR_WRITES,
    Answer,
    undecided,
)
from checker.sessions.staleness import Stale, StaleRead
from checker.sessions.versions import versions

SESSIONS = "one process number on one key; after an info a client goes on under a new number, as a new session"
_KEPT = {READ_YOUR_WRITES: "read its own writes", MONOTONIC_READS: "never went back to an older value"}
"""What a sentence says of guarantees that hold; the other two are mentioned only if they do not."""


class Placed(NamedTuple):
    """What still held on one object."""

    guarantees: dict[str, Answer]
    stale: Stale | None


def placed(model: Model, operations: Sequence[Op]) -> Placed:
    """The guarantees and the stale reads of one object; no stale reads (None) where it can't be known which are."""
    quickly = _on_arrays(model, operations)
    if quickly is not None:
        return Placed(*quickly)
    known = [op for op in operations if matters(model, op)]
    if isinstance(model, AppendList):
        assert isinstance(model.init, tuple)
        found = lists.guarantees(model.init, known)
        decided = any(answer.holds is not None for answer in found.values())
        return Placed(found, staleness.of_list(known) if decided and not model.init else None)
    told = story(model, known)
    order = versions(told)
    if isinstance(order, str):
        return Placed(undecided(order), None)
    stale = None if order.conflict else staleness.of_register(told, order, known)
    return Placed(registers.guarantees(told, order, known), stale)


def _on_arrays(model: Model, operations: Sequence[Op]) -> tuple[dict[str, Answer], Stale] | None:
    """The same on arrays, where it pays and can be had."""
    if not isinstance(model, Register) or not isinstance(operations, Selected):
        return None
    try:
        # By name and only now, as in `ways.py`: numba may be missing, and takes a second.
        columnar = importlib.import_module("checker.sessions.columnar")
    except ImportError:
        return None
    found: tuple[dict[str, Answer], Stale] | None = columnar.placed(model, operations)
    return found


def judge(model: Model, broken: Mapping[Hashable, Sequence[Op]], *, undecided_keys: int = 0) -> dict[str, Any]:
    """The field `promises` of an invalid verdict: what held on the objects that are not linearizable; on the others all do.

    `guarantees` has for each name `holds` (true, false, or null: not decided) and `because`; `stale_reads` has `count`, `worst`
    (see `StaleRead`), and is null where nothing is known; `sentence` says it all in words, and is empty if nothing is known.
    """
    found = {key: placed(model, operations) for key, operations in broken.items()}
    answers = {
        name: _together([each.guarantees[name] for each in found.values()], undecided_keys) for name in GUARANTEES
    }
    stale = [each.stale for each in found.values() if each.stale is not None]
    worst = sorted((read for each in stale for read in each.worst), key=staleness.oldest)
    count = sum(each.reads for each in stale)
    return {
        "sessions": SESSIONS,
        "guarantees": {name: {"holds": answer.holds, "because": answer.because} for name, answer in answers.items()},
        "stale_reads": {"count": count, "worst": msgspec.to_builtins(worst[: staleness.WORST], enc_hook=str)}
        if stale
        else None,
        "sentence": _sentence(answers, worst),
    }


def _together(answers: Sequence[Answer], undecided_keys: int) -> Answer:
    """Of several objects: one that breaks it decides, then one that is not decided."""
    for answer in sorted(answers, key=lambda each: (each.holds is not False, each.holds is not None)):
        if not answer.holds:
            return answer
    if undecided_keys:
        return Answer(holds=None, because=f"{undecided_keys} keys are not decided")
    return Answer(holds=True)


def _sentence(answers: Mapping[str, Answer], worst: Sequence[StaleRead]) -> str:
    """As an engineer would say it: how stale, what each client still got, and what not."""
    parts = []
    if worst:
        parts.append(_how_stale(worst[0]))
    kept = [words for name, words in _KEPT.items() if answers[name].holds]
    if kept:
        parts.append(f"each client still {' and '.join(kept)}")
    lost = [f"not {name}: {answers[name].because}" for name in GUARANTEES if answers[name].holds is False]
    text = "; ".join([*parts, *lost])
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _how_stale(read: StaleRead) -> str:
    behind = f"{read.versions_at_least} {'update' if read.versions_at_least == 1 else 'updates'} behind"
    if read.versions_at_most != read.versions_at_least:
        behind += f" (at most {read.versions_at_most})"
    if read.milliseconds_at_least is None or read.milliseconds_at_most is None:
        return f"reads were up to {behind}"
    least, most = (_figure(bound) for bound in (read.milliseconds_at_least, read.milliseconds_at_most))
    bound = "" if least == most else f" (at most {most})"
    return f"reads were up to {least} ms stale{bound}, {behind}"


def _figure(bound: float) -> str:
    shown = f"{bound:.3g}" if abs(bound) < 100 else f"{bound:,.0f}"
    return "0" if float(shown.replace(",", "")) == 0 else shown  # never -0
