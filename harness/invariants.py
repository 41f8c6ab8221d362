"""What Raft promises of itself, looked for in what the nodes wrote: a second judge beside the history of the clients.

At most one leader is elected in a term (election safety), and whoever tells a digest of the log up to the same committed
index tells the same one (state machine safety); digests are chained, so that equal ones mean equal logs up to there.
A node may die in the midst of a line, and a build under test may write lines of another form: those are passed over.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

LEADER, COMMITTED = "leader-elected", "committed"
JUDGED = (f'"kind":"{LEADER}"'.encode(), f'"kind":"{COMMITTED}"'.encode())


class Line(msgspec.Struct):
    """As much of an event line as is judged."""

    kind: str
    term: int = -1
    index: int = -1
    digest: str = ""


class Finding(msgspec.Struct):
    """`checks/invariants.json`: how much was looked at, and each broken invariant in a sentence, the earliest first."""

    verdict: str
    leaders: int
    commits: int
    broken: list[str]


def look_for_broken(nodes: Path) -> Finding:
    """Judges `<nodes>/<node>/events.jsonl` of every node that has one."""
    led: dict[int, set[str]] = {}  # term -> who was elected in it
    commits: dict[int, dict[str, str]] = {}  # index -> digest -> the first node that told it
    told = 0
    decode = msgspec.json.Decoder(Line).decode
    for path in sorted(nodes.glob("*/events.jsonl")):
        node = path.parent.name
        for text in path.read_bytes().split(b"\n"):
            if not any(kind in text for kind in JUDGED):
                continue
            try:
                line = decode(text)
            except msgspec.DecodeError:
                continue
            if line.kind == LEADER:
                led.setdefault(line.term, set()).add(node)
            elif line.kind == COMMITTED and line.digest:
                told += 1
                commits.setdefault(line.index, {}).setdefault(line.digest, node)
    broken = [
        f"two leaders in term {term}: {' and '.join(sorted(leaders))}"
        for term, leaders in sorted(led.items())
        if len(leaders) > 1
    ]
    # Once logs differ they differ at every later index: the first one tells where.
    parted = min((index for index, digests in commits.items() if len(digests) > 1), default=None)
    if parted is not None:
        who = " and ".join(f"{node} ({digest})" for digest, node in commits[parted].items())
        broken.append(f"committed logs differ at index {parted}: {who}")
    return Finding("invalid" if broken else "valid", sum(map(len, led.values())), told, broken)
