"""Pools of the hot path for tests, and the two ways to run a statement on them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import psycopg
from psycopg.rows import DictRow
from sqlalchemy import TextClause, text

from tests.polling import eventually
from workflows.database import engines as database
from workflows.database.engines import Role, connect, disconnect
from workflows.database.hot_path import execute_alone, hot_transaction
from workflows.settings import Settings

Admin = psycopg.AsyncConnection[DictRow]
Run = Callable[[TextClause], Awaitable[object]]

PID = text("SELECT pg_backend_pid() AS pid")
SLEEP = text("SELECT pg_sleep(600)")
WRITE = text("UPDATE payments SET version = version WHERE false")
TEMPORARY = text("CREATE TEMPORARY TABLE once (a integer UNIQUE DEFERRABLE INITIALLY DEFERRED) ON COMMIT PRESERVE ROWS")
TWICE = text("INSERT INTO once VALUES (1), (1)")
COUNT = text("SELECT count(*) FROM once")
SLEEPING = """
    SELECT pid FROM pg_stat_activity
    WHERE query LIKE 'SELECT pg_sleep(600%' AND wait_event = 'PgSleep' AND pid <> pg_backend_pid()
"""


async def alone(statement: TextClause) -> object:
    """Run a statement as its own transaction, and return the first column of its first row."""
    return (await execute_alone(Role.WORKER, statement)).scalar()


async def in_transaction(statement: TextClause) -> object:
    """Run a statement in a transaction, and return the first column of its first row."""
    async with hot_transaction(Role.WORKER) as connection:
        return (await connection.execute(statement)).scalar()


@asynccontextmanager
async def connected(settings: Settings, **changes: object) -> AsyncIterator[None]:
    """Connect hot pools of their own with changed settings, and restore the usual engines afterwards."""
    usual, database._engines = database._engines, database._Engines()
    try:
        connect(settings.model_copy(update=changes), roles=(Role.WORKER, Role.ACCEPT))
        yield
        await disconnect()
    finally:
        database._engines = usual


async def sleeping(admin: Admin) -> list[int]:
    return [row["pid"] for row in await (await admin.execute(SLEEPING)).fetchall()]


async def asleep(admin: Admin) -> int:
    """Wait until one statement sleeps on the server, and return its backend."""
    [pid] = await eventually(lambda: sleeping(admin), until=lambda pids: len(pids) == 1)
    return pid
