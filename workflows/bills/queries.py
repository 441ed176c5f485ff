"""Read bills with the ids of their orders, and turn them into the fields of the contract."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import ColumnElement, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.bills.balance import balance_of
from workflows.bills.models import Bill, BillOrder, BillWithOrders
from workflows.tenants.caller import Caller, Scope, caller_transaction
from workflows.tenants.gathered_reads import GatheredReads, read_statement
from workflows.tenants.query_helpers import equal_filters, in_range
from workflows.tenants.walk import Walk, read_page, stores_named

_ORDERS = text("SELECT bill_id, order_id FROM bill_orders WHERE bill_id = ANY(:bill_ids) ORDER BY bill_id, order_id")


@dataclass(frozen=True, slots=True)
class BillFilter:
    """The filter of a list of bills. ``None`` means any value."""

    status: str | None = None
    store_id: str | None = None
    order_id: str | None = None
    parent_bill_id: str | None = None
    bill_number: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the filter, except the store, as conditions of a WHERE clause; ``created_to`` is exclusive."""
        equal = ("status", "parent_bill_id", "bill_number")
        result = [*equal_filters(Bill, self, *equal), *in_range(Bill.created_at, self.created_from, self.created_to)]
        if self.order_id is not None:
            result.append(Bill.id.in_(select(BillOrder.bill_id).where(BillOrder.order_id == self.order_id)))
        return result


FIELDS = (
    "id",
    "bill_number",
    "order_ids",
    "parent_bill_id",
    "status",
    "currency",
    "subtotal",
    "tax_amount",
    "discount_amount",
    "total_amount",
    "paid_amount",
    "reserved_amount",
    "balance_amount",
    "refunded_amount",
    "paid_at",
    "voided_at",
    "store_id",
    "merchant_id",
    "version",
    "created_at",
    "updated_at",
)
"""The fields of a bill in answers, in the order of the JSON.

``balance_amount`` is the largest amount of a new payment.
"""


_READ = read_statement("""
    -- The ids are sorted later: to save a sort, a cached plan may scan the index on order_id.
    SELECT r.*, ARRAY(SELECT order_id FROM bill_orders WHERE bill_id = r.id) AS order_ids
    FROM bills r WHERE r.id = i.id
""")

BillReads = GatheredReads[BillWithOrders]
"""The reads of bills by id."""


def bill_reads(*, timeout_seconds: float) -> BillReads:
    """Return the reads of bills of this process."""
    return GatheredReads(_READ, build=_with_sorted_orders, timeout_seconds=timeout_seconds)


def _with_sorted_orders(row: dict[str, Any]) -> BillWithOrders:
    return cast(BillWithOrders, {**row, "order_ids": sorted(row["order_ids"])})


async def list_bills(
    bill_filter: BillFilter, *, caller: Caller, limit: int, before: str | None
) -> list[BillWithOrders]:
    """List up to ``limit`` bills, newest first, older than the id ``before``."""
    stores = stores_named(bill_filter.store_id, caller)
    is_in_one_store = stores is not None or caller.scope is Scope.STORE  # each store has its own numbers
    walk = Walk(
        model=Bill,
        caller=caller,
        conditions=bill_filter.conditions(),
        stores=stores,
        is_selective=bool(
            bill_filter.order_id or bill_filter.parent_bill_id or (bill_filter.bill_number and is_in_one_store)
        ),
        created=(bill_filter.created_from, bill_filter.created_to),
    )
    async with caller_transaction(caller) as connection:
        page = await read_page(connection, walk, limit=limit, before=before)
        return cast(list[BillWithOrders], page.with_rows(await _bills_with_orders(connection, page)))


async def bill_with_orders(connection: AsyncConnection, row: Mapping[str, Any]) -> BillWithOrders:
    """Return ``row``, a row of ``bills``, with the ``order_ids`` of the bill."""
    return (await _bills_with_orders(connection, [row]))[0]


def bill_fields(row: BillWithOrders) -> dict[str, Any]:
    """Return a bill as the contract's fields."""
    values: Mapping[str, object] = {**row, "balance_amount": balance_of(row).available}
    return {name: values[name] for name in FIELDS}


async def _bills_with_orders(connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> list[BillWithOrders]:
    if not rows:
        return []
    orders: dict[str, list[str]] = {row["id"]: [] for row in rows}
    for found in await connection.execute(_ORDERS, {"bill_ids": list(orders)}):
        orders[found.bill_id].append(found.order_id)
    return cast(list[BillWithOrders], [{**row, "order_ids": orders[row["id"]]} for row in rows])
