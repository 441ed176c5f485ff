"""Connections of the hot path: psycopg itself, without SQLAlchemy's engine, and a pool of them.

Through SQLAlchemy a transaction of one short statement took 547 µs of Python, here 150, and 65 if the statement is its own
transaction (``psycopg_pool``: 112). The statements stay ``text(":name")``, written once and used by both.

| what                                | how                                                                           |
|-------------------------------------|-------------------------------------------------------------------------------|
| ``:name`` → ``$1``                  | once per statement, by SQLAlchemy's own compiler                              |
| prepared statements                 | prepared when first used on a connection; psycopg keeps their names           |
| errors                              | SQLAlchemy's ``DBAPIError``, as everywhere, with psycopg's error as ``orig``  |
| dead connections                    | checked as ``connection_health`` says, and replaced before anything is sent   |
| an interrupted statement            | its connection is closed, because its answer may still arrive                 |
| an error that affects the whole pool | every connection of the pool is replaced                                     |

Text parameters are sent without a type, so ``CAST(:rows AS jsonb)`` is parsed once, however often the statement names it.
SQLAlchemy sends them as ``varchar``, and PostgreSQL then parses them at each place.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import orjson
import psycopg
from psycopg import AsyncRawCursor
from psycopg.adapt import AdaptersMap
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import set_json_loads
from sqlalchemy import TextClause
from sqlalchemy.dialects.postgresql.psycopg import PGDialectAsync_psycopg
from sqlalchemy.exc import DBAPIError, MultipleResultsFound, NoResultFound

from workflows.database.connection_health import BEGIN_SECONDS, TransientError, classify_transient, needs_check
from workflows.errors import ServiceUnavailable

BEGIN, COMMIT, ROLLBACK = b"BEGIN", b"COMMIT", b"ROLLBACK"
PING = b"SELECT"
"""The shortest valid statement: a check for a connection whose next statement is its own transaction."""

_ADAPTERS = AdaptersMap(psycopg.adapters)
set_json_loads(orjson.loads, _ADAPTERS)
_DIALECT = PGDialectAsync_psycopg(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]


class StatementRows:
    """The result of a statement: all of its rows (``workflows.database.connection.Rows``)."""

    __slots__ = ("_rows", "rowcount")

    def __init__(self, rows: list[DictRow], rowcount: int) -> None:
        self._rows = rows
        self.rowcount = rowcount

    def __iter__(self) -> Iterator[DictRow]:
        return iter(self._rows)

    def mappings(self) -> "StatementRows":
        """Return the rows, which are mappings already."""
        return self

    def all(self) -> list[DictRow]:
        """Return all rows."""
        return self._rows

    def one(self) -> DictRow:
        """Return the only row. Raises ``NoResultFound`` or ``MultipleResultsFound``."""
        if (row := self.one_or_none()) is None:
            raise NoResultFound("No row was found when one was required")
        return row

    def one_or_none(self) -> DictRow | None:
        """Return the only row, or ``None``. Raises ``MultipleResultsFound``."""
        if len(self._rows) > 1:
            raise MultipleResultsFound("Multiple rows were found when exactly one was required")
        return self._rows[0] if self._rows else None

    def scalar(self) -> Any:
        """Return the first column of the first row, or ``None``."""
        return next(iter(self._rows[0].values())) if self._rows else None

    def scalar_one(self) -> Any:
        """Return the first column of the only row. Raises ``NoResultFound`` or ``MultipleResultsFound``."""
        return next(iter(self.one().values()))


class _Prepared(NamedTuple):
    """A statement on one connection: its cursor, its text with ``$1``, and the names in the order of the numbers."""

    cursor: AsyncRawCursor[DictRow]
    sql: bytes
    names: tuple[str, ...]


@lru_cache(maxsize=256)
def _numbered(statement: TextClause) -> tuple[bytes, tuple[str, ...]]:
    """Return the text of ``statement`` with ``$1``, ``$2`` … for its names, and the names in that order."""
    compiled = statement.compile(dialect=_DIALECT)
    # psycopg's raw cursors send the text as it is; those for ``%(name)s`` parse a text above 4 kB at each execution.
    return str(compiled).encode(), tuple(compiled.positiontup or ())


class HotConnection:
    """A connection to the database in autocommit mode (``workflows.database.connection.Connection``)."""

    def __init__(self, driver: psycopg.AsyncConnection[DictRow], generation: int) -> None:
        self.driver = driver
        self.generation = generation
        self.taken_at = time.monotonic()
        self._prepared: dict[TextClause, _Prepared] = {}

    @property
    def is_idle(self) -> bool:
        """Whether the connection is open and in no transaction and no statement."""
        return self.driver.pgconn.transaction_status == TransactionStatus.IDLE

    async def execute(self, statement: TextClause, parameters: Mapping[str, Any] | None = None, /) -> StatementRows:
        """Run ``statement`` with the values of its ``:names``.

        Raises ``DBAPIError``.
        """
        prepared = self._prepared.get(statement) or self._prepare(statement)
        cursor = prepared.cursor
        try:
            values = [parameters[name] for name in prepared.names] if parameters else None
            await cursor.execute(prepared.sql, values, prepare=True)
            rows = await cursor.fetchall() if cursor.description else []
        except psycopg.Error as error:
            raise _as_sqlalchemy_error(error, statement.text) from error
        return StatementRows(rows, cursor.rowcount)

    def _prepare(self, statement: TextClause) -> _Prepared:
        cursor = AsyncRawCursor(self.driver, row_factory=dict_row)
        prepared = self._prepared[statement] = _Prepared(cursor, *_numbered(statement))
        return prepared

    async def command(self, command: bytes, *, timeout: float | None = None) -> None:
        """Send a command without parameters, such as ``COMMIT``. Raises ``DBAPIError``."""
        try:
            # psycopg has no public method that gives up waiting without asking the server, which may be away, to cancel.
            await self.driver.wait(self.driver._exec_command(command), timeout=timeout)
        except psycopg.Error as error:
            raise _as_sqlalchemy_error(error, command.decode()) from error

    async def close(self) -> None:
        """Close the connection. The server rolls back what was not committed."""
        await self.driver.close()


def _as_sqlalchemy_error(error: psycopg.Error, statement: str) -> BaseException:
    """Return ``error`` as SQLAlchemy would raise it, without the values of the parameters."""
    return DBAPIError.instance(statement, None, error, psycopg.Error, hide_parameters=True)


class HotPool:
    """Up to ``size`` connections with the same options. The connection that was returned last is taken first."""

    def __init__(self, url: str, arguments: Mapping[str, Any], *, size: int, timeout_seconds: float) -> None:
        self._url = url
        self._arguments = dict(arguments)
        self._timeout_seconds = timeout_seconds
        self._slots = asyncio.Semaphore(size)
        self._idle: list[HotConnection] = []
        self._generation = 0
        self._is_closed = False
        self.in_use = 0

    async def take(self, first: bytes | None = None) -> HotConnection:
        """Return a connection, on which the command ``first`` was answered already.

        The caller must pass the connection to ``give_back``. Raises ``ServiceUnavailable`` if no connection is free in time,
        and ``DBAPIError`` or ``psycopg.Error`` if the database cannot be reached.
        """
        await self._wait_for_slot()
        try:
            while self._idle:
                connection = self._idle.pop()
                if await self._is_usable(connection, first):
                    return connection
                await self.replace_all()  # whatever ended this connection has probably ended the others
            return await self._connect(first)
        except BaseException:
            self._release_slot()
            raise

    async def give_back(self, connection: HotConnection) -> None:
        """Make ``connection`` available to others, or close it if a transaction or a statement is open on it."""
        self._release_slot()
        if self._is_closed or connection.generation != self._generation or not connection.is_idle:
            await connection.close()
        else:
            self._idle.append(connection)

    async def replace_all(self) -> None:
        """Close the idle connections now, and those that are in use when they are returned."""
        self._generation += 1
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.close()

    async def close(self) -> None:
        """Close all connections; those that are in use are closed when they are returned."""
        self._is_closed = True
        await self.replace_all()

    async def _wait_for_slot(self) -> None:
        if self._slots.locked():
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    await self._slots.acquire()
            except TimeoutError as error:
                raise ServiceUnavailable(retry_after_seconds=1) from error
        else:
            await self._slots.acquire()  # does not wait
        self.in_use += 1

    def _release_slot(self) -> None:
        self.in_use -= 1
        self._slots.release()

    async def _connect(self, first: bytes | None) -> HotConnection:
        generation = self._generation
        driver = await psycopg.AsyncConnection.connect(
            self._url, autocommit=True, context=_ADAPTERS, row_factory=dict_row, **self._arguments
        )
        connection = HotConnection(driver, generation)
        if first:
            await self._run_or_close(connection, first)
        return connection

    async def _run_or_close(self, connection: HotConnection, command: bytes) -> None:
        try:
            await connection.command(command, timeout=BEGIN_SECONDS)
        except BaseException:
            await connection.close()
            raise

    async def _is_usable(self, connection: HotConnection, first: bytes | None) -> bool:
        """Return whether an idle connection can be used; send ``first`` on it. Closes it otherwise."""
        is_suspect = needs_check(connection.driver, connection.taken_at)
        connection.taken_at = time.monotonic()
        command = first or (PING if is_suspect else None)
        if command is None:
            return True
        try:
            await self._run_or_close(connection, command)
        except DBAPIError as error:
            if classify_transient(error.orig) is None:
                raise
            return False
        return True


def must_replace_all(error: BaseException | None) -> bool:
    """Return whether ``error`` makes the connections of its pool unusable."""
    return classify_transient(error) is TransientError.DISCARD
