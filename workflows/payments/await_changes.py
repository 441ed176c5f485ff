"""Wait for a payment to change: wake long polls and streams by one LISTEN connection per process instead of polling.

Each transaction that changes payments sends their ids and versions with ``NOTIFY``, which PostgreSQL delivers with the commit
and never without it. The connection is open only while somebody waits, and ``IDLE_SECONDS`` longer: else each change of each
payment would wake a backend and this process for nothing.

| moment                                   | why no change is missed                                                       |
|------------------------------------------|-------------------------------------------------------------------------------|
| a request begins to wait                 | it registers, and reads its payment afterwards                                |
| PostgreSQL has acknowledged the LISTEN   | every waiter reads its payment again; later changes are delivered             |
| the connection breaks                    | every waiter reads its payment, and again once the connection is back         |
| a request waits while an idle one closes | it has registered, so a connection is opened next, and its waiter reads again |
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import psycopg
from psycopg.pq.abc import PGconn

from workflows.database.engines import address
from workflows.payments.queries import PaymentReads
from workflows.payments.states import PaymentStatus
from workflows.tenants.caller import Caller

logger = logging.getLogger(__name__)

IDLE_SECONDS = 10.0
"""How long the connection stays open after the last wait. Opening one takes PostgreSQL some 5 ms, as 50 notifications do."""

RECONNECT_SECONDS = 0.5  # the database is usually back within seconds; every waiter reads its payment meanwhile
KEEPALIVES: dict[str, Any] = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
"""TCP keep-alives for a connection that only listens: a peer that disappeared without closing it is noticed within 25 s."""

MOVING = frozenset({PaymentStatus.PENDING, PaymentStatus.PROCESSING})
"""Statuses that will still change. In any other status, ``await_payment`` waits only if ``since_version`` is given."""

BEAT_SECONDS = 15.0
"""Interval of keep-alive comments in a silent stream: proxies cut connections that are silent for 30-60 s."""


class ChangeListener:
    """The process's subscription to changes of payments."""

    def __init__(self, reads: PaymentReads) -> None:
        """Create the subscription. ``reads`` read the payments of those who wait."""
        self.reads = reads
        self._waiters: dict[str, set[asyncio.Future[None]]] = defaultdict(set)
        self._task: asyncio.Task[None] | None = None
        self._wanted = asyncio.Event()
        """Set when somebody begins to wait."""
        self.listening = asyncio.Event()
        """Set while the connection receives notifications."""

    def start(self) -> None:
        """Listen for changes from now on while somebody waits. Call this once, on the API's event loop."""
        self._task = asyncio.create_task(self._listen())

    async def stop(self) -> None:
        """Stop listening and wake every waiter."""
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._wake_all()

    def next_change(self, payment_id: str) -> "asyncio.Future[None]":
        """Return a future that is done once ``payment_id`` may have changed.

        Call this before reading the row; otherwise a change between the two is missed.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[payment_id].add(future)
        self._wanted.set()
        future.add_done_callback(partial(self._forget, payment_id))
        return future

    def _forget(self, payment_id: str, future: "asyncio.Future[None]") -> None:
        waiting = self._waiters[payment_id]
        waiting.discard(future)
        if not waiting:
            del self._waiters[payment_id]

    async def _listen(self) -> None:
        while True:
            await self._wanted.wait()
            try:
                connection = await psycopg.AsyncConnection.connect(
                    address(), autocommit=True, application_name="mpac_watch", connect_timeout=3, **KEEPALIVES
                )
                async with connection:
                    await connection.execute("LISTEN payments")
                    await self._receive_while_wanted(connection)
                self.listening.clear()
                continue
            except (psycopg.Error, OSError) as error:
                extra = {"event": "payment_listener.disconnected"}
                logger.warning(
                    "the listener for payment changes lost its connection: %s", type(error).__name__, extra=extra
                )
            except Exception:  # this task must not end, or no terminal that waits in this process is woken any more
                logger.exception("the listener for payment changes failed", extra={"event": "payment_listener.failed"})
            self.listening.clear()
            self._wake_all()
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _receive_while_wanted(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Wake waiters until nobody has waited for ``IDLE_SECONDS``.

        Raises the error that ends the connection.
        """
        loop = asyncio.get_running_loop()
        lost: asyncio.Future[None] = loop.create_future()
        socket = connection.fileno()
        # Not connection.notifies(), which registers with the event loop again for each notification.
        loop.add_reader(socket, self._receive, connection.pgconn, socket, lost)
        try:
            self._wake_all()  # changes before the LISTEN were not delivered
            self.listening.set()
            while self._waiters or self._wanted.is_set():
                self._wanted.clear()
                await asyncio.wait({lost}, timeout=IDLE_SECONDS)
                if lost.done():
                    lost.result()
        finally:
            if not lost.done():
                loop.remove_reader(socket)

    def _receive(self, pgconn: PGconn, socket: int, lost: "asyncio.Future[None]") -> None:
        """Read what PostgreSQL has sent, and wake the waiters of changed payments."""
        try:
            pgconn.consume_input()
            while notification := pgconn.notifies():
                self._wake(notification.extra.decode())
        except Exception as error:
            # Now, because libpq has closed the socket, and its number may soon be another connection's.
            asyncio.get_running_loop().remove_reader(socket)
            lost.set_exception(error)

    def _wake(self, payload: str) -> None:
        if not self._waiters:
            return
        for change in payload.split(" "):
            for future in tuple(self._waiters.get(change.partition(":")[0], ())):
                _wake_future(future)

    def _wake_all(self) -> None:
        for futures in tuple(self._waiters.values()):
            for future in tuple(futures):
                _wake_future(future)


def _wake_future(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


async def await_payment(
    payment_id: str, *, caller: Caller, watch: ChangeListener, wait_seconds: float, since_version: int | None
) -> Mapping[str, Any]:
    """Return the payment's row once its version is above ``since_version``, or after ``wait_seconds``.

    Without ``since_version``, wait until the payment leaves its current version; if it is final, return immediately.
    No database connection is held while waiting. Raises ``ResourceNotFound``.
    """
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + wait_seconds
    known = since_version
    while True:
        changed = watch.next_change(payment_id)
        try:
            row = await watch.reads.read(payment_id, caller=caller)
            if known is None:
                known = row["version"] if row["status"] in MOVING else -1
            left = give_up_at - loop.time()
            if row["version"] > known or left <= 0:
                return row
            del row  # 5 kB, which thousands of waiting requests would hold until their payments change
            # Not asyncio.wait(): its coroutines and futures take as much memory as everything else here.
            timer = loop.call_later(left, _wake_future, changed)
            try:
                await changed
            finally:
                timer.cancel()
        finally:
            changed.cancel()


async def follow_payment(
    payment_id: str, *, caller: Caller, watch: ChangeListener, longest_seconds: float
) -> AsyncIterator[Mapping[str, Any] | None]:
    """Yield the payment's row now and after each change.

    Yield ``None`` if nothing happened for ``BEAT_SECONDS``. A version is skipped if a newer one follows closely. Each
    row is the current one, so versions only grow. The stream ends when the payment is final, or after
    ``longest_seconds``; then the terminal should connect again.

    Raises ``ResourceNotFound``, and ``NotAuthorized`` as soon as the device is no longer active.
    """
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + longest_seconds
    known = 0
    while (left := give_up_at - loop.time()) > 0:
        row = await await_payment(
            payment_id, caller=caller, watch=watch, wait_seconds=min(left, BEAT_SECONDS), since_version=known
        )
        if row["version"] > known:
            known = row["version"]
            yield row
        else:
            yield None
        if row["status"] not in MOVING:
            return
