"""The page of a run: `report.html`, one file that opens without a network, and the files of a counterexample.

Order follows what engineers look at first: the outcome and its reason, the operations that matter, the joint timeline,
the nodes' logs, then the evidence behind the outcome, rates and latencies, and last what the run was made of. Data is
computed in Python and drawn by the scripts in `page/`. A failure here raises; the caller sees to it that no outcome changes.
"""

from __future__ import annotations

import base64
import gzip
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import jinja2
import msgspec
from markupsafe import Markup

from harness.charts import charts, vega_bundle
from harness.counterexample import impossible_operation, porcupine, rows, surroundings
from harness.nodelogs import FREQUENT, Line, Window, windows
from harness.reading import FaultSpan, RunFiles, read_run, shorten
from harness.tables import latency_table, operations_table, summary_table, unavailability_table
from harness.timeline import timeline, who

PAGE = Path(__file__).parent / "page"
WORDS = {
    "pass": "Pass",
    "violation": "Violation",
    "inconclusive": "Inconclusive",
    "infrastructure": "Infrastructure failure",
}
COLOURS = {"pass": "#1b7a46", "violation": "#b8152e", "inconclusive": "#9a5b00", "infrastructure": "#56606e"}
MOST_COUNTERS = 3
UNTOLD_OF_HEALS = frozenset({"took_ms", "pids", "resumed"})  # shown elsewhere, or of interest to nobody
SECOND = 1_000_000_000
MILLISECOND = 1_000_000
KIBIBYTE = 1024
SCRIPTS = ("lanes.js", "drawing.js", "timeline.js", "page.js")  # in the order in which they need each other
LONG_HEADLINE = 120  # characters
TONES = {"valid": "good", "invalid": "bad"}


class What(msgspec.Struct):
    """The section that says in words what happened."""

    title: str
    sentences: list[str] = []
    reasons: list[str] = []
    facts: list[Any] = []
    rows: list[Any] = []


