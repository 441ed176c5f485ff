"""Create bills: one for the unbilled part of one or more orders, or one for each part of a split bill.

``bill_orders`` creates a bill for orders in these phases. ``void_and_split`` calls ``issue_bills`` for the parts.

| phase | what                                                                                                      |
|-------|-----------------------------------------------------------------------------------------------------------|
| lock  | lock the orders in id order, so that two bills for one order are created one after the other                |
| known | return the answer if one is stored for the key                                                              |
| check | all orders are open, of one store and currency, with something left to bill                                  |
| issue | write the bill, its number, its history and the idempotency record                                           |

Usually nothing is billed yet, and the new bill has the totals of the orders. A fully billed order is refused (409). If a part
of a split was voided, or paid and refunded in full, its amount can be billed again, for the same orders.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from sqlalchemy import text

from workflows.bills.models import BillRow, BillWithOrders
from workflows.bills.queries import bill_fields
from workflows.bills.split_amounts import BillPart
from workflows.bills.states import BILL, LIVE
from workflows.database.connection import Connection
from workflows.database.engines import rows_parameter
from workflows.database.json_rendering import render
from workflows.errors import Detail, DuplicateResource, InvalidRequest, ResourceNotFound
from workflows.ids import new_id
from workflows.numbering import NumberKind, StoreDay, allocate_numbers, business_date
from workflows.orders.lock import lock_orders
from workflows.orders.models import OrderRow
from workflows.orders.states import ORDER, OrderStatus
from workflows.requests.idempotency import Key, StoredAnswer, known_answer, store_answer
from workflows.tenants.caller import Caller, hot_caller_transaction
from workflows.transitions import ChangeContext, invalid_transition_error

_LIVE = text(f"""
    -- live: the live bills of these orders, each with all its orders
    SELECT b.id, b.subtotal, b.tax_amount, b.discount_amount, array_agg(bo.order_id ORDER BY bo.order_id) AS order_ids
    FROM bills b JOIN bill_orders bo ON bo.bill_id = b.id
    WHERE {LIVE} AND b.id IN (SELECT bill_id FROM bill_orders WHERE order_id = ANY(:order_ids))
    GROUP BY b.id ORDER BY b.id
""")
_ITEMS = text("SELECT id FROM order_items WHERE order_id = ANY(:order_ids) ORDER BY order_id, position")
_AMOUNTS: tuple[Literal["subtotal", "tax_amount", "discount_amount"], ...] = (
    "subtotal",
    "tax_amount",
    "discount_amount",
)


_STORE = text("SELECT time_zone, cut_off FROM stores WHERE id = :id")
BILL_COLUMNS = """
    id, merchant_id, store_id, bill_number, parent_bill_id, status, version, currency, subtotal, tax_amount,
    discount_amount, total_amount, item_ids, created_at, updated_at"""
"""The columns that a new bill sets. All others have their defaults."""
_INSERT = text(f"""
    -- issue: bills, their orders, and the first row of their history
    WITH bill AS (
        INSERT INTO bills ({BILL_COLUMNS})
        SELECT {BILL_COLUMNS} FROM jsonb_populate_recordset(NULL::bills, CAST(:rows AS jsonb))
        RETURNING *
    ), for_orders AS (
        INSERT INTO bill_orders (bill_id, order_id, merchant_id, store_id)
        SELECT b.id, o.id, b.merchant_id, b.store_id FROM bill b, unnest(CAST(:order_ids AS text[])) AS o(id)
    )
    INSERT INTO bill_history (bill_id, version, merchant_id, store_id, event, to_status, at, caller_type, caller_id, reason,
                              request_id)
    SELECT id, version, merchant_id, store_id, 'create', status, created_at, :caller_type, :caller_id, :reason, :request_id
    FROM bill
