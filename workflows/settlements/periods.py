"""Compute where a store's business days end, without any I/O.

A business day ``D`` begins at the store's cut-off on the local date ``D`` and ends at the cut-off on the next date, unless an
override ends it at another local time. Everything else follows from the function ``end_of``: a timestamp belongs to the first
day that ends after it, and a period that begins at a timestamp ends with that day. A change of time zone or cut-off therefore
needs no special arithmetic, and leaves neither a gap nor an overlap.

Local times follow PEP 495 with ``fold=0``, as the contract requires (behaviour §9):

| local time                     | taken as                                                                     |
|--------------------------------|------------------------------------------------------------------------------|
| does not exist (clocks skip it) | moved forward by the skipped time: New York 02:30 on 2026-03-08 is 03:30 EDT |
| exists twice                   | the first of the two                                                         |
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

from workflows.time_zones import zone

ONE_DAY = timedelta(days=1)

REACH_DAYS = 3
"""The largest difference, in days, between the business day of a timestamp and its date in UTC.

Time zones reach from -12 to +14 hours, cut-offs to 24 hours, and an override at most into the next day.
"""


@dataclass(frozen=True, slots=True)
class CutoffRule:
    """The rule by which a store's business days end. ``overrides`` are the local ends of single days."""

    time_zone: str
    cut_off: time
    overrides: Mapping[date, datetime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SettlementPeriod:
    """A period ``[start, end)`` in UTC and its business date."""

    business_date: date
    start: datetime
    end: datetime


def end_of(day: date, rule: CutoffRule) -> datetime:
    """Return the time, in UTC, at which the business day ``day`` ends."""
    local = rule.overrides.get(day) or datetime.combine(day + ONE_DAY, rule.cut_off)
    return local.replace(tzinfo=zone(rule.time_zone), fold=0).astimezone(UTC)


def business_date_at(instant: datetime, rule: CutoffRule) -> date:
    """Return the business day of a timestamp: the first day that ends after it."""
    day = instant.astimezone(UTC).date() - ONE_DAY * REACH_DAYS
    while end_of(day, rule) <= instant:
        day += ONE_DAY
    return day


def period_from(start: datetime, rule: CutoffRule) -> SettlementPeriod:
    """Return the period from ``start`` to the end of its business day."""
    day = business_date_at(start, rule)
    return SettlementPeriod(day, start, end_of(day, rule))


def first_period(instant: datetime, rule: CutoffRule) -> SettlementPeriod:
    """Return the first period of a chain, which is the whole business day of a timestamp."""
    day = business_date_at(instant, rule)
    return SettlementPeriod(day, min(end_of(day - ONE_DAY, rule), instant), end_of(day, rule))


def reschedule(start: datetime, *, changed_at: datetime, rule: CutoffRule) -> SettlementPeriod:
    """Return the running period that began at ``start``, with its end by a changed rule.

    The rule changed at ``changed_at``. The period ends at the next boundary of the new rule after the change. Its
    business date is the day that ends there, so no two periods have the same date.
    """
    ending = period_from(max(start, changed_at), rule)
    return SettlementPeriod(ending.business_date, start, ending.end)