def environment() -> jinja2.Environment:
    """The templates beside this module; what is not marked as markup is escaped."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(folder: Path) -> str:
    """The page of a run folder as one string.

    Raises:
        FileNotFoundError: the folder has no run.json.
    """
    run = read_run(folder)
    outcome = outcome_of(run)
    drawn = charts(run)
    sentences = _sentences(run)
    return (
        environment()
        .get_template("page.html")
        .render(
            title=f"{WORDS[outcome]}: {_build(run)}, seed {run.run.get('seed')} \N{MIDDLE DOT} Splitbrain",
            name=folder.name,
            colour=COLOURS[outcome],
            css=asset("page.css"),
            script=Markup("").join(asset(name) for name in SCRIPTS),
            vega=packed(vega_bundle().encode()) if drawn else "",
            outcome=outcome,
            outcome_words=WORDS[outcome],
            headline=sentences[0],
            chips=_chips(run),
            commands=_commands(run),
            sections=_sections(run, drawn=bool(drawn)),
            warnings=run.warnings,
            what=_what(run, outcome, sentences),
            timeline_data=as_data(timeline(run)) if run.operations or run.faults or run.cluster else "",
            logs=_logs(run),
            faults=sorted((_fault(fault) for fault in run.faults), key=lambda fault: bool(fault["proven"])),
            missed=[floor for floor in run.run.get("floors") or [] if not floor.get("met")],
            met=[floor for floor in run.run.get("floors") or [] if floor.get("met")],
            charts=as_data(drawn) if drawn else "",
            **_figures(run),
            checks=[_check(check, run) for check in run.checks],
            environment=_environment(run),
            settings=_pairs(run, "plan"),
            files=_files(folder),
        )
    )


def write_report(folder: Path) -> Path:
    """Draws `report.html` into a run folder and returns its path; raises as `render` does, and OSError."""
    return write_whole(folder / "report.html", render(folder))


def write_counterexample(folder: Path) -> Path | None:
    """Writes counterexample/{core.jsonl, explain.md, window.html, porcupine.json}; None where no verdict is invalid.

    A violation can also be one of liveness or a failed assertion of a node: then there is no counterexample to show.
    """
    run = read_run(folder)
    verdict = run.violated
    if verdict is None:
        return None
    place = folder / "counterexample"
    place.mkdir(exist_ok=True)
    core = b"".join(msgspec.json.encode(op) + b"\n" for op in verdict.get("core") or [])
    (place / "core.jsonl").write_bytes(core)
    (place / "porcupine.json").write_bytes(msgspec.json.encode(porcupine(run)))
    write_whole(place / "explain.md", _explanation(run, verdict))
    write_whole(place / "window.html", _window(run))
    return place


def draft_of(path: Path) -> Path:
    """Where to write what will replace a file; two runs that end at the same moment do not meet there."""
    return path.with_name(f"{path.name}.{uuid4().hex}.new")


def write_whole(path: Path, text: str) -> Path:
    """Writes a file so that a reader sees the old one or the new one."""
    draft = draft_of(path)
    draft.write_text(text, encoding="utf-8")
    return draft.replace(path)


def asset(name: str) -> Markup:
    """A file beside the templates, ready to stand in a page."""
    return Markup((PAGE / name).read_text(encoding="utf-8"))  # noqa: S704 - our own sheet and script


def packed(content: bytes) -> Markup:
    """Bytes to stand inside a script element, compressed (a fifth of what they were) for `unpack` in page/page.js.

    The same bytes give the same text: no time goes into it.
    """
    return Markup(base64.b64encode(gzip.compress(content, mtime=0)).decode())  # noqa: S704 - letters, digits, + / =


def as_data(value: Any) -> Markup:
    """A value as packed JSON."""
    return packed(msgspec.json.encode(value))


def outcome_of(run: RunFiles) -> str:
    """The outcome as it was judged; a run that was never judged proved nothing."""
    outcome = str(run.run.get("outcome"))
    return outcome if outcome in WORDS else "inconclusive"


def _build(run: RunFiles) -> str:
    build = run.run.get("build")
    name = build.get("name") if isinstance(build, dict) else build
    return str(name or (run.run.get("plan") or {}).get("build") or "unknown build")


def _sentences(run: RunFiles) -> list[str]:
    """The reason in sentences, the first of which is the headline."""
    reasons = run.run.get("reasons") or [
        f"the run stopped in its phase {run.run.get('phase', '?')!r}, before it was judged"
    ]
    text = str(run.run.get("explanation") or reasons[0])
    text = re.sub(r"^(safety|liveness): ", "", text)
    text = text[:1].upper() + text[1:]
    parts = re.split(r"(?<=[.!?])\s+(?=[A-Z\"'(])", text)
    # A headline says what happened; why that cannot be follows after its colon.
    claim, colon, why = parts[0].partition(": ")
    if colon and len(parts[0]) > LONG_HEADLINE and len(claim) > LONG_HEADLINE // 3:
        parts[:1] = [claim, why[:1].upper() + why[1:]]
    return [part if part.endswith((".", "!", "?", ")")) else part + "." for part in parts]


def _chips(run: RunFiles) -> list[tuple[str, str]]:
    facts, plan = run.run, run.run.get("plan") or {}
    counts = facts.get("operations") or {}
    operations = ", ".join(
        f"{counts[type_]:,} {words}"
        for type_, words in (("ok", "ok"), ("fail", "failed"), ("info", "unknown"))
        if type_ in counts
    )
    nodes = f"{plan['nodes']} nodes on " if "nodes" in plan else ""
    chips = [
        ("build", _build(run)),
        ("cluster", f"{nodes}{facts.get('cluster', '?')}"),
        ("seed", str(facts.get("seed", "?"))),
        ("workloads", ", ".join(facts.get("workload") or [])),
        ("faults", ", ".join(facts.get("faults") or []) or "none"),
        ("length", f"{plan['seconds']:g} s" if "seconds" in plan else ""),
        ("operations", operations),
    ]
    return [(name, value) for name, value in chips if value]


def _commands(run: RunFiles) -> list[tuple[str, str]]:
    command = run.run.get("command")
    return [("Run it again", str(command))] if command else []


def _sections(run: RunFiles, *, drawn: bool) -> list[tuple[str, str]]:
    sections = [("what", "What happened")]
    sections += [("time", "Timeline")] if run.operations or run.faults or run.cluster else []
    sections += [("logs", "Node logs")] if impossible_operation(run) else []
    sections += [("faults", "Faults"), ("floors", "Floors")]
    sections += [("charts", "Rate and latency")] if drawn else []
    return [*sections, ("checks", "Checks"), ("environment", "Environment and files")]


def _what(run: RunFiles, outcome: str, sentences: list[str]) -> What:
    reasons = [str(reason) for reason in run.run.get("reasons") or []]
    match outcome:
        case "violation" if run.violated is not None:
            facts = surroundings(run)
            return What("What went wrong", sentences[1:], reasons[1:], facts, rows(run))
        case "violation":
            return What("What went wrong", sentences[1:], reasons)
        case "pass":
            return What("What this pass rests on", _rests_on(run))
        case "infrastructure":
            return What("What failed", ["This says nothing about the store: the machinery around it failed."], reasons)
        case _:
            said = "No violation was found, but the run saw too little to say that there is none."
            if not run.checks:
                said = "The run was broken off before its history was checked: nothing is known of the store yet."
            return What("What was missing", [said], reasons)


def _rests_on(run: RunFiles) -> list[str]:
    decided = sum(int(check.get("operations") or 0) for check in run.checks)
    keys = sum(len(check.get("per_key") or []) for check in run.checks)
    bit = sum(fault.bit and fault.healed for fault in run.faults)
    floors = run.run.get("floors") or []
    met = sum(bool(floor.get("met")) for floor in floors)
    said = f"All {decided:,} operations on {keys} keys could have been answered by one correct machine"
    said += f"; {bit} of {len(run.faults)} faults were shown to bite and to have healed" if run.faults else ""
    return [f"{said}; {met} of {len(floors)} coverage floors were met."]


def _logs(run: RunFiles) -> list[dict[str, Any]]:
    operation = impossible_operation(run)
    if operation is None:
        return []
    return [_log(window, is_open=window.node == operation.node) for window in windows(run, operation.start)]


def _log(window: Window, *, is_open: bool) -> dict[str, Any]:
    if not window.placed:
        says = "has no election that relates its clock to the run's; these are its last events"
    elif window.lines:
        says = f"wrote {window.before + window.after + window.left_out} events"
    else:
        says = "wrote no event"
    lines = [_log_line(line) for line in window.lines]
    if window.placed and lines:
        asked = {"offset": "0.0", "kind": "", "text": "the first impossible operation is asked", "tone": "at"}
        lines.insert(window.before, asked)
    return {
        "node": window.node,
        "open": is_open,
        "says": says,
        "left_out": window.left_out,
        "last_words": window.last_words,
        "lines": lines,
    }


def _log_line(line: Line) -> dict[str, str]:
    tone = "quiet" if line.kind in FREQUENT else ""
    return {"offset": f"{line.offset / 1e6:+.1f}", "kind": line.kind, "text": line.text, "tone": tone}


def _fault(fault: FaultSpan) -> dict[str, Any]:
    evidence = {step.phase: step.evidence for step in fault.steps}
    refused = evidence.get("refused") or evidence.get("failed") or evidence.get("not-bitten") or {}
    counters = {name: value for name, value in evidence.get("healed", {}).items() if name not in UNTOLD_OF_HEALS}
    not_healed = evidence.get("heal-failed") or evidence.get("heal-not-shown") or {}
    return {
        "id": fault.id,
        "family": fault.family,
        "says": fault.says,
        "who": who(fault),
        "bit": fault.bit,
        "healed": fault.healed,
        "proven": fault.bit and fault.healed,
        "installed": _moment(fault.at("installed")),
        "lasted": _later(fault.at("installed"), fault.at("healed")),
        "bit_after": _later(fault.at("installed"), fault.at("bitten")),
        "healed_after": _later(fault.at("healed"), fault.at("heal-shown")),
        "mechanism": str(evidence.get("installed", {}).get("mechanism", "")),
        "bite": evidence_lines(evidence.get("bitten") or refused),
        "until_end": evidence_lines(counters),
        "heal": evidence_lines(evidence.get("heal-shown") or not_healed),
    }


def _moment(moment: int | None) -> str:
    return "\N{EN DASH}" if moment is None else f"{moment / SECOND:.3f} s"


def _later(since: int | None, until: int | None) -> str:
    """How long it took from one moment to another."""
    if since is None or until is None:
        return "\N{EN DASH}"
    took = max(0, until - since)
    return f"{took / MILLISECOND:.0f} ms" if took < SECOND else f"{took / SECOND:.2f} s"


def evidence_lines(evidence: dict[str, Any]) -> list[str]:
    """Evidence as phrases for people: one a name, values as they were recorded; of many counters the sum."""
    return [
        f"{name.replace('_', ' ')}: {_counted(value) if _are_counters(name, value) else _told(value)}"
        for name, value in evidence.items()
    ]


def _are_counters(name: str, value: Any) -> bool:
    """Whether numbers by node or link mean an amount, which process ids do not."""
    if not isinstance(value, dict) or len(value) <= MOST_COUNTERS or "pid" in name:
        return False
    return all(isinstance(count, int) and not isinstance(count, bool) for count in value.values())


def _told(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_told(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return ", ".join(_told(item) for item in value)
    return value if isinstance(value, str) else shorten(value, 160)


def _counted(counters: dict[str, int]) -> str:
    """Many counters as their sum and the greatest of them."""
    greatest = sorted(counters.items(), key=lambda item: -item[1])[:MOST_COUNTERS]
    named = ", ".join(f"{name} {count:,}" for name, count in greatest if count)
    return f"{sum(counters.values()):,} over {len(counters)}" + (f", most of them {named}" if named else "")


def _figures(run: RunFiles) -> dict[str, Any]:
    """The figures over the charts and the table of latencies below them."""
    if not run.operations:
        return {"figures": [], "latency": []}
    table = operations_table(run.operations)
    summary = summary_table(table, unavailability_table(run), run)
    values = dict(zip(summary["name"], summary["value"], strict=True))
    shown = [
        ("answered operations a second", values["ok_per_second"], "{:.0f}"),
        ("of all operations answered", values["share_ok"] * 100, "{:.1f} %"),
        ("median latency", values["latency_p50"], "{:.1f} ms"),
        ("99th percentile", values["latency_p99"], "{:.1f} ms"),
        ("longest time without an answered write", values["longest_without_ok_write"], "{:.2f} s"),
        ("median time without one after a killed leader", values["unavailable_after_leader_kill_median"], "{:.2f} s"),
    ]
    quantiles = latency_table(table, run)
    quantiles = quantiles[(quantiles["f"] == "all") | (quantiles["phase"] == "all")].replace(
        {"f": {"all": "all operations"}, "phase": {"all": "whole run"}}
    )
    for column in ("p50_ms", "p90_ms", "p99_ms", "max_ms"):
        quantiles[column] = quantiles[column].map("{:.2f}".format)
    return {
        "figures": [{"name": name, "value": form.format(value)} for name, value, form in shown if value == value],  # noqa: PLR0124 - not a number
        "latency": quantiles.to_dict("records"),
    }


def _check(check: dict[str, Any], run: RunFiles) -> dict[str, Any]:
    verdict = str(check.get("verdict", "?"))
    plan = run.run.get("plan") or {}
    budget = float(plan.get("check_seconds") or 0) / max(1, len(plan.get("workloads") or run.checks))
    reason = check.get("reason") or ""
    if check.get("broken"):
        reason = "; ".join(check["broken"])
    elif verdict == "invalid":
        reason = f"key {shorten(check.get('key'))}: see above what went wrong there"
    return {
        "workload": check.get("workload"),
        "verdict": verdict,
        "tone": TONES.get(verdict, ""),
        "model": check.get("model", ""),
        "way": check.get("way", ""),
        "operations": f"{int(check.get('operations') or 0):,}",
        "objects": len(check.get("per_key") or []),
        "seconds": f"{float(check.get('seconds') or 0):.2f}",
        "budget": f"{budget:g}" if budget else "",
        "reason": reason,
    }


def _environment(run: RunFiles) -> list[tuple[str, str]]:
    pairs = [(f"{group} {name}", value) for group in ("build", "host") for name, value in _pairs(run, group)]
    for name in ("wall_seconds", "worst_stall_ms", "phase"):
        if name in run.run:
            pairs.append((name.replace("_", " "), _plain(run.run[name])))
    return pairs


def _pairs(run: RunFiles, group: str) -> list[tuple[str, str]]:
    values = run.run.get(group)
    return (
        [(name.replace("_", " "), _plain(value)) for name, value in values.items()] if isinstance(values, dict) else []
    )


def _plain(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return value if isinstance(value, str) else shorten(value, 200)


def _files(folder: Path) -> list[dict[str, str]]:
    """What lies in the folder, the counterexample's files one by one and first: they are what one wants to send on."""
    found = []
    paths = [*sorted((folder / "counterexample").glob("*"))]
    paths += sorted(folder.iterdir(), key=lambda each: (each.is_dir(), each.name))
    for path in paths:
        if path.suffix == ".new" or path.name in {"counterexample", "report.html"}:
            continue
        size = (
            sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
            if path.is_dir()
            else path.stat().st_size
        )
        name = path.relative_to(folder).as_posix() + ("/" if path.is_dir() else "")
        found.append({"name": name, "href": name, "size": f"{max(1, round(size / KIBIBYTE)):,} KiB"})
    return found


