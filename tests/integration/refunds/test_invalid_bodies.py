"""Invalid bodies for every route of orders, bills and refunds are refused with a sentence, never with a 500.

Each body has a single fault, and the answer must have the matching code and field. Afterwards everything is read, to show
that nothing was stored.
"""

from typing import Any

import pytest

from tests.conftest import MakeTenant
from tests.factories import Tenant
from tests.harness import Api
from tests.integration.bills.bill_helpers import bill_of, combine, post_bill, split
from tests.integration.orders.order_helpers import RAMEN, RICE, open_order, post_order
from tests.integration.refunds.refund_helpers import RefundMaker, post_refund

HUGE, LONG, NESTED = 10**30, "x" * 10_000, [[[[["deep"]]]]]
NO_AMOUNT: list[Any] = [HUGE, -1, 1.5, 10.0, True, "100", None, [100], {"amount": 100}, "\x00", "🍜"]
NO_TEXT: list[Any] = ["", "   ", "a\x00b", "line\nbreak", LONG, 7, None, True, NESTED, {"a": 1}, "4111 1111 1111 1111"]
NO_ID: list[Any] = [
    "",
    " ",
    "a b",
    "\x00",
    "🍜",
    LONG,
    5,
    None,
    True,
    NESTED,
    "../../etc/passwd",
    "x'; DROP TABLE bills",
]
NO_RATE: list[Any] = ["1.5", "-0.1", "abc", 0.08, 8, "8 %", "", ".08", "0.", "NaN", "0.123456", "0.٠٨", None, ["0.08"]]
NO_OBJECT: list[Any] = [[], [{}], "text", 5, True]


def cases(fields: dict[str, list[Any]]) -> list[Any]:
    return [
        pytest.param(field, value, id=f"{field}={str(value)[:20]!r}") for field in fields for value in fields[field]
    ]


def item(field: str, value: Any) -> list[dict[str, Any]]:
    return [RICE, {**RAMEN, field: value}]


ITEM = {"name": NO_TEXT, "quantity": [0, *NO_AMOUNT], "unit_price": NO_AMOUNT, "tax_rate": NO_RATE, "price": [5]}
ORDER = {
    "items": [[], None, {}, [[RAMEN]], [RAMEN] * 201, "Ramen"],
    "discount_amount": [1_000_000, *NO_AMOUNT],
    "order_type": ["eat_in", "", None, 1],
    "table_number": [value for value in NO_TEXT if value is not None],
    "total_amount": [1],
    "status": ["paid"],
}
CREATION = {
    **ORDER,
    "currency": ["XYZ", "jpy", "", 392],
    "submit": ["true", 1, None],
    "store_id": [value for value in NO_ID if value is not None],
}


@pytest.mark.parametrize(("field", "value"), cases(ITEM))
async def test_an_invalid_item_of_an_order_is_refused(api: Api, tenant: Tenant, field: str, value: Any) -> None:
    created = await post_order(api, tenant, items=item(field, value))
    draft = (await post_order(api, tenant)).body
    changed = await api.call("PATCH", f"/orders/{draft['id']}", {"items": item(field, value)}, as_=tenant)
    for answer in (created, changed):
        assert (answer.status, answer.code) == (422, "VALIDATION_ERROR"), answer.body
        assert answer.details[0]["field"] == f"items.1.{field}"
    assert (await api.get("/orders", as_=tenant)).body["data"] == [draft]


@pytest.mark.parametrize(("field", "value"), cases(CREATION))
async def test_an_invalid_field_of_an_order_is_refused(api: Api, tenant: Tenant, field: str, value: Any) -> None:
    refused = await post_order(api, tenant, **{field: value})
    assert (refused.status, refused.code) == (422, "VALIDATION_ERROR"), refused.body
    assert refused.details[0]["field"].split(".")[0] == field
    assert (await api.get("/orders", as_=tenant)).body["data"] == []


