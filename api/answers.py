"""Answers: rows as JSON. Rendered straight to bytes, because validating our own rows again would only cost time."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.responses import Response

from api.dependencies import Page
from workflows.payments.present import render

JSON = "application/json"


def json_answer(value: Any, *, status: int = 200) -> Response:
    """``value`` as a JSON response."""
    return Response(render(value), status, media_type=JSON)


def page_answer(rows: Sequence[Mapping[str, Any]], page: Page, show: Callable[[Mapping[str, Any]], Any]) -> Response:
    """A page of a list: ``data``, and ``next_cursor`` (null on the last page)."""
    shown = rows[: page.limit]
    next_cursor = shown[-1]["id"] if len(rows) > page.limit else None
    return json_answer({"data": [show(row) for row in shown], "next_cursor": next_cursor})