def _explanation(run: RunFiles, verdict: dict[str, Any]) -> str:
    lines = [f"# {run.folder.name}", "", str(verdict.get("explanation") or verdict.get("reason") or ""), ""]
    lines += [
        f"Key {shorten(verdict.get('key'))}, model {verdict.get('model')}, workload {verdict.get('workload')}.",
        "",
    ]
    lines += [
        "| # | process | operation | result | interval, ms | node | state after it |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows(run):
        end = "open" if row.end is None or row.type == "info" else f"{row.end:.1f}"
        states = f"**impossible**; possible: {row.states}" if row.impossible else row.states
        result = f"{row.result} ({row.tried})" if row.tried else row.result
        cells = (str(row.index), row.process, row.operation, result, f"{row.start:.1f} - {end}", row.node, states)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    lines += ["", *(f"- {fact.name}: {fact.says}" for fact in surroundings(run))]
    return "\n".join([*lines, "", f"Run it again: `{run.run.get('command', '')}`", ""])


def _window(run: RunFiles) -> str:
    return (
        environment()
        .get_template("window.html")
        .render(
            title=f"Counterexample of {run.folder.name}",
            colour=COLOURS["violation"],
            css=asset("page.css"),
            script=Markup("").join(asset(name) for name in SCRIPTS),
            what=What("Counterexample", _sentences(run), [], surroundings(run), rows(run)),
            timeline_data=as_data(timeline(run, core_only=True)),
            commands=_commands(run),
        )
    )
