"""A timestamp belongs to the store's business day whose cut-off passed last, in local time."""

from datetime import UTC, date, datetime, time

import pytest

from workflows.numbering import business_date, format_number

MIDNIGHT = time(0)


@pytest.mark.parametrize(
    ("at", "zone", "cut_off", "day"),
    [
        ("2026-11-23T14:59:59", "Asia/Tokyo", MIDNIGHT, "2026-11-23"),
        ("2026-11-23T15:00:00", "Asia/Tokyo", MIDNIGHT, "2026-11-24"),
        # a bar that closes at 05:00
        ("2026-11-23T19:59:59", "Asia/Tokyo", time(5), "2026-11-23"),
        ("2026-11-23T20:00:00", "Asia/Tokyo", time(5), "2026-11-24"),
        # 02:30 does not exist on this day in New York; the cut-off moves forward to 03:30
        ("2026-03-08T07:29:59", "America/New_York", time(2, 30), "2026-03-07"),
        ("2026-03-08T07:30:00", "America/New_York", time(2, 30), "2026-03-08"),
        # 01:30 occurs twice on this day; the first is the cut-off, and the second is within the new day
        ("2026-11-01T05:29:59", "America/New_York", time(1, 30), "2026-10-31"),
        ("2026-11-01T05:30:00", "America/New_York", time(1, 30), "2026-11-01"),
        ("2026-11-01T06:15:00", "America/New_York", time(1, 30), "2026-11-01"),
        # at 00:01 Newfoundland's clocks went back to the previous date; the new business day has begun all the same
        ("2010-11-07T02:29:59", "America/St_Johns", MIDNIGHT, "2010-11-06"),
        ("2010-11-07T02:30:00", "America/St_Johns", MIDNIGHT, "2010-11-07"),
        ("2010-11-07T03:00:00", "America/St_Johns", MIDNIGHT, "2010-11-07"),
        # summer time begins at midnight in Lebanon, so midnight does not exist
        ("2026-03-28T21:59:59", "Asia/Beirut", MIDNIGHT, "2026-03-28"),
        ("2026-03-28T22:00:00", "Asia/Beirut", MIDNIGHT, "2026-03-29"),
        ("2026-12-31T14:59:59", "Asia/Tokyo", MIDNIGHT, "2026-12-31"),
        ("2028-02-28T18:30:00", "Asia/Kolkata", MIDNIGHT, "2028-02-29"),
    ],
)
def test_a_business_day_begins_at_the_stores_cut_off(at: str, zone: str, cut_off: time, day: str) -> None:
    instant = datetime.fromisoformat(at).replace(tzinfo=UTC)
    assert business_date(instant, time_zone=zone, cut_off=cut_off) == date.fromisoformat(day)


def test_number_begins_with_its_business_day() -> None:
    assert [format_number(date(2026, 11, 23), number) for number in (1, 9_999, 10_000)] == [
        "20261123-0001",
        "20261123-9999",
        "20261123-10000",
    ]
