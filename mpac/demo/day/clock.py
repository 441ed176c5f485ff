"""Move the story's clock: the database's and the provider's together, only forward, in the stores' time zone.

The clock is moved while nothing is in progress. Between two moves it ticks like any clock.
"""

import math
from datetime import UTC, datetime, time, timedelta
from typing import Self

from mpac.cli.errors import UserError
from mpac.demo.database_client import DatabaseClient
from mpac.demo.http_client import HttpCaller
from mpac.demo.retry import TimedOut
from mpac.stack.movable_clock import MOVE, READ
from workflows.time_zones import zone

TOKYO = zone("Asia/Tokyo")
OPENS = time(9, 0)
GRACE_SECONDS = 6  # after the end of a day: a close waits 5 s for what was being recorded at that moment
OK = 200
CLOCK = "/control/clock"


class StoryClock:
    """Move both clocks of the story. Times are in Tokyo, and ``day`` is counted from 1, the story's first day."""

    def __init__(self, database: DatabaseClient, *, provider: HttpCaller) -> None:
        self._database = database
        self._provider = provider
        self.first_day = datetime.now(TOKYO).date()

    @classmethod
    async def open(cls, database_url: str, *, provider: HttpCaller) -> Self:
        """Connect, align both clocks, and let the story begin on the next morning.

        ``provider`` calls the control routes. Raises ``UserError``.
        """
        database = await DatabaseClient.open(database_url, name="mpac_clock", is_read_only=False)
        clock = cls(database, provider=provider)
        await clock._align()
        present = (await clock.now()).astimezone(TOKYO)
        clock.first_day = present.date() if present.time() < OPENS else present.date() + timedelta(days=1)
        return clock

    async def close(self) -> None:
        """Disconnect; the clocks keep ticking from where they are."""
        await self._database.close()

    async def now(self) -> datetime:
        """Return the database's present time."""
        ((instant,),) = await self._database.fetch("SELECT clock_timestamp()")
        assert isinstance(instant, datetime)  # noqa: S101 - for the type checker
        return instant

    async def moment(self) -> str:
        """Return the weekday and time at the stores."""
        return f"{(await self.now()).astimezone(TOKYO):%a %H:%M}"

    async def move_to(self, hour: int, minute: int = 0, second: int = 0, *, day: int = 1) -> None:
        """Move to ``hour:minute:second`` in Tokyo on the story's ``day``.

        Does nothing if it is already later, as on a slow machine.
        """
        local = self._local(hour, minute, second, day=day)
        if await self.now() >= local:
            return
        await self._set(math.ceil((local - datetime.now(UTC)).total_seconds()))

    async def require_before(self, hour: int, minute: int = 0, *, day: int = 1, what: str) -> None:
        """Raise ``TimedOut`` if it is already later: then ``what`` took too long on this machine."""
        now = (await self.now()).astimezone(TOKYO)
        if now >= self._local(hour, minute, 0, day=day):
            raise TimedOut(f"{what} lasted until {now:%H:%M} by the story's clock", counted="scene")

    def _local(self, hour: int, minute: int, second: int, *, day: int) -> datetime:
        return datetime.combine(self.first_day + timedelta(days=day - 1), time(hour, minute, second), TOKYO)

    async def _align(self) -> None:
        """Move both clocks to the later of the two.

        The clocks differ if a demonstration was killed between the two moves.
        """
        answer = await self._provider.call("GET", CLOCK)
        if answer.status != OK:
            raise UserError(f"The provider's clock could not be read: {answer.status} {answer.body}")
        theirs: int = answer.body["ahead_seconds"]
        rows = await self._database.fetch(READ)
        await self._set(max(theirs, int(rows[0][0]) if rows else 0))

    async def _set(self, ahead_seconds: int) -> None:
        # The provider first, because the product must not ask the provider about a time that is in the provider's future.
        answer = await self._provider.call("PUT", CLOCK, body={"ahead_seconds": ahead_seconds})
        if answer.status != OK:
            raise UserError(f"The provider's clock could not be moved: {answer.status} {answer.body}")
        if not await self._database.execute(MOVE, [ahead_seconds, ahead_seconds]):
            raise UserError("Another process moved the demonstration's clock meanwhile: run the demonstration again.")
