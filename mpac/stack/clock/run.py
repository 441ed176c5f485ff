"""Run `mpac clock`: find the stack, move its clock, and print the times and what became due."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from math import ceil
from pathlib import Path
from typing import Any

import aiohttp
import psycopg

from mpac.cli.errors import UserError
from mpac.cli.format_duration import format_duration
from mpac.stack.attach import attach
from mpac.stack.clock.due_work import (
    DONE_WITHIN_SECONDS,
    DueWork,
    describe_outcomes,
    open_periods,
    record_due_work,
    wait_until_done,
)
from mpac.stack.clock.find_stack import find_own_stack
from mpac.stack.clock.install import install
from mpac.stack.clock.move import StackClock
from mpac.stack.clock.parse_time import format_local_time, parse_distance, parse_time
from mpac.stack.clock.provider import ProviderClock
from mpac.stack.movable_clock import read_clock
from mpac.stack.run_file import RunInfo
from workflows.database.engines import Role, connect, disconnect
from workflows.settings import load_settings
from workflows.settlements.close import GRACE
from workflows.time_zones import zone as zone_of

WORKERS = ("worker-other", "beat")
"""If one of these is not running, nothing that becomes due is processed."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ClockRequest:
    """The arguments that were typed: nothing, or one of three ways to say when."""

    distance: str | None = None
    to: str | None = None
    to_next_close: bool = False
    zone: str | None = None

    @property
    def is_a_move(self) -> bool:
        return bool(self.distance is not None or self.to is not None or self.to_next_close)


async def run_clock(home: Path, wanted: ClockRequest, *, say: Say) -> dict[str, Any]:
    """Show or move the clock of the stack in ``home``; return its times. Raises ``UserError``."""
    if sum((wanted.distance is not None, wanted.to is not None, wanted.to_next_close)) > 1:
        raise UserError("Use only one of a distance (+1d), --to TIME and --to-next-close.")
    distance = parse_distance(wanted.distance) if wanted.distance is not None else None
    info = find_own_stack(home)
    attach(home, needs=("MPAC_DATABASE_URL", "MPAC_BROKER_URL", "MPAC_SECRET_KEY"))
    try:
        async with aiohttp.ClientSession() as session:
            provider = ProviderClock(session, info["sandbox_url"], info["sandbox_control_key"])
            return await _run(info, provider, wanted, distance, say=say)
    except psycopg.Error as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"The stack's database refused or disconnected ({said}): check it with `python3 run.py status`."
        ) from error


async def _run(
    info: RunInfo, provider: ProviderClock, wanted: ClockRequest, distance: timedelta | None, *, say: Say
) -> dict[str, Any]:
    moved = await read_clock(info["database_url"])
    theirs = await provider.ahead_seconds()  # fails before anything is changed if it does not answer
    if wanted.is_a_move or moved.is_half_moved:
        await install(info["database_url"])
        async with await _connect(info) as connection:
            clock = StackClock(connection, provider, database_url=info["database_url"])
            await _move(clock, info, wanted, distance, say=say)
            return await _show(connection, clock.ahead_seconds, clock.provider_ahead_seconds, wanted, say=say)
    async with await _connect(info) as connection:
        return await _show(connection, moved.ahead_seconds, theirs, wanted, say=say)


async def _move(
    clock: StackClock, info: RunInfo, wanted: ClockRequest, distance: timedelta | None, *, say: Say
) -> None:
    def report_waiting(count: int) -> None:
        which = "payments or refunds are" if count > 1 else "payment or refund is"
        say(f"Waiting until {count} {which} no longer being processed …")

    done = DueWork()
    callbacks: Any = {
        "report_waiting": report_waiting,
        "before_move": lambda distance: record_due_work(clock.connection, done, seconds=distance),
    }
    await clock.lock_moves()
    await clock.read()
    before = clock.ahead_seconds
    if clock.clocks_differ:
        was_interrupted = clock.is_half_moved
        await clock.repair(**callbacks)
        say(
            "The interrupted move is finished."
            if was_interrupted
            else "Database and provider differed; now they agree."
        )
    is_worked_on = set(WORKERS) <= set(info["names"])
    if wanted.is_a_move and is_worked_on:
        await open_periods(clock.connection)
    if wanted.is_a_move:
        await clock.move(await _wanted_ahead(clock, wanted, distance), **callbacks)
    say(f"Moved by {format_duration(clock.ahead_seconds - before, units=3)}.")
    if is_worked_on:
        await _say_what_became_due(clock.connection, done, say=say)
    else:
        say("No worker or no beat is running here, so what became due is not processed.")


