"""What a query may be: text that a database can hold. PostgreSQL knows no NUL, so one is a 400 before anything is asked.

A dependency of all routes, so that no filter can forget it.
"""

from fastapi import Request

from workflows.errors import Detail, MalformedRequest

_NUL = b"%00"  # the only way it can come: a request line with the byte itself is not HTTP


async def readable_query(request: Request) -> None:
    """Raise ``MalformedRequest`` where the query holds a NUL character."""
    if _NUL in request.scope["query_string"]:
        raise MalformedRequest(Detail("query", "Must not hold a NUL character"))
