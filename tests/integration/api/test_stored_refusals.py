"""A 422 is stored as the answer to its key for every caller, including those above merchant level."""

from typing import Any

import psycopg
import pytest
from psycopg.rows import DictRow

from tests.conftest import MakeTenant
from tests.factories import WHY, PaymentMaker, Tenant
from tests.harness import Answer, Api
from tests.integration.bills.bill_helpers import bill_of
from tests.integration.orders.order_helpers import open_order
from tests.reconciliation_helpers import closed_settlement, some_sales
from workflows.payments.states import PaymentStatus

Admin = psycopg.AsyncConnection[DictRow]
above = pytest.mark.parametrize("role", ["merchant_admin", "psp_admin", "system_op"])


def user_above_stores(api: Api, tenant: Tenant, role: str) -> str:
    """Return a token of a user above store level, without the tenant fields that the role lacks."""
    keeps = {"merchant_admin": ("psp_id", "merchant_id"), "psp_admin": ("psp_id",), "system_op": ()}[role]
    claims = {name: None for name in ("psp_id", "merchant_id", "store_id") if name not in keeps}
    return api.signer.user(tenant, role=role, **claims)


async def check_replayed(api: Api, as_: str, path: str, wrong: Any, other: Any, **rest: Any) -> None:
    """Check that the refusal of ``wrong`` is replayed byte for byte.

    Check also that another body cannot use the key of that refusal.
    """

    async def ask(body: Any) -> Answer:
        return await api.post(path, body, as_=as_, key="k", **rest)

    first, again, else_ = await ask(wrong), await ask(wrong), await ask(other)
    assert (first.status, first.code) == (422, "VALIDATION_ERROR"), first.body
    assert (again.status, again.raw, again.headers.get("Idempotent-Replayed")) == (422, first.raw, "true")
    assert (else_.status, else_.code) == (422, "IDEMPOTENCY_KEY_REUSED"), else_.body


@above
async def test_a_refused_payment_is_the_answer_to_its_key(api: Api, tenant: Tenant, role: str) -> None:
    body = {"amount": 100, "method": {"type": "cash"}, "store_id": tenant.store_id}
    await check_replayed(api, user_above_stores(api, tenant, role), "/payments", {**body, "amount": 0}, body)


@above
async def test_refused_order_is_the_answer_to_its_key(api: Api, tenant: Tenant, role: str) -> None:
    item = {"name": "Tea", "quantity": 1, "unit_price": 100, "tax_rate": "0.10"}
    body = {"order_type": "takeaway", "items": [item], "store_id": tenant.store_id}
    await check_replayed(api, user_above_stores(api, tenant, role), "/orders", {**body, "items": []}, body)


@above
async def test_refused_bill_and_refused_split_are_the_answers_to_their_keys(
    api: Api, tenant: Tenant, role: str
) -> None:
    orders = [(await open_order(api, tenant))["id"] for _ in range(3)]
    as_ = user_above_stores(api, tenant, role)
    await check_replayed(api, as_, "/bills", {"order_id": orders[0], "parts": 2}, {"order_id": orders[0]})
    await check_replayed(api, as_, "/bills/combine", {"order_ids": orders[:1]}, {"order_ids": orders[:2]})
    bill = await bill_of(api, tenant, orders[2])
    await check_replayed(api, as_, f"/bills/{bill['id']}/split", {"parts": 1}, {"parts": 2})


@above
async def test_refused_refund_is_the_answer_to_its_key(
    api: Api, tenant: Tenant, payments: PaymentMaker, role: str
) -> None:
    payment_id = await payments.in_status(PaymentStatus.COMPLETED)
    path = f"/payments/{payment_id}/refund"
    await check_replayed(
        api, user_above_stores(api, tenant, role), path, {**WHY, "amount": 10**9}, {**WHY, "amount": 1}
    )


@above
async def test_refused_statement_is_the_answer_to_its_key(api: Api, admin: Admin, tenant: Tenant, role: str) -> None:
    settlement_id = await closed_settlement(admin, tenant, some_sales(2))
    path = f"/settlements/{settlement_id}/statements?provider=sandbox"
    await check_replayed(
        api,
        user_above_stores(api, tenant, role),
        path,
        b"no,such,columns\n",
        b"other\n",
        headers={"Content-Type": "text/csv"},
    )


@pytest.mark.parametrize("store_id", [None, "sto_1", "a b", "x\x00", 5, ["sto_1"]])
async def test_refusal_without_a_merchant_is_not_stored(api: Api, tenant: Tenant, store_id: Any) -> None:
    body = {"amount": 0, "method": {"type": "cash"}, "store_id": store_id}
    for _ in range(2):
        answer = await api.post("/payments", body, as_=user_above_stores(api, tenant, "psp_admin"), key="k")
        assert (answer.status, answer.headers.get("Idempotent-Replayed")) == (422, None)


@pytest.mark.parametrize("path", ["/payments", "/orders", "/bills", "/bills/combine"])
@pytest.mark.parametrize("body", [None, b"[]", b"null", b'{"order_ids": {}}'])
async def test_body_that_cannot_name_a_merchant_is_refused_as_for_other_callers(
    api: Api, tenant: Tenant, path: str, body: bytes | None
) -> None:
    answer = await api.post(path, body, as_=user_above_stores(api, tenant, "psp_admin"), key="k")
    assert answer.raw == (await api.post(path, body, as_=tenant, key="k")).raw
    assert answer.status == 422


async def test_refusal_that_names_another_psps_store_is_not_stored(
    api: Api, tenant: Tenant, make_tenant: MakeTenant
) -> None:
    stranger = await make_tenant()
    body = {"amount": 0, "method": {"type": "cash"}, "store_id": tenant.store_id}
    assert (await api.post("/payments", body, as_=user_above_stores(api, stranger, "psp_admin"), key="k")).status == 422
    answer = await api.post("/payments", {**body, "amount": 100}, as_=tenant, key="k")
    assert answer.status == 201
