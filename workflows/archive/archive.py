"""Archive, restore and drop a month. Each can be interrupted at any line and run again, with the same result.

| step            | committed                                              | if it ends here, the next run            |
|-----------------|--------------------------------------------------------|------------------------------------------|
| check           | nothing                                                | begins again                             |
| freeze          | the month accepts no change                            | finds it frozen, and goes on             |
| check again     | nothing; on an obstacle, the release                   | begins again                             |
| write           | the files, then their manifest                         | writes them again, with the same content |
| verify          | nothing                                                | the same                                 |
| detach          | carried rows, ``archived_months``, the log, the tables | finds it archived                        |
| drop, if wanted | the tables are gone, after the files agreed with them  | finds it dropped                         |

One process at a time: a lock of the session is held from the first to the last step, and ends with the connection.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from workflows.archive import move
from workflows.archive.carry import carry_over, take_back
from workflows.archive.files import verify, write_files
from workflows.archive.months import ARCHIVE, Connection, Month, read_months
from workflows.archive.obstacles import Policy, find_obstacles

logger = logging.getLogger(__name__)

ONE_AT_A_TIME = 0x61726368
"""The advisory lock of the one process that archives."""

FREED_MS = 2_000
"""How long the lock of a process that has just ended is waited for: its session may end a moment later."""

CONNECT_TIMEOUT_SECONDS = 5
_SETTINGS = (
    "statement_timeout = 0",
    "idle_in_transaction_session_timeout = 0",
    "row_security = off",
    "lock_timeout = '10s'",
)

Report = Callable[[str], None]
"""Is called with a line about each step, for the person who waits."""


class AnotherIsArchiving(Exception):
    """Another process archives or restores a month at this moment."""


class MonthKept(Exception):
    """A month may not be archived; ``reasons`` are sentences."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


class WrongMonth(Exception):
    """There is no such month, or it is not in the state that the operation needs; the message says which."""


