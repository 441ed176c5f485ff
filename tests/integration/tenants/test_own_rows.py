"""Each role, from the lowest that a route admits, succeeds with rows of its own tenant."""

from typing import Any

import pytest

from tests.factories import WHY, Tenant
from tests.harness import Api
from tests.integration.bills.bill_helpers import bill_of
from tests.integration.orders.order_helpers import RAMEN, open_order
from tests.integration.refunds.refund_helpers import RefundMaker
from tests.integration.tenants.routes import BODIES, DEVICE, LEAST, ROLES, call

PROVISIONING = (
    "POST /merchants",
    "GET /merchants",
    "GET /merchants/{merchant_id}",
    "PATCH /merchants/{merchant_id}",
    "POST /stores",
    "GET /stores",
    "GET /stores/{store_id}",
    "PATCH /stores/{store_id}",
    "GET /stores/{store_id}/providers",
    "GET /stores/{store_id}/providers/{provider}",
    "PATCH /stores/{store_id}/providers/{provider}",
    "DELETE /stores/{store_id}/providers/{provider}",
    "POST /stores/{store_id}/providers",
    "POST /terminals",
    "GET /terminals",
    "GET /terminals/{device_id}",
    "POST /terminals/{device_id}/suspend",
    "POST /terminals/{device_id}/resume",
    "POST /device/provision/generateActivationCode",
    "GET /device/provision/activationStatus",
    "POST /terminals/{device_id}/deactivate",
)
"""Routes in an order in which each request is possible after the previous ones."""

ORDERING: dict[str, dict[str, Any] | None] = {
    "POST /orders": {"order_type": "takeaway", "items": [RAMEN], "store_id": "{store}"},
    "GET /orders": None,
    "GET /orders/{order_id}": None,
    "PATCH /orders/{order_id}": {"table_number": "1"},
    "POST /orders/{order_id}/submit": None,
    "POST /orders/{order_id}/complete": None,
    "POST /bills": {"order_id": "{other}"},
    "POST /bills/combine": {"order_ids": ["{order}", "{other}"]},
    "GET /bills": None,
    "GET /bills/{bill_id}": None,
    "POST /bills/{bill_id}/split": {"parts": 2},
    "POST /bills/{bill_id}/void": None,
    "POST /payments/{payment_id}/refund": {**WHY, "amount": 1},
    "GET /payments/{payment_id}/refunds": None,
    "GET /payments/{payment_id}/events": None,
    "GET /refunds": None,
    "GET /refunds/{refund_id}": None,
    "POST /orders/{order_id}/cancel": None,
}
REFUSED_FOR_STATUS = {
    "POST /orders/{order_id}/submit",  # already open
    "POST /orders/{order_id}/complete",  # not paid
    "POST /bills/combine",  # one of the orders has a bill
    "POST /bills/{bill_id}/void",  # already split
}
"""Routes that answer 409 here: the caller is permitted, but the row's status does not allow the change."""


@pytest.mark.parametrize("role", ROLES[1:])
async def test_every_permitted_role_provisions_devices_in_its_tenant(api: Api, tenant: Tenant, role: str) -> None:
    ids = {"psp": tenant.psp_id, "merchant": tenant.merchant_id, "store": tenant.store_id, "device": tenant.device_id}
    token = api.signer.user(tenant, role=role)
    for route in PROVISIONING:
        if ROLES.index(role) >= ROLES.index(LEAST[route]):
            answer = await call(api, route, ids, as_=token, body=BODIES.get(route, [None])[0])
            assert answer.status in (200, 201, 204), (route, answer.body)


@pytest.mark.parametrize("role", ROLES)
async def test_every_permitted_role_handles_orders_bills_and_refunds_of_its_store(
    api: Api, refunds: RefundMaker, role: str
) -> None:
    tenant = refunds.tenant
    payment_id = await refunds.paid()
    ids = {
        "store": tenant.store_id,
        "order": (await open_order(api, tenant))["id"],
        "other": (await open_order(api, tenant))["id"],
        "bill": (await bill_of(api, tenant, (await open_order(api, tenant))["id"]))["id"],
        "payment": payment_id,
        "refund": await refunds.pending(payment_id, 1),
    }
    token = api.signer.device(tenant) if role == DEVICE else api.signer.user(tenant, role=role)
    for route, body in ORDERING.items():
        answer = await call(api, route, ids, as_=token, body=body)
        allowed = (409,) if route in REFUSED_FOR_STATUS else (200, 201)
        assert answer.status in allowed, (route, answer.body)
