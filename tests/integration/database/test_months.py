"""Hot statements use the tables of their ids' month; whatever happens to a month, no row is missed or written elsewhere."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from tests.factories import CASH, QR
from tests.integration.database.months_database import MonthsDatabase, clock, id_at, months_database
from workflows import ids
from workflows.clock import now
from workflows.database.engines import Role, transaction
from workflows.database.hot_path import execute_alone
from workflows.database.months import ALL, MARK, MONTHS, MonthlyStatement, execute_in_month, execute_within
from workflows.errors import DuplicateResource, ServiceUnavailable
from workflows.ledger import post_journals
from workflows.payments import write_payments
from workflows.settings import Settings

READ = MonthlyStatement(
    f"SELECT CAST(CAST(tableoid AS regclass) AS text) AS part FROM payments{MARK} WHERE id = ANY(:ids)"
)
FAR = datetime(2100, 1, 1, tzinfo=UTC)
FIVE = {"payments": 1, "payment_history": 3, "payment_attempts": 1, "ledger_journals": 1, "ledger_entries": 2}


@pytest.fixture
async def own(settings: Settings, own_database: str) -> AsyncIterator[MonthsDatabase]:
    async with months_database(settings, own_database) as made:
        yield made


async def month_of(*found: str) -> str:
    return await MONTHS.of(found, role=Role.WORKER)


async def part(payment_id: str) -> str | None:
    rows = (await execute_in_month(Role.WORKER, READ, [payment_id], {"ids": [payment_id]})).all()
    return rows[0]["part"] if rows else None


async def test_the_month_of_ids_is_the_one_that_postgresql_has_for_all_of_them(own: MonthsDatabase) -> None:
    first, second = (await own.bounds())[:2]
    name, before = f"{first:%Y_%m}", f"until_{first:%Y_%m}"
    one_ms = timedelta(milliseconds=1)
    assert await month_of(id_at("payment", first)) == name
    assert await month_of(id_at("refund", first - one_ms)) == before
    assert await month_of(id_at("payment", second - one_ms), id_at("payment", first)) == name
    assert await month_of(id_at("payment", first), id_at("payment", first - one_ms)) == ALL, "of two months"
    assert await month_of(id_at("payment", FAR)) == ALL
    assert await month_of("pay_1") == ALL
    assert await month_of(id_at("payment", first), "pay_1") == ALL


def test_a_statement_is_made_once_per_month_and_is_valid_without_one() -> None:
    statement = MonthlyStatement(f"UPDATE payments{MARK} SET a = 1")
    assert str(statement) == "UPDATE payments SET a = 1" == str(statement.of(ALL))
    assert str(statement.of("2027_01")) == "UPDATE payments_2027_01 SET a = 1"
    assert statement.of("2027_01") is statement.of("2027_01")


async def test_a_payment_has_all_its_rows_in_its_month(own: MonthsDatabase) -> None:
    first = (await own.bounds())[0]
    cases = {now(): f"until_{first:%Y_%m}", first: f"{first:%Y_%m}", FAR: "beyond"}
    made = {name: await own.pay(at) for at, name in cases.items()}
    await own.maker.process(*made.values())  # one group of ids of several months
    for name, payment_id in made.items():
        assert await own.tables_of(payment_id) == {table: (name, count) for table, count in FIVE.items()}
    assert await own.value("SELECT count(*) FROM due_payments") == 0


async def test_midnight_of_a_month_in_the_midst_of_a_payment_changes_nothing(
    own: MonthsDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = (await own.bounds())[0]
    payment_id = await own.pay(first - timedelta(milliseconds=1))
    monkeypatch.setattr(ids, "new_id", clock(first))
    await own.maker.process(payment_id)
    name = f"until_{first:%Y_%m}"
    assert await own.tables_of(payment_id) == {table: (name, count) for table, count in FIVE.items()}


async def test_the_previous_release_posts_a_journal_whose_entries_are_in_another_month(
    own: MonthsDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def whole(*_: object, **__: object) -> str:
        return ALL

    first, second = (await own.bounds())[:2]
    monkeypatch.setattr(MONTHS, "of", whole)
    monkeypatch.setattr(post_journals, "id_in_month_of", lambda source_id, entity: id_at(entity, second))
    payment_id = await own.pay(first)
    await own.maker.process(payment_id)
    found = await own.tables_of(payment_id)
    assert found == {table: (f"{first:%Y_%m}", count) for table, count in FIVE.items()} | {
        "ledger_entries": (f"{second:%Y_%m}", 2)
    }
    with pytest.raises(psycopg.errors.UniqueViolation):
        await own.admin.execute(
            "INSERT INTO ledger_journals SELECT 'jrn_again', merchant_id, store_id, kind, source_id, payment_id, currency,"
            " occurred_at, posted_at FROM ledger_journals WHERE source_id = %s",
            [payment_id],
        )


@pytest.mark.parametrize("through", ["the month", "all months"])
async def test_a_journal_that_does_not_balance_is_refused_in_every_month(own: MonthsDatabase, through: str) -> None:
    first = (await own.bounds())[0]
    month = f"_{first:%Y_%m}" if through == "the month" else ""
    journal, source = id_at("journal", first), id_at("payment", first)
    values = f"'{journal}', 'm', 's', 'completion', '{source}', NULL, 'JPY', now(), now()"
    with pytest.raises(psycopg.errors.CheckViolation, match="does not sum to zero"):
        await own.admin.execute(f"INSERT INTO ledger_journals{month} VALUES ({values})".encode())
    entries = f"('{journal}', 1, 'a', 1), ('{journal}', 2, 'a', -1)"
    with pytest.raises(psycopg.errors.CheckViolation, match="there is no such journal"):
        await own.admin.execute(f"INSERT INTO ledger_entries{month} VALUES {entries}".encode())


async def test_rows_that_came_before_their_month_move_into_it(own: MonthsDatabase) -> None:
    last = (await own.bounds())[-1]
    next_month = (last + timedelta(days=32)).replace(day=1)
    completed, pending = await own.pay(next_month), await own.pay(next_month + timedelta(days=1), client_reference="r")
    later = await own.pay(FAR)
    await own.maker.process(completed)
    assert await month_of(completed) == ALL
    made = await own.value("SELECT make_months_at(0, %(at)s)", at=next_month)
    assert made == 1
    name = f"{next_month:%Y_%m}"
    assert await own.tables_of(completed) == {table: (name, count) for table, count in FIVE.items()}
    await own.maker.process(pending, later)  # this process does not know the month yet
    assert (await own.tables_of(pending))["payments"][0] == name
    assert (await own.tables_of(later))["payments"][0] == "beyond"
    MONTHS.forget()
    assert await month_of(completed) == name
    assert await part(pending) == f"payments_{name}"
    assert await own.value("SELECT count(*) FROM due_payments") == 0
    assert await own.value("SELECT count(*) FROM payment_client_references") == 1
    for statement in ("UPDATE payments_{} SET status = 'failed'", "DELETE FROM payment_history_{}"):
        with pytest.raises(psycopg.Error):  # its triggers are there
            await own.admin.execute(statement.format(name).encode())


async def test_a_month_that_is_moved_away_is_named_no_more(own: MonthsDatabase) -> None:
    first = (await own.bounds())[0]
    name = f"payments_{first:%Y_%m}"
    payment_id, open_one = await own.pay(first), await own.pay(first)
    await own.maker.process(payment_id)
    assert [await part(payment_id) for _ in range(3)] == [name] * 3  # prepared
    await own.admin.execute(f"ALTER TABLE {name} SET SCHEMA archive".encode())
    assert await part(payment_id) == f"archive.{name}", "it is found through the whole table"
    await own.maker.process(open_one)
    assert await own.value("SELECT status FROM payments WHERE id = %(id)s", id=open_one) == "completed"
    assert await month_of(payment_id) == ALL
    await own.admin.execute(f"ALTER TABLE payments DETACH PARTITION archive.{name}".encode())
    assert await part(payment_id) is None


async def test_a_transaction_that_names_a_month_that_is_gone_can_be_tried_again(own: MonthsDatabase) -> None:
    first = (await own.bounds())[0]
    payment_id = await own.pay(first)
    assert await part(payment_id)
    await own.admin.execute(f"ALTER TABLE payments_{first:%Y_%m} SET SCHEMA archive".encode())
    with pytest.raises(ServiceUnavailable):
        async with transaction(Role.WORKER) as connection:
            await execute_within(connection, READ, [payment_id], {"ids": [payment_id]}, role=Role.WORKER)
    async with transaction(Role.WORKER) as connection:
        found = await execute_within(connection, READ, [payment_id], {"ids": [payment_id]}, role=Role.WORKER)
        assert found.rowcount == 1


async def test_a_missing_table_that_is_not_of_the_month_is_an_error_and_one_of_it_a_warning(
    own: MonthsDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    first = (await own.bounds())[0]
    payment_id = await own.pay(first)
    wrong = MonthlyStatement(f"SELECT FROM payments{MARK}, strange_table WHERE payments{MARK}.id = ANY(:ids)")
    with pytest.raises(ProgrammingError, match="strange_table"):
        await execute_in_month(Role.WORKER, wrong, [payment_id], {"ids": [payment_id]})
    async with transaction(Role.WORKER) as connection:
        with pytest.raises(ProgrammingError, match="strange_table"):
            await execute_within(connection, wrong, [payment_id], {"ids": [payment_id]}, role=Role.WORKER)
    assert not [record for record in caplog.records if hasattr(record, "event")]
    await own.admin.execute(f"ALTER TABLE payments_{first:%Y_%m} SET SCHEMA archive".encode())
    assert await part(payment_id) == f"archive.payments_{first:%Y_%m}"
    assert [record.event for record in caplog.records if hasattr(record, "event")] == ["months.gone"]


async def test_a_client_reference_names_one_payment_of_all_months(own: MonthsDatabase) -> None:
    first = (await own.bounds())[0]
    await own.pay(first - timedelta(days=1), client_reference="once")
    with pytest.raises(DuplicateResource):
        await own.pay(first, client_reference="once")
    with pytest.raises(psycopg.errors.UniqueViolation) as refused:
        await own.admin.execute(
            "INSERT INTO payments (id, merchant_id, store_id, status, version, amount, currency, method_type,"
            " processing_mode, provider, client_reference, expires_at, created_at)"
            " SELECT %s, merchant_id, store_id, 'pending', 1, 1, 'JPY', 'qr', 'provider', 'sandbox', client_reference, now(),"
            " now() FROM payments",
            [id_at("payment", FAR)],
        )
    assert refused.value.diag.constraint_name == "payments_client_reference_key"
    with pytest.raises(psycopg.errors.CheckViolation, match="cannot be changed"):
        await own.admin.execute("UPDATE payments SET client_reference = 'another'")


async def test_of_concurrent_payments_of_two_months_with_one_reference_one_is_accepted(
    own: MonthsDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = (await own.bounds())[0]
    times = [first - timedelta(milliseconds=1), first] * 4
    monkeypatch.setattr(write_payments, "new_id", lambda entity: id_at(entity, times.pop()))
    makers = [own.maker.pending(request, client_reference="race") for request in (QR, CASH) * 2]
    results = await asyncio.gather(*makers, return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["DuplicateResource"] * 3 + ["str"]


async def test_an_unavailable_catalogue_costs_nothing_but_time(
    own: MonthsDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment_id = await own.pay(now())
    MONTHS.forget()

    async def unavailable(*_: object) -> None:
        raise ServiceUnavailable(retry_after_seconds=1)

    monkeypatch.setattr("workflows.database.months.execute_alone", unavailable)
    assert await month_of(payment_id) == ALL
    monkeypatch.undo()
    assert await month_of(payment_id) == ALL, "they are not read at each statement"
    MONTHS.forget()
    assert await month_of(payment_id) != ALL


async def test_workers_may_do_in_a_month_what_they_may_do_in_all_of_them(own: MonthsDatabase) -> None:
    different = text(
        """
        SELECT p.relname AS parent, c.relname AS part, r.rolname FROM pg_inherits i
        JOIN pg_class c ON c.oid = i.inhrelid AND c.relkind = 'r' JOIN pg_class p ON p.oid = i.inhparent
        CROSS JOIN pg_roles r
        WHERE r.rolname IN ('mpac_accept', 'mpac_worker', 'mpac_sweep') AND c.relnamespace = 'public'\\:\\:regnamespace
          AND EXISTS (SELECT FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) AS t(may), pg_attribute a
                      WHERE a.attrelid = p.oid AND a.attnum > 0 AND NOT a.attisdropped
                        AND has_column_privilege(r.oid, p.oid, a.attname, may)
                            <> has_column_privilege(r.oid, c.oid, a.attname, may))
        """
    )
    assert (await execute_alone(Role.WORKER, different)).all() == []
