"""Check that a query is text that the database can store (else 400) and holds no card data (422).

Queries are percent-encoded UTF-8. A reader that replaces what it can't decode would look for a reference that nobody sent.
"""

from itertools import chain
from urllib.parse import unquote_to_bytes

from fastapi import Request

from api.strict_json import SAYABLE
from workflows.card_data import ISSUE, looks_like_card_data
from workflows.errors import Detail, InvalidRequest, MalformedRequest

_NUL = b"%00"  # the only form in which it can arrive: a request line with the byte itself is not HTTP


def readable_names(request: Request) -> list[str]:
    """Return the names in the query, in their order and as often as they are there.

    Raises ``MalformedRequest`` if the query is not UTF-8 or holds a NUL character, ``InvalidRequest`` if it holds card data.
    """
    raw: bytes = request.scope["query_string"]
    if _NUL in raw:
        raise MalformedRequest(Detail("query", "Must not hold a NUL character"))
    if not raw.isascii() or (b"%" in raw and not _is_utf8(unquote_to_bytes(raw))):
        raise MalformedRequest(Detail("query", "Must be percent-encoded UTF-8"))
    items = request.query_params.multi_items()
    if looks_like_card_data(
        '"'.join(chain.from_iterable(items))
    ):  # joined, so that many small values cost no more than one
        named = (name for name, value in items if looks_like_card_data(value) and SAYABLE.fullmatch(name))
        raise InvalidRequest(Detail(next(named, "query"), ISSUE))
    return [name for name, _ in items]


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True
