"""Identifiers: a prefix that says what it is, and a UUIDv7 that says when.

The same spelling stands in HTTP, task arguments, Flower, logs and SQL, so that one search finds everything about a
payment. Version 7 sorts by time: indexes stay dense and lists can be paged by the id alone.
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
"""Entity → prefix. A prefix is for ever: it is in clients' databases."""

WELL_FORMED = re.compile(r"[A-Za-z0-9_-]{1,80}")
"""What an id in a path may look like at all; anything else is a bad request rather than a missing row."""


def new_id(entity: str) -> str:
    """A fresh id for an ``entity`` of ``PREFIXES``, for example ``pay_0198c0de…`` (prefix and 32 hexadecimal digits)."""
    return f"{PREFIXES[entity]}_{uuid_utils.uuid7().hex}"
