"""A database of its own for tests of months: payments in chosen months, and the tables in which their rows are."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import psycopg
import pytest
from psycopg.rows import DictRow, dict_row
from pydantic import SecretStr

from tests.factories import QR, PaymentMaker, new_tenant
from tests.fakes import FakeProvider
from workflows.database import engines as database
from workflows.database.engines import connect, disconnect
from workflows.database.months import MONTHS
from workflows.ids import new_id
from workflows.payments import write_payments
from workflows.providers.registry import Providers
from workflows.settings import Settings

Admin = psycopg.AsyncConnection[DictRow]

TABLES = {
    "payments": "id",
    "payment_history": "payment_id",
    "payment_attempts": "payment_id",
    "ledger_journals": "source_id",
    "ledger_entries": "",
}
"""Table → the column with the payment's id. Entries are found by their journals."""

OF_JOURNALS = "journal_id IN (SELECT id FROM ledger_journals WHERE source_id = %(id)s)"


@asynccontextmanager
async def months_database(settings: Settings, url: str) -> AsyncIterator["MonthsDatabase"]:
    """Connect the engines to the database at ``url``, with one tenant.

    The months are forgotten before and after.
    """
    usual, database._engines = database._engines, database._Engines()
    MONTHS.forget()
    try:
        connect(settings.model_copy(update={"database_url": SecretStr(url)}))
        async with await psycopg.AsyncConnection.connect(url, autocommit=True, row_factory=dict_row) as admin:
            provider = FakeProvider()
            maker = PaymentMaker(settings, Providers({provider.name: provider}), await new_tenant(admin))
            yield MonthsDatabase(admin, maker)
            await maker.processor.drain(5)
        await disconnect()
    finally:
        database._engines = usual
        MONTHS.forget()


def id_at(entity: str, at: datetime) -> str:
    """Return a new id that was made at ``at``."""
    made = new_id(entity)
    return f"{made[:4]}{int(at.timestamp() * 1000):012x}{made[16:]}"


def clock(at: datetime) -> Callable[[str], str]:
    """Return a ``new_id`` whose clock shows ``at``."""
    return lambda entity: id_at(entity, at)


class MonthsDatabase:
    """The database, and a maker of payments in it."""

    def __init__(self, admin: Admin, maker: PaymentMaker) -> None:
        self.admin = admin
        self.maker = maker

    async def pay(self, at: datetime, **changes: object) -> str:
        """Accept a payment whose id was made at ``at``, and return the id."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(write_payments, "new_id", clock(at))
            return await self.maker.pending(QR, **changes)

    async def value(self, query: str, **values: object) -> object:
        """Return the first column of the first row."""
        row = await (await self.admin.execute(query.encode(), values)).fetchone()
        return next(iter(row.values())) if row else None

    async def tables_of(self, payment_id: str) -> dict[str, tuple[str, int]]:
        """Return, for each partitioned table, the partition and the number of the payment's rows.

        A payment whose rows are in several partitions of a table fails.
        """
        found = {}
        for table, column in TABLES.items():
            condition = f"{column} = %(id)s" if column else OF_JOURNALS
            rows = await self.admin.execute(
                f"SELECT tableoid::regclass::text AS part, count(*) FROM {table} WHERE {condition} GROUP BY 1".encode(),
                {"id": payment_id},
            )
            [row] = await rows.fetchall()
            found[table] = (row["part"].removeprefix(f"{table}_"), row["count"])
        return found

    async def bounds(self) -> list[datetime]:
        """Return when the months begin that have names, the first of them after the table of before."""
        rows = await self.admin.execute(
            b"SELECT substr(relname, 10) AS month FROM pg_class WHERE relname ~ '^payments_[0-9]{4}_[0-9]{2}$' ORDER BY 1"
        )
        return [datetime.strptime(row["month"], "%Y_%m").replace(tzinfo=UTC) for row in await rows.fetchall()]
