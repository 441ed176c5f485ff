"""Months that were not made for long: nothing is moved while payments wait, and owners make one long month."""

import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tests.integration.database.months_database import TABLES, MonthsDatabase, months_database
from workflows.clock import now
from workflows.database.engines import Role
from workflows.database.months import MONTHS
from workflows.ops import make_months
from workflows.settings import Settings

FAR = datetime(2100, 1, 1, tzinfo=UTC)
FILL = """
    INSERT INTO payment_history (payment_id, version, event, from_status, to_status, at, caller_type, caller_id)
    SELECT %(id)s, n, 'request_cancel', 'completed', 'completed', now(), 'user', 'u'
    FROM generate_series(100, %(count)s + 99) AS n
"""


@pytest.fixture
async def own(settings: Settings, own_database: str) -> AsyncIterator[MonthsDatabase]:
    async with months_database(settings, own_database) as made:
        yield made


async def fill(own: MonthsDatabase, at: datetime, rows: int) -> str:
    """Return a payment whose rows, so many of its history, are in the partitions "beyond"."""
    payment_id = await own.pay(at, client_reference=f"{at}")
    await own.maker.process(payment_id)
    await own.admin.execute(FILL.encode(), {"id": payment_id, "count": rows})
    return payment_id


async def test_too_many_rows_to_move_are_refused_quickly_and_logged_with_their_number(
    own: MonthsDatabase, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    known = await own.bounds()
    monkeypatch.setattr(make_months, "MONTHS_AHEAD", len(known) + 3)
    await fill(own, known[-1] + timedelta(days=32), 10_000)
    with caplog.at_level(logging.WARNING):
        assert await make_months.make_months() == 0
    [record] = [record for record in caplog.records if hasattr(record, "event")]
    assert record.event == "months.crowded"
    assert "payment_history_beyond has 100" in record.getMessage()
    assert await own.bounds() == known


async def test_no_lock_is_taken_before_the_rows_are_counted(own: MonthsDatabase) -> None:
    await fill(own, (await own.bounds())[-1] + timedelta(days=32), 10_000)
    async with own.admin.transaction(force_rollback=True):
        with pytest.raises(psycopg.errors.ProgramLimitExceeded):
            async with own.admin.transaction():
                await own.admin.execute("SELECT make_months_at(0, now() + interval '1 year')")
        await own.admin.execute("SAVEPOINT s")
    async with own.admin.transaction():
        await own.admin.execute("LOCK TABLE payments IN ROW EXCLUSIVE MODE")  # a payment is under way
        async with await psycopg.AsyncConnection.connect(own.admin.info.dsn, password=own.admin.info.password) as other:
            with pytest.raises(psycopg.errors.ProgramLimitExceeded):
                await other.execute("SELECT make_months_at(0, now() + interval '1 year')")


async def test_an_owner_lets_the_rows_beyond_become_a_long_month(own: MonthsDatabase) -> None:
    known = await own.bounds()
    begins = (known[-1] + timedelta(days=32)).replace(day=1)
    late = await fill(own, begins + timedelta(days=1), 10_000)
    far, open_one = await fill(own, FAR, 1), await own.pay(begins)
    files = await own.value("SELECT relfilenode FROM pg_class WHERE relname = 'payment_history_beyond'")
    before = await own.value("SELECT md5(string_agg(h::text, ';' ORDER BY h::text)) FROM payment_history h")
    name = await own.value("SELECT make_long_month()")
    ends = (begins + timedelta(days=32)).replace(day=1)
    assert name == f"until_{ends:%Y_%m}"
    assert {part for part, _ in (await own.tables_of(late)).values()} == {name}
    assert {part for part, _ in (await own.tables_of(far)).values()} == {"beyond"}
    assert (
        await own.value("SELECT relfilenode FROM pg_class WHERE relname = %(n)s", n=f"payment_history_{name}") == files
    )
    after = await own.value("SELECT md5(string_agg(h::text, ';' ORDER BY h::text)) FROM payment_history h")
    assert after == before
    MONTHS.forget()
    assert await MONTHS.of([late], role=Role.WORKER) == name
    await own.maker.process(open_one)
    assert {part for part, _ in (await own.tables_of(open_one)).values()} == {name}
    assert await own.value("SELECT status FROM payments WHERE id = %(id)s", id=open_one) == "completed"
    assert await own.value("SELECT count(*) FROM payment_client_references") == 2
    assert await make_months.count_months_ahead(Role.ACCEPT) == len(known) + 2, "the long month counts"
    assert await own.value("SELECT make_months_at(0, %(at)s)", at=ends) == 1, "the next months are usual ones"
    month = f"{ends:%Y_%m}"
    paid = await own.pay(ends)
    await own.maker.process(paid)
    assert {part for part, _ in (await own.tables_of(paid)).values()} == {month}


@pytest.mark.parametrize("month", ["long", "beyond"])
async def test_the_guards_of_the_ledger_are_on_both_tables(own: MonthsDatabase, month: str) -> None:
    late = await fill(own, (await own.bounds())[-1] + timedelta(days=32), 1)
    far = await fill(own, FAR, 1)
    await own.admin.execute("SELECT make_long_month()")
    of = {"long": late, "beyond": far}[month]
    journal = await own.value("SELECT id FROM ledger_journals WHERE source_id = %(id)s", id=of)
    with pytest.raises(psycopg.errors.CheckViolation, match="does not sum to zero"):
        await own.admin.execute("INSERT INTO ledger_entries VALUES (%s, 9, 'a', 1)", [journal])
    with pytest.raises(psycopg.errors.CheckViolation, match="does not sum to zero"):
        await own.admin.execute(
            "INSERT INTO ledger_journals SELECT id || 'x', merchant_id, store_id, 'adjustment', source_id, payment_id,"
            " currency, occurred_at, posted_at FROM ledger_journals WHERE id = %s",
            [journal],
        )
    with pytest.raises(psycopg.errors.UniqueViolation):
        await own.admin.execute("INSERT INTO ledger_journals SELECT * FROM ledger_journals WHERE id = %s", [journal])


async def test_the_long_month_has_what_every_month_has(own: MonthsDatabase) -> None:
    await fill(own, (await own.bounds())[-1] + timedelta(days=32), 1)
    name = await own.value("SELECT make_long_month()")
    usual = f"{(await own.bounds())[0]:%Y_%m}"
    for table in TABLES:
        equipment = {
            part: [
                await own.value(query, part=f"{table}_{part}")
                for query in (
                    "SELECT array_agg(tgname ORDER BY tgname)::text FROM pg_trigger WHERE tgrelid = %(part)s::regclass",
                    "SELECT count(*) FROM pg_index WHERE indrelid = %(part)s::regclass",
                    "SELECT array_agg(policyname ORDER BY policyname)::text FROM pg_policies WHERE tablename = %(part)s",
                    "SELECT array_agg(x::text ORDER BY x::text) FROM pg_class, unnest(relacl) x WHERE relname = %(part)s",
                    "SELECT relrowsecurity FROM pg_class WHERE oid = %(part)s::regclass",
                    "SELECT reloptions FROM pg_class WHERE oid = %(part)s::regclass",
                    "SELECT count(*) FROM pg_trigger WHERE tgrelid = %(part)s::regclass AND tgenabled <> 'O'",
                )
            ]
            for part in (usual, str(name), "beyond")
        }
        assert equipment[str(name)] == equipment[usual] == equipment["beyond"], table


async def test_rows_of_a_clock_far_ahead_that_are_too_many_are_refused(own: MonthsDatabase) -> None:
    await fill(own, FAR, 10_000)
    with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="too many to move"):
        await own.admin.execute("SELECT make_long_month()")


async def test_each_whole_table_is_analyzed_once_a_day(own: MonthsDatabase) -> None:
    await own.pay(now())
    assert {await make_months.analyze_months() for _ in TABLES} == set(TABLES)
    assert await make_months.analyze_months() is None
    known = await own.value(
        "SELECT count(*) FROM pg_stats WHERE tablename = 'payments' AND inherited AND attname = 'status'"
    )
    assert known == 1
