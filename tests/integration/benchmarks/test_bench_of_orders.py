"""The benchmark of orders runs to its end and reports plausible figures. Its speed is not asserted."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.orders import LIMIT, ORDERS_QUICK, SERVICES
from mpac.stack.state_folder import ROOT
from tests.polling import HANGS_AFTER_SECONDS


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    file: Path = tmp_path_factory.mktemp("bench") / "results.json"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MPAC_")}
    done = subprocess.run(
        [sys.executable, "-m", "mpac", "bench", "--orders", "--quick", "--results", str(file)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=HANGS_AFTER_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "times a payment's accept" in done.stdout
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_orders_and_payments_are_measured_in_every_round(results: dict[str, Any]) -> None:
    assert {kind: len(rounds) for kind, rounds in results["rounds"].items()} == {
        "payment": ORDERS_QUICK.rounds,
        "order": ORDERS_QUICK.rounds,
    }
    for (figures,) in results["rounds"].values():
        assert figures["per second"] > 0
        assert figures["P99 ms"] > 0
        assert figures["postgres ms"] > 0
        assert figures["processor ms"] == pytest.approx(sum(figures[f"{part} ms"] for part in SERVICES))


def test_the_ratio_is_of_an_order_to_a_payment(results: dict[str, Any]) -> None:
    medians = results["medians"]
    assert results["ratio"] == pytest.approx(medians["order"]["processor ms"] / medians["payment"]["processor ms"])
    assert results["limit"] == LIMIT


def test_the_help_of_bench_names_the_benchmark_of_orders() -> None:
    words = [sys.executable, "-m", "mpac", "bench"]
    for rest in (["--help"], ["--", "--help"]):
        told = subprocess.run(
            [*words, *rest], cwd=ROOT, capture_output=True, text=True, check=True, timeout=HANGS_AFTER_SECONDS
        ).stdout
        assert "--orders" in told
