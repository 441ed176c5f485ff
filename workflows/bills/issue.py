"""Issue new bills: write them with their numbers, their orders and the first row of their history."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.bills.parts import Part
from workflows.bills.rows import BillRow
from workflows.bills.states import BILL
from workflows.database.engines import rows_parameter
from workflows.ids import new_id
from workflows.numbering import Day, Kind, business_date, take_numbers
from workflows.orders.rows import OrderRow
from workflows.transitions import ChangeContext

_STORE = text("SELECT time_zone, cut_off FROM stores WHERE id = :id")
_COLUMNS = """
    id, merchant_id, store_id, bill_number, parent_bill_id, status, version, currency, subtotal, tax_amount,
    discount_amount, total_amount, item_ids, created_at, updated_at"""
_INSERT = text(f"""
    -- issue: bills, their orders, and the first row of their history
    WITH bill AS (
        INSERT INTO bills ({_COLUMNS})
        SELECT {_COLUMNS} FROM jsonb_populate_recordset(NULL::bills, CAST(:rows AS jsonb))
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


async def issue_bills(
    connection: AsyncConnection,
    source: OrderRow | BillRow,
    parts: Sequence[Part],
    *,
    order_ids: Sequence[str],
    parent_bill_id: str | None,
    by: ChangeContext,
) -> list[dict[str, Any]]:
    """Issue a bill for each of ``parts``, for all of ``order_ids``, and return their rows.

    ``source`` is an order or bill that gives the new bills their merchant, store and currency.
    """
    store = (await connection.execute(_STORE, {"id": source["store_id"]})).one()
    on = business_date(by.at, time_zone=store.time_zone, cut_off=store.cut_off)
    day = Day(source["store_id"], on, source["merchant_id"])
    numbers = await take_numbers(connection, Kind.BILL, [day] * len(parts))
    orders = sorted(order_ids)
    rows = [
        {
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
            "item_ids": part.item_ids,
            "created_at": by.at,
            "updated_at": by.at,
        }
        for part, number in zip(parts, numbers, strict=True)
    ]
    history = {
        "caller_type": by.caller_type,
        "caller_id": by.caller_id,
        "reason": by.reason,
        "request_id": by.request_id,
    }
    await connection.execute(_INSERT, {"rows": rows_parameter(rows), "order_ids": orders, **history})
    nothing_yet = {"paid_amount": 0, "reserved_amount": 0, "refunded_amount": 0, "order_ids": orders}
    return [{**row, **nothing_yet} for row in rows]
