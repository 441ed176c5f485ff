"""Make identifiers: a prefix for the kind of entity, and a UUIDv7, which contains the time of creation.

HTTP, task arguments, Flower, logs and SQL use the same spelling, so that one search finds everything about a payment.
Ids of version 7 sort by time, so indexes stay dense, and lists can be paged by the id alone.
"""

import re
from datetime import UTC, datetime, timedelta

import uuid_utils

PREFIXES: dict[str, str] = {
    "psp": "psp",
    "merchant": "mer",
    "store": "sto",
    "store_provider": "spv",
    "device": "dev",
    "client": "cli",
    "order": "ord",
    "order_item": "itm",
    "bill": "bil",
    "payment": "pay",
    "refund": "rfd",
    "settlement": "stl",
    "adjustment": "adj",
    "journal": "jrn",
    "break": "brk",
    "statement": "stm",
    "dead_letter": "ddl",
    "request": "req",
    "process": "prc",
}
"""Entity → prefix. A prefix never changes, because clients store ids."""

WELL_FORMED = re.compile(r"[A-Za-z0-9_-]{1,80}")
"""The form of an id in a path. Any other text is answered as a malformed request and not as a missing row."""


TIME = slice(4, 16)
"""Where an id contains its time: milliseconds since 1970 as 12 hexadecimal digits, after the prefix of four characters."""

TIMES = re.compile(r"0[0-9a-f]{11}")
"""Times until the year 2527. A later one is not a time that a clock shows."""


def new_id(entity: str) -> str:
    """Return a new id for an ``entity`` of ``PREFIXES``.

    The id is the entity's prefix and 32 hexadecimal digits, as in ``pay_0198c0de…``.
    """
    return f"{PREFIXES[entity]}_{uuid_utils.uuid7().hex}"


def id_in_month_of(source_id: str, entity: str) -> str:
    """Return a new id for an ``entity`` in the month (UTC) of ``source_id``.

    Both then belong to the same partitions (``workflows.database.months``). The time of the new id is the present, or that of
    ``source_id`` if that is in another month.
    """
    made = new_id(entity)
    time = source_id[TIME]
    is_elsewhere = TIMES.fullmatch(time) and _month(made[TIME]) != _month(time)
    return made[: TIME.start] + time + made[TIME.stop :] if is_elsewhere else made


def _month(time: str) -> tuple[int, int]:
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(time, 16))
    return at.year, at.month
