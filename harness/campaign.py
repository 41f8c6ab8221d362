"""Campaigns: a matrix of builds, clusters, workloads, faults and seeds, run one after the other.

A campaign keeps its state in `<out>/<name>-<utc>/campaign.json` after each run, and `<out>/<name>` points to it. After a
kill the same file goes on where it stopped, as long as it says the same and the builds are the same; a campaign that has
ended begins anew. An outcome is never retried away: what a run came to stands, and so does a violation that the history
of a run shows which was broken off before it was judged.
"""

from __future__ import annotations

import datetime as dt
import difflib
import hashlib
import itertools
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

from checker import Budget
from harness.builds import resolve_build
from harness.evidence import INTERRUPTED, OUTCOMES, worst
from harness.index import read_entry, write_index
from harness.junit import render_junit
from harness.plan import Plan, UsageError, checked, command_of, seeds_of
from harness.progress import Watcher
from harness.report import write_whole
from harness.run import Record, check_workload, recorded_events, run
from harness.store import StoreError

log = logging.getLogger("splitbrain")

STATE = "campaign.json"
MOST_RUNS = 100_000
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
DEFAULTS = Plan()


class Matrix(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One `[[matrix]]` of a campaign's file: every combination is run with every seed.

    An entry of `workloads` or `faults` is what one run has of them: "register,append" is one run with both.
    """

    seeds: str | tuple[int, ...]
    builds: tuple[str, ...] = (DEFAULTS.build,)
    clusters: tuple[str, ...] = (DEFAULTS.cluster,)
    workloads: tuple[str, ...] = (",".join(DEFAULTS.workloads),)
    faults: tuple[str, ...] = (",".join(DEFAULTS.faults),)
    time: float = DEFAULTS.seconds
    nodes: int = DEFAULTS.nodes
    rate: float = DEFAULTS.rate
    concurrency: int = DEFAULTS.concurrency


class Campaign(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A campaign's file, checked."""

    name: str
    matrix: tuple[Matrix, ...]


class Done(msgspec.Struct, frozen=True):
    """One run of a campaign that has come to its end; `place` is its place in the matrix."""

    place: int
    record: Record


class State(msgspec.Struct):
    """What a campaign keeps on disk: what it is, and what has been run of it."""

    version: int
    campaign: str
    file: str
    digest: str
    plans: tuple[Plan, ...]
    done: list[Done] = []

    @property
    def ended(self) -> bool:
        return len(self.done) == len(self.plans)

    @property
    def outcome(self) -> str:
        """The worst outcome so far; a campaign that has not ended is at best inconclusive."""
        return worst([each.record.outcome for each in self.done] + ([] if self.ended else ["inconclusive"]))


Runner = Callable[[Plan, Watcher, list[str] | None], Record]


def read_campaign(path: Path) -> Campaign:
    """A campaign from its TOML file.

    Raises:
        UsageError: the file cannot be read, is no TOML, or does not say what a campaign says.
    """
    try:
        campaign = msgspec.toml.decode(path.read_bytes(), type=Campaign)
    except OSError as error:
        raise UsageError(f"cannot read the campaign {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not text: {error}") from error
    except msgspec.ValidationError as error:
        raise UsageError(f"{path}{_explained(str(error), path.read_text(encoding='utf-8'))}") from error
    except msgspec.DecodeError as error:
        raise UsageError(f"{path}: {error}; campaigns/smoke.toml shows what is expected") from error
    if not NAME.fullmatch(campaign.name):
        raise UsageError(f"{path}: the name {campaign.name!r} must be letters, digits, dots, dashes and underscores")
    return campaign


def _explained(words: str, text: str) -> str:
    """What a campaign's file has that it should not have: in which line, and what was perhaps meant."""
    matrix = re.search(r"\$\.matrix\[(\d+)\]", words)
    field = re.search(r"unknown field `(.+?)`", words) or re.search(r"\$(?:\.matrix\[\d+\])?\.(\w+)", words)
    tables = [0, *(match.start() for match in re.finditer(r"(?m)^\s*\[\[\s*matrix\s*\]\]", text))]
    start = tables[min(int(matrix[1]) + 1, len(tables) - 1)] if matrix else 0
    found = re.compile(rf"(?m)^[ \t]*{re.escape(field[1])}[ \t]*=").search(text, start) if field else None
    place = f", line {text.count(chr(10), 0, found.start()) + 1}" if found else ""
    names = (Matrix if matrix else Campaign).__struct_fields__
    near = difflib.get_close_matches(field[1], names, n=3, cutoff=0.5) if field and "unknown" in words else []
    hint = f"did you mean {' or '.join(near)}?" if near else "campaigns/smoke.toml shows what is expected"
    return f"{place}: {words}; {hint}"


def plans_of(campaign: Campaign, out: str, folder: str) -> tuple[Plan, ...]:
    """Every run of a campaign, each matrix seed by seed: a campaign that is cut short has seen every combination.

    Raises:
        UsageError: a run makes no sense, is asked for twice, or there are none or too many.
    """
    combinations = (plan for matrix in campaign.matrix for plan in _combinations(matrix, out, folder))
    try:
        plans = [checked(plan) for plan in itertools.islice(combinations, MOST_RUNS + 1)]
    except UsageError as error:
        raise UsageError(f"the campaign {campaign.name}: {error}") from error
    if not plans:
        raise UsageError(f"the campaign {campaign.name} has no runs: a [[matrix]] with seeds is expected")
    if len(plans) > MOST_RUNS:
        raise UsageError(f"the campaign {campaign.name} has more than {MOST_RUNS} runs, which are the most")
    seen: set[Plan] = set()
    for plan in plans:
        if plan in seen:
            raise UsageError(f"the campaign {campaign.name} asks twice for {label(plan)}, seed {plan.seed}")
        seen.add(plan)
    return tuple(plans)


def _combinations(matrix: Matrix, out: str, folder: str) -> Iterator[Plan]:
    seeds = seeds_of(matrix.seeds, "seeds") if isinstance(matrix.seeds, str) else matrix.seeds
    for seed in seeds:
        for build in matrix.builds:
            for cluster in matrix.clusters:
                for workloads in matrix.workloads:
                    for faults in matrix.faults:
                        yield Plan(
                            cluster=cluster,
                            nodes=matrix.nodes,
                            workloads=_names(workloads),
                            faults=_names(faults),
                            seconds=matrix.time,
                            rate=matrix.rate,
                            concurrency=matrix.concurrency,
                            seed=seed,
                            build=build,
                            out=out,
                            name=folder,
                        )


def _names(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip() not in {"", "none"})


def label(plan: Plan) -> str:
    """The cell of the matrix that a run belongs to, in a few words."""
    return f"{plan.build} on {plan.cluster}, {'+'.join(plan.workloads)}, {'+'.join(plan.faults) or 'no faults'}"


def run_campaign(
    campaign: Campaign, file: str, out: Path, progress: Watcher, *, fresh: bool = False, runner: Runner = run
) -> tuple[Path, State]:
    """Runs what is left of a campaign; returns its folder and its state, which is not ended if it was interrupted.

    Raises:
        UsageError: a run makes no sense or its build does not exist.
        ClusterError: a build cannot be had (git is missing, formats do not fit).
        StoreError: results cannot be written.
    """
    digest = _digest(plans_of(campaign, "", campaign.name))
    try:
        folder, state = _begin(campaign, file, out, digest, progress, fresh=fresh)
        _go_on(folder, state, progress, runner)
    except OSError as error:
        raise StoreError(f"cannot write the campaign's results below {out}: {error.strerror or error}") from error
    return folder, state


def _digest(plans: tuple[Plan, ...]) -> str:
    """What a campaign runs: its plans and the code of their builds. Finds every build, so that none is missed later."""
    builds = sorted({(plan.build, plan.cluster) for plan in plans})
    codes = [(text, cluster, resolve_build(text, cluster).describe()["digest"]) for text, cluster in builds]
    return hashlib.sha256(msgspec.json.encode([plans, codes])).hexdigest()[:16]


def _begin(
    campaign: Campaign, file: str, out: Path, digest: str, progress: Watcher, *, fresh: bool
) -> tuple[Path, State]:
    """The campaign that was stopped halfway, if it is the same one; else a new one."""
    out.mkdir(parents=True, exist_ok=True)
    link = out / campaign.name
    stopped = None if fresh else _read_state(link / STATE)
    if stopped is not None and not stopped.ended:
        if stopped.digest == digest:
            _adopt(link.resolve(), stopped, progress)
            progress.say(f"going on with {link.resolve()}: {len(stopped.done)} of {len(stopped.plans)} runs are done")
            return link.resolve(), stopped
        progress.say(
            f"{link.resolve().name} stopped halfway, but the campaign or a build has changed since: starting anew"
        )
    stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%SZ")
    folder = _new_folder(out, f"{campaign.name}-{stamp}")
    state = State(1, campaign.name, file, digest, plans_of(campaign, str(out), folder.name))
    write_whole(folder / STATE, _json(state))
    if link.is_symlink() or not link.exists():
        draft = out / f".{folder.name}.link"
        draft.unlink(missing_ok=True)
        draft.symlink_to(folder.name)
        draft.replace(link)
    else:
        progress.say(f"{link} is a folder of its own: if this campaign is stopped, it cannot be found there to go on")
    return folder, state


def _adopt(folder: Path, state: State, progress: Watcher) -> None:
    """Takes over what a kill kept from the state: runs that were judged, and those whose history is a violation."""
    known = {Path(each.record.run).name for each in state.done}
    missing = {_bare(plan): place for place, plan in enumerate(state.plans)}
    for each in state.done:
        missing.pop(_bare(state.plans[each.place]), None)
    for path in sorted(folder.glob("*/run.json")):
        place, record = None, None
        if path.parent.name not in known and (kept := _read_kept(path)) is not None:
            place = missing.get(_bare(kept.plan))
            record = kept.record(path.parent) if kept.outcome else _convicted(path.parent, kept.plan, progress)
        if place is not None and record is not None and (record.outcome == "violation" or not _interrupted(record)):
            state.done.append(Done(place, record))
            del missing[_bare(state.plans[place])]
            progress.say(f"{path.parent.name} was broken off: {record.outcome}: {record.reasons[0]}")


def _interrupted(record: Record) -> bool:
    return INTERRUPTED in record.reasons


def _bare(plan: Plan) -> Plan:
    """What was run, wherever its results are kept."""
    return msgspec.structs.replace(plan, out="", name="")


class _Kept(msgspec.Struct):
    """What is read of a run's own file."""

    plan: Plan
    outcome: str = ""
    reasons: list[str] = []
    operations: dict[str, int] = {}
    wall_seconds: float = 0.0
    explanation: str | None = None

    def record(self, folder: Path) -> Record:
        plan = self.plan
        return Record(
            outcome=self.outcome,
            reasons=self.reasons,
            run=str(folder),
            seed=plan.seed,
            build=plan.build,
            cluster=plan.cluster,
            workload=list(plan.workloads),
            faults=list(plan.faults),
            operations=self.operations,
            wall_seconds=self.wall_seconds,
            explanation=self.explanation,
            command=command_of(plan),
        )


def _read_kept(path: Path) -> _Kept | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Kept)
    except (OSError, msgspec.DecodeError):
        return None


