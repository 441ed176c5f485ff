"""Orders are created, found, changed, submitted and cancelled over HTTP."""

import asyncio
from typing import Any

import psycopg
import pytest
from psycopg.rows import DictRow

from tests.contract_schemas import fields
from tests.factories import Signer, Tenant
from tests.harness import Api
from tests.integration.orders.order_helpers import RAMEN, RICE, open_order, post_order

Admin = psycopg.AsyncConnection[DictRow]


async def history(admin: Admin, order_id: str) -> list[tuple[str, str | None, str]]:
    rows = await admin.execute("SELECT * FROM order_history WHERE order_id = %s ORDER BY version", [order_id])
    return [(row["event"], row["from_status"], row["to_status"]) for row in await rows.fetchall()]


async def test_a_draft_has_computed_totals(api: Api, tenant: Tenant, admin: Admin) -> None:
    answer = await post_order(api, tenant, items=[RAMEN, RICE], discount_amount=25)
    assert answer.status == 201
    order = answer.body
    assert set(order) == set(fields("order"))
    # 900 at 10 % and 125 at 8 %, 25 off (21.95 → 22 and 3.05 → 3): tax on 878 is 87.8 → 88, on 122 is 9.76 → 10
    assert (order["subtotal"], order["tax_amount"], order["total_amount"]) == (1025, 98, 1098)
    assert (order["status"], order["version"], order["bill_ids"]) == ("draft", 1, [])
    assert [(item["name"], item["tax_rate"], item["subtotal"]) for item in order["items"]] == [
        ("Ramen", "0.10", 900),
        ("Rice ball", "0.08", 125),
    ]
    assert (await api.get(f"/orders/{order['id']}", as_=tenant)).body == order
    assert await history(admin, order["id"]) == [("create", None, "draft")]


async def test_an_order_can_be_created_open_with_a_history_of_both_events(
    api: Api, tenant: Tenant, admin: Admin
) -> None:
    order = await open_order(api, tenant)
    assert (order["status"], order["version"]) == ("open", 2)
    assert order["submitted_at"] == order["created_at"]
    assert await history(admin, order["id"]) == [("create", None, "draft"), ("submit", "draft", "open")]
    assert (await api.get(f"/orders/{order['id']}", as_=tenant)).body == order


async def test_a_draft_is_changed_submitted_and_cancelled(api: Api, tenant: Tenant, admin: Admin) -> None:
    order = (await post_order(api, tenant)).body
    path = f"/orders/{order['id']}"
    changed = await api.call("PATCH", path, {"version": 1, "items": [RICE], "table_number": None}, as_=tenant)
    assert changed.status == 200
    assert (changed.body["total_amount"], changed.body["table_number"], changed.body["version"]) == (135, None, 2)
    assert changed.body["order_type"] == "dine_in"
    submitted = await api.post(f"{path}/submit", as_=tenant)
    assert (submitted.status, submitted.body["status"]) == (200, "open")
    discounted = await api.call("PATCH", path, {"discount_amount": 25}, as_=tenant)
    assert discounted.body["total_amount"] == 108
    cancelled = await api.post(f"{path}/cancel", as_=tenant)
    assert (cancelled.status, cancelled.body["status"]) == (200, "cancelled")
    assert cancelled.body["cancelled_at"] is not None
    events = [event for event, _, _ in await history(admin, order["id"])]
    assert events == ["create", "change", "submit", "change", "cancel"]
    assert cancelled.body["version"] == len(events)


@pytest.mark.parametrize(("rounding", "tax"), [("half_up", 13), ("down", 12), ("up", 13)])
async def test_rounding_direction_of_tax_is_a_setting(serve: Any, tenant: Tenant, rounding: str, tax: int) -> None:
    async with serve(tax_rounding=rounding) as api:
        draft = (await post_order(api, tenant, items=[RAMEN])).body
        items = [{**RAMEN, "quantity": 1, "unit_price": 125}]  # 12.5 yen of tax at 10 %
        created = (await post_order(api, tenant, items=items)).body
        changed = (await api.call("PATCH", f"/orders/{draft['id']}", {"version": 1, "items": items}, as_=tenant)).body
    assert [order["tax_amount"] for order in (created, changed)] == [tax, tax]


