"""Faults on containers, where the kernel, the engine or the network does not do as it should; both are played here."""

from __future__ import annotations

import threading
from collections.abc import Collection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.clusters import fault_life, outages
from harness.clusters.agent import TROUBLE, Agent
from harness.clusters.bridge import FilterError, Pair
from harness.clusters.cluster import Fault
from harness.clusters.containers import Container, ContainerSpec
from harness.clusters.cuts import Cuts, partition
from harness.clusters.engine import Network
from harness.clusters.fault_life import FaultLife
from harness.clusters.namespaces import AgentError
from harness.clusters.outages import kill, pause
from harness.clusters.site import Site

NODES = ("n1", "n2")
EDGES = [("n1", "n2"), ("n2", "n1")]
KILLED = 137


class PlayedNetwork:
    """Control of a network that exists nowhere."""

    mechanism = "played"

    def __init__(self) -> None:
        self.cut_now: set[Pair] = set()
        self.away: set[str] = set()  # addresses at which nobody is
        self.stays_cut = False
        self.refused: Exception | None = None  # of probes

    def cut(self, pairs: Collection[Pair]) -> None:
        self.cut_now |= set(pairs)

    def heal(self, pairs: Collection[Pair]) -> None:
        if not self.stays_cut:
            self.cut_now -= set(pairs)

    def dropped(self) -> dict[Pair, int]:
        return dict.fromkeys(self.cut_now, 1)

    def place(self, address: str, pid: int) -> None:
        """Nothing to do."""

    def remove(self, address: str) -> None:
        """Nothing to do."""

    def passing(self, pairs: Collection[Pair]) -> dict[Pair, bool]:
        if self.refused:
            raise self.refused
        return {pair: pair not in self.cut_now for pair in pairs if not self.away & set(pair)}

    def connects(self, source: str, target: str, port: int) -> bool | None:
        return (source, target) not in self.cut_now

    def close(self) -> None:
        """Nothing to do."""


class PlayedContainer:
    """A node's container that the engine would obey."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.address = f"address of {node}"
        self.pid = 1
        self.turn = threading.Lock()
        self.running = True
        self.paused = False
        self.refused: Exception | None = None  # of waiting for its exit, and of being looked at

    def runs(self) -> bool:
        return self.running

    def kill(self) -> str:
        self.running = False
        return "played"

    def start(self) -> None:
        self.running = True
        self.pid += 1

    def await_exit(self) -> int:
        if self.refused:
            raise self.refused
        return KILLED  # also if it has been dead for long: the engine knows one status only

    def pause(self) -> str:
        self.paused = True
        return "played"

    def resume(self) -> str:
        self.paused = False
        return "played"

    def stopped(self) -> bool:
        if self.refused:
            raise self.refused
        return self.paused


class Stage:
    """A cluster that is played, one fault on it, and what was told of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in (fault_life, outages):
            monkeypatch.setattr(module, "AGAIN_SECONDS", 0.001)
        monkeypatch.setattr(outages, "HOLD_SECONDS", 0.02)
        monkeypatch.setattr("harness.clusters.cuts.HOLD_SECONDS", 0.02)
        monkeypatch.setattr(fault_life, "HEAL_SECONDS", 0.05)
        monkeypatch.setattr(Site, "status_of", lambda _, node: {} if self.played[node].running else None)
        self.network = PlayedNetwork()
        self.played = {node: PlayedContainer(node) for node in NODES}
        homes = {node: f"clients of {node}" for node in NODES}
        self.containers: Any = self.played
        self.site = Site(self.containers, homes, "observer", self.network, "")
        self.cuts = Cuts(self.site, self.network)
        self.told: list[tuple[str, dict[str, Any]]] = []
        fault = Fault(id="f", family="kill", kind="kill", targets=(), parameters={}, at=0, until=0)
        self.life = FaultLife(fault, lambda _id, phase, _resolved, told: self.told.append((phase, told)), leader="n1")
        self.died: list[Any] = []

    @property
    def phases(self) -> list[str]:
        return [phase for phase, _ in self.told]

    def live(self, act: Any) -> None:
        """The whole life of a fault, which is asked to end at once."""
        self.life.end()
        self.life.live(act, TROUBLE, str, pytest.fail)

    def cut(self) -> None:
        self.live(lambda: partition(self.life, self.cuts, EDGES))

    def kill(self, *nodes: str) -> None:
        targets = [self.containers[node] for node in nodes]
        self.live(lambda: kill(self.life, self.site, targets, self.died.append))


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


def test_a_partition_on_the_stage_bites_and_heals(stage: Stage) -> None:
    stage.cut()
    assert stage.phases == ["installed", "bitten", "healed", "heal-shown"]
    assert stage.told[-1][1] == {"probes_passed": 6}


def test_a_cut_whose_fault_fails_is_healed(stage: Stage) -> None:
    stage.network.refused = AgentError("no probe today")
    stage.cut()
    assert stage.told[-1] == ("failed", {"reason": "no probe today"})
    assert stage.phases == ["installed", "failed"]
    assert stage.network.cut_now == set()