async def _wanted_ahead(clock: StackClock, wanted: ClockRequest, distance: timedelta | None) -> int:
    """Return how many seconds ahead of the machine the clock should be."""
    present = datetime.now(UTC) + timedelta(seconds=clock.ahead_seconds)
    if distance is not None:
        return clock.ahead_seconds + ceil(distance.total_seconds())
    if wanted.to is not None:
        time = parse_time(wanted.to, now=present, zone=await _one_zone(clock.connection, wanted))
    else:
        time = await _next_close(clock.connection)
    return max(clock.ahead_seconds, ceil((time - datetime.now(UTC)).total_seconds()))


async def _next_close(connection: psycopg.AsyncConnection) -> datetime:
    """Return when the next business day is closed, which is shortly after its end. Raises ``UserError``."""
    row = await (await connection.execute("SELECT min(end_at) FROM settlements WHERE status = 'open'")).fetchone()
    if row is None or row[0] is None:
        raise UserError(
            "No store has a business day in progress: create one with `python3 run.py seed`, then try again."
        )
    ends: datetime = row[0]
    return ends + GRACE + timedelta(seconds=1)


async def _say_what_became_due(connection: psycopg.AsyncConnection, done: DueWork, *, say: Say) -> None:
    settings = load_settings()
    connect(settings, roles=(Role.SWEEP,))
    try:
        await wait_until_done(connection, done, settings=settings)
    finally:
        await disconnect()
    say("Became due:" if done.ids else "Nothing became due.")
    for line in await describe_outcomes(connection, done):
        say(line)
    if done.left:
        say(f"{len(done.left)} of these were not done within {DONE_WITHIN_SECONDS} s: see `python3 run.py status`.")


async def _show(
    connection: psycopg.AsyncConnection, ahead: int, provider_ahead: int, wanted: ClockRequest, *, say: Say
) -> dict[str, Any]:
    """Print the times of database, provider and machine, and return them."""
    machine = datetime.now(UTC)
    zones = [wanted.zone] if wanted.zone else await _zones(connection)
    shown = _zone(zones[0] if zones else "UTC")
    rows = {"database": ahead, "provider": provider_ahead, "this machine": 0}
    for name, seconds in rows.items():
        distance = format_duration(seconds, units=3)
        apart = (
            ""
            if name == "this machine"
            else f"   {distance} ahead of this machine"
            if seconds
            else "   as this machine"
        )
        say(f"{name:<13} {format_local_time(machine + timedelta(seconds=seconds), shown)}{apart}")
    if ahead != provider_ahead:
        say(
            "Database and provider differ, so statements will not match our days: align them with `python3 run.py clock +0s`."
        )
    with suppress(UserError):
        closes = await _next_close(connection)
        at = format_local_time(closes, shown)
        say(f"The next business day closes at {at}: go there with `python3 run.py clock --to-next-close`.")
    return {
        "database": (machine + timedelta(seconds=ahead)).isoformat(timespec="seconds"),
        "provider": (machine + timedelta(seconds=provider_ahead)).isoformat(timespec="seconds"),
        "machine": machine.isoformat(timespec="seconds"),
        "ahead_seconds": ahead,
        "provider_ahead_seconds": provider_ahead,
    }


async def _one_zone(connection: psycopg.AsyncConnection, wanted: ClockRequest) -> tzinfo:
    if wanted.zone:
        return _zone(wanted.zone)
    zones = await _zones(connection)
    if len(zones) > 1:
        raise UserError(
            f"The stores are in {' and '.join(zones)}: choose the time zone with --zone, for example --zone {zones[0]}."
        )
    return _zone(zones[0] if zones else "UTC")


async def _zones(connection: psycopg.AsyncConnection) -> list[str]:
    """Return the stores' time zones, the most common first."""
    found = await connection.execute("SELECT time_zone FROM stores GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 5")
    return [row[0] for row in await found.fetchall()]


def _zone(name: str) -> tzinfo:
    try:
        return zone_of(name)
    except LookupError:
        raise UserError(f"There is no time zone {name!r}: use a name like Asia/Tokyo or Europe/Berlin.") from None


async def _connect(info: RunInfo) -> psycopg.AsyncConnection:
    return await psycopg.AsyncConnection.connect(
        info["database_url"], autocommit=True, application_name="mpac_clock", connect_timeout=5
    )
