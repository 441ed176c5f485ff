"""The head of a request: what is wrong with one that the parser lets pass, and how long the body will be."""

import re
from functools import lru_cache

Headers = list[tuple[bytes, bytes]]

HOST = re.compile(rb"[ \t]*(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._~%-]+)(:[0-9]{1,5})?[ \t]*")


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
    hosts = names.count(b"host")
    if hosts != 1 and (hosts or version == "1.1"):
        return "It must have one Host header", 0
    if hosts and not _is_host(known[b"host"]):
        return "Its Host must be a name or address, with a port or without", 0
    return "", length


@lru_cache(maxsize=256)
def _is_host(value: bytes) -> bool:
    return HOST.fullmatch(value) is not None
