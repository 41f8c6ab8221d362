"""Faults on local processes: each is requested, installed, shown to bite, healed and shown to have healed.

A cut is shown by frames that nobody answers any more and by what the links dropped; a delay by frames that take so much
longer to be answered than before; a kill by the wait status and, afterwards, by another process that answers; a pause by the kernel's state of the process and a request that nobody
answers. A fault lives in a thread of its own. Faults of several families overlap: one that finds what it acts on held
down by another waits for it. Not here: which faults there are and whom they hit (`harness/nemesis.py`).
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from harness.clusters.cluster import NANOSECONDS, ClusterError, Fault
from harness.clusters.fault_life import AGAIN_SECONDS, Evidence, FaultLife, Tell, status_at
from harness.clusters.link_control import PROBE_SECONDS, Links
from harness.clusters.ports import HOST
from harness.clusters.processes import NodeProcess
from harness.clusters.thorough import try_each
from harness.nemesis import Edge, Leaders, edges_of, targets_of

KILLED = -9  # the wait status of a process that signal 9 ended
HOLD_SECONDS = 4.0  # how much longer a fault lasts whose target was held down by another until its end
TRIAL_SECONDS = 0.05  # without an answer, for a cut to have been tried out
ABANDON_SECONDS = 0.5
TRIAL_DELAY_MS = 60.0
PROBES_BEFORE = 3  # the quickest counts: this machine may be busy, but a link that is not slow is quick once
MECHANISM = "the links drop whole frames between nodes, and clients' bytes"
DELAYING = "the links hold back what is said over them"


class LocalSite(msgspec.Struct, frozen=True):
    """What faults act on."""

    nodes: dict[str, NodeProcess]
    links: Links

    def status_of(self, node: str) -> dict[str, Any] | None:
        """The node's answer to `GET /status`, asked directly and not over a link; None if it gives none in time."""
        return status_at(HOST, self.nodes[node].spec.client_port)

    def statuses(self, nodes: Sequence[str]) -> dict[str, dict[str, Any] | None]:
        """Of several nodes at once."""
        with ThreadPoolExecutor(max(1, len(nodes))) as pool:
            return dict(zip(nodes, pool.map(self.status_of, nodes), strict=True))

    def between_running(self, edges: Iterable[Edge]) -> list[Edge]:
        """Those of the edges whose ends both serve and are not stopped."""
        return [(a, b) for a, b in edges if self.nodes[a].up and self.nodes[b].up]


def partition(life: FaultLife, site: LocalSite, edges: Sequence[Edge]) -> None:
    """The whole life of a partition. Raises `ClusterError` or `Abandoned`."""
    links = site.links
    before = links.counters()

    def dropped() -> Evidence:
        now = links.counters()
        frames = {f"{a}>{b}": now.frames.get((a, b), 0) - before.frames.get((a, b), 0) for a, b in edges}
        clients = sum(now.bytes.get(edge, 0) - before.bytes.get(edge, 0) for edge in edges)
        return {"frames_dropped": frames, "client_bytes_dropped": clients}

    def silent() -> Evidence | None:
        probed = site.between_running(edges)
        if not probed:
            return None
        open_ways = sorted({(b, a) for a, b in probed} - links.cut_now())
        answers = links.probe([*probed, *open_ways])
        if any(answers[edge] != "silent" for edge in probed):
            return None
        # A cut between followers drops no frames as long as both hear their leader (a bridge that leads): then it is the
        # probes, which pass by the same rule as frames, that the links must have counted.
        evidence = dropped()
        counted = links.counters().probes
        evidence["probes_dropped"] = sum(counted.get(edge, 0) > before.probes.get(edge, 0) for edge in probed)
        if evidence["probes_dropped"] < len(probed):
            return None
        evidence["probes_silent"] = len(probed)
        if open_ways:
            evidence["probes_answered_the_other_way"] = sum(answers[edge] == "answers" for edge in open_ways)
        return evidence

    began = time.monotonic()
    links.cut(edges)
    with life.undone_by(lambda: links.heal(edges)):
        life.tell("installed", mechanism=MECHANISM, edges=len(edges), took_ms=_ms_since(began))
        life.until_ended(silent, HOLD_SECONDS)
        evidence = dropped()
        began = time.monotonic()
    life.tell("healed", took_ms=_ms_since(began), **evidence)
    _show_passing_again(life, site, edges)


