"""Move the database's and the provider's clock together, while no payment or refund is in progress.

| step | what | after a crash there |
|---|---|---|
| lock | every table against writes; check that no lease is in force and nothing new waits for a worker | nothing was moved |
| intend | record the intended time, in a separate transaction | nothing was moved; the record is dropped |
| provider | ``PUT /control/clock`` | payments and refunds are refused (503) until the next call finishes the move |
| database | one commit: the clock, what follows the machine's clock, the locks | moved |

If the process is stopped (SIGSTOP) instead of killed, it loses its connection, and with it the locks, after
``MOST_IDLE_SECONDS``.

A transaction that has written anything ends before the clock moves, and one that waits for a lock writes after it. So no
transaction uses two clocks. The liveness marks of beat and the queues, and the records of used assertions, follow the
machine's clock. They are moved along, because otherwise a queue that consumed a message a second ago would appear silent for
a day.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import LiteralString

import psycopg
from psycopg import errors

from mpac.cli.errors import UserError
from mpac.stack.clock.provider import ProviderClock, ProviderUnreachable

AT_REST_WITHIN_SECONDS = 60
"""Twice the usual lease, which is the longest time for which a killed worker can hold a payment."""
POLL_SECONDS = 0.1
ONE_MOVE = 0x636C6F636B
"""The advisory lock that is held while a clock is moved."""

_STATE: LiteralString = """
SELECT extract(epoch FROM ahead)::bigint, intended IS NOT NULL, pg_catalog.clock_timestamp() FROM movable_clock.moved
"""
_TABLES: LiteralString = """
SELECT string_agg(format('%I.%I', schemaname, tablename), ', ' ORDER BY tablename) FROM pg_tables WHERE schemaname = 'public'
"""
_SOON: LiteralString = """
SET LOCAL lock_timeout = '400ms';    -- the product queues behind our lock request
SET LOCAL deadlock_timeout = '50ms'; -- after it PostgreSQL cancels an autovacuum that blocks us
SET LOCAL idle_in_transaction_session_timeout = '{most_idle}s'; -- a caller that was stopped must not hold the locks
"""
MOST_IDLE_SECONDS = 10
"""The longest time for one step of a move, with everything locked. The provider answers within four seconds or fails."""
_IN_PROGRESS: LiteralString = """
SELECT id FROM payments WHERE lease_until > now() OR (status = 'pending' AND created_at > now() - interval '20 s')
UNION ALL
SELECT id FROM refunds WHERE lease_until > now() OR (status = 'pending' AND created_at > now() - interval '20 s')
LIMIT 1000
"""
"""Rows that a worker processes or is about to claim. A payment that was just created must not expire in the queue."""
_ALONG: LiteralString = """
UPDATE canaries SET sent_at = sent_at + by, consumed_at = consumed_at + by
FROM (SELECT make_interval(secs => %(seconds)s) AS by) AS distance
"""
_ASSERTIONS_ALONG: LiteralString = (
    "UPDATE used_assertions SET expires_at = expires_at + make_interval(secs => %(seconds)s)"
)
BeforeMove = Callable[[int], Awaitable[None]]

_RETRYABLE = (errors.LockNotAvailable, errors.DeadlockDetected)


class StackClock:
    """The clock of one stack. ``connection`` must be in autocommit mode and opened after ``install``."""

    def __init__(self, connection: psycopg.AsyncConnection, provider: ProviderClock, *, database_url: str) -> None:
        self.connection = connection
        self._database_url = database_url
        self._provider = provider
        self.ahead_seconds = 0
        self.is_half_moved = False
        self.provider_ahead_seconds = 0

    async def lock_moves(self) -> None:
        """Prevent other moves until the connection is closed. Raises ``UserError`` if one is in progress."""
        row = await (await self.connection.execute("SELECT pg_try_advisory_lock(%s)", [ONE_MOVE])).fetchone()
        if not (row and row[0]):
            raise UserError("Another `clock` command is moving this stack's clock: wait until it has finished.")

    async def read(self) -> None:
        """Read how far ahead the two clocks are. Raises ``UserError``."""
        row = await (await self.connection.execute(_STATE)).fetchone()
        assert row  # noqa: S101 - the table has one
        self.ahead_seconds, self.is_half_moved, _ = row
        self.provider_ahead_seconds = await self._provider.ahead_seconds()

    @property
    def clocks_differ(self) -> bool:
        """Whether the two clocks differ, or a move was interrupted."""
        return self.is_half_moved or self.provider_ahead_seconds != self.ahead_seconds

    async def repair(self, *, report_waiting: Callable[[int], None], before_move: BeforeMove) -> None:
        """Move both clocks to the later of the two.

        After an interrupted move this is its target if the provider's clock was moved, else the time before it.
        """
        await self.move(
            max(self.ahead_seconds, self.provider_ahead_seconds), report_waiting=report_waiting, before_move=before_move
        )

    async def move(self, ahead_seconds: int, *, report_waiting: Callable[[int], None], before_move: BeforeMove) -> None:
        """Move both clocks to ``ahead_seconds`` ahead of the machine's clock, once no row is in progress.

        If rows are in progress, ``report_waiting`` is called once with their number. ``before_move`` is awaited just before
        the move, with its distance in seconds. Raises ``UserError`` if the clocks were not moved, or if it is unknown whether
        they were; the next call determines that.
        """
        loop = asyncio.get_running_loop()
        give_up_at, reported = loop.time() + AT_REST_WITHIN_SECONDS, False
        while in_progress := await self._try_to_move(ahead_seconds, before_move):
            if loop.time() > give_up_at:
                raise UserError(
                    f"The clock was not moved: for {AT_REST_WITHIN_SECONDS} seconds payments, refunds or other transactions "
                    f"were being processed ({', '.join(in_progress[:3])}). Try again when the stack is less busy."
                )
            if not reported and in_progress != _BUSY:
                report_waiting(len(in_progress))
                reported = True
            await asyncio.sleep(POLL_SECONDS)
        await self.read()

    async def _try_to_move(self, ahead_seconds: int, before_move: BeforeMove) -> list[str]:
        """Move both clocks, or return the ids of the payments and refunds in progress, which prevent the move."""
        in_progress = await self._rows_in_progress()
        if in_progress:
            return in_progress
        with suppress(*_RETRYABLE), _interrupts_delayed():
            async with self.connection.transaction():
                await self.connection.execute(_SOON.format(most_idle=MOST_IDLE_SECONDS).encode())
                tables = await (await self.connection.execute(_TABLES)).fetchone()
                await self.connection.execute(f"LOCK TABLE {tables[0]} IN EXCLUSIVE MODE".encode() if tables else b"")
                in_progress = await self._rows_in_progress()
                if not in_progress:
                    await before_move(ahead_seconds - self.ahead_seconds)
                    await self._move_both(ahead_seconds)
            return in_progress
        return _BUSY

    async def _rows_in_progress(self) -> list[str]:
        return [row[0] for row in await (await self.connection.execute(_IN_PROGRESS)).fetchall()]

    async def _move_both(self, ahead_seconds: int) -> None:
        await self._intend(ahead_seconds)
        try:
            await self._provider.move(ahead_seconds)
        except ProviderUnreachable:
            raise await self._unknown_result_error(ahead_seconds) from None
        except UserError:
            await self._intend(None)
            raise
        by = {"seconds": ahead_seconds - self.ahead_seconds}
        await self.connection.execute(_ALONG, by)
        await self.connection.execute(_ASSERTIONS_ALONG, by)
        await self.connection.execute(
            "UPDATE movable_clock.moved SET intended = NULL, ahead = make_interval(secs => %s)", [ahead_seconds]
        )

    async def _intend(self, ahead_seconds: int | None) -> None:
        """Record the intended time, or ``None`` for no move, in a separate transaction."""
        async with await psycopg.AsyncConnection.connect(self._database_url, autocommit=True) as other:
            await other.execute("UPDATE movable_clock.moved SET intended = make_interval(secs => %s)", [ahead_seconds])

    async def _unknown_result_error(self, ahead_seconds: int) -> UserError:
        """Return the error for a move that the provider did not acknowledge.

        If the provider's clock was certainly not moved, the recorded intention is dropped first.
        """
        with suppress(UserError):
            if await self._provider.ahead_seconds() != ahead_seconds:
                await self._intend(None)
                return UserError("The provider did not answer in time, so nothing was moved: try again.")
        return UserError(
            "The provider does not answer, so it is unknown whether its clock was moved. Payments are refused until that is "
            "known: run `python3 run.py clock` when it answers again."
        )


_BUSY = ["another transaction"]


@contextmanager
def _interrupts_delayed() -> Iterator[None]:
    """Delay Ctrl-C and Ctrl-Z until both clocks are moved, which takes milliseconds."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTSTP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