def test_a_heal_that_fails_is_told_with_what_it_was_healed_for(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_pairs: Collection[Pair]) -> None:
        raise FilterError("no heal today")

    monkeypatch.setattr(stage.network, "heal", refused)
    stage.network.refused = AgentError("no probe today")
    stage.cut()
    assert stage.told[-1] == (
        "heal-failed",
        {"reason": "no heal today; it was to be healed because of: no probe today"},
    )


def test_a_probe_that_fails_after_the_heal_leaves_it_not_shown(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def healed(pairs: Collection[Pair]) -> None:
        stage.network.refused = AgentError("no probe today")
        stage.network.cut_now -= set(pairs)

    monkeypatch.setattr(stage.network, "heal", healed)
    stage.cut()
    assert stage.phases == ["installed", "bitten", "healed", "heal-not-shown"]


def test_a_heal_of_which_no_pair_is_free_is_not_shown(stage: Stage) -> None:
    """Another fault cuts them all: that nothing was probed shows nothing."""
    stage.cuts.add(stage.site.pairs_of(EDGES))
    stage.cut()
    assert stage.phases == ["installed", "bitten", "healed", "heal-not-shown"]
    assert stage.told[-1][1]["probes_passed"] == 0


def test_pairs_whose_ends_stay_down_are_left_out_of_a_heal_and_named(stage: Stage) -> None:
    stage.network.away.add("clients of n1")
    stage.cut()
    assert stage.told[-1] == (
        "heal-shown",
        {
            "probes_passed": 4,
            "left_out_with_an_end_down": [("address of n2", "clients of n1"), ("clients of n1", "address of n2")],
        },
    )


def test_a_pair_that_stays_blocked_keeps_the_heal_from_being_shown(stage: Stage) -> None:
    stage.network.stays_cut = True
    stage.cut()
    assert stage.phases[-1] == "heal-not-shown"


def test_partitions_are_refused_where_packets_do_not_pass_again(stage: Stage) -> None:
    assert stage.cuts.try_out() == ""
    stage.network.stays_cut = True
    assert "do not pass again after the end of: played" in stage.cuts.try_out()


def test_partitions_are_refused_where_probes_are(stage: Stage) -> None:
    agent = Agent(stage.site, lambda *_: None, stage.died.append, pytest.fail)
    assert agent.refusal("partition") == ""
    stage.network.refused = AgentError("no probe today")
    assert agent.refusal("partition") == "no probe today"
    assert stage.network.cut_now == set()


def test_a_kill_bites_only_who_runs(stage: Stage) -> None:
    """The engine tells the exit status of a container also if it ended long ago."""
    stage.kill("n1")
    assert stage.phases == ["installed", "bitten", "healed", "heal-shown"]
    stage.told.clear()
    stage.played["n2"].running = False
    stage.kill("n2")
    assert stage.told == [
        ("not-bitten", {"were_down": ["n2"]}),
        ("failed", {"reason": "none of its nodes ran until its end"}),
    ]
    assert not stage.played["n2"].running, "who did not kill it does not start it"


def test_a_kill_of_which_one_node_was_down_has_not_bitten_and_starts_the_other_again(stage: Stage) -> None:
    stage.played["n2"].running = False
    stage.kill("n1", "n2")
    assert stage.phases == ["installed", "not-bitten", "healed", "heal-shown"]
    assert stage.told[1][1] == {"exit_status": {"n1": KILLED}, "were_down": ["n2"]}
    assert stage.played["n1"].running


def test_a_node_whose_kill_fails_is_started_again(stage: Stage) -> None:
    stage.played["n1"].refused = AgentError("no exit today")
    stage.kill("n1")
    assert stage.phases == ["installed", "failed"]
    assert stage.played["n1"].running


def test_a_node_whose_pause_fails_goes_on(stage: Stage) -> None:
    stage.played["n1"].refused = AgentError("no look today")
    stage.live(lambda: pause(stage.life, stage.site, [stage.containers["n1"]]))
    assert stage.phases == ["installed", "failed"]
    assert not stage.played["n1"].paused


@pytest.mark.parametrize("paused", [True, False])
def test_a_process_out_of_sight_is_stopped_if_the_engine_says_so_when_asked(tmp_path: Path, *, paused: bool) -> None:
    network = Network(name="x", id="1", subnet="10.0.0.0/24", interface="br-x")
    spec = ContainerSpec(
        run="r", node="n1", image="i", network=network, address="10.0.0.11", folder=tmp_path, command=()
    )
    api = SimpleNamespace(inspect_container=lambda _: {"State": {"Paused": paused, "Running": True, "Pid": 7}})
    pump: Any = None
    container = Container(SimpleNamespace(api=api), spec, pump)
    assert container.stopped() is paused
    assert not container.runs(), "that is another process than the one started last"
