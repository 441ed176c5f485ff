"""Lists show exactly the rows that a plain query finds, page by page, and no list reads more rows than its bound."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import ColumnElement, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from benchmarks.lists.create_data import Size, create_data
from mpac.stack.local_stack import LocalStack
from tests.harness import clone_of_template
from workflows.bills.models import Bill
from workflows.errors import InvalidRequest
from workflows.ids import new_id
from workflows.ledger.models import LedgerJournal
from workflows.orders.models import Order
from workflows.payments.models import Payment
from workflows.refunds.models import Refund
from workflows.settlements.models import Settlement
from workflows.tenants import walk
from workflows.tenants.caller import _ENTER, Caller, CallerRole
from workflows.tenants.paging import MARGIN, created_bounds
from workflows.tenants.walk import Walk, read_page, stores_named

SMALL = Size(payments=1_500, stores=12, merchants=5, psps=2, days=2)

CALLERS = {
    "store": Caller("u", CallerRole.STORE_MANAGER, "psp_0", "mer_0", "sto_1"),
    "merchant": Caller("u", CallerRole.MERCHANT_ADMIN, "psp_0", "mer_0"),
    "psp": Caller("u", CallerRole.PSP_ADMIN, "psp_0"),
    "system": Caller("u", CallerRole.SYSTEM_OP),
}

FILTERS: dict[str, tuple[Any, list[ColumnElement[bool]]]] = {
    "payments": (Payment, []),
    "payments that failed": (Payment, [Payment.status == "failed"]),
    "payments of a rare amount": (Payment, [Payment.amount > 15_000]),
    "payments that do not exist": (Payment, [Payment.amount < 0]),
    "refunds": (Refund, []),
    "refunds above 1": (Refund, [Refund.amount > 1]),
    "orders": (Order, [Order.status == "cancelled"]),
    "bills": (Bill, [Bill.status == "unpaid"]),
    "settlements": (Settlement, [Settlement.status == "closed"]),
    "journals": (LedgerJournal, []),
}


@pytest.fixture(scope="module")
async def database(stack: LocalStack) -> AsyncIterator[str]:
    """Yield the URL of a database with the rows of the benchmark, in small."""
    async with clone_of_template(stack.urls.database) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            create_data(connection, SMALL)
        yield url


@pytest.fixture
async def connection(database: str) -> AsyncIterator[AsyncConnection]:
    url = database.replace("postgresql://", "postgresql+psycopg://")
    engine = create_async_engine(url, connect_args={"options": "-c role=mpac_caller -c timezone=UTC"})
    async with engine.connect() as opened:
        yield opened
    await engine.dispose()


async def become(connection: AsyncConnection, caller: Caller) -> None:
    ids = {name: getattr(caller, name) for name in ("psp_id", "merchant_id", "store_id", "client_id")}
    await connection.execute(_ENTER, {"scope": str(caller.scope), "device_id": None, **ids})


async def expected(connection: AsyncConnection, wanted: Walk) -> list[str]:
    statement = select(wanted.model.id).where(*wanted.scope, *wanted.conditions).order_by(wanted.model.id.desc())
    return [row.id for row in await connection.execute(statement)]


async def all_pages(connection: AsyncConnection, wanted: Walk, *, limit: int) -> tuple[list[str], int]:
    """Follow the cursor to the end; return all ids, and how many pages ended early."""
    ids: list[str] = []
    before, early = None, 0
    while True:
        page = await read_page(connection, wanted, limit=limit + 1, before=before)
        ids += [row["id"] for row in page[:limit]]
        before = page[limit - 1]["id"] if len(page) > limit else page.resume_before
        early += len(page) <= limit and before is not None
        if before is None:
            return ids, early


def a_walk(caller: str, name: str) -> Walk:
    model, conditions = FILTERS[name]
    by = "merchant_id" if model is LedgerJournal and caller != "store" else "store_id"
    return Walk(model=model, caller=CALLERS[caller], conditions=conditions, by=by)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize(
    ("caller", "seconds", "largest_merge"),
    [*((caller, 60.0, 400) for caller in CALLERS), ("merchant", -1.0, 400), ("system", -1.0, 400), ("psp", -1.0, 0)],
)
async def test_pages_together_are_what_a_plain_query_finds(
    connection: AsyncConnection,
    monkeypatch: pytest.MonkeyPatch,
    caller: str,
    name: str,
    seconds: float,
    largest_merge: int,
) -> None:
    monkeypatch.setattr(walk, "LARGEST_MERGE", largest_merge)
    monkeypatch.setattr(walk, "WALK_SECONDS", seconds)
    monkeypatch.setattr(walk, "FIRST_CHUNK", 20)
    monkeypatch.setattr(walk, "LARGEST_CHUNK", 90)
    monkeypatch.setattr(walk, "LEAST_PER_STORE", 2)
    await become(connection, CALLERS[caller])
    wanted = a_walk(caller, name)
    ids, early = await all_pages(connection, wanted, limit=40)
    assert ids == await expected(connection, wanted)
    monkeypatch.setattr(walk, "FEW_STORES", 0)
    monkeypatch.setattr(walk, "ROWS_PER_STORE", 1_000)
    assert await all_pages(connection, wanted, limit=40) == (ids, early) or seconds < 0
    if seconds > 0:
        assert early == 0, "a page is short only if time ran out"


async def test_a_walk_without_time_ends_after_one_chunk_with_a_cursor(
    connection: AsyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, "WALK_SECONDS", -1.0)
    monkeypatch.setattr(walk, "FIRST_CHUNK", 100)
    await become(connection, CALLERS["system"])
    newest = (await connection.execute(select(Payment.id).order_by(Payment.id.desc()).offset(99).limit(1))).scalar_one()
    page = await read_page(connection, a_walk("system", "payments that do not exist"), limit=10, before=None)
    assert list(page) == []
    assert page.resume_before == newest[:16], "a time, because the id may be another tenant's"


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("name", ["payments", "payments that do not exist"])
async def test_no_list_reads_more_rows_than_its_bound(
    connection: AsyncConnection, monkeypatch: pytest.MonkeyPatch, caller: str, name: str
) -> None:
    """As on large tables, where reading a table or sorting all rows of a tenant is not an option."""
    monkeypatch.setattr(walk, "WALK_SECONDS", -1.0)
    monkeypatch.setattr(walk, "FIRST_CHUNK", 100)
    await become(connection, CALLERS[caller])
    before = await read(connection)
    await read_page(connection, a_walk(caller, name), limit=11, before=None)
    # A chunk tests 100 rows, rounded up to 4 of each of 12 stores; an unfiltered page reads 11 of each at most.
    assert await read(connection) - before <= 12 * 11 + 11


@pytest.mark.parametrize("caller", ["merchant", "psp", "system"])
@pytest.mark.parametrize("store_id", ["sto_1", "sto_11"])
async def test_a_list_of_a_named_store_reads_only_its_page(
    connection: AsyncConnection, caller: str, store_id: str
) -> None:
    """A join with the merchants of a PSP once made it sort all rows of the store."""
    await become(connection, CALLERS[caller])
    stores = stores_named(store_id, CALLERS[caller])
    wanted = Walk(model=Payment, caller=CALLERS[caller], conditions=[], stores=stores)
    before = await read(connection)
    page = await read_page(connection, wanted, limit=11, before=None)
    assert await read(connection) - before <= 2 * 11 + 1
    visible = await connection.execute(
        select(Payment.id).where(Payment.store_id == store_id, *wanted.scope).order_by(Payment.id.desc()).limit(11)
    )
    assert [row["id"] for row in page] == [row.id for row in visible]


@pytest.mark.parametrize("caller", ["merchant", "psp"])
@pytest.mark.parametrize("name", ["payments", "payments that do not exist"])
async def test_a_caller_above_the_largest_merge_reads_one_chunk(
    connection: AsyncConnection, monkeypatch: pytest.MonkeyPatch, caller: str, name: str
) -> None:
    """However few of the rows are the caller's: row-level security must not make a chunk longer."""
    monkeypatch.setattr(walk, "WALK_SECONDS", -1.0)
    monkeypatch.setattr(walk, "FIRST_CHUNK", 100)
    monkeypatch.setattr(walk, "LARGEST_MERGE", 0)
    quiet = replace(CALLERS[caller], merchant_id="mer_4", psp_id="psp_1")
    await become(connection, quiet)
    before = await read(connection)
    model, conditions = FILTERS[name]
    page = await read_page(connection, Walk(model=model, caller=quiet, conditions=conditions), limit=11, before=None)
    assert await read(connection) - before <= 2 * 100
    assert page.resume_before or len(page) == 11


