"""Examples of orders and bills for the OpenAPI document: one of each status, all about the same restaurant table."""

from typing import Any, cast

from workflows.bills.models import BillWithOrders
from workflows.bills.queries import bill_fields
from workflows.bills.states import BillStatus
from workflows.orders.states import OrderStatus

Table = dict[str, tuple[str, dict[str, Any]]]

_WHOSE = {"store_id": "sto_019ab0c1a2b37c4d85e6f708192a3b4d", "merchant_id": "mer_019ab0c1a2b37c4d85e6f708192a3b4e"}
_ORDER_ID = "ord_019ab0c2d3e47f50a6b7c8d9e0f1a2b4"
_BILL_ID = "bil_019ab0c2d3e47f50a6b7c8d9e0f1a2b5"
_MADE_AT, _SUBMITTED_AT, _BILLED_AT, _PAID_AT, _CLOSED_AT = (
    f"2026-11-23T{time}Z" for time in ("10:02:11.000", "10:05:40.512", "11:20:03.207", "11:24:48.960", "11:31:00.334")
)

_DRAFT: dict[str, Any] = {
    "id": _ORDER_ID,
    "order_number": "20261123-0042",
    "order_type": "dine_in",
    "table_number": "7",
    "status": OrderStatus.DRAFT,
    "currency": "JPY",
    "items": [
        {
            "id": "itm_019ab0c2d3e47f50a6b7c8d9e0f1a2b6",
            "name": "Ramen",
            "quantity": 2,
            "unit_price": 450,
            "tax_rate": "0.10",
            "subtotal": 900,
        },
    ],
    "subtotal": 900,
    "tax_amount": 90,
    "discount_amount": 0,
    "total_amount": 990,
    "bill_ids": [],
    "device_id": "dev_019ab0c1a2b37c4d85e6f708192a3b4c",
    **_WHOSE,
    "version": 1,
    "created_at": _MADE_AT,
    "updated_at": _MADE_AT,
    "submitted_at": None,
    "paid_at": None,
    "completed_at": None,
    "cancelled_at": None,
}
_OPEN = {
    **_DRAFT,
    "status": OrderStatus.OPEN,
    "version": 2,
    "updated_at": _SUBMITTED_AT,
    "submitted_at": _SUBMITTED_AT,
}
_PAID = {
    **_OPEN,
    "status": OrderStatus.PAID,
    "version": 3,
    "bill_ids": [_BILL_ID],
    "updated_at": _PAID_AT,
    "paid_at": _PAID_AT,
}
ORDERS: Table = {
    "draft": ("Not submitted yet; it can be changed but not billed", _DRAFT),
    "open": ("Submitted; it waits for its bill and payment", _OPEN),
    "paid": ("All its bills are paid", _PAID),
    "completed": (
        "Fulfilled and closed",
        {
            **_PAID,
            "status": OrderStatus.COMPLETED,
            "version": 4,
            "updated_at": _CLOSED_AT,
            "completed_at": _CLOSED_AT,
        },
    ),
    "cancelled": (
        "Cancelled; nothing is owed for it, and all payments are refunded",
        {
            **_OPEN,
            "status": OrderStatus.CANCELLED,
            "version": 3,
            "updated_at": _CLOSED_AT,
            "cancelled_at": _CLOSED_AT,
        },
    ),
}

_UNPAID: dict[str, Any] = {
    "id": _BILL_ID,
    "bill_number": "20261123-0031",
    "order_ids": [_ORDER_ID],
    "parent_bill_id": None,
    "status": BillStatus.UNPAID,
    "currency": "JPY",
    "subtotal": 900,
    "tax_amount": 90,
    "discount_amount": 0,
    "total_amount": 990,
    "paid_amount": 0,
    "reserved_amount": 0,
    "refunded_amount": 0,
    "paid_at": None,
    "voided_at": None,
    **_WHOSE,
    "version": 1,
    "created_at": _BILLED_AT,
    "updated_at": _BILLED_AT,
}
_PARTLY = {**_UNPAID, "status": BillStatus.PARTIALLY_PAID, "version": 3, "paid_amount": 330, "updated_at": _PAID_AT}
_BILL_ROWS: Table = {
    "unpaid": ("Waits for payment; a payment of up to its balance is accepted", _UNPAID),
    "partially_paid": ("Paid in part; a balance remains", _PARTLY),
    "reserved": (
        "A payment in progress has reserved a part of it; another payment of up to the rest is accepted",
        {**_PARTLY, "version": 4, "reserved_amount": 330},
    ),
    "paid": (
        "Paid in full; its orders become `paid` when nothing else is owed for them",
        {**_PARTLY, "status": BillStatus.PAID, "version": 7, "paid_amount": 990, "paid_at": _PAID_AT},
    ),
    "voided": (
        "Voided by a caller, or replaced by the parts of a split",
        {
            **_UNPAID,
            "status": BillStatus.VOIDED,
            "version": 2,
            "updated_at": _CLOSED_AT,
            "voided_at": _CLOSED_AT,
        },
    ),
}
BILLS: Table = {name: (summary, bill_fields(cast(BillWithOrders, row))) for name, (summary, row) in _BILL_ROWS.items()}

ORDER_REQUESTS: Table = {
    "a table": (
        "Created open; the server computes its totals",
        {
            "order_type": "dine_in",
            "table_number": "7",
            "items": [{"name": "Ramen", "quantity": 2, "unit_price": 450, "tax_rate": "0.10"}],
            "submit": True,
        },
    ),
    "takeaway with a discount": (
        "A draft with two tax rates, and a discount that is deducted before tax",
        {
            "order_type": "takeaway",
            "items": [
                {"name": "Rice ball", "quantity": 3, "unit_price": 125, "tax_rate": "0.08"},
                {"name": "Bag", "quantity": 1, "unit_price": 5, "tax_rate": "0.10"},
            ],
            "discount_amount": 30,
        },
    ),
}
ORDER_CHANGES: Table = {
    "another discount": ("Omitted fields stay", {"version": 2, "discount_amount": 100}),
    "other items": (
        "The new items replace all items of this version",
        {"version": 2, "items": [{"name": "Ramen", "quantity": 3, "unit_price": 450, "tax_rate": "0.10"}]},
    ),
}
BILL_REQUESTS: Table = {"an order": ("The part of the order that is not billed yet", {"order_id": _ORDER_ID})}
COMBINATIONS: Table = {
    "two tables": (
        "Of the same store and currency",
        {"order_ids": [_ORDER_ID, "ord_019ab0c2d3e47f50a6b7c8d9e0f1a2b8"]},
    ),
}
SPLITS: Table = {
    "in three": (
        "Equal parts, of which the first are one unit larger if needed: 100 becomes 34, 33 and 33",
        {"parts": 3},
    ),
    "by amounts": ("The amounts must add up to the bill", {"amounts": [500, 490]}),
    "by items": (
        "Each item of the bill must be in exactly one part",
        {"items": [["itm_019ab0c2d3e47f50a6b7c8d9e0f1a2b6"], ["itm_019ab0c2d3e47f50a6b7c8d9e0f1a2b7"]]},
    ),
}