@dataclass(frozen=True, slots=True)
class Archive:
    """A run of `mpac archive`: on whose behalf, by which policy, and where it reports its steps."""

    connection: Connection
    policy: Policy
    by: str
    report: Report = lambda _line: None

    def archive_month(self, name: str, folder: Path) -> None:
        """Archive a month, with its files in ``folder``. Do nothing if it is archived.

        Raises ``MonthKept``, ``WrongMonth``, ``FilesDiffer``, ``move.MonthBusy``, ``OSError`` and ``psycopg.Error``.
        """
        month = self.find(name)
        if month.archived_at:
            self.report(f"{month.label} is archived since {month.archived_at:%Y-%m-%d %H:%M} UTC.")
            return
        self._freeze(month)
        with self.connection.transaction():
            manifest = write_files(self.connection, month, folder)
        with self.connection.transaction():
            verify(self.connection, month, folder, manifest)
        self.report(f"{month.label}: files written to {folder} and read back")
        with self.connection.transaction():
            move.reserve(self.connection, month)
            checksum = carry_over(self.connection, month)
            self.connection.execute(
                """INSERT INTO archived_months (month, low, high, archived_at, archived_by, checksum, manifest)
                   VALUES (%s, %s, %s, clock_timestamp(), %s, %s, %s)""",
                [month.name, month.low, month.high, self.by, checksum, Jsonb(manifest)],
            )
            rows = {table: written["rows"] for table, written in manifest["tables"].items()}
            self._log(month, "archive", {"folder": str(folder), "rows": rows})
            move.with_short_locks(self.connection, lambda: move.detach(self.connection, month))
        logger.info("the month %s was archived", month.label, extra={"event": "archive.archived"})
        self.report(f"{month.label}: archived, {rows['payments']:,} payments")

    def drop_month(self, name: str, folder: Path) -> None:
        """Drop the tables of an archived month, after its files were read back and agree with them.

        Raises ``FilesDiffer``, ``WrongMonth`` and ``psycopg.Error``.
        """
        month = self.find(name)
        if not month.archived_at:
            raise WrongMonth(f"{month.label} is not archived.")
        if month.dropped_at:
            self.report(f"{month.label}: its tables were dropped on {month.dropped_at:%Y-%m-%d}.")
            return
        with self.connection.transaction():
            verify(self.connection, month, folder, self._manifest(month), schema=ARCHIVE)
            move.drop(self.connection, month)
            self.connection.execute(
                "UPDATE archived_months SET dropped_at = clock_timestamp() WHERE month = %s", [month.name]
            )
            self._log(month, "drop", {"folder": str(folder)})
        logger.info("the tables of the month %s were dropped", month.label, extra={"event": "archive.dropped"})
        self.report(f"{month.label}: tables dropped; its rows are in {folder}")

    def restore_month(self, name: str) -> None:
        """Attach an archived month again, or release a frozen one. Do nothing if the month is live.

        Raises ``WrongMonth`` (its tables were dropped, or the schema has changed), ``move.MonthBusy`` and ``psycopg.Error``.
        """
        month = self.find(name)
        if month.dropped_at:
            raise WrongMonth(
                f"The tables of {month.label} were dropped: load its files first (docs/operations.md#restore-a-month)."
            )
        if not month.archived_at:
            self._release(month)
            return
        with self.connection.transaction():
            move.constrain(self.connection, month)
        with self.connection.transaction():
            move.reserve(self.connection, month, schema=ARCHIVE)
            take_back(self.connection, month)
            self.connection.execute("DELETE FROM archived_months WHERE month = %s", [month.name])
            self._log(month, "restore", {})

            def attach() -> None:
                move.attach(self.connection, month)
                move.release(self.connection, month)

            try:
                move.with_short_locks(self.connection, attach)
            except psycopg.errors.DatatypeMismatch as error:
                said = str(error).strip().partition("\n")[0]
                raise WrongMonth(
                    f"The schema has changed since {month.label} was archived ({said}): add that first."
                ) from error
        logger.info("the month %s was restored", month.label, extra={"event": "archive.restored"})
        self.report(f"{month.label}: restored")

    def find(self, name: str) -> Month:
        """Return the month. Raises ``WrongMonth`` if there is none."""
        months = {month.name: month for month in read_months(self.connection)}
        if name not in months:
            known = ", ".join(month.label for month in months.values())
            raise WrongMonth(f"There is no month {name.replace('_', '-')}. There are: {known}.")
        return months[name]

    def obstacles(self, month: Month) -> list[str]:
        """Return why ``month`` may not be archived."""
        return find_obstacles(self.connection, month, self.policy)

    def _freeze(self, month: Month) -> None:
        """Refuse changes of the month, and check it before and after.

        Raises ``MonthKept`` and ``move.MonthBusy``.
        """
        self._check(month)
        if not month.is_frozen:
            with self.connection.transaction():
                move.reserve(self.connection, month)
                self._log(month, "freeze", {})
                move.with_short_locks(self.connection, lambda: move.freeze(self.connection, month))
        try:
            self._check(month)
        except MonthKept:
            self._release(self.find(month.name))
            raise
        self.report(f"{month.label}: checked, and closed to changes")

    def _check(self, month: Month) -> None:
        if reasons := self.obstacles(month):
            raise MonthKept(reasons)

    def _release(self, month: Month) -> None:
        if not month.is_frozen:
            self.report(f"{month.label} is not archived.")
            return
        with self.connection.transaction():
            move.reserve(self.connection, month)
            self._log(month, "release", {})
            move.with_short_locks(self.connection, lambda: move.release(self.connection, month))
        self.report(f"{month.label}: open to changes again")

    def _manifest(self, month: Month) -> dict[str, Any]:
        row = self.connection.execute("SELECT manifest FROM archived_months WHERE month = %s", [month.name]).fetchone()
        assert row is not None  # noqa: S101 - the month was found in this table
        manifest: dict[str, Any] = row["manifest"]
        return manifest

    def _log(self, month: Month, event: str, details: dict[str, Any]) -> None:
        self.connection.execute(
            "INSERT INTO archive_log (at, month, event, by, details) VALUES (clock_timestamp(), %s, %s, %s, %s)",
            [month.name, event, self.by, Jsonb(details)],
        )


@contextmanager
def archiving(database_url: str, *, policy: Policy, by: str, report: Report) -> Iterator[Archive]:
    """Connect as the owner of the tables and the only process that archives.

    Raises ``AnotherIsArchiving``.
    """
    with open_connection(database_url) as connection:
        try:
            with connection.transaction():
                connection.execute(f"SET LOCAL lock_timeout = {FREED_MS}".encode())
                connection.execute("SELECT pg_advisory_lock(%s)", [ONE_AT_A_TIME])
        except psycopg.errors.LockNotAvailable as error:
            raise AnotherIsArchiving from error
        yield Archive(connection, policy, by, report)


@contextmanager
def open_connection(database_url: str) -> Iterator[Connection]:
    """Connect as the owner of the tables, in autocommit mode. Raises ``psycopg.Error``."""
    with psycopg.connect(
        database_url,
        row_factory=dict_row,
        autocommit=True,
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        application_name="mpac_archive",
    ) as connection:
        for setting in _SETTINGS:
            connection.execute(f"SET {setting}".encode())
        yield connection
