"""Override the end of one business day of a store ("tonight we close at three").

| step  | what                                                                                                      |
|-------|-----------------------------------------------------------------------------------------------------------|
| lock  | the store's running periods                                                                                |
| check | the day has not ended, and the new end lies in the future and between the ends of the neighbouring days     |
| write | the override; a second override of the same day replaces the first                                         |
| plan  | the running periods get the new end                                                                        |
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import text
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from workflows.errors import Detail, InvalidRequest
from workflows.settlements.cutoff_rules import load_rules
from workflows.settlements.periods import ONE_DAY, CutoffRule, end_of, reschedule
from workflows.settlements.write_settlements import period_row, write_schedule
from workflows.tenants.caller import Caller, caller_transaction
from workflows.tenants.stores import one_store

Read = TypeVar("Read")

CLOSES_WAITED_FOR = 5

FARTHEST = timedelta(days=366)
"""An override is for one evening; a day that is further away than this is taken for a typing error."""


@dataclass(frozen=True, slots=True)
class OverrideRequest:
    """A request to end ``business_date`` at ``ends_at_local``, in the store's local time."""

    business_date: date
    ends_at_local: datetime
    reason: str | None = None

    @classmethod
    def of(cls, business_date: str, ends_at_local: str, reason: str | None) -> "OverrideRequest":
        """Parse ISO 8601 texts. Raises ``InvalidRequest`` for a date that does not exist."""
        day = _read("business_date", business_date, date.fromisoformat)
        return cls(day, _read("ends_at_local", ends_at_local, datetime.fromisoformat), reason)


def _read(field: str, value: str, reader: Callable[[str], Read]) -> Read:
    try:
        return reader(value)
    except ValueError as error:
        raise InvalidRequest(Detail(field, "Must be a date that exists, for example 2026-11-23")) from error


_LOCK = text("""
    -- lock: the running periods of a store, and the time after the lock was taken
    SELECT id, start_at, end_at, clock_timestamp() AS at FROM settlements
    WHERE store_id = :store_id AND status = 'open' ORDER BY id FOR UPDATE
""")
_NOW = text("SELECT clock_timestamp()")
_WRITE = text("""
    INSERT INTO settlement_overrides (store_id, business_date, merchant_id, ends_at_local, reason, created_at, created_by)
    VALUES (:store_id, :business_date, :merchant_id, :ends_at_local, :reason, :created_at, :created_by)
    ON CONFLICT (store_id, business_date) DO UPDATE
        SET ends_at_local = excluded.ends_at_local, reason = excluded.reason, created_at = excluded.created_at,
            created_by = excluded.created_by
    RETURNING *
""")


async def override_day(store_id: str, request: OverrideRequest, *, caller: Caller) -> dict[str, Any]:
    """Write an override, reschedule the running periods, and return the override's row.

    The row also has ``ends_at``, the end in UTC. A second override of the same day replaces the first. Raises
    ``ResourceNotFound`` (the store), ``InvalidRequest`` (a day or time that is not allowed, see ``_check_override``) and
    ``ServiceUnavailable``.
    """
    async with caller_transaction(caller) as connection:
        await one_store(connection, store_id, caller)
        locked = await _lock_running(connection, store_id)
        at: datetime = (await connection.execute(_NOW)).scalar_one()
        since = min((row["start_at"] for row in locked), default=at)
        store = (await load_rules(connection, [store_id], since=since))[store_id]
        day = request.business_date
        overrides = {**store.rule.overrides, day: request.ends_at_local}
        rule = CutoffRule(store.rule.time_zone, store.rule.cut_off, overrides)
        _check_override(request, store.rule, rule, at=at)
        row = {
            "store_id": store_id,
            "business_date": day,
            "merchant_id": store.merchant_id,
            "ends_at_local": request.ends_at_local,
            "reason": request.reason,
            "created_at": at,
            "created_by": caller.id,
        }
        written = (await connection.execute(_WRITE, row)).mappings().one()
        new_ends = []
        for period in locked:
            if period["end_at"] > at:  # a period that has ended already is closed with its present end
                planned = reschedule(period["start_at"], changed_at=at, rule=rule)
                new_ends.append({"id": period["id"], **period_row(planned, store)})
        await write_schedule(connection, new_ends)
    return {**written, "ends_at": end_of(day, rule)}


async def _lock_running(connection: AsyncConnection, store_id: str) -> Sequence[RowMapping]:
    """Lock the running periods of a store and return them.

    A statement that waited for a close no longer finds the closed period, and does not see the period that the close opened.
    The statement is therefore repeated until it finds the same periods twice.
    """
    locked = (await connection.execute(_LOCK, {"store_id": store_id})).mappings().all()
    for _ in range(CLOSES_WAITED_FOR):  # untested: its end, which needs five closes in a row
        before = [row["id"] for row in locked]
        locked = (await connection.execute(_LOCK, {"store_id": store_id})).mappings().all()
        if [row["id"] for row in locked] == before:
            break
    return locked


def _check_override(request: OverrideRequest, old: CutoffRule, new: CutoffRule, *, at: datetime) -> None:
    """Raise ``InvalidRequest`` if the day is too far away or has ended, or if the new end is not allowed."""
    day = request.business_date
    if abs(day - at.date()) > FARTHEST:
        raise InvalidRequest(Detail("business_date", "Must be within a year"))
    if end_of(day, old) <= at:
        raise InvalidRequest(Detail("business_date", "This business day has already ended"))
    ends = end_of(day, new)
    if ends <= at:
        raise InvalidRequest(Detail("ends_at_local", "Must be in the future; to end the day now, close the settlement"))
    if not end_of(day - ONE_DAY, new) < ends < end_of(day + ONE_DAY, new):
        raise InvalidRequest(
            Detail("ends_at_local", "Must lie between the end of the previous and of the next business day")
        )