@pytest.mark.parametrize(("field", "value"), cases({**ORDER, "currency": ["USD"], "submit": [True]}))
async def test_an_invalid_field_of_an_order_change_is_refused(api: Api, tenant: Tenant, field: str, value: Any) -> None:
    draft = (await post_order(api, tenant)).body
    refused = await api.call("PATCH", f"/orders/{draft['id']}", {field: value}, as_=tenant)
    assert (refused.status, refused.code) == (422, "VALIDATION_ERROR"), refused.body
    assert refused.details[0]["field"].split(".")[0] == field
    assert (await api.get(f"/orders/{draft['id']}", as_=tenant)).body == draft


@pytest.mark.parametrize("body", NO_OBJECT, ids=str)
async def test_body_that_is_not_an_object_is_refused_by_every_route(api: Api, refunds: RefundMaker, body: Any) -> None:
    order = await open_order(api, refunds.tenant)
    bill = await bill_of(api, refunds.tenant, order["id"])
    payment_id = await refunds.paid()
    for method, path in (
        ("POST", "/orders"),
        ("PATCH", f"/orders/{order['id']}"),
        ("POST", "/bills"),
        ("POST", "/bills/combine"),
        ("POST", f"/bills/{bill['id']}/split"),
        ("POST", f"/payments/{payment_id}/refund"),
    ):
        answer = await api.call(method, path, body, as_=refunds.tenant, key=f"{path}-{body}")
        assert (answer.status, answer.code, answer.details[0]["field"]) == (422, "VALIDATION_ERROR", "body"), path


@pytest.mark.parametrize("value", NO_ID, ids=lambda value: str(value)[:20])
async def test_an_invalid_id_in_a_bill_is_refused(api: Api, tenant: Tenant, value: Any) -> None:
    order = await open_order(api, tenant)
    for path, body, field in (
        ("/bills", {"order_id": value}, "order_id"),
        ("/bills/combine", {"order_ids": [order["id"], value]}, "order_ids.1"),
    ):
        answer = await api.post(path, body, as_=tenant, key="a key")
        assert (answer.status, answer.code, answer.details[0]["field"]) == (422, "VALIDATION_ERROR", field), answer.body


SPLIT: dict[str, list[Any]] = {
    "parts": [0, 1, 101, -3, *[value for value in NO_AMOUNT if value is not None]],
    "amounts": [
        [],
        [990],
        [989],
        [1] * 101,
        [1] * 10_000,
        "990",
        {},
        [990, 0],
        [991, -1],
        [0.5, 989.5],
        [True, 989],
        [HUGE, 1],
    ],
    "items": [
        [],
        [[]],
        [[], []],
        "itm_x",
        ["itm_x", "itm_y"],
        [["itm_x"], ["itm_y"]],
        NESTED,
        [[1], [2]],
        [["\x00"], ["a"]],
    ],
    "note": ["x"],
}


@pytest.mark.parametrize(("field", "value"), cases(SPLIT))
async def test_an_invalid_split_body_is_refused(api: Api, tenant: Tenant, field: str, value: Any) -> None:
    bill = await bill_of(api, tenant, (await open_order(api, tenant))["id"])
    refused = await split(api, tenant, bill["id"], **{field: value})
    assert (refused.status, refused.code) == (422, "VALIDATION_ERROR"), refused.body
    assert refused.details[0]["field"].split(".")[0] in (field, "body")
    assert (await api.get(f"/bills/{bill['id']}", as_=tenant)).body == bill


REFUND: dict[str, list[Any]] = {
    "amount": [0, 1_001, *[value for value in NO_AMOUNT if value is not None]],
    "reason": NO_TEXT,
    "staff_code": NO_TEXT,
    "metadata": [
        [],
        "text",
        5,
        {"a": NESTED},
        {"a": "\x00"},
        {"a": LONG},
        {str(n): n for n in range(60)},
        {"a": 2**60},
    ],
    "currency": ["USD"],
    "store_id": ["sto_other"],
}


