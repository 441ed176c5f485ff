"""Write the rows of orders and their items.

One statement writes a group of new orders. Every order begins as a draft, also in its history, because a draft is the only
initial status. A second statement submits the orders that begin open, because a statement cannot change a row that it inserts.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.database.connection import Connection
from workflows.database.engines import rows_parameter
from workflows.errors import IdempotencyKeyInUse
from workflows.ids import new_id
from workflows.orders.states import ORDER, OrderEvent, OrderStatus
from workflows.orders.totals import OrderLine, format_tax_rate
from workflows.requests.idempotency import KEY_LIFE, STORE_RECORDS

_ITEM_COLUMNS = "id, order_id, merchant_id, store_id, position, name, quantity, unit_price, tax_rate, subtotal"

INSERT_ITEMS = f"""
    INSERT INTO order_items ({_ITEM_COLUMNS})
    SELECT {_ITEM_COLUMNS} FROM jsonb_populate_recordset(NULL::order_items, CAST(:items AS jsonb))"""
"""SQL that inserts the items of one or more orders; ``:items`` is the JSON of ``items_parameter``.

It is a statement of its own, and a part of the statement that writes orders.
"""

_INSERT_ITEMS = text(INSERT_ITEMS)
_DELETE_ITEMS = text("DELETE FROM order_items WHERE order_id = :order_id")


_COLUMNS = """
    id, merchant_id, store_id, device_id, order_number, order_type, table_number, status, version, currency, subtotal,
    tax_amount, discount_amount, total_amount, created_at, updated_at"""
_BY = """
    SELECT * FROM jsonb_to_recordset(CAST(:orders AS jsonb)) AS o(
        id text, caller_type text, caller_id text, request_id text)"""
_HISTORY = """
    INSERT INTO order_history (order_id, version, merchant_id, store_id, event, from_status, to_status, at, caller_type,
                               caller_id, request_id)"""

_WRITE = text(f"""
    -- write: each order of the group as a draft, the first row of its history, its items, and the answer to its key
    WITH by AS ({_BY}), written AS (
        INSERT INTO orders ({_COLUMNS})
        SELECT {_COLUMNS} FROM jsonb_populate_recordset(NULL::orders, CAST(:orders AS jsonb))
        RETURNING id, version, merchant_id, store_id, status, created_at
    ), history AS (
        {_HISTORY}
        SELECT w.id, w.version, w.merchant_id, w.store_id, 'create', NULL, w.status, w.created_at, by.caller_type,
               by.caller_id, by.request_id
        FROM written w JOIN by ON by.id = w.id
    ), items AS (
        {INSERT_ITEMS}
    ), stored AS (
        {STORE_RECORDS} RETURNING 1
    )
    SELECT count(*) FROM stored
""")
_SUBMIT = text(f"""
    -- submit: the orders that begin open
    WITH by AS ({_BY}), updated AS (
        UPDATE orders SET status = :target, version = version + 1, submitted_at = created_at
        WHERE id = ANY(:ids)  -- not a join, whose cached plan, if made on an empty table, would read the whole table
        RETURNING id, version, merchant_id, store_id, status, submitted_at
    )
    {_HISTORY}
    SELECT u.id, u.version, u.merchant_id, u.store_id, :event, :source, u.status, u.submitted_at, by.caller_type,
           by.caller_id, by.request_id
    FROM updated u JOIN by ON by.id = u.id
""")
_EDGE = {"event": OrderEvent.SUBMIT, "source": OrderStatus.DRAFT, "target": OrderStatus.OPEN}
_DRAFT = {"status": ORDER.initial[0], "version": 1}


def item_rows(order: Mapping[str, Any], lines: Sequence[OrderLine]) -> list[dict[str, Any]]:
    """Return new rows of ``order_items`` for the ``lines`` of ``order``, in the same order."""
    return [
        {
            "id": new_id("order_item"),
            "order_id": order["id"],
            "merchant_id": order["merchant_id"],
            "store_id": order["store_id"],
            "position": position,
            "name": line.name,
            "quantity": line.quantity,
            "unit_price": line.unit_price,
            "tax_rate": line.tax_rate,
            "subtotal": line.subtotal,
        }
        for position, line in enumerate(lines, 1)
    ]


def items_parameter(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of ``item_rows`` with tax rates as text, which JSON represents exactly."""
    return [{**row, "tax_rate": format_tax_rate(row["tax_rate"])} for row in rows]


async def replace_items(connection: AsyncConnection, order_id: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Replace all items of an order by ``rows``, which ``item_rows`` made."""
    await connection.execute(_DELETE_ITEMS, {"order_id": order_id})
    await connection.execute(_INSERT_ITEMS, {"items": rows_parameter(items_parameter(rows))})


async def write_orders(
    connection: Connection, orders: Sequence[Mapping[str, Any]], records: Sequence[dict[str, Any]]
) -> None:
    """Write new orders, ``draft`` or ``open``, with their items and history and the idempotency records.

    Each of ``orders`` is an order as the answer shows it, with its caller. Raises ``IdempotencyKeyInUse`` if a key of
    ``records`` was used meanwhile; the caller's transaction then rolls everything back.
    """
    drafts = [{name: value for name, value in row.items() if name != "items"} | _DRAFT for row in orders]
    items = items_parameter(item for row in orders for item in row["items"])
    parameters = {"orders": rows_parameter(drafts), "items": rows_parameter(items)}
    found = await connection.execute(_WRITE, {**parameters, "rows": rows_parameter(list(records)), "life": KEY_LIFE})
    if found.scalar_one() < len(records):
        raise IdempotencyKeyInUse(retry_after_seconds=1)
    opened = [draft for draft, row in zip(drafts, orders, strict=True) if row["status"] == OrderStatus.OPEN]
    if opened:
        await connection.execute(
            _SUBMIT, {"orders": rows_parameter(opened), "ids": [row["id"] for row in opened], **_EDGE}
        )
