"""Test that a row that fails has no figures and does not end the rows after it."""

import io
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from benchmarks.__main__ import measure_rows
from benchmarks.frame import Row, Run
from benchmarks.goals import Figures, Goal
from mpac.cli.errors import UserError


@dataclass(frozen=True, slots=True)
class EmptyPlan:
    seconds: float = 1.0


async def find_nothing_wrong(run: Run, _plan: EmptyPlan) -> Figures:
    run.audits.append({"rules": 3, "checks": 12})
    run.share_of_others.append(0.5)
    return {"ratio": 2.0}


async def find_something_wrong(_run: Run, _plan: EmptyPlan) -> Figures:
    raise UserError("The auditors found something")


async def fail(_run: Run, _plan: EmptyPlan) -> Figures:
    raise KeyError("a bug")


def row(name: str, measure: Any) -> Row:
    return Row(name, "a summary", EmptyPlan(), EmptyPlan(), measure, goals=(Goal("the ratio", ("ratio",), 1.5),))


def measured(*rows: Row) -> tuple[list[dict[str, Any]], str]:
    said = io.StringIO()
    console = Console(file=said, width=140)
    return list(measure_rows(list(rows), console, quick=True, changes=[], only=())), said.getvalue()


def test_rows_that_fail_have_no_figures_and_the_others_are_measured() -> None:
    contents, said = measured(row("wrong", find_something_wrong), row("broken", fail), row("right", find_nothing_wrong))
    assert [list(content["rows"]) for content in contents] == [[], [], ["right"]]
    assert contents[-1]["refused"] == {"wrong": "The auditors found something", "broken": "KeyError: 'a bug'"}
    assert "wrong: The auditors found something" in said


def test_goals_audits_and_the_load_of_others_are_shown() -> None:
    _, said = measured(row("right", find_nothing_wrong))
    assert "the ratio  2         NOT MET by 33% (at most 1.5)" in said
    assert "The auditors made 12 checks and found nothing." in said
    assert "0.50 CPUs: the times are those of a shared machine" in said