""")


async def bill_orders(
    order_ids: Sequence[str], *, field: str, caller: Caller, key: Key, request_id: str
) -> StoredAnswer:
    """Create a bill for these orders, or return the answer stored for the key.

    ``field`` is the name of the request's field that lists the orders, for error details.

    Raises ``ResourceNotFound``, ``InvalidRequest`` (stores or currencies differ), ``InvalidStatusTransition`` (an order is not
    open), ``DuplicateResource`` (the orders are fully billed), ``IdempotencyKeyReused``, ``NotAuthorized``,
    ``ServiceUnavailable``.
    """
    async with hot_caller_transaction(caller) as connection:
        orders = await lock_orders(connection, order_ids, caller=caller)
        missing = sorted(set(order_ids) - {order["id"] for order in orders})
        if missing:
            raise ResourceNotFound(Detail(field, f"There is no order {missing[0]}"))
        merchant_id = orders[0]["merchant_id"]
        known = await known_answer(connection, merchant_id, key)
        if known:
            return known
        _check_orders(orders, field=field)
        part = await _unbilled(connection, orders, field=field)
        by = ChangeContext.caller(caller, at=orders[0]["at"], request_id=request_id)
        ids = [order["id"] for order in orders]
        bill = (await issue_bills(connection, orders[0], [part], order_ids=ids, parent_bill_id=None, by=by))[0]
        stored = StoredAnswer(201, render(bill_fields(bill)), resource_id=bill["id"], is_replay=False)
        await store_answer(connection, merchant_id, key, stored)
    return stored


async def issue_bills(
    connection: Connection,
    source: OrderRow | BillRow,
    parts: Sequence[BillPart],
    *,
    order_ids: Sequence[str],
    parent_bill_id: str | None,
    by: ChangeContext,
) -> list[BillWithOrders]:
    """Write one new bill per part, each for all of ``order_ids``, and return the rows of the bills.

    The new bills take their merchant, store and currency from ``source``, an order or a bill.
    """
    store = (await connection.execute(_STORE, {"id": source["store_id"]})).mappings().one()
    on = business_date(by.at, time_zone=store["time_zone"], cut_off=store["cut_off"])
    day = StoreDay(source["store_id"], on, source["merchant_id"])
    numbers = await allocate_numbers(connection, NumberKind.BILL, [day] * len(parts))
    orders = sorted(order_ids)
    rows = [
        bill_row(source, part, number=number, order_ids=orders, parent_bill_id=parent_bill_id, at=by.at)
        for part, number in zip(parts, numbers, strict=True)
    ]
    history = {
        "caller_type": by.caller_type,
        "caller_id": by.caller_id,
        "reason": by.reason,
        "request_id": by.request_id,
    }
    await connection.execute(_INSERT, {"rows": rows_parameter(rows), "order_ids": orders, **history})
    return rows


def bill_row(
    source: OrderRow | BillRow,
    part: BillPart,
    *,
    number: str,
    order_ids: Sequence[str],
    parent_bill_id: str | None,
    at: datetime,
) -> BillWithOrders:
    """Return the row of a new bill with its sorted ``order_ids``.

    It takes its merchant, store and currency from ``source``.
    """
    return {
        "id": new_id("bill"),
        "merchant_id": source["merchant_id"],
        "store_id": source["store_id"],
        "bill_number": number,
        "parent_bill_id": parent_bill_id,
        "status": BILL.initial[0],
        "version": 1,
        "currency": source["currency"],
        "subtotal": part.subtotal,
        "tax_amount": part.tax_amount,
        "discount_amount": part.discount_amount,
        "total_amount": part.total_amount,
        "paid_amount": 0,
        "reserved_amount": 0,
        "refunded_amount": 0,
        "item_ids": None if part.item_ids is None else list(part.item_ids),
        "paid_at": None,
        "voided_at": None,
        "created_at": at,
        "updated_at": at,
        "order_ids": sorted(order_ids),
    }


def _check_orders(orders: Sequence[OrderRow], *, field: str) -> None:
    if len({order["store_id"] for order in orders}) > 1:
        raise InvalidRequest(Detail(field, "Must be orders of one store"))
    if len({order["currency"] for order in orders}) > 1:
        raise InvalidRequest(Detail(field, "Must be orders of one currency"))
    for order in orders:
        if order["status"] != OrderStatus.OPEN:
            raise invalid_transition_error(ORDER, order["status"], "be billed")


async def _unbilled(connection: Connection, orders: Sequence[OrderRow], *, field: str) -> BillPart:
    """Return the part of the orders that no live bill covers.

    Raises ``DuplicateResource`` if there is none.
    """
    ids = [order["id"] for order in orders]
    live = [dict(row) for row in (await connection.execute(_LIVE, {"order_ids": ids})).mappings()]
    left = {name: sum(order[name] for order in orders) - sum(bill[name] for bill in live) for name in _AMOUNTS}
    is_for_others = any(bill["order_ids"] != ids for bill in live)
    if is_for_others or (live and not any(left.values())):
        issues = [Detail(field, f"Already on bill {bill['id']}") for bill in live]
        raise DuplicateResource(*issues, message="There is a bill for this already; void it before you create another")
    items = [row["id"] for row in (await connection.execute(_ITEMS, {"order_ids": ids})).mappings()]
    return BillPart(**left, item_ids=None if live else tuple(items))
