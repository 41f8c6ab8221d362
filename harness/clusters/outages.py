"""Kills and pauses of containers.

A kill is shown by the exit status and, afterwards, by another process that answers; a pause by the kernel's state of the
process and a request that nobody answers. Not here: signals and the engine's calls (`containers.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from harness.clusters.cluster import NANOSECONDS
from harness.clusters.containers import Container
from harness.clusters.engine import in_parallel
from harness.clusters.fault_life import AGAIN_SECONDS, Evidence, FaultLife
from harness.clusters.site import Site

HOLD_SECONDS = 4.0  # how long at least a pause waits for a node that a kill holds down, and for its own bite
KILLED = 128 + 9  # the exit status of a process that SIGKILL ended


def kill(life: FaultLife, site: Site, targets: Sequence[Container], died: Callable[[Container], None]) -> None:
    """SIGKILL, one node after the other; after the end of the fault they start again on their data.

    `died` hears of a node that turns out to have ended by itself. Raises what containers raise, or `Abandoned`.
    """
    network = site.network
    before = {each.node: each.pid for each in targets}
    ways = {}
    for number, each in enumerate(targets):
        if number:
            time.sleep(life.fault.parameters.get("stagger_ns", 0) / NANOSECONDS)
        ways[each.node] = each.kill()
        if network:
            network.remove(each.address)
    life.tell("installed", mechanism=ways, pids=before)
    codes = dict(zip(before, in_parallel(Container.await_exit, list(targets)), strict=True))
    if all(code == KILLED for code in codes.values()):
        life.tell("bitten", exit_status=codes, pids=before)
    else:
        life.tell("not-bitten", exit_status=codes)
        for each in targets:
            if codes[each.node] != KILLED:
                died(each)
    life.wait_for_end()
    in_parallel(Container.start, list(targets))
    after = {each.node: each.pid for each in targets}
    for each in targets:
        if network and each.pid:
            network.place(each.address, each.pid)
    life.tell("healed", pids=after)

    def up_again() -> Evidence | None:
        answering = [each.node for each in targets if site.status_of(each.node) is not None]
        renewed = all(after[node] and after[node] != before[node] for node in after)
        if len(answering) < len(targets) or not renewed:
            return None
        return {"pids_before": before, "pids_after": after, "answering": answering}

    life.until_healed(up_again, lambda: {"pids_before": before, "pids_after": after})


def pause(life: FaultLife, site: Site, targets: Sequence[Container]) -> None:
    """SIGSTOP until the end of the fault, then SIGCONT. A node that a kill holds down is paused once it is up again.

    Raises what containers raise, or `Abandoned`.
    """
    ways: dict[str, str] = {}
    latest = time.monotonic() + HOLD_SECONDS
    for each in sorted(targets, key=lambda target: target.down):
        while each.down:
            if life.wait_for_end(AGAIN_SECONDS) and time.monotonic() > latest:
                break
            time.sleep(AGAIN_SECONDS)
        else:
            ways[each.node] = each.pause()
    stopped = [each for each in targets if each.node in ways]
    life.tell("installed", mechanism=ways, pids={each.node: each.pid for each in stopped})

    def silent() -> Evidence | None:
        for each in stopped:
            if each.down or not each.stopped() or site.status_of(each.node) is not None:
                return None
        return {"stopped": sorted(ways), "unanswered": sorted(ways)} if stopped else None

    life.until_ended(silent, HOLD_SECONDS)
    for each in stopped:
        if not each.down:
            each.resume()
    life.tell("healed")

    def answers() -> Evidence | None:
        answering = [each.node for each in stopped if site.status_of(each.node) is not None]
        return {"answering": answering} if len(answering) == len(stopped) else None

    life.until_healed(answers, lambda: {"silent": sorted(ways)})
