"""Test how the benchmarks compute percentiles, medians, CPU shares and profiles from their measurements."""

from collections import Counter

import pytest

from benchmarks.cpu_time import Reading, cpu_seconds_between
from benchmarks.generator import cpu_figures, percentiles
from benchmarks.profiling import by_package, shares
from benchmarks.report import median, medians_of


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


def test_medians_keep_the_shape_of_the_figures_that_all_rounds_have() -> None:
    rounds = [
        {"100": {"post_ms": {"p50": 3.0}, "answers": {"201": 9}, "errors": []}, "500": {"post_ms": {"p50": 9.0}}},
        {"100": {"post_ms": {"p50": 5.0}, "answers": {"201": 7}, "errors": []}},
    ]
    assert medians_of(rounds) == {"100": {"post_ms": {"p50": 4.0}, "answers": {"201": 8.0}}}


def test_cpu_time_of_the_sandbox_is_reported_separately() -> None:
    spent = {"api": 1.0, "sandbox": 0.5, "client": 0.2, "client's database session": 0.1, "others": 4.0}
    found = cpu_figures(spent, count=1_000, seconds=2.0)
    milliseconds = found["processor_ms"]
    assert milliseconds["without the sandbox"] == pytest.approx(1.0)
    assert milliseconds["sandbox"] == pytest.approx(0.5)
    assert milliseconds["all of its own"] == pytest.approx(1.5)
    assert milliseconds["with the client"] == pytest.approx(1.8)
    assert (found["share of client"], found["share of others"]) == (0.1, 2.0)
