"""The life of a fault: when it is said to have bitten and to have healed, and when not."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from harness.clusters import fault_life
from harness.clusters.cluster import Fault
from harness.clusters.fault_life import Abandoned, FaultLife

FAULT = Fault(id="f", family="kill", kind="kill", targets=(), parameters={}, at=0, until=0)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(fault_life, "AGAIN_SECONDS", 0.001)
    monkeypatch.setattr(fault_life, "HEAL_SECONDS", 0.02)
    return []


def life_of(told: list[str]) -> FaultLife:
    return FaultLife(FAULT, lambda fault, phase, resolved, evidence: told.append(f"{phase} {evidence}"), leader="n1")


def after(times: int, evidence: dict[str, Any]) -> Any:
    """Looks that find nothing so many times, and then evidence."""
    looks = iter([*[None] * times, evidence])
    return lambda: next(looks, evidence)


def test_a_fault_bites_when_there_is_evidence_and_then_waits_for_its_end(told: list[str]) -> None:
    life = life_of(told)
    thread = threading.Thread(target=life.until_ended, args=(after(3, {"packets": 7}),))
    thread.start()
    while not told:
        assert thread.is_alive()
    assert thread.is_alive()
    life.end()
    thread.join(10)
    assert told == ["bitten {'packets': 7}"]


def test_a_fault_that_ends_before_there_is_evidence_did_not_bite(told: list[str]) -> None:
    """Quote: a pass is earned: 'each fault requested must have been shown to bite'."""
    life = life_of(told)
    life.end()
    life.until_ended(lambda: None)
    assert told == ["not-bitten {}"]


def test_a_fault_that_others_kept_from_biting_holds_on_for_a_while(told: list[str]) -> None:
    life = life_of(told)
    life.end()
    life.until_ended(after(5, {"late": True}), hold_seconds=10)
    assert told == ["bitten {'late': True}"]


def test_a_heal_is_shown_or_said_to_be_missing(told: list[str]) -> None:
    life = life_of(told)
    life.until_healed(after(2, {"answering": ["n1"]}), dict)
    life.until_healed(lambda: None, lambda: {"still_blocked": ["n2"]})
    assert told == [
        "heal-shown {'answering': ['n1']}",
        "heal-not-shown {'waited_seconds': 0.02, 'still_blocked': ['n2']}",
    ]


def test_an_abandoned_fault_stops_where_it_is(told: list[str]) -> None:
    life = life_of(told)
    life.end(abandon=True)
    with pytest.raises(Abandoned):
        life.until_ended(lambda: None)
    with pytest.raises(Abandoned):
        life.until_healed(lambda: None, dict)
    assert told == []
