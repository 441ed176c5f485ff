"""Numbers that people read aloud: of orders and bills, unique in a store, without a gap within its business day.

``20261123-0001`` is the first of its kind in its store on 23 November. A counter row per store, kind and day is raised in
the transaction of what it numbers: whoever comes second waits for the first to commit, and a number whose order was
undone is given to the next. A sequence would be faster and leave gaps.

The day is the one by the store's time zone and cut-off. An override of a single night moves money between settlements
(``workflows/settlements/periods.py``) and no number: docs/decisions/0090.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum

from sqlalchemy import Date, Text, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import Mapped, mapped_column

from workflows.database.engines import Base, rows_parameter
from workflows.time_zones import zone

DAY = timedelta(days=1)


class Kind(StrEnum):
    """What is numbered, each by itself."""

    ORDER = "order"
    BILL = "bill"


class NumberCounter(Base):
    """The last number given to this kind of thing in this store on this day."""

    __tablename__ = "number_counters"

    store_id: Mapped[str] = mapped_column(Text, primary_key=True)
    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    business_date: Mapped[date] = mapped_column(Date, primary_key=True)
    merchant_id: Mapped[str] = mapped_column(Text)
    last: Mapped[int]


@dataclass(frozen=True, slots=True, order=True)
class Day:
    """One business day of one store."""

    store_id: str
    on: date
    merchant_id: str


def business_date(at: datetime, *, time_zone: str, cut_off: time) -> date:
    """The store's business day at the instant ``at``: it begins at ``cut_off`` of that date, local time.

    A cut-off that its zone leaves out that day (summer time begins) moves forward; one that comes twice counts first.
    Overrides of single days count for settlements alone.
    """
    local_zone = zone(time_zone)
    local = at.astimezone(local_zone).date()
    for day in (local + DAY, local):
        if datetime.combine(day, cut_off, local_zone).astimezone(UTC) <= at:
            return day
    return local - DAY


_TAKE = text("""
    -- take: the counters of these days, raised by as many numbers as are wanted, in one order for everybody
    INSERT INTO number_counters AS c (store_id, kind, business_date, merchant_id, last)
    SELECT store_id, :kind, business_date, merchant_id, wanted
    FROM jsonb_to_recordset(CAST(:days AS jsonb)) AS d(store_id text, business_date date, merchant_id text, wanted integer)
    ORDER BY store_id, business_date
    ON CONFLICT (store_id, kind, business_date) DO UPDATE SET last = c.last + excluded.last
    RETURNING store_id, business_date, last
""")


async def take_numbers(connection: AsyncConnection, kind: Kind, days: Sequence[Day]) -> list[str]:
    """A number for each of ``days``, in their order; a day that stands there twice gets two that follow each other."""
    wanted = Counter(days)
    rows = [
        {"store_id": day.store_id, "business_date": day.on, "merchant_id": day.merchant_id, "wanted": count}
        for day, count in sorted(wanted.items())
    ]
    taken = await connection.execute(_TAKE, {"kind": kind, "days": rows_parameter(rows)})
    last = {(row.store_id, row.business_date): row.last for row in taken}
    free: dict[Day, Iterator[int]] = {
        day: iter(range(last[day.store_id, day.on] - count + 1, last[day.store_id, day.on] + 1))
        for day, count in wanted.items()
    }
    return [format_number(day.on, next(free[day])) for day in days]


def format_number(on: date, number: int) -> str:
    """``20261123-0001``; a store with more than 9,999 a day gets longer ones."""
    return f"{on:%Y%m%d}-{number:04d}"
