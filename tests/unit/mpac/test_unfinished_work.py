"""Unfinished work is listed by currency, and decides the exit code of `mpac invariants` unless it is merely open."""

import dataclasses

import pytest

from mpac.audit.report import AuditReport, RuleResult
from mpac.cli.commands.invariants import exit_code
from mpac.cli.unfinished_work import UnfinishedWork, count_unfinished_work
from workflows.ops.count_open_rows import OpenRows, Overview

ROW = OpenRows("payment", "processing", "sandbox", "JPY", 0, 2, 1_500, 30.0, 0, 0, 0.0, 0, 0, 0.0, 0, 0, 0.0)
HELD = RuleResult("I1", "attempts", "Each attempt follows one.", "our database", 7, 0, ())


def overview(*rows: OpenRows, letters: int = 0) -> Overview:
    return Overview(rows, letters, 7_200.0 if letters else 0.0, {}, 0.0)


def proof(waiting: UnfinishedWork, *, violations: int = 0) -> AuditReport:
    return AuditReport([dataclasses.replace(HELD, count=violations)], {}, waiting)


GROUPS = {
    "in_doubt": dataclasses.replace(ROW, in_doubt=1, in_doubt_amount=700, in_doubt_oldest_seconds=90.0),
    "needs_review": dataclasses.replace(ROW, needs_review=1, needs_review_amount=700, needs_review_oldest_seconds=90.0),
    "needs_action": dataclasses.replace(
        ROW, entity="refund", needs_action=1, needs_action_amount=700, needs_action_oldest_seconds=90.0
    ),
}


@pytest.mark.parametrize("group", GROUPS)
def test_unfinished_work_exits_with_3_unless_a_rule_is_broken(group: str) -> None:
    waiting = count_unfinished_work(overview(GROUPS[group]))
    assert [(part.count, part.amount) for part in waiting.groups[group]] == [(1, 700)]
    assert exit_code(proof(waiting)) == 3
    assert exit_code(proof(waiting, violations=1)) == 1


def test_dead_letters_exit_with_3_and_merely_open_rows_with_0() -> None:
    assert exit_code(proof(count_unfinished_work(overview(ROW, letters=1)))) == 3
    assert exit_code(proof(count_unfinished_work(overview(ROW)))) == 0


def test_open_work_is_summed_over_statuses_and_providers_but_not_currencies() -> None:
    other = dataclasses.replace(
        ROW, status="pending", provider="cash", open=1, open_amount=500, open_oldest_seconds=7_300.0
    )
    dollars = dataclasses.replace(ROW, currency="USD", open=1, open_amount=1_150)
    refund = dataclasses.replace(ROW, entity="refund", open=1, open_amount=300, open_oldest_seconds=200_000.0)
    first, *others = count_unfinished_work(overview(ROW, other, dollars, refund, letters=3)).lines()
    said = "3 payment(s), ¥2,000, oldest 2 h; 1 payment(s), $11.50, oldest 30 s; 1 refund(s), ¥300, oldest 2 days"
    assert first == f"Open:              {said}"
    assert others == [
        "In doubt:          none",
        "In review:         none",
        "To refund by hand: none",
        "Dead letters:      3, oldest 2 h",
    ]
