"""Sentences of the paper and the thesis that neither a scenario nor the random schedules prove, one a test."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

from memory_cluster import MILLISECOND, MemoryCluster

from raftnode.build import CURRENT
from raftnode.core import step
from raftnode.messages import (
    Append,
    AppendEntries,
    AppendReply,
    Arrived,
    Entry,
    Limits,
    Overwritten,
    Persist,
    Put,
    Read,
    Request,
    Send,
    Ticked,
)
from raftnode.replica import CANDIDATE, LEADER, PRE_CANDIDATE
from raftnode.server import Settings, draw_timeout

SETTINGS = Settings("n1", "", ("", 0), ("", 0), ("n1",), {}, {}, "c", seed=7)


def led_by(name: str, count: int = 3, limits: Limits | None = None) -> MemoryCluster:
    cluster = MemoryCluster([f"n{number}" for number in range(1, count + 1)], limits or Limits())
    cluster.elect(name)
    return cluster


def test_election_timeouts_are_spread_over_their_interval() -> None:
    """Section 5.2: "election timeouts are chosen randomly from a fixed interval [...]. This spreads out the servers"."""
    low, high = CURRENT.limits.election_min, CURRENT.limits.election_max
    drawn = [
        draw_timeout(replace(SETTINGS, id=node), CURRENT, starts, term, attempt)
        for node, starts, term, attempt in itertools.product(("n1", "n2", "n3"), (1, 2), range(20), range(10))
    ]
    assert all(low <= timeout <= high for timeout in drawn)
    assert len(set(drawn)) == len(drawn)
    for tenth in range(10):
        begin = low + (high - low) * tenth // 10
        share = sum(begin <= timeout < begin + (high - low) / 10 for timeout in drawn) / len(drawn)
        assert 0.05 < share < 0.15, f"the tenth from {begin} on is drawn as often as others, give or take"
    assert draw_timeout(SETTINGS, CURRENT, 1, 1, 1) == draw_timeout(SETTINGS, CURRENT, 1, 1, 1)


def test_all_that_one_turn_brings_is_one_record_and_one_message_to_each_follower() -> None:
    """Thesis 10.2.1, batching: many requests cost one write of the disk and one message to each follower."""
    cluster = led_by("n1")
    requests = tuple(Request(token, Append("list", token)) for token in range(1, 65))
    effects = step(cluster.nodes["n1"].core, Arrived(requests=requests), cluster.now)
    (record,) = (effect for effect in effects if isinstance(effect, Persist))
    assert len(record.entries) == 64
    sent = [effect for effect in effects if isinstance(effect, Send)]
    assert sorted(effect.to for effect in sent) == ["n2", "n3"]
    for effect in sent:
        assert isinstance(effect.message, AppendEntries)
        assert effect.message.entries == record.entries
        assert effect.after < record.number, "the followers' disks work while the leader's own still does"


def test_reads_of_one_turn_share_one_round() -> None:
    """Thesis 6.4: one round of heartbeats serves all reads that were there when it was sent."""
    cluster = led_by("n1")
    before = cluster.nodes["n1"].core.round
    reads = tuple(Request(token, Read("x")) for token in range(1, 65))
    effects = step(cluster.nodes["n1"].core, Arrived(requests=reads), cluster.now)
    sent = [effect.message for effect in effects if isinstance(effect, Send)]
    assert [isinstance(each, AppendEntries) and each.round for each in sent] == [before + 1, before + 1]


def test_messages_of_one_turn_get_one_acknowledgement() -> None:
    """The last one says what the others say: by log matching all before it is the leader's, too (section 5.3)."""
    cluster = led_by("n1", limits=Limits(entries_per_message=1))
    for number in range(5):
        cluster.ask("n1", Append("list", number))
    messages = tuple(packet.message for packet in cluster.network if packet.to == "n2")
    assert len(messages) == 5
    effects = step(cluster.nodes["n2"].core, Arrived(messages), cluster.now)
    (answer,) = (effect.message for effect in effects if isinstance(effect, Send))
    assert isinstance(answer, AppendReply)
    assert answer.match == cluster.nodes["n1"].core.log.last_index
    assert sum(isinstance(effect, Persist) for effect in effects) == 1


