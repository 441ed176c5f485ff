"""Pooled connections: a connection that died in the pool is replaced before anything is sent, and never reported.

Firewalls, failovers and restarts end connections while they are idle. Each is looked at when it is taken from the pool:

| since it was last taken  | look                                                                                  |
|--------------------------|---------------------------------------------------------------------------------------|
| just connected           | none                                                                                  |
| less than a second       | does the kernel know something to read, for example its end? No round trip, 2 µs      |
| longer, or if it does    | the transaction's BEGIN is sent here rather than with its first statement             |

BEGIN is a round trip of its own in any case, so nothing is sent more than before. It changes nothing, which makes it the one
statement that may be repeated whatever became of it; and if nobody answers it in time (a peer that is gone without a
word), the connection is replaced as well.
"""

import select
import time
from typing import Any

import psycopg
from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine

from workflows.sqlstates import Passing, passing

HOT_SECONDS = 1.0
BEGIN_SECONDS = 2.0
"""A server that needs longer for a BEGIN is away; shorter than anybody waits for a connection or for readiness (3 s)."""

_TAKEN_AT = "taken_at"


def watch_over(engine: AsyncEngine) -> None:
    """Have dead connections of ``engine`` replaced, and those thrown away whose errors say that they are of no use."""
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
    """Return whether the kernel has something to read: the connection's end, or what the server says unasked."""
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