async def test_an_empty_change_changes_nothing(api: Api, tenant: Tenant) -> None:
    order = (await post_order(api, tenant)).body
    answer = await api.call("PATCH", f"/orders/{order['id']}", {}, as_=tenant)
    assert (answer.status, answer.body) == (200, order)


ILLEGAL = {
    "draft": ["complete"],
    "open": ["submit", "complete"],
    "cancelled": ["submit", "cancel", "complete"],
}


@pytest.mark.parametrize(("status", "event"), [(status, event) for status in ILLEGAL for event in ILLEGAL[status]])
async def test_every_other_edge_is_refused_with_the_current_status(
    api: Api, tenant: Tenant, status: str, event: str
) -> None:
    order = (await post_order(api, tenant, submit=status == "open")).body
    if status == "cancelled":
        await api.post(f"/orders/{order['id']}/cancel", as_=tenant)
    answer = await api.post(f"/orders/{order['id']}/{event}", as_=tenant)
    assert (answer.status, answer.code) == (409, "INVALID_STATUS_TRANSITION")
    assert answer.details[0]["field"] == "status"
    assert status in answer.details[0]["issue"]


async def test_cancelled_order_cannot_be_changed(api: Api, tenant: Tenant) -> None:
    order = (await post_order(api, tenant)).body
    await api.post(f"/orders/{order['id']}/cancel", as_=tenant)
    answer = await api.call("PATCH", f"/orders/{order['id']}", {"table_number": "9"}, as_=tenant)
    assert (answer.status, answer.code) == (409, "INVALID_STATUS_TRANSITION")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"items": []}, "items"),
        ({"items": [{**RAMEN, "tax_rate": 0.1}]}, "items.0.tax_rate"),
        ({"items": [{**RAMEN, "tax_rate": "10"}]}, "items.0.tax_rate"),
        ({"items": [{**RAMEN, "tax_rate": "0.123456"}]}, "items.0.tax_rate"),
        ({"items": [{**RAMEN, "tax_rate": "0.1\n"}]}, "items.0.tax_rate"),
        ({"items": [{**RAMEN, "quantity": 0}]}, "items.0.quantity"),
        ({"items": [{**RAMEN, "quantity": 1.5}]}, "items.0.quantity"),
        ({"items": [{**RAMEN, "unit_price": -1}]}, "items.0.unit_price"),
        ({"items": [{**RAMEN, "price": 1}]}, "items.0.price"),
        ({"items": [{**RAMEN, "unit_price": 0}], "submit": True}, "items"),
        ({"discount_amount": 901}, "discount_amount"),
        ({"discount_amount": -1}, "discount_amount"),
        ({"order_type": "eat_in"}, "order_type"),
        ({"currency": "XYZ"}, "currency"),
        ({"table_number": "7\u0000"}, "table_number"),
        ({"status": "open"}, "status"),
    ],
)
async def test_invalid_order_field_is_named(api: Api, tenant: Tenant, fields: dict[str, Any], field: str) -> None:
    answer = await post_order(api, tenant, **fields)
    assert (answer.status, answer.code) == (422, "VALIDATION_ERROR")
    assert field in [detail["field"] for detail in answer.details]


async def test_order_with_a_total_of_zero_cannot_be_submitted(api: Api, tenant: Tenant) -> None:
    order = (await post_order(api, tenant, discount_amount=900)).body
    assert order["total_amount"] == 0
    refused = await api.post(f"/orders/{order['id']}/submit", as_=tenant)
    assert (refused.status, refused.code) == (422, "VALIDATION_ERROR")
    opened = await open_order(api, tenant)
    refused = await api.call("PATCH", f"/orders/{opened['id']}", {"discount_amount": 900}, as_=tenant)
    assert refused.status == 422


async def test_a_missing_key_is_refused(api: Api, tenant: Tenant) -> None:
    answer = await api.post("/orders", {"order_type": "takeaway", "items": [RAMEN]}, as_=tenant)
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")


async def test_order_of_another_tenant_is_404(api: Api, tenant: Tenant, make_tenant: Any, signer: Signer) -> None:
    order = await open_order(api, tenant)
    other = await make_tenant()
    for method, path in [
        ("GET", ""),
        ("PATCH", ""),
        ("POST", "/submit"),
        ("POST", "/cancel"),
        ("POST", "/complete"),
    ]:
        body: dict[str, Any] | None = {} if method == "PATCH" else None
        answer = await api.call(method, f"/orders/{order['id']}{path}", body, as_=other)
        assert (answer.status, answer.code) == (404, "RESOURCE_NOT_FOUND"), (method, path)
    assert (await api.get("/orders", as_=other)).body["data"] == []
    admin = signer.user(tenant, role="merchant_admin")
    assert (await post_order(api, admin, store_id=other.store_id)).status == 404
    assert (await post_order(api, admin)).status == 422
    assert (await post_order(api, admin, store_id=tenant.store_id)).status == 201


