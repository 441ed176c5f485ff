"""`mpac clock` reads distances and times as documented, and refuses stacks whose clock must not be moved."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mpac.cli.errors import UserError
from mpac.stack.clock.find_stack import find_own_stack
from mpac.stack.clock.parse_time import parse_distance, parse_time
from mpac.stack.database_profile import SERVERS_OF_THE_USERS
from workflows.time_zones import zone

TOKYO, BERLIN = zone("Asia/Tokyo"), zone("Europe/Berlin")
NOON_IN_TOKYO = datetime(2026, 11, 30, 3, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("typed", "distance"),
    [
        ("+1d", timedelta(days=1)),
        ("+90m", timedelta(minutes=90)),
        ("+1d12h", timedelta(days=1, hours=12)),
        ("+2w", timedelta(days=14)),
        ("+1d1d", timedelta(days=2)),
        ("+0s", timedelta(0)),
        ("+7320d", timedelta(days=7_320)),
    ],
)
def test_a_valid_distance_is_parsed(typed: str, distance: timedelta) -> None:
    assert parse_distance(typed) == distance


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("-1d", "only be moved forward"),
        ("-", "only be moved forward"),
        ("1d", r"Did you mean \+1d\?"),
        ("", "not a distance"),
        ("+", "not a distance"),
        ("+1", "not a distance"),
        ("+1.5d", "not a distance"),
        ("+1D", "not a distance"),
        ("+1d -1h", "not a distance"),
        ("+١d", "not a distance"),
        ("tomorrow", "not a distance"),
        ("+7321d", "too far"),
        ("+99999999999999999999d", "too far"),
        (f"+{'9' * 5_000}s", "too far"),
    ],
)
def test_an_invalid_distance_is_refused_with_a_reason(typed: str, why: str) -> None:
    with pytest.raises(UserError, match=why):
        parse_distance(typed)


@pytest.mark.parametrize(
    ("typed", "time"),
    [
        ("13:00", "2026-11-30T13:00+09:00"),
        ("05:00", "2026-12-01T05:00+09:00"),
        ("12:00", "2026-12-01T12:00+09:00"),
        ("2026-12-01 00:05", "2026-12-01T00:05+09:00"),
        ("2026-12-01T00:05:10", "2026-12-01T00:05:10+09:00"),
        ("2026-12-01", "2026-12-01T00:00+09:00"),
        ("20261201", "2026-12-01T00:00+09:00"),
        ("2026-12-01T00:00Z", "2026-12-01T09:00+09:00"),
        ("2026-12-01 00:00+01:00", "2026-12-01T08:00+09:00"),
        ("2026-11-30 12:00", "2026-11-30T12:00+09:00"),
    ],
)
def test_a_time_is_read_in_the_stores_zone_and_a_time_of_day_is_the_next(typed: str, time: str) -> None:
    assert parse_time(typed, now=NOON_IN_TOKYO, zone=TOKYO) == datetime.fromisoformat(time)


def test_a_skipped_local_time_moves_forward_and_a_repeated_time_is_the_first() -> None:
    now = datetime(2027, 1, 1, tzinfo=UTC)
    assert parse_time("2027-03-28 02:30", now=now, zone=BERLIN) == datetime(2027, 3, 28, 1, 30, tzinfo=UTC)
    assert parse_time("2027-10-31 02:30", now=now, zone=BERLIN) == datetime(2027, 10, 31, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("2026-11-30 11:59", "already Mon 2026-11-30 12:00:00 Asia/Tokyo there"),
        ("1999-01-01", "only be moved forward"),
        ("25:00", "is not a time"),
        ("05:00+09:00", "is not a time"),
        ("2026-13-01", "is not a time"),
        ("midnight", "is not a time"),
        ("", "is not a time"),
        ("0001-01-01", "is not a time|only be moved forward"),
        ("9999-12-31 23:59", "too far"),
    ],
)
def test_an_invalid_or_past_time_is_refused_with_a_reason(typed: str, why: str) -> None:
    with pytest.raises(UserError, match=why):
        parse_time(typed, now=NOON_IN_TOKYO, zone=TOKYO)


@pytest.mark.parametrize("variable", SERVERS_OF_THE_USERS)
def test_clock_refuses_a_stack_with_an_external_server(tmp_path: Path, variable: str) -> None:
    with pytest.raises(UserError, match=f"{variable} is set"):
        find_own_stack(tmp_path, {variable: "scheme://elsewhere"})


def test_clock_refuses_an_installation_and_a_folder_without_a_stack(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="only a development stack's clock is moved"):
        find_own_stack(tmp_path, {"MPAC_ENVIRONMENT": "production"})
    with pytest.raises(UserError, match="No stack is running"):
        find_own_stack(tmp_path, {})
