"""Replace connections that died in the pool before anything is sent on them, so that no request fails for it.

Firewalls, failovers and restarts end connections while they are idle. Each is checked when it is taken from the pool:

| since it was last taken  | check                                                                                 |
|--------------------------|---------------------------------------------------------------------------------------|
| just connected           | none                                                                                  |
| less than a second       | does the kernel know something to read, for example its end? No round trip, 2 µs      |
| longer, or if it does    | the transaction's BEGIN is sent here rather than with its first statement             |

BEGIN is a round trip of its own in any case, so nothing more is sent than before. It changes nothing, so it may be repeated
whatever its outcome was; if it is not answered in time (a peer that vanished silently), the connection is replaced as well.
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
"""A server that needs longer for a BEGIN is away; shorter than the waits for a connection and for readiness (3 s)."""

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
    """Return whether the kernel has something to read: the connection's end, or an unrequested message of the server."""
    if raw.closed:
        return True
    looking = select.poll()  # not select(), which knows 1,024 descriptors
    looking.register(raw.fileno(), select.POLLIN)
    return bool(looking.poll(0))


async def _begin(raw: psycopg.AsyncConnection[Any]) -> None:
    # psycopg has no public call for this: it begins the transaction itself with the first statement, unless it is begun.
    await raw.wait(raw._start_query(), timeout=BEGIN_SECONDS)


def _discard(context: ExceptionContext) -> None:
    if passing(context.original_exception) is Passing.DISCARD:
        context.is_disconnect = True
