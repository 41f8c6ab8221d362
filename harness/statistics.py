"""Intervals for what few runs show: Wilson for rates, a paired bootstrap over runs for everything else.

Operations of one run are not independent of each other (one election delays hundreds), so runs are what is resampled,
never operations. Everything is a function of its arguments: the bootstrap draws from a generator with a fixed seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

Z_95 = 1.959963984540054  # the standard normal quantile of 0.975
RESAMPLES = 1000
BOOTSTRAP_SEED = 20261124


class Estimate(msgspec.Struct, frozen=True):
    """A value with its 95 % interval; `low` and `high` are None where too few runs were made to tell."""

    value: float | None
    low: float | None = None
    high: float | None = None


def wilson(hits: int, tries: int) -> Estimate:
    """The rate hits / tries with Wilson's score interval, which also holds for 0 of 5 and 5 of 5.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    assert 0 <= hits <= tries, "there are not more hits than tries"
    if tries == 0:
        return Estimate(None)
    rate = hits / tries
    spread = Z_95 * math.sqrt(rate * (1 - rate) / tries + Z_95**2 / (4 * tries**2))
    middle = rate + Z_95**2 / (2 * tries)
    scale = 1 + Z_95**2 / tries
    return Estimate(rate, max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale))


Measure = Callable[[Sequence[Any]], Sequence[float]]


def bootstrap(measure: Measure, *sides: Sequence[Any]) -> list[list[Estimate]]:
    """Per figure of the measure: an estimate for each side, then (with two sides) for the second against the first.

    `measure` maps the data of several runs to its figures, nan where they do not tell. Runs at the same place of both
    sides have the same seed and are drawn together, so that what a seed brings with it cancels out of their ratio.
    Intervals are percentiles; B. Efron and R. Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13.
    """
    count = len(sides[0])
    assert all(len(side) == count for side in sides), "runs are paired"
    observed = _with_ratio([measure(side) for side in sides])
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    drawn = []
    for _ in range(RESAMPLES if count > 1 else 0):
        places = generator.integers(0, count, count)
        drawn.append(_with_ratio([measure([side[place] for place in places]) for side in sides]))
    resampled: NDArray[np.float64] = np.asarray(drawn, dtype=np.float64).reshape(-1, *observed.shape)
    return [
        [_interval(float(observed[side, figure]), resampled[:, side, figure]) for side in range(len(observed))]
        for figure in range(observed.shape[1])
    ]


def _with_ratio(rows: list[Sequence[float]]) -> NDArray[np.float64]:
    """One row a side, and one more with second / first where there are two; nan where the first is 0."""
    values = np.asarray(rows, dtype=np.float64)
    if len(values) != 2:
        return values
    first = np.where(values[0] == 0, np.nan, values[0])
    return np.vstack([values, values[1] / first])


def _interval(value: float, drawn: NDArray[np.float64]) -> Estimate:
    known = drawn[np.isfinite(drawn)]
    if not math.isfinite(value) or len(known) <= len(drawn) / 2:
        return Estimate(_finite(value))
    low, high = np.quantile(known, [0.025, 0.975])
    return Estimate(value, float(low), float(high))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def quantiles(samples: Sequence[NDArray[np.float64]], shares: Sequence[float]) -> list[float]:
    """Quantiles of the samples of several runs taken together; nan where there are none."""
    pooled = np.concatenate(samples) if samples else np.empty(0)
    return [float(value) for value in np.quantile(pooled, shares)] if len(pooled) else [math.nan] * len(shares)
