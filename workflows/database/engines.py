"""The database engines, one per role, and ``transaction()``, the only access to the database.

The connections of each engine assume a PostgreSQL role when they start (``-c role=…``), so a statement can do only what its
role may: the API on behalf of a caller sees that caller's rows only (row-level security), grouped accepts may insert
payments and read what they need, workers may move payments, sweeps may find rows. A use-case opens a transaction, which is
committed when the ``async with`` ends; no other code handles connections.
"""

import asyncio
import logging
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

from workflows.database.connection_health import TransientError, check_connections, classify_transient
from workflows.database.metrics_buffer import count_final_rows, pop_outcomes
from workflows.errors import ServiceUnavailable
from workflows.settings import Settings

logger = logging.getLogger(__name__)

OPERATOR_EVENTS = {"25006": "read_only", "42501": "grant_missing", "53100": "disk_full"}
"""SQLSTATE that an operator has to act on → the event that is logged for it."""


class Role(StrEnum):
    """The PostgreSQL role that a transaction runs under. The migrations hold the grants."""

    CALLER = "mpac_caller"  # the API for one caller: row-level security applies
    ACCEPT = "mpac_accept"  # the API for many callers at once: authentication and grouped accepts
    WORKER = "mpac_worker"  # workers: move payments of all tenants
    SWEEP = "mpac_sweep"  # sweeps: find rows that are due, delete rows that have expired
    OWNER = "none"  # the invariants: the owner of the tables, to whom row-level security does not apply


class Base(DeclarativeBase):
    """The mapped classes; ``alembic check`` compares them with the migrations."""


CONNECT_TIMEOUT_SECONDS = 3  # a database that takes longer counts as unavailable: 503 is better than a hanging terminal
POOL_TIMEOUT_SECONDS = 3  # likewise for a pool without a free connection
LONG_POOL_TIMEOUT_SECONDS = 30  # long calls wait for each other, because an export must not fail half-way
KEEPALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 25_000}
"""A host that vanished sends no reset: libpq's probes end a connection after 25 s, the kernel would after 15 min."""
LAST_STATEMENTS_SECONDS = 2.0  # at shutdown: calls have ended before, so only a statement or two may still run …
POOL_CHECK_SECONDS = 0.01  # … and this is the interval of checking for them
IDLE_IN_TRANSACTION_MS = (
    15_000  # no transaction spans a provider call, so none idles this long unless its owner is gone
)

KEY_LOOKUP_SETTINGS = {
    "jit": "off",  # before PostgreSQL 18 a plan that must scan has a huge cost, and would be compiled for a second
    "enable_seqscan": "off",  # a plan made for a small table is cached while the table grows, so it must use the key at once
    "plan_cache_mode": "force_generic_plan",  # planning the look-up of an accept takes 1 ms, running it 0.3 ms
}
KEY_LOOKUP_ROLES = (Role.ACCEPT, Role.WORKER)
"""Roles whose statements all find rows by key.

On a fresh database PostgreSQL spent 0.31-0.45 ms per payment without these settings, and 0.23-0.26 ms with them.
"""


class _Engines:
    """The engines of this process, by role; empty until ``connect``."""

    by_role: dict[Role, AsyncEngine]
    long: dict[Role, AsyncEngine]
    """The engines for long calls, with few connections: if they used the other engines, ten exports would block every till."""
    url: str

    def __init__(self) -> None:
        self.by_role = {}
        self.long = {}
        self.url = ""


_engines = _Engines()


def connect(settings: Settings, *, roles: tuple[Role, ...] = tuple(Role)) -> None:
    """Create the engines of this process; they connect on first use. Each composition root calls it once."""
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
        _engines.by_role[role] = _engine(url, arguments, size=size, timeout_seconds=POOL_TIMEOUT_SECONDS)
        _engines.long[role] = _engine(
            url, arguments, size=settings.long_calls, timeout_seconds=LONG_POOL_TIMEOUT_SECONDS
        )


