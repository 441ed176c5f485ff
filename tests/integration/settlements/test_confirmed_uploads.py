"""An uploaded file decides an unknown outcome only if a person confirms it, and never proves that nothing was charged."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from tests.factories import time_passes
from tests.integration.settlements.back_office import WORKER, BackOffice, payment_in_doubt, statement_line_of
from tests.integration.settlements.statement_api import outcome, reconcile_as_worker, row_of
from tests.reconciliation_helpers import upload
from tests.reference_matcher import Theirs
from workflows.providers.base import Unavailable, Unknown
from workflows.reconciliation.reconcile import reconcile_settlement


async def test_a_confirmed_line_of_an_uploaded_file_completes_the_payment(back_office: BackOffice) -> None:
    shop = back_office.shop
    payment_id = await payment_in_doubt(shop, 1_000)
    day = await back_office.close(more=[Theirs("payment", f"{payment_id}:1", f"ref-{payment_id}:1", 1_000, 30)])
    await reconcile_as_worker(back_office, day)
    assert (await row_of(shop, payment_id))["status"] == "processing", "an uploaded file ends nothing by itself"
    (found,) = await back_office.breaks(day)
    manager = back_office.api.signer.user(shop.tenant, role="store_manager")
    refused = await back_office.api.post(f"/breaks/{found['id']}/resolve", {"resolution": "confirm"}, as_=manager)
    assert refused.status == 403
    for _ in range(2):
        answer = await back_office.resolve(found["id"], resolution="confirm")
        assert (answer.status, answer.body["reference"]) == (200, payment_id)
    row = await row_of(shop, payment_id)
    assert (row["status"], row["fee"], row["version"]) == ("completed", 30, 4)
    assert await back_office.status(day) == "reconciled"
    boss = back_office.api.signer.user(shop.tenant, role="merchant_admin")
    events = (await back_office.api.get(f"/payments/{payment_id}/events", as_=boss)).body["data"]
    (told,) = [one for one in events if one["type"] == "statement"]
    assert (told["by"], told["settlement_id"]) == ("api for usr_merchant_admin", day)
    assert any(one.get("reason") == f"statement {told['statement_id']}:2" for one in events)


@pytest.mark.parametrize(
    ("changes", "issue"),
    [({"amount": 900}, "900 where 1000"), ({"currency": "USD"}, "is in USD"), ({"fee": 2_000}, "fee of 2000")],
)
async def test_a_file_that_disagrees_cannot_be_confirmed(
    back_office: BackOffice, changes: dict[str, Any], issue: str
) -> None:
    payment_id = await payment_in_doubt(back_office.shop, 1_000)
    before = await outcome(back_office.shop, payment_id)
    line = Theirs("payment", f"{payment_id}:1", f"ref-{payment_id}:1", 1_000, 30)
    day = await back_office.close(more=[replace(line, **changes)])
    await back_office.run(day)
    (found,) = await back_office.breaks(day)
    refused = await back_office.resolve(found["id"], resolution="confirm")
    assert (refused.status, issue in refused.details[0]["issue"]) == (409, True), refused.details
    assert await outcome(back_office.shop, payment_id) == before


async def test_an_uploaded_file_does_not_prove_that_nothing_was_charged(back_office: BackOffice) -> None:
    payment_id = await payment_in_doubt(back_office.shop, 1_000)
    charge = Theirs("payment", f"{payment_id}:1", f"ref-{payment_id}:1", 1_000, 0)
    parts = [replace(charge, kind="reversal", amount=amount) for amount in (-400, -600)]
    day = await back_office.close(more=[charge, *parts])
    await back_office.run(day)
    found = next(one for one in await back_office.breaks(day) if one["kind"] == "payment")
    refused = await back_office.resolve(found["id"], resolution="confirm")
    assert (refused.status, "does not prove" in refused.details[0]["issue"]) == (409, True)
    assert (await row_of(back_office.shop, payment_id))["status"] == "processing"


async def test_a_late_line_missing_in_its_statement_is_linked_to_the_day_that_lists_it(back_office: BackOffice) -> None:
    shop = back_office.shop
    payment_id = await payment_in_doubt(shop, 1_000)
    day = await back_office.close(more=[Theirs("payment", f"{payment_id}:1", f"ref-{payment_id}:1", 1_000, 0)])
    await back_office.run(day)
    (found,) = await back_office.breaks(day)
    assert (await back_office.resolve(found["id"], resolution="confirm")).status == 200
    second = await back_office.close(
        upload_lines=False, more=[Theirs("payment", "none", "none", 1, 0, is_settled=False)]
    )
    settings = back_office.settings.model_copy(update={"statement_sla_hours": 0.0})
    run = await reconcile_settlement(second, actor=WORKER, settings=settings)
    assert run["summary"]["categories"]["missing_at_provider"]["count"] == 1
    assert (run["status"], run["open_breaks"]) == ("reconciled", 0)
    assert await back_office.provider_total() == 1_000


async def refusal_of_confirmation(back_office: BackOffice, day: str) -> str:
    """Confirm the only break of the last run, and return why that was refused."""
    (found,) = await back_office.breaks(day)
    refused = await back_office.resolve(found["id"], resolution="confirm")
    assert refused.status == 409
    return str(refused.details[0]["issue"])


async def test_a_break_between_two_lines_cannot_be_confirmed(back_office: BackOffice) -> None:
    sale = await back_office.shop.sell(1_000)
    day = (await back_office.shop.close_now())["id"]
    line = (await back_office.shop.lines(day))[sale]
    await upload(back_office.shop.tenant, day, [statement_line_of(line, amount=900)])
    await back_office.run(day)
    assert "not about a payment or refund whose outcome is unknown" in await refusal_of_confirmation(back_office, day)


async def test_a_line_that_quotes_no_attempt_of_the_store_cannot_be_confirmed(back_office: BackOffice) -> None:
    day = await back_office.close(more=[Theirs("payment", "pay_of_nobody:1", "x", 1_000, 0)])
    await back_office.run(day)
    issue = await refusal_of_confirmation(back_office, day)
    assert issue == "pay_of_nobody:1 is not an attempt of this store at sandbox"


async def test_a_payment_that_is_being_inquired_about_cannot_be_confirmed(back_office: BackOffice) -> None:
    shop = back_office.shop
    payment_id = await payment_in_doubt(shop, 1_000)
    day = await back_office.close(more=[Theirs("payment", f"{payment_id}:1", f"ref-{payment_id}:1", 1_000, 0)])
    await back_office.run(day)
    await time_passes(shop.admin, payment_id, seconds=60)
    shop.provider.hold_inquiries()
    inquiry = asyncio.create_task(shop.payments.process(payment_id))
    await shop.provider.asked.wait()
    assert "being sent to the provider right now" in await refusal_of_confirmation(back_office, day)
    shop.provider.release()
    await inquiry
    assert (await row_of(shop, payment_id))["status"] == "completed", "by the answer to the inquiry"


async def test_a_line_of_a_superseded_statement_cannot_be_confirmed(back_office: BackOffice) -> None:
    payment_id = await payment_in_doubt(back_office.shop, 1_000)
    line = Theirs("payment", f"{payment_id}:1", f"ref-{payment_id}:1", 1_000, 0)
    day = await back_office.close(more=[line])
    await back_office.run(day)
    await upload(back_office.shop.tenant, day, [replace(line, amount=900)])
    assert "A newer statement has not been compared yet" in await refusal_of_confirmation(back_office, day)
    assert (await row_of(back_office.shop, payment_id))["status"] == "processing"


async def test_a_line_about_an_earlier_attempt_cannot_be_confirmed(back_office: BackOffice) -> None:
    shop = back_office.shop
    shop.provider.deduplicates = False  # so each attempt has a reference of its own
    shop.provider.charges += [Unavailable("busy"), Unknown("the answer was lost")]
    payment_id = await shop.payments.pending(amount=1_000)
    await shop.payments.process(payment_id)
    await time_passes(shop.admin, payment_id, seconds=60)
    await shop.payments.process(payment_id)
    day = await back_office.close(more=[Theirs("payment", f"{payment_id}:1", "x", 1_000, 0)])
    await back_office.run(day)
    assert "Another attempt was made since" in await refusal_of_confirmation(back_office, day)
    assert (await row_of(shop, payment_id))["status"] == "processing"
