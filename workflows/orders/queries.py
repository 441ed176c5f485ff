"""Read orders with their items and the ids of their bills, and turn them into the fields of the contract."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, cast

from sqlalchemy import ColumnElement, text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.orders.models import Order, OrderItemRow
from workflows.orders.totals import OrderLine, format_tax_rate
from workflows.tenants.caller import Caller, Scope, caller_transaction
from workflows.tenants.gathered_reads import GatheredReads, read_statement
from workflows.tenants.query_helpers import equal_filters, in_range
from workflows.tenants.walk import Walk, read_page, stores_named

# bills and bill_orders are tables of a higher layer. They are read here, because an order is shown with the ids of its bills.
_BILLS = text("""
    -- bills: the bills of these orders, except voided ones
    SELECT bo.order_id, b.id FROM bill_orders bo JOIN bills b ON b.id = bo.bill_id
    WHERE bo.order_id = ANY(:order_ids) AND b.status <> 'voided' ORDER BY b.id
""")


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """The filter of a list of orders. ``None`` means any value."""

    status: str | None = None
    store_id: str | None = None
    table_number: str | None = None
    order_number: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the filter, except the store, as conditions of a WHERE clause; ``created_to`` is exclusive."""
        equal = ("status", "table_number", "order_number")
        return [*equal_filters(Order, self, *equal), *in_range(Order.created_at, self.created_from, self.created_to)]


_READ = text("SELECT * FROM order_items WHERE order_id = ANY(:order_ids) ORDER BY order_id, position")


FIELDS = (
    "id",
    "order_number",
    "order_type",
    "table_number",
    "status",
    "currency",
    "items",
    "subtotal",
    "tax_amount",
    "discount_amount",
    "total_amount",
    "bill_ids",
    "device_id",
    "store_id",
    "merchant_id",
    "version",
    "created_at",
    "updated_at",
    "submitted_at",
    "paid_at",
    "completed_at",
    "cancelled_at",
)
"""The fields of an order in answers, in the order of the JSON."""

ITEM_FIELDS = ("id", "name", "quantity", "unit_price", "tax_rate", "subtotal")


async def list_orders(
    order_filter: OrderFilter, *, caller: Caller, limit: int, before: str | None
) -> list[dict[str, Any]]:
    """List up to ``limit`` orders, newest first, older than the id ``before``."""
    stores = stores_named(order_filter.store_id, caller)
    walk = Walk(
        model=Order,
        caller=caller,
        conditions=order_filter.conditions(),
        stores=stores,
        # Each store has its own numbers.
        is_selective=order_filter.order_number is not None and (stores is not None or caller.scope is Scope.STORE),
        created=(order_filter.created_from, order_filter.created_to),
    )
    async with caller_transaction(caller) as connection:
        page = await read_page(connection, walk, limit=limit, before=before)
        return page.with_rows(await orders_with_items(connection, page))


async def order_with_items(connection: AsyncConnection, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``row``, a row of ``orders``, with the order's ``items`` and ``bill_ids``."""
    return (await orders_with_items(connection, [row]))[0]


async def orders_with_items(connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return ``rows`` with their ``items`` and ``bill_ids``, in two statements for any number of rows."""
    if not rows:
        return []
    order_ids = [row["id"] for row in rows]
    items = await read_items(connection, order_ids)
    bills: dict[str, list[str]] = {order_id: [] for order_id in order_ids}
    for found in await connection.execute(_BILLS, {"order_ids": order_ids}):
        bills[found.order_id].append(found.id)
    return [{**row, "items": items[row["id"]], "bill_ids": bills[row["id"]]} for row in rows]


async def read_items(connection: AsyncConnection, order_ids: Sequence[str]) -> dict[str, list[OrderItemRow]]:
    """Return the items of each order, in the order of their positions."""
    items: dict[str, list[OrderItemRow]] = {order_id: [] for order_id in order_ids}
    for row in (await connection.execute(_READ, {"order_ids": list(order_ids)})).mappings():
        items[row["order_id"]].append(cast(OrderItemRow, dict(row)))
    return items


def lines_of(items: Iterable[OrderItemRow]) -> list[OrderLine]:
    """Return ``items`` as order lines, from which totals can be computed."""
    return [OrderLine(item["name"], item["quantity"], item["unit_price"], item["tax_rate"]) for item in items]


def order_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return an order as the contract's fields.

    ``row`` has the columns of ``orders``, ``items`` and ``bill_ids``.
    """
    special = {"items": _items(row["items"])}
    return {name: special[name] if name in special else row.get(name) for name in FIELDS}


def _items(items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {**{name: item[name] for name in ITEM_FIELDS}, "tax_rate": format_tax_rate(item["tax_rate"])} for item in items
    ]


_COLUMNS = tuple(name for name in FIELDS if name not in ("items", "bill_ids"))
# bills and bill_orders are tables of a higher layer. They are read here, because an order is shown with the ids of its bills.
_READ_ORDER = read_statement(f"""
    SELECT {", ".join(f"r.{name}" for name in _COLUMNS)},
           (SELECT json_agg(json_build_array(id, name, quantity, unit_price, CAST(tax_rate AS text), subtotal)
                            ORDER BY position)
            FROM order_items WHERE order_id = r.id) AS items,
           ARRAY(SELECT bill_id FROM bill_orders
                 -- LATERAL and LIMIT 1: otherwise a cached plan may scan all bills. Sorted later, for the same reason.
                 CROSS JOIN LATERAL (SELECT status FROM bills WHERE id = bill_id LIMIT 1) b
                 WHERE order_id = r.id AND b.status <> 'voided') AS bill_ids
    FROM orders r WHERE r.id = i.id
""")

OrderReads = GatheredReads[Mapping[str, Any]]
"""The reads of orders by id. Their rows have the columns that ``order_fields`` shows, with ``items`` and ``bill_ids``."""


def order_reads(*, timeout_seconds: float) -> OrderReads:
    """Return the reads of orders of this process."""
    return GatheredReads(_READ_ORDER, build=_with_items, timeout_seconds=timeout_seconds)


def _with_items(row: dict[str, Any]) -> Mapping[str, Any]:
    """Return ``row`` with its items as ``order_fields`` expects them.

    In the statement's JSON the tax rate is a text, which keeps its scale.
    """
    items: list[dict[str, Any]] = [dict(zip(ITEM_FIELDS, values, strict=True)) for values in row["items"] or ()]
    items = [{**item, "tax_rate": Decimal(item["tax_rate"])} for item in items]
    return {**row, "items": items, "bill_ids": sorted(row["bill_ids"])}
