"""Check request headers for errors that the parser accepts, and determine the length of the body."""

import re
from functools import lru_cache

Headers = list[tuple[bytes, bytes]]

HOST = re.compile(rb"[ \t]*(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._~%-]+)(:[0-9]{1,5})?[ \t]*")
NO_HOST = "The Host header must be a name or address, with or without a port"
ONCE = (
    b"host",  # RFC 9112 section 3.2
    b"authorization",  # the caller
    b"content-type",  # the type of the body
    b"content-encoding",
    b"idempotency-key",  # the stored answer
)
"""Headers that may be sent only once. With two values, a proxy and this service could use different ones. The parser itself
refuses two Content-Length headers."""


def check_headers(headers: Headers, version: str, *, is_upgrade: bool) -> tuple[str, int]:
    """Return the error in the headers and the announced length of the body.

    The error is empty if there is none, and the length is 0 if there is none. The names in ``headers`` are lower-case. A
    length is a valid number, because the parser refuses anything else.
    """
    known = dict(headers)
    names = [name for name, _ in headers]
    length = int(known.get(b"content-length", 0))
    if version not in ("1.1", "1.0"):
        return "The request must use HTTP/1.1", 0
    if b"transfer-encoding" in known:
        codings = [value.strip(b" \t").lower() for name, value in headers if name == b"transfer-encoding"]
        if codings != [b"chunked"] or version != "1.1":
            return "The only Transfer-Encoding allowed is chunked, in HTTP/1.1", 0
        if (
            is_upgrade
        ):  # the parser does not parse the body of such a request, so only a body of known length can be read
            return "A request for an upgrade must have a Content-Length", 0
    if len(set(names)) != len(names) and (doubled := next((name for name in ONCE if names.count(name) > 1), None)):
        return f"There must be exactly one {doubled.decode().title()} header", 0
    if b"host" not in known:
        return ("A Host header is required", 0) if version == "1.1" else ("", length)
    return ("", length) if _is_host(known[b"host"]) else (NO_HOST, 0)


@lru_cache(maxsize=256)
def _is_host(value: bytes) -> bool:
    return HOST.fullmatch(value) is not None
