"""Check a query: text that the database can store (no NUL, which PostgreSQL refuses: 400), and no card data (422).

A dependency of all routes, so that no filter can forget it.
"""

from itertools import chain

from fastapi import Request

from api.reading import SAYABLE
from workflows.card_data import ISSUE, looks_like_card_data
from workflows.errors import Detail, InvalidRequest, MalformedRequest

_NUL = b"%00"  # the only way it can come: a request line with the byte itself is not HTTP


async def readable_query(request: Request) -> None:
    """Raise ``MalformedRequest`` if the query holds a NUL character, ``InvalidRequest`` if it holds card data."""
    if not request.scope["query_string"]:
        return
    if _NUL in request.scope["query_string"]:
        raise MalformedRequest(Detail("query", "Must not hold a NUL character"))
    items = request.query_params.multi_items()
    if looks_like_card_data(
        '"'.join(chain.from_iterable(items))
    ):  # joined, so that many small values cost no more than one
        named = (name for name, value in items if looks_like_card_data(value) and SAYABLE.fullmatch(name))
        raise InvalidRequest(Detail(next(named, "query"), ISSUE))
