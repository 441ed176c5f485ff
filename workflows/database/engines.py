"""Manage the database engines, one per role, and open transactions on them.

The connections of each engine assume a PostgreSQL role when they start (``-c role=…``), so a statement can do only what its
role is granted. The API on behalf of a caller sees only that caller's rows (row-level security). Grouped accepts may insert
payments and read what they need. Workers may change payments. Sweeps may find rows. A use-case opens a transaction with
``transaction()``, which commits when the ``async with`` ends. No other code handles connections.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Any, cast

import orjson
import psycopg
from sqlalchemy import text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.pool import AsyncAdaptedQueuePool

from workflows.database.connection_health import (
    TransientError,
    as_unavailable,
    check_connections,
    classify_transient,
)
from workflows.database.hot_connection import HotPool
from workflows.database.metrics_buffer import count_final_rows, pop_outcomes
from workflows.errors import ServiceUnavailable
from workflows.settings import Settings


class Role(StrEnum):
    """The PostgreSQL role that a transaction runs under. The migrations hold the grants."""

    CALLER = "mpac_caller"  # the API for one caller: row-level security applies
    ACCEPT = "mpac_accept"  # the API for many callers at once: authentication and grouped accepts
    WORKER = "mpac_worker"  # workers: change payments of all tenants
    SWEEP = "mpac_sweep"  # sweeps: find rows that are due, delete rows that have expired
    OWNER = (
        "none"  # the invariants: the connection's own user, who owns the tables and is exempt from row-level security
    )


class Base(DeclarativeBase):
    """The base of the mapped classes, which ``alembic check`` compares with the migrations."""


CONNECT_TIMEOUT_SECONDS = 3  # if it takes longer, the answer is 503, which is better than a hanging terminal
POOL_TIMEOUT_SECONDS = 3  # likewise if the pool has no free connection
LONG_POOL_TIMEOUT_SECONDS = 30  # long calls wait for each other, because an export must not fail half-way
KEEPALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 25_000}
"""Settings of libpq that end a connection 25 s after its host vanished. Without them the kernel would take 15 min."""
LAST_STATEMENTS_SECONDS = 2.0  # at shutdown: the calls have ended already, so at most a few statements still run
POOL_CHECK_SECONDS = 0.01  # the interval of checks whether these statements have ended
IDLE_IN_TRANSACTION_MS = 15_000  # no transaction spans a provider call, so none idles this long while its process works

KEY_LOOKUP_SETTINGS = {
    "jit": "off",  # before PostgreSQL 18, a plan with a disabled scan has a huge cost, and JIT would compile it for a second
    "enable_seqscan": "off",  # a plan for a small table is cached while the table grows, so it must use the key
    "plan_cache_mode": "force_generic_plan",  # to plan the look-up of an accept takes 1 ms, to run it 0.3 ms
}
KEY_LOOKUP_ROLES = (Role.ACCEPT, Role.WORKER)
"""Roles whose statements all find rows by key, and which therefore have ``KEY_LOOKUP_SETTINGS``.

On a fresh database PostgreSQL spent 0.31-0.45 ms per payment without these settings, and 0.23-0.26 ms with them.
"""


PLANNED_EACH_TIME = {"prepare_threshold": None}
"""The option of psycopg for connections that read lists: their statements are planned with the values of each call.

