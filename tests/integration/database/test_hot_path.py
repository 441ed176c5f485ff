"""The hot path runs statements, commits and fails like ``transaction``."""

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, ProgrammingError

from tests.conftest import WAIT_SECONDS
from tests.integration.database.hot_pools import (
    COUNT,
    PID,
    SLEEP,
    TEMPORARY,
    TWICE,
    Admin,
    Run,
    alone,
    connected,
    in_transaction,
)
from workflows.database import engines as database
from workflows.database.engines import Role, disconnect, hot_pool_of, transaction, violated_constraint
from workflows.database.hot_path import execute_alone, hot_transaction
from workflows.database.metrics_buffer import PROCESS_COUNTS, note_final
from workflows.errors import ServiceUnavailable
from workflows.settings import Settings

both = pytest.mark.parametrize("run", [alone, in_transaction])


@pytest.fixture
async def one(settings: Settings) -> AsyncIterator[None]:
    """Connect pools of one connection."""
    async with connected(settings, database_pool_size=1):
        yield


async def test_rows_are_mappings_and_names_may_stand_in_any_order(one: None) -> None:
    statement = text(
        "SELECT CAST(:b AS text) AS b, CAST(:a AS integer) AS a, :b || '%' AS again, '{\"x\": [1]}'\\:\\:jsonb AS j"
    )
    found = await execute_alone(Role.WORKER, statement, {"a": 1, "b": "two", "unused": 3})
    assert found.mappings().all() == [{"b": "two", "a": 1, "again": "two%", "j": {"x": [1]}}]
    assert (found.scalar_one(), found.scalar(), found.rowcount) == ("two", "two", 1)
    assert (await execute_alone(Role.WORKER, text("SELECT 1 WHERE false"))).mappings().one_or_none() is None


@both
async def test_a_connection_is_used_again_under_its_role_and_is_in_no_transaction(
    one: None, admin: Admin, run: Run
) -> None:
    pids = {await run(PID) for _ in range(5)}
    assert len(pids) == 1
    assert await run(text("SELECT current_user")) == "mpac_worker"
    state = await (
        await admin.execute("SELECT state FROM pg_stat_activity WHERE pid = ANY(%s)", [list(pids)])
    ).fetchone()
    assert state == {"state": "idle"}


async def test_an_error_in_the_block_rolls_back_and_keeps_the_connection(one: None) -> None:
    async def fail() -> None:
        async with hot_transaction(Role.WORKER) as connection:
            await connection.execute(TEMPORARY)
            raise LookupError

    pid = await in_transaction(PID)
    with pytest.raises(LookupError):
        await fail()
    with pytest.raises(ProgrammingError):
        await alone(COUNT)
    assert await in_transaction(PID) == pid


@both
async def test_an_error_of_our_own_is_raised_as_sqlalchemy_does_and_keeps_the_connection(one: None, run: Run) -> None:
    pid = await run(PID)
    with pytest.raises(ProgrammingError) as raised:
        await run(text("SELECT * FROM no_such_table"))
    assert isinstance(raised.value.orig, psycopg.errors.UndefinedTable)
    assert await run(PID) == pid


@both
async def test_an_error_of_a_deferred_constraint_is_raised_and_nothing_is_stored(one: None, run: Run) -> None:
    await alone(TEMPORARY)
    pid = await run(PID)
    with pytest.raises(IntegrityError) as raised:
        await run(TWICE)
    assert violated_constraint(raised.value) == "once_a_key"
    assert (await run(COUNT), await run(PID)) == (0, pid)


@both
async def test_a_statement_timeout_is_unavailable_and_keeps_the_connection(settings: Settings, run: Run) -> None:
    async with connected(settings, database_pool_size=1, statement_timeout_ms=50):
        pid = await run(PID)
        with pytest.raises(ServiceUnavailable):
            await run(SLEEP)
        assert await run(PID) == pid


@both
async def test_a_full_pool_is_unavailable_after_the_timeout_and_serves_those_who_wait(
    settings: Settings, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "POOL_TIMEOUT_SECONDS", 0.05)
    async with connected(settings, database_pool_size=1):
        async with hot_transaction(Role.WORKER):
            with pytest.raises(ServiceUnavailable):
                await run(PID)
        monkeypatch.setattr(hot_pool_of(Role.WORKER), "_timeout_seconds", WAIT_SECONDS)
        async with hot_transaction(Role.WORKER):
            waiting = [asyncio.ensure_future(run(PID)) for _ in range(3)]
            await asyncio.sleep(0)
        assert len({await one for one in waiting}) == 1


async def test_final_rows_are_counted_after_the_commit_only(one: None) -> None:
    PROCESS_COUNTS.pop()
    for fails in (True, False):
        try:
            async with hot_transaction(Role.WORKER) as connection:
                note_final(connection, "payment", method="qr", provider="x", status="completed", code=None, seconds=1.0)
                if fails:
                    raise LookupError
        except LookupError:
            assert PROCESS_COUNTS.pop() == []
    assert [count.value for count in PROCESS_COUNTS.pop() if count.name == "payments_final"] == [1]


async def test_disconnecting_waits_for_running_statements_and_refuses_new_ones(settings: Settings) -> None:
    began, leave = asyncio.Event(), asyncio.Event()

    async def stay() -> object:
        async with hot_transaction(Role.WORKER) as connection:
            began.set()
            await leave.wait()
            return (await connection.execute(PID)).scalar_one()

    async with connected(settings):
        pool = hot_pool_of(Role.WORKER)
        running = asyncio.ensure_future(stay())
        await began.wait()
        leaving = asyncio.ensure_future(disconnect())
        await asyncio.sleep(0)
        for run in (alone, in_transaction):
            with pytest.raises(ServiceUnavailable):
                await run(PID)
        leave.set()
        assert await running
        await leaving
        assert (pool.in_use, pool._idle) == (0, [])


async def test_a_prepared_statement_is_parsed_once_per_connection(one: None) -> None:
    statement = text("SELECT CAST(:a AS integer) AS a")
    assert [(await execute_alone(Role.WORKER, statement, {"a": n})).scalar() for n in (1, 2, 3)] == [1, 2, 3]
    prepared = text("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'SELECT CAST($1 AS integer)%'")
    assert await alone(prepared) == 1


async def test_a_function_for_both_kinds_of_connection_gets_equal_rows(engines: None) -> None:
    statement = text("SELECT CAST(:rows AS jsonb) AS j, now() AS at, CAST(1.5 AS numeric) AS n, ARRAY['a', NULL] AS l")
    parameters = {"rows": '{"a": 1}'}
    async with transaction(Role.WORKER) as usual, hot_transaction(Role.WORKER) as hot:
        first = dict((await usual.execute(statement, parameters)).mappings().one())
        second = (await hot.execute(statement, parameters)).mappings().one()
    assert {**first, "at": second["at"]} == second
    assert first["at"].tzinfo == second["at"].tzinfo
