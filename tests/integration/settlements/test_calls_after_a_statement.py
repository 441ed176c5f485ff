"""A statement proves nothing about calls that may have moved money after the time that it covers."""

import pytest

from tests.factories import time_passes
from tests.integration.settlements.back_office import BackOffice, payment_in_doubt
from tests.integration.settlements.statement_api import listed, reconcile_fetched_statement, row_of
from workflows.providers.base import NotFound, Unknown
from workflows.refunds.workload import PAYMENTS


@pytest.mark.parametrize("again_by", ["requeue", "cancel"])
async def test_a_withdrawal_whose_workers_crashed_still_blocks_evidence_after_a_requeue(
    back_office: BackOffice, again_by: str
) -> None:
    shop = back_office.shop
    payment_id = await payment_in_doubt(shop, 1_000)
    code = "UPDATE payment_attempts SET outcome = 'action_required' WHERE payment_id = %s"
    await shop.admin.execute(code, [payment_id])
    expired = "UPDATE payments SET expires_at = now() - interval '1 minute', unanswered_claims = 3 WHERE id = %s"
    await shop.admin.execute(expired, [payment_id])
    for _ in range(2):
        await time_passes(shop.admin, payment_id, seconds=60)
        await PAYMENTS.claim([payment_id], worker="dies", lease_seconds=30)
    assert (await row_of(shop, payment_id))["due_at"] is None, "it is quarantined"
    found = await shop.admin.execute("SELECT id FROM dead_letters WHERE entity_id = %s", [payment_id])
    (letter,) = await found.fetchall()
    if again_by == "requeue":
        operator = back_office.api.signer.user(shop.tenant, role="system_op")
        assert (await back_office.api.post(f"/ops/dead-letters/{letter['id']}/requeue", as_=operator)).status == 200
    else:
        await shop.payments.cancel(payment_id)
    await reconcile_fetched_statement(back_office, [listed(f"{payment_id}:1", 1_000)])
    row = await row_of(shop, payment_id)
    assert (row["status"], row["unanswered_claims"]) == ("processing", 0)


@pytest.mark.parametrize("heard", ["lost", "died"])
async def test_a_reversed_charge_proves_nothing_if_the_request_was_repeated_afterwards(
    back_office: BackOffice, heard: str
) -> None:
    shop = back_office.shop
    payment_id = await payment_in_doubt(shop, 1_000)
    reference = f"{payment_id}:1"
    told = [listed(reference, 1_000), listed(reference, -1_000, kind="reversal")]
    for _ in range(2):
        shop.provider.inquiries.append(NotFound())
        await time_passes(shop.admin, payment_id, seconds=3_600)
        await shop.payments.process(payment_id)
    ready = "UPDATE payments SET expires_at = now() + interval '1 hour', due_at = now() WHERE id = %s"
    await shop.admin.execute(ready, [payment_id])
    shop.provider.charges.append(Unknown("the answer was lost"))
    if heard == "lost":
        await shop.payments.process(payment_id)
    else:
        await PAYMENTS.claim([payment_id], worker="dies", lease_seconds=30)
        await time_passes(shop.admin, payment_id, seconds=31)
    found = await shop.admin.execute("SELECT resends FROM payment_attempts WHERE payment_id = %s", [payment_id])
    assert [row["resends"] for row in await found.fetchall()] == [1]
    await reconcile_fetched_statement(back_office, told)
    row = await row_of(shop, payment_id)
    assert (row["status"], row["outcome_known"]) == ("processing", False)
