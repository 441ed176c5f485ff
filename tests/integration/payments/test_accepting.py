"""One transaction accepts a payment with its history and key, and a conflict fails only its own request."""

import asyncio
import time
from dataclasses import replace

import orjson
import pytest
from sqlalchemy.exc import DBAPIError

from tests.conftest import MakeTenant
from tests.factories import CASH, QR, PaymentMaker, Tenant, submission
from tests.integration.payments.evidence import Admin, all_of, evidence, seconds_until
from tests.integration.payments.payment_helpers import count, submit_concurrently
from tests.polling import is_plausible_remainder
from workflows.errors import (
    InvalidRequest,
    NotAuthorized,
    ResourceNotFound,
)
from workflows.payments.accept import PaymentIntake
from workflows.payments.states import PaymentStatus
from workflows.requests.idempotency import StoredAnswer
from workflows.tenants.caller import Caller, CallerRole


async def test_payment_history_and_key_are_stored_when_accept_returns(
    accepting: PaymentIntake, tenant: Tenant, admin: Admin
) -> None:
    asked = submission(CASH, tenant.device, key="k-1")
    stored = await accepting.accept_payment(asked)
    assert (stored.status, stored.is_replay) == (201, False)
    found = await evidence(admin, str(stored.resource_id))
    assert found.status == "pending"
    assert found.events == ["create"]
    assert (found.history[0]["caller_type"], found.history[0]["caller_id"]) == ("device", tenant.device_id)
    assert found.history[0]["request_id"] == asked.request_id
    (key,) = await all_of(admin, b"SELECT * FROM idempotency_records WHERE merchant_id = %s", tenant.merchant_id)
    assert (key["resource_id"], key["status"], key["recipe"]) == (stored.resource_id, 201, stored.recipe)
    assert (key["expires_at"] - key["created_at"]).total_seconds() == 24 * 3_600


async def test_a_new_payment_waits_for_its_nudge_before_a_sweep_looks(payments: PaymentMaker, admin: Admin) -> None:
    began = time.monotonic()
    payment_id = await payments.pending()
    assert is_plausible_remainder(await seconds_until(admin, payment_id, "due_at"), 5, 5, since=began)


async def test_wrong_request_fails_without_the_others_of_its_group(
    accepting: PaymentIntake, tenant: Tenant, make_tenant: MakeTenant
) -> None:
    other = await make_tenant()
    above = Caller("usr_admin", CallerRole.MERCHANT_ADMIN, "", tenant.merchant_id, "")
    wrong = [
        submission(replace(CASH, store_id=other.store_id), tenant.device),
        submission(CASH, above),
        submission(replace(CASH, bill_id="bil_unknown"), tenant.device),
        submission(replace(QR, method_type="emoney"), tenant.device),
    ]
    good = [submission(CASH, tenant.device) for _ in range(6)]
    results = await submit_concurrently(accepting, *good[:3], *wrong, *good[3:])
    assert [type(result) for result in results[3:7]] == [
        ResourceNotFound,
        InvalidRequest,
        ResourceNotFound,
        InvalidRequest,
    ]
    assert all(isinstance(result, StoredAnswer) for result in [*results[:3], *results[7:]])


@pytest.mark.parametrize("status", ["suspended", "deactivated"])
async def test_an_inactive_device_can_neither_pay_nor_replay(
    accepting: PaymentIntake, tenant: Tenant, admin: Admin, status: str
) -> None:
    await accepting.accept_payment(submission(CASH, tenant.device, key="k-1"))
    await admin.execute(
        "UPDATE devices SET status = %s, version = version + 1 WHERE id = %s", [status, tenant.device_id]
    )
    for key in ("k-1", "k-2"):
        with pytest.raises(NotAuthorized, match=status):
            await accepting.accept_payment(submission(CASH, tenant.device, key=key))


async def test_payment_at_another_tenants_store_is_not_found(
    accepting: PaymentIntake, tenant: Tenant, make_tenant: MakeTenant
) -> None:
    other = await make_tenant()
    stranger = Caller("usr_admin", CallerRole.MERCHANT_ADMIN, "", tenant.merchant_id, "")
    with pytest.raises(ResourceNotFound):
        await accepting.accept_payment(submission(replace(CASH, store_id=other.store_id), stranger))
    psp = Caller("usr_psp", CallerRole.PSP_ADMIN, tenant.psp_id, "", "")
    with pytest.raises(ResourceNotFound):
        await accepting.accept_payment(submission(replace(CASH, store_id=other.store_id), psp))
    assert (await accepting.accept_payment(submission(replace(CASH, store_id=tenant.store_id), psp))).status == 201


async def test_the_stores_provider_of_the_highest_priority_is_taken(
    accepting: PaymentIntake, tenant: Tenant, admin: Admin
) -> None:
    with pytest.raises(InvalidRequest, match="Invalid request") as raised:
        await accepting.accept_payment(submission(replace(QR, provider="paypay"), tenant.device))
    assert raised.value.details[0].field == "method.provider"
    stored = await accepting.accept_payment(submission(replace(QR, provider=None), tenant.device))
    assert orjson.loads(stored.body)["provider"] == "sandbox"


async def test_a_caller_that_hangs_up_leaves_a_whole_payment_behind(
    accepting: PaymentIntake, tenant: Tenant, admin: Admin
) -> None:
    calling = asyncio.ensure_future(accepting.accept_payment(submission(CASH, tenant.device, key="k-1")))
    await asyncio.sleep(0)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    again = await accepting.accept_payment(submission(CASH, tenant.device, key="k-1"))
    assert await count(admin, tenant) == 1
    assert (await evidence(admin, orjson.loads(again.body)["id"])).status == PaymentStatus.PENDING


async def test_five_hundred_concurrent_requests_create_five_hundred_payments(
    accepting: PaymentIntake, tenant: Tenant, admin: Admin
) -> None:
    results = await submit_concurrently(accepting, *[submission(CASH, tenant.device) for _ in range(500)])
    assert len({result.resource_id for result in results}) == 500
    ids = [result.resource_id for result in results]
    (history,) = await all_of(admin, b"SELECT count(*) AS n FROM payment_history WHERE payment_id = ANY(%s)", ids)
    assert await count(admin, tenant) == history["n"] == 500


async def test_request_that_the_database_refuses_fails_without_the_others_of_its_group(
    accepting: PaymentIntake, tenant: Tenant, admin: Admin
) -> None:
    good = [submission(CASH, tenant.device) for _ in range(5)]
    bad = submission(replace(CASH, metadata={"note": "no database of ours holds \x00"}), tenant.device)
    outcomes = await submit_concurrently(accepting, good[0], good[1], good[2], bad, good[3], good[4])
    assert isinstance(outcomes.pop(3), DBAPIError)
    assert [outcome.status for outcome in outcomes] == [201] * 5
    assert await count(admin, tenant) == 5
