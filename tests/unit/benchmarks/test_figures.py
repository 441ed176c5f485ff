"""Test how the benchmarks compute percentiles, medians, CPU shares and profiles from their measurements."""

from collections import Counter

import pytest

from benchmarks.cpu_time import Reading, cpu_seconds_between
from benchmarks.measure import percentiles
from benchmarks.profiling import by_package, shares
from benchmarks.report import median


def test_a_percentile_is_a_measured_time() -> None:
    assert percentiles([5.0, 1.0, 4.0, 2.0, 3.0]) == {"p50": 3.0, "p95": 5.0, "p99": 5.0}
    assert percentiles([float(n) for n in range(1, 201)]) == {"p50": 100.0, "p95": 190.0, "p99": 198.0}
    assert percentiles([]) == {}


def test_cpu_time_of_unrelated_processes_is_counted_as_other() -> None:
    before = Reading({"api": 1.0, "client": 0.5}, machine=10.0, at=0.0)
    after = Reading({"api": 3.0, "client": 1.0}, machine=16.0, at=2.0)
    assert cpu_seconds_between(before, after) == pytest.approx({"api": 2.0, "client": 0.5, "others": 3.5})


def test_the_median_is_taken_over_the_rounds() -> None:
    rounds = [{"closed": {"per_second": each}} for each in (900.0, 100.0, 500.0)]
    assert median(rounds, ("closed", "per_second")) == 500.0
    assert median(rounds, ("closed", "missing")) is None


def test_a_recursive_function_is_counted_once_per_sample() -> None:
    cumulative, alone = shares(Counter({"main;walk;walk": 3, "main": 1}))
    assert cumulative == {"main": 4, "walk": 3}
    assert alone == {"walk": 3, "main": 1}


def test_a_function_belongs_to_the_package_of_its_file() -> None:
    alone = Counter(
        {"handle (fastapi/routing.py)": 2, "solve (fastapi/dependencies/utils.py)": 1, "run (threading.py)": 4}
    )
    assert by_package(alone) == {"fastapi": 3, "threading": 4}