def _engine(url: URL, arguments: dict[str, Any], *, size: int, timeout_seconds: float) -> AsyncEngine:
    engine = create_async_engine(
        url,
        pool_size=size,
        max_overflow=0,
        pool_timeout=timeout_seconds,
        pool_use_lifo=True,
        hide_parameters=True,  # tracebacks must not show what clients sent
        json_serializer=lambda value: orjson.dumps(value).decode(),
        json_deserializer=orjson.loads,
        connect_args=arguments,
    )
    check_connections(engine)
    return engine


async def disconnect() -> None:
    """Close every connection of this process once it is free, and refuse new transactions from now on."""
    engines = [*_engines.by_role.values(), *_engines.long.values()]
    _engines.by_role, _engines.long = {}, {}
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + LAST_STATEMENTS_SECONDS
    for engine in engines:
        pool = cast(AsyncAdaptedQueuePool, engine.pool)
        while pool.checkedout() and loop.time() < give_up_at:  # noqa: ASYNC110 - a pool has no event
            await asyncio.sleep(POOL_CHECK_SECONDS)
        await engine.dispose()


def address() -> str:
    """Return the libpq address of the database.

    Only the connection that listens needs it (``workflows.payments.await_changes``).
    """
    return _engines.url


@asynccontextmanager
async def transaction(role: Role, *, is_long: bool = False) -> AsyncIterator[AsyncConnection]:
    """Open a transaction under ``role``: the end of the block commits it, an exception rolls it back.

    ``is_long``: its statements may take long, so it uses one of the few connections that are reserved for such calls.

    Raises ``ServiceUnavailable`` if the database cannot be reached, is shutting down or gives no connection in time.
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
        original = error.orig if isinstance(error, DBAPIError) else error
        if not (classify_transient(original) or (isinstance(error, DBAPIError) and error.connection_invalidated)):
            raise
        _log_if_lasting(original)
        raise ServiceUnavailable(retry_after_seconds=1) from error


async def switch_role(connection: AsyncConnection, role: Role) -> None:
    """Run the rest of this transaction under ``role``, row-level security included."""
    await connection.execute(text(f"SET LOCAL ROLE {role}"))


def _log_if_lasting(error: BaseException | None) -> None:
    """Log an error that an operator has to act on: nothing else explains why every request gets 503."""
    state = getattr(error, "sqlstate", None)
    if state in OPERATOR_EVENTS:
        logger.error(
            "the database refuses statements: SQLSTATE %s", state, extra={"event": f"database.{OPERATOR_EVENTS[state]}"}
        )


def violated_constraint(error: DBAPIError) -> str | None:
    """Return the name of the constraint that a statement violated, or ``None`` for any other error."""
    diagnosis: Any = getattr(error.orig, "diag", None)
    return getattr(diagnosis, "constraint_name", None)


def rows_parameter(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as one JSON parameter for ``jsonb_to_recordset``, whatever their number."""
    return orjson.dumps(rows).decode()


BULK_SETTINGS = {
    "statement_timeout": "'100s'",  # below the time limit of a whole task (110 s, workers.event_loop)
    "plan_cache_mode": "'auto'",
    "enable_seqscan": "on",
    "work_mem": "'64MB'",  # sorting a million lines in pieces of 4 MB takes twice as long; at most two sorts run at a time
}
"""The settings of a transaction whose statements may take long and may scan a whole table.

The roles' own settings suit terminals: short timeouts, cached plans by keys, little memory for sorting.
"""
_SET_BULK_SETTINGS = [text(f"SET LOCAL {name} = {value}") for name, value in BULK_SETTINGS.items()]


async def use_bulk_settings(connection: AsyncConnection) -> None:
    """Use ``BULK_SETTINGS`` for the rest of this transaction.

    For statements that each work on a whole settlement, up to a million lines.
    """
    for setting in _SET_BULK_SETTINGS:
        await connection.execute(setting)
