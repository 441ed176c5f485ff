"""Audit one store after every step of a sequence, within a few milliseconds.

Two sets of queries run. ``RULES`` are the product's own invariants. ``STATEMENTS`` state I5 and I12 a second time, in SQL that
shares nothing with the product, so that a mistake in a rule is found as well.

The queries read whole tables. Therefore the connection has temporary views of the same names, which hide the tables and show
the rows of one store only. So the same queries are used, and remain fast with many stores in the database.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg

from workflows.invariants.rules import RULES

AUDITED = ("I1", "I2", "I3", "I4", "I5", "I12", "I14")
"""The invariants to check. Sequences do not change the subject of I9 and I13, and their keys (I10) are always new."""

NOT_OF_A_STORE = ("device", "settlement")  # no step of a sequence changes these
STORE = "current_setting('mpac.audited')"
OF_PARENT = {
    "payment_history": "payments p ON p.id = x.payment_id",
    "payment_attempts": "payments p ON p.id = x.payment_id",
    "refund_history": "refunds p ON p.id = x.refund_id",
    "refund_attempts": "refunds p ON p.id = x.refund_id",
    "order_history": "orders p ON p.id = x.order_id",
    "bill_history": "bills p ON p.id = x.bill_id",
    "bill_orders": "bills p ON p.id = x.bill_id",
}
VIEWS = [
    *(
        f"SELECT x.* FROM public.{name} x WHERE x.store_id = {STORE}"
        for name in ("payments", "refunds", "orders", "bills")
    ),
    *(
        f"SELECT x.* FROM public.{name} x JOIN public.{parent} AND p.store_id = {STORE}"
        for name, parent in OF_PARENT.items()
    ),
]
NAMES = ["payments", "refunds", "orders", "bills", *OF_PARENT]
BY_KEYS = "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off"


RETURNED = "b.status = 'paid' AND b.refunded_amount = b.paid_amount"
"""A fully refunded bill: it stays paid, but its part of the order may be billed again."""

STATEMENTS = {
    "paid and reserved exceed the total, or the status differs": """
        SELECT id FROM bills WHERE NOT (paid_amount + reserved_amount <= total_amount
            AND (status = 'paid') = (paid_amount = total_amount) AND (status IN ('unpaid', 'voided')) = (paid_amount = 0))""",
    "parts do not sum to the whole": """
        SELECT w.id FROM bills w JOIN bills p ON p.parent_bill_id = w.id GROUP BY w.id, w.total_amount, w.subtotal,
            w.tax_amount, w.discount_amount, w.status
        HAVING (sum(p.total_amount), sum(p.subtotal), sum(p.tax_amount), sum(p.discount_amount))
            <> (w.total_amount, w.subtotal, w.tax_amount, w.discount_amount) OR w.status <> 'voided'""",
    "something is billed twice": f"""
        SELECT min(b.id) FROM bills b JOIN LATERAL (
            SELECT string_agg(order_id, ' ' ORDER BY order_id) AS family, sum(o.total_amount) AS total
            FROM bill_orders bo JOIN orders o ON o.id = bo.order_id WHERE bo.bill_id = b.id) f ON true
        WHERE b.status <> 'voided' AND NOT ({RETURNED}) GROUP BY f.family, f.total
        HAVING sum(b.total_amount) > f.total""",
    "an order is open although all of it is paid": f"""
        SELECT o.id FROM orders o CROSS JOIN LATERAL (
            SELECT bool_and(b.status = 'paid') AS is_paid, sum(b.total_amount) AS billed, min(b.id) AS bill_id
            FROM bill_orders bo JOIN bills b ON b.id = bo.bill_id
            WHERE bo.order_id = o.id AND b.status <> 'voided' AND NOT ({RETURNED})) f
        WHERE o.status = 'open' AND f.is_paid AND f.billed = (
            SELECT sum(t.total_amount) FROM bill_orders x JOIN orders t ON t.id = x.order_id WHERE x.bill_id = f.bill_id)""",
    "an order is paid although not all of it is": """
        SELECT o.id FROM orders o CROSS JOIN LATERAL (
            SELECT coalesce(bool_and(b.status = 'paid'), false) AS is_paid, coalesce(sum(b.total_amount), 0) AS billed,
                min(b.id) AS bill_id
            FROM bill_orders bo JOIN bills b ON b.id = bo.bill_id WHERE bo.order_id = o.id AND b.status <> 'voided') f
        WHERE o.status = 'paid' AND (NOT f.is_paid OR f.billed < (
            SELECT sum(t.total_amount) FROM bill_orders x JOIN orders t ON t.id = x.order_id WHERE x.bill_id = f.bill_id))""",
    "the version is not the number of history rows": """
        SELECT id FROM bills b WHERE version <> (SELECT count(*) FROM bill_history h WHERE h.bill_id = b.id)
        UNION ALL
        SELECT id FROM orders o WHERE version <> (SELECT count(*) FROM order_history h WHERE h.order_id = o.id)""",
}
"""Each statement selects the ids of the rows that break it."""


class StoreAudit:
    """Find violations in the rows of one store."""

    def __init__(self, connection: psycopg.AsyncConnection) -> None:
        self._connection = connection
        self.rules = [rule for rule in RULES if rule.invariant in AUDITED and not rule.name.endswith(NOT_OF_A_STORE)]
        self._query = " UNION ALL ".join(
            [
                *(
                    f"SELECT '{rule.invariant} {rule.name}', v.id, v.problem FROM ({rule.violations}) AS v"
                    for rule in self.rules
                ),
                *(f"SELECT 'statement', v.id, '{name}' FROM ({query}) AS v(id)" for name, query in STATEMENTS.items()),
            ]
        )

    async def violations(self, store_id: str) -> list[tuple[str, ...]]:
        """Return every violation as (rule, entity, problem)."""
        await self._connection.execute("SELECT set_config('mpac.audited', %s, false)", [store_id])
        found = await self._connection.execute(self._query.encode(), prepare=True)
        return [tuple(row) for row in await found.fetchall()]


@asynccontextmanager
async def open_audit(database_url: str) -> AsyncIterator[StoreAudit]:
    """Yield an audit with a separate connection, as the owner of the tables."""
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await connection.execute(BY_KEYS)
        for name, select in zip(NAMES, VIEWS, strict=True):
            await connection.execute(f"CREATE TEMPORARY VIEW {name} AS {select}".encode())
        yield StoreAudit(connection)
