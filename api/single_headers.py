"""Refuse a request that repeats a header which must be unique: two readers could each use another one of the values."""

from fastapi import Request

from workflows.errors import Detail, MalformedRequest

SINGLE = {
    b"authorization": "Authorization",  # who calls
    b"content-encoding": "Content-Encoding",
    b"content-length": "Content-Length",  # where the request ends (RFC 9112 section 6.3); the parser refuses it as well
    b"content-type": "Content-Type",  # what the body is
    b"host": "Host",  # RFC 9112 section 3.2
    b"idempotency-key": "Idempotency-Key",  # behaviour §6
}
"""Headers that decide what a request is: ASGI's spelling → the usual one."""


async def single_headers(request: Request) -> None:
    """Raise ``MalformedRequest`` if ``request`` repeats one of ``SINGLE``."""
    names = [name for name, _ in request.scope["headers"] if name in SINGLE]
    if len(names) != len(set(names)):
        twice = sorted({SINGLE[name] for name in names if names.count(name) > 1})
        raise MalformedRequest(*(Detail(name, "Must be sent only once") for name in twice))
