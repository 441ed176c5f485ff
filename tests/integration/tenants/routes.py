"""Every route with the lowest role that may call it, and a valid request for it about the rows of a tenant."""

from typing import Any

import orjson
import uuid_utils

from tests.factories import Tenant
from tests.harness import Answer, Api
from tests.integration.tenants.planted_rows import TENANTS

OPEN, DEVICE = "anybody", "device"
ROLES = (DEVICE, "staff", "store_manager", "merchant_admin", "psp_admin", "system_op")

LEAST: dict[str, str] = {
    "POST /payments": DEVICE,
    "GET /payments": DEVICE,
    "GET /payments/{payment_id}": DEVICE,
    "GET /payments/{payment_id}/stream": DEVICE,
    "GET /payments/{payment_id}/events": DEVICE,
    "POST /payments/{payment_id}/cancel": DEVICE,
    "POST /payments/{payment_id}/refund": DEVICE,
    "GET /payments/{payment_id}/refunds": DEVICE,
    "GET /refunds": DEVICE,
    "GET /refunds/{refund_id}": DEVICE,
    "POST /refunds/{refund_id}/report": DEVICE,
    "POST /orders": DEVICE,
    "GET /orders": DEVICE,
    "GET /orders/{order_id}": DEVICE,
    "PATCH /orders/{order_id}": DEVICE,
    "POST /orders/{order_id}/submit": DEVICE,
    "POST /orders/{order_id}/cancel": DEVICE,
    "POST /orders/{order_id}/complete": DEVICE,
    "POST /bills": DEVICE,
    "GET /bills": DEVICE,
    "POST /bills/combine": DEVICE,
    "POST /bills/{bill_id}/split": DEVICE,
    "GET /bills/{bill_id}": DEVICE,
    "POST /bills/{bill_id}/void": DEVICE,
    "POST /terminals": "store_manager",
    "GET /terminals": "store_manager",
    "GET /terminals/{device_id}": "store_manager",
    "POST /terminals/{device_id}/suspend": "store_manager",
    "POST /terminals/{device_id}/resume": "store_manager",
    "POST /terminals/{device_id}/deactivate": "store_manager",
    "POST /device/provision/generateActivationCode": "store_manager",
    "POST /device/provision/activate": OPEN,
    "GET /device/provision/activationStatus": "store_manager",
    "POST /auth/device/token": OPEN,
    "GET /settlements": "store_manager",
    "GET /settlements/{settlement_id}": "store_manager",
    "GET /settlements/{settlement_id}/lines": "store_manager",
    "POST /settlements/{settlement_id}/close": "store_manager",
    "POST /settlements/{settlement_id}/cash-count": "store_manager",
    "POST /settlements/{settlement_id}/statements": "store_manager",
    "GET /settlements/{settlement_id}/statements": "store_manager",
    "POST /settlements/{settlement_id}/reconcile": "store_manager",
    "GET /settlements/{settlement_id}/runs": "store_manager",
    "GET /settlements/{settlement_id}/breaks": "store_manager",
    "GET /settlements/{settlement_id}/export.csv": "store_manager",
    "GET /settlements/{settlement_id}/export.json": "store_manager",
    "GET /settlements/{settlement_id}/report": "store_manager",
    "GET /settlements/{settlement_id}/report.pdf": "store_manager",
    "POST /stores/{store_id}/settlement-overrides": "store_manager",
    "PUT /stores/{store_id}/statement-policies": "merchant_admin",
    "GET /stores/{store_id}/statement-policies": "merchant_admin",
    "POST /breaks/{break_id}/resolve": "merchant_admin",
    "POST /breaks/{break_id}/assign": "merchant_admin",
    "GET /ledger/accounts": "merchant_admin",
    "GET /ledger/journals": "merchant_admin",
    "POST /stores": "merchant_admin",
    "GET /stores": "merchant_admin",
    "GET /stores/{store_id}": "merchant_admin",
    "PATCH /stores/{store_id}": "merchant_admin",
    "POST /stores/{store_id}/providers": "merchant_admin",
    "GET /stores/{store_id}/providers": "merchant_admin",
    "GET /stores/{store_id}/providers/{provider}": "merchant_admin",
    "PATCH /stores/{store_id}/providers/{provider}": "merchant_admin",
    "DELETE /stores/{store_id}/providers/{provider}": "merchant_admin",
    "POST /merchants": "psp_admin",
    "GET /merchants": "psp_admin",
    "GET /merchants/{merchant_id}": "psp_admin",
    "PATCH /merchants/{merchant_id}": "psp_admin",
    "PUT /ops/maintenance": "system_op",
    "GET /ops/dead-letters": "system_op",
    "GET /ops/invariants": "system_op",
    "POST /ops/dead-letters/{letter_id}/requeue": "system_op",
    "POST /ops/dead-letters/{letter_id}/close": "system_op",
}
"""Route → the lowest role that may call it."""

