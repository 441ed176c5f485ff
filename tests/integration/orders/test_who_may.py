"""Who may do what with orders, bills and refunds: the store's device, its staff and all above; nobody else, and at once."""

from typing import Any

import pytest
import uuid_utils

from tests.factories import WHY, Signer
from tests.harness import Answer, Api
from tests.integration.bills.bill_helpers import Admin, bill_of
from tests.integration.orders.order_helpers import RAMEN, open_order
from tests.integration.refunds.refund_helpers import RefundMaker

BODIES: dict[str, Any] = {
    "POST /orders": {"order_type": "takeaway", "items": [RAMEN]},
    "GET /orders": None,
    "GET /orders/{order}": None,
    "PATCH /orders/{order}": {"table_number": "1"},
    "POST /orders/{order}/submit": None,
    "POST /orders/{order}/complete": None,
    "POST /bills": {"order_id": "{order}"},
    "POST /bills/combine": {"order_ids": ["{order}", "{other}"]},
    "GET /bills": None,
    "GET /bills/{bill}": None,
    "POST /bills/{bill}/split": {"parts": 2},
    "POST /bills/{bill}/void": None,
    "POST /payments/{payment}/refund": {**WHY, "amount": 1},
    "GET /payments/{payment}/refunds": None,
    "GET /payments/{payment}/events": None,
    "GET /refunds": None,
    "GET /refunds/{refund}": None,
    "POST /orders/{order}/cancel": None,
}
WELL = {200, 201, 409}  # done, or refused for what the row is: in any case this caller might have


class Everything:
    """One of each, and a way to ask every route about them."""

    def __init__(self, api: Api, ids: dict[str, str]) -> None:
        self.api, self.ids = api, ids

    async def ask(self, route: str, as_: Any) -> Answer:
        method, path = route.format(**self.ids).split(" ")
        body = BODIES[route]
        if body and "order_id" in body:
            body = {"order_id": self.ids["other"]}
        elif body and "order_ids" in body:
            body = {"order_ids": [self.ids["order"], self.ids["other"]]}
        return await self.api.call(method, path, body, as_=as_, key=uuid_utils.uuid7().hex)


@pytest.fixture
async def everything(api: Api, refunds: RefundMaker) -> Everything:
    payment_id = await refunds.paid()
    ids = {
        "order": (await open_order(api, refunds.tenant))["id"],
        "other": (await open_order(api, refunds.tenant))["id"],
        "bill": (await bill_of(api, refunds.tenant, (await open_order(api, refunds.tenant))["id"]))["id"],
        "payment": payment_id,
        "refund": await refunds.pending(payment_id, 1),
    }
    return Everything(api, ids)


async def test_a_suspended_device_may_nothing_from_its_next_request_on(
    everything: Everything, refunds: RefundMaker, admin: Admin
) -> None:
    assert (await everything.ask("GET /orders", refunds.tenant)).status == 200
    await admin.execute(
        "UPDATE devices SET status = 'suspended', version = version + 1 WHERE id = %s", [refunds.tenant.device_id]
    )
    for route in BODIES:
        answer = await everything.ask(route, refunds.tenant)
        assert (answer.status, answer.code) == (403, "AUTHORIZATION_ERROR"), (route, answer.body)


@pytest.mark.parametrize("role", ["staff", "store_manager", "merchant_admin", "psp_admin", "system_op"])
async def test_staff_may_all_of_it_and_a_higher_role_too(
    everything: Everything, refunds: RefundMaker, signer: Signer, role: str
) -> None:
    token = signer.user(refunds.tenant, role=role)
    for route in BODIES:
        if route == "POST /orders" and role not in ("staff", "store_manager"):
            continue  # they say for which store: see the tests of orders
        answer = await everything.ask(route, token)
        assert answer.status in WELL, (route, answer.body)


async def test_nobody_may_nothing(everything: Everything) -> None:
    for route in BODIES:
        answer = await everything.ask(route, None)
        assert (answer.status, answer.code) == (401, "AUTHENTICATION_ERROR"), (route, answer.body)