def _convicted(folder: Path, plan: Plan, progress: Watcher) -> Record | None:
    """The violation that the history of a run which was broken off shows by itself; None if it shows none."""
    progress.say(f"{folder.name} was broken off before it was judged: checking what there is")
    events = recorded_events(folder / "history.jsonl")
    for name in plan.workloads:
        verdict = check_workload(name, events, Budget(seconds=plan.check_seconds), progress)
        if verdict.verdict == "invalid":
            reason = f"safety: {name} is not linearizable: {verdict.explanation} (the run was broken off after that)"
            return _Kept(plan, "violation", [reason], explanation=verdict.explanation).record(folder)
    return None


def _new_folder(out: Path, name: str) -> Path:
    """A folder that nobody has: two campaigns may begin in the same second."""
    for number in range(1, 1000):
        folder = out / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise StoreError(f"there are a thousand folders {out / name} already")


def _read_state(path: Path) -> State | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=State)
    except (OSError, msgspec.DecodeError):
        return None


def _go_on(folder: Path, state: State, progress: Watcher, runner: Runner) -> None:
    done = {each.place for each in state.done}
    for place, plan in enumerate(state.plans):
        if place in done:
            continue
        progress.say(
            f"campaign {state.campaign}: run {place + 1} of {len(state.plans)}: {label(plan)}, seed {plan.seed}"
        )
        record = _run_one(plan, progress, runner)
        if _interrupted(record) and record.outcome != "violation":
            break  # it is run again when the campaign goes on
        state.done.append(Done(place, record))
        progress.say(f"  {record.outcome}: {record.reasons[0]}")
        write_whole(folder / STATE, _json(state))
        write_results(folder, state)
        if _interrupted(record):
            break
    write_results(folder, state)