@pytest.mark.parametrize("prefix", ["merchants", "pg_authid"])
async def test_no_other_table_is_asked_for_a_chunk(connection: AsyncConnection, prefix: str) -> None:
    with pytest.raises(DBAPIError, match="no list is read from"):
        await connection.execute(select(func.id_before(prefix, "z", 1)))


async def read(connection: AsyncConnection) -> int:
    """Return how many payments this transaction has read so far."""
    statement = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'payments'"
    return int((await connection.execute(text(statement))).scalar_one())


async def test_ids_bound_a_range_of_times(connection: AsyncConnection) -> None:
    await become(connection, CALLERS["system"])
    middle = (
        await connection.execute(select(Payment.created_at).order_by(Payment.id).offset(700).limit(1))
    ).scalar_one()
    start, end = middle - timedelta(minutes=10), middle
    inside = [Payment.created_at >= start, Payment.created_at < end]
    bounds = await created_bounds(connection, Payment, start, end)
    assert len(bounds) == 2
    plain = (await connection.execute(select(Payment.id).where(*inside))).scalars().all()
    assert set(plain) == set((await connection.execute(select(Payment.id).where(*inside, *bounds))).scalars())
    by_id = (await connection.execute(select(Payment.created_at).where(*bounds))).scalars().all()
    assert plain
    assert all(start - 2 * MARGIN <= at <= end + 2 * MARGIN for at in by_id)


async def test_a_row_of_another_time_than_its_id_is_found_by_its_time(
    database: str, connection: AsyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock of the database was a day ahead."""
    monkeypatch.setattr(walk, "WALK_SECONDS", 60.0)
    with psycopg.connect(database) as owner:
        oldest = owner.execute("SELECT id FROM payments ORDER BY id LIMIT 1").fetchone()
        owner.execute("UPDATE payments SET created_at = now() + interval '1 day' WHERE id = %s", oldest)
    await become(connection, CALLERS["system"])
    tomorrow = (await connection.execute(text("SELECT now() + interval '23 hours'"))).scalar_one()
    wanted = Walk(
        model=Payment,
        caller=CALLERS["system"],
        conditions=[Payment.created_at >= tomorrow],
        created=(tomorrow, None),
    )
    assert oldest
    assert await all_pages(connection, wanted, limit=10) == ([oldest[0]], 0)
    with psycopg.connect(database) as owner:
        owner.execute("UPDATE payments SET created_at = created_at - interval '3 days' WHERE id = %s", oldest)


@pytest.mark.parametrize("name", FILTERS)
async def test_the_cursor_of_another_list_is_refused(connection: AsyncConnection, name: str) -> None:
    await become(connection, CALLERS["system"])
    with pytest.raises(InvalidRequest):
        await read_page(connection, a_walk("system", name), limit=10, before=new_id("device"))