def _show_passing_again(life: FaultLife, site: LocalSite, edges: Sequence[Edge]) -> None:
    """Every edge that no other fault cuts must pass; those with an end that stays down are left out at last, and named."""
    links = site.links
    passed: set[Edge] = set()

    def missing() -> list[Edge]:
        return sorted(set(edges) - links.cut_now() - passed)

    def passes_again() -> Evidence | None:
        answers = links.probe(site.between_running(missing()))
        passed.update(edge for edge, answer in answers.items() if answer == "answers")
        return {"probes_answered": len(passed)} if passed and not missing() else None

    def but_for_ends_down() -> Evidence | None:
        left_out = missing()
        if not passed or site.between_running(left_out):
            return None
        return {"probes_answered": len(passed), "left_out_with_an_end_down": left_out}

    life.until_healed(
        passes_again, lambda: {"still_blocked": missing(), "probes_answered": len(passed)}, but_for_ends_down
    )


def delay(life: FaultLife, site: LocalSite, edges: Sequence[Edge]) -> None:
    """The whole life of a delay. Raises `ClusterError` or `Abandoned`."""
    links = site.links
    asked, jitter = float(life.fault.parameters["delay_ms"]), float(life.fault.parameters["jitter_ms"])
    patience = PROBE_SECONDS + 2 * (asked + jitter) / 1000
    quickest: dict[Edge, float] = {}

    def measure() -> dict[Edge, float]:
        return links.times(site.between_running(set(edges) - links.cut_now()), patience)

    for _ in range(PROBES_BEFORE):
        _keep_quickest(quickest, measure())
    held = links.counters().held

    def slower() -> Evidence | None:
        during = measure()
        now = links.counters().held
        waited = sum(now.get(edge, 0) - held.get(edge, 0) for edge in edges)
        # Whoever was down before could not be measured then; the heal shows that it was not slow by itself. Besides the
        # probes themselves something must have waited.
        slow_before = any(quickest.get(edge, 0.0) >= asked for edge in during)
        if not during or min(during.values()) < asked or slow_before or waited <= len(during):
            return None
        before = [quickest[edge] for edge in during if edge in quickest]
        return {
            "probes": len(during),
            "probes_before": len(before),
            "median_ms_before": round(statistics.median(before), 3) if before else None,
            "median_ms_during": round(statistics.median(during.values()), 3),
            "least_ms_during": min(during.values()),
            "pieces_held": waited,
        }

    links.slow(edges, asked, jitter)
    with life.undone_by(lambda: links.quicken(edges, asked, jitter)):
        life.tell("installed", mechanism=DELAYING, edges=len(edges), delay_ms=asked, jitter_ms=jitter)
        life.until_ended(slower, HOLD_SECONDS)
    now = links.counters().held
    life.tell("healed", pieces_held=sum(now.get(edge, 0) - held.get(edge, 0) for edge in edges))
    after: dict[Edge, float] = {}

    def slow_or_unknown() -> list[Edge]:
        return sorted(edge for edge in set(edges) - links.cut_now() if after.get(edge, asked) >= asked)

    def told() -> Evidence:
        return {"probes": len(after), "median_ms_after": round(statistics.median(after.values()), 3)}

    def quick_again() -> Evidence | None:
        _keep_quickest(after, measure())
        return told() if after and not slow_or_unknown() else None

    def but_for_ends_down() -> Evidence | None:
        left_out = slow_or_unknown()
        if not after.keys() - left_out or any(edge in after for edge in left_out) or site.between_running(left_out):
            return None
        return {**told(), "left_out_with_an_end_down": left_out}

    life.until_healed(quick_again, lambda: {"still_slow": slow_or_unknown()}, but_for_ends_down)


def _keep_quickest(known: dict[Edge, float], measured: dict[Edge, float]) -> None:
    for edge, ms in measured.items():
        known[edge] = min(ms, known.get(edge, ms))


