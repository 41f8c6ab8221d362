"""Clusters of local processes: faults with evidence, and nothing left behind, whoever dies first."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from local_runs import NODES, Watched, eventually, fault, open_in, processes_of, statuses, write

from harness.builds import ROOT, resolve_build
from harness.clusters import fault_life, local_faults
from harness.clusters import local as local_module
from harness.clusters.cluster import ClusterError, FaultProgress
from harness.clusters.fault_life import status_at
from harness.clusters.leftovers import sweep_stale
from harness.clusters.local import LocalCluster
from harness.clusters.ports import HOST, PortReservation
from harness.clusters.processes import NodeProcess
from harness.nemesis import FAMILIES


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder in which runs note what they have started."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def opened(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Three nodes with clients."""
    cluster = open_in(tmp_path_factory.mktemp("run"))
    try:
        yield Watched(cluster)
    finally:
        cluster.close()


@pytest.fixture
def watched(opened: Watched) -> Iterator[Watched]:
    """The same, once all nodes agree on a leader."""
    opened.leader()
    yield opened
    opened.heal_all()


def pid_of(watched: Watched, node: str) -> int:
    return int(watched.cluster.nodes[node].pid)


def test_every_node_answers_once_the_cluster_is_open(watched: Watched) -> None:
    assert {node: status["id"] for node, status in statuses(watched.cluster).items() if status} == {
        node: node for node in NODES
    }


def test_the_families_of_faults_were_tried(watched: Watched) -> None:
    """Quote (faults.md): 'try it, don't read configuration'."""
    assert [watched.cluster.can(family) for family in FAMILIES] == [None] * len(FAMILIES)
    refusal = watched.cluster.can("clocks")
    assert refusal is not None
    assert refusal.reason == "local processes have no such faults"


def test_a_partition_bites_and_heals_with_evidence(watched: Watched) -> None:
    """Quote: 'Each fault goes through requested -> installed -> shown to bite -> healed -> shown healed, with evidence'."""
    leader = watched.leader()
    since = len(watched.seen)
    alone = fault("partition", "isolate-leader", "leader")
    watched.inject(alone)
    bitten = watched.phase(alone, "bitten")
    others = [node for node in NODES if node != leader]
    assert bitten.resolved["edges"] == sorted([(leader, each) for each in others] + [(each, leader) for each in others])
    assert bitten.evidence["probes_silent"] == 4
    assert set(bitten.evidence["frames_dropped"]) == {f"{a}>{b}" for a, b in bitten.resolved["edges"]}
    assert bitten.evidence["frames_dropped"][f"{leader}>{others[0]}"] > 0
    assert watched.event("leader-elected", since).node in others
    assert all(statuses(watched.cluster).values())  # the harness itself is never cut off
    watched.heal(alone)
    assert watched.phase(alone, "heal-shown").evidence["probes_answered"] == 4
    assert watched.phases(alone) == ["requested", "installed", "bitten", "healed", "heal-shown"]
    eventually(lambda: watched.leader() in others, "the old leader follows the new one")


@pytest.mark.parametrize("direction", ["deaf", "mute"])
def test_a_one_way_cut_leaves_the_other_way_whole(watched: Watched, direction: str) -> None:
    one_way = fault("partition", "one-way", "leader", direction=direction)
    watched.inject(one_way)
    evidence = watched.phase(one_way, "bitten").evidence
    assert evidence["probes_silent"] == 2
    assert evidence["probes_answered_the_other_way"] == 2
    watched.heal(one_way)
    watched.phase(one_way, "heal-shown")


def test_a_delay_is_shown_by_what_probes_take(watched: Watched) -> None:
    """Quote: 'links cut and slowed by a proxy of ours between nodes and between client and node'."""
    leader = watched.leader()
    slow = fault("delay", "slow-leader", "leader", delay_ms=80, jitter_ms=15)
    watched.inject(slow)
    evidence = watched.phase(slow, "bitten").evidence
    assert evidence["median_ms_before"] < 80 <= evidence["least_ms_during"] <= evidence["median_ms_during"]
    assert evidence["pieces_held"] > evidence["probes"]
    began = watched.cluster.now()
    other = next(place for place, node in enumerate(NODES) if node != leader)
    attempts = watched.do(write(other, leader, 7, 10.0)).attempts
    assert attempts[-1].status == 200
    # There and back by the client's link; and, if it still leads, there and back between the leader and a majority.
    led = [attempt.node for attempt in attempts] == [leader]
    assert watched.cluster.now() - began >= (320_000_000 if led else 160_000_000), attempts
    watched.heal(slow)
    assert watched.phase(slow, "heal-shown").evidence["median_ms_after"] < 80
    assert watched.phases(slow) == ["requested", "installed", "bitten", "healed", "heal-shown"]