CASH = {"type": "cash"}
BODIES: dict[str, list[dict[str, Any]]] = {
    "POST /ops/dead-letters/{letter_id}/close": [{"reason": "r"}],
    "POST /payments": [
        {"amount": 1, "method": CASH, "bill_id": "{bill}", "store_id": "store-a"},
        {"amount": 1, "method": CASH, "store_id": "{store}"},
    ],
    "POST /payments/{payment_id}/refund": [{"reason": "r", "staff_code": "s"}],
    "POST /refunds/{refund_id}/report": [{"result": "approved"}],
    "PATCH /orders/{order_id}": [{"table_number": "7"}],
    "POST /bills": [{"order_id": "{order}"}],
    "POST /bills/combine": [{"order_ids": ["{order}", "{order}x"]}],
    "POST /bills/{bill_id}/split": [{"parts": 2}],
    "POST /terminals": [{"store_id": "{store}", "serial_number": "s-{unique}", "name": "n", "model": "m"}],
    "POST /device/provision/generateActivationCode": [{"device_id": "{device}"}],
    "POST /settlements/{settlement_id}/cash-count": [{"cash_actual": 0, "note": "n"}],
    "PUT /stores/{store_id}/statement-policies": [{"provider": "external", "statements": "none", "note": "n"}],
    "POST /stores/{store_id}/settlement-overrides": [
        {"business_date": "2099-01-01", "ends_at_local": "2099-01-02T01:00"}
    ],
    "POST /breaks/{break_id}/resolve": [{"resolution": "ignore", "note": "n"}],
    "POST /breaks/{break_id}/assign": [{"owner": "o"}],
    "POST /stores": [{"name": "n", "merchant_id": "{merchant}"}],
    "PATCH /stores/{store_id}": [{"name": "n"}],
    "POST /stores/{store_id}/providers": [{"provider": "sandbox", "methods": ["qr"]}],
    "PATCH /stores/{store_id}/providers/{provider}": [{"enabled": False}],
    "POST /merchants": [{"name": "n", "psp_id": "{psp}"}],
    "PATCH /merchants/{merchant_id}": [{"name": "n"}],
}
"""Valid bodies with the ids of a tenant. The other routes take no body."""

QUERIES = {
    "GET /device/provision/activationStatus": "?device_id={device}",
    "POST /settlements/{settlement_id}/statements": "?provider=sandbox",
}
WITHOUT_IDS = ("POST /orders", "POST /device/provision/activate", "POST /auth/device/token")
"""Routes whose requests contain no id of a tenant's row."""

OPERATORS = tuple(route for route, least in LEAST.items() if least == "system_op")
LISTS = tuple(route for route in LEAST if route.startswith("GET") and "{" not in route and route not in QUERIES)
ABOUT_ONE = tuple(route for route in LEAST if route not in (*LISTS, *OPERATORS, *WITHOUT_IDS))


ENTITIES = ("payment", "refund", "order", "bill", "device", "settlement", "break", "letter")


def planted_ids(tag: str) -> dict[str, str]:
    """Return the ids of a tenant's planted rows, by entity. For an unknown tag, no row has these ids."""
    tenant = TENANTS.get(tag, {entity: f"{entity}-{tag}" for entity in ("psp", "merchant", "store")})
    return {**{entity: f"{entity}-{tag}" for entity in ENTITIES}, **tenant}


def filled(value: Any, ids: dict[str, str]) -> Any:
    """Return ``value`` with each ``{…}`` replaced by the id of that name."""
    return orjson.loads(_fill(orjson.dumps(value).decode(), ids))


def _fill(text: str, ids: dict[str, str]) -> str:
    for name, value in {**ids, "provider": "sandbox", "unique": uuid_utils.uuid7().hex}.items():
        text = text.replace("{" + name + "}", value).replace("{" + name + "_id}", value)
    return text


async def call(
    api: Api, route: str, ids: dict[str, str], *, as_: Tenant | str | None, body: dict[str, Any] | None = None
) -> Answer:
    """Call ``route`` for the rows with these ids."""
    method, path = route.split(" ")
    headers = {"Content-Type": "text/csv"} if route.endswith("/statements") and method == "POST" else {}
    sent: Any = b"reference\n" if headers else None if body is None else filled(body, ids)
    key = uuid_utils.uuid7().hex if method == "POST" else None
    return await api.call(method, _fill(path + QUERIES.get(route, ""), ids), sent, as_=as_, key=key, headers=headers)


def bodies(route: str) -> list[Any]:
    """Return the bodies to send to ``route``: ``[None]`` if it takes none."""
    return BODIES.get(route, [None])


def roles_from(least: str) -> tuple[str, ...]:
    """Return the roles from ``least`` upwards, without the system operator, who belongs to no tenant."""
    return ROLES[ROLES.index(least) : -1]
