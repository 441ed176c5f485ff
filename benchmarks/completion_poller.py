"""Detect that payments are final, for every target in the same way: by polling its database.

A terminal would use a waiting GET, but only the product has one, and its cost would fall on the product's API alone. Instead,
one session queries which of the open payments are final, with a fixed pause after each answer. The measured times are upper
bounds: they are too long by up to one pause and one query, which the report states.
"""

import asyncio
import time

import psycopg

FINAL = """
    SELECT id, status FROM payments WHERE id = ANY(%s) AND status IN ('completed', 'failed', 'cancelled')
"""


class CompletionPoller:
    """Poll the open payments, and resolve the future of each one that is final."""

    def __init__(self, connection: "psycopg.AsyncConnection[tuple[str, str]]", *, pause_seconds: float) -> None:
        self._connection = connection
        self._pause = pause_seconds
        self._open: dict[str, asyncio.Future[tuple[str, float]]] = {}
        self._arrived = asyncio.Event()

    @property
    def pid(self) -> int:
        """The PostgreSQL process of this session, whose CPU time belongs to the load generator."""
        return self._connection.info.backend_pid

    def final_status(self, payment_id: str) -> "asyncio.Future[tuple[str, float]]":
        """Return a future of a payment's final status and of the time at which it was seen."""
        future: asyncio.Future[tuple[str, float]] = asyncio.get_running_loop().create_future()
        self._open[payment_id] = future
        self._arrived.set()
        return future

    async def run(self) -> None:
        """Poll until the task is cancelled."""
        while True:
            if not self._open:
                self._arrived.clear()
                await self._arrived.wait()
            cursor = await self._connection.execute(FINAL, (list(self._open),), prepare=True)
            found = await cursor.fetchall()
            seen_at = time.perf_counter()
            for payment_id, status in found:
                self._open.pop(payment_id).set_result((status, seen_at))
            await asyncio.sleep(self._pause)
