"""Every entry of beat's timetable names an existing task, and every sweep has an entry."""

import ast
from pathlib import Path

import pytest

from beat.timetable import timetable

SCHEDULE = timetable()
ROOT = Path(__file__).parents[3]
RETIRED = {"sweeps.canaries", "sweeps.payments", "sweeps.refunds", "sweeps.settlements"}  # of an older beat


def task_names(*files: Path) -> set[str]:
    """Return the task names in ``files``.

    The files are parsed, so that the Celery application is not imported.
    """
    return {
        str(keyword.value.value)
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "app.task"
        for keyword in node.keywords
        if keyword.arg == "name" and isinstance(keyword.value, ast.Constant)
    }


@pytest.mark.parametrize("entry", SCHEDULE.values(), ids=list(SCHEDULE))
def test_every_entry_names_a_task_that_exists(entry: dict[str, object]) -> None:
    assert entry["task"] in task_names(*(ROOT / "beat").glob("*.py"), *(ROOT / "workers").glob("*.py"))


def test_every_sweep_is_on_the_timetable() -> None:
    assert task_names(ROOT / "beat" / "sweeps.py") - RETIRED == {
        entry["task"] for entry in SCHEDULE.values() if entry["task"].startswith("sweeps.")
    }


def test_sweeps_run_every_second() -> None:
    assert SCHEDULE["sweep-due"]["schedule"] == 1


def test_a_scaled_timetable_never_goes_below_the_interval_of_the_sweeps() -> None:
    short = timetable(scale=0.1)
    assert {name: entry["task"] for name, entry in short.items()} == {n: e["task"] for n, e in SCHEDULE.items()}
    assert short["open-settlements"]["schedule"] == pytest.approx(6)
    assert short["sweep-due"]["schedule"] == 1