A prepared statement may keep one plan for all values after ten calls on a connection, but the best plan of a list depends on
the store, the filter and the cursor: on ten million payments a store's list of overdue payments took 10 ms ten times, and 280
ms from then on. ``plan_cache_mode`` would do the same, but also plan each call of a function in a row-level security policy.
"""


HOT_ROLES = (*KEY_LOOKUP_ROLES, Role.CALLER, Role.SWEEP)
"""Roles that also have connections of the hot path (``workflows.database.hot_path``)."""

HOT_SWEEPS = 2
"""Connections of the hot path for sweeps, which make one short statement after the other, once per second."""


class _Engines:
    """The engines of this process, by role; empty until ``connect``."""

    by_role: dict[Role, AsyncEngine]
    long: dict[Role, AsyncEngine]
    """The engines for long calls, with few connections. If exports used the other engines, ten of them would block all
    payments."""
    hot: dict[Role, HotPool]
    """The connections of the hot path, for the roles of ``HOT_ROLES``."""
    url: str

    def __init__(self) -> None:
        self.by_role = {}
        self.long = {}
        self.hot = {}
        self.url = ""


_engines = _Engines()


def connect(settings: Settings, *, roles: tuple[Role, ...] = tuple(Role)) -> None:
    """Create the engines of this process, which connect when they are first used.

    Each composition root calls this once.
    """
    url = make_url(settings.database_url.get_secret_value()).set(drivername="postgresql+psycopg")
    _engines.url = url.set(drivername="postgresql").render_as_string(hide_password=False)
    for role in roles:
        options = {
            "role": str(role),
            "statement_timeout": settings.statement_timeout_ms,
            "lock_timeout": settings.lock_timeout_ms,
            "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_MS,
            "timezone": "UTC",
            **(KEY_LOOKUP_SETTINGS if role in KEY_LOOKUP_ROLES else {}),
        }
        arguments = {
            "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            **KEEPALIVE,
            "application_name": str(role),
        }
        size = settings.database_pool_size
        pooled = {**arguments, **(PLANNED_EACH_TIME if role is Role.CALLER else {})}
        _engines.by_role[role] = _engine(url, pooled, size=size, timeout_seconds=POOL_TIMEOUT_SECONDS)
        _engines.long[role] = _engine(url, pooled, size=settings.long_calls, timeout_seconds=LONG_POOL_TIMEOUT_SECONDS)
        if role in HOT_ROLES:
            hot_size = HOT_SWEEPS if role is Role.SWEEP else size
            _engines.hot[role] = HotPool(_engines.url, arguments, size=hot_size, timeout_seconds=POOL_TIMEOUT_SECONDS)


def _engine(url: URL, arguments: dict[str, Any], *, size: int, timeout_seconds: float) -> AsyncEngine:
    engine = create_async_engine(
        url,
        pool_size=size,
        max_overflow=0,
        pool_timeout=timeout_seconds,
        pool_use_lifo=True,
        hide_parameters=True,  # tracebacks must not show data from clients
        json_serializer=lambda value: orjson.dumps(value).decode(),
        json_deserializer=orjson.loads,
        connect_args=arguments,
    )
    check_connections(engine)
    return engine


async def disconnect() -> None:
    """Refuse new transactions, wait for running ones, and close all connections.

    The wait takes up to ``LAST_STATEMENTS_SECONDS``.
    """
    engines = [*_engines.by_role.values(), *_engines.long.values()]
    hot = [*_engines.hot.values()]
    _engines.by_role, _engines.long, _engines.hot = {}, {}, {}
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + LAST_STATEMENTS_SECONDS
    for engine in engines:
        pool = cast(AsyncAdaptedQueuePool, engine.pool)
        while pool.checkedout() and loop.time() < give_up_at:  # noqa: ASYNC110 - a pool has no event
            await asyncio.sleep(POOL_CHECK_SECONDS)
        await engine.dispose()
    for hot_pool in hot:
        while hot_pool.in_use and loop.time() < give_up_at:  # noqa: ASYNC110 - as above
            await asyncio.sleep(POOL_CHECK_SECONDS)
        await hot_pool.close()


def address() -> str:
    """Return the libpq URL of the database.

    Only the connection that listens for notifications uses it (``workflows.payments.await_changes``).
    """
    return _engines.url


def hot_pool_of(role: Role) -> HotPool:
    """Return the hot path's connections under ``role``.

    Raises ``ServiceUnavailable`` before ``connect`` and after ``disconnect``.
    """
    if pool := _engines.hot.get(role):
        return pool
    raise ServiceUnavailable(retry_after_seconds=1)


@asynccontextmanager
async def transaction(role: Role, *, is_long: bool = False) -> AsyncIterator[AsyncConnection]:
    """Open a transaction under ``role``. The end of the block commits it, and an exception rolls it back.

    If ``is_long``, its statements may take long, and it uses one of the few connections that are reserved for such calls.

    Raises ``ServiceUnavailable`` for transient errors: the database cannot be reached or is shutting down, no connection is
    free in time, or a statement fails for a reason of ``TRANSIENT_ERRORS``.
    """
    engine = (_engines.long if is_long else _engines.by_role).get(role)
    if engine is None:  # before ``connect`` or after ``disconnect``
        raise ServiceUnavailable(retry_after_seconds=1)
    try:
        async with engine.begin() as connection:
            try:
                yield connection
            except psycopg.Error as error:  # COPY uses the driver directly, without SQLAlchemy's handling of errors
                if classify_transient(error) is TransientError.DISCARD:
                    await connection.invalidate(error)
                raise
            finally:
                outcomes = pop_outcomes(connection)
        if outcomes:
            count_final_rows(outcomes)
    except PoolTimeout as error:
        raise ServiceUnavailable(retry_after_seconds=1) from error
    except (DBAPIError, psycopg.Error) as error:
        if unavailable := as_unavailable(error):
            raise unavailable from error
        raise


async def switch_role(connection: AsyncConnection, role: Role) -> None:
    """Run the rest of this transaction under ``role``, with that role's grants and row-level security."""
    await connection.execute(text(f"SET LOCAL ROLE {role}"))


def violated_constraint(error: DBAPIError) -> str | None:
    """Return the name of the constraint that a statement violated, or ``None`` for any other error."""
    diagnosis: Any = getattr(error.orig, "diag", None)
    return getattr(diagnosis, "constraint_name", None)


def rows_parameter(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as JSON, for a statement that reads them with ``jsonb_to_recordset``.

    So any number of rows is a single parameter.
    """
    return orjson.dumps(rows).decode()


BULK_SETTINGS = {
    "statement_timeout": "'100s'",  # below the time limit of a whole task (110 s, workers.event_loop)
    "plan_cache_mode": "'auto'",
    "enable_seqscan": "on",
    "work_mem": "'64MB'",  # with 4 MB, sorting a million lines takes twice as long; at most two sorts run at a time
}
"""Settings for a transaction whose statements may take long and may scan a whole table.

The settings of the roles suit the requests of terminals: short timeouts, cached plans by key, little memory for sorting.
"""
_SET_BULK_SETTINGS = [text(f"SET LOCAL {name} = {value}") for name, value in BULK_SETTINGS.items()]


async def use_bulk_settings(connection: AsyncConnection) -> None:
    """Use ``BULK_SETTINGS`` for the rest of this transaction.

    They are meant for statements that each work on a whole settlement, up to a million lines.
    """
    for setting in _SET_BULK_SETTINGS:
        await connection.execute(setting)
