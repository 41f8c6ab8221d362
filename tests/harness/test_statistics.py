"""Intervals: Wilson's for rates, a bootstrap over runs that is paired and always gives the same."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest

from harness.statistics import Estimate, bootstrap, quantiles, wilson


@pytest.mark.parametrize(
    "hits, tries, low, high",
    [
        # By Wilson's formula, computed by hand: (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n).
        (0, 5, 0.0, 0.4345),
        (5, 5, 0.5655, 1.0),
        (1, 10, 0.0179, 0.4042),
        (50, 100, 0.4038, 0.5962),
    ],
)
def test_wilsons_interval(hits: int, tries: int, low: float, high: float) -> None:
    estimate = wilson(hits, tries)
    assert estimate.value == hits / tries
    assert (estimate.low, estimate.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_nothing_tried_is_no_rate() -> None:
    assert wilson(0, 0) == Estimate(None)


def mean(runs: list[float]) -> list[float]:
    return [sum(runs) / len(runs)]


def test_the_same_data_give_the_same_interval() -> None:
    assert bootstrap(mean, [1.0, 2.0, 4.0, 8.0]) == bootstrap(mean, [1.0, 2.0, 4.0, 8.0])


def test_the_interval_holds_the_value_and_is_within_the_data() -> None:
    ((estimate,),) = bootstrap(mean, [1.0, 2.0, 4.0, 8.0])
    assert estimate.value == 3.75
    assert estimate.low is not None
    assert estimate.high is not None
    assert 1.0 <= estimate.low < 3.75 < estimate.high <= 8.0


def test_pairing_takes_out_what_a_seed_brings_with_it() -> None:
    """Seeds differ by a factor of a hundred, B takes twice as long as A on each: the ratio is certain all the same."""
    a = [1.0, 10.0, 100.0, 3.0]
    ((first, _, ratio),) = bootstrap(mean, a, [2 * value for value in a])
    assert first.low is not None
    assert first.high is not None
    assert first.high / first.low > 5
    assert (ratio.low, ratio.value, ratio.high) == (2.0, 2.0, 2.0)


def test_about_nineteen_of_twenty_intervals_hold_the_truth() -> None:
    draw = Random(7)
    held = 0
    for _ in range(100):
        ((estimate,),) = bootstrap(mean, [draw.gauss(10, 2) for _ in range(30)])
        assert estimate.low is not None
        assert estimate.high is not None
        held += estimate.low <= 10 <= estimate.high
    assert 86 <= held <= 99


def test_one_run_has_a_value_and_no_interval() -> None:
    assert bootstrap(mean, [3.0], [6.0]) == [[Estimate(3.0), Estimate(6.0), Estimate(2.0)]]


def test_what_the_runs_do_not_tell_is_no_value() -> None:
    def unknown(runs: list[float]) -> list[float]:
        return [math.nan, sum(runs)]

    first, second = bootstrap(unknown, [0.0, 0.0], [1.0, 2.0])
    assert first == [Estimate(None), Estimate(None), Estimate(None)]
    assert second[2] == Estimate(None), "no ratio to nothing"
    assert second[1].value == 3.0


def test_quantiles_of_several_runs_are_of_all_their_samples() -> None:
    assert quantiles([np.array([1.0, 2.0]), np.array([3.0, 4.0, 5.0])], (0.5, 1.0)) == [3.0, 5.0]
    assert all(math.isnan(value) for value in quantiles([np.empty(0)], (0.5, 0.9)))