def test_a_delay_that_does_nothing_is_not_shown_to_bite(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("slow", "quicken"):
        monkeypatch.setattr(watched.cluster.links, name, lambda *_: None)
    idle = fault("delay", "slow-all", "all", delay_ms=60, jitter_ms=0)
    watched.inject(idle)
    watched.phase(idle, "installed")
    watched.heal(idle)
    watched.until(lambda report: isinstance(report, FaultProgress) and report.phase == "not-bitten")
    refusal = watched.cluster.can("delay")
    assert refusal is not None
    assert "slowed by 60 ms, took" in refusal.reason


def test_clients_are_cut_off_with_their_home_node(watched: Watched) -> None:
    """Quote (fault model): 'Clients stand beside their home node and are cut off with it'."""
    first = fault("partition", "isolate-one")  # the first of the order: n1
    watched.inject(first)
    watched.phase(first, "bitten")
    beside = watched.do(write(0, "n2", 1, 0.5))
    assert [(attempt.node, attempt.error) for attempt in beside.attempts] == [("n2", "timeout")]
    assert watched.do(write(1, "n2", 2, 10.0)).attempts[-1].status == 200
    watched.heal(first)
    watched.phase(first, "heal-shown")
    assert watched.do(write(0, "n2", 3, 10.0)).attempts[-1].status == 200
    assert watched.phase(first, "healed").evidence["client_bytes_dropped"] > 0


def test_a_kill_is_shown_by_the_wait_status_and_its_heal_by_another_process(watched: Watched) -> None:
    """Quote (fault model): 'SIGKILL, and after a while a restart on the same disk'."""
    assert watched.do(write(1, "n2", 41, 10.0)).attempts[-1].status == 200
    before = {node: pid_of(watched, node) for node in NODES}
    since = len(watched.seen)
    everybody = fault("kill", "kill", "all", stagger_ns=5_000_000)
    watched.inject(everybody)
    bitten = watched.phase(everybody, "bitten")
    assert bitten.evidence == {"wait_status": dict.fromkeys(NODES, "killed by signal 9"), "pids": before}
    assert statuses(watched.cluster) == dict.fromkeys(NODES)
    refused = watched.do(write(1, "n3", 42, 2.0)).attempts
    assert ("n3", "connect-failed", False) in {(attempt.node, attempt.error, attempt.sent) for attempt in refused}
    watched.heal(everybody)
    answering = watched.phase(everybody, "heal-shown").evidence["pids_answering"]
    assert answering == {node: pid_of(watched, node) for node in NODES}
    assert not set(answering.values()) & set(before.values())
    assert watched.event("started", since).fields["last"] > 0
    assert "process-exited" not in {getattr(report, "kind", "") for report in watched.seen}


def test_a_pause_is_shown_by_the_kernels_state_and_a_request_without_an_answer(watched: Watched) -> None:
    leader = watched.leader()
    stopped = fault("pause", "pause", "leader")
    watched.inject(stopped)
    bitten = watched.phase(stopped, "bitten")
    assert bitten.evidence == {"state": {leader: "T"}, "unanswered": [leader]}
    assert statuses(watched.cluster)[leader] is None
    watched.heal(stopped)
    assert watched.phase(stopped, "heal-shown").evidence == {"answering": [leader]}


def test_a_stopped_process_can_be_killed_and_starts_again_as_one_that_runs(watched: Watched) -> None:
    stopped, killed = fault("pause", "pause", "n2"), fault("kill", "kill", "n2")
    watched.inject(stopped)
    watched.phase(stopped, "bitten")
    watched.inject(killed)
    watched.phase(killed, "bitten")
    watched.heal(killed)
    watched.phase(killed, "heal-shown")  # while the pause goes on
    watched.heal(stopped)
    watched.phase(stopped, "heal-shown")


def test_a_pause_and_a_cut_of_nodes_that_a_kill_holds_down_bite_once_they_are_up(watched: Watched) -> None:
    killed = fault("kill", "kill", "all")
    stopped, cut = fault("pause", "pause", "one"), fault("partition", "halves")
    watched.inject(killed)
    watched.phase(killed, "bitten")
    watched.inject(stopped)
    watched.inject(cut)
    watched.phase(cut, "installed")
    watched.heal(killed)
    # Both are asked to end while the nodes still start: they hold on until they have bitten.
    watched.heal(stopped)
    watched.heal(cut)
    for each in (stopped, cut, killed):
        watched.phase(each, "heal-shown")
        assert "bitten" in watched.phases(each)


def test_a_node_that_ends_by_itself_is_reported_with_its_last_lines(watched: Watched) -> None:
    since = len(watched.seen)
    os.kill(pid_of(watched, "n3"), signal.SIGTERM)
    exited = watched.event("process-exited", since, "n3")
    assert exited.fields["code"] == 0
    assert "stopping: SIGTERM" in exited.fields["last_lines"][-1]
    watched.cluster.nodes["n3"].start()
    watched.event("ready", since, "n3")


def test_a_kill_that_finds_a_node_dead_has_not_bitten(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    since = len(watched.seen)
    process = watched.cluster.nodes["n1"]
    real_kill = process.kill

    def too_late() -> None:
        process.go_down()
        os.kill(process.pid, signal.SIGTERM)
        process.await_exit()
        real_kill()

    with monkeypatch.context() as patch:
        patch.setattr(process, "kill", too_late)
        killed = fault("kill", "kill", "n1")
        watched.inject(killed)
        assert watched.event("process-exited", since, "n1").fields["code"] == 0
    watched.heal(killed)
    eventually(lambda: "heal-shown" in watched.phases(killed) or not watched.leader(), "it is up again")
    assert watched.phases(killed) == ["requested", "installed", "not-bitten", "healed", "heal-shown"]


def test_a_kill_of_a_node_that_another_kill_holds_down_waits_for_a_process_to_kill(watched: Watched) -> None:
    """Else the exit status of the earlier kill would be taken for that of the later one."""
    first, second = fault("kill", "kill", "n2"), fault("kill", "kill", "n2")
    watched.inject(first)
    watched.phase(first, "bitten")
    dead = pid_of(watched, "n2")
    nodes = watched.cluster.nodes.values()
    for each in nodes:
        each.go_down()  # nobody else is up: so the dead one is chosen
    watched.inject(second)
    for each in nodes:
        each.down = each.node == "n2"
        each.is_ready(each.pid)
    time.sleep(0.3)
    watched.seen += watched.cluster.poll(0)
    assert watched.phases(second) == ["requested"]
    watched.heal(first)
    assert watched.phase(second, "bitten").evidence["pids"]["n2"] not in {0, dead}
    watched.heal(second)
    watched.phase(second, "heal-shown")


def test_a_kill_of_a_node_that_stays_down_has_not_bitten(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_faults, "HOLD_SECONDS", 0.2)
    since = len(watched.seen)
    process = watched.cluster.nodes["n3"]
    killed = fault("kill", "kill", "n3")
    process.kill()
    process.await_exit()
    life = fault_life.FaultLife(killed, watched.cluster._tell, leader="n1")
    life.end()
    site = local_faults.LocalSite(watched.cluster.nodes, watched.cluster.links)  # type: ignore[arg-type]
    life.live(lambda: local_faults.kill(life, site, [process], print), (ClusterError,), str, pytest.fail)
    watched.seen += watched.cluster.poll(0)
    assert watched.phases(killed) == ["not-bitten", "failed"]
    assert process.down, "who did not kill it does not start it"
    process.start()
    watched.event("ready", since, "n3")


def test_a_cut_whose_fault_fails_is_healed(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    links = watched.cluster.links
    assert links is not None

    def refused(*_: object) -> None:
        raise ClusterError("no probe today")

    alone = fault("partition", "isolate-one")
    with monkeypatch.context() as patch:
        patch.setattr(links, "probe", refused)
        watched.inject(alone)
        assert watched.phase(alone, "failed").evidence == {"reason": "no probe today"}
    assert links.cut_now() == set()
    watched.heal(alone)
    assert watched.phases(alone) == ["requested", "installed", "failed"]


def test_a_heal_that_fails_is_told_as_such(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    links = watched.cluster.links
    assert links is not None

    def refused(*_: object) -> None:
        raise ClusterError("no heal today")

    alone = fault("partition", "isolate-one")
    with monkeypatch.context() as patch:
        patch.setattr(links, "heal", refused)
        watched.inject(alone)
        edges = watched.phase(alone, "bitten").resolved["edges"]
        watched.heal(alone)
        assert watched.phase(alone, "heal-failed").evidence == {"reason": "no heal today"}
    links.heal(edges)


def test_a_delay_and_a_pause_whose_fault_fails_are_healed(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise ClusterError("nothing is told today")

    slow, stopped = fault("delay", "slow-all", "all", delay_ms=60, jitter_ms=0), fault("pause", "pause", "n1")
    for each in (slow, stopped):
        with monkeypatch.context() as patch:
            patch.setattr(fault_life.FaultLife, "until_ended", refused)
            watched.inject(each)
            watched.phase(each, "failed")
        watched.heal(each)
    assert watched.cluster.can("delay") is None
    assert max(watched.cluster.links.times([("n1", "n2"), ("n2", "n1")], 1.0).values()) < 60  # type: ignore[union-attr]
    assert not watched.cluster.nodes["n1"].stopped()


def test_a_heal_is_shown_by_all_edges_and_waits_for_those_whose_ends_are_down(watched: Watched) -> None:
    alone, killed = fault("partition", "isolate-one"), fault("kill", "kill", "n3")
    watched.inject(alone)
    watched.phase(alone, "bitten")
    watched.inject(killed)
    watched.phase(killed, "bitten")
    watched.heal(alone)
    watched.phase(alone, "healed")
    time.sleep(0.5)
    watched.seen += watched.cluster.poll(0)
    assert "heal-shown" not in watched.phases(alone), "half of the edges were never seen to pass"
    watched.heal(killed)
    assert watched.phase(alone, "heal-shown").evidence == {"probes_answered": 4}
    watched.phase(killed, "heal-shown")


def test_edges_whose_ends_stay_down_are_left_out_of_a_heal_and_named(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fault_life, "HEAL_SECONDS", 0.5)
    alone, killed = fault("partition", "isolate-one"), fault("kill", "kill", "n3")
    watched.inject(alone)
    watched.phase(alone, "bitten")
    watched.inject(killed)
    watched.phase(killed, "bitten")
    watched.heal(alone)
    evidence = watched.phase(alone, "heal-shown").evidence
    assert evidence == {"probes_answered": 2, "left_out_with_an_end_down": [("n1", "n3"), ("n3", "n1")]}
    monkeypatch.undo()
    watched.heal(killed)
    watched.phase(killed, "heal-shown")


def test_a_heal_of_which_no_edge_can_be_seen_is_not_shown(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fault_life, "HEAL_SECONDS", 0.5)
    alone, killed = fault("partition", "isolate-one"), fault("kill", "kill", "n1")
    watched.inject(alone)
    watched.phase(alone, "bitten")
    watched.inject(killed)
    watched.phase(killed, "bitten")
    watched.heal(alone)
    assert watched.phase(alone, "heal-not-shown").evidence["probes_answered"] == 0
    monkeypatch.undo()
    watched.heal(killed)
    watched.phase(killed, "heal-shown")


def test_a_line_that_a_kill_has_torn_does_not_hide_the_next_one(watched: Watched) -> None:
    since = len(watched.seen)
    process = watched.cluster.nodes["n2"]
    process.kill()
    process.await_exit()
    with (process.spec.folder / "events.jsonl").open("ab") as file:
        file.write(b'{"v":1,"t":12345,"no')
    process.start()
    assert watched.event("ready", since, "n2").fields["pid"] == process.pid


# --- the end of a cluster --------------------------------------------------------------------------------------------


def test_closing_leaves_nothing_even_in_the_middle_of_faults(cache: Path, tmp_path: Path) -> None:
    cluster = open_in(tmp_path)
    watched = Watched(cluster)
    faults = [fault("kill", "kill", "n1"), fault("pause", "pause", "n2"), fault("partition", "halves")]
    for each in faults:
        cluster.inject(each)
    watched.phase(faults[0], "bitten")
    watched.phase(faults[1], "installed")
    assert len(processes_of(tmp_path)) == 2
    assert (cache / "splitbrain" / "runs" / f"{cluster.run}.json").exists()
    began = cluster.now()
    cluster.close()
    cluster.close()
    assert cluster.now() - began < 6_000_000_000
    assert processes_of(tmp_path) == []
    assert not (cache / "splitbrain" / "runs" / f"{cluster.run}.json").exists()


def test_the_death_of_the_links_is_reported_and_the_close_leaves_nothing(cache: Path, tmp_path: Path) -> None:
    """A proxy of ours that dies must not accuse the store."""
    cluster = open_in(tmp_path)
    assert cluster.links is not None
    assert cluster.clients is not None
    clients = [child.pid for child in cluster.clients._children]
    os.kill(cluster.links.pid, signal.SIGKILL)
    with pytest.raises(ClusterError, match=r"the process of the links is gone \(exit -9\)"):
        Watched(cluster).until(lambda _: False)
    cluster.close()
    assert processes_of(tmp_path) == []
    assert not any(Path(f"/proc/{pid}").exists() for pid in clients)
    assert not (cache / "splitbrain" / "runs" / f"{cluster.run}.json").exists()


def test_a_part_that_cannot_be_ended_keeps_no_other_from_its_end(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = open_in(tmp_path)
    assert cluster.links is not None
    assert cluster.clients is not None
    pids = [child.pid for child in cluster.clients._children] + [cluster.links.pid]

    def refused() -> None:
        raise OSError("not today")

    def mistaken() -> None:
        raise AssertionError("never")

    monkeypatch.setattr(cluster.nodes["n1"], "terminate", refused)
    monkeypatch.setattr(cluster.faults, "abandon", mistaken)
    with pytest.raises(ClusterError, match=r"^stopping n1: not today; abandoning the faults: never$"):
        cluster.close()
    assert processes_of(tmp_path) == []
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert not (cache / "splitbrain" / "runs" / f"{cluster.run}.json").exists()


def test_a_harness_that_is_killed_leaves_no_process(cache: Path, tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from local_runs import open_in\n"
        "opened = open_in(Path(sys.argv[1]))\n"
        "print(*(node.pid for node in opened.nodes.values()), opened.links.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    paths = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    harness = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": paths}
    )
    assert harness.stdout is not None
    with harness.stdout:
        pids = [int(word) for word in harness.stdout.readline().split()]
    assert len(pids) == 4
    harness.kill()
    harness.wait()
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "the end of nodes and links")
    assert len(list((cache / "splitbrain" / "runs").glob("*.json"))) >= 1
    sweep_stale()
    assert processes_of(tmp_path) == []


def test_a_node_that_dies_at_its_start_is_an_error_with_its_last_words(cache: Path, tmp_path: Path) -> None:
    build = resolve_build("current", "local")
    words = "import sys; sys.exit('no disk, no node')"
    broken = msgspec.structs.replace(build, argv=(sys.executable, "-c", words))
    with pytest.raises(ClusterError, match=r"n[123] exited with 1: no disk, no node"):
        open_in(tmp_path, broken)
    assert processes_of(tmp_path) == []
    assert list((cache / "splitbrain" / "runs").glob("*.new")) == []


def test_a_port_in_use_is_an_error_that_says_so(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Taken(PortReservation):
        def __init__(self) -> None:
            super().__init__()
            self._socket.listen()

    monkeypatch.setattr(local_module, "PortReservation", Taken)
    with pytest.raises(ClusterError, match=r"n[123] exited with \d+: .*in use"):
        open_in(tmp_path)
    assert processes_of(tmp_path) == []


def test_an_interrupt_while_the_cluster_comes_up_leaves_nothing(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(cluster: LocalCluster) -> None:
        assert len(processes_of(tmp_path)) == len(NODES)
        raise KeyboardInterrupt

    before = set((cache / "splitbrain" / "runs").glob("*"))
    monkeypatch.setattr(LocalCluster, "await_ready", interrupted)
    with pytest.raises(KeyboardInterrupt):
        open_in(tmp_path)
    assert processes_of(tmp_path) == []
    assert set((cache / "splitbrain" / "runs").glob("*")) == before


def test_a_start_after_the_close_is_refused(cache: Path, tmp_path: Path) -> None:
    """A fault whose heal comes late must not bring a node back."""
    cluster = open_in(tmp_path)
    node: NodeProcess = cluster.nodes["n1"]
    cluster.close()
    with pytest.raises(ClusterError, match="the cluster is being closed"):
        node.start()
    assert status_at(HOST, node.spec.client_port) is None
