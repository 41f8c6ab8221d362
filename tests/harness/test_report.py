"""The page of a run and the files of a counterexample, without a browser."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from recorded_run import SECOND, write_run
from test_tables import folder_of, operation

from harness import timeline as timeline_module
from harness.counterexample import porcupine, rows, surroundings
from harness.nodelogs import clock_offset, windows
from harness.reading import FaultSpan, leaderships, read_run, shorten
from harness.report import evidence_lines, render, write_counterexample, write_report
from harness.timeline import choose, label, timeline, who

FIVE_MEBIBYTES = 5 * 1024 * 1024


@pytest.fixture(scope="module")
def violation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("report") / "violation", violation=True)


@pytest.fixture(scope="module")
def page(violation: Path) -> str:
    return render(violation)


def data_in(page: str, name: str) -> Any:
    found = re.search(rf'<script type="text/plain" id="{name}">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(gzip.decompress(base64.b64decode(found.group(1))))


def without_scripts(page: str) -> str:
    return re.sub(r"<(script|style)\b.*?</\1>", "", page, flags=re.DOTALL)


def test_the_top_says_what_happened_and_how_to_do_it_again(page: str) -> None:
    """Issue 3: "outcome and one-sentence reason on top ... the command to run it again"."""
    banner = without_scripts(page).split("<main")[0]
    assert "Violation" in banner
    assert "Read by process 18005 of key r77 returned 9001" in banner
    assert 'data-copy="./splitbrain run --build bug:read-without-quorum --seed 7"' in banner
    assert "bug:read-without-quorum" in banner
    assert "5 nodes on local" in banner


def test_the_operations_of_the_counterexample_stand_in_a_table_with_the_states_that_were_possible(
    violation: Path,
) -> None:
    found = rows(read_run(violation))
    assert [(row.operation, row.result, row.node) for row in found] == [
        ("write 9001", "ok", "n5"),
        ("write 9002", "ok", "n5"),
        ("read", "9001", "n3"),
    ]
    assert [row.impossible for row in found] == [False, False, True]
    assert found[-1].states == "9002"


def test_of_two_convictions_the_whole_page_is_about_the_one_that_the_headline_tells(tmp_path: Path) -> None:
    folder = write_run(tmp_path, violation=True)
    told = json.loads((folder / "checks" / "register.json").read_text())
    other = {**told, "key": "a1", "explanation": "Read of a1 was wrong", "first_impossible": None, "core": []}
    (folder / "checks" / "append.json").write_text(json.dumps(other))
    assert [row.operation for row in rows(read_run(folder))] == ["write 9001", "write 9002", "read"]


def test_an_operation_that_was_asked_more_than_once_says_of_whom(violation: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(violation, tmp_path / "copy")
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    for line in lines:
        if line["type"] == "ok" and line.get("value") == 9002:
            line["attempts"] = [{"node": "n1", "error": "timeout"}, {"node": "n5", "error": ""}]
    (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert {row.operation: row.tried for row in rows(read_run(folder))}["write 9002"] == "asked n1: timeout, n5: ok"
    assert "asked n1: timeout, n5: ok" in render(folder)


def test_nodes_that_were_down_at_once_stand_in_one_sentence(tmp_path: Path) -> None:
    folder = write_run(tmp_path, violation=True)
    first = json.loads((folder / "checks" / "register.json").read_text())["first_impossible"]["invoke_index"]
    at = next(op.start for op in read_run(folder).operations if op.asked.i == first)
    steps = [
        {
            "t": moment,
            "fault": "kill-9",
            "family": "kill",
            "kind": "kill",
            "phase": phase,
            "resolved": {"nodes": ["n2", "n1"]},
        }
        for moment, phase in ((at - SECOND, "requested"), (at - SECOND, "installed"), (at + SECOND, "healed"))
    ]
    with (folder / "faults.jsonl").open("a") as file:
        file.writelines(json.dumps(step) + "\n" for step in steps)
    down = [fact.says for fact in surroundings(read_run(folder)) if fact.name == "Down then"]
    assert down == [f"n1, n2, from {at / SECOND - 1:.3f} s to {at / SECOND + 1:.3f} s"]


def test_the_page_says_which_fault_and_which_leaders_there_were_at_that_moment(violation: Path) -> None:
    """Engineers ask next: "which fault was active then, was it really effective; leader/term of every node then"."""
    told = {fact.name: fact.says for fact in surroundings(read_run(violation))}
    assert told["Fault under way"] == "isolate-leader: n3 | n1 n2 n4 n5, 4.004 to 6.500 s, shown to bite"
    assert told["Leader"] == "n5, elected at 4.600 s in term 2"
    assert told["Deposed leader"] == "n3 still took itself for the leader of term 1"


def test_the_page_asks_no_network_for_anything(page: str) -> None:
    assert re.findall(r'(?:src|href)="(?!#|data:)(?:[a-z]+:)?//', without_scripts(page)) == []
    assert "default-src 'none'" in page
    assert "@import" not in page
    assert "url(" not in page.split("</style>", maxsplit=1)[0]


def test_what_a_log_or_a_value_says_is_text_and_not_markup(violation: Path, page: str) -> None:
    assert "<script>alert(" in (violation / "nodes" / "n3" / "stderr.log").read_text()
    assert "<script>alert(" not in page
    assert "&lt;script&gt;alert(" in page


def test_data_cannot_end_its_script(tmp_path: Path) -> None:
    events = operation(0, "write", 1, 2)
    events[0]["value"] = events[1]["value"] = "</script><script>alert(1)</script><!--"
    page = render(folder_of(tmp_path, events))
    assert "</script><script>alert(1)" not in page
    assert "alert(1)" in data_in(page, "timeline-data")["operations"]["label"][0]


def test_every_fault_stands_with_its_evidence_and_what_was_not_shown_says_so(tmp_path: Path) -> None:
    folder = write_run(tmp_path)
    lines = [json.loads(line) for line in (folder / "faults.jsonl").read_text().splitlines()]
    kept = [line for line in lines if (line["fault"], line["phase"]) != ("kill-1", "bitten")]
    (folder / "faults.jsonl").write_text("".join(json.dumps(line) + "\n" for line in kept))
    section = render(folder).split('id="faults"')[1].split("</section>")[0]
    assert section.count("not shown") == 1
    assert "12 of 12 probes over cut links were dropped" in section
    assert "n5 before null, after 4377" in section


def test_floors_that_were_missed_stand_first_and_the_others_are_folded(tmp_path: Path) -> None:
    section = render(write_run(tmp_path, outcome="inconclusive")).split('id="floors"')[1].split("</section>")[0]
    assert (
        section.index("elections after kills") < section.index("<details>") < section.index("register read operations")
    )
    assert "1 of 2 met" in section


@pytest.mark.parametrize(
    "outcome, words, section",
    [
        ("pass", "Pass", "What this pass rests on"),
        ("inconclusive", "Inconclusive", "What was missing"),
        ("infrastructure", "Infrastructure failure", "What failed"),
    ],
)
def test_every_outcome_has_its_own_banner(tmp_path: Path, outcome: str, words: str, section: str) -> None:
    page = without_scripts(render(write_run(tmp_path, outcome=outcome, seconds=3)))
    assert f'<body class="{outcome}">' in page
    assert words in page.split("</h1>")[0]
    assert section in page


def test_a_run_that_was_killed_before_its_end_still_has_a_page(tmp_path: Path) -> None:
    """A crash in a later phase loses nothing of an earlier one: what there is can be looked at."""
    (tmp_path / "run.json").write_text(json.dumps({"version": 1, "phase": "started", "seed": 3}))
    (tmp_path / "history.jsonl").write_text('{"i":0,"t":12,"type":"invo')
    (tmp_path / "faults.jsonl").write_text("{")
    page = without_scripts(write_report(tmp_path).read_text())
    assert "The run stopped in its phase &#39;started&#39;, before it was judged." in page
    assert "history.jsonl, line 1 is torn" in page
    assert "faults.jsonl, line 1 is torn" in page


def test_a_violation_that_no_history_shows_has_a_page_without_a_counterexample(tmp_path: Path) -> None:
    folder = write_run(tmp_path, seconds=2)
    facts = json.loads((folder / "run.json").read_text())
    facts |= {
        "outcome": "violation",
        "reasons": ["liveness: after all faults had healed, 3 of 40 keys could not be read"],
    }
    (folder / "run.json").write_text(json.dumps(facts))
    assert write_counterexample(folder) is None
    assert "After all faults had healed, 3 of 40 keys could not be read." in without_scripts(render(folder))


def test_the_timeline_opens_at_the_first_impossible_operation(page: str) -> None:
    data = data_in(page, "timeline-data")
    first = data["operations"]["start"][data["first"]]
    assert data["operations"]["label"][data["first"]] == "read \N{RIGHTWARDS ARROW} 9001"
    assert data["open"][0] < first < data["open"][1] < data["end"]
    assert data["keys"][data["key"]] == "r77"
    assert len(data["core"]) == 3


def test_a_pass_opens_on_the_whole_run(tmp_path: Path) -> None:
    data = timeline(read_run(write_run(tmp_path, seconds=2)))
    assert data["open"] == [0, data["end"]]
    assert data["first"] == -1


def test_of_a_big_history_the_operations_around_the_violation_are_sent_and_those_of_the_core_always(
    violation: Path,
) -> None:
    run = read_run(violation)
    data = timeline(run, most=300)
    assert not data["whole"]
    assert len(data["operations"].start) <= 300
    assert len(data["core"]) == 3
    low, high = data["window"]
    inside = [operation for operation in run.operations if low < operation.start / 1000 < high]
    assert len(inside) > 250
    assert {operation.asked.i for operation in inside} <= set(data["operations"].index)
    counted = sum(sum(data["density"][type_]) for type_ in ("ok", "fail", "info"))
    assert counted == len(run.operations)


def test_choosing_keeps_the_core_even_where_it_is_far_away(violation: Path) -> None:
    run = read_run(violation)
    first, last = run.operations[0], run.operations[-1]
    chosen, _ = choose(run.operations, last, "r24", {first.asked.i}, 10)
    assert first in chosen


@pytest.mark.slow
def test_a_page_of_a_hundred_thousand_operations_stays_below_five_mebibytes(tmp_path: Path) -> None:
    """Peers, idea 9: "file opens without network ... < 5 MB for 100 k ops"."""
    folder = write_run(tmp_path, violation=True, seconds=34, rate=3000, concurrency=60)
    assert len(read_run(folder).operations) > 100_000
    assert write_report(folder).stat().st_size < FIVE_MEBIBYTES


def test_a_deposed_leader_is_drawn_for_as_long_as_it_believes_that_it_leads(violation: Path) -> None:
    spans = {
        (span.node, span.term): (span.start / SECOND, span.end and span.end / SECOND)
        for span in leaderships(read_run(violation))
    }
    assert spans["n3", 1] == (-0.35, 6.55)
    assert spans["n5", 2] == (4.6, 8.004)  # until it was killed
    assert spans["n2", 3] == (8.5, None)


def test_nobody_leads_between_the_death_of_a_leader_and_the_next_election(violation: Path) -> None:
    reigns = {span["node"]: (span["start"], span["end"]) for span in timeline(read_run(violation))["elected"]}
    assert reigns["n5"] == (4_600_000, 8_004_000)


@pytest.mark.parametrize(
    "edges, words",
    [
        ([("n3", "n1"), ("n1", "n3"), ("n3", "n2"), ("n2", "n3")], "n3 | n1 n2"),
        ([("n1", "n3"), ("n2", "n3")], "n1 n2 \N{RIGHTWARDS ARROW WITH STROKE} n3"),
        ([("n3", "n1"), ("n3", "n2")], "n3 \N{RIGHTWARDS ARROW WITH STROKE} n1 n2"),
        (
            [("n1", "n3"), ("n3", "n2")],
            "n1 \N{RIGHTWARDS ARROW WITH STROKE} n3; n3 \N{RIGHTWARDS ARROW WITH STROKE} n2",
        ),
        ([], ""),
    ],
)
def test_a_cut_is_told_by_its_sides(edges: list[tuple[str, str]], words: str) -> None:
    assert who(FaultSpan("f", "partition", "x", "x", resolved={"edges": edges})) == words


def test_node_events_are_shown_around_the_moment_by_the_elections_that_both_clocks_saw(violation: Path) -> None:
    run = read_run(violation)
    moment = round(5.12 * SECOND)
    shown = {window.node: window for window in windows(run, moment)}
    elected = next(line for line in shown["n5"].lines if line.kind == "leader-elected")
    assert elected.offset == round(-0.52 * SECOND)
    assert all(abs(line.offset) <= 2 * SECOND for window in shown.values() for line in window.lines)
    assert shown["n3"].last_words[0] == "n3 listens"
    assert clock_offset(run, {}) is None


def test_a_counterexample_has_its_four_files(violation: Path) -> None:
    place = write_counterexample(violation)
    assert place is not None
    assert {path.name for path in place.iterdir()} == {"core.jsonl", "explain.md", "window.html", "porcupine.json"}
    core = [json.loads(line) for line in (place / "core.jsonl").read_text().splitlines()]
    assert [op["f"] for op in core] == ["write", "write", "read"]
    assert "| **impossible**; possible: 9002 |" in (place / "explain.md").read_text()
    picture = data_in((place / "window.html").read_text(), "timeline-data")
    assert len(picture["operations"]["start"]) == 3


def porcupine_of(violation: Path) -> dict[str, Any]:
    return porcupine(read_run(violation))


def test_porcupines_picture_has_ranks_for_times_and_no_end_for_what_is_unknown(violation: Path) -> None:
    """Format of harness.md 5.4: "Start/End = 100 x rank; Original* are decimal strings; ops in none are drawn red"."""
    picture = porcupine_of(violation)
    (part,) = picture["Partitions"]
    told = {op["Description"]: op for op in part["History"]}
    assert set(told) == {
        "write 9001",
        "write 9002",
        "cas 9001 \N{RIGHTWARDS ARROW} 9003",
        "read \N{RIGHTWARDS ARROW} 9002",
        "read \N{RIGHTWARDS ARROW} 9001",
    }
    assert told["cas 9001 \N{RIGHTWARDS ARROW} 9003"]["OriginalEnd"] == str(2**63 - 1)
    assert told["write 9001"]["OriginalStart"] == "4910000000"
    assert told["write 9001"]["End"] < told["write 9002"]["Start"] < told["write 9002"]["End"]
    moments = {op[side] for op in (*part["History"], *picture["Annotations"]) for side in ("Start", "End")}
    assert sorted(moments) == [100 * rank for rank in range(len(moments))]
    impossible = part["History"].index(told["read \N{RIGHTWARDS ARROW} 9001"])
    assert str(impossible) not in part["Largest"]
    assert [step["StateDescription"] for step in part["PartialLinearizations"][0]] == ["9001", "9002", "9002"]


def test_porcupines_picture_notes_faults_and_elections(violation: Path) -> None:
    notes = {(note["Tag"], note["Description"]): note for note in porcupine_of(violation)["Annotations"]}
    assert notes["nemesis", "isolate-leader"]["BackgroundColor"] == "#E9DCA0"
    assert notes["n5", "leader of term 2"]["Start"] == notes["n5", "leader of term 2"]["End"]


@pytest.mark.parametrize(
    "value, text",
    [
        (None, "null"),
        ("x" * 100, '"' + "x" * 70 + "\N{HORIZONTAL ELLIPSIS}"),
        (list(range(1000)), None),
    ],
)
def test_long_values_are_shortened_and_lists_keep_their_end(value: Any, text: str | None) -> None:
    told = shorten(value)
    assert len(told) <= 72
    if text is None:
        assert told.startswith("[1000 elements")
        assert told.endswith("998 999]")
    else:
        assert told == text


def test_evidence_is_told_in_words() -> None:
    assert evidence_lines({"packets_dropped": {"n1->n2": 12}, "probe": "blocked", "seen": [1, 2]}) == [
        "packets dropped: n1->n2 12",
        "probe: blocked",
        "seen: 1, 2",
    ]
    assert evidence_lines({"frames_dropped": {"a>b": 0, "b>a": 1, "c>a": 5, "a>c": 0}}) == [
        "frames dropped: 6 over 4, most of them c>a 5, b>a 1"
    ]


def test_a_label_says_what_was_asked_and_what_came_back(tmp_path: Path) -> None:
    events = [*operation(0, "read", 1, 2), *operation(1, "cas", 3, 4, "fail", value=[1, 2])]
    events[2]["value"] = [1, 2]
    run = read_run(folder_of(tmp_path, events))
    assert [label(each) for each in run.operations] == ["read \N{RIGHTWARDS ARROW} 1", "cas 1 \N{RIGHTWARDS ARROW} 2"]


def test_a_failing_report_leaves_the_old_page_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_run(tmp_path, seconds=1)
    before = write_report(folder).read_bytes()
    broken: Callable[..., Any] = {}.__getitem__
    monkeypatch.setattr(timeline_module, "density", lambda *_: broken("density"))
    with pytest.raises(KeyError, match="density"):
        write_report(folder)
    assert (folder / "report.html").read_bytes() == before
