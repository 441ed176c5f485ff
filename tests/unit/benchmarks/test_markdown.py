"""Test the Markdown that is printed of a results file."""

from dataclasses import asdict
from typing import Any

from benchmarks.goals import Goal, verdict
from benchmarks.markdown import lines

MACHINE = {"processors": 2, "processor": "Xeon", "memory_gb": 16.0}


def results(*goals: dict[str, Any]) -> dict[str, Any]:
    return {
        "machine": MACHINE,
        "commit": "abc123",
        "is_changed": True,
        "command": "python3 run.py bench reads",
        "started_at": "2026-11-30T10:00:00Z",
        "rows": {"reads": {"goals": list(goals), "others_cpus": 0.02, "client_cpus": 0.3}},
    }


def test_each_goal_is_a_row_with_the_load_of_others_beside_it() -> None:
    goal = Goal("GET payment: CPU", ("cpu",), 0.4, "ms")
    found = list(lines(results(asdict(verdict(goal, {"cpu": 0.3})), asdict(verdict(goal, {"cpu": 0.5})))))
    assert found[-2] == "| `reads` | GET payment: CPU | **0.30 ms** | met by 25% (at most 0.4 ms) | 0.02 | 0.30 |"
    assert found[-1] == "| `reads` | GET payment: CPU | 0.50 ms | NOT MET by 25% (at most 0.4 ms) | 0.02 | 0.30 |"


def test_machine_commit_command_and_changes_are_named() -> None:
    first = next(lines(results()))
    assert first == (
        "`python3 run.py bench reads` at commit abc123, with uncommitted changes, 2026-11-30, on 2 CPUs (Xeon, 16 GB) "
        "that ran everything."
    )
