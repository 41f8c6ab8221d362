"""Clusters of containers: faults with evidence, and nothing left behind, whoever dies first."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from harness.builds import ROOT, Build, resolve_build
from harness.clusters import docker as docker_cluster
from harness.clusters import engine as engine_module
from harness.clusters import outages
from harness.clusters.bridge import FilterError
from harness.clusters.cluster import (
    NANOSECONDS,
    Cluster,
    ClusterError,
    Completion,
    Fault,
    FaultProgress,
    NodeEvent,
    Request,
)
from harness.clusters.docker import DockerCluster, open_docker
from harness.clusters.engine import LABEL_RUN, in_parallel, labels_of, make_network, owner_of, remove_network
from harness.clusters.image import ensure_image
from harness.clusters.sweeping import sweep_all, sweep_engine
from harness.nemesis import FAMILIES

pytestmark = [pytest.mark.docker, pytest.mark.slow]

NODES = ("n1", "n2", "n3")
PATIENCE = 20 * NANOSECONDS


def current() -> Build:
    """This tree's node."""
    return Build(text="current", argv=(), env={}, source=ROOT, node_options=(), image="", facts={})


def open_in(folder: Path, build: Build | None = None) -> DockerCluster:
    return open_docker(node_ids=NODES, build=build or current(), folder=folder, seed=1, workers=6, say=print)


@pytest.fixture(scope="module")
def cluster(engine: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerCluster]:
    """Three nodes with clients."""
    opened = open_in(tmp_path_factory.mktemp("run"))
    try:
        yield opened
    finally:
        opened.close()


def statuses(cluster: DockerCluster) -> dict[str, dict[str, Any] | None]:
    """What every node says of itself now; None where one does not answer."""
    assert cluster.agent is not None
    return dict(zip(cluster.node_ids, map(cluster.agent.site.status_of, cluster.node_ids), strict=True))


def until(cluster: Cluster, wanted: Any) -> list[Any]:
    """Every report up to the first that is wanted."""
    end = cluster.now() + PATIENCE
    seen: list[Any] = []
    while cluster.now() < end:
        seen += cluster.poll(end)
        if any(wanted(report) for report in seen):
            return seen
    raise AssertionError(f"not seen in time; seen were {seen[-5:]}")


def phase(cluster: Cluster, fault: str, name: str) -> FaultProgress:
    """The step of a fault that has this name; any step after which it can no longer come is a failure."""

    def wanted(report: Any) -> bool:
        if not isinstance(report, FaultProgress) or report.fault != fault:
            return False
        assert report.phase == name or report.phase in {"requested", "installed", "bitten", "healed"}, report
        return report.phase == name

    return next(report for report in until(cluster, wanted) if wanted(report))


def fault(family: str, kind: str, *targets: str, **parameters: Any) -> Fault:
    order = {"order": NODES, **parameters}
    return Fault(
        id=f"{kind}-{time.monotonic_ns()}", family=family, kind=kind, targets=targets, parameters=order, at=0, until=0
    )


def left_behind(engine: Any, run: str) -> list[str]:
    """What still exists of a run."""
    label = {"label": f"{LABEL_RUN}={run}"}
    found = [each.name for each in engine.containers.list(all=True, filters=label, ignore_removed=True)]
    found += [each.name for each in engine.networks.list(filters=label)]
    if shutil.which("nft"):
        tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=False).stdout
        found += re.findall(rf"\S*{run}\S*", tables)
    return found


def run_of(cluster: DockerCluster) -> str:
    return cluster.containers["n1"].spec.run


def test_every_node_answers_once_the_cluster_is_open(cluster: DockerCluster) -> None:
    assert {node: status["id"] for node, status in statuses(cluster).items() if status} == {
        node: node for node in NODES
    }


def test_the_families_of_faults_were_tried(cluster: DockerCluster) -> None:
    """Quote (faults.md): 'try it, don't read configuration'."""
    refused = {family: refusal.reason for family in FAMILIES if (refusal := cluster.can(family))}
    assert list(refused) == ["delay"]
    assert "nothing here delays packets between containers yet" in refused["delay"]
    refusal = cluster.can("clocks")
    assert refusal is not None
    assert refusal.reason == "containers have no such faults"


