"""JUnit's XML over several runs, which most build servers read: one test case a run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from harness.run import Record

# What XML 1.0 cannot hold, not even escaped.
FORBIDDEN = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render_junit(name: str, records: Sequence[Record]) -> str:
    """The runs as one test suite: a violation is a failure, what proved nothing (inconclusive, infrastructure) an error."""
    outcomes = [record.outcome for record in records]
    suite = ET.Element(
        "testsuite",
        name=name,
        tests=str(len(records)),
        failures=str(outcomes.count("violation")),
        errors=str(outcomes.count("inconclusive") + outcomes.count("infrastructure")),
        time=f"{sum(record.wall_seconds for record in records):.3f}",
    )
    for record in records:
        case = ET.SubElement(
            suite,
            "testcase",
            classname=_clean(f"{name}.{record.cluster}.{record.build}"),
            name=_clean(f"{'+'.join(record.workload)} {'+'.join(record.faults) or 'none'} seed {record.seed}"),
            time=f"{record.wall_seconds:.3f}",
        )
        if record.outcome != "pass":
            tag = "failure" if record.outcome == "violation" else "error"
            told = ET.SubElement(case, tag, type=record.outcome, message=_clean(record.reasons[0]))
            told.text = _clean("\n".join([*record.reasons, f"run: {record.run}", f"again: {record.command}"]))
    whole = ET.Element("testsuites")
    whole.append(suite)
    ET.indent(whole)
    text: str = ET.tostring(whole, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'


def _clean(text: str) -> str:
    return FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)
