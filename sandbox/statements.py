"""Answer ``GET /v1/statements``: the acquirer's statement, which lists the ledger's movements of a period.

JSON is paged. CSV is one file with the whole period, because files are reconciled as a whole; it is written page by page.
"""

import asyncio
import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from sandbox import ledger
from sandbox.context import SandboxContext
from sandbox.errors import bad_request_error
from sandbox.ledger import Movement, Page, money_fields
from sandbox.requests import query_integer
from sandbox.responses import json_answer
from sandbox.timestamps import from_text, payout_date

DEFAULT_PAGE = 1_000
MAX_PAGE = 5_000  # rows; a page of this size blocks the process for some 20 ms
CSV_PAGE = 1_000  # small enough for other calls to be served while a long file is written
MAX_CURSOR = 2**63 - 1
FORMATS = ("json", "csv")
FIELDS = (
    "line_id",
    "kind",
    "reference",
    "payment_id",
    "provider_reference",
    "amount",
    "currency",
    "fee",
    "at",
    "settled_on",
)


@dataclass(frozen=True, slots=True)
class Period:
    """A half-open period in microseconds (without ``end``), of one account or of all (``None``)."""

    start: int
    end: int
    account: str | None = None


async def get_statement(context: SandboxContext, request: web.Request) -> web.StreamResponse:
    """Return the lines of a period. Raises Refused (400)."""
    period = _read_period(request)
    chosen = request.query.get("format", "json")
    if chosen not in FORMATS:
        raise bad_request_error(f"format must be one of {', '.join(FORMATS)}")
    context.storage.commit()  # a statement shows nothing that could still be rolled back
    if chosen == "csv":
        return await _stream_csv(context, request, period)
    after = query_integer(request, "cursor", default=0, lowest=0, highest=MAX_CURSOR)
    limit = query_integer(request, "limit", default=DEFAULT_PAGE, lowest=1, highest=MAX_PAGE)
    page = _page(context, period, after=after, limit=limit)
    following = None if page.next_after is None else str(page.next_after)
    # The query as it was sent, so that a client can tell that the page does not answer another query.
    asked = {name: request.query.get(name) for name in ("account", "from", "to", "cursor")}
    return json_answer({**asked, "data": [line(row) for row in page.rows], "next": following})


def line(movement: Movement) -> dict[str, Any]:
    """Return a movement as a statement line. Its id is the same in every statement that lists it."""
    return {
        "line_id": f"line_{movement.seq:012d}",
        **money_fields(movement),
        "settled_on": payout_date(movement.at).isoformat(),
    }


def _read_period(request: web.Request) -> Period:
    if "from" not in request.query or "to" not in request.query:
        raise bad_request_error("from and to are required")
    start, end = from_text(request.query["from"], name="from"), from_text(request.query["to"], name="to")
    period = Period(start, end, request.query.get("account"))
    if period.start > period.end:
        raise bad_request_error("from must not be after to")
    return period


def _page(context: SandboxContext, period: Period, *, after: int, limit: int) -> Page:
    return ledger.period(
        context.storage, start=period.start, end=period.end, after=after, limit=limit, account=period.account
    )


async def _stream_csv(context: SandboxContext, request: web.Request, period: Period) -> web.StreamResponse:
    stream = web.StreamResponse(headers={"Content-Type": "text/csv; charset=utf-8"})
    try:
        await stream.prepare(request)
        await stream.write((",".join(FIELDS) + "\r\n").encode())
        for page in _pages(context, period):
            await stream.write(_csv(page.rows))
            await asyncio.sleep(0)  # let other calls run: write() does not yield while the client reads fast enough
        await stream.write_eof()
    except ConnectionError:
        pass  # the client has disconnected
    return stream


def _pages(context: SandboxContext, period: Period) -> Iterator[Page]:
    after: int | None = 0
    while after is not None:
        context.storage.commit()
        page = _page(context, period, after=after, limit=CSV_PAGE)
        yield page
        after = page.next_after


def _csv(rows: list[Movement]) -> bytes:
    text = io.StringIO()
    csv.DictWriter(text, FIELDS).writerows(line(row) for row in rows)
    return text.getvalue().encode()
