"""An idempotency key is private to its caller: the same key of another caller is another request."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.conftest import MakeTenant, Serve
from tests.factories import PaymentMaker, Tenant, move_device, register_device
from tests.harness import Answer, Api
from tests.integration.api.keyed_requests import EVERY, OF_TILLS, Admin, Posting, Shop
from workflows.devices.states import DeviceEvent
from workflows.ops.housekeeping import forget_expired

Making = Callable[[Shop], Awaitable[Posting]]
every = pytest.mark.parametrize("making", EVERY, ids=lambda making: making.__name__)
of_tills = pytest.mark.parametrize("making", OF_TILLS, ids=lambda making: making.__name__)
CASH = {"amount": 1_000, "method": {"type": "cash"}}
IS_REPLAYED = "Idempotent-Replayed"


@pytest.fixture
def shop(api: Api, admin: Admin, payments: PaymentMaker) -> Shop:
    return Shop(api, admin, payments)


async def second_till(admin: Admin, tenant: Tenant) -> Tenant:
    """Add another device to the store, and return the tenant with that device."""
    device_id = await register_device(admin, tenant)
    await move_device(tenant, device_id, DeviceEvent.ACTIVATE)
    return replace(tenant, device_id=device_id)


def users(api: Api, tenant: Tenant) -> tuple[str, str]:
    """Return tokens of two managers of the store."""
    one, other = (api.signer.user(tenant, role="store_manager", sub=sub) for sub in ("usr_ann", "usr_bob"))
    return one, other


async def rewrite_as_previous_release(admin: Admin, tenant: Tenant) -> None:
    """Change the tenant's idempotency records to what the previous release would have written."""
    await admin.execute(
        "UPDATE idempotency_records SET caller = '', meaning = NULL WHERE merchant_id = %s", [tenant.merchant_id]
    )


@every
async def test_a_stored_answer_is_replayed_only_to_the_same_caller(shop: Shop, making: Making) -> None:
    posting = await making(shop)
    one, other = users(shop.api, shop.tenant)
    first = await posting.send(shop.api, one, key="0001")
    theirs = await posting.send(shop.api, other, key="0001")
    again = await posting.send(shop.api, one, key="0001")
    assert first.status == 201, first.body
    assert IS_REPLAYED not in theirs.headers
    assert theirs.status != 422 or theirs.code != "IDEMPOTENCY_KEY_REUSED"
    assert (again.status, again.raw, again.headers.get(IS_REPLAYED)) == (201, first.raw, "true")
    # The other caller's answer is independent of the first one's.
    repeated = await posting.send(shop.api, other, key="0001")
    assert repeated.status == theirs.status
    if theirs.status == 201:
        assert (repeated.raw, repeated.headers.get(IS_REPLAYED)) == (theirs.raw, "true")


async def test_same_key_from_two_tills_makes_two_sales(api: Api, admin: Admin, tenant: Tenant) -> None:
    tills = [tenant, await second_till(admin, tenant)]
    answers = [await api.pay(till, key="0001") for till in (*tills, *tills)]
    assert [answer.status for answer in answers] == [201] * 4
    assert [answer.body["device_id"] for answer in answers] == [till.device_id for till in (*tills, *tills)]
    assert [answer.headers.get(IS_REPLAYED) for answer in answers] == [None, None, "true", "true"]


async def test_the_same_key_from_twenty_concurrent_tills_makes_twenty_sales(
    api: Api, admin: Admin, tenant: Tenant
) -> None:
    tills = [tenant, *[await second_till(admin, tenant) for _ in range(19)]]
    for _ in range(2):  # the second round repeats all requests
        answers = await asyncio.gather(*(api.pay(till, key="0001") for till in tills))
        assert [answer.status for answer in answers] == [201] * 20, [answer.body for answer in answers]
        assert [answer.body["device_id"] for answer in answers] == [till.device_id for till in tills]
        orders = await asyncio.gather(
            *(api.post("/orders", {"order_type": "takeaway", "items": ITEMS}, as_=till, key="0001") for till in tills)
        )
        assert len({answer.body["id"] for answer in orders}) == 20


ITEMS = [{"name": "Tea", "quantity": 1, "unit_price": 100, "tax_rate": "0.10"}]


async def test_a_device_and_a_user_of_the_same_name_are_two_callers(api: Api, tenant: Tenant) -> None:
    user = api.signer.user(tenant, sub=tenant.device_id)
    ids = {(await api.pay(as_, key="0001")).body["id"] for as_ in (tenant, user)}
    assert len(ids) == 2