def _run_one(plan: Plan, progress: Watcher, runner: Runner) -> Record:
    """One run; a failure of our own is infrastructure, and the campaign goes on."""
    try:
        return runner(plan, progress, None)
    except (StoreError, KeyboardInterrupt):
        raise
    except Exception as error:
        log.exception("a run of the campaign failed: %s, seed %s", label(plan), plan.seed)
        return Record(
            outcome="infrastructure",
            reasons=[f"splitbrain itself failed: {type(error).__name__}: {error}"],
            run="",
            seed=plan.seed,
            build=plan.build,
            cluster=plan.cluster,
            workload=list(plan.workloads),
            faults=list(plan.faults),
            operations={},
            wall_seconds=0.0,
            explanation=None,
            command="",
        )


def write_results(folder: Path, state: State) -> None:
    """Writes summary.md, junit.xml and runs.parquet of a campaign, and the list of all runs above it."""
    write_whole(folder / "summary.md", render_summary(folder, state))
    records = [each.record for each in state.done]
    write_whole(folder / "junit.xml", render_junit(state.campaign, records))
    entries = [read_entry(Path(record.run) / "run.json", folder.parent) for record in records if record.run]
    rows: list[dict[str, Any]] = [msgspec.to_builtins(entry) for entry in entries if entry is not None]
    draft = folder / "runs.parquet.new"
    pd.DataFrame(rows).to_parquet(draft, index=False)
    draft.replace(folder / "runs.parquet")
    write_index(folder.parent)


