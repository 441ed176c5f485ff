"""A statement fetched from the provider decides unknown outcomes, whatever the state of the payment or refund."""

import asyncio
from datetime import timedelta

import pytest

from tests.factories import time_passes
from tests.integration.settlements.back_office import BackOffice, payment_in_doubt, refund_in_doubt
from tests.integration.settlements.statement_api import (
    listed,
    outcome,
    reconcile_as_worker,
    reconcile_fetched_statement,
    row_of,
)
from workflows.clock import now
from workflows.errors import ServiceUnavailable
from workflows.providers.base import NotFound, Succeeded, Unknown
from workflows.reconciliation import resolve_unknown_outcomes


async def test_thirteen_payments_in_doubt_are_completed_by_the_fetched_statement(back_office: BackOffice) -> None:
    shop = back_office.shop
    payment_ids = [await payment_in_doubt(shop, 1_000 + n) for n in range(13)]
    day = await reconcile_fetched_statement(
        back_office, [listed(f"{one}:1", 1_000 + n, fee=30) for n, one in enumerate(payment_ids)]
    )
    for n, payment_id in enumerate(payment_ids):
        row = await row_of(shop, payment_id)
        assert (row["status"], row["captured_amount"], row["fee"]) == ("completed", 1_000 + n, 30)
        assert row["provider_reference"] == f"ref-{payment_id}:1"
    assert await back_office.status(day) == "reconciled"
    assert await back_office.breaks(day) == []
    assert "inquire" not in {call for call, _ in shop.provider.calls}
    run = await (
        await shop.admin.execute("SELECT summary FROM reconciliation_runs WHERE settlement_id = %s", [day])
    ).fetchone()
    assert run is not None
    assert run["summary"]["ended_by_statement"] == {"count": 13, "amount": sum(1_000 + n for n in range(13))}
    second = await reconcile_fetched_statement(back_office, [])
    assert await back_office.status(second) == "reconciled"
    assert await back_office.provider_total() == sum(1_000 + n - 30 for n in range(13))


@pytest.mark.parametrize("is_newest_first", [False, True])
async def test_a_reversal_just_after_the_day_belongs_to_its_charge(
    back_office: BackOffice, is_newest_first: bool
) -> None:
    shop = back_office.shop
    payment_id = await payment_in_doubt(shop, 1_000)
    charge = listed(f"{payment_id}:1", 1_000)
    day = str((await shop.close_now())["id"])
    told = [charge, listed(f"{payment_id}:1", -1_000, kind="reversal")]
    second = str((await shop.close_now())["id"])  # its period contains the time of the reversal
    shop.provider.statements = [told[::-1] if is_newest_first else told]
    await reconcile_as_worker(back_office, day)
    assert (await row_of(shop, payment_id))["status"] == "cancelled"
    assert await back_office.status(day) == "reconciled"
    await reconcile_as_worker(back_office, second)
    found = await shop.admin.execute("SELECT * FROM breaks WHERE settlement_id = %s", [second])
    (reversal,) = await found.fetchall()
    assert (reversal["category"], reversal["reference"]) == ("status_mismatch", payment_id)
    assert await back_office.status(second) == "reconciled"


STATES = {
    "needs_review": "needs_review = true, due_at = now() + interval '1 day'",
    "quarantined": "needs_review = true, due_at = NULL, unanswered_claims = 4",
    "expired": "expires_at = now() - interval '1 hour', due_at = now() + interval '1 day'",
    "cancel_requested": "cancel_requested_at = now(), on_too_late = 'refund'",
    "unanswered": "lease_until = now() - interval '1 minute', unanswered_claims = 1",
}


@pytest.mark.parametrize("state", STATES)
async def test_a_statement_ends_a_doubt_in_any_state(back_office: BackOffice, state: str) -> None:
    shop = back_office.shop
    payment_id = await payment_in_doubt(shop, 1_000)
    await shop.admin.execute(f"UPDATE payments SET {STATES[state]} WHERE id = %s".encode(), [payment_id])
    if state == "unanswered":
        await shop.admin.execute("UPDATE payment_attempts SET outcome = NULL WHERE payment_id = %s", [payment_id])
    day = await reconcile_fetched_statement(back_office, [listed(f"{payment_id}:1", 1_000)])
    row = await row_of(shop, payment_id)
    assert (row["status"], row["needs_review"], row["unanswered_claims"]) == ("completed", False, 0)
    assert await back_office.status(day) == "reconciled"
    if state == "cancel_requested":
        assert row["cancel_outcome"] == "too_late"
        found = await shop.admin.execute("SELECT id FROM refunds WHERE payment_id = %s", [payment_id])
        (refund,) = await found.fetchall()
        await shop.refunds.process([refund["id"]])
        assert (await row_of(shop, payment_id))["status"] == "refunded"