async def test_a_user_at_another_store_is_not_shown_the_first_stores_sale(
    api: Api, admin: Admin, tenant: Tenant, make_tenant: MakeTenant
) -> None:
    other = await make_tenant()
    await admin.execute("UPDATE stores SET merchant_id = %s WHERE id = %s", [tenant.merchant_id, other.store_id])
    first = await api.pay(api.signer.user(tenant, sub="usr_ann"), key="0001")
    second = await api.pay(api.signer.user(tenant, sub="usr_ann", store_id=other.store_id), key="0001")
    assert (first.status, second.status, second.code) == (201, 422, "IDEMPOTENCY_KEY_REUSED")


async def test_a_user_above_the_merchants_may_use_a_key_at_each_of_them(
    api: Api, tenant: Tenant, make_tenant: MakeTenant
) -> None:
    other = await make_tenant()
    operator = api.signer.user(tenant, role="system_op", merchant_id=None, store_id=None, psp_id=None)
    stores = [tenant.store_id, other.store_id, tenant.store_id]
    answers = [await api.pay(operator, key="0001", store_id=store_id) for store_id in stores]
    assert [answer.body["store_id"] for answer in answers] == stores
    assert answers[0].raw == answers[2].raw


async def test_a_refusal_is_replayed_only_to_the_same_caller(api: Api, admin: Admin, tenant: Tenant) -> None:
    other = await second_till(admin, tenant)
    refused = await api.pay(tenant, key="0001", amount=0)
    taken = await api.pay(other, key="0001")
    again = await api.pay(tenant, key="0001", amount=0)
    assert (refused.status, taken.status, again.status) == (422, 201, 422)
    assert (again.raw, again.headers[IS_REPLAYED]) == (refused.raw, "true")
    # In the opposite order, the sale takes the record, and the refusal is stored beside it.
    assert (await api.pay(other, key="0002")).status == 201
    for replayed in (None, "true"):
        answer = await api.pay(tenant, key="0002", amount=0)
        assert (answer.status, answer.headers.get(IS_REPLAYED)) == (422, replayed)
    assert (await api.pay(tenant, key="0002")).code == "IDEMPOTENCY_KEY_REUSED"


async def test_the_second_tills_answer_survives_the_expiry_of_the_firsts_record(
    api: Api, admin: Admin, tenant: Tenant
) -> None:
    other = await second_till(admin, tenant)
    first, second = [await api.pay(till, key="0001") for till in (tenant, other)]
    await admin.execute("UPDATE idempotency_records SET expires_at = now() WHERE resource_id = %s", [first.body["id"]])
    for tidy in (False, True):
        if tidy:
            await forget_expired()
        again = await api.pay(other, key="0001")
        assert (again.raw, again.headers.get(IS_REPLAYED)) == (second.raw, "true")
    new = await api.pay(tenant, key="0001")
    assert new.body["id"] not in (first.body["id"], second.body["id"])


async def test_an_expired_key_of_another_till_does_not_block_the_key(api: Api, admin: Admin, tenant: Tenant) -> None:
    other = await second_till(admin, tenant)
    first = await api.pay(tenant, key="0001")
    await admin.execute("UPDATE idempotency_records SET expires_at = now() WHERE resource_id = %s", [first.body["id"]])
    answers = [await api.pay(till, key="0001") for till in (other, tenant, other, tenant)]
    assert [answer.headers.get(IS_REPLAYED) for answer in answers] == [None, None, "true", "true"]
    assert [answer.body["device_id"] for answer in answers] == [other.device_id, tenant.device_id] * 2


@of_tills
async def test_a_record_of_the_previous_release_answers_only_the_same_caller(shop: Shop, making: Making) -> None:
    posting = await making(shop)
    other = await second_till(shop.admin, shop.tenant)
    first = await posting.send(shop.api, shop.tenant, key="0001")
    assert first.status == 201, first.body
    await rewrite_as_previous_release(shop.admin, shop.tenant)
    theirs = await posting.send(shop.api, other, key="0001")
    again = await posting.send(shop.api, shop.tenant, key="0001")
    assert IS_REPLAYED not in theirs.headers
    assert (again.raw, again.headers.get(IS_REPLAYED)) == (first.raw, "true")


