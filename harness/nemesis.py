"""The nemesis: a pure schedule of faults, drawn from a seed, and the prose of the fault model.

How a fault is done lives in `harness/clusters/`; here is only what, to whom and when.

**The fault model.** Every fault here is one that Raft must survive (safety always; liveness once it has healed):

- *partition*: a set of directed edges between nodes over which nothing passes, in the way of Jepsen's grudges. Clients
  stand beside their home node and are cut off with it. Shapes: `halves` (a majority and a minority, which mostly has
  the leader), `isolate-one`, `isolate-leader`, `majority-ring` (every node sees a majority, no two the same
  one), `bridge` (two halves that only one node connects; never the leader, whom nobody would miss there), `one-way` (a
  node is deaf, or mute) and `leaders-apart` (a leader and the one before it cannot speak to each other; all others speak
  to both, as in Cloudflare's outage of November 2020). The last follows upon a leader's isolation without a gap: whoever
  was deposed meanwhile comes back to everybody but the one who could tell it so first.
- *kill*: SIGKILL, and after a while a restart on the same disk. Targets: `one`, `leader`, `followers` (all but the leader,
  who stays in office with nobody to agree), `minority`, `majority`, `all`.
  What was written to a file survives a kill even if it was not yet synced, so lost syncs are not shown by it. Several
  nodes die one after the other within a few tens of milliseconds, the leader last, as racks lose their power.
- *pause*: SIGSTOP and SIGCONT, a stand-in for garbage collection, swapping and sleeping virtual machines.
- *delay*: everything said over links takes longer, by a fixed time and a jitter, in order and with nothing lost, as over
  TCP on a bad way: to and from the leader (`slow-leader`) or another node (`slow-one`), or everywhere (`slow-all`).
  Clients beside a node are as far from the others as it is. Less than an election timeout, so that leaders may stay.

Families run on timelines of their own and may overlap: a node can be killed while others are cut off. Within a family
one fault ends before the next begins. Kinds are dealt from shuffled decks, so that a short run still sees most of them.
Each family opens with what acts on the leader, and kills wait for partitions to have done so: a leader that is cut off
and killed at once does none of the harm that it would do in office. Some kills then wait for a partition to meet, if that
is not long: of most nodes, while somebody is cut off who comes back to nodes that know no more than their disks do; of
the followers, while the one that leads can have all but one of them back.
Faults that no protocol of this kind survives (a lying fsync, a wiped disk under the old name) are not drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random

import msgspec

from harness.clusters.cluster import NANOSECONDS, Fault

Edge = tuple[str, str]

PARTITIONS = ("isolate-leader", "leaders-apart", "halves", "bridge", "one-way", "majority-ring", "isolate-one")
KILLS = ("leader", "all", "followers", "one", "majority", "leader", "minority")
PAUSES = ("leader", "one", "minority")
DELAYS = ("slow-leader", "slow-one", "slow-all")
FAMILIES = ("partition", "kill", "pause", "delay")


class Tempo(msgspec.Struct, frozen=True):
    """How long the faults of one family last and how far apart they are, in seconds: (least, most).

    The first comes after `lead` seconds, or after `share` of the time of faults where that is less.
    """

    lasts: tuple[float, float]
    gap: tuple[float, float]
    lead: float = 0.0
    share: float = 0.0


class Meeting(msgspec.Struct, frozen=True):
    """Which partitions a kill waits for, and when it comes, in seconds: a kill at the wrong moment shows nothing."""

    kinds: tuple[str, ...]
    into: tuple[float, float]  # after the partition's start
    outlast: float  # how much longer than the kill the partition must last; less than 0: the kill may last longer
    aftermath: float = 0.0  # after the partition's end, before the next kill may come


TEMPO = {
    "partition": Tempo(lasts=(2.2, 3.2), gap=(0.9, 1.5)),
    "kill": Tempo(lasts=(0.4, 0.9), gap=(1.2, 2.4), lead=5.0, share=0.4),
    "pause": Tempo(lasts=(0.8, 2.0), gap=(1.2, 2.4), lead=9.0, share=0.6),
    "delay": Tempo(lasts=(1.6, 3.0), gap=(1.2, 2.4), lead=7.0, share=0.5),
}
DELAY_MS, JITTER_MS = (60, 120), (0, 40)
RESTART = Meeting(("halves", "isolate-leader", "isolate-one"), (0.2, 0.5), 0.9, 1.5)
MEETINGS = {"all": RESTART, "majority": RESTART, "followers": Meeting(("leaders-apart",), (1.3, 1.6), -0.3)}
FIRST_SECONDS = (0.0, 0.5)
MOST_WAIT = 0.25  # of the time of faults, for a kill to meet a partition
ISOLATED_THEN_APART = ["isolate-leader", "leaders-apart"]
FIRST_PARTITION = "partition-1"
LEADER_IN_MINORITY = 0.75  # of halves; elsewhere few notice the cut
STAGGER_SECONDS = (0.0, 0.04)


def draw_schedule(
    seed: int, families: Sequence[str], node_ids: Sequence[str], start: int, end: int
) -> tuple[Fault, ...]:
    """The faults of one run between `start` and `end` (ns by the cluster's clock), sorted by their start.

    The schedule depends on its arguments alone. Each family draws from a stream of its own, so that leaving one family
    out does not change what the others do (a choice belongs to a named entity, as in FoundationDB).
    """
    faults: list[Fault] = []
    for family in sorted(families, key=FAMILIES.index):  # partitions first: kills wait for some of them
        draw = Random(f"{seed}/nemesis/{family}")  # noqa: S311 - a schedule, not a secret
        partitions = [fault for fault in faults if fault.family == "partition"]
        faults.extend(_timeline(family, draw, tuple(node_ids), start, end, partitions))
    return tuple(sorted(faults, key=lambda fault: (fault.at, fault.id)))


def _timeline(
    family: str, draw: Random, node_ids: tuple[str, ...], start: int, end: int, partitions: Sequence[Fault]
) -> Iterator[Fault]:
    tempo = TEMPO[family]
    deal = _DEALERS[family]
    deck: list[str] = []
    lead = min(tempo.lead * NANOSECONDS, tempo.share * (end - start))
    at = start + round(lead + draw.uniform(*FIRST_SECONDS) * NANOSECONDS)
    number = 0
    while True:
        number, quiet = number + 1, 0
        deck = deck or _shuffled(draw, deal, first_of_all=number == 1)
        lasts = round(draw.uniform(*tempo.lasts) * NANOSECONDS)
        if family == "kill" and deck[0] in MEETINGS:
            latest = at + round(MOST_WAIT * (end - start))
            at, quiet = _meeting(MEETINGS[deck[0]], draw, at, latest, lasts, partitions)
        until = at + lasts
        if until > end:
            return
        order = list(node_ids)
        draw.shuffle(order)
        yield deal.make(f"{family}-{number}", deck[0], tuple(order), draw, at, until)
        pause = draw.uniform(*tempo.gap) * NANOSECONDS
        at = until if deck[:2] == ISOLATED_THEN_APART else max(until + round(pause), quiet)
        deck.pop(0)


def _meeting(
    meeting: Meeting, draw: Random, at: int, latest: int, lasts: int, partitions: Sequence[Fault]
) -> tuple[int, int]:
    """When a kill that lasts so long meets a partition, from `at` to `latest`, and until when there should be no other.

    Where there is none to meet: `at` itself, and 0.
    """
    into, outlast = round(draw.uniform(*meeting.into) * NANOSECONDS), round(meeting.outlast * NANOSECONDS)
    for cut in partitions:
        moment = max(at, cut.at + into)
        if cut.kind in meeting.kinds and moment <= latest and moment + lasts + outlast <= cut.until:
            return moment, cut.until + round(meeting.aftermath * NANOSECONDS)
    return at, 0


def _shuffled(draw: Random, deal: _Dealer, *, first_of_all: bool) -> list[str]:
    """A deck in random order; the run's first one begins with the faults that every run, however short, should see."""
    opening = deal.opening if first_of_all else ()
    deck = list(deal.cards)
    for card in opening:
        deck.remove(card)
    draw.shuffle(deck)
    if opening:
        return [*opening, *deck]
    if "leaders-apart" in deck:
        deck.remove("leaders-apart")
        deck.insert(deck.index("isolate-leader") + 1, "leaders-apart")  # it parts those whom the isolation made two
    return deck


def _partition(name: str, kind: str, order: tuple[str, ...], draw: Random, at: int, until: int) -> Fault:
    parameters: dict[str, object] = {"order": order}
    targets: tuple[str, ...] = ()
    if kind == "isolate-leader":
        targets = ("leader",)
    if kind == "halves" and (name == FIRST_PARTITION or draw.random() < LEADER_IN_MINORITY):
        targets = ("leader",)
    if kind == "one-way":
        parameters["direction"] = draw.choice(["deaf", "mute"])
        targets = (draw.choice(["leader", "one"]),)
    return Fault(id=name, family="partition", kind=kind, targets=targets, parameters=parameters, at=at, until=until)


def _kill(name: str, kind: str, order: tuple[str, ...], draw: Random, at: int, until: int) -> Fault:
    stagger = round(draw.uniform(*STAGGER_SECONDS) * NANOSECONDS)
    return Fault(
        id=name,
        family="kill",
        kind="kill",
        targets=(kind,),
        parameters={"order": order, "stagger_ns": stagger},
        at=at,
        until=until,
    )


def _pause(name: str, kind: str, order: tuple[str, ...], draw: Random, at: int, until: int) -> Fault:  # noqa: ARG001 - one signature for all dealers
    return Fault(
        id=name, family="pause", kind="pause", targets=(kind,), parameters={"order": order}, at=at, until=until
    )


def _delay(name: str, kind: str, order: tuple[str, ...], draw: Random, at: int, until: int) -> Fault:
    parameters = {"order": order, "delay_ms": draw.randint(*DELAY_MS), "jitter_ms": draw.randint(*JITTER_MS)}
    targets = (kind.removeprefix("slow-"),)
    return Fault(id=name, family="delay", kind=kind, targets=targets, parameters=parameters, at=at, until=until)


class Leaders(msgspec.Struct, frozen=True):
    """Who leads, and who led before that, as far as the nodes have said so ("": nobody yet)."""

    term: int = 0
    now: str = ""
    before: str = ""

    def elected(self, term: int, node: str) -> Leaders:
        """The same after one more election; of an earlier term than the last one, nothing new."""
        if term <= self.term:
            return self
        return Leaders(term, node, self.before if node == self.now else self.now)


class _Dealer(msgspec.Struct, frozen=True):
    opening: tuple[str, ...]
    cards: tuple[str, ...]
    make: Callable[[str, str, tuple[str, ...], Random, int, int], Fault]


_DEALERS = {
    # A leader is isolated once with an end at once, and once with an end by and by.
    "partition": _Dealer(
        ("halves", "isolate-leader", "leaders-apart", "isolate-one", "isolate-leader"),
        (*PARTITIONS, "isolate-leader"),
        _partition,
    ),
    "kill": _Dealer(("followers", "leader", "all"), KILLS, _kill),
    "pause": _Dealer(("leader",), PAUSES, _pause),
    "delay": _Dealer(("slow-leader",), DELAYS, _delay),
}


def targets_of(fault: Fault, leader: str, node_ids: Sequence[str]) -> tuple[str, ...]:
    """The nodes that a fault acts on, given who leads now ("" = nobody known: the first of the drawn order stands in).

    For several nodes the leader, if it is among them, comes last.
    """
    order = [node for node in fault.parameters["order"] if node in node_ids]
    minority = (len(order) - 1) // 2
    counts = {"one": 1, "minority": max(1, minority), "majority": len(order) // 2 + 1, "all": len(order)}
    chosen: list[str] = []
    for target in fault.targets:
        if target == "leader":
            chosen.append(leader or order[0])
        elif target == "followers":
            chosen.extend(node for node in order if node != (leader or order[0]))
        elif target in counts:
            chosen.extend(order[: counts[target]])
        else:
            chosen.append(target)
    return tuple(sorted(dict.fromkeys(chosen), key=lambda node: node == leader))


def edges_of(fault: Fault, leader: str, node_ids: Sequence[str], before: str = "") -> list[Edge]:
    """The directed edges (from, to) over which a partition lets nothing pass, or which a delay slows; sorted.

    `leader` leads now and `before` led before it; where nobody is known, the first of the drawn order stands in.
    """
    order = [node for node in fault.parameters["order"] if node in node_ids]
    half = len(order) // 2
    match fault.kind:
        case "halves":
            order = _placed(order, leader, 0 if fault.targets == ("leader",) else half)
            edges = _between(order[:half], order[half:])
        case "isolate-one":
            edges = _between(order[:1], order[1:])
        case "isolate-leader":
            alone = targets_of(fault, leader, node_ids)
            edges = _between(alone, [node for node in order if node not in alone])
        case "leaders-apart":
            leader = leader if leader in order else order[0]
            other = before if before in order and before != leader else next(node for node in order if node != leader)
            edges = _between([leader], [other])
        case "bridge":
            order = _placed(order, leader, 0) if order[half] == leader else order
            edges = _between(order[:half], order[half + 1 :])
        case "majority-ring":
            edges = _majority_ring(order)
        case "one-way":
            edges = _one_way(targets_of(fault, leader, node_ids), order, str(fault.parameters["direction"]))
        case "slow-leader" | "slow-one" | "slow-all":
            slow = targets_of(fault, leader, node_ids)
            edges = [(a, b) for a in order for b in order if a != b and (a in slow or b in slow)]
        case _:
            raise ValueError(
                f"no fault of the network is called {fault.kind!r}; there are {', '.join((*PARTITIONS, *DELAYS))}"
            )
    return sorted(edges)


def _placed(order: Sequence[str], node: str, place: int) -> list[str]:
    """The order with `node` in that place, and whoever had it in the node's; as it was where the node is not in it."""
    changed = list(order)
    if node in changed:
        other = changed.index(node)
        changed[place], changed[other] = changed[other], changed[place]
    return changed


def _between(left: Sequence[str], right: Sequence[str]) -> list[Edge]:
    return [(a, b) for a in left for b in right] + [(b, a) for a in left for b in right]


def _majority_ring(order: Sequence[str]) -> list[Edge]:
    """Every node hears the nearest half of the others around a ring: with itself a majority, and no two the same one."""
    size = len(order)
    before = size // 2 // 2
    after = size // 2 - before
    edges = []
    for place, node in enumerate(order):
        heard = {order[(place + step) % size] for step in range(-before, after + 1)}
        edges += [(other, node) for other in order if other not in heard]
    return edges


def _one_way(targets: Sequence[str], order: Sequence[str], direction: str) -> list[Edge]:
    others = [node for node in order if node not in targets]
    if direction == "deaf":
        return [(other, target) for target in targets for other in others]
    return [(target, other) for target in targets for other in others]


def describe(fault: Fault) -> str:
    """A fault in a few words, for progress lines and for the bands of the report."""
    who = ", ".join(fault.targets)
    match fault.kind:
        case "one-way":
            return f"one-way ({who} {fault.parameters['direction']})"
        case "halves":
            return f"halves, {who} in the minority" if who else "halves"
        case "slow-leader" | "slow-one" | "slow-all":
            return f"{fault.kind} ({fault.parameters['delay_ms']} ms)"
        case "kill" | "pause":
            return f"{fault.kind} {who}"
        case _:
            return fault.kind
