"""Run the demonstration's own statements in the database, and reconnect when the connection is lost."""

from collections.abc import Sequence
from typing import Any, Self

import psycopg

from mpac.demo.retry import TransientFailure, retry_until_answered

CONNECT_TIMEOUT_SECONDS = 10


class DatabaseClient:
    """Run statements one by one. Each must be safe to repeat, because a lost answer leads to a second run."""

    def __init__(self, database_url: str, *, name: str, is_read_only: bool) -> None:
        self._url = database_url
        self._name = name
        self._is_read_only = is_read_only
        self._connection: psycopg.AsyncConnection[Any] | None = None

    @classmethod
    async def open(cls, database_url: str, *, name: str, is_read_only: bool = True) -> Self:
        """Connect. Raises ``TimedOut``."""
        database = cls(database_url, name=name, is_read_only=is_read_only)
        await database.fetch("SELECT 1")
        return database

    async def close(self) -> None:
        """Disconnect."""
        if self._connection is not None:
            await self._connection.close()

    async def fetch(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        """Run a statement and return its rows. Raises ``TimedOut`` if the database stays unavailable."""
        _, found = await retry_until_answered(lambda: self._run(query, values), what=f"a statement of {self._name}")
        return found

    async def execute(self, query: str, values: Sequence[Any]) -> int:
        """Run a statement and return how many rows it changed.

        Raises ``TimedOut`` if the database stays unavailable.
        """
        count, _ = await retry_until_answered(lambda: self._run(query, values), what=f"a statement of {self._name}")
        return count

    async def _run(self, query: str, values: Sequence[Any]) -> tuple[int, list[Any]]:
        try:
            connection = self._connection
            if connection is None or connection.closed:
                connection = self._connection = await self._connect()
            cursor = await connection.execute(query.encode(), values)
            return cursor.rowcount, await cursor.fetchall() if cursor.description else []
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise TransientFailure(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}") from error

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        connection = await psycopg.AsyncConnection.connect(
            self._url, autocommit=True, application_name=self._name, connect_timeout=CONNECT_TIMEOUT_SECONDS
        )
        await connection.set_read_only(self._is_read_only)
        return connection