async def test_a_payment_that_a_worker_is_processing_is_skipped_and_tried_again(back_office: BackOffice) -> None:
    shop = back_office.shop
    payment_id = await payment_in_doubt(shop, 1_000)
    await time_passes(shop.admin, payment_id, seconds=60)
    shop.provider.hold_inquiries()
    asking = asyncio.create_task(shop.payments.process(payment_id))
    await shop.provider.asked.wait()
    day = await reconcile_fetched_statement(back_office, [listed(f"{payment_id}:1", 1_000)])
    assert (await row_of(shop, payment_id))["status"] == "processing"
    found = await shop.admin.execute("SELECT due_at FROM reconciliation_tries WHERE settlement_id = %s", [day])
    (again,) = await found.fetchall()
    assert again["due_at"] - now() < timedelta(minutes=2)
    shop.provider.inquiries.append(NotFound())  # a wrong answer
    shop.provider.release()
    await asking
    assert (await row_of(shop, payment_id))["status"] == "processing"
    await reconcile_as_worker(back_office, day)
    assert (await row_of(shop, payment_id))["status"] == "completed"
    assert await back_office.status(day) == "reconciled"


async def test_an_answer_that_comes_after_the_statement_changes_nothing(back_office: BackOffice) -> None:
    shop = back_office.shop
    payment_id = await payment_in_doubt(shop, 1_000)
    await time_passes(shop.admin, payment_id, seconds=60)
    shop.provider.hold_inquiries()
    shop.provider.inquiries.append(NotFound())
    asking = asyncio.create_task(shop.payments.process(payment_id))
    await shop.provider.asked.wait()
    await shop.admin.execute("UPDATE payments SET lease_until = now() WHERE id = %s", [payment_id])  # stopped
    await reconcile_fetched_statement(back_office, [listed(f"{payment_id}:1", 1_000)])
    before = await outcome(shop, payment_id)
    shop.provider.release()
    await asking
    assert before == await outcome(shop, payment_id)
    assert before[0] == "completed"
    found = await shop.admin.execute("SELECT kind FROM payment_messages WHERE payment_id = %s", [payment_id])
    assert [row["kind"] for row in await found.fetchall()] == ["late_answer"]


@pytest.mark.parametrize(("told", "status"), [(-700, "completed"), (-600, "processing")])
async def test_a_fetched_statement_ends_the_doubt_about_a_refund(
    back_office: BackOffice, told: int, status: str
) -> None:
    shop = back_office.shop
    payment_id, refund_id = await refund_in_doubt(shop, 700)
    day = await reconcile_fetched_statement(back_office, [listed(f"{refund_id}:1", told)])
    row = await row_of(shop, refund_id)
    assert (row["status"], row["needs_review"]) == (status, status == "processing")
    sale = await row_of(shop, payment_id)
    assert sale["refunded_amount"] == (700 if status == "completed" else 0)
    if status == "completed":
        assert await back_office.status(day) == "reconciled"
        assert await back_office.status(await reconcile_fetched_statement(back_office, [])) == "reconciled"


async def test_a_reversal_in_doubt_ends_when_the_statement_lists_it(back_office: BackOffice) -> None:
    shop = back_office.shop
    shop.provider.charges.append(Succeeded(400, "partial"))
    payment_id = await shop.payments.pending(amount=1_000)
    await shop.payments.process(payment_id)
    await shop.payments.cancel(payment_id)
    shop.provider.reversals.append(Unknown("the answer was lost"))
    await shop.payments.process(payment_id)
    assert ("reverse", f"{payment_id}:1") in shop.provider.calls
    lines = [
        listed(f"{payment_id}:1", 400, provider_reference="partial"),
        listed(f"{payment_id}:1", -400, kind="reversal", provider_reference="partial"),
    ]
    day = await reconcile_fetched_statement(back_office, lines)
    row = await row_of(shop, payment_id)
    assert (row["status"], row["cancel_reason"], row["cancel_outcome"]) == ("cancelled", "requested", "cancelled")
    assert await back_office.status(day) == "reconciled"