def test_a_partition_bites_and_heals_with_evidence(cluster: DockerCluster) -> None:
    """Quote: 'Each fault goes through requested -> installed -> shown to bite -> healed -> shown healed, with evidence'."""
    alone = fault("partition", "isolate-one")
    cluster.inject(alone)
    installed = phase(cluster, alone.id, "installed")
    assert "drop in table bridge splitbrain-" in installed.evidence["mechanism"]
    assert installed.resolved["edges"] == [("n1", "n2"), ("n1", "n3"), ("n2", "n1"), ("n3", "n1")]
    bitten = phase(cluster, alone.id, "bitten")
    assert bitten.evidence["connect"] == "n1 could not connect to n2's peer port"
    assert set(bitten.evidence["packets_dropped"]) == {"n1>n2", "n1>n3", "n2>n1", "n3>n1"}
    assert all(bitten.evidence["packets_dropped"].values())
    # The harness itself is never cut off: it has an address of its own.
    assert all(statuses(cluster).values())
    cluster.heal(alone.id)
    assert phase(cluster, alone.id, "heal-shown").evidence["probes_passed"] == bitten.evidence["probes_blocked"]


def test_clients_are_answered_and_are_cut_off_with_their_home_node(cluster: DockerCluster) -> None:
    """Quote (faults.md): 'Clients on the host reach a node through the bridge's input and output'."""
    assert asked(cluster, 0, "n2").attempts[0].status != 0
    alone = fault("partition", "isolate-one")
    cluster.inject(alone)
    phase(cluster, alone.id, "bitten")
    across, beside, home = asked(cluster, 0, "n2"), asked(cluster, 1, "n2"), asked(cluster, 0, "n1")
    cluster.heal(alone.id)
    phase(cluster, alone.id, "heal-shown")
    assert across.attempts[0].status == 0  # worker 0 stands beside n1
    assert beside.attempts[0].status != 0  # worker 1 beside n2
    assert home.attempts[0].status != 0  # its home is always in reach


def asked(cluster: DockerCluster, worker: int, node: str) -> Completion:
    """What became of a read by a worker that asks this node first."""
    request = Request(
        worker=worker,
        op=f"op-{time.monotonic_ns()}",
        f="read",
        key="nobody-wrote-it",
        value=None,
        prefer=node,
        deadline=NANOSECONDS * 3 // 2,
        attempt_timeout=NANOSECONDS * 3 // 2,
    )
    cluster.submit(request)
    seen = until(cluster, lambda report: isinstance(report, Completion) and report.op == request.op)
    return next(each for each in seen if isinstance(each, Completion) and each.op == request.op)


def test_a_one_way_cut_lets_the_other_way_pass(cluster: DockerCluster) -> None:
    deaf = fault("partition", "one-way", "one", direction="deaf")
    cluster.inject(deaf)
    bitten = phase(cluster, deaf.id, "bitten")
    assert bitten.resolved["edges"] == [("n2", "n1"), ("n3", "n1")]
    assert bitten.evidence["probes_passed_the_other_way"] == bitten.evidence["probes_blocked"] > 0
    cluster.heal(deaf.id)
    phase(cluster, deaf.id, "heal-shown")


def test_overlapping_cuts_end_one_by_one(cluster: DockerCluster) -> None:
    halves, alone = fault("partition", "halves"), fault("partition", "isolate-one")
    for each in (halves, alone):
        cluster.inject(each)
        phase(cluster, each.id, "bitten")
    cluster.heal(halves.id)
    phase(cluster, halves.id, "healed")
    assert cluster.control is not None
    first, second = cluster.containers["n1"].address, cluster.containers["n2"].address
    assert cluster.control.passing([(first, second)]) == {(first, second): False}
    cluster.heal(alone.id)
    phase(cluster, alone.id, "heal-shown")
    assert cluster.control.passing([(first, second)]) == {(first, second): True}


