"""Parse the argument of `mpac clock`: a distance (`+1d12h`) or a time (`05:00`, `2026-12-01 00:05`)."""

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from mpac.cli.errors import UserError

UNITS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
DISTANCE = re.compile(r"\+(?:[0-9]+[wdhms])+")
PART = re.compile(r"([0-9]+)([wdhms])")
MOST_AHEAD = timedelta(days=20 * 366)
"""The limit of the sandbox provider (``sandbox.clock``)."""

NEVER_BACK = (
    "A clock can only be moved forward: otherwise decisions that were made at the later time would be dated in the future. "
    "To return to the present, delete everything with `python3 run.py reset`."
)
HOW_TO_WRITE = "Write it as +1d, +90m or +1d12h (w, d, h, m, s)."


def parse_distance(typed: str) -> timedelta:
    """Return the distance that was typed; a day has 24 hours. Raises ``UserError``."""
    if typed.startswith("-"):
        raise UserError(NEVER_BACK)
    if not DISTANCE.fullmatch(typed):
        hint = f" Did you mean +{typed}?" if DISTANCE.fullmatch(f"+{typed}") else ""
        raise UserError(f"{typed!r} is not a distance in time.{hint} {HOW_TO_WRITE}")
    try:
        distance = sum((timedelta(**{UNITS[unit]: int(count)}) for count, unit in PART.findall(typed)), timedelta())
    except (OverflowError, ValueError):  # more days or digits than there are
        distance = timedelta.max
    if distance > MOST_AHEAD:
        raise UserError(f"{typed} is too far: a clock can be moved 20 years ahead at most.")
    return distance


def parse_time(typed: str, *, now: datetime, zone: tzinfo) -> datetime:
    """Return the typed time in UTC; it is in ``zone`` unless it has its own offset. Raises ``UserError``.

    A time of day means its next occurrence after ``now``. A local time that a clock change skips is moved forward. If a
    local time occurs twice, the first is meant, as for the ends of business days.
    """
    try:
        if of_day := _time_of_day(typed):
            local = now.astimezone(zone)
            wanted = datetime.combine(local.date(), of_day, zone).astimezone(UTC)
            tomorrow = datetime.combine(local.date() + timedelta(days=1), of_day, zone).astimezone(UTC)
            return wanted if wanted > now else tomorrow
        wanted = datetime.fromisoformat(typed)
        wanted = (wanted if wanted.tzinfo else wanted.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UserError(f"{typed!r} is not a time: write it as 05:00 or as '2026-12-01 00:05'.") from None
    if wanted < now:
        raise UserError(f"It is already {format_local_time(now, zone)} there. {NEVER_BACK}")
    if wanted - now > MOST_AHEAD:
        raise UserError(f"{typed} is too far: a clock can be moved 20 years ahead at most.")
    return wanted


def format_local_time(at: datetime, zone: tzinfo) -> str:
    """Format a time as local time in ``zone``, followed by the zone's name."""
    return f"{at.astimezone(zone):%a %Y-%m-%d %H:%M:%S} {zone}"


def _time_of_day(typed: str) -> time | None:
    try:
        date.fromisoformat(typed)
    except ValueError:
        pass
    else:
        return None  # 20261201 is a date, although it could be read as a time of day
    try:
        found = time.fromisoformat(typed)
    except ValueError:
        return None
    if found.tzinfo:
        raise ValueError("a time of day is the stores' own")
    return found
