"""A month stays as long as anything in it is open, and the command says what and how many."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.factories import submit_refund
from tests.integration.archive.archive_helpers import archive, live_payments, problems, rows
from tests.integration.archive.conftest import POLICY, OldShop
from workflows.archive.archive import MonthKept, WrongMonth, archiving
from workflows.archive.obstacles import Policy

_UNCHECKED = "ALTER TABLE payments DROP CONSTRAINT payments_known_when_final"
_SOLD = "WHERE id = '{old.sold}'"
_BREAK = """INSERT INTO breaks (id, merchant_id, store_id, settlement_id, identity, run, category, provider, kind, entity_id,
    currency, difference, fee_difference, opened_at, owner)
    SELECT 'brk_1', merchant_id, store_id, settlement_id, 'x', 1, 'amount_mismatch', provider, kind, entity_id, currency, 1, 0,
        now(), 'nobody' FROM settlement_lines WHERE entity_id = '{old.sold}'"""
OPEN = (
    (
        "the outcome of 1 payment is unknown",
        "ALTER TABLE payments DROP CONSTRAINT payments_known_when_final; UPDATE payments SET outcome_known = false "
        + _SOLD,
    ),
    ("1 payment is in review", "UPDATE payments SET needs_review = true " + _SOLD),
    ("1 payment waits for somebody at the till", "UPDATE payments SET needs_action = true " + _SOLD),
    ("1 completed payment is in no settlement", "UPDATE payments SET settlement_id = NULL " + _SOLD),
    ("1 payment is being refunded", "UPDATE payments SET refund_reserved = 1 " + _SOLD),
    ("1 refund is open", "UPDATE refunds SET needs_review = true"),
    ("1 completed refund is in no settlement", "UPDATE refunds SET settlement_id = NULL"),
    ("1 payment is due", "INSERT INTO due_payments VALUES ('{old.sold}', now())"),
    ("1 break about it is not resolved", _BREAK),
    (
        "1 dead letter is open",
        """INSERT INTO dead_letters (id, task, arguments, entity_id, deliveries, reason, created_at)
           VALUES ('dlt_1', 'payments.process', '[]', '{old.sold}', 3, 'crashed', now())""",
    ),
    (
        "1 answer is stored for repetitions of its request",
        """INSERT INTO idempotency_records (merchant_id, method, path, key, caller, fingerprint, status, body, resource_id,
               created_at, expires_at)
           VALUES ('m', 'POST', '/api/v1/payments', 'k', 'c', 'f', 201, '{{}}', '{old.sold}', now(), now())""",
    ),
    (
        "settlement {old.settlement} of store {old.tenant.store_id} is not reconciled",
        "UPDATE settlements SET status = 'closed', reconciled_at = NULL, reconciled_by = NULL WHERE id = '{old.settlement}'",
    ),
    (
        "1 journal has its entries in another month",
        "DELETE FROM ledger_entries WHERE journal_id = (SELECT min(journal_id) FROM ledger_entries)",
    ),
)


@pytest.mark.parametrize(("reason", "change"), OPEN, ids=[reason[:30] for reason, _ in OPEN])
async def test_a_month_with_something_open_stays_and_says_what(
    old: OldShop, tmp_path: Path, reason: str, change: str
) -> None:
    async with old.admin.transaction():
        await old.admin.execute("SET LOCAL session_replication_role = replica")  # no trigger refuses the change
        await old.admin.execute(change.format(old=old).encode())
    with pytest.raises(MonthKept) as kept:
        archive(old, tmp_path)
    assert reason.format(old=old) in kept.value.reasons
    assert await live_payments(old) == 5
    assert os.listdir(tmp_path) == []
    assert await rows(old, "SELECT * FROM archive_log") == []


async def test_a_payment_that_is_not_final_keeps_its_month(
    old: OldShop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # ids of the present month again
    await old.shop.payments.pending()
    await old.shop.payments.pending()
    with pytest.raises(MonthKept, match=r"2 payments are not final; 2 payments are due; 2 answers are stored"):
        archive(old, tmp_path)


async def test_a_month_that_is_too_young_says_from_when_on_it_may_be_archived(old: OldShop, tmp_path: Path) -> None:
    young = Policy(after_months=13, now=datetime(2000, 1, 1, tzinfo=UTC))
    with archiving(old.url, policy=young, by="a test", report=print) as run:
        ends = run.find(old.month).ends_at
        expected = f"it may be archived from {ends.year + 1}-{ends.month + 1:02}-01 on, 13 months after its end"
        with pytest.raises(MonthKept, match=expected):
            run.archive_month(old.month, tmp_path)


async def test_what_comes_in_between_the_two_checks_is_found_and_the_month_is_open_again(
    old: OldShop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with archiving(old.url, policy=POLICY, by="a test", report=print) as run:
        check, calls = type(run).obstacles, []

        def obstacles(self: object, month: object) -> list[str]:
            calls.append(month)
            if len(calls) == 2:
                return ["1 refund is open"]
            return check(self, month)  # type: ignore[arg-type]

        monkeypatch.setattr(type(run), "obstacles", obstacles)
        with pytest.raises(MonthKept):
            run.archive_month(old.month, tmp_path)
    events = await rows(old, "SELECT event FROM archive_log ORDER BY number")
    assert [row["event"] for row in events] == ["freeze", "release"]
    await submit_refund(old.sold, 100, caller=old.tenant.device)
    assert await problems(old) == []


async def test_a_month_that_does_not_exist_is_named_with_those_that_do(old: OldShop, tmp_path: Path) -> None:
    with (
        archiving(old.url, policy=POLICY, by="a test", report=print) as run,
        pytest.raises(WrongMonth, match=r"There is no month 1999-01\. There are: until-"),
    ):
        run.archive_month("1999_01", tmp_path)
