"""Every scenario gives what its file says. `pytest --rewrite` writes what it gives now: understand the diff, then commit it."""

from __future__ import annotations

from pathlib import Path

import pytest
from scenario import COMMANDS, ScenarioError, run_scenario
from wrong_nodes import wrong_node

FOLDER = Path(__file__).parent / "scenarios"
FILES = sorted(FOLDER.glob("*.txt"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario(path: Path, *, rewrite: bool) -> None:
    text = path.read_text(encoding="utf-8")
    result = run_scenario(text)
    if rewrite:
        path.write_text(result, encoding="utf-8")
    else:
        assert result == text


# A scenario proves its sentence only if a node that breaks it does otherwise.
SHOWN_BY = [
    ("split_vote", "vote-twice"),
    ("split_vote", "quorum-half"),
    ("commit_needs_a_majority", "quorum-half"),
    ("votes_are_counted_once", "quorum-half"),
    ("minority_down", "quorum-half"),
    ("stale_log_gets_no_vote", "vote-for-stale-log"),
    ("stale_log_gets_no_vote", "vote-compares-length-only"),
    ("votes_are_withheld", "votes-while-a-leader-is-heard"),
    ("pre_vote_does_not_disturb", "votes-while-a-leader-is-heard"),
    ("vote_survives_restart", "term-not-persisted"),
    ("candidate_meets_leader", "obeys-older-term"),
    ("older_term_is_refused", "obeys-older-term"),
    ("higher_term_deposes", "ignores-higher-term"),
    ("figure_7", "vote-for-stale-log"),
    ("figure_7_f_term_by_term", "ignores-the-hint"),
    ("figure_7_f_term_by_term", "no-prev-check"),
    ("figure_8", "commits-older-term"),
    ("figure_8_e", "vote-for-stale-log"),
    ("lost_and_doubled_entries", "no-prev-check"),
    ("lost_and_doubled_entries", "truncates-on-reorder"),
    ("commit_only_what_was_checked", "commit-past-match"),
    ("commit_only_what_was_checked", "ack-past-check"),
    ("disk_before_network", "leader-counts-unsynced-self"),
    ("overwritten_waiter", "applies-on-append"),
    ("overwritten_waiter", "reply-by-index"),
    ("read_needs_a_majority", "read-without-quorum"),
    ("read_waits_for_a_new_round", "read-round-reused"),
    ("read_after_election", "read-before-noop"),
    ("follower_read_waits", "follower-read-no-wait"),
    ("cas_in_log_order", "cas-before-log"),
    ("retry_through_leader_change", "no-dedup"),
    ("timeout_is_unknown", "timeout-says-no"),
]


@pytest.mark.parametrize("scenario,wrong", SHOWN_BY)
def test_a_wrong_node_gives_another_text(scenario: str, wrong: str) -> None:
    text = (FOLDER / f"{scenario}.txt").read_text(encoding="utf-8")
    assert run_scenario(text, wrong_node(wrong)) != text


@pytest.mark.parametrize(
    "line,sentence",
    [
        ("> delivre n1", "there is no such command; known are cluster, preset, "),
        (">  ", "there is no such command"),
        ("> tick", "the arguments are: node"),
        ("> tick n1 n2", "the arguments are: node"),
        ("> tick n4", "there is no node 'n4'; there are n1, n2, n3"),
        ("> isolate n1 n9", "there is no node 'n9'"),
        ("> run soon", "'soon' is no whole number"),
        ("> put n1 x {", "'{' is not JSON"),
        ("> put n1 x 1 s2:one", "'one' is no whole number"),
        ("> cluster 3 heartbeet=1", "limits are NAME=VALUE: Object contains unknown field `heartbeet`"),
        ("> cluster 3 window", "limits are NAME=VALUE"),
        ("> preset n1 1,x 1", "'x' is no whole number"),
        ("> deliver n1 n2", "nothing is under way there"),
        ("> sync n1", "n1 has nothing to sync"),
        ("> restart n1", "n1 is up"),
        ("> expire n1 7", "nobody waits for #7"),
    ],
)
def test_a_line_that_means_nothing_is_a_failure_that_names_it(line: str, sentence: str) -> None:
    """A scenario that goes on after a misspelt command would prove something else."""
    with pytest.raises(ScenarioError) as caught:
        run_scenario(f"# A mistake.\n> cluster 3\n{line}\n")
    assert str(caught.value).startswith(f"line 3, {line!r}: {sentence}")


def test_a_node_that_is_down_does_nothing() -> None:
    for command in ("tick n1", "put n1 x 1", "get n1 x", "connection-lost n1 n2", "crash n1"):
        with pytest.raises(ScenarioError, match="n1 is down"):
            run_scenario(f"> cluster 3\n> crash n1\n> {command}\n")


def test_every_command_is_used_by_some_scenario() -> None:
    used = {
        line.split()[1] for path in FILES for line in path.read_text(encoding="utf-8").splitlines() if line[:1] == ">"
    }
    assert used == set(COMMANDS)