@pytest.mark.parametrize(("field", "value"), cases(REFUND))
async def test_an_invalid_refund_body_is_refused(api: Api, refunds: RefundMaker, field: str, value: Any) -> None:
    payment_id = await refunds.paid()
    refused = await post_refund(api, refunds.tenant, payment_id, **{field: value})
    assert (refused.status, refused.code) == (422, "VALIDATION_ERROR"), refused.body
    assert refused.details[0]["field"].split(".")[0] == field
    assert (await api.get(f"/payments/{payment_id}/refunds", as_=refunds.tenant)).body["data"] == []


@pytest.mark.parametrize("missing", ["reason", "staff_code"])
async def test_a_refund_requires_reason_and_staff_code(api: Api, refunds: RefundMaker, missing: str) -> None:
    payment_id = await refunds.paid()
    body = {name: "given" for name in ("reason", "staff_code") if name != missing}
    refused = await api.post(f"/payments/{payment_id}/refund", body, as_=refunds.tenant, key="a key")
    assert (refused.status, refused.details) == (422, [{"field": missing, "issue": "This field is required"}])


@pytest.mark.parametrize("value", [HUGE, 2**63, 10**13])
async def test_an_invalid_amount_of_cash_is_refused(api: Api, tenant: Tenant, value: int) -> None:
    refused = await api.pay(tenant, method={"type": "cash", "cash_received": value})
    assert (refused.status, refused.details[0]["field"]) == (422, "method.cash_received")


async def test_ids_of_another_tenant_are_refused_like_unknown_ids(
    api: Api, refunds: RefundMaker, make_tenant: MakeTenant
) -> None:
    mine, other = refunds.tenant, await make_tenant()
    order, theirs = await open_order(api, mine), await open_order(api, other)
    their_bill = await bill_of(api, other, theirs["id"])
    their_payment = (await api.pay(other)).body
    bill = await bill_of(api, mine, order["id"])
    another = await open_order(api, mine)
    answers = [
        await post_order(api, mine, store_id=other.store_id),
        await post_bill(api, mine, theirs["id"]),
        await combine(api, mine, another["id"], theirs["id"]),
        await split(api, mine, their_bill["id"], parts=2),
        await api.pay(mine, bill_id=their_bill["id"]),
        await post_refund(api, mine, their_payment["id"]),
        *[await api.post(f"/orders/{theirs['id']}/{verb}", as_=mine) for verb in ("submit", "cancel", "complete")],
        await api.post(f"/bills/{their_bill['id']}/void", as_=mine),
        await api.call("PATCH", f"/orders/{theirs['id']}", {"table_number": "1"}, as_=mine),
    ]
    assert {(answer.status, answer.code) for answer in answers} == {(404, "RESOURCE_NOT_FOUND")}
    refused = await split(
        api, mine, bill["id"], items=[[order["items"][0]["id"]], [theirs["items"][0]["id"]]]
    )  # an item of another tenant is not part of this bill
    assert (refused.status, refused.details[0]["field"]) == (422, "items")
    assert (await api.get(f"/orders/{theirs['id']}", as_=other)).body["version"] == theirs["version"]
    assert (await api.get(f"/bills/{their_bill['id']}", as_=other)).body == their_bill


async def test_payment_in_another_currency_than_its_bill_names_the_bills_currency(api: Api, tenant: Tenant) -> None:
    bill = await bill_of(api, tenant, (await open_order(api, tenant, currency="KWD"))["id"])
    refused = await api.pay(tenant, amount=1, currency="JPY", bill_id=bill["id"])
    assert (refused.status, refused.details) == (
        422,
        [{"field": "currency", "issue": "Must be KWD, the bill's currency"}],
    )


EVERYWHERE = ("/bills", "/bills/combine", "/bills/bil_x/split", "/payments/pay_x/refund", "/orders")


@pytest.mark.parametrize("path", EVERYWHERE)
async def test_every_creating_route_requires_an_idempotency_key(api: Api, tenant: Tenant, path: str) -> None:
    refused = await api.post(path, {}, as_=tenant)
    assert (refused.status, refused.details[0]["field"]) == (400, "Idempotency-Key")
