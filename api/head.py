"""The head of a request: what is wrong with one that the parser lets pass, and how long the body will be."""

import re

Headers = list[tuple[bytes, bytes]]

HOST = re.compile(rb"(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._~%-]+)(:[0-9]{1,5})?")


def what_is_wrong(headers: Headers, version: str, *, is_upgrade: bool) -> str:
    """Return what is wrong with a head, or nothing. Names are in small letters."""
    codings = [value.strip(b" \t").lower() for name, value in headers if name == b"transfer-encoding"]
    hosts = [value.strip(b" \t") for name, value in headers if name == b"host"]
    if version not in ("1.1", "1.0"):
        return "It must be HTTP/1.1"
    if codings and (codings != [b"chunked"] or version != "1.1"):
        return "Its only Transfer-Encoding may be chunked, in HTTP/1.1"
    if (
        codings and is_upgrade
    ):  # the parser takes what follows the head for the other protocol; a length can be counted off
        return "It must have a Content-Length where it asks for an upgrade"
    if len(hosts) != 1 and (hosts or version == "1.1"):
        return "It must have one Host header"
    if hosts and not HOST.fullmatch(hosts[0]):
        return "Its Host must be a name or address, with a port or without"
    return ""


def body_length(headers: Headers) -> int:
    """Return the length of the body where it is announced; the parser has refused what is not one number."""
    return next((int(value) for name, value in headers if name == b"content-length"), 0)
