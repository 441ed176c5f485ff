"""An interrupted statement or a broken connection of the hot path costs nobody else anything."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from psycopg.rows import DictRow
from pydantic import SecretStr
from sqlalchemy import text

from mpac.stack.local_stack import LocalStack
from tests.integration.database.cutting_proxy import Cut, Proxy, proxied
from tests.integration.database.hot_pools import (
    PID,
    SLEEP,
    WRITE,
    Admin,
    Run,
    alone,
    asleep,
    connected,
    in_transaction,
    sleeping,
)
from tests.integration.payments.lost_commit import wire_to
from tests.polling import eventually
from workflows.database import connection_health, hot_connection
from workflows.database.engines import Role, hot_pool_of
from workflows.database.hot_path import hot_transaction
from workflows.errors import ServiceUnavailable
from workflows.settings import Settings

both = pytest.mark.parametrize("run", [alone, in_transaction])


@pytest.fixture
async def one(settings: Settings) -> AsyncIterator[None]:
    """Connect pools of one connection."""
    async with connected(settings, database_pool_size=1):
        yield


@pytest.fixture
async def through_a_proxy(settings: Settings, stack: LocalStack) -> AsyncIterator[Proxy]:
    """Connect pools of one connection through a proxy, and yield the proxy."""
    async with (
        proxied(stack.urls.database) as (proxy, url),
        connected(settings, database_pool_size=1, database_url=SecretStr(url)),
    ):
        yield proxy


async def cut_arrived() -> bool:
    """Return whether the idle connection's socket has something to read."""
    return connection_health._has_unread_data(hot_pool_of(Role.WORKER)._idle[0].driver)


@both
async def test_a_backend_that_is_killed_during_a_statement_makes_it_unavailable(
    one: None, admin: Admin, run: Run
) -> None:
    running = asyncio.ensure_future(run(SLEEP))
    killed = await asleep(admin)
    await admin.execute("SELECT pg_terminate_backend(%s)", [killed])
    with pytest.raises(ServiceUnavailable):
        await running
    assert await run(PID) != killed


@both
async def test_a_statement_that_is_cancelled_gives_its_connection_to_nobody(one: None, admin: Admin, run: Run) -> None:
    running = asyncio.ensure_future(run(SLEEP))
    interrupted = await asleep(admin)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await run(PID) != interrupted
    await eventually(lambda: sleeping(admin), until=lambda pids: pids == [])
    assert hot_pool_of(Role.WORKER).in_use == 0


async def test_a_block_that_is_cancelled_between_statements_rolls_back(one: None, admin: Admin) -> None:
    began, pid = asyncio.Event(), 0

    async def stay() -> None:
        nonlocal pid
        async with hot_transaction(Role.WORKER) as connection:
            pid = (await connection.execute(PID)).scalar_one()
            began.set()
            await asyncio.Event().wait()

    running = asyncio.ensure_future(stay())
    await began.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    async def backends() -> list[DictRow]:
        return await (await admin.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid])).fetchall()

    await eventually(backends, until=lambda rows: rows == [])
    assert await in_transaction(PID) != pid


@both
async def test_a_caller_that_is_cancelled_while_it_waits_takes_no_place(one: None, run: Run) -> None:
    async with hot_transaction(Role.WORKER):
        waiting = asyncio.ensure_future(run(PID))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert await run(PID)
    assert hot_pool_of(Role.WORKER).in_use == 0


async def test_a_refusing_server_makes_every_connection_be_replaced(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(settings, database_pool_size=3):
        async with hot_transaction(Role.WORKER) as first, hot_transaction(Role.WORKER) as second:
            await first.execute(text("SET default_transaction_read_only = on"))
            await second.execute(text("SET default_transaction_read_only = on"))
            old = {(await connection.execute(PID)).scalar_one() for connection in (first, second)}
        with pytest.raises(ServiceUnavailable):
            await alone(WRITE)
        async with hot_transaction(Role.WORKER) as first, hot_transaction(Role.WORKER) as second:
            new = {(await connection.execute(PID)).scalar_one() for connection in (first, second)}
        assert not old & new
    assert [record.__dict__["event"] for record in caplog.records if "event" in record.__dict__] == [
        "database.read_only"
    ]


async def test_a_connection_in_use_is_not_returned_after_all_were_replaced(settings: Settings) -> None:
    async with connected(settings, database_pool_size=2):
        async with hot_transaction(Role.WORKER) as connection:
            pid = (await connection.execute(PID)).scalar_one()
            await hot_pool_of(Role.WORKER).replace_all()
        assert await alone(PID) != pid


@both
@pytest.mark.parametrize("how", Cut)
async def test_an_idle_connection_that_was_cut_is_replaced_before_anything_is_sent(
    through_a_proxy: Proxy, run: Run, how: Cut, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = await run(PID)
    assert through_a_proxy.cut(how) >= 1  # a background task of this process may have connected too
    if how is not Cut.SILENCE:
        await eventually(cut_arrived, until=bool)
    else:
        monkeypatch.setattr(connection_health, "HOT_SECONDS", 0)
        monkeypatch.setattr(hot_connection, "BEGIN_SECONDS", 0.2)
    assert await run(PID) != pid


@both
async def test_a_database_that_cannot_be_reached_is_unavailable_at_once(settings: Settings, run: Run) -> None:
    nowhere = SecretStr("postgresql://postgres@127.0.0.1:1/postgres")
    async with connected(settings, database_url=nowhere):
        with pytest.raises(ServiceUnavailable):
            await run(PID)
        assert hot_pool_of(Role.WORKER).in_use == 0


async def test_the_lost_answer_to_a_commit_is_unavailable_though_it_took_effect(
    settings: Settings, admin: Admin
) -> None:
    await admin.execute("CREATE TABLE IF NOT EXISTS lost_answers (a integer); GRANT ALL ON lost_answers TO mpac_worker")
    async with (
        wire_to(settings.database_url.get_secret_value()) as (wire, url),
        connected(settings, database_url=SecretStr(url)),
    ):
        wire.loses = 1
        with pytest.raises(ServiceUnavailable):
            await in_transaction(text("INSERT INTO lost_answers VALUES (1) RETURNING a"))
        assert await alone(text("SELECT count(*) FROM lost_answers")) == 1
    await admin.execute("DROP TABLE lost_answers")
