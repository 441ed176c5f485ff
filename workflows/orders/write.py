"""Write the rows of new orders: one statement for a group, another for those that begin open.

Every order begins as a draft, also in its history, because the table of edges has no other initial status. Orders that begin
open are submitted by a second statement, because a statement cannot change a row that it inserts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.database.engines import rows_parameter
from workflows.errors import IdempotencyKeyInUse
from workflows.orders.items import INSERT_ITEMS, items_parameter
from workflows.orders.states import ORDER, OrderEvent, OrderStatus
from workflows.requests.idempotency import KEY_LIFE, STORE_RECORDS

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
    -- write: every order of the group as a draft, the first row of its history, its items, and the answer to its key
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
    WITH by AS ({_BY}), moved AS (
        UPDATE orders SET status = :target, version = version + 1, submitted_at = created_at
        WHERE id = ANY(:ids)  -- with a join, a plan cached while the table was empty would read the whole table
        RETURNING id, version, merchant_id, store_id, status, submitted_at
    )
    {_HISTORY}
    SELECT m.id, m.version, m.merchant_id, m.store_id, :event, :source, m.status, m.submitted_at, by.caller_type,
           by.caller_id, by.request_id
    FROM moved m JOIN by ON by.id = m.id
""")
_EDGE = {"event": OrderEvent.SUBMIT, "source": OrderStatus.DRAFT, "target": OrderStatus.OPEN}
_DRAFT = {"status": ORDER.initial[0], "version": 1}


async def write_orders(
    connection: AsyncConnection, orders: Sequence[Mapping[str, Any]], records: Sequence[dict[str, Any]]
) -> None:
    """Write ``orders`` as they will be answered (``draft`` or ``open``), with items, history and caller.

    ``records`` are the idempotency records. Raises ``IdempotencyKeyInUse`` if one was taken meanwhile, which undoes it all.
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
