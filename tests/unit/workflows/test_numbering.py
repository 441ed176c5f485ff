"""Test the business day of a timestamp, and the format of order and bill numbers (``20261123-0001``)."""

from datetime import UTC, date, datetime, time

import pytest

from workflows.numbering import business_date, format_number


@pytest.mark.parametrize(
    ("at", "zone", "cut_off", "day"),
    [
        ("2026-11-23T14:59:59", "Asia/Tokyo", "00:00", "2026-11-23"),
        ("2026-11-23T15:00:00", "Asia/Tokyo", "00:00", "2026-11-24"),
        ("2026-11-23T19:59:59", "Asia/Tokyo", "05:00", "2026-11-23"),  # 04:59 local: the previous business day
        ("2026-11-23T20:00:00", "Asia/Tokyo", "05:00", "2026-11-24"),
        ("2026-12-31T18:00:00", "Asia/Kolkata", "00:00", "2026-12-31"),
        ("2026-12-31T18:30:00", "Asia/Kolkata", "00:00", "2027-01-01"),
        # 02:30 does not exist on 8 March 2026 in New York: the day begins at 03:30 summer time
        ("2026-03-08T07:29:59", "America/New_York", "02:30", "2026-03-07"),
        ("2026-03-08T07:30:00", "America/New_York", "02:30", "2026-03-08"),
        # 01:30 occurs twice on 1 November 2026: the first begins the day, and the second does not begin another
        ("2026-11-01T05:29:59", "America/New_York", "01:30", "2026-10-31"),
        ("2026-11-01T05:30:00", "America/New_York", "01:30", "2026-11-01"),
        ("2026-11-01T06:10:00", "America/New_York", "01:30", "2026-11-01"),
    ],
)
def test_a_business_day_begins_at_the_cut_off_of_its_date(at: str, zone: str, cut_off: str, day: str) -> None:
    found = business_date(
        datetime.fromisoformat(at).replace(tzinfo=UTC), time_zone=zone, cut_off=time.fromisoformat(cut_off)
    )
    assert found == date.fromisoformat(day)


@pytest.mark.parametrize(("number", "text"), [(1, "20261123-0001"), (9999, "20261123-9999"), (10000, "20261123-10000")])
def test_numbers_are_formatted_to_be_read_aloud(number: int, text: str) -> None:
    assert format_number(date(2026, 11, 23), number) == text
