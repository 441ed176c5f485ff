"""An uploaded file ends a doubt only if a person confirms it, and never proves that nothing was charged."""

from dataclasses import replace
from typing import Any

import pytest

from tests.integration.settlements.desk import WORKER, Desk, in_doubt
from tests.integration.settlements.telling import outcome, reconciled_by_workers, row_of
from tests.reference_matcher import Theirs
from workflows.reconciliation.reconcile import reconcile_settlement


async def test_a_confirmed_line_of_an_uploaded_file_completes_the_payment(desk: Desk) -> None:
    shop = desk.shop
    payment_id = await in_doubt(shop, 1_000)
    day = await desk.close(more=[Theirs("payment", f"{payment_id}:1", f"ref-{payment_id}:1", 1_000, 30)])
    await reconciled_by_workers(desk, day)
    assert (await row_of(shop, payment_id))["status"] == "processing", "an uploaded file ends nothing by itself"
    (found,) = await desk.breaks(day)
    manager = desk.api.signer.user(shop.tenant, role="store_manager")
    refused = await desk.api.post(f"/breaks/{found['id']}/resolve", {"resolution": "confirm"}, as_=manager)
    assert refused.status == 403
    for _ in range(2):
        answer = await desk.resolve(found["id"], resolution="confirm")
        assert (answer.status, answer.body["reference"]) == (200, payment_id)
    row = await row_of(shop, payment_id)
    assert (row["status"], row["fee"], row["version"]) == ("completed", 30, 4)
    assert await desk.status(day) == "reconciled"
    boss = desk.api.signer.user(shop.tenant, role="merchant_admin")
    events = (await desk.api.get(f"/payments/{payment_id}/events", as_=boss)).body["data"]
    (told,) = [one for one in events if one["type"] == "statement"]
    assert (told["by"], told["settlement_id"]) == ("api for usr_merchant_admin", day)
    assert any(one.get("reason") == f"statement {told['statement_id']}:2" for one in events)


@pytest.mark.parametrize(
    ("changes", "issue"),
    [({"amount": 900}, "900 where 1000"), ({"currency": "USD"}, "is in USD"), ({"fee": 2_000}, "fee of 2000")],
)
async def test_a_file_that_disagrees_cannot_be_confirmed(desk: Desk, changes: dict[str, Any], issue: str) -> None:
    payment_id = await in_doubt(desk.shop, 1_000)
    before = await outcome(desk.shop, payment_id)
    line = Theirs("payment", f"{payment_id}:1", f"ref-{payment_id}:1", 1_000, 30)
    day = await desk.close(more=[replace(line, **changes)])
    await desk.run(day)
    (found,) = await desk.breaks(day)
    refused = await desk.resolve(found["id"], resolution="confirm")
    assert (refused.status, issue in refused.details[0]["issue"]) == (409, True), refused.details
    assert await outcome(desk.shop, payment_id) == before


async def test_an_uploaded_file_does_not_prove_that_nothing_was_charged(desk: Desk) -> None:
    payment_id = await in_doubt(desk.shop, 1_000)
    charge = Theirs("payment", f"{payment_id}:1", f"ref-{payment_id}:1", 1_000, 0)
    parts = [replace(charge, kind="reversal", amount=amount) for amount in (-400, -600)]
    day = await desk.close(more=[charge, *parts])
    await desk.run(day)
    found = next(one for one in await desk.breaks(day) if one["kind"] == "payment")
    refused = await desk.resolve(found["id"], resolution="confirm")
    assert (refused.status, "does not prove" in refused.details[0]["issue"]) == (409, True)
    assert (await row_of(desk.shop, payment_id))["status"] == "processing"


async def test_a_late_line_that_its_own_file_lacks_is_linked_to_the_day_that_lists_it(desk: Desk) -> None:
    shop = desk.shop
    payment_id = await in_doubt(shop, 1_000)
    day = await desk.close(more=[Theirs("payment", f"{payment_id}:1", f"ref-{payment_id}:1", 1_000, 0)])
    await desk.run(day)
    (found,) = await desk.breaks(day)
    assert (await desk.resolve(found["id"], resolution="confirm")).status == 200
    second = await desk.close(upload_lines=False, more=[Theirs("payment", "none", "none", 1, 0, is_settled=False)])
    settings = desk.settings.model_copy(update={"statement_sla_hours": 0.0})
    run = await reconcile_settlement(second, actor=WORKER, settings=settings)
    assert run["summary"]["categories"]["missing_at_provider"]["count"] == 1
    assert (run["status"], run["open_breaks"]) == ("reconciled", 0)
    assert await desk.held() == 1_000
