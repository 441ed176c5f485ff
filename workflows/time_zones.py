"""Read time zones from a single source, the pinned ``tzdata`` package.

The zone files of hosts differ, and PostgreSQL has its own copy. So the package defines which zones a store may have, dates
are computed with the rules of the package, and PostgreSQL is given these rules instead of a name (``sql_zone``).
"""

import io
import re
import struct
from datetime import datetime, timedelta
from functools import cache
from importlib.resources import files
from zoneinfo import ZoneInfo

NOT_OFFERED = frozenset({"Factory", "localtime", "posixrules"})
"""Zone names in the package that are not the time zone of a place."""

FORMERLY_OFFERED = {"localtime": "UTC"}
"""Names that stores may still have but can no longer choose → the zone that they are read as."""

REACH = timedelta(days=40)
"""The largest distance in time between a statement's lines and the settlement's period."""

_HEADER = ">4sc15x6l"
_HEADER_BYTES, _TIME_BYTES = 44, 8


@cache
def offered_zones() -> frozenset[str]:
    """Return the names of the zones that a store may have, spelled as in the package."""
    return frozenset(files("tzdata").joinpath("zones").read_text().split()) - NOT_OFFERED


@cache
def zone(name: str) -> ZoneInfo:
    """Return the zone ``name`` with the rules of the package, whatever files the host has.

    Raises ``LookupError`` if the package has no such zone.
    """
    return ZoneInfo.from_file(io.BytesIO(_rules(name)), key=name)


def sql_zone(name: str, *, near: datetime) -> str:
    """Return the operand of ``AT TIME ZONE`` for times around ``near``.

    The operand is the rules of the zone in POSIX notation. PostgreSQL needs no zone file for this notation. It cannot
    express a zone whose rules change within ``REACH``; then the offset at ``near`` is used. An unknown zone counts as
    UTC, so that its rows can still be compared.
    """
    try:
        last_change, rules = _last_rules(name)
    except LookupError:
        return "UTC0"
    if last_change is None or last_change < (near - REACH).timestamp():
        return rules
    offset = near.astimezone(zone(name)).utcoffset() or timedelta()
    minutes = int(offset.total_seconds()) // 60
    # In POSIX, offsets west of Greenwich are positive.
    return f"<LMT>{'-' if minutes >= 0 else '+'}{abs(minutes) // 60}:{abs(minutes) % 60:02}"


@cache
def _rules(name: str) -> bytes:
    """Return the content of the TZif file (RFC 9636) of a zone."""
    name = FORMERLY_OFFERED.get(name, name)
    if name not in offered_zones() | {"Factory"}:
        raise LookupError(f"no time zone {name}")
    return files("tzdata").joinpath("zoneinfo", *name.split("/")).read_bytes()


@cache
def _last_rules(name: str) -> tuple[int | None, str]:
    """Return the time of the last change in a zone's file, and the rules after it.

    The rules are the last line of the file.
    """
    data = _rules(name)
    skipped = _HEADER_BYTES + _length_of_first_block(data)
    changes = struct.unpack_from(_HEADER, data, skipped)[5]
    last = None
    if changes:
        (last,) = struct.unpack_from(">q", data, skipped + _HEADER_BYTES + _TIME_BYTES * (changes - 1))
    rules = re.search(rb"\n([^\n]+)\n\Z", data)
    if rules is None:  # untested: all files of the pinned package end with such a line
        raise LookupError(f"no rules for the future of {name}")
    return last, rules[1].decode()


def _length_of_first_block(data: bytes) -> int:
    """Return the length in bytes of a TZif file's first block, which has four-byte times for old readers."""
    _magic, _version, is_ut, is_standard, leap, changes, kinds, names = struct.unpack_from(_HEADER, data)
    return int(changes * 5 + kinds * 6 + names + leap * 8 + is_standard + is_ut)
