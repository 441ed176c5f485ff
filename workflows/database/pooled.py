"""Replace connections that died in the pool before anything is sent on them, so that no request fails because of them.

Firewalls, failovers and restarts end idle connections. Each connection is checked when it is taken from the pool:

| since it was last taken  | check                                                                                 |
|--------------------------|---------------------------------------------------------------------------------------|
| just connected           | none                                                                                  |
| less than a second       | whether the kernel has anything to read, for example the end: no round trip, 2 µs     |
| longer, or if it has     | the transaction's BEGIN is sent now instead of with its first statement               |

BEGIN is a separate round trip in any case, so nothing more is sent than without the check. It changes nothing, so it may be
repeated whatever its outcome was. If it is not answered in time, because the peer vanished silently, the connection is
replaced as well.
"""

import select
import time
from typing import Any

import psycopg
from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine

from workflows.database.sqlstates import Passing, passing

HOT_SECONDS = 1.0
BEGIN_SECONDS = 2.0
"""A server that takes longer for a BEGIN is unavailable. Shorter than the timeouts of connecting and of readiness (3 s)."""

_TAKEN_AT = "taken_at"


def check_connections(engine: AsyncEngine) -> None:
    """Replace dead connections of ``engine``, and discard those whose errors show that they are unusable."""
    event.listen(engine.sync_engine, "checkout", _look)
    event.listen(engine.sync_engine, "handle_error", _discard)


def _look(adapted: Any, record: Any, _proxy: Any) -> None:
    now = time.monotonic()
    taken_at: float | None = record.info.get(_TAKEN_AT)
    record.info[_TAKEN_AT] = now
    if taken_at is None:
        return
    raw: psycopg.AsyncConnection[Any] = adapted.driver_connection
    if now - taken_at < HOT_SECONDS and not _has_news(raw):
        return
    try:
        adapted.run_async(_begin)
    except psycopg.Error as error:
        raise InvalidatePoolError from error


def _has_news(raw: psycopg.AsyncConnection[Any]) -> bool:
    """Return whether the kernel has something to read: the connection's end, or an unsolicited message."""
    if raw.closed:
        return True
    looking = select.poll()  # not select(), which is limited to 1,024 descriptors
    looking.register(raw.fileno(), select.POLLIN)
    return bool(looking.poll(0))


async def _begin(raw: psycopg.AsyncConnection[Any]) -> None:
    # psycopg has no public call for this: it begins a transaction with the first statement, unless one has begun already.
    await raw.wait(raw._start_query(), timeout=BEGIN_SECONDS)


def _discard(context: ExceptionContext) -> None:
    if passing(context.original_exception) is Passing.DISCARD:
        context.is_disconnect = True
