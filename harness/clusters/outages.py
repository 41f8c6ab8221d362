"""Kills and pauses of containers.

A kill is shown by the exit status and, afterwards, by another process that answers; a pause by the kernel's state of the
process and a request that nobody answers. Not here: signals and the engine's calls (`containers.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from harness.clusters.bridge import FilterError
from harness.clusters.cluster import NANOSECONDS
from harness.clusters.containers import Container
from harness.clusters.engine import in_parallel
from harness.clusters.fault_life import AGAIN_SECONDS, HOLD_SECONDS, Evidence, FaultLife
from harness.clusters.namespaces import AgentError
from harness.clusters.site import Site

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
        before = {each.node: each.pid for each in targets}
        _end(life, site, targets, died)
        life.wait_for_end()
        in_parallel(Container.start, list(targets))
        for each in targets:
            _probe_again(site, each)
        after = {each.node: each.pid for each in targets}
        life.tell("healed", pids=after)

        def up_again() -> Evidence | None:
            answering = [each.node for each in targets if site.status_of(each.node) is not None]
            renewed = all(after[node] and after[node] != before[node] for node in after)
            if len(answering) < len(targets) or not renewed:
                return None
            return {"pids_before": before, "pids_after": after, "answering": answering}

        life.until_healed(up_again, lambda: {"pids_before": before, "pids_after": after})


def _end(life: FaultLife, site: Site, targets: Sequence[Container], died: Callable[[Container], None]) -> None:
    """Kills, and waits for every exit."""
    pids = {each.node: each.pid for each in targets}
    ways = {}
    for number, each in enumerate(targets):
        if number:
            time.sleep(life.fault.parameters.get("stagger_ns", 0) / NANOSECONDS)
        ways[each.node] = each.kill()
        if site.network:
            site.network.remove(each.address)
    life.tell("installed", mechanism=ways, pids=pids)
    codes = dict(zip(pids, in_parallel(Container.await_exit, list(targets)), strict=True))
    if all(code == KILLED for code in codes.values()):
        life.tell("bitten", exit_status=codes, pids=pids)
        return
    life.tell("not-bitten", exit_status=codes)
    for each in targets:
        if codes[each.node] != KILLED:
            died(each)


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
    ways = {each.node: each.pause() for each in targets}
    life.tell("installed", mechanism=ways, pids={each.node: each.pid for each in targets})

    def silent() -> Evidence | None:
        if any(not each.stopped() or site.status_of(each.node) is not None for each in targets):
            return None
        return {"stopped": names, "unanswered": names}

    life.until_ended(silent, HOLD_SECONDS)
    for each in targets:
        each.resume()
    life.tell("healed")

    def answers() -> Evidence | None:
        answering = [each.node for each in targets if site.status_of(each.node) is not None]
        return {"answering": answering} if len(answering) == len(targets) else None

    life.until_healed(answers, lambda: {"paused": names})