def test_what_was_cut_since_it_was_written_does_not_count_when_the_disk_reports_it() -> None:
    """A write of entries that are gone by now says nothing about those that stand in their place."""
    cluster = led_by("n1")
    cluster.isolate("n1")
    cluster.lagging.add("n1")
    waiting = [cluster.ask("n1", Put("x", 1)), cluster.ask("n1", Put("x", 2))]
    others = tuple(Entry(2, Put("x", number)) for number in (3, 4))
    cluster.heal()
    cluster.step("n1", Arrived((AppendEntries(2, "n2", 1, 1, others, 1, 1),)))
    node = cluster.nodes["n1"]
    assert [(record.first, len(record.entries)) for record in node.writing] == [(2, 1), (3, 1), (2, 2)]
    cluster.sync("n1", 2)
    assert node.core.durable == 1, "of the log as it is now only what was there before is durable"
    assert cluster.network == [], "nothing is acknowledged yet"
    cluster.sync("n1")
    assert node.core.durable == 3
    (answer,) = cluster.network
    assert isinstance(answer.message, AppendReply)
    assert (answer.to, answer.message.match) == ("n2", 3)
    assert not cluster.replies.keys() & set(waiting), "what became of the requests is known when index 2 is committed"
    cluster.step("n1", Arrived((AppendEntries(2, "n2", 3, 2, (), 3, 2),)))
    assert [cluster.replies[token] for token in waiting] == [Overwritten(), Overwritten()]


def test_a_tick_that_comes_late_begins_one_election() -> None:
    """A node that was stopped for a minute has missed many timeouts, and still stands once (section 5.2)."""
    cluster = led_by("n1")
    cluster.isolate("n3")
    cluster.now += 60_000 * MILLISECOND
    core = cluster.nodes["n3"].core
    attempt = core.attempt
    cluster.step("n3", Ticked())
    assert core.role == PRE_CANDIDATE
    assert core.attempt == attempt + 1
    cluster.step("n3", Ticked())
    assert core.attempt == attempt + 1
    assert core.deadline > cluster.now


def test_an_acknowledgement_given_in_an_earlier_term_does_not_count_in_a_later_one() -> None:
    """Section 5.1: a stale term says nothing. n1 leads terms 1 and 3; what n2 acknowledged in term 1 was cut in term 2."""
    cluster = led_by("n1", 5)
    cluster.isolate("n1", "n2")
    for number in range(3):
        cluster.ask("n1", Put("x", number))
    cluster.deliver_all(only_to=["n2"])
    late = cluster.network[-1]
    cluster.network.clear()
    assert isinstance(late.message, AppendReply)
    assert (late.source, late.message.term, late.message.match) == ("n2", 1, 4)
    cluster.elect("n3")
    cluster.heal()
    for _ in range(3):
        cluster.beat("n3")
    cluster.isolate("n2")
    cluster.elect("n1")
    assert (cluster.nodes["n1"].core.term, cluster.nodes["n1"].core.log.last_index) == (3, 3)
    assert len(cluster.nodes["n2"].entries) == 2
    n2 = cluster.nodes["n1"].core.progress["n2"]
    before = n2.match, n2.contact
    cluster.now += MILLISECOND
    cluster.step("n1", Arrived((late.message,)))
    assert (n2.match, n2.contact) == before == (0, before[1])


def test_a_candidates_own_vote_counts_when_it_is_durable() -> None:
    """Figure 2: votedFor is persistent state. With the only other vote in hand, two of three, it leads one sync later."""
    cluster = MemoryCluster(["n1", "n2", "n3"], Limits(pre_vote=False))
    for name in cluster.ids:
        cluster.step(name, Ticked())
    cluster.lagging.add("n1")
    cluster.tick("n1")
    assert cluster.network == []
    cluster.sync("n1")
    assert [packet.to for packet in cluster.network] == ["n2", "n3"]
    cluster.deliver(cluster.network.pop(0))
    core = cluster.nodes["n1"].core
    assert core.role == CANDIDATE
    cluster.deliver_all(only_to=["n1"])
    assert core.role == LEADER
    assert core.log.last_index == 1
    assert core.durable == 0
    cluster.sync("n1")
    assert core.durable == 1


def test_the_log_is_what_a_restart_applies_again() -> None:
    """Figure 2: commitIndex and lastApplied are volatile; the state machine is what the log makes, sessions and all."""
    cluster = led_by("n1")
    for number in range(50):
        cluster.ask("n1", Append("list", number))
        cluster.deliver_all()
    for name in cluster.ids:
        cluster.restart(name)
        assert cluster.nodes[name].core.commit == 0
        assert cluster.nodes[name].core.state.data == {}
    cluster.elect("n2")
    assert all(node.core.state.data == {"list": list(range(50))} for node in cluster.nodes.values())


def test_scenarios_have_headings_that_say_what_they_prove() -> None:
    for path in (Path(__file__).parent / "scenarios").glob("*.txt"):
        assert path.read_text(encoding="utf-8").startswith("# "), path.name
