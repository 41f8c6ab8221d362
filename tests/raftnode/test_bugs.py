"""Each planted bug: its wrong branch is taken, and a client is told something else than by the right node.

The issue, part 9: "for each, a test shows that the wrong branch was taken and changed an answer". A branch that is never
reached, or that its own node hides, proves nothing about a harness.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from scenario import answers_in, run_scenario
from wrong_nodes import counting

from raftnode.bugs import BUGS
from raftnode.build import CURRENT

SCENARIO_OF = {
    "read-without-quorum": "read_needs_a_majority",
    "follower-read-no-wait": "follower_read_waits",
    "quorum-half": "commit_needs_a_majority",
    "term-not-persisted": "vote_survives_restart",
    "ignores-higher-term": "higher_term_deposes",
    "obeys-older-term": "older_term_is_refused",
    "no-prev-check": "lost_and_doubled_entries",
    "applies-on-append": "overwritten_waiter",
    "no-dedup": "retry_through_leader_change",
    "reply-by-index": "overwritten_waiter",
    "timeout-says-no": "timeout_is_unknown",
    "cas-before-log": "cas_in_log_order",
}


@pytest.mark.parametrize("name", BUGS)
def test_the_wrong_branch_is_taken_and_changes_an_answer(name: str) -> None:
    text = (Path(__file__).parent / "scenarios" / f"{SCENARIO_OF[name]}.txt").read_text(encoding="utf-8")
    right = answers_in(run_scenario(text))
    build, taken = counting(BUGS[name].build)
    wrong = answers_in(run_scenario(text, build))
    assert taken, "the wrong function never decided otherwise than the right one"
    changed = [answer for answer in wrong if answer not in right]
    assert changed, "no client was told anything that the right node would not have said"


@pytest.mark.parametrize("name", BUGS)
def test_a_bug_is_one_wrong_function_and_the_limits_that_give_it_its_window(name: str) -> None:
    build = BUGS[name].build
    changed = [
        f"{record}.{field.name}"
        for record in ("rules", "machine", "storage", "answers")
        for field in fields(getattr(CURRENT, record))
        if getattr(getattr(build, record), field.name) is not getattr(getattr(CURRENT, record), field.name)
    ]
    assert len(changed) == 1
    assert build.name == f"bug:{name}"


def test_the_right_node_has_no_wrong_branch() -> None:
    build, taken = counting(CURRENT)
    assert build == CURRENT
    assert taken == []
