"""The story's clock: the database's and the provider's together, only ever forward, by the wall of the stores.

They are moved while nothing is under way; in between they tick like any clock.
"""

import math
from datetime import UTC, datetime, time, timedelta
from typing import Self

import aiohttp
import psycopg

from mpac.stack.movable_clock import MOVE, READ
from mpac.trouble import Trouble
from workflows.zones import zone

TOKYO = zone("Asia/Tokyo")
OPENS = time(9, 0)
GRACE_SECONDS = 6  # beyond the end of a day: a close waits 5 s for what was being recorded just then
OK = 200


class StoryClock:
    """Moves time. ``day_at`` counts from the story's first day."""

    def __init__(
        self,
        connection: psycopg.AsyncConnection,
        *,
        session: aiohttp.ClientSession,
        sandbox_url: str,
        control_key: str,
    ) -> None:
        self._connection = connection
        self._session = session
        self._url = f"{sandbox_url.rstrip('/')}/control/clock"
        self._headers = {"Authorization": f"Bearer {control_key}"}
        self.first_day = datetime.now(TOKYO).date()

    @classmethod
    async def open(
        cls, database_url: str, *, session: aiohttp.ClientSession, sandbox_url: str, control_key: str
    ) -> Self:
        """A clock whose first day begins with the next morning. Raises ``Trouble``."""
        connection = await psycopg.AsyncConnection.connect(database_url, autocommit=True, application_name="mpac_clock")
        clock = cls(connection, session=session, sandbox_url=sandbox_url, control_key=control_key)
        await clock._agree()
        present = (await clock.now()).astimezone(TOKYO)
        clock.first_day = present.date() if present.time() < OPENS else present.date() + timedelta(days=1)
        return clock

    async def close(self) -> None:
        """Disconnect; the clocks go on from where they are."""
        await self._connection.close()

    async def now(self) -> datetime:
        """The database's present."""
        row = await (await self._connection.execute("SELECT clock_timestamp()")).fetchone()
        assert row  # noqa: S101 - a SELECT without FROM has one
        instant: datetime = row[0]
        return instant

    async def moment(self) -> str:
        """The weekday and the time on the stores' walls."""
        return f"{(await self.now()).astimezone(TOKYO):%a %H:%M}"

    async def move_to(self, hour: int, minute: int = 0, second: int = 0, *, day: int = 1) -> None:
        """Let it be ``hour:minute:second`` in Tokyo on the story's ``day``; where a slow machine took longer, it is later."""
        local = datetime.combine(self.first_day + timedelta(days=day - 1), time(hour, minute, second), TOKYO)
        if await self.now() >= local:
            return
        await self._set(math.ceil((local - datetime.now(UTC)).total_seconds()))

    async def _agree(self) -> None:
        """After a demonstration that was killed between its two clocks: both as far ahead as the one that is farther."""
        async with self._session.get(self._url, headers=self._headers) as answer:
            theirs: int = (await answer.json())["ahead_seconds"]
        row = await (await self._connection.execute(READ)).fetchone()
        await self._set(max(theirs, int(row[0]) if row else 0))

    async def _set(self, ahead_seconds: int) -> None:
        # The provider first: nothing of ours may ask it about an instant that it has not reached.
        body = {"ahead_seconds": ahead_seconds}
        async with self._session.put(self._url, json=body, headers=self._headers) as answer:
            if answer.status != OK:
                raise Trouble(f"The provider's clock could not be moved: {await answer.text()}")
        moved = await self._connection.execute(MOVE, [ahead_seconds, ahead_seconds])
        if not moved.rowcount:
            raise Trouble("Somebody else moved the demonstration's clock meanwhile.")