async def test_lists_are_filtered_and_paged(api: Api, tenant: Tenant) -> None:
    orders = [await open_order(api, tenant, table_number=str(number % 2)) for number in range(5)]
    draft = (await post_order(api, tenant)).body
    first = (await api.get("/orders?status=open&limit=3", as_=tenant)).body
    assert [order["id"] for order in first["data"]] == [order["id"] for order in reversed(orders)][:3]
    assert first["data"][0] == orders[-1]
    rest = (await api.get(f"/orders?status=open&limit=3&cursor={first['next_cursor']}", as_=tenant)).body
    assert [order["id"] for order in rest["data"]] == [orders[1]["id"], orders[0]["id"]]
    assert rest["next_cursor"] is None
    for query, expected in [
        (f"order_number={draft['order_number']}", [draft]),
        ("table_number=1", [orders[3], orders[1]]),
        (f"store_id={tenant.store_id}&status=draft", [draft]),
        ("store_id=sto_other", []),
        (f"created_from={draft['created_at']}", [draft]),
        (f"created_to={orders[1]['created_at']}", [orders[0]]),
    ]:
        found = (await api.get(f"/orders?{query}", as_=tenant)).body["data"]
        assert [order["id"] for order in found] == [order["id"] for order in expected], query


@pytest.mark.parametrize(
    "path", ["/orders?table_number=%00", "/bills?bill_number=1%00", "/payments?client_reference=%00"]
)
async def test_query_value_that_the_database_cannot_store_is_400(api: Api, tenant: Tenant, path: str) -> None:
    answer = await api.get(path, as_=tenant)
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")


async def test_concurrent_orders_are_numbered_without_a_gap(api: Api, tenant: Tenant) -> None:
    answers = await asyncio.gather(
        *(post_order(api, tenant, discount_amount=0 if number % 3 else 901) for number in range(60))
    )
    numbers = sorted(answer.body["order_number"] for answer in answers if answer.status == 201)
    day = numbers[0].partition("-")[0]
    assert numbers == [f"{day}-{number:04d}" for number in range(1, 41)]


async def test_repeated_key_creates_one_order(api: Api, tenant: Tenant, admin: Admin) -> None:
    answers = await asyncio.gather(*(post_order(api, tenant, key="the same") for _ in range(50)))
    assert {answer.status for answer in answers} <= {201, 409}
    replay = await post_order(api, tenant, key="the same")
    assert (replay.status, replay.headers["Idempotent-Replayed"]) == (201, "true")
    assert {answer.raw for answer in answers if answer.status == 201} == {replay.raw}
    assert {answer.code for answer in answers if answer.status == 409} <= {"IDEMPOTENCY_KEY_IN_USE"}
    rows = await admin.execute("SELECT count(*) AS n FROM orders WHERE store_id = %s", [tenant.store_id])
    assert await rows.fetchone() == {"n": 1}
    reused = await post_order(api, tenant, key="the same", table_number="8")
    assert (reused.status, reused.code) == (422, "IDEMPOTENCY_KEY_REUSED")


async def test_refusal_is_stored_for_its_idempotency_key(api: Api, tenant: Tenant) -> None:
    refused = await post_order(api, tenant, key="too much", discount_amount=901)
    again = await post_order(api, tenant, key="too much", discount_amount=901)
    assert (refused.status, again.status, again.raw) == (422, 422, refused.raw)
    assert again.headers["Idempotent-Replayed"] == "true"


async def test_idempotency_key_can_be_used_again_after_its_window(api: Api, tenant: Tenant, admin: Admin) -> None:
    first = await post_order(api, tenant, key="old")
    await admin.execute(
        "UPDATE idempotency_records SET expires_at = now() WHERE merchant_id = %s AND key = 'old'", [tenant.merchant_id]
    )
    second = await post_order(api, tenant, key="old", table_number="8")
    assert second.status == 201
    assert second.body["id"] != first.body["id"]