def render_summary(folder: Path, state: State) -> str:
    """The campaign in Markdown: its outcome, a table of its cells, and every run that did not pass, worst first."""
    seconds = sum(each.record.wall_seconds for each in state.done)
    counted = ", ".join(
        f"{count} {outcome}"
        for outcome in OUTCOMES
        if (count := sum(each.record.outcome == outcome for each in state.done))
    )
    lines = [
        f"# Campaign {state.campaign}: {state.outcome}",
        "",
        f"{len(state.done)} of {len(state.plans)} runs done ({counted or 'none'}), {seconds:.0f} s of running. File: `{state.file}`.",
        "",
        _when_and_of_what(state),
        "",
        "| build | cluster | workloads | faults | runs | " + " | ".join(OUTCOMES) + " | ok operations |",
        "|---|---|---|---|---|" + "---|" * (len(OUTCOMES) + 1),
    ]
    cells: dict[tuple[str, ...], list[Record]] = {}
    for plan in state.plans:
        cells.setdefault(_cell(plan), [])
    for each in state.done:
        cells[_cell(state.plans[each.place])].append(each.record)
    for cell, records in cells.items():
        counts = [str(sum(record.outcome == outcome for record in records) or "") for outcome in OUTCOMES]
        answered = str(sum(record.operations.get("ok", 0) for record in records))
        lines.append("| " + " | ".join([*cell, str(len(records)), *counts, answered]) + " |")
    failed = [each.record for each in state.done if each.record.outcome != "pass"]
    failed.sort(key=lambda record: OUTCOMES.index(record.outcome))
    if failed:
        lines += ["", "## What did not pass"]
    for record in failed:
        page = Path(record.run) / "report.html" if record.run else None
        shown = f"; [report]({page.relative_to(folder).as_posix()})" if page and page.is_file() else ""
        lines += ["", f"- **{record.outcome}** {record.build} on {record.cluster}, seed {record.seed}{shown}"]
        lines += [f"  - {' '.join(reason.split())}" for reason in record.reasons[:3]]
        lines += [f"  - again: `{record.command}`"] if record.command else []
    return "\n".join(lines) + "\n"


def _when_and_of_what(state: State) -> str:
    """The days of the first and the last run, and each build with its revision, as the runs' own files have them."""
    days: set[str] = set()
    builds: dict[str, str] = {}
    for folder in (Path(each.record.run) for each in state.done if each.record.run):
        try:
            build = msgspec.json.decode((folder / "run.json").read_bytes())["build"]
        except (OSError, msgspec.DecodeError, KeyError):
            continue  # it was removed, or broke off; the table counts it all the same
        days.add(f"{folder.name[:4]}-{folder.name[4:6]}-{folder.name[6:8]}")
        source = f"revision {build['revision'][:12]}" if build.get("revision") else "no revision known"
        changes = ", with uncommitted changes" if build.get("dirty") else ""
        builds.setdefault(source + changes, build["name"])
    if not days:
        return "No run has left its files."
    of_what = "; ".join(builds) if len(builds) == 1 else "; ".join(f"{name}: {what}" for what, name in builds.items())
    return f"Run on {' to '.join(sorted({min(days), max(days)}))}. Harness and nodes: {of_what}."


def _cell(plan: Plan) -> tuple[str, ...]:
    return (plan.build, plan.cluster, ", ".join(plan.workloads), ", ".join(plan.faults) or "none")


def _json(state: State) -> str:
    return msgspec.json.format(msgspec.json.encode(state), indent=1).decode() + "\n"
