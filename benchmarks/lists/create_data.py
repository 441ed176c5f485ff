"""Create a platform's rows for lists: payments, refunds, orders, bills, settlements and journals of some months.

PostgreSQL creates the rows itself, table by table, in the order of their ids. Indexes other than the keys are dropped before
and built again afterwards. Triggers do not run. Nothing is random: a hash of a row's number decides.

| what | share |
|---|---|
| merchants, stores | the first merchant has 3 % of the stores, the last one 0.05 %; the first PSP 22 %, the last one 2.5 % |
| payments | the busiest tenth of the stores has 32 % of them; 5 % are refunded, 30 % pay a bill of an order |
| statuses | 93 % completed, 4 % failed, 2 % cancelled; 1 % refunded in full; the newest ones are pending or processing |
| rare values | in review 1 of 50,000; in doubt 1 of 100,000; a card's last four digits 1 of 20,000; provider `cash` 10 % |

Histories, attempts and lines of settlements are left out, because no list of many rows reads them.
"""

from dataclasses import dataclass

import psycopg

from benchmarks.lists.statements import FILLED_ONLY_IF_PRESENT, STATEMENTS

TABLES = ("payments", "refunds", "orders", "order_items", "bills", "bill_orders", "settlements", "ledger_journals")

_INDEXES = """
    SELECT i.indexrelid::regclass::text AS name, pg_get_indexdef(i.indexrelid) AS definition
    FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
    WHERE c.relname = ANY(%s) AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid)
"""


@dataclass(frozen=True, slots=True)
class Size:
    """How many rows there are."""

    payments: int = 10_000_000
    stores: int = 10_000
    merchants: int = 1_000
    psps: int = 20
    days: int = 120


def create_data(connection: psycopg.Connection[tuple[object, ...]], size: Size) -> None:
    """Fill an empty database. ``connection`` is the owner's, in autocommit."""
    connection.execute("SET session_replication_role = replica")
    connection.execute("SET synchronous_commit = off")
    connection.execute("SET maintenance_work_mem = '1GB'")
    indexes = connection.execute(_INDEXES, (list(TABLES),)).fetchall()
    for name, _ in indexes:
        connection.execute(f"DROP INDEX {name}".encode())
    names = ("payments", "stores", "merchants", "psps", "days")
    values = {name: str(getattr(size, name)) for name in names}
    for statement in STATEMENTS:
        connection.execute(statement.format(**values).encode())
    for table, statement in FILLED_ONLY_IF_PRESENT.items():
        if connection.execute("SELECT to_regclass(%s)", (table,)).fetchone() != (None,):
            connection.execute(statement.format(**values).encode())
    for _, definition in indexes:
        connection.execute(str(definition).encode())
    connection.execute("VACUUM ANALYZE")
    connection.execute("CHECKPOINT")
