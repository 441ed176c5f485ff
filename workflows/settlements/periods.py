"""Periods: where a store's business days end. Pure: instants and rules in, instants and dates out.

A business day ``D`` begins at the store's cut-off on the local date ``D`` and ends at the cut-off on the next, unless an
override ends it at another local time. From that one function (``end_of``) everything else follows: the day an instant
belongs to is the first one that ends after it, and a period that begins there ends with that day. A change of time zone
or cut-off therefore needs no arithmetic of its own, and leaves neither a gap nor an overlap.

Local times follow PEP 495 with ``fold=0``, which is what behaviour §9 asks for:

| local time                     | taken as                                                                     |
|--------------------------------|------------------------------------------------------------------------------|
| does not exist (clocks skip it)| moved forward by what was skipped: New York 02:30 on 2026-03-08 is 03:30 EDT  |
| exists twice                   | the first of the two                                                         |
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

from workflows.time_zones import zone

ONE_DAY = timedelta(days=1)

REACH_DAYS = 3
"""How far the business day of an instant may lie from its date in UTC: zones reach from -12 to +14 hours, cut-offs to 24
hours, and an override no further than into the next day."""


@dataclass(frozen=True, slots=True)
class CutoffRule:
    """How a store's business days end. ``overrides`` are local times, for single days."""

    time_zone: str
    cut_off: time
    overrides: Mapping[date, datetime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SettlementPeriod:
    """``[start, end)`` in UTC, with the business day it belongs to."""

    business_date: date
    start: datetime
    end: datetime


def end_of(day: date, rule: CutoffRule) -> datetime:
    """The instant at which the business day ``day`` ends."""
    local = rule.overrides.get(day) or datetime.combine(day + ONE_DAY, rule.cut_off)
    return local.replace(tzinfo=zone(rule.time_zone), fold=0).astimezone(UTC)


def business_date_at(instant: datetime, rule: CutoffRule) -> date:
    """The business day that ``instant`` belongs to: the first one that ends after it."""
    day = instant.astimezone(UTC).date() - ONE_DAY * REACH_DAYS
    while end_of(day, rule) <= instant:
        day += ONE_DAY
    return day


def period_from(start: datetime, rule: CutoffRule) -> SettlementPeriod:
    """The period that begins at ``start`` and ends with the business day it is in."""
    day = business_date_at(start, rule)
    return SettlementPeriod(day, start, end_of(day, rule))


def first_period(instant: datetime, rule: CutoffRule) -> SettlementPeriod:
    """The whole business day that ``instant`` belongs to, from the end of the day before: where a chain begins."""
    day = business_date_at(instant, rule)
    end = end_of(day, rule)
    before = day - ONE_DAY
    while (
        end_of(before, rule) >= end
    ):  # a day that a zone left out (Samoa's 2011-12-30) ends together with its neighbour
        before -= ONE_DAY
    return SettlementPeriod(day, min(end_of(before, rule), instant), end)


def rescheduled(start: datetime, *, changed_at: datetime, rule: CutoffRule) -> SettlementPeriod:
    """The running period that began at ``start``, after its rule changed at ``changed_at``: the next boundary by the rule.

    It keeps the business day on which it ends now, so the day after it is never named twice.
    """
    ending = period_from(max(start, changed_at), rule)
    return SettlementPeriod(ending.business_date, start, ending.end)
