"""Make identifiers: a prefix for the kind of entity, and a UUIDv7, which contains the time of creation.

HTTP, task arguments, Flower, logs and SQL use the same spelling, so that one search finds everything about a payment.
Ids of version 7 sort by time, so indexes stay dense, and lists can be paged by the id alone.
"""

import re

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


def new_id(entity: str) -> str:
    """Return a new id for an ``entity`` of ``PREFIXES``.

    The id is the entity's prefix and 32 hexadecimal digits, as in ``pay_0198c0de…``.
    """
    return f"{PREFIXES[entity]}_{uuid_utils.uuid7().hex}"
