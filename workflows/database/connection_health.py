"""Keep broken connections from failing requests: classify database errors, and check connections taken from the pool.

An error is classified by its SQLSTATE: whether it is transient, and whether the connection is unusable after it. A transient
error says nothing about the request: the same request may succeed a moment later, perhaps on another connection. The caller
gets 503 and workers try again, as if the database were unavailable.

Firewalls, failovers and restarts end idle connections. So each connection is checked when it is taken from the pool, and is
replaced before anything is sent on it if it died:

| since it was last taken  | check                                                                                 |
|--------------------------|---------------------------------------------------------------------------------------|
| just connected           | none                                                                                  |
| less than a second       | whether there is data to read, for example the connection's end: no round trip, 2 µs  |
| longer, or data to read  | the transaction's BEGIN is sent now instead of with its first statement               |

BEGIN is a separate round trip in any case, so nothing more is sent than without the check. It changes nothing, so it may be
repeated whatever its outcome was. If it is not answered in time, because the peer vanished silently, the connection is
replaced as well. A statement of the hot path that is its own transaction has no BEGIN: in the last case of the table, an
empty SELECT is sent before it (``workflows.database.hot_connection``).
"""

import logging
import select
import time
from collections.abc import Mapping
from enum import Enum
from typing import Any

import psycopg
from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine

from workflows.errors import ServiceUnavailable

logger = logging.getLogger(__name__)

OPERATOR_EVENTS = {"25006": "read_only", "42501": "grant_missing", "53100": "disk_full"}
"""SQLSTATE that requires an operator's action → the second part of the event that is logged."""


class TransientError(Enum):
    """How to treat the connection after a transient error."""

    KEEP = "keep"
    DISCARD = "discard"
    """Discard this connection and all connections in the pool, which after a failover lead to the same wrong server."""


TRANSIENT_ERRORS: Mapping[str, TransientError] = {
    "08": TransientError.DISCARD,  # connection exceptions
    "0A000": TransientError.DISCARD,  # "cached plan must not change result type": a migration changed a table
    "25006": TransientError.DISCARD,  # read-only: after a failover the connection leads to the standby
    "25P02": TransientError.DISCARD,  # a transaction that failed before is still open
    "25P03": TransientError.DISCARD,  # idle_in_transaction_session_timeout: this process hung, and the session has ended
    "25P04": TransientError.DISCARD,  # transaction_timeout: likewise
    "26000": TransientError.DISCARD,  # a prepared statement that this session does not have
    "40": TransientError.KEEP,  # serialization failure, deadlock
    "42501": TransientError.DISCARD,  # a missing grant: a migration or a restore that sets up the roles is still running
    "42P05": TransientError.DISCARD,  # a prepared statement that this session has already
    "53": TransientError.KEEP,  # insufficient resources: connections, memory, disk
    "55P03": TransientError.KEEP,  # lock_timeout
    "57014": TransientError.KEEP,  # statement_timeout
    "57P": TransientError.DISCARD,  # shutdown, crash recovery, cannot connect now, idle session
    "58": TransientError.KEEP,  # errors of the operating system, for example an I/O error
}
"""SQLSTATE or prefix of SQLSTATEs → the treatment of the connection. Any other SQLSTATE is a defect of this program."""

_LENGTHS = sorted({len(prefix) for prefix in TRANSIENT_ERRORS}, reverse=True)
_PLAN_CHANGED = "cached plan"


def classify_transient(error: BaseException | None) -> TransientError | None:
    """Return what to do with the connection after ``error``, or ``None`` if the error is not transient."""
    if not isinstance(error, psycopg.Error):
        return None
    state: Any = error.sqlstate
    if state is None:  # an error of the driver: it could not connect, or the connection broke
        return TransientError.DISCARD if isinstance(error, psycopg.OperationalError) else None
    if state == "0A000" and _PLAN_CHANGED not in str(error):  # any other use of a feature that PostgreSQL lacks
        return None
    return next((TRANSIENT_ERRORS[state[:length]] for length in _LENGTHS if state[:length] in TRANSIENT_ERRORS), None)


def as_unavailable(error: DBAPIError | psycopg.Error) -> ServiceUnavailable | None:
    """Return the error for the caller if ``error`` is transient, else ``None``.

    Logs an error that requires an operator's action.
    """
    original = error.orig if isinstance(error, DBAPIError) else error
    if not (classify_transient(original) or (isinstance(error, DBAPIError) and error.connection_invalidated)):
        return None
    _log_operator_event(original)
    return ServiceUnavailable(retry_after_seconds=1)


def _log_operator_event(error: BaseException | None) -> None:
    """Log an error of ``OPERATOR_EVENTS``: nothing else explains to the operator why requests get 503."""
    state = getattr(error, "sqlstate", None)
    if state in OPERATOR_EVENTS:
        logger.error(
            "the database refuses statements: SQLSTATE %s", state, extra={"event": f"database.{OPERATOR_EVENTS[state]}"}
        )


HOT_SECONDS = 1.0
BEGIN_SECONDS = 2.0
"""The longest wait for the answer to a BEGIN. It is below the timeouts of connecting and of the readiness probe (3 s)."""

_TAKEN_AT = "taken_at"


def check_connections(engine: AsyncEngine) -> None:
    """Make ``engine`` check each connection taken from the pool, and discard those that became unusable."""
    event.listen(engine.sync_engine, "checkout", _check_connection)
    event.listen(engine.sync_engine, "handle_error", _mark_unusable)


def _check_connection(adapted: Any, record: Any, _proxy: Any) -> None:
    taken_at: float | None = record.info.get(_TAKEN_AT)
    record.info[_TAKEN_AT] = time.monotonic()
    if taken_at is None or not needs_check(adapted.driver_connection, taken_at):
        return
    try:
        adapted.run_async(_begin)
    except psycopg.Error as error:
        raise InvalidatePoolError from error


def needs_check(raw: psycopg.AsyncConnection[Any], taken_at: float) -> bool:
    """Return whether an idle connection must be checked by a round trip.

    ``taken_at`` is when it was last taken, by the monotonic clock.
    """
    return time.monotonic() - taken_at >= HOT_SECONDS or _has_unread_data(raw)


def _has_unread_data(raw: psycopg.AsyncConnection[Any]) -> bool:
    """Return whether the connection has ended, or has unread data, which was not requested."""
    if raw.closed:
        return True
    poll = select.poll()  # not select(), which is limited to 1,024 descriptors
    poll.register(raw.fileno(), select.POLLIN)
    return bool(poll.poll(0))


async def _begin(raw: psycopg.AsyncConnection[Any]) -> None:
    # psycopg has no public method for this. It sends BEGIN with the first statement, unless the transaction has begun already.
    await raw.wait(raw._start_query(), timeout=BEGIN_SECONDS)


def _mark_unusable(context: ExceptionContext) -> None:
    if classify_transient(context.original_exception) is TransientError.DISCARD:
        context.is_disconnect = True
