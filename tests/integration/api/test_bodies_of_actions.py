"""Actions with an optional body record its reason if they can, and refuse every other field."""

from typing import Any

import psycopg
import pytest
from psycopg.rows import DictRow

from tests.factories import Tenant
from tests.harness import Api
from tests.integration.bills.bill_helpers import bill_of
from tests.integration.orders.order_helpers import open_order

Admin = psycopg.AsyncConnection[DictRow]
MANAGER = "store_manager"
ACTIONS = {
    "/orders/x/submit": "staff",
    "/orders/x/cancel": "staff",
    "/orders/x/complete": "staff",
    "/bills/x/void": "staff",
    "/settlements/x/close": MANAGER,
    "/settlements/x/reconcile": MANAGER,
    "/terminals/x/suspend": MANAGER,
    "/ops/dead-letters/x/requeue": "system_op",
}
WITH_REASON = {"/orders/x/cancel", "/bills/x/void", "/terminals/x/suspend"}


@pytest.mark.parametrize("path", ACTIONS)
async def test_field_that_an_action_would_ignore_is_refused(api: Api, tenant: Tenant, path: str) -> None:
    as_ = api.signer.user(tenant, role=ACTIONS[path])
    answer = await api.post(path, {"force": True}, as_=as_)
    assert (answer.status, answer.details) == (422, [{"field": "force", "issue": "There is no such field"}])
    card = await api.post(path, {"reason": "4111111111111111"}, as_=as_)
    assert (card.status, card.details[0]["field"]) == (422, "reason")
    assert "4111" not in str(card.body)
    nothings: tuple[dict[str, Any] | None, ...] = (None, {})
    for nothing in nothings:  # 404: the body was accepted
        assert (await api.post(path, nothing, as_=as_)).status == 404


@pytest.mark.parametrize("path", sorted(set(ACTIONS) - WITH_REASON))
async def test_reason_is_refused_for_an_action_that_records_none(api: Api, tenant: Tenant, path: str) -> None:
    answer = await api.post(path, {"reason": "left"}, as_=api.signer.user(tenant, role=ACTIONS[path]))
    assert (answer.status, answer.details) == (422, [{"field": "reason", "issue": "There is no such field"}])


async def test_a_reason_is_in_the_history(api: Api, tenant: Tenant, admin: Admin) -> None:
    order = await open_order(api, tenant)
    bill = await bill_of(api, tenant, order["id"])
    assert (await api.post(f"/bills/{bill['id']}/void", {"reason": "wrong table"}, as_=tenant)).status == 200
    assert (await api.post(f"/orders/{order['id']}/cancel", {"reason": "left"}, as_=tenant)).status == 200
    found = await admin.execute(
        """SELECT (SELECT reason FROM bill_history WHERE bill_id = %s AND event = 'void') AS bill,
                  (SELECT reason FROM order_history WHERE order_id = %s AND event = 'cancel') AS "order" """,
        [bill["id"], order["id"]],
    )
    assert await found.fetchone() == {"bill": "wrong table", "order": "left"}
