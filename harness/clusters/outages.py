"""Kills and pauses of containers.

A kill is shown by the exit status and, afterwards, by another process that answers; a pause by the kernel's state of the
process and a request that nobody answers. Not here: signals and the engine's calls (`containers.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from harness.clusters.bridge import FilterError
from harness.clusters.cluster import NANOSECONDS, ClusterError
from harness.clusters.containers import Container
from harness.clusters.engine import in_parallel
from harness.clusters.fault_life import AGAIN_SECONDS, HOLD_SECONDS, Evidence, FaultLife
from harness.clusters.namespaces import AgentError
from harness.clusters.site import Site
from harness.clusters.thorough import try_each

KILLED = 128 + 9  # the exit status of a process that SIGKILL ended


@contextmanager
def _in_turn(life: FaultLife, targets: Sequence[Container]) -> Iterator[None]:
    """Waits until no other kill or pause has any of these nodes, and keeps others from them. Raises `Abandoned`.

    On a loaded machine the engine may take longer for a restart than the schedule has left before the next kill; two
    faults on one node at a time could not be told apart. Turns are taken in one order, so that no two wait for each other.
    """
    with ExitStack() as turns:
        for each in sorted(targets, key=lambda target: target.node):
            while not each.turn.acquire(timeout=AGAIN_SECONDS):
                life.wait_for_end(0)
            turns.callback(each.turn.release)
        yield


def kill(life: FaultLife, site: Site, targets: Sequence[Container], died: Callable[[Container], None]) -> None:
    """SIGKILL, one node after the other; after the end of the fault they start again on their data.

    `died` hears of a node that turns out to have ended by itself. Raises what containers raise, or `Abandoned`.
    """
    with _in_turn(life, targets):
        hit: dict[str, int] = {}  # node -> process
        chosen = {each.node: each for each in targets}

        def restart(each: Container) -> None:
            each.start()
            _probe_again(site, each)

        def start_again() -> None:
            in_parallel(restart, [chosen[node] for node in hit])

        with life.undone_by(start_again):
            _end(life, site, targets, hit, died)
            life.wait_for_end()
        after = {node: chosen[node].pid for node in hit}
        life.tell("healed", pids=after)

        def up_again() -> Evidence | None:
            answering = [node for node in hit if site.status_of(node) is not None]
            renewed = all(after[node] and after[node] != hit[node] for node in hit)
            if len(answering) < len(hit) or not renewed:
                return None
            return {"pids_before": hit, "pids_after": after, "answering": answering}

        life.until_healed(up_again, lambda: {"pids_before": hit, "pids_after": after})


def _end(
    life: FaultLife,
    site: Site,
    targets: Sequence[Container],
    hit: dict[str, int],
    died: Callable[[Container], None],
) -> None:
    """Kills, and waits for every exit."""
    ways = _strike(life, targets, hit)
    for each in targets:
        if each.node in hit and site.network:
            site.network.remove(each.address)
    life.tell("installed", mechanism=ways, pids=dict(hit))
    ended = [each for each in targets if each.node in hit]
    codes = dict(zip(hit, in_parallel(lambda each: each.await_exit(), ended), strict=True))
    if len(hit) == len(targets) and all(code == KILLED for code in codes.values()):
        life.tell("bitten", exit_status=codes, pids=dict(hit))
        return
    life.tell("not-bitten", exit_status=codes, were_down=sorted(each.node for each in targets if each.node not in hit))
    for each in ended:
        if codes[each.node] != KILLED:
            died(each)


def _strike(life: FaultLife, targets: Sequence[Container], hit: dict[str, int]) -> dict[str, str]:
    """Kills whoever runs, and waits within the fault's time for the others; returns by which way.

    A container that is down has an exit status already, which would tell nothing of this kill.
    Raises `ClusterError` if none could be hit, what containers raise, or `Abandoned`.
    """
    ways: dict[str, str] = {}
    hold = 0.0
    while True:
        for each in targets:
            if each.node in hit or not each.runs():
                continue
            if hit:
                time.sleep(life.fault.parameters.get("stagger_ns", 0) / NANOSECONDS)
            hit[each.node] = each.pid
            ways[each.node] = each.kill()
        if len(hit) == len(targets):
            return ways
        if life.wait_for_end(AGAIN_SECONDS):
            hold = hold or time.monotonic() + HOLD_SECONDS
            if time.monotonic() > hold:
                break
            time.sleep(AGAIN_SECONDS)
    if not hit:
        life.tell("not-bitten", were_down=sorted(each.node for each in targets))
        raise ClusterError("none of its nodes ran until its end")
    return ways


def _probe_again(site: Site, container: Container) -> None:
    """A restarted node can be probed again; unless it has died at once, which its streams will tell."""
    if site.network and container.pid:
        try:
            site.network.place(container.address, container.pid)
        except (AgentError, FilterError):
            site.network.remove(container.address)


def pause(life: FaultLife, site: Site, targets: Sequence[Container]) -> None:
    """SIGSTOP until the end of the fault, then SIGCONT. Raises what containers raise, or `Abandoned`."""
    with _in_turn(life, targets):
        _stop(life, site, targets)


def _stop(life: FaultLife, site: Site, targets: Sequence[Container]) -> None:
    names = [each.node for each in targets]
    stopped: list[Container] = []
    ways = {}

    def silent() -> Evidence | None:
        if any(not each.stopped() or site.status_of(each.node) is not None for each in targets):
            return None
        return {"stopped": names, "unanswered": names}

    def resume() -> None:
        try_each((f"resuming {each.node}", each.resume) for each in stopped)

    with life.undone_by(resume):
        for each in targets:
            ways[each.node] = each.pause()
            stopped.append(each)
        life.tell("installed", mechanism=ways, pids={each.node: each.pid for each in targets})
        life.until_ended(silent, HOLD_SECONDS)
    life.tell("healed")

    def answers() -> Evidence | None:
        answering = [each.node for each in targets if site.status_of(each.node) is not None]
        return {"answering": answering} if len(answering) == len(targets) else None

    life.until_healed(answers, lambda: {"paused": names})