def test_a_kill_is_shown_by_its_status_and_by_another_process_at_the_same_address(cluster: DockerCluster) -> None:
    victim = cluster.containers["n2"]
    pid, address = victim.pid, victim.address
    killed = fault("kill", "kill", "n2")
    cluster.inject(killed)
    bitten = phase(cluster, killed.id, "bitten")
    assert bitten.evidence == {"exit_status": {"n2": 137}, "pids": {"n2": pid}}
    assert statuses(cluster)["n2"] is None
    cluster.heal(killed.id)
    shown = phase(cluster, killed.id, "heal-shown")
    assert shown.evidence["pids_before"] == {"n2": pid}
    assert shown.evidence["pids_after"] == {"n2": victim.pid}
    assert victim.pid != pid
    status = statuses(cluster)["n2"]
    assert status is not None
    assert status["term"] >= 1  # it is back on its data: a node without any would be in term 0
    assert victim.address == address


def test_a_cut_outlives_the_restart_of_a_node(cluster: DockerCluster) -> None:
    """Quote (faults.md): 'Rules inside a node's own network namespace vanish when the container restarts'."""
    alone, killed = fault("partition", "isolate-one"), fault("kill", "kill", "n1")
    cluster.inject(alone)
    phase(cluster, alone.id, "bitten")
    cluster.inject(killed)
    phase(cluster, killed.id, "bitten")
    cluster.heal(killed.id)
    phase(cluster, killed.id, "heal-shown")
    assert cluster.control is not None
    pair = (cluster.containers["n1"].address, cluster.containers["n3"].address)
    assert cluster.control.passing([pair]) == {pair: False}
    cluster.heal(alone.id)
    phase(cluster, alone.id, "heal-shown")


def test_a_pause_is_shown_by_the_kernels_state_and_by_silence(cluster: DockerCluster) -> None:
    paused = fault("pause", "pause", "n3")
    cluster.inject(paused)
    bitten = phase(cluster, paused.id, "bitten")
    assert bitten.evidence == {"stopped": ["n3"], "unanswered": ["n3"]}
    cluster.heal(paused.id)
    assert phase(cluster, paused.id, "heal-shown").evidence == {"answering": ["n3"]}


def test_a_family_that_containers_lack_is_refused_in_words(cluster: DockerCluster) -> None:
    jump = fault("clock", "jump")
    cluster.inject(jump)
    steps = [each for each in cluster.poll(cluster.now() + NANOSECONDS) if isinstance(each, FaultProgress)]
    assert [step.phase for step in steps] == ["requested", "refused"]


def test_a_living_run_is_not_swept(cluster: DockerCluster, engine: Any) -> None:
    assert not [gone for gone in sweep_engine(engine) if run_of(cluster) in gone]
    assert len(left_behind(engine, run_of(cluster))) >= len(NODES) + 1


def test_protocol_events_are_kept_as_they_were_written(cluster: DockerCluster) -> None:
    spec = cluster.containers["n2"].spec
    events = [json.loads(line) for line in (spec.folder / "events.jsonl").read_text().splitlines()]
    assert [event["kind"] for event in events].count("ready") >= 2  # it was killed and started again above
    assert {event["node"] for event in events} == {"n2"}


