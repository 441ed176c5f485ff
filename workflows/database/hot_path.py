"""Run the statements that each payment needs on psycopg itself, in few round trips.

| verb                 | what it runs                                             | round trips            |
|----------------------|----------------------------------------------------------|------------------------|
| ``execute_alone``    | one statement that is its own transaction                | 1                      |
| ``hot_transaction``  | any number of statements in one transaction              | one each, and 2        |

Both behave like ``workflows.database.engines.transaction``: they use connections of the role, raise ``ServiceUnavailable`` for
transient errors and ``DBAPIError`` for others, and count final payments only after a commit.
``workflows.database.hot_connection`` explains what makes them cheaper. Use ``transaction`` unless profiles show that a
statement is hot: it offers everything that SQLAlchemy does.

If the answer to a statement of ``execute_alone`` is lost, the statement may have been committed, as after the lost answer to a
COMMIT. An error of a deferred constraint is raised by that statement, or at the end of a ``hot_transaction``.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from sqlalchemy import TextClause
from sqlalchemy.exc import DBAPIError

from workflows.database.connection_health import BEGIN_SECONDS, as_unavailable
from workflows.database.engines import Role, hot_pool_of
from workflows.database.hot_connection import (
    BEGIN,
    COMMIT,
    ROLLBACK,
    HotConnection,
    HotPool,
    StatementRows,
    must_replace_all,
)
from workflows.database.metrics_buffer import count_final_rows, pop_outcomes


async def execute_alone(
    role: Role, statement: TextClause, parameters: Mapping[str, Any] | None = None
) -> StatementRows:
    """Run ``statement`` under ``role`` as a transaction of its own, and return its rows.

    Raises ``ServiceUnavailable`` for transient errors; the statement may then have been committed.
    """
    pool = hot_pool_of(role)
    try:
        connection = await pool.take()
        try:
            return await connection.execute(statement, parameters)
        except BaseException as error:
            await _clean_up(pool, connection, error)
            raise
        finally:
            await pool.give_back(connection)
    except (DBAPIError, psycopg.Error) as error:
        if unavailable := as_unavailable(error):
            raise unavailable from error
        raise


@asynccontextmanager
async def hot_transaction(role: Role) -> AsyncIterator[HotConnection]:
    """Open a transaction under ``role``. The end of the block commits it, and an exception rolls it back.

    Raises ``ServiceUnavailable`` for transient errors. If the error came with the end of the block, the transaction may have
    been committed.
    """
    pool = hot_pool_of(role)
    try:
        connection = await pool.take(BEGIN)
        try:
            yield connection
            await connection.command(COMMIT)
            outcomes = pop_outcomes(connection)
        except BaseException as error:
            pop_outcomes(connection)
            await _clean_up(pool, connection, error)
            raise
        finally:
            await pool.give_back(connection)
        if outcomes:
            count_final_rows(outcomes)
    except (DBAPIError, psycopg.Error) as error:
        if unavailable := as_unavailable(error):
            raise unavailable from error
        raise


async def _clean_up(pool: HotPool, connection: HotConnection, error: BaseException) -> None:
    """Leave ``connection`` without a transaction after ``error``, or closed; never raise."""
    if not isinstance(error, Exception):  # cancelled, perhaps within a statement, whose answer would come later
        await connection.close()
        return
    if must_replace_all(error.orig if isinstance(error, DBAPIError) else error):
        await pool.replace_all()
    if not connection.is_idle:
        try:
            await connection.command(ROLLBACK, timeout=BEGIN_SECONDS)
        except (DBAPIError, psycopg.Error):
            await connection.close()  # and so the server rolls back