def kill(life: FaultLife, site: LocalSite, targets: Sequence[NodeProcess], died: Callable[[NodeProcess], None]) -> None:
    """SIGKILL, one node after the other; after the end of the fault they start again on their data.

    `died` hears of a node that turns out to have ended by itself. Raises `ClusterError` or `Abandoned`.
    """
    hit: dict[str, int] = {}  # node -> process

    def start_again() -> None:
        try_each((f"starting {each.node}", each.start) for each in targets if each.node in hit)

    with life.undone_by(start_again):
        _strike(life, targets, hit)
        life.tell("installed", mechanism="SIGKILL", pids=dict(hit))
        codes = {each.node: each.await_exit() for each in targets if each.node in hit}
        spared = sorted(each.node for each in targets if each.node not in hit)
        if not spared and all(code == KILLED for code in codes.values()):
            life.tell("bitten", wait_status=dict.fromkeys(codes, "killed by signal 9"), pids=dict(hit))
        else:
            life.tell("not-bitten", exit_status=codes, were_down=spared)
            for each in targets:
                if codes.get(each.node) not in {KILLED, None}:  # one that still runs has not died
                    died(each)
        life.wait_for_end()
    after = {each.node: each.pid for each in targets if each.node in hit}
    life.tell("healed", pids=after)

    answering: dict[str, int] = {}  # node -> process, once it has answered: the next kill may take it again

    def up_again() -> Evidence | None:
        for node, status in site.statuses([node for node in after if node not in answering]).items():
            if status and (pid := int(status.get("pid", 0))) != hit[node]:
                answering[node] = pid
        return {"pids_before": hit, "pids_answering": answering} if len(answering) == len(after) else None

    life.until_healed(up_again, lambda: {"pids_before": hit, "pids_after": after, "pids_answering": answering})


def _strike(life: FaultLife, targets: Sequence[NodeProcess], hit: dict[str, int]) -> None:
    """Kills whoever runs, and waits within the fault's time for the others: only who runs can be killed.

    A node that another kill holds down has an exit status already, which would tell nothing of this one.
    Raises `ClusterError` if none could be hit, or `Abandoned`.
    """
    hold = 0.0
    while True:
        for each in targets:
            if each.node in hit or not (pid := each.kill_running()):
                continue
            hit[each.node] = pid
            if len(hit) < len(targets):
                time.sleep(life.fault.parameters.get("stagger_ns", 0) / NANOSECONDS)
        if len(hit) == len(targets):
            return
        if life.wait_for_end(AGAIN_SECONDS):
            hold = hold or time.monotonic() + HOLD_SECONDS
            if time.monotonic() > hold:
                break
            time.sleep(AGAIN_SECONDS)
    if not hit:
        life.tell("not-bitten", were_down=sorted(each.node for each in targets))
        raise ClusterError("none of its nodes was up until its end")


def pause(life: FaultLife, site: LocalSite, targets: Sequence[NodeProcess]) -> None:
    """SIGSTOP until the end of the fault, then SIGCONT.

    A node that a kill holds down is stopped once it runs; one that is killed while it is stopped starts again as a node
    that runs, and is stopped anew only if the pause had not been shown yet. Raises `ClusterError` or `Abandoned`.
    """
    stopped: dict[str, int] = {}  # node -> process

    def stop() -> None:
        for each in targets:
            if stopped.get(each.node) != each.pid and each.pause():
                stopped[each.node] = each.pid

    def silent() -> Evidence | None:
        stop()
        serving = [each for each in targets if each.serving]
        answers = site.statuses([each.node for each in serving])
        # Looked at after the silence: whoever is stopped now, and is the one that we stopped, was so all the while.
        shown = [each.node for each in serving if each.pid == stopped.get(each.node) and each.stopped()]
        if not shown or len(shown) < len(serving) or any(answers.values()):
            return None
        return {"state": dict.fromkeys(shown, "T"), "unanswered": shown}

    resumed: list[str] = []

    def resume() -> None:
        resumed.extend(each.node for each in targets if each.resume())

    with life.undone_by(resume):
        _await_first(life, stop, stopped)
        life.tell("installed", mechanism="SIGSTOP", pids=dict(stopped))
        life.until_ended(silent, HOLD_SECONDS)
    life.tell("healed", resumed=resumed)
    answering: list[str] = []

    def answers() -> Evidence | None:
        asked = site.statuses([node for node in stopped if node not in answering])
        answering.extend(node for node, status in asked.items() if status)
        return {"answering": answering} if len(answering) == len(stopped) else None

    life.until_healed(answers, lambda: {"answering": answering, "asked": sorted(stopped)})


def _await_first(life: FaultLife, stop: Callable[[], None], stopped: dict[str, int]) -> None:
    """Stops whoever there is to be stopped; waits within the fault's time until there is somebody."""
    stop()
    hold = 0.0
    while not stopped:
        if life.wait_for_end(AGAIN_SECONDS):
            hold = hold or time.monotonic() + HOLD_SECONDS
            if time.monotonic() > hold:
                raise ClusterError("none of its nodes was up until its end")
            time.sleep(AGAIN_SECONDS)
        stop()


