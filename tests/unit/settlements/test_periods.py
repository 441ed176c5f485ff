"""Business days end at the times of behaviour §9, in unusual time zones too, without gap or overlap after any change."""

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflows.numbering import business_date as day_of_number
from workflows.settlements.periods import (
    ONE_DAY,
    CutoffRule,
    business_date_at,
    end_of,
    first_period,
    period_from,
    reschedule,
)

HOURS = timedelta(hours=1)


def utc(text: str) -> datetime:
    """Parse the timestamp of a test vector."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)


@pytest.mark.parametrize(
    ("zone", "cut_off", "boundary", "hours"),
    [
        ("America/New_York", "00:00", "2026-03-08T05:00Z", 23),
        ("America/New_York", "02:30", "2026-03-08T07:30Z", 23),  # 02:30 does not exist that night
        ("America/New_York", "01:30", "2026-11-01T05:30Z", 25),  # 01:30 occurs twice: the first
        ("Europe/London", "00:00", "2026-10-24T23:00Z", 25),
        ("Europe/London", "00:00", "2026-03-29T00:00Z", 23),
        ("Asia/Kolkata", "00:00", "2026-05-31T18:30Z", 24),
        ("Asia/Tokyo", "00:00", "2026-11-22T15:00Z", 24),
        ("Asia/Tokyo", "05:00", "2026-11-22T20:00Z", 24),
        ("Australia/Lord_Howe", "00:00", "2026-04-04T13:00Z", 24.5),  # half an hour of summer time
        ("Australia/Lord_Howe", "00:00", "2026-10-03T13:30Z", 23.5),
        ("Australia/Lord_Howe", "02:15", "2026-10-03T15:45Z", 23.5),  # 02:15 does not exist that night
        ("Asia/Beirut", "00:00", "2026-03-28T22:00Z", 23),  # midnight does not exist: the day begins at 01:00
        ("Asia/Beirut", "00:00", "2026-10-23T21:00Z", 25),
        ("America/Santiago", "00:00", "2026-09-06T04:00Z", 23),  # the same
        ("America/Santiago", "23:30", "2026-04-05T02:30Z", 25),  # 23:30 occurs twice: the first
        ("Asia/Tokyo", "00:00", "2028-02-28T15:00Z", 24),  # leap day
        ("Asia/Tokyo", "00:00", "2026-12-31T15:00Z", 24),  # year end
    ],
)
def test_a_business_day_has_its_expected_length_across_clock_changes(
    zone: str, cut_off: str, boundary: str, hours: float
) -> None:
    rule = CutoffRule(zone, time.fromisoformat(cut_off))
    start = utc(boundary)
    assert period_from(start - timedelta(seconds=1), rule).end == start  # it is a boundary
    assert period_from(start, rule).end - start == hours * HOURS


@pytest.mark.parametrize(
    ("instant", "cut_off", "day"),
    [
        ("2026-11-22T14:59:59.999999Z", "00:00", date(2026, 11, 22)),
        ("2026-11-22T15:00Z", "00:00", date(2026, 11, 23)),
        ("2026-11-22T19:59Z", "05:00", date(2026, 11, 22)),  # 04:59 in Tokyo belongs to the previous day
        ("2026-11-22T20:00Z", "05:00", date(2026, 11, 23)),
        ("2028-02-29T14:59Z", "00:00", date(2028, 2, 29)),
        ("2026-12-31T15:00Z", "00:00", date(2027, 1, 1)),
    ],
)
def test_a_timestamp_belongs_to_the_business_day_that_began_before_it(instant: str, cut_off: str, day: date) -> None:
    assert business_date_at(utc(instant), CutoffRule("Asia/Tokyo", time.fromisoformat(cut_off))) == day


def test_a_day_that_a_time_zone_skipped_has_no_period() -> None:
    rule = CutoffRule("Pacific/Apia", time(0))  # Samoa skipped from 2011-12-29 to 2011-12-31
    before = period_from(utc("2011-12-29T10:00Z"), rule)
    after = period_from(before.end, rule)
    assert (before.business_date, after.business_date) == (date(2011, 12, 29), date(2011, 12, 31))
    assert (before.end - before.start, after.end - after.start) == (24 * HOURS, 24 * HOURS)
    assert first_period(before.end, rule) == after


def test_an_override_moves_the_end_of_its_day_and_shortens_the_next() -> None:
    tonight = date(2026, 11, 23)
    rule = CutoffRule("Asia/Tokyo", time(0), {tonight: datetime(2026, 11, 24, 3)})  # noqa: DTZ001 - by the store's clocks
    period = period_from(utc("2026-11-22T15:00Z"), rule)
    following = period_from(period.end, rule)
    assert (period.business_date, period.end) == (tonight, utc("2026-11-23T18:00Z"))
    assert (following.business_date, following.end - following.start) == (tonight + ONE_DAY, 21 * HOURS)
    assert period_from(following.end, rule).end - following.end == 24 * HOURS


def test_an_override_moves_the_business_date_but_not_the_day_of_order_numbers() -> None:
    tonight, one_o_clock = date(2026, 11, 23), utc("2026-11-23T16:00Z")
    rule = CutoffRule("Asia/Tokyo", time(0), {tonight: datetime(2026, 11, 24, 3)})  # noqa: DTZ001 - by the store's clocks
    assert business_date_at(one_o_clock, rule) == tonight
    assert day_of_number(one_o_clock, time_zone="Asia/Tokyo", cut_off=time(0)) == tonight + ONE_DAY


def test_an_early_override_ends_the_day_early_and_the_next_begins_then() -> None:
    today = date(2026, 11, 23)
    rule = CutoffRule("Asia/Tokyo", time(0), {today: datetime(2026, 11, 23, 22)})  # noqa: DTZ001 - by the store's clocks
    period = period_from(utc("2026-11-22T15:00Z"), rule)
    assert (period.business_date, period.end - period.start) == (today, 22 * HOURS)
    assert period_from(period.end, rule).business_date == today + ONE_DAY


@pytest.mark.parametrize(
    ("new", "ends"),
    [
        (CutoffRule("Asia/Tokyo", time(5)), "2026-11-23T20:00Z"),  # cut-off from 00:00 to 05:00: a day of 29 hours
        (CutoffRule("Asia/Tokyo", time(18)), "2026-11-23T09:00Z"),  # or to 18:00: of 18 hours
        (CutoffRule("Asia/Tokyo", time(14)), "2026-11-24T05:00Z"),  # already past when it was changed, at 15:00
        (CutoffRule("America/New_York", time(0)), "2026-11-24T05:00Z"),
    ],
)
def test_a_running_period_ends_at_the_next_boundary_of_a_changed_rule(new: CutoffRule, ends: str) -> None:
    start, changed = utc("2026-11-22T15:00Z"), utc("2026-11-23T06:00Z")  # 00:00 and 15:00 in Tokyo
    period = reschedule(start, changed_at=changed, rule=new)
    assert (period.start, period.end) == (start, utc(ends))
    assert period_from(period.end, new).business_date > period.business_date


ZONES = st.sampled_from(
    [
        "Africa/Casablanca",
        "America/New_York",
        "America/Santiago",
        "America/St_Johns",
        "Asia/Beirut",
        "Asia/Kathmandu",
        "Asia/Kolkata",
        "Asia/Tokyo",
        "Australia/Lord_Howe",
        "Europe/London",
        "Pacific/Apia",
        "Pacific/Kiritimati",
        "Etc/GMT+12",
    ]
)
CUT_OFFS = st.builds(time, st.integers(0, 23), st.integers(0, 59))
RULES = st.builds(CutoffRule, ZONES, CUT_OFFS)
INSTANTS = st.datetimes(datetime(2010, 1, 1), datetime(2037, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds


@given(RULES, INSTANTS)
def test_every_timestamp_is_in_the_first_period_of_its_day(rule: CutoffRule, instant: datetime) -> None:
    period = first_period(instant, rule)
    assert period.start <= instant < period.end
    assert period.end == period_from(instant, rule).end
    assert timedelta(hours=20) <= period.end - period.start <= timedelta(hours=28)  # no zone shifts by more in a day


@given(RULES, INSTANTS)
@settings(max_examples=200)
def test_the_day_of_an_order_number_is_the_business_date(rule: CutoffRule, instant: datetime) -> None:
    number = day_of_number(instant, time_zone=rule.time_zone, cut_off=rule.cut_off)
    assert number == business_date_at(instant, rule)


@given(RULES, INSTANTS, st.lists(st.tuples(RULES, st.integers(0, 72 * 60)), max_size=4))
@settings(max_examples=200)
def test_a_chain_of_periods_has_no_gap_or_overlap_after_any_change(
    rule: CutoffRule, opened: datetime, changes: list[tuple[CutoffRule, int]]
) -> None:
    """Build the chain as the product does.

    A period begins where the last one ends, and a change re-plans the running one.
    """
    period = first_period(opened, rule)
    chain = []
    clock = opened
    for new, minutes in [*changes, (rule, 0)]:
        clock += timedelta(minutes=minutes)
        while period.end <= clock:
            chain.append(period)
            period = period_from(period.end, rule)
        rule = new
        period = reschedule(period.start, changed_at=clock, rule=rule)
        assert period.start <= clock < period.end
        assert period.end == end_of(period.business_date, rule)  # a boundary of the new rule, and
        assert business_date_at(clock, rule) == period.business_date  # the next one
        assert period.end - clock <= timedelta(hours=28)
    chain.append(period)
    for before, after in pairwise(chain):
        assert before.start < before.end == after.start


@given(RULES, INSTANTS, st.integers(1, 24 * 60 - 1))
def test_an_override_leaves_neither_gap_nor_overlap(rule: CutoffRule, instant: datetime, minutes: int) -> None:
    day = business_date_at(instant, rule)
    regular = datetime.combine(day, rule.cut_off)
    bent = CutoffRule(rule.time_zone, rule.cut_off, {day: regular + timedelta(minutes=2 * minutes)})
    period = period_from(end_of(day - ONE_DAY, bent), bent)
    following = period_from(period.end, bent)
    assert following.start == period.end
    assert period_from(following.end, bent) == period_from(following.end, rule)  # only one night differs
