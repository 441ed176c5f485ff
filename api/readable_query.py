"""What a query may be: text that a database can hold (PostgreSQL knows no NUL: 400), and no card data (422).

A dependency of all routes, so that no filter can forget it.
"""

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
    for name, value in request.query_params.multi_items():
        if looks_like_card_data(name) or looks_like_card_data(value):
            raise InvalidRequest(Detail(name if SAYABLE.fullmatch(name) else "query", ISSUE))
