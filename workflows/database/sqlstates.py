"""Classify database errors by SQLSTATE: which are transient, and after which the connection is unusable.

A transient error says nothing about the request: the same request may succeed a moment later, perhaps on another
connection. The caller gets 503 and workers try again, as if the database were unavailable.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Any

import psycopg


class Passing(Enum):
    """The treatment of the connection after a transient error."""

    KEEP = "keep"
    DISCARD = "discard"
    """Discard this connection and all in the pool: after a failover they lead to the same wrong server."""


PASSING: Mapping[str, Passing] = {
    "08": Passing.DISCARD,  # connection exceptions
    "0A000": Passing.DISCARD,  # "cached plan must not change result type": a migration changed a table; new plans are made
    "25006": Passing.DISCARD,  # read-only: after a failover the connection leads to the standby
    "25P02": Passing.DISCARD,  # a transaction that failed before is still open
    "25P03": Passing.DISCARD,  # idle_in_transaction_session_timeout: this process hung, and the session has ended
    "25P04": Passing.DISCARD,  # transaction_timeout: likewise
    "26000": Passing.DISCARD,  # a prepared statement that this session does not have
    "40": Passing.KEEP,  # serialization failure, deadlock
    "42501": Passing.DISCARD,  # a grant is missing: roles are set up while a migration or a restore runs
    "42P05": Passing.DISCARD,  # a prepared statement that this session has already
    "53": Passing.KEEP,  # insufficient resources: connections, memory, disk
    "55P03": Passing.KEEP,  # lock_timeout
    "57014": Passing.KEEP,  # statement_timeout
    "57P": Passing.DISCARD,  # shutdown, crash recovery, cannot connect now, idle session
    "58": Passing.KEEP,  # errors of the operating system, for example an I/O error
}
"""SQLSTATEs and classes of them (prefixes). Any other SQLSTATE is a defect of this program."""

_LENGTHS = sorted({len(prefix) for prefix in PASSING}, reverse=True)
_PLAN_CHANGED = "cached plan"


def passing(error: BaseException | None) -> Passing | None:
    """Return what to do with the connection after ``error``, or ``None`` if the error is not transient."""
    if not isinstance(error, psycopg.Error):
        return None
    state: Any = error.sqlstate
    if state is None:  # an error of the driver: no connection, or a broken one
        return Passing.DISCARD if isinstance(error, psycopg.OperationalError) else None
    if state == "0A000" and _PLAN_CHANGED not in str(error):  # a feature that PostgreSQL does not have
        return None
    return next((PASSING[state[:length]] for length in _LENGTHS if state[:length] in PASSING), None)
