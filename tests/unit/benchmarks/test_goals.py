"""Test how a figure is compared with its goal, and how plans are changed on the command line."""

import pytest

from benchmarks.goals import Goal, verdict
from benchmarks.plan import Plan
from benchmarks.plan_options import with_settings
from benchmarks.rows.ordinary import OrdinaryPlan
from mpac.cli.errors import UserError

AT_MOST = Goal("POST P99", ("post_ms", "p99"), 5, "ms")
AT_LEAST = Goal("ratio", ("ratio",), 20, "times", at_least=True)


@pytest.mark.parametrize(
    ("goal", "figures", "is_met", "sentence"),
    [
        (AT_MOST, {"post_ms": {"p99": 4.0}}, True, "met by 20% (at most 5 ms)"),
        (AT_MOST, {"post_ms": {"p99": 5.0}}, True, "met exactly (at most 5 ms)"),
        (AT_MOST, {"post_ms": {"p99": 7.0}}, False, "NOT MET by 40% (at most 5 ms)"),
        (AT_MOST, {"post_ms": {"p99": 15.0}}, False, "NOT MET: 3.0 times it (at most 5 ms)"),
        (AT_LEAST, {"ratio": 25.0}, True, "met by 25% (at least 20 times)"),
        (AT_LEAST, {"ratio": 15.0}, False, "NOT MET by 25% (at least 20 times)"),
        (Goal("answers of 503", ("refused",), 0), {"refused": 3}, False, "NOT MET by 3 (at most 0)"),
        (AT_MOST, {"post_ms": {}}, None, "not measured (at most 5 ms)"),
    ],
)
def test_a_goal_says_whether_it_is_met_and_by_how_much(
    goal: Goal, figures: dict[str, object], is_met: bool | None, sentence: str
) -> None:
    found = verdict(goal, figures)
    assert (found.is_met, found.sentence) == (is_met, sentence)


def test_a_setting_replaces_a_value_of_the_plan_and_keeps_its_type() -> None:
    plan = with_settings(Plan(), ["closed=5", "rounds=2"])
    assert (plan.closed, plan.rounds) == (5.0, 2)
    assert isinstance(plan.closed, float)
    assert with_settings(OrdinaryPlan(), ["rates=[10, 50]"]).rates == (10, 50)


@pytest.mark.parametrize("setting", ["closed=fast", "rounds=1.5", "rounds", "durations=3", "rounds=true"])
def test_a_setting_that_does_not_fit_the_plan_is_refused(setting: str) -> None:
    with pytest.raises(UserError):
        with_settings(Plan(), [setting])


def test_a_setting_for_another_of_several_plans_is_left_out() -> None:
    assert with_settings(Plan(), ["devices=3"], of_several=True) == Plan()