async def test_a_refusal_of_the_previous_release_answers_no_caller(api: Api, admin: Admin, tenant: Tenant) -> None:
    assert (await api.pay(tenant, key="0001", amount=0)).status == 422
    await rewrite_as_previous_release(admin, tenant)
    first, again = [await api.pay(tenant, key="0001") for _ in range(2)]
    assert (first.status, again.raw, again.headers.get(IS_REPLAYED)) == (201, first.raw, "true")


PREVIOUS_KEEPS = """
    INSERT INTO idempotency_records AS k (merchant_id, method, path, key, fingerprint, status, body, resource_id,
                                          created_at, expires_at)
    SELECT merchant_id, method, path, key, fingerprint, status, body, resource_id, now(), now() + interval '24 hours'
    FROM jsonb_populate_recordset(NULL::idempotency_records, CAST(%s AS jsonb))
    ORDER BY merchant_id, key, path, method
    ON CONFLICT (merchant_id, key, path, method) DO UPDATE SET
        fingerprint = excluded.fingerprint, status = excluded.status, body = excluded.body,
        resource_id = excluded.resource_id, created_at = excluded.created_at, expires_at = excluded.expires_at
    WHERE k.expires_at <= now()
"""
PREVIOUS_LOOKS = b"""
    SELECT fingerprint, status, body FROM idempotency_records
    WHERE merchant_id = %s AND method = 'POST' AND path = '/api/v1/payments' AND key = %s AND expires_at > now()
"""


async def test_the_previous_release_reads_records_of_this_release_and_writes_new_ones(
    serve: Serve, admin: Admin, tenant: Tenant
) -> None:
    """``render_answers`` is off as long as a process of the previous release may run."""
    async with serve(render_answers=False) as api:
        made = await api.pay(tenant, key="0001")
    found: Any = await (await admin.execute(PREVIOUS_LOOKS, [tenant.merchant_id, "0001"])).fetchone()
    assert found["body"].encode() == made.raw
    copied = await admin.execute(
        "SELECT to_jsonb(k) AS row FROM idempotency_records k WHERE resource_id = %s", [made.body["id"]]
    )
    row: Any = (await copied.fetchone() or {})["row"]
    for key, kept in (("0001", 0), ("0002", 1)):
        rows = json.dumps([{**row, "key": key}])
        assert (await admin.execute(PREVIOUS_KEEPS.encode(), [rows])).rowcount == kept


async def test_an_expired_answer_that_the_previous_release_overwrites_belongs_to_the_new_caller(
    api: Api, admin: Admin, tenant: Tenant
) -> None:
    """The previous release overwrites another till's expired answer with the answer to the new caller."""
    other = api.signer.user(tenant, role="staff", sub="u-2")
    first = await api.pay(tenant, key="0001")
    second = await api.pay(other, key="0002")
    copied = await admin.execute(
        "SELECT to_jsonb(k) AS row FROM idempotency_records k WHERE resource_id = %s", [second.body["id"]]
    )
    row: Any = (await copied.fetchone() or {})["row"]
    await admin.execute(
        "UPDATE idempotency_records SET expires_at = now() WHERE merchant_id = %s AND key = '0001'",
        [tenant.merchant_id],
    )
    assert (
        await admin.execute(
            PREVIOUS_KEEPS.encode(), [json.dumps([{**row, "key": "0001", "body": second.raw.decode()}])]
        )
    ).rowcount == 1
    new, again = [await api.pay(tenant, key="0001") for _ in range(2)]
    assert (new.status, IS_REPLAYED in new.headers) == (201, False)
    assert len({first.body["id"], second.body["id"], new.body["id"]}) == 3
    assert (again.raw, again.headers.get(IS_REPLAYED)) == (new.raw, "true")
    repeated = await api.pay(other, key="0001")
    assert (repeated.raw, repeated.headers.get(IS_REPLAYED)) == (second.raw, "true")


async def test_the_bytes_of_a_body_are_compared_with_a_record_of_the_previous_release(
    api: Api, admin: Admin, tenant: Tenant
) -> None:
    async def ask(body: bytes) -> Answer:
        return await api.post("/payments", body, as_=tenant, key="0001")

    first = await ask(b'{"amount":1,"method":{"type":"cash"}}')
    await rewrite_as_previous_release(admin, tenant)
    assert (await ask(b'{"amount":1,"method":{"type":"cash"}}')).raw == first.raw
    assert (await ask(b'{"method":{"type":"cash"},"amount":1}')).code == "IDEMPOTENCY_KEY_REUSED"