def test_a_cut_whose_fault_fails_is_healed(cluster: DockerCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cluster.control is not None

    def refused(*_: Any) -> None:
        raise FilterError("no counters today")

    alone = fault("partition", "isolate-one")
    with monkeypatch.context() as patch:
        patch.setattr(cluster.control, "dropped", refused)
        cluster.inject(alone)
        assert phase(cluster, alone.id, "failed").evidence == {"reason": "no counters today"}
    pair = (cluster.containers["n1"].address, cluster.containers["n3"].address)
    assert cluster.control.passing([pair]) == {pair: True}


def test_a_kill_of_a_container_that_is_down_has_not_bitten(
    cluster: DockerCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine still knows its exit status, which would tell nothing of this kill."""
    monkeypatch.setattr(outages, "HOLD_SECONDS", 0.2)
    victim = cluster.containers["n2"]
    victim.kill()
    victim.await_exit()
    late = fault("kill", "kill", "n2")
    cluster.inject(late)
    cluster.heal(late.id)
    seen = until(cluster, lambda report: isinstance(report, FaultProgress) and report.phase == "failed")
    assert [each.phase for each in seen if isinstance(each, FaultProgress)] == ["requested", "not-bitten", "failed"]
    victim.start()
    until(cluster, lambda report: isinstance(report, NodeEvent) and report.kind == "ready")


def test_a_node_that_dies_by_itself_is_reported_with_its_status(cluster: DockerCluster) -> None:
    process = cluster.containers["n3"].process
    assert process is not None
    process.send(signal.SIGKILL)  # not by a fault: nobody in the harness knows of it
    seen = until(cluster, lambda report: isinstance(report, NodeEvent) and report.kind == "process-exited")
    event = next(each for each in seen if isinstance(each, NodeEvent) and each.kind == "process-exited")
    assert (event.node, event.fields["code"]) == ("n3", 128 + signal.SIGKILL)


def test_closing_leaves_nothing_and_may_be_done_twice(cluster: DockerCluster, engine: Any) -> None:
    run = run_of(cluster)
    cluster.close()
    cluster.close()
    assert left_behind(engine, run) == []


def test_a_start_that_fails_leaves_nothing_and_tells_the_nodes_last_words(engine: Any, tmp_path: Path) -> None:
    wrong = Build(text="x", argv=(), env={}, source=ROOT, node_options=("--build", "bug:no-such"), image="", facts={})
    before = len(engine.networks.list())
    with pytest.raises(ClusterError, match=r"^n[123] exited with 2: .*no-such"):
        open_in(tmp_path, wrong)
    assert len(engine.networks.list()) == before
    assert not [each for each in engine.containers.list(all=True) if str(tmp_path) in str(each.attrs["Mounts"])]


def test_an_image_that_the_engine_lacks_is_named(engine: Any, tmp_path: Path) -> None:
    lacking = Build(text="image:no/such:1", argv=(), env={}, source=None, node_options=(), image="no/such:1", facts={})
    with pytest.raises(ClusterError, match="the Docker engine has no image no/such:1: pull or build it first"):
        open_in(tmp_path, lacking)


def test_an_image_is_used_as_it_is(engine: Any, tmp_path: Path) -> None:
    """Quote: '`image:<tag>`' is one of the builds of `compare`."""
    tag = ensure_image(ROOT, print, engine)
    build = resolve_build(f"image:{tag}", "docker")
    assert engine.images.get(tag).id.startswith(f"sha256:{build.describe()['digest']}")
    cluster = open_in(tmp_path, build)
    try:
        assert all(statuses(cluster).values())
    finally:
        cluster.close()


def test_what_a_killed_harness_leaves_is_swept_by_the_next_start(engine: Any, tmp_path: Path) -> None:
    """Quote: 'swept: after Ctrl-C, after kill -9 of the harness (at the next start), after a failed start'."""
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_docker import open_in, run_of
cluster = open_in(Path({str(tmp_path)!r}))
print("run", run_of(cluster), flush=True)
input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as harness:
        assert harness.stdout is not None
        run = next(line.split()[1] for line in harness.stdout if line.startswith("run "))
        harness.send_signal(signal.SIGKILL)
        harness.wait()
    assert len([name for name in left_behind(engine, run) if "n" in name]) >= len(NODES) + 1
    gone = sweep_all()  # as a start on local does: the run left its note
    assert {f"container splitbrain-{run}-{node}" for node in NODES} | {f"network splitbrain-{run}"} <= set(gone)
    assert left_behind(engine, run) == []


def test_a_subnet_in_use_is_passed_over(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Quote: 'A port or subnet in use: the next is taken.'"""
    monkeypatch.setattr(engine_module, "SUBNETS", IPv4Network("10.213.254.0/23"))
    made = []
    try:
        made.append(make_network(engine, f"{owner_of(1).replace(':', '')}a"))
        # The engine knows its own networks; without a look at this machine's routes it alone has to say so.
        monkeypatch.setattr(engine_module, "_networks_here", list)
        made.append(make_network(engine, f"{owner_of(1).replace(':', '')}a2"))
        assert {network.subnet for network in made} == {"10.213.254.0/24", "10.213.255.0/24"}
        with pytest.raises(ClusterError, match=r"every /24 of 10.213.254.0/23 is in use"):
            make_network(engine, "third")
    finally:
        for network in made:
            remove_network(engine, network.id)


def test_networks_made_at_once_do_not_collide(engine: Any) -> None:
    runs = [f"{number:08x}" for number in range(4)]
    made = in_parallel(lambda run: make_network(engine, run), runs)
    try:
        assert len({network.subnet for network in made}) == len(runs)
    finally:
        for network in made:
            remove_network(engine, network.id)


def test_another_machines_containers_are_never_swept(engine: Any) -> None:
    image = ensure_image(ROOT, print, engine)
    labels = {**labels_of("elsewhere"), engine_module.LABEL_MACHINE: "another boot", engine_module.LABEL_OWNER: "1:1"}
    container = engine.containers.create(image, labels=labels)
    try:
        assert container.name not in str(sweep_engine(engine))
        container.reload()
    finally:
        container.remove(v=True)


def test_a_harness_that_is_not_root_cuts_by_a_helper_container(
    engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise FilterError("Operation not permitted")

    monkeypatch.setattr(docker_cluster, "HostNetwork", refused)
    cluster = open_in(tmp_path)
    try:
        assert cluster.can("partition") is None
        alone = fault("partition", "isolate-one")
        cluster.inject(alone)
        assert phase(cluster, alone.id, "installed").evidence["mechanism"].endswith("by a helper container")
        phase(cluster, alone.id, "bitten")
        cluster.heal(alone.id)
        phase(cluster, alone.id, "heal-shown")
        engine.containers.get(f"splitbrain-{run_of(cluster)}-helper").kill()
        with pytest.raises(ClusterError, match="the helper container has ended"):  # what is cut then may stay cut
            until(cluster, lambda _: False)
    finally:
        cluster.close()
    assert left_behind(engine, run_of(cluster)) == []


def test_where_the_network_may_not_be_touched_partitions_are_refused_with_both_reasons(
    engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise FilterError("Operation not permitted")

    monkeypatch.setattr(docker_cluster, "HostNetwork", refused)
    monkeypatch.setattr(docker_cluster, "HelpedNetwork", refused)
    cluster = open_in(tmp_path)
    try:
        refusal = cluster.can("partition")
        assert refusal is not None
        words = "by this process: Operation not permitted; by a helper container: Operation not permitted"
        assert refusal.reason == words
        assert cluster.can("kill") is None
    finally:
        cluster.close()


def compose_command() -> list[str]:
    """docker-compose, or the plugin of the same name."""
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    plugin = ["docker", "compose"]
    if shutil.which("docker") and not subprocess.run([*plugin, "version"], capture_output=True, check=False).returncode:
        return plugin
    pytest.skip("there is neither docker-compose nor `docker compose` on this machine")


def test_compose_brings_up_three_answering_nodes(engine: Any) -> None:
    """Quote: '`docker/compose.yaml` brings up three answering nodes'."""
    engine.images.get(ensure_image(ROOT, print, engine)).tag("splitbrain-node", "latest")
    compose = [
        "docker-compose",
        "-p",
        f"splitbrain-test-{time.monotonic_ns()}",
        "-f",
        str(ROOT / "docker/compose.yaml"),
    ]
    try:
        subprocess.run([*compose, "up", "-d", "--no-build"], check=True, capture_output=True)
        leaders = [answer_of(port)["leader"] for port in (8001, 8002, 8003)]
        assert leaders[0] in NODES
        assert len(set(leaders)) == 1
    finally:
        subprocess.run([*compose, "down", "--volumes", "--timeout", "0"], check=True, capture_output=True)


def answer_of(port: int) -> dict[str, Any]:
    """The status of a node that knows its leader, which it may need some time for."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=2) as answer:
                status: dict[str, Any] = json.load(answer)
        except (urllib.error.URLError, OSError):
            status = {}
        if status.get("leader"):
            return status
        time.sleep(0.05)
    raise AssertionError(f"no node with a leader answered at port {port}")
