"""Plans: defaults that work, one clear sentence for what does not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from harness.plan import Plan, UsageError, checked, command_of


def test_the_default_plan_is_a_good_one_and_survives_its_file() -> None:
    plan = checked(Plan())
    assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"workloads": ("registre",)}, "unknown workload 'registre'; did you mean register?"),
        ({"workloads": ()}, "no workload was given"),
        ({"workloads": ("append", "append")}, "'append' was given twice"),
        ({"faults": ("kil",)}, "unknown fault 'kil'; did you mean kill?"),
        ({"faults": ("zzz",)}, "unknown fault 'zzz'; known: delay, kill, partition, pause"),
        ({"cluster": "doker"}, "unknown cluster 'doker'; did you mean docker?"),
        ({"nodes": 0}, "--nodes must be between 1 and 9, not 0"),
        ({"nodes": 2}, "faults need at least 3 nodes"),
        ({"seconds": 3.0}, "--time must be between 10 and 86400, not 3"),
        ({"seconds": float("nan")}, "--time must be between"),
        ({"rate": -1.0}, "--rate must be between"),
        ({"concurrency": 0}, "--concurrency must be between"),
        ({"seed": -1}, "--seed must be between"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused_with_what_is_expected(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        checked(msgspec.structs.replace(Plan(), **change))
    assert sentence in str(caught.value)


def test_the_command_that_runs_it_again_names_what_differs_from_the_defaults_and_the_seed() -> None:
    assert command_of(Plan(seed=9)) == "./splitbrain run --seed 9"
    plan = Plan(cluster="docker", faults=(), seconds=15.0, build="bug:no-dedup", seed=3)
    expected = "./splitbrain run --cluster docker --faults none --time 15 --build bug:no-dedup --seed 3"
    assert command_of(plan) == expected


@pytest.mark.parametrize("seconds", [10.0, 15.0, 30.0, 300.0])
def test_a_run_has_time_for_its_calibration_its_faults_and_its_end(seconds: float) -> None:
    plan = Plan(seconds=seconds)
    assert 0 < plan.calibration < plan.faults_end < plan.end


def test_the_command_has_every_digit_that_the_schedule_depends_on() -> None:
    assert "--time 1234.5678 --rate 12345.67 " in command_of(Plan(seconds=1234.5678, rate=12345.67))