@pytest.mark.parametrize("table", ["payment_history", "ledger_journals", "statement_evidence"])
async def test_a_failed_reconciliation_records_nothing_and_the_next_records_everything(
    back_office: BackOffice, table: str
) -> None:
    shop = back_office.shop
    payment_id = await payment_in_doubt(shop, 1_000)
    before = await outcome(shop, payment_id)
    of_shop = {"payment_history": f"NEW.payment_id = '{payment_id}'"}
    condition = of_shop.get(table, f"NEW.merchant_id = '{shop.tenant.merchant_id}'")
    trigger = f"BEFORE INSERT ON {table} FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION refuse_rewriting()"
    await shop.admin.execute(f"CREATE TRIGGER stop_here {trigger}".encode())
    try:
        with pytest.raises(ServiceUnavailable):
            await reconcile_fetched_statement(back_office, [listed(f"{payment_id}:1", 1_000)])
    finally:
        await shop.admin.execute(f"DROP TRIGGER stop_here ON {table}".encode())
    assert await outcome(shop, payment_id) == before
    day = str((await shop.periods())[0]["id"])
    await reconcile_as_worker(back_office, day)
    assert (await row_of(shop, payment_id))["status"] == "completed"
    assert await back_office.status(day) == "reconciled"


async def test_a_line_that_was_known_before_the_doubt_ends_it_afterwards(back_office: BackOffice) -> None:
    shop = back_office.shop
    shop.provider.hold()
    shop.provider.charges.append(Unknown("the answer was lost"))
    payment_id = await shop.payments.pending(amount=1_000)
    charging = asyncio.create_task(shop.payments.process(payment_id))
    await shop.provider.heard.wait()
    day = await reconcile_fetched_statement(back_office, [listed(f"{payment_id}:1", 1_000)])
    assert (await back_office.breaks(day))[0]["waits_for"] == payment_id
    await shop.admin.execute("UPDATE reconciliation_tries SET due_at = NULL WHERE settlement_id = %s", [day])
    assert await back_office.due(day) is None
    shop.provider.release()
    await charging
    assert await back_office.due(day) == "final"
    await reconcile_as_worker(back_office, day)
    assert (await row_of(shop, payment_id))["status"] == "completed"
    assert await back_office.status(day) == "reconciled"


async def test_doubts_that_a_run_has_no_time_for_are_ended_by_the_next_run(
    back_office: BackOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment_id = await payment_in_doubt(back_office.shop, 1_000)
    with monkeypatch.context() as patched:
        patched.setattr(resolve_unknown_outcomes, "BUDGET_SECONDS", -1)
        day = await reconcile_fetched_statement(back_office, [listed(f"{payment_id}:1", 1_000)])
    assert (await row_of(back_office.shop, payment_id))["status"] == "processing"
    assert await back_office.status(day) == "closed"
    found = await back_office.shop.admin.execute(
        "SELECT due_at FROM reconciliation_tries WHERE settlement_id = %s", [day]
    )
    (again,) = await found.fetchall()
    assert again["due_at"] - now() < timedelta(minutes=2)
    await reconcile_as_worker(back_office, day)
    assert (await row_of(back_office.shop, payment_id))["status"] == "completed"
    assert await back_office.status(day) == "reconciled"


async def test_the_printed_report_states_what_the_statement_ended(back_office: BackOffice) -> None:
    payment_id = await payment_in_doubt(back_office.shop, 1_234)
    day = await reconcile_fetched_statement(back_office, [listed(f"{payment_id}:1", 1_234)])
    boss = back_office.api.signer.user(back_office.shop.tenant, role="merchant_admin")
    answer = await back_office.api.get(f"/settlements/{day}/report?lang=en", as_=boss)
    assert "Doubts ended by the statement: 1 (¥1,234)" in answer.raw.decode()