def _ms_since(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 3)


class LocalFaults:
    """Does faults: `inject` and `heal` return at once, the rest happens in threads and is told."""

    def __init__(
        self,
        site: LocalSite,
        tell: Tell,
        died: Callable[[NodeProcess], None],
        broken: Callable[[BaseException], None],
    ) -> None:
        """`died` hears of a node that a kill found dead, `broken` of a mistake of our own that ended a fault."""
        self.site = site
        self._tell = tell
        self._died = died
        self._broken = broken
        self._lives: dict[str, FaultLife] = {}
        self._threads: list[threading.Thread] = []

    def refusal(self, family: str) -> str:
        """Why faults of a family cannot be done here, found by trying; "" if they can."""
        match family:
            case "partition":
                return self._try_cut()
            case "delay":
                return self._try_delay()
            case "kill" | "pause":
                return ""  # whoever may start processes may signal them
            case _:
                return "local processes have no such faults"

    def _try_cut(self) -> str:
        links = self.site.links
        if len(self.site.nodes) < 2:
            return "there is no link in a cluster of one node"
        first, second, *_ = self.site.nodes
        edge = (first, second)
        met = []
        try:
            met.append(links.probe([edge])[edge])
            links.cut([edge])
            try:
                met.append(links.probe([edge], TRIAL_SECONDS)[edge])
            finally:
                links.heal([edge])
            met.append(links.probe([edge])[edge])
        except ClusterError as error:
            return str(error)
        if met != ["answers", "silent", "answers"]:
            return f"a probe from {first} to {second} before, during and after a cut: {', '.join(met)}"
        return ""

    def _try_delay(self) -> str:
        links = self.site.links
        if len(self.site.nodes) < 2:
            return "there is no link in a cluster of one node"
        first, second, *_ = self.site.nodes
        edge = (first, second)
        try:
            links.slow([edge], TRIAL_DELAY_MS, 0.0)
            try:
                took = links.times([edge], PROBE_SECONDS).get(edge)
            finally:
                links.quicken([edge], TRIAL_DELAY_MS, 0.0)
        except ClusterError as error:
            return str(error)
        if took is None or took < TRIAL_DELAY_MS:
            return f"a probe from {first} to {second}, slowed by {TRIAL_DELAY_MS:g} ms, took {took} ms"
        return ""

    def inject(self, fault: Fault, leaders: Leaders) -> None:
        """Starts a fault. Never raises for what the machine refuses: that is told."""
        nodes = self.site.nodes
        leader = leaders.now
        order = [node for node in fault.parameters["order"] if node in nodes]
        running = [node for node in order if nodes[node].serving or (fault.family == "kill" and not nodes[node].down)]
        life = self._lives[fault.id] = FaultLife(fault, self._tell, leader=leader)
        if running and leader not in running:
            leader = running[0]  # the known leader is held down: another node stands in for the one to come
            life.resolved["stands_in_for_leader"] = leader
        if fault.family in {"partition", "delay"}:
            act = partition if fault.family == "partition" else delay
            edges = edges_of(fault, leader, tuple(nodes), leaders.before)
            life.resolved["edges"] = edges
            self._spawn(life, lambda: act(life, self.site, edges))
        elif fault.family in {"kill", "pause"}:
            # Of the nodes that are there to be hit; if none is, they will be, since kills end.
            targets = [nodes[node] for node in targets_of(fault, leader, running or order)]
            life.resolved["nodes"] = [each.node for each in targets]
            if fault.family == "kill":
                self._spawn(life, lambda: kill(life, self.site, targets, self._died))
            else:
                self._spawn(life, lambda: pause(life, self.site, targets))
        else:
            life.tell("requested")
            life.tell("refused", reason=self.refusal(fault.family))

    def _spawn(self, life: FaultLife, run: Callable[[], None]) -> None:
        def guarded() -> None:
            life.live(run, (ClusterError, OSError), str, self._broken)

        life.tell("requested")
        thread = threading.Thread(target=guarded, name=f"fault-{life.fault.id}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def heal(self, fault_id: str) -> None:
        """Ends a fault that was injected."""
        self._lives[fault_id].end()

    def abandon(self) -> None:
        """Stops every fault where it is: what they act on is about to end."""
        for life in self._lives.values():
            life.end(abandon=True)
        end = time.monotonic() + ABANDON_SECONDS
        for thread in self._threads:
            thread.join(timeout=max(0.0, end - time.monotonic()))
