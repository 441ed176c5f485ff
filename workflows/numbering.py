"""Allocate readable numbers for orders and bills: unique in a store, without gaps within a business day.

``20261123-0001`` is the first order (or bill) of its store on 23 November. There is a counter row per store, kind and day. It
is incremented in the transaction of the row that gets the number. So a second transaction waits for the first to commit, and
after a rollback the next order gets the number. A sequence would be faster, but would leave gaps.

The day follows from the store's time zone and cut-off. An override of a single night moves money between settlements
(``workflows/settlements/periods.py``) but does not change any number: docs/decisions/0090.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum

from sqlalchemy import Date, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from workflows.database.connection import Connection
from workflows.database.engines import Base, rows_parameter
from workflows.time_zones import zone

DAY = timedelta(days=1)


class NumberKind(StrEnum):
    """The kinds of entities that have numbers. Each kind has its own counters."""

    ORDER = "order"
    BILL = "bill"


class NumberCounter(Base):
    """A counter: the last number of a kind in a store on a business day."""

    __tablename__ = "number_counters"

    store_id: Mapped[str] = mapped_column(Text, primary_key=True)
    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    business_date: Mapped[date] = mapped_column(Date, primary_key=True)
    merchant_id: Mapped[str] = mapped_column(Text)
    last: Mapped[int]


@dataclass(frozen=True, slots=True, order=True)
class StoreDay:
    """A business day of a store."""

    store_id: str
    on: date
    merchant_id: str


def business_date(at: datetime, *, time_zone: str, cut_off: time) -> date:
    """Return the business day of a store at the time ``at``.

    A business day begins at ``cut_off`` of its date, local time. A cut-off that does not exist on a day, because summer
    time begins, moves forward. If it occurs twice, the first time counts. Overrides of single days apply to settlements
    only.
    """
    local_zone = zone(time_zone)
    local = at.astimezone(local_zone).date()
    for day in (local + DAY, local):
        if datetime.combine(day, cut_off, local_zone).astimezone(UTC) <= at:
            return day
    return local - DAY


_ALLOCATE = text("""
    -- allocate: increment the counters of these days, in one order, so that two transactions cannot deadlock
    INSERT INTO number_counters AS c (store_id, kind, business_date, merchant_id, last)
    SELECT store_id, :kind, business_date, merchant_id, wanted
    FROM jsonb_to_recordset(CAST(:days AS jsonb)) AS d(store_id text, business_date date, merchant_id text, wanted integer)
    ORDER BY store_id, business_date
    ON CONFLICT (store_id, kind, business_date) DO UPDATE SET last = c.last + excluded.last
    RETURNING store_id, business_date, last
""")


async def allocate_numbers(connection: Connection, kind: NumberKind, days: Sequence[StoreDay]) -> list[str]:
    """Return a new number for each of ``days``, in the same order. Equal days get consecutive numbers."""
    wanted = Counter(days)
    rows = [
        {"store_id": day.store_id, "business_date": day.on, "merchant_id": day.merchant_id, "wanted": count}
        for day, count in sorted(wanted.items())
    ]
    updated = await connection.execute(_ALLOCATE, {"kind": kind, "days": rows_parameter(rows)})
    last = {(row["store_id"], row["business_date"]): row["last"] for row in updated.mappings()}
    allocated: dict[StoreDay, Iterator[int]] = {
        day: iter(range(last[day.store_id, day.on] - count + 1, last[day.store_id, day.on] + 1))
        for day, count in wanted.items()
    }
    return [format_number(day.on, next(allocated[day])) for day in days]


def format_number(on: date, number: int) -> str:
    """Format a number, as in ``20261123-0001``. Numbers above 9,999 have more digits."""
    return f"{on:%Y%m%d}-{number:04d}"
