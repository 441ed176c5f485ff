"""Write and read the rows of an order's items."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.database.engines import rows_parameter
from workflows.ids import new_id
from workflows.orders.rows import OrderItemRow
from workflows.orders.serialize import rate
from workflows.orders.totals import OrderLine

_COLUMNS = "id, order_id, merchant_id, store_id, position, name, quantity, unit_price, tax_rate, subtotal"

INSERT_ITEMS = f"""
    INSERT INTO order_items ({_COLUMNS})
    SELECT {_COLUMNS} FROM jsonb_populate_recordset(NULL::order_items, CAST(:items AS jsonb))"""
"""Insert items of one order or of a group; ``:items`` is ``items_parameter``.

Also part of a larger statement.
"""

_INSERT = text(INSERT_ITEMS)
_DELETE = text("DELETE FROM order_items WHERE order_id = :order_id")
_READ = text("SELECT * FROM order_items WHERE order_id = ANY(:order_ids) ORDER BY order_id, position")


def item_rows(order: Mapping[str, Any], lines: Sequence[OrderLine]) -> list[dict[str, Any]]:
    """Return new rows for the ``lines`` of ``order``, in sequence."""
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
    """Return rows of ``item_rows`` as values that JSON can represent exactly."""
    return [{**row, "tax_rate": rate(row["tax_rate"])} for row in rows]


async def replace_items(connection: AsyncConnection, order_id: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Replace the items of the order by ``rows``."""
    await connection.execute(_DELETE, {"order_id": order_id})
    await connection.execute(_INSERT, {"items": rows_parameter(items_parameter(rows))})


async def read_items(connection: AsyncConnection, order_ids: Sequence[str]) -> dict[str, list[OrderItemRow]]:
    """Return the items of each order, by position."""
    items: dict[str, list[OrderItemRow]] = {order_id: [] for order_id in order_ids}
    for row in (await connection.execute(_READ, {"order_ids": list(order_ids)})).mappings():
        items[row["order_id"]].append(cast(OrderItemRow, dict(row)))
    return items


def lines_of(items: Iterable[OrderItemRow]) -> list[OrderLine]:
    """Return the lines that these rows were written from."""
    return [OrderLine(item["name"], item["quantity"], item["unit_price"], item["tax_rate"]) for item in items]
