"""The head of a request: what is wrong with one that the parser lets pass, and how long the body will be."""

import re
from functools import lru_cache

Headers = list[tuple[bytes, bytes]]

HOST = re.compile(rb"[ \t]*(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._~%-]+)(:[0-9]{1,5})?[ \t]*")
NO_HOST = "Its Host must be a name or address, with a port or without"
ONCE = (b"host", b"authorization", b"content-type")


def read_head(headers: Headers, version: str, *, is_upgrade: bool) -> tuple[str, int]:
    """Return what is wrong with a head, or nothing, and the length of the body where it is announced.

    ``headers`` have their names in small letters. A length is one number: the parser has refused any other.
    """
    known = dict(headers)
    names = [name for name, _ in headers]
    length = int(known.get(b"content-length", 0))
    if version not in ("1.1", "1.0"):
        return "It must be HTTP/1.1", 0
    if b"transfer-encoding" in known:
        codings = [value.strip(b" \t").lower() for name, value in headers if name == b"transfer-encoding"]
        if codings != [b"chunked"] or version != "1.1":
            return "Its only Transfer-Encoding may be chunked, in HTTP/1.1", 0
        if is_upgrade:  # the parser takes what follows the head for the other protocol; a length can be counted off
            return "It must have a Content-Length where it asks for an upgrade", 0
    if len(set(names)) != len(names) and (doubled := next((name for name in ONCE if names.count(name) > 1), None)):
        return f"It must have one {doubled.decode().title()} header", 0  # a proxy may have judged by the other one
    if b"host" not in known:
        return ("It must have a Host header", 0) if version == "1.1" else ("", length)
    return ("", length) if _is_host(known[b"host"]) else (NO_HOST, 0)


@lru_cache(maxsize=256)
def _is_host(value: bytes) -> bool:
    return HOST.fullmatch(value) is not None
