"""Build responses: rows as JSON, pages, streams and files.

Rows are rendered to bytes directly, without FastAPI's validation of responses, which would only cost time.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from starlette.responses import Response, StreamingResponse

from api.dependencies import Page
from api.idempotency import REPLAYED
from api.media_types import CSV, EVENT_STREAM, HTML, JSON
from workflows.database.json_rendering import render
from workflows.errors import DomainError
from workflows.requests.idempotency import StoredAnswer
from workflows.tenants.scope import Serializer

Row = TypeVar("Row", bound=Mapping[str, Any])

DOCUMENTED_STREAM: dict[str, Any] = {
    "description": "Server-sent events. Each `event: payment` has the payment's version as its `id` and a `PaymentOut` as its "
    "`data`; the first one comes at once, the next whenever the version grows. A comment `: still here` keeps the connection "
    "open. The stream ends after a final status, and after ten minutes at the latest: connect again, or read the payment.",
    "content": {
        EVENT_STREAM: {
            "schema": {"type": "string"},
            "example": 'event: payment\nid: 3\ndata: {"id":"pay_019ab0c2d3e47f50a6b7c8d9e0f1a2b3","version":3}\n\n',
        }
    },
}
"""The 200 of a stream in the OpenAPI document, which cannot describe events. The example omits most fields."""


class EventStream(StreamingResponse):
    """Server-sent events, with headers that keep proxies from buffering them."""

    media_type = EVENT_STREAM

    def __init__(self, events: AsyncIterator[bytes]) -> None:
        super().__init__(events, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})


async def payment_events(
    first: Mapping[str, Any] | None, rows: AsyncIterator[Mapping[str, Any] | None], show: Serializer
) -> AsyncIterator[bytes]:
    """Yield an event for each row, and a comment for each ``None``.

    ``None`` means that nothing has changed for a while.
    """
    yield _event(first, show)
    # An error during the stream (the database is unavailable, the device was suspended) ends it, because a response that has
    # begun cannot send another status code. The terminal repeats the request and gets the error then.
    with suppress(DomainError):
        async for row in rows:
            yield _event(row, show)


def _event(row: Mapping[str, Any] | None, show: Serializer) -> bytes:
    if row is None:
        return b": still here\n\n"
    return b"event: payment\nid: %d\ndata: %b\n\n" % (row["version"], render(show(row)))


def prefers_csv(accept: str) -> bool:
    """Return whether an ``Accept`` header names CSV and does not prefer JSON (RFC 9110 §12.5.1)."""
    weights = _weights(accept)
    return weights.get(CSV, 0) > 0 and weights[CSV] >= weights.get(JSON, 0)


def prefers_json(accept: str) -> bool:
    """Return whether an ``Accept`` header prefers JSON to HTML.

    It does if JSON has the higher weight, or if both have the same weight and the header names only JSON of the two.
    """
    weights = _weights(accept)
    others = weights.get("*/*", 0)
    json, page = (
        weights.get(JSON, weights.get("application/*", others)),
        weights.get(HTML, weights.get("text/*", others)),
    )
    return json > page or (json == page > 0 and JSON in weights and HTML not in weights)


def _weights(accept: str) -> dict[str, float]:
    """Return the weight of each media type in an ``Accept`` header."""
    weights: dict[str, float] = {}
    for part in accept.lower().split(","):
        media_type, *parameters = (piece.strip() for piece in part.split(";"))
        weight = next((value[2:] for value in parameters if value.startswith("q=")), "1")
        with suppress(ValueError):
            weights[media_type] = float(weight)
    return weights


def json_response(value: Any, *, status: int = 200) -> Response:
    """Return ``value`` as a JSON response."""
    return Response(render(value), status, media_type=JSON)


def stored_response(stored: StoredAnswer) -> Response:
    """Return the response for an answer that was stored with its key.

    A replay has the header ``Idempotent-Replayed``.
    """
    headers = {REPLAYED: "true"} if stored.is_replay else None
    return Response(stored.body, stored.status, headers=headers, media_type=JSON)


def page_response(rows: Sequence[Row], page: Page, show: Callable[[Row], Any]) -> Response:
    """Return a page of a list: ``data``, and ``next_cursor``, which is null on the last page.

    ``rows`` must contain one row more than ``page.limit`` if there is a next page, or be ``PageRows`` with its cursor.
    """
    shown = rows[: page.limit]
    next_cursor = shown[-1]["id"] if len(rows) > page.limit else getattr(rows, "resume_before", None)
    return json_response({"data": [show(row) for row in shown], "next_cursor": next_cursor})


async def file_response(pieces: AsyncIterator[bytes], *, media_type: str, name: str) -> Response:
    """Return a response that streams a file.

    The first piece is awaited before the response begins, so that an error in it, such as a missing row, is still a 404.
    """
    first = await anext(pieces)

    async def all_pieces() -> AsyncIterator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return StreamingResponse(all_pieces(), media_type=media_type, headers=headers)
