"""The product's own invariants, asked of one store alone, a few milliseconds after every step.

The rules of ``workflows.invariants`` read whole tables. Here a connection has temporary views of the same names, which
stand before the tables and show one store's rows; so the very same queries judge, and stay quick among many stores.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg

from workflows.invariants.rules import RULES

JUDGED = ("I1", "I2", "I3", "I4", "I5", "I12", "I14")
"""I9 and I13 judge what a sequence does not change; I10 is about keys, which here are always new."""

NOT_OF_A_STORE = ("device", "settlement")  # no step of a sequence touches these
STORE = "current_setting('mpac.judged')"
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


class Judge:
    """Says what is wrong with one store."""

    def __init__(self, connection: psycopg.AsyncConnection) -> None:
        self._connection = connection
        self.rules = [rule for rule in RULES if rule.invariant in JUDGED and not rule.name.endswith(NOT_OF_A_STORE)]
        self._query = " UNION ALL ".join(
            f"SELECT '{rule.invariant} {rule.name}', v.id, v.problem FROM ({rule.violations}) AS v"
            for rule in self.rules
        )

    async def judge(self, store_id: str) -> list[tuple[str, ...]]:
        """Every violation of every rule: its name, the entity, the problem."""
        await self._connection.execute("SELECT set_config('mpac.judged', %s, false)", [store_id])
        found = await self._connection.execute(self._query.encode(), prepare=True)
        return [tuple(row) for row in await found.fetchall()]


@asynccontextmanager
async def open_judge(database_url: str) -> AsyncIterator[Judge]:
    """A judge with a connection of its own, as the owner of the tables."""
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await connection.execute(BY_KEYS)
        for name, select in zip(NAMES, VIEWS, strict=True):
            await connection.execute(f"CREATE TEMPORARY VIEW {name} AS {select}".encode())
        yield Judge(connection)
