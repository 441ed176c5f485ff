"""The database: one engine per role, and ``transaction()``, the only way to it.

Each engine's connections put on a PostgreSQL role when they start (``-c role=…``), so a statement can do only what its
role may: the API on a caller's behalf sees that caller's rows and no others (row-level security), grouped accepts may
insert payments and read what they need, workers may move them, sweeps may look. A use-case opens a transaction, and it
is committed when the ``async with`` ends; nobody else ever sees a connection.
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

from workflows.database.metric_counts import count_outcomes, take_outcomes
from workflows.database.pooled import check_connections
from workflows.database.sqlstates import Passing, passing
from workflows.errors import ServiceUnavailable
from workflows.settings import Settings

logger = logging.getLogger(__name__)

OPERATORS_CASES = {"25006": "read_only", "42501": "grant_missing", "53100": "disk_full"}
"""SQLSTATEs that do not pass by themselves, and the event that is logged for each."""


class Role(StrEnum):
    """Whose rights a transaction has. The grants are in the migrations."""

    CALLER = "mpac_caller"  # the API for one caller: row-level security applies
    ACCEPT = "mpac_accept"  # the API for many callers at once: authentication and grouped accepts
    WORKER = "mpac_worker"  # workers: move payments of all tenants
    SWEEP = "mpac_sweep"  # sweeps: find what is due, throw away what has expired
    OWNER = "none"  # the invariants: the owner of the tables, from whom row-level security hides nothing


class Base(DeclarativeBase):
    """The mapped classes; ``alembic check`` compares them with the migrations."""


CONNECT_TIMEOUT_SECONDS = 3  # a database that does not answer by then is away: 503 beats a hanging terminal
POOL_TIMEOUT_SECONDS = 3  # likewise for a pool that stays empty
LONG_POOL_TIMEOUT_SECONDS = 30  # long calls wait for each other: an export must not break off in the middle
GONE_HOST = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 25_000}
"""A host that vanished sends no reset: libpq's probes end a connection after 25 s, the kernel's after 15 min."""
LAST_STATEMENTS_SECONDS = 2.0  # at the end: calls have ended before, so what still runs is a statement or two …
LOOK_AGAIN_SECONDS = 0.01  # … and is looked for so often
IDLE_IN_TRANSACTION_MS = (
    15_000  # no transaction spans a provider call, so none idles this long unless its owner is gone
)

KEYED = {
    "jit": "off",  # before PostgreSQL 18 a plan that had to scan counts as endlessly dear, and would be compiled for a second
    "enable_seqscan": "off",  # a plan made while a table was small is kept while it grows: it must use the key from the start
    "plan_cache_mode": "force_generic_plan",  # planning the accept's look costs 1 ms, running it 0.3
}
KEYED_ROLES = (Role.ACCEPT, Role.WORKER)
"""Roles whose statements all go by keys: on a fresh database 0.31-0.45 ms of PostgreSQL per payment before, then 0.23-0.26."""


class _Engines:
    """The engines of this process, by role; empty until ``connect``."""

    by_role: dict[Role, AsyncEngine]
    long: dict[Role, AsyncEngine]
    """The engines for long calls, with few connections: if they shared the others', ten exports would stop every till."""
    url: str

    def __init__(self) -> None:
        self.by_role = {}
        self.long = {}
        self.url = ""


_engines = _Engines()


def connect(settings: Settings, *, roles: tuple[Role, ...] = tuple(Role)) -> None:
    """Make the engines of this process (they connect when first used). Called once, by each composition root."""
    url = make_url(settings.database_url.get_secret_value()).set(drivername="postgresql+psycopg")
    _engines.url = url.set(drivername="postgresql").render_as_string(hide_password=False)
    for role in roles:
        options = {
            "role": str(role),
            "statement_timeout": settings.statement_timeout_ms,
            "lock_timeout": settings.lock_timeout_ms,
            "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_MS,
            "timezone": "UTC",
            **(KEYED if role in KEYED_ROLES else {}),
        }
        arguments = {
            "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            **GONE_HOST,
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
        hide_parameters=True,  # what clients send does not belong into tracebacks
        json_serializer=lambda value: orjson.dumps(value).decode(),
        json_deserializer=orjson.loads,
        connect_args=arguments,
    )
    check_connections(engine)
    return engine


async def disconnect() -> None:
    """Close every connection of this process, once it is given back; whoever wants one from now on is refused."""
    engines = [*_engines.by_role.values(), *_engines.long.values()]
    _engines.by_role, _engines.long = {}, {}
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + LAST_STATEMENTS_SECONDS
    for engine in engines:
        pool = cast(AsyncAdaptedQueuePool, engine.pool)
        while pool.checkedout() and loop.time() < give_up_at:  # noqa: ASYNC110 - a pool has no event
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
        await engine.dispose()


def address() -> str:
    """The libpq address of the database, for the one connection that listens (``workflows.payments.change_listener``)."""
    return _engines.url


@asynccontextmanager
async def transaction(role: Role, *, is_long: bool = False) -> AsyncIterator[AsyncConnection]:
    """Open a transaction under ``role``, committed at the end of the block and rolled back by any exception.

    ``is_long``: its statements may take long, so it uses one of the few connections that are set apart for such calls.

    Raises ``ServiceUnavailable`` if the database cannot be reached, is shutting down or gives no connection in time.
    """
    engine = (_engines.long if is_long else _engines.by_role).get(role)
    if engine is None:  # not connected yet, or no longer
        raise ServiceUnavailable(retry_after_seconds=1)
    try:
        async with engine.begin() as connection:
            try:
                yield connection
            except psycopg.Error as error:  # of the driver, which copies statements use directly
                if passing(error) is Passing.DISCARD:
                    await connection.invalidate(error)
                raise
            finally:
                outcomes = take_outcomes(connection)
        if outcomes:
            count_outcomes(outcomes)
    except PoolTimeout as error:
        raise ServiceUnavailable(retry_after_seconds=1) from error
    except (DBAPIError, psycopg.Error) as error:
        original = error.orig if isinstance(error, DBAPIError) else error
        if not (passing(original) or (isinstance(error, DBAPIError) and error.connection_invalidated)):
            raise
        _tell(original)
        raise ServiceUnavailable(retry_after_seconds=1) from error


async def act_as(connection: AsyncConnection, role: Role) -> None:
    """Give the rest of this transaction the rights of ``role``. Row-level security then is that role's, too."""
    await connection.execute(text(f"SET LOCAL ROLE {role}"))


def _tell(error: BaseException | None) -> None:
    """Log a state that an operator has to end: nothing else explains why every request gets 503."""
    state = getattr(error, "sqlstate", None)
    if state in OPERATORS_CASES:
        logger.error("the database refuses: %s", state, extra={"event": f"database.{OPERATORS_CASES[state]}"})


def violated(error: DBAPIError) -> str | None:
    """The name of the constraint that a statement violated, if that is what went wrong."""
    diagnosis: Any = getattr(error.orig, "diag", None)
    return getattr(diagnosis, "constraint_name", None)


def rows_parameter(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as one JSON text parameter for ``jsonb_to_recordset``: one parameter, whatever the number of rows."""
    return orjson.dumps(rows).decode()
