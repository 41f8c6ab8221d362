"""The charts of a page, as Vega-Lite: rate and latency over time with the bands of the faults behind them.

The page carries the Vega bundle that vl-convert-python brings, so that it opens without a network. Colours and fonts
come from the page (`page/page.js`), which knows whether it is light or dark.
"""

from __future__ import annotations

import functools
from random import Random
from typing import Any

import altair as alt
import vl_convert

from harness.reading import Operation, RunFiles

SECOND = 1_000_000_000
MOST_POINTS = 2_500
TYPES = ("ok", "info", "fail")
TYPE_COLOURS = ("#6DB6FE", "#FFAA26", "#FF8AC2")
FAMILY_COLOURS = {"partition": "#E9DCA0", "kill": "#E9A4A0", "pause": "#A0B1E9"}
OTHER_FAMILY = "#D1E8A0"
HEIGHT = 170
EXTENT = 44  # pixels that both charts leave for their labels, so that they lie one below the other, second by second
POWERS = (0.1, 1, 10, 100, 1_000, 10_000, 100_000)
IMPOSSIBLE = "#B8152E"


@functools.cache
def vega_bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script (made once: it takes two seconds)."""
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    # Its names stay its own: a page has several scripts.
    return "(() => {" + bundle + "\n})();"


def charts(run: RunFiles) -> dict[str, Any]:
    """Two charts as Vega-Lite specifications; empty where no operation ended."""
    ended = [operation for operation in run.operations if operation.end is not None]
    if not ended:
        return {}
    end = run.end / SECOND
    behind = [_bands(run, end), *_moment(run, end)]
    return {
        "rate": _specification(*behind, _rate(ended, end)),
        "latency": _specification(*behind, _latency(ended, end)),
    }


def _specification(*layers: alt.Chart) -> dict[str, Any]:
    sized = alt.layer(*layers).properties(
        width="container", height=HEIGHT, autosize=alt.AutoSizeParams(type="fit-x", contains="padding")
    )
    specification: dict[str, Any] = sized.resolve_scale(color="independent").to_dict()
    return specification


def _time(end: float) -> alt.X:
    return alt.X("t:Q").title("seconds from the start").scale(domain=[0, end], nice=False).axis(grid=False)


def _bands(run: RunFiles, end: float) -> alt.Chart:
    """One rectangle a fault, from its installation to its heal."""
    rows = [
        {
            "t": fault.start / SECOND,
            "until": end if fault.end is None else fault.end / SECOND,
            "family": fault.family,
            "fault": f"{fault.id}: {fault.says}",
        }
        for fault in run.faults
    ]
    families = [family for family in FAMILY_COLOURS if any(row["family"] == family for row in rows)]
    families += sorted({str(row["family"]) for row in rows} - set(families))
    colours = [FAMILY_COLOURS.get(family, OTHER_FAMILY) for family in families]
    chart: alt.Chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_rect(opacity=0.3)
        .encode(
            x=_time(end),
            x2="until:Q",
            color=alt.Color("family:N").scale(domain=families, range=colours).legend(title="faults", orient="top"),
            tooltip=["fault:N", alt.Tooltip("t:Q", format=".2f"), alt.Tooltip("until:Q", format=".2f")],
        )
    )
    return chart


def _moment(run: RunFiles, end: float) -> list[alt.Chart]:
    """A line where the first impossible operation was asked."""
    first = ((run.violated or {}).get("first_impossible") or {}).get("invoke_index")
    rows = [
        {"t": round(operation.start / SECOND, 3), "what": "the first impossible operation"}
        for operation in run.operations
        if operation.asked.i == first
    ]
    if not rows:
        return []
    chart: alt.Chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_rule(color=IMPOSSIBLE, strokeWidth=2)
        .encode(x=_time(end), tooltip=["what:N", "t:Q"])
    )
    return [chart]


def _colour_of_type() -> alt.Color:
    return alt.Color("type:N").scale(domain=TYPES, range=TYPE_COLOURS).legend(title="operations", orient="top")


def _rate(ended: list[Operation], end: float) -> alt.Chart:
    """Completions a second, in slices of a quarter of a second (of more in a long run)."""
    width = max(0.25, round(end / 240, 2))
    slices = int(end / width) + 1
    counts = {type_: [0] * slices for type_ in TYPES}
    for operation in ended:
        if operation.type in counts and operation.end is not None:
            counts[operation.type][min(slices - 1, max(0, int(operation.end / SECOND / width)))] += 1
    rows = [
        {"t": round((place + 0.5) * width, 3), "type": type_, "rate": round(count / width, 1)}
        for type_ in TYPES
        for place, count in enumerate(counts[type_])
        if type_ == "ok" or any(counts[type_])
    ]
    chart: alt.Chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_line(interpolate="step", strokeWidth=2)
        .encode(
            x=_time(end),
            y=alt.Y("rate:Q").title("operations / s").axis(minExtent=EXTENT, maxExtent=EXTENT),
            color=_colour_of_type(),
            tooltip=["type:N", "t:Q", "rate:Q"],
        )
    )
    return chart


def _latency(ended: list[Operation], end: float) -> alt.Chart:
    """One point an operation: all slow ones, and of the others a sample that is the same for the same run."""
    points = [
        (operation.start / SECOND, max(0.001, (operation.end - operation.start) / 1e6), operation)
        for operation in ended
        if operation.end is not None
    ]
    if len(points) > MOST_POINTS:
        points.sort(key=lambda point: -point[1])
        slow = MOST_POINTS // 3
        points = points[:slow] + Random(1).sample(points[slow:], MOST_POINTS - slow)  # noqa: S311 - a sample for the eye
    rows = [
        {"t": round(t, 3), "ms": round(ms, 3), "type": operation.type, "f": operation.asked.f}
        for t, ms, operation in points
    ]
    chart: alt.Chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_circle(size=14, opacity=0.7)
        .encode(
            x=_time(end),
            y=alt.Y("ms:Q")
            .title("latency, ms")
            .scale(type="log")
            .axis(values=POWERS, format="~g", minExtent=EXTENT, maxExtent=EXTENT),
            color=_colour_of_type(),
            tooltip=["f:N", "type:N", "t:Q", "ms:Q"],
        )
    )
    return chart
