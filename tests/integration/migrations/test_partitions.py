"""The migrations to partitions keep every row, rewrite no table, and can be undone; coming months are made ahead."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import timedelta

import psycopg
import pytest
from alembic import command
from sqlalchemy import text

from tests.harness import alembic_config, database_variable, migrate
from tests.integration.database.months_database import TABLES, MonthsDatabase, months_database
from tests.polling import eventually
from workflows.clock import now
from workflows.database.engines import Role, transaction
from workflows.ops import make_months
from workflows.settings import Settings

BEFORE, AFTER = "0036", "0039"
FILES = "SELECT relname, relfilenode FROM pg_class WHERE relname = ANY(%s)"


@pytest.fixture
async def own(settings: Settings, own_database: str) -> AsyncIterator[MonthsDatabase]:
    async with months_database(settings, own_database) as made:
        yield made


async def rows(own: MonthsDatabase) -> dict[str, list[str]]:
    """Return all rows of the partitioned tables, and of the tables that their triggers fill."""
    found = {}
    for table in (*TABLES, "due_payments", "unsettled_payments", "payment_references"):
        result = await own.admin.execute(f"SELECT r::text AS row FROM {table} r ORDER BY 1".encode())
        found[table] = [row["row"] for row in await result.fetchall()]
    return found


async def files(own: MonthsDatabase, *suffixes: str) -> set[int]:
    """Return the files of the tables, which change if one is rewritten."""
    names = [f"{table}{suffix}" for table in TABLES for suffix in suffixes]
    return {row["relfilenode"] for row in await (await own.admin.execute(FILES, [names])).fetchall()}


async def indexes(own: MonthsDatabase, *suffixes: str) -> set[int]:
    names = [f"{table}{suffix}" for table in TABLES for suffix in suffixes]
    result = await own.admin.execute(
        "SELECT i.relfilenode FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid"
        " WHERE t.relname = ANY(%s) AND i.relname NOT LIKE '%%client_reference%%'",
        [names],
    )
    return {row["relfilenode"] for row in await result.fetchall()}


async def downgrade(url: str, revision: str) -> None:
    with database_variable(url):
        await asyncio.to_thread(command.downgrade, alembic_config(), revision)


async def test_rows_of_several_months_survive_both_directions(own: MonthsDatabase, own_database: str) -> None:
    first = (await own.bounds())[0]
    paid = [await own.pay(first + timedelta(days=days), client_reference=f"{days}") for days in (-40, -1, 0, 20)]
    await own.maker.process(*paid)
    await own.pay(now())
    before = await rows(own)
    assert len(before["payments"]) == 5
    await downgrade(own_database, BEFORE)
    assert await rows(own) == before
    with pytest.raises(psycopg.errors.UniqueViolation, match="payments_client_reference_key"):
        await own.admin.execute("UPDATE payments SET client_reference = 'same'")
    await migrate(own_database, AFTER)
    assert await rows(own) == before
    references = await own.value(
        "SELECT count(*) FROM payment_client_references r JOIN payments p ON p.id = r.payment_id"
    )
    assert references == 4


async def test_the_tables_of_before_become_partitions_as_they_are(own: MonthsDatabase, own_database: str) -> None:
    await own.maker.process(await own.pay(now(), client_reference="a"))
    await downgrade(own_database, BEFORE)
    table_files, index_files = await files(own, ""), await indexes(own, "")
    await migrate(own_database, AFTER)
    until = f"_until_{(await own.bounds())[0]:%Y_%m}"
    assert await files(own, until) == table_files
    assert await indexes(own, until) == index_files
    checks = await own.value("SELECT count(*) FROM pg_constraint WHERE conname LIKE '%%\\_until'")
    assert checks == 0


async def test_an_id_of_a_wrong_clock_is_named_and_changes_nothing(own: MonthsDatabase, own_database: str) -> None:
    first = (await own.bounds())[0]
    await own.pay(now())
    late = await own.pay(first + timedelta(days=100))
    before = await rows(own)
    await downgrade(own_database, BEFORE)
    assert await rows(own) == before
    with pytest.raises(RuntimeError, match=f"{late} was made by a clock that is months ahead"):
        await migrate(own_database, AFTER)
    assert await rows(own) == before
    assert await own.value("SELECT relkind::text FROM pg_class WHERE relname = 'ledger_journals'") == "r"


async def test_the_first_month_is_the_one_after_next(own: MonthsDatabase) -> None:
    this = now().replace(day=1)
    assert f"{(await own.bounds())[0]:%Y-%m}" == f"{(this + timedelta(days=62)).replace(day=1):%Y-%m}"


async def test_a_swap_waits_for_a_long_statement_in_several_tries(own: MonthsDatabase, own_database: str) -> None:
    async def tries() -> int:
        began = await own.value(
            "SELECT min(waitstart)::text FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"
        )
        if began:
            seen.add(str(began))
        return len(seen)

    seen: set[str] = set()
    await downgrade(own_database, BEFORE)
    async with transaction(Role.WORKER) as busy:
        await busy.exec_driver_sql("SELECT FROM ledger_journals LIMIT 1")
        migration = asyncio.create_task(migrate(own_database, AFTER))
        await eventually(tries, until=lambda count: count > 2)
    await migration
    assert await own.value("SELECT relkind::text FROM pg_class WHERE relname = 'ledger_journals'") == "p"


async def test_the_look_up_of_the_previous_release_uses_an_index_in_every_month(own: MonthsDatabase) -> None:
    await own.admin.execute(b"SET enable_seqscan = off")
    plan = await own.admin.execute("EXPLAIN SELECT id FROM payments WHERE merchant_id = 'm' AND client_reference = 'r'")
    lines = [next(iter(row.values())) for row in await plan.fetchall()]
    assert not [line for line in lines if "Seq Scan" in line]
    used = await own.value(
        "SELECT count(*) FROM pg_inherits WHERE inhparent = 'payments_by_client_reference'::regclass"
    )
    assert used == len(await own.bounds()) + 2


async def test_an_interrupted_migration_is_finished_by_the_next_run(own: MonthsDatabase, own_database: str) -> None:
    await own.maker.process(await own.pay(now(), client_reference="a"))
    before, first = await rows(own), (await own.bounds())[0]
    await downgrade(own_database, BEFORE)
    in_the_way = f"payment_attempts_until_{first:%Y_%m}"
    await own.admin.execute(f"CREATE TABLE {in_the_way} ()".encode())  # the migration ends after two of five tables
    with pytest.raises(Exception, match="already exists"):
        await migrate(own_database, AFTER)
    await own.admin.execute(f"DROP TABLE {in_the_way}".encode())
    assert await own.value("SELECT count(*) FROM pg_constraint WHERE conname LIKE '%%\\_until'") == 0, (
        "it would refuse payments"
    )
    assert await own.value("SELECT relkind::text FROM pg_class WHERE relname = 'ledger_entries'") == "p"
    assert await own.value("SELECT relkind::text FROM pg_class WHERE relname = 'payments'") == "r"
    await own.pay(now())
    await migrate(own_database, AFTER)
    assert len((await rows(own))["payments"]) == len(before["payments"]) + 1
    assert await own.value("SELECT relkind::text FROM pg_class WHERE relname = 'payments'") == "p"


async def test_each_month_is_made_once_whoever_asks_and_however_often(own: MonthsDatabase) -> None:
    known = await own.bounds()
    later = known[-1] + timedelta(days=70)

    async def ask() -> int:
        async with await psycopg.AsyncConnection.connect(own.admin.info.dsn, password=own.admin.info.password) as other:
            row = await (await other.execute("SELECT make_months_at(0, %s)", [later])).fetchone()
        return int(row[0]) if row else 0

    assert sum(await asyncio.gather(*(ask() for _ in range(4)))) == 2
    assert await ask() == 0
    assert len(await own.bounds()) == len(known) + 2
    assert await make_months.make_months() == 0
    assert await make_months.count_months_ahead(Role.ACCEPT) == len(known) + 3, "and one of the first table"


async def test_a_clock_far_ahead_makes_a_year_at_a_time(own: MonthsDatabase) -> None:
    known = len(await own.bounds())
    assert await own.value("SELECT make_months_at(0, now() + interval '50 years')") == 12
    assert len(await own.bounds()) == known + 12
    assert await own.value("SELECT make_months_at(0, now() - interval '50 years')") == 0


async def test_a_busy_lock_postpones_a_month_and_payments_go_on(
    own: MonthsDatabase, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    known = await own.bounds()
    monkeypatch.setattr(make_months, "MONTHS_AHEAD", len(known) + 3)
    async with transaction(Role.WORKER) as busy:
        await busy.exec_driver_sql("SELECT FROM payments LIMIT 1")
        with caplog.at_level(logging.WARNING):
            assert await make_months.make_months() == 0
        await own.maker.process(await own.pay(now()))
    assert [record.event for record in caplog.records if hasattr(record, "event")] == ["months.postponed"]
    assert await own.bounds() == known
    assert await make_months.make_months() > 0


async def test_a_missing_month_is_an_error_in_the_log(
    own: MonthsDatabase, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    last = f"TIMESTAMPTZ '{(await own.bounds())[-1] + timedelta(days=31):%Y-%m-%dZ}'"
    monkeypatch.setattr(make_months, "_COUNT", text(str(make_months._COUNT).replace("now()", last)))
    with caplog.at_level(logging.WARNING):
        await make_months.make_months()
    assert [record.event for record in caplog.records if hasattr(record, "event")] == ["months.missing"]


async def test_nobody_may_use_a_function_with_the_owners_rights_as_a_trigger(own: MonthsDatabase) -> None:
    found = await own.value(
        "SELECT array_agg(DISTINCT p.proname::text) FROM pg_proc p CROSS JOIN pg_roles r WHERE p.prosecdef"
        " AND p.prorettype = 'trigger'::regtype AND r.rolname LIKE 'mpac\\_%%'"
        " AND has_function_privilege(r.oid, p.oid, 'EXECUTE')"
    )
    assert found is None


async def test_only_sweeps_may_make_months(own: MonthsDatabase) -> None:
    may = """SELECT coalesce(array_agg(proname::text ORDER BY proname), '{}') FROM pg_proc
             WHERE pronamespace = 'public'::regnamespace AND prorettype <> 'trigger'::regtype
               AND (proname LIKE '%%\\_month%%' OR proname IN ('equip_partition', 'refuse_many_beyond'))
               AND proname <> 'archived_month_of' AND has_function_privilege(%(role)s, oid, 'EXECUTE')"""
    found = {role: await own.value(may, role=str(role)) for role in Role if role is not Role.OWNER}
    assert found == {Role.CALLER: [], Role.ACCEPT: [], Role.WORKER: [], Role.SWEEP: ["analyze_months", "make_months"]}
    assert await own.value("SELECT make_months(1000, now())") == 9
    assert await own.value("SELECT make_months(1000, now())") == 0, "a year is made and no more, however often one asks"
